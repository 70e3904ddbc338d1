"""The live picture of the plant: newest values, and what was heard of each source.

Pure, in memory, one event loop. feed.py folds records into it; hub.py sends what changed; pages.py
draws it. Times are milliseconds since 1970 unless a name says otherwise. Whatever comes twice or
late changes nothing.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import Any

from aurelian.model.asset import Asset, read_vocabulary
from aurelian.model.codec import SourceEvent
from aurelian.model.evidence import vouching
from aurelian.model.machine_states import DEFAULT
from aurelian.model.sample import (
    CHOSEN_TIME,
    Flag,
    SampleBatch,
    Signal,
    Value,
    ValueType,
)
from dashboard.asset_tree import AssetTree
from dashboard.connections import Connections
from dashboard.encoding import to_json
from dashboard.findings import Findings
from dashboard.freshness import Freshness, Limits, freshness_of
from dashboard.machine_evidence import BAD_REFUSED, EvidenceBook
from dashboard.presence import Presence
from dashboard.records import Body, LiveSignal, Message, Shown
from dashboard.standing import StandingAlarms

_INDEX = attrgetter("index")


def _order(times: list[int], received: list[int], subs: list[int], place: int) -> tuple[int, int]:
    return min(times[place], received[place]), subs[place]


class LivePlant:
    """The picture. `changed` collects the signals that the next frame of values carries.

    Attributes:
        tree: assets and their order.
        presence: when sources and machines were heard.
        findings: what other services found of its lines and machines.
        connections: how the gateways say that each source is.
        standing: alarms that the machines tell themselves.
        signals: by id.
        by_index: signals in the order of their index.
        evidence: what is known of each machine's state, by its id.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.tree = AssetTree()
        self.presence = Presence()
        self.signals: dict[str, LiveSignal] = {}
        self.by_index: list[LiveSignal] = []
        self.findings = Findings(self.tree)
        self.connections = Connections()
        self.standing = StandingAlarms(self.tree)
        self.evidence = EvidenceBook(self.presence, self.limits.live_ms)
        self.changed: set[int] = set()
        self._by_asset: dict[str, list[LiveSignal]] = {}

    # --- reading

    def signals_of(self, asset: str) -> list[LiveSignal]:
        """Signals that the asset carries, by index. Not to be changed."""
        return self._by_asset.get(asset, [])

    def state_signal_of(self, unit: str) -> LiveSignal | None:
        """The signal that carries a machine's own state; None: it has none."""
        return next((signal for signal in self.signals_of(unit) if signal.role == "state"), None)

    def heard_ms(self, asset: str, source: str | None = None) -> int:
        """When the asset, or its source as a whole, was last heard; 0: never."""
        reporter, its_source = self.tree.reporters_of(asset)
        return self.presence.heard_ms(reporter, its_source if source is None else source)

    def freshness(self, asset: str, now_ms: int, source: str | None = None) -> Freshness:
        """Freshness of everything that this asset reports."""
        reporter, its_source = self.tree.reporters_of(asset)
        source = its_source if source is None else source
        heard_ms = self.presence.heard_ms(reporter, source)
        return freshness_of(
            heard_ms, self.presence.silence_of(reporter, source), now_ms, self.limits
        )

    def silence_reason(self, asset: str) -> str:
        """Why an asset that is stale is not heard, where something says so."""
        reporter, source = self.tree.reporters_of(asset)
        evidence = self.evidence.of(reporter)
        silence = self.presence.silence_of(reporter, source)
        if silence and reporter not in self.presence.silent:
            # The source is away: its latest attempt says more than how the connection ended.
            silence = self.connections.reason_of(source) or silence
        return silence or evidence.ended or evidence.note

    # --- folding

    def put_asset(self, asset: Asset) -> bool:
        """Take a node of the tree with the signals that it declares; True if anything is new."""
        new = self.tree.put(asset)
        self.standing.is_changed |= new
        if asset.level == "line":
            self.findings.line(asset.id)
        for declared in asset.meaning.get("signals", ()):
            signal = Signal(
                id=str(declared["id"]),
                asset=asset.id,
                path=f"{asset.path}/{declared['name']}",
                type=ValueType(declared["type"]),
                unit=str(declared.get("unit", "")),
                source=str(asset.meaning.get("source", "")),
            )
            new |= self.put_signal(
                signal, str(declared.get("role", "other")), declared.get("limits")
            )
            try:
                states = read_vocabulary(declared.get("states", DEFAULT))
            except ValueError:
                states = {}  # of a later version: each value is shown as unknown
            self.signals[signal.id].states = states
        return new

    def remove_asset(self, asset: str) -> bool:
        """Forget a node; True if it was there. Its signals' indexes stay taken."""
        self.findings.lines.pop(asset, None)
        return self.tree.remove(asset)

    def put_signal(
        self, signal: Signal, role: str | None = None, limits: Mapping[str, Any] | None = None
    ) -> bool:
        """Take a signal's description and keep its value; True if it was not known.

        `role` None: it comes from a batch's dictionary, which knows neither role nor limits and
        does not overrule them.
        """
        known = self.signals.get(signal.id)
        if known is None:
            known = LiveSignal(
                len(self.by_index),
                signal.id,
                signal.asset,
                signal.path,
                signal.type,
                signal.unit,
                signal.source,
            )
            self.signals[signal.id] = known
            self.by_index.append(known)
            self._by_asset.setdefault(signal.asset, []).append(known)
            known.role, known.limits, known.discovered = (
                role or "other",
                limits or None,
                signal.discovered,
            )
            return True
        if role is not None:
            self._move(known, signal.asset)
            known.path, known.unit = signal.path, signal.unit
            known.role, known.limits = role, limits or None
            known.discovered = signal.discovered
            known.source = signal.source or known.source
        return False

    def _move(self, signal: LiveSignal, asset: str) -> None:
        """Give a signal to another asset; each asset keeps its signals by index."""
        if signal.asset == asset:
            return
        self._by_asset[signal.asset].remove(signal)
        signal.asset = asset
        insort(self._by_asset.setdefault(asset, []), signal, key=_INDEX)

    def put_value(
        self,
        signal: str,
        value: Value,
        *,
        status: int,
        flags: int,
        time_us: int,
        gateway_time_us: int,
        sub: int = 0,
    ) -> bool:
        """Take a value unless a newer one is there; True if it was taken. The signal must be
        known.

        Newer: by the earlier of its own time and its receipt (a clock that is ahead makes nothing
        new), then by its ordinal at that time, then by arrival.
        """
        known = self.signals[signal]
        order = (min(time_us, gateway_time_us), sub)
        if order < known.order:
            return False
        known.value, known.status, known.flags, known.order = value, status, flags, order
        known.time_us, known.gateway_time_us = time_us, gateway_time_us
        self.changed.add(known.index)
        return True

    def apply_batch(self, batch: SampleBatch, now_ms: int) -> list[Message]:
        """Fold a batch: per signal the newest sample that is not historical, and what it says of
        its machine."""
        messages: list[Message] = []
        newest: dict[int, int] = {}
        heard: dict[int, int] = {}
        latest: dict[int, int] = {}
        good = vouching(batch)
        times, flags, subs = batch.time.tolist(), batch.flags.tolist(), batch.sub.tolist()
        # A time that the plant model chose stands for the source's own, which says nothing.
        own_times = [
            time if flag & CHOSEN_TIME else source_time
            for time, flag, source_time in zip(
                times, flags, batch.source_time.tolist(), strict=True
            )
        ]
        received = batch.gateway_time.tolist()
        for place, signal in enumerate(batch.signal.tolist()):
            if flags[place] & Flag.HISTORICAL:
                continue
            if flags[place] & Flag.HEARTBEAT and self._knows(batch, place):
                continue
            if signal not in newest or _order(times, received, subs, place) >= _order(
                times, received, subs, newest[signal]
            ):
                newest[signal] = place
            if not flags[place] & (Flag.RETAINED | Flag.HEARTBEAT):
                latest[signal] = place
                if good[place]:
                    heard[signal] = place
        values = batch.values() if newest else []
        for number, place in newest.items():
            signal = batch.signals[number]
            if self.put_signal(signal):
                messages.append(
                    Message("plant", {"signal": signal.id, "index": self.signals[signal.id].index})
                )
            self.put_value(
                signal.id,
                values[place],
                status=int(batch.status[place]),
                flags=flags[place],
                time_us=times[place],
                gateway_time_us=received[place],
                sub=subs[place],
            )
        for number in sorted(latest, key=lambda number: received[latest[number]]):
            place = latest[number]
            known = self.signals[batch.signals[number].id]
            messages += self.evidence.take(
                known,
                values[place],
                status=int(batch.status[place]),
                flags=flags[place],
                source_time=own_times[place],
                gateway_time=received[place],
                now_ms=now_ms,
            )
            at = heard.get(number, place)
            if at != place and not known.discovered:  # an earlier one of the same batch vouches
                source_time = own_times[at] or received[at]
                messages += self.evidence.hear(known, source_time, received[at], now_ms)
        return messages

    def _knows(self, batch: SampleBatch, place: int) -> bool:
        """Whether the value that a repeat repeats is there already, or a newer one."""
        known = self.signals.get(batch.signals[int(batch.signal[place])].id)
        if known is None:
            return False
        received = int(batch.gateway_time[place])
        at = min(int(batch.time[place]), received)
        return (at, int(batch.sub[place])) <= known.order

    def apply_source_event(self, event: SourceEvent, now_ms: int) -> list[Message]:
        """Fold what a gateway says of a source; kinds that no page shows give nothing."""
        self.connections.hear(event, now_ms)
        match event.WhichOneof("kind"):
            case "heartbeat":
                at = event.heartbeat.heard_at or event.time
                return self.presence.mark_source_heard(
                    event.source, event.heartbeat.assets, at, now_ms
                )
            case "birth":
                return self.presence.mark_source_heard(
                    event.source, event.birth.assets, event.time, now_ms
                )
            case "death":
                reason = event.death.reason or "the source is gone"
                keys = list(event.death.assets) or [event.source]
                return [
                    message
                    for key in keys
                    for message in self.presence.mark_silent(key, reason, event.time)
                ]
            case "refused":
                return self._refuse(event)
            case "connection":
                return self.connections.take(event, now_ms)
            case "alarm":
                self.standing.take(event)
                return []
            case _:
                return []

    def _refuse(self, event: SourceEvent) -> list[Message]:
        """A declared signal's value broke its contract: of the state signal, this ends the
        state."""
        refused = event.refused
        signal = self.signals.get(refused.signal)
        unit = signal.asset if signal is not None else refused.asset
        if not unit:
            return []
        if signal is not None and event.time >= signal.gateway_time_us:
            # What is shown is not what the machine says now: the value stays, and is not good.
            signal.status = BAD_REFUSED
            self.changed.add(signal.index)
        ends = signal is not None and signal.role == "state"
        return self.evidence.refuse(unit, refused.reason, event.time, ends=ends)

    # --- for the browser

    def take_messages(self) -> list[Message]:
        """What is told once a second at most, however often it changed."""
        return [Message("machine_alarms", body) for body in self.standing.take_changes()]

    def take_changes(self) -> tuple[set[int], set[str]]:
        """Indexes of signals and keys of `presence.heard` that changed since the last call."""
        changed, heard = self.changed, self.presence.changed
        self.changed, self.presence.changed = set(), set()
        return changed, heard

    def frame(self, indexes: Iterable[int], heard: Iterable[str]) -> Body:
        """Columns of the newest values of `indexes`, and when `heard` were last heard."""
        chosen = [self.by_index[index] for index in sorted(indexes)]
        return {
            "i": [signal.index for signal in chosen],
            "v": [to_json(signal.value) for signal in chosen],
            "q": [signal.status for signal in chosen],
            "t": [signal.time_us // 1000 for signal in chosen],
            "h": {key: self.presence.heard.get(key, 0) for key in sorted(heard)},
        }

    def snapshot(self, shown: Shown | None = None) -> Body:
        """What a browser needs to go on from: the whole picture, or as much as a page shows.

        Machines and signs of life are always whole, because every page counts live machines.
        """
        everything = Shown(self.findings.lines.keys(), self.by_index, self.findings.health.keys())
        shown = everything if shown is None else shown
        lines = [(line, found) for line in shown.lines if (found := self.findings.lines.get(line))]
        alarms = [
            {"line_id": line, **alarm}
            for alarm in self.findings.alarms.values()
            if (line := self.findings.line_of_alarm(alarm)) in shown.lines or shown is everything
        ]
        return {
            "signals": [[s.id, s.asset, s.source, s.role, s.index] for s in shown.signals],
            "units": {unit.id: unit.meaning.get("source", "") for unit in self.tree.units()},
            "constraints": {line: self.tree.reporters_of(line)[0] for line, _ in lines},
            "values": self.frame(
                (s.index for s in shown.signals if s.time_us), self.presence.heard
            ),
            "stateless": [
                unit.id for unit in self.tree.units() if self.state_signal_of(unit.id) is None
            ],
            "evidence": self.evidence.bodies(),
            "before": [line.before for _, line in lines if line.before],
            "dead": {key: silence.reason for key, silence in self.presence.silent.items()},
            "states": [line.state for _, line in lines if line.state],
            "kpis": [line.kpi for _, line in lines if line.kpi],
            "capacity": [week for _, line in lines for week in line.capacity.values()],
            "alarms": alarms,
            "connections": self.connections.bodies(),
            "machine_alarms": self.standing.bodies(shown.lines),
            "health": [
                self.findings.health[unit]
                for unit in shown.health_of
                if unit in self.findings.health
            ],
        }
