"""From deliveries to what the outbox keeps: contract, ordinals, columns, counts. Called by
`gateway.forward`. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from aurelian.edge.contract import Ordinals, Reading, Reject, apply
from aurelian.edge.outbox.rows import EVENTS, REJECTED, HourCount, OutboxEntry, RecordKind
from aurelian.model import codec
from aurelian.model.plant_parts import SourceModel
from aurelian.model.sample import BAD, Flag, Sample, make_batch

HOUR = 3_600_000_000

MAX_BATCH_SAMPLES = 2000
MAX_BATCH_BYTES = 512 * 1024
"""A batch ends here; a single larger value stands in a batch of its own."""

MAX_PAYLOAD_BYTES = 512 * 1024
"""More of a rejected payload is cut off; size and SHA-256 are those of all of it."""

_SAMPLE_BYTES = 64
_MAX_TEXT = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What arrived together, with its acknowledgement.

    Attributes:
        source: the connection that it came from.
        owner: company of the source's plant; it may write only that company's assets.
        received_at: microseconds since 1970, receipt at the gateway.
        readings, rejects, events: any of them may be empty. Heartbeats are published, not kept.
        dropped: values that the gateway knows to be lost (say, a queue overflow that was counted).
        skipped: values left out by a rule (say, a repeated Sparkplug birth that is known already).
        ack: called on the event loop after the outbox commit that holds all of it; must not block
            or raise.
    """

    source: SourceModel
    owner: str
    received_at: int
    readings: Sequence[Reading] = ()
    rejects: Sequence[Reject] = ()
    events: Sequence[codec.SourceEvent] = ()
    dropped: int = 0
    skipped: int = 0
    ack: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """What one commit shall hold of one source."""

    entries: list[OutboxEntry]
    counts: list[HourCount]


@dataclass(slots=True)
class _OpenBatch:
    """A batch that still takes samples."""

    samples: list[Sample] = field(default_factory=list)
    bytes: int = 0


class Assembly:
    """Makes groups of one source's deliveries. Not thread safe; keeps the ordinals of recent
    values."""

    def __init__(self, gateway: str, boot: int, ordinals: Ordinals) -> None:
        self._gateway, self._boot, self._ordinals = gateway, boot, ordinals

    def assemble(self, deliveries: Iterable[Delivery]) -> Group:
        """One batch a line (more where it grows too large), each reject and each event a record,
        all of it counted."""
        lines: dict[str, _OpenBatch] = {}
        entries: list[OutboxEntry] = []
        counts: dict[tuple[str, int], HourCount] = {}
        for delivery in deliveries:
            rejects = list(delivery.rejects)
            for reading in delivery.readings:
                made = self._to_sample(reading, delivery)
                if isinstance(made, Reject):
                    rejects.append(made)
                else:
                    entries += self._add(lines, reading.line, made)
            entries += [self._rejected(reject, delivery) for reject in rejects]
            entries += [
                self._event(each, delivery)
                for each in delivery.events
                if not each.HasField("heartbeat")
            ]
            _count(counts, delivery, sum(reject.samples for reject in rejects))
        entries += [self._batch(line, batch) for line, batch in lines.items() if batch.samples]
        return Group(entries, list(counts.values()))

    def _to_sample(self, reading: Reading, delivery: Delivery) -> Sample | Reject:
        fault = _fault(reading, delivery)
        if fault is not None:
            return fault
        made = apply(reading, delivery.received_at)
        if isinstance(made, Sample) and (ordinal := self._ordinals.ordinal(made)):
            return replace(made, sub=ordinal)
        return made

    def _add(self, lines: dict[str, _OpenBatch], line: str, sample: Sample) -> list[OutboxEntry]:
        """Put a sample into its line's batch; returns the batch that was full before, if it was."""
        value = sample.value
        size = _SAMPLE_BYTES + (len(value) if isinstance(value, (str, bytes)) else 0)
        batch = lines.get(line)
        full: list[OutboxEntry] = []
        if batch is None:
            batch = lines[line] = _OpenBatch()
        elif len(batch.samples) >= MAX_BATCH_SAMPLES or batch.bytes + size > MAX_BATCH_BYTES:
            full.append(self._batch(line, batch))
            batch = lines[line] = _OpenBatch()
        batch.samples.append(sample)
        batch.bytes += size
        return full

    def _batch(self, line: str, batch: _OpenBatch) -> OutboxEntry:
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
        complete.source, complete.time = delivery.source.id, event.time or delivery.received_at
        return event_entry(complete)

    def _rejected(self, reject: Reject, delivery: Delivery) -> OutboxEntry:
        rejected = codec.Rejected(
            owner=delivery.owner,
            gateway=self._gateway,
            boot=self._boot,
            source=delivery.source.id,
            time=delivery.received_at,
            reason=_readable(reject.reason),
            error_class=reject.error_class,
            origin=_readable(reject.origin),
            payload=reject.payload[:MAX_PAYLOAD_BYTES],
            payload_size=len(reject.payload),
            payload_sha256=hashlib.sha256(reject.payload).hexdigest(),
            samples=reject.samples,
        )
        data = codec.encode_rejected(rejected)
        return OutboxEntry(
            RecordKind.REJECTED, REJECTED, delivery.source.id, reject.samples, lambda _: data
        )


