"""From deliveries to what the outbox keeps: contract, ordinals, columns, counts. Called by
`gateway.forward`. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from aurelian.edge.columns import Columns
from aurelian.edge.contract import Reading, Reject, apply
from aurelian.edge.fast_lane import FastLane, Part
from aurelian.edge.names import NAME_ERROR, label_fault, path_fault, readable
from aurelian.edge.ordinals import Ordinals
from aurelian.edge.outbox.rows import EVENTS, REJECTED, HourCount, OutboxEntry, RecordKind
from aurelian.model import codec
from aurelian.model.evidence import vouches
from aurelian.model.sample import AT_GATEWAY_TIME, Flag, Sample, Signal, make_batch
from aurelian.model.source_model import SourceModel

HOUR = 3_600_000_000

MAX_BATCH_SAMPLES = 2000
MAX_BATCH_BYTES = 512 * 1024
"""A batch ends here; a single larger value stands in a batch of its own."""

MAX_PAYLOAD_BYTES = 512 * 1024
"""More of a rejected payload is cut off; size and SHA-256 are those of all of it."""

REFUSED_EVERY = 10_000_000
"""Microseconds between two events that say that a signal's values are still refused."""

_HEARTBEAT = int(Flag.HEARTBEAT)
_SAMPLE_BYTES = 64
_MOST_NAMES = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What arrived together, with its acknowledgement.

    Attributes:
        source: the connection that it came from.
        owner: company of the source's plant; it may write only that company's assets.
        received_at: microseconds since 1970, receipt at the gateway.
        readings, columns, rejects, events: any of them may be empty. No signal has values in both
            readings and columns. Heartbeats are published, not kept.
        dropped: values that the gateway knows to be lost (say, a queue overflow that was counted).
        skipped: values left out by a rule (say, a repeated Sparkplug birth that is known already).
        repeated: the transport said that it may have delivered this before (say, MQTT's DUP).
        urgent: the machine sends nothing more before `ack`: commit at once.
        vouches: False: its values are no sign of life (say, of a server that says it is down).
        bookmark: how far the source is with it, in the adapter's own words: committed with it, and
            given to `Source.deliveries` when it begins again. Empty: as before.
        ack: called on the event loop after the outbox commit that holds all of it; must not block
            or raise.
    """

    source: SourceModel
    owner: str
    received_at: int
    readings: Sequence[Reading] = ()
    columns: Columns | None = None
    rejects: Sequence[Reject] = ()
    events: Sequence[codec.SourceEvent] = ()
    dropped: int = 0
    skipped: int = 0
    repeated: bool = False
    urgent: bool = False
    vouches: bool = True
    bookmark: str = ""
    ack: Callable[[], None] | None = None

    @property
    def values(self) -> int:
        """How many readings and values in columns it has."""
        return len(self.readings) + (0 if self.columns is None else len(self.columns))


@dataclass(frozen=True, slots=True)
class Group:
    """What one commit shall hold of one source. `heard`: for each delivery the assets that its
    accepted readings vouch for, and when (microseconds since 1970)."""

    entries: list[OutboxEntry]
    counts: list[HourCount]
    heard: list[dict[str, int]]


@dataclass(slots=True)
class _OpenBatch:
    """A batch that still takes samples, or parts: never both, so that their order stays."""

    samples: list[Sample] = field(default_factory=list)
    bytes: int = 0
    parts: list[Part] = field(default_factory=list)
    part_samples: int = 0


class Assembly:
    """Makes groups of one source's deliveries. Not thread safe; keeps the ordinals of recent
    values, and when each declared signal was refused last. `not_before`: see `contract.apply`."""

    def __init__(self, gateway: str, boot: int, ordinals: Ordinals, not_before: int = 0) -> None:
        self._gateway, self._boot, self._ordinals = gateway, boot, ordinals
        self._not_before = not_before
        self._refused: dict[str, int] = {}
        self._lane: FastLane | None = None
        self._sound_names: dict[str, Signal] = {}
        self._sound_lines: set[str] = set()

    def assemble(self, deliveries: Iterable[Delivery]) -> Group:
        """One batch a line (more where it grows too large), each reject and each event a record,
        all of it counted."""
        lines: dict[str, _OpenBatch] = {}
        entries: list[OutboxEntry] = []
        counts: dict[tuple[str, int], HourCount] = {}
        all_heard: list[dict[str, int]] = []
        for delivery in deliveries:
            rejects, unusable = list(delivery.rejects), 0
            heard: dict[str, int] = {}
            readings = delivery.readings
            if delivery.columns is not None:
                heard, rest = self._add_columns(delivery.columns, delivery, lines, entries)
                readings = [*rest, *readings]
            for reading in readings:
                made = self._to_sample(reading, delivery)
                if isinstance(made, Reject):
                    rejects.append(made)
                    continue
                if int.__and__(made.flags, _HEARTBEAT) and made.flags & AT_GATEWAY_TIME:
                    unusable += 1  # a repeat that would count at its receipt is a new value
                    continue
                entries += self._add(lines, reading.line, made)
                # Most values are good and unflagged: a call for each would cost a tenth of all.
                if reading.model is not None and (
                    (not made.status and made.flags is Flag.NONE)
                    or vouches(made.status, made.flags, made.source_time)
                ):
                    if self._refused:
                        self._refused.pop(made.signal.id, None)
                    at, asset = made.time, made.signal.asset
                    if at > heard.get(asset, 0):
                        heard[asset] = min(at, made.gateway_time)
            all_heard.append(heard)
            entries += [self._rejected(reject, delivery) for reject in rejects]
            entries += self._refusals(rejects, delivery)
            entries += [
                self._event(each, delivery)
                for each in delivery.events
                if not each.HasField("heartbeat")
            ]
            _count(counts, delivery, sum(reject.samples for reject in rejects), unusable)
        entries += [
            self._batch(line, batch)
            for line, batch in lines.items()
            if batch.samples or batch.parts
        ]
        return Group(entries, list(counts.values()), all_heard)

    def _add_columns(
        self,
        columns: Columns,
        delivery: Delivery,
        lines: dict[str, _OpenBatch],
        entries: list[OutboxEntry],
    ) -> tuple[dict[str, int], list[Reading]]:
        """Take what is ordinary; return whom it vouches for, and the rest."""
        if not len(columns) or columns.table.owner != delivery.owner or delivery.repeated:
            return {}, columns.readings()
        lane = self._lane
        if lane is None or lane.table is not columns.table:
            lane = self._lane = FastLane(columns.table, self._ordinals)
        part, rest = lane.judge(columns, delivery.received_at, self._not_before)
        for line, values in lane.split(part):
            for start in range(0, len(values), MAX_BATCH_SAMPLES):
                piece = values.take(slice(start, start + MAX_BATCH_SAMPLES))
                batch = lines.setdefault(line, _OpenBatch())
                if batch.samples or batch.part_samples + len(piece) > MAX_BATCH_SAMPLES:
                    entries.append(self._batch(line, batch))
                    batch = lines[line] = _OpenBatch()
                batch.parts.append(piece)
                batch.part_samples += len(piece)
        for signal in lane.accepted(part, self._refused) if self._refused else ():
            del self._refused[signal]
        return lane.heard(part), rest

    def _to_sample(self, reading: Reading, delivery: Delivery) -> Sample | Reject:
        try:
            fault = self._fault(reading, delivery)
            if fault is not None:
                return fault
            made = apply(reading, delivery.received_at, self._not_before)
            if isinstance(made, Reject):
                return made
            if self._lane is None:
                return self._ordinals.place(made, repeated=delivery.repeated)
            self._lane.before(made.signal)
            made = self._ordinals.place(made, repeated=delivery.repeated)
            self._lane.after(made)
            return made
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a value costs that one
            return _reject(reading, f"it cannot be understood: {error!r}", "internal")

    def _fault(self, reading: Reading, delivery: Delivery) -> Reject | None:
        """Why a source may not write this signal, if so."""
        prefix = f"{delivery.owner}/"
        path, unit = reading.signal.path, reading.signal.unit
        if not path.startswith(prefix) or not reading.line.startswith(prefix):
            return _reject(reading, f"the source writes for {delivery.owner!r} only", "owner")
        if reading.model is None and delivery.source.closed:
            reason = "the plant model does not have it, and the source is closed"
            return _reject(reading, reason, "unknown_signal")
        known = self._sound_names
        if known.get(path) is reading.signal and reading.line in self._sound_lines:
            return None
        fault = path_fault(path) or path_fault(reading.line) or label_fault(unit)
        fault = fault or label_fault(reading.signal.id) or label_fault(reading.signal.asset)
        if fault is not None:
            return _reject(reading, fault, NAME_ERROR)
        if len(known) > _MOST_NAMES:
            known.clear()
            self._sound_lines.clear()
        known[path] = reading.signal
        self._sound_lines.add(reading.line)
        return None

    def _refusals(self, rejects: Sequence[Reject], delivery: Delivery) -> list[OutboxEntry]:
        """Events that say so where values of declared signals are refused: the first after an
        accepted one, then one every 10 s."""
        entries = []
        for reject in rejects:
            signal, now = reject.signal, delivery.received_at
            if signal is None or abs(now - self._refused.get(signal.id, 0)) < REFUSED_EVERY:
                continue
            self._refused[signal.id] = now
            refused = codec.Refused(
                asset=signal.asset,
                signal=signal.id,
                reason=readable(reject.reason),
                source_time=min(max(reject.source_time, -(2**63)), 2**63 - 1),
            )
            entries.append(self._event(codec.SourceEvent(refused=refused), delivery))
        return entries

    def _add(self, lines: dict[str, _OpenBatch], line: str, sample: Sample) -> list[OutboxEntry]:
        """Put a sample into its line's batch; returns the batch that was full before, if it was."""
        value = sample.value
        size = _SAMPLE_BYTES + (len(value) if isinstance(value, (str, bytes)) else 0)
        batch = lines.get(line)
        full: list[OutboxEntry] = []
        if batch is None:
            batch = lines[line] = _OpenBatch()
        elif (
            batch.parts
            or len(batch.samples) >= MAX_BATCH_SAMPLES
            or batch.bytes + size > MAX_BATCH_BYTES
        ):
            full.append(self._batch(line, batch))
            batch = lines[line] = _OpenBatch()
        batch.samples.append(sample)
        batch.bytes += size
        return full

    def _batch(self, line: str, batch: _OpenBatch) -> OutboxEntry:
        if batch.parts:
            assert self._lane is not None
            columns = self._lane.batch(
                batch.parts, gateway=self._gateway, boot=self._boot, line=line
            )
        else:
            columns = make_batch(
                batch.samples,
                owner=line.partition("/")[0],
                gateway=self._gateway,
                boot=self._boot,
                sequence=0,
                line=line,
            )
        return OutboxEntry(
            RecordKind.SAMPLES, line, line, len(columns), partial(codec.encode, columns)
        )

    def _event(self, event: codec.SourceEvent, delivery: Delivery) -> OutboxEntry:
        complete = codec.SourceEvent()
        complete.CopyFrom(event)
        complete.owner, complete.gateway, complete.boot = delivery.owner, self._gateway, self._boot
        complete.source, complete.time = delivery.source.key, event.time or delivery.received_at
        return event_entry(complete)

    def _rejected(self, reject: Reject, delivery: Delivery) -> OutboxEntry:
        rejected = codec.Rejected(
            owner=delivery.owner,
            gateway=self._gateway,
            boot=self._boot,
            source=delivery.source.key,
            time=delivery.received_at,
            reason=readable(reject.reason),
            error_class=reject.error_class,
            origin=readable(reject.origin),
            payload=reject.payload[:MAX_PAYLOAD_BYTES],
            payload_size=len(reject.payload),
            payload_sha256=hashlib.sha256(reject.payload).hexdigest(),
            samples=reject.samples,
        )
        data = codec.encode_rejected(rejected)
        return OutboxEntry(
            RecordKind.REJECTED, REJECTED, delivery.source.key, reject.samples, lambda _: data
        )


class LastSeen:
    """When each source and its assets were last seen alive, for the heartbeats by which readers
    judge freshness.

    A heartbeat of the source (its keep-alive) vouches for all of its assets; accepted readings of
    declared signals vouch for theirs where `evidence.vouches` says so.
    """

    def __init__(self, gateway: str, boot: int) -> None:
        self._gateway, self._boot = gateway, boot
        self._seen: dict[str, tuple[str, dict[str, int]]] = {}

    def note(self, delivery: Delivery, heard: Mapping[str, int]) -> None:
        """Note what a delivery vouches for; `heard` as `Group.heard` has it."""
        _, assets = self._seen.setdefault(delivery.source.key, (delivery.owner, {}))
        for asset, at in heard.items() if delivery.vouches else ():
            assets[asset] = max(at, assets.get(asset, 0))
        for event in delivery.events:
            match event.WhichOneof("kind"):
                case "heartbeat":
                    at = event.heartbeat.heard_at or delivery.received_at
                    assets.update(dict.fromkeys(event.heartbeat.assets or [""], at))
                case "death":
                    for asset in event.death.assets or list(assets):
                        assets.pop(asset, None)

    def take_heartbeats(self, now: int) -> list[codec.SourceEvent]:
        """Heartbeats for the sources seen since the last call, one for all assets that were heard
        within the same second. `now`: microseconds since 1970."""
        heartbeats = [
            codec.SourceEvent(
                owner=owner,
                gateway=self._gateway,
                boot=self._boot,
                source=source,
                time=now,
                heartbeat=codec.Heartbeat(
                    heard_at=min(heard.values()), assets=[] if "" in heard else sorted(heard)
                ),
            )
            for source, (owner, assets) in self._seen.items()
            for heard in _by_second(assets)
        ]
        self._seen.clear()
        return heartbeats


def event_entry(event: codec.SourceEvent) -> OutboxEntry:
    """The entry of a complete source event that is kept until it is stored."""
    data = codec.encode_event(event)
    return OutboxEntry(RecordKind.EVENTS, EVENTS, event.source, 0, lambda _: data)


def _count(
    counts: dict[tuple[str, int], HourCount], delivery: Delivery, rejected: int, skipped: int
) -> None:
    """Count a delivery; `skipped`: of its values, beside those that it says itself."""
    received = delivery.values + sum(reject.samples for reject in delivery.rejects)
    received += delivery.dropped + delivery.skipped
    if not received:
        return
    key = (delivery.source.key, delivery.received_at // HOUR * HOUR)
    count = HourCount(
        *key,
        delivery.owner,
        received,
        dropped=delivery.dropped,
        skipped=delivery.skipped + skipped,
        rejected=rejected,
    )
    before = counts.get(key)
    counts[key] = count if before is None else before.plus(count)


def _reject(reading: Reading, reason: str, error_class: str) -> Reject:
    value = reading.value
    payload = value if isinstance(value, bytes) else str(value).encode(errors="backslashreplace")
    path = reading.signal.path
    return Reject(f"signal {path!r}: {reason}", error_class, path, payload)


def _by_second(assets: Mapping[str, int]) -> Iterable[dict[str, int]]:
    seconds: dict[int, dict[str, int]] = {}
    for asset, at in assets.items():
        seconds.setdefault(at // 1_000_000, {})[asset] = at
    return seconds.values()