class LastSeen:
    """When each source and its assets were last seen alive, for the heartbeats by which readers
    judge freshness.

    A heartbeat of the source (its keep-alive) vouches for all of its assets; fresh readings vouch
    for theirs, but not Bad ones: a server that cannot reach a machine says so with them.
    """

    def __init__(self, gateway: str, boot: int) -> None:
        self._gateway, self._boot = gateway, boot
        self._seen: dict[str, tuple[str, dict[str, int]]] = {}

    def note(self, delivery: Delivery) -> None:
        """Note what a delivery vouches for."""
        _, assets = self._seen.setdefault(delivery.source.id, (delivery.owner, {}))
        fresh = {
            reading.unit.id
            for reading in delivery.readings
            if reading.unit is not None
            and not reading.status & BAD
            and not reading.flags & (Flag.HISTORICAL | Flag.RETAINED)
        }
        assets.update(dict.fromkeys(fresh, delivery.received_at))
        for event in delivery.events:
            match event.WhichOneof("kind"):
                case "heartbeat":
                    at = event.heartbeat.heard_at or delivery.received_at
                    assets.update(dict.fromkeys(event.heartbeat.assets or [""], at))
                case "death":
                    for asset in event.death.assets or list(assets):
                        assets.pop(asset, None)

    def take_heartbeats(self, now: int) -> list[codec.SourceEvent]:
        """A heartbeat for each source seen since the last call. `now`: microseconds since 1970."""
        heartbeats = [
            codec.SourceEvent(
                owner=owner,
                gateway=self._gateway,
                boot=self._boot,
                source=source,
                time=now,
                heartbeat=codec.Heartbeat(
                    heard_at=max(assets.values()), assets=[] if "" in assets else sorted(assets)
                ),
            )
            for source, (owner, assets) in self._seen.items()
            if assets
        ]
        self._seen.clear()
        return heartbeats


def event_entry(event: codec.SourceEvent) -> OutboxEntry:
    """The entry of a complete source event that is kept until it is stored."""
    data = codec.encode_event(event)
    return OutboxEntry(RecordKind.EVENTS, EVENTS, event.source, 0, lambda _: data)


def _count(counts: dict[tuple[str, int], HourCount], delivery: Delivery, rejected: int) -> None:
    received = len(delivery.readings) + sum(reject.samples for reject in delivery.rejects)
    received += delivery.dropped + delivery.skipped
    if not received:
        return
    key = (delivery.source.id, delivery.received_at // HOUR * HOUR)
    count = HourCount(
        *key,
        delivery.owner,
        received,
        dropped=delivery.dropped,
        skipped=delivery.skipped,
        rejected=rejected,
    )
    before = counts.get(key)
    counts[key] = count if before is None else before.plus(count)


def _fault(reading: Reading, delivery: Delivery) -> Reject | None:
    """Why a source may not write this signal, if so."""
    prefix = f"{delivery.owner}/"
    path = reading.signal.path
    if not path.startswith(prefix) or not reading.line.startswith(prefix):
        reason, error_class = f"the source writes for {delivery.owner!r} only", "owner"
    elif reading.model is None and delivery.source.closed:
        reason, error_class = (
            "the plant model does not have it, and the source is closed",
            "unknown_signal",
        )
    elif reading.model is None and not _is_unicode(path, reading.signal.unit):
        reason, error_class = "its name is no Unicode", "encoding"
    else:
        return None
    value = reading.value
    payload = value if isinstance(value, bytes) else str(value).encode(errors="backslashreplace")
    return Reject(f"signal {path!r}: {reason}", error_class, path, payload)


def _is_unicode(*texts: str) -> bool:
    try:
        return all(text.isascii() or bool(text.encode()) for text in texts)
    except UnicodeEncodeError:
        return False


def _readable(text: str) -> str:
    return text[:_MAX_TEXT].encode(errors="backslashreplace").decode()
