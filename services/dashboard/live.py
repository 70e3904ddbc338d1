"""The live picture of the plant: newest values, states, alarms, and what was heard of each source.

Pure, in memory, one event loop. feed.py folds records into it; hub.py sends what changed; pages.py
draws it. Times are milliseconds since 1970 unless a name says otherwise. Whatever comes twice or
late changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from aurelian.model.asset import Asset
from aurelian.model.codec import SourceEvent
from aurelian.model.sample import Flag, SampleBatch, Signal, Value, ValueType
from dashboard.encoding import to_json
from dashboard.freshness import Freshness, Limits, freshness_of
from dashboard.things import Body, Death, LiveLine, LiveSignal, Message


class LivePlant:
    """The picture. `changed` and `heard_changed` collect what the next frame of values carries.

    Attributes:
        assets, signals, lines: by id.
        by_index: signals in the order of their index.
        heard: ms of the last sign of life. Keys: an asset's id; a source's id where all of the
            source was heard; and `~` + a source's id for any sign at all, by which no single
            machine may be called live.
        dead: silent since, by asset's or source's id.
        alarms: active ones by id.
        health: newest health of an asset by its id, with its open case if there is one.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.assets: dict[str, Asset] = {}
        self.signals: dict[str, LiveSignal] = {}
        self.by_index: list[LiveSignal] = []
        self.lines: dict[str, LiveLine] = {}
        self.heard: dict[str, int] = {}
        self.dead: dict[str, Death] = {}
        self.alarms: dict[str, Body] = {}
        self.health: dict[str, Body] = {}
        self.changed: set[int] = set()
        self.heard_changed: set[str] = set()
        self._cleared: dict[str, None] = {}

    # --- reading ------------------------------------------------------------------------------------------------

    def line(self, line: str) -> LiveLine:
        """The line's record, made on first use."""
        return self.lines.setdefault(line, LiveLine())

    def units_of(self, line: Asset) -> list[Asset]:
        """The line's machines in flow order; one that is not in the model's list comes last."""
        order = {str(unit): place for place, unit in enumerate(line.meaning.get("units", ()))}
        units = [
            asset
            for asset in self.assets.values()
            if asset.parent == line.id and asset.level == "unit"
        ]
        return sorted(units, key=lambda unit: (order.get(unit.id, len(order)), unit.path))

    def signals_of(self, asset: str) -> Iterator[LiveSignal]:
        """Signals that the asset carries."""
        return (signal for signal in self.by_index if signal.asset == asset)

    def voice_of(self, asset: str) -> str:
        """The asset whose freshness is this one's: a line speaks through its constraint unit."""
        found = self.assets.get(asset)
        if found is not None and found.level == "line":
            return str(found.meaning.get("constraint", asset))
        return asset

    def source_of(self, asset: str) -> str:
        """Id of the source that speaks for the asset; empty when nobody knows."""
        found = self.assets.get(self.voice_of(asset))
        return str(found.meaning.get("source", "")) if found is not None else ""

    def heard_ms(self, asset: str, source: str | None = None) -> int:
        """When the asset, or its source as a whole, was last heard; 0: never."""
        voice = self.voice_of(asset)
        speaker = self.source_of(asset) if source is None else source
        return max(self.heard.get(voice, 0), self.heard.get(speaker, 0))

    def death_of(self, asset: str, source: str | None = None) -> str | None:
        """Why the asset is known to be silent; None when it is not."""
        voice = self.voice_of(asset)
        speaker = self.source_of(asset) if source is None else source
        death = self.dead.get(voice) or self.dead.get(speaker)
        return death.reason if death is not None else None

    def freshness(self, asset: str, now_ms: int, source: str | None = None) -> Freshness:
        """Freshness of everything that this asset says."""
        return freshness_of(
            self.heard_ms(asset, source), self.death_of(asset, source), now_ms, self.limits
        )

    def line_of(self, asset: str) -> Asset | None:
        """The line that an asset belongs to, itself included."""
        found = self.assets.get(asset)
        while found is not None and found.level != "line":
            found = self.assets.get(found.parent or "")
        return found

    def line_of_alarm(self, alarm: Body) -> str:
        """Id of the line of an alarm, which names it by id or by path, or only its asset; empty
        when unknown."""
        line = self.line_of(alarm["asset"])
        return (
            line.id
            if line is not None
            else str(alarm["line"])
            if alarm["line"] in self.lines
            else ""
        )

    # --- folding ------------------------------------------------------------------------------------------------

    def put_asset(self, asset: Asset) -> bool:
        """Take a node of the tree with the signals that it declares; True if anything is new."""
        new = self.assets.get(asset.id) != asset
        self.assets[asset.id] = asset
        if asset.level == "line":
            self.line(asset.id)
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
        return new

    def remove_asset(self, asset: str) -> bool:
        """Forget a node; True if it was there. Its signals' indexes stay taken."""
        self.lines.pop(asset, None)
        return self.assets.pop(asset, None) is not None

    def put_signal(
        self, signal: Signal, role: str | None = None, limits: Mapping[str, Any] | None = None
    ) -> bool:
        """Take a signal's description and keep its value; True if it was not known.

        `role` None: the batch's dictionary told, which knows neither role nor limits and does not
            overrule them.
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
            known.role, known.limits, known.discovered = (
                role or "other",
                limits or None,
                signal.discovered,
            )
            return True
        if role is not None:
            known.asset, known.path, known.unit = signal.asset, signal.path, signal.unit
            known.role, known.limits = role, limits or None
            known.source = signal.source or known.source
        return False

    def put_value(
        self,
        signal: str,
        value: Value,
        *,
        status: int,
        flags: int,
        time_us: int,
        gateway_time_us: int,
    ) -> bool:
        """Take a value unless a newer one is there; True if it was taken. The signal must be
        known."""
        known = self.signals[signal]
        if time_us < known.time_us:
            return False
        known.value, known.status, known.flags = value, status, flags
        known.time_us, known.gateway_time_us = time_us, gateway_time_us
        self.changed.add(known.index)
        return True

    def apply_batch(self, batch: SampleBatch, now_ms: int) -> list[Message]:
        """Fold a batch: per signal the newest sample that is not historical; and its source was
        heard."""
        messages: list[Message] = []
        newest: dict[int, int] = {}
        times, flags = batch.time.tolist(), batch.flags.tolist()
        for place, signal in enumerate(batch.signal.tolist()):
            if not flags[place] & Flag.HISTORICAL and (
                signal not in newest or times[place] >= times[newest[signal]]
            ):
                newest[signal] = place
        values = batch.values() if newest else []
        for number, place in newest.items():
            signal = batch.signals[number]
            if self.put_signal(signal):
                messages.append(
                    Message("plant", {"signal": signal.id, "index": self.signals[signal.id].index})
                )
            gateway_time, status = int(batch.gateway_time[place]), int(batch.status[place])
            self.put_value(
                signal.id,
                values[place],
                status=status,
                flags=flags[place],
                time_us=times[place],
                gateway_time_us=gateway_time,
            )
            if (
                not flags[place] & Flag.RETAINED and status >> 30 != 2
            ):  # Bad may mean: the server cannot reach it
                messages += self._hear_source(signal.source, [signal.asset], gateway_time, now_ms)
        return messages

    def apply_source_event(self, event: SourceEvent, now_ms: int) -> list[Message]:
        """Fold what a gateway says of a source: birth, death, heartbeat; other kinds are not shown
        live."""
        match event.WhichOneof("kind"):
            case "heartbeat":
                at = event.heartbeat.heard_at or event.time
                return self._hear_source(event.source, event.heartbeat.assets, at, now_ms)
            case "birth":
                return self._hear_source(event.source, event.birth.assets, event.time, now_ms)
            case "death":
                reason = event.death.reason or "the source is gone"
                keys = list(event.death.assets) or [event.source]
                return [message for key in keys for message in self.bury(key, reason, event.time)]
            case _:
                return []

    def _hear_source(
        self, source: str, assets: Iterable[str], at_us: int, now_ms: int
    ) -> list[Message]:
        """A source spoke for some of its assets, or, where none is named, as a whole."""
        messages = self.hear(f"~{source}", at_us, now_ms) + self._revive(source, at_us)
        for key in list(assets) or [source]:
            messages += self.hear(key, at_us, now_ms)
        return messages

    def hear(self, key: str, at_us: int, now_ms: int) -> list[Message]:
        """Note that an asset, or a source as a whole, was heard at `at_us`; never later than
        now."""
        at_ms = min(at_us // 1000, now_ms)
        if key and at_ms > self.heard.get(key, 0):
            self.heard[key] = at_ms
            self.heard_changed.add(key)
        return self._revive(key, at_us)

    def bury(self, key: str, reason: str, at_us: int) -> list[Message]:
        """Note that a source or an asset is silent from `at_us` on, unless it was heard since."""
        known = self.dead.get(key)
        heard_ms = max(self.heard.get(key, 0), self.heard.get(f"~{key}", 0))
        if heard_ms * 1000 > at_us or (known is not None and known.at_us >= at_us):
            return []
        self.dead[key] = Death(reason, at_us)
        return [Message("source", {"key": key, "dead": reason, "heard": self.heard.get(key, 0)})]

    def _revive(self, key: str, at_us: int) -> list[Message]:
        death = self.dead.get(key)
        if death is None or at_us <= death.at_us:
            return []
        del self.dead[key]
        return [Message("source", {"key": key, "dead": None, "heard": self.heard.get(key, 0)})]

    # --- what other services found ------------------------------------------------------------------------------

    def put_state(self, body: Body) -> list[Message]:
        """Take a line's state `{"line","state","unit","reason","since"}` unless a later one is
        there."""
        line = self.line(body["line"])
        if line.state is not None and (body["since"] < line.state["since"] or body == line.state):
            return []
        line.state = body
        return [Message("state", body)]

    def put_kpi(self, body: Body) -> list[Message]:
        """Take a line's figures of the running shift unless later ones are there."""
        line = self.line(body["line"])
        if line.kpi is not None and body["computed_at"] < line.kpi["computed_at"]:
            return []
        line.kpi = body
        return [Message("kpi", body)]

    def put_capacity(self, body: Body) -> list[Message]:
        """Take a line's estimate of one week unless a later revision is there."""
        weeks = self.line(body["line"]).capacity
        known = weeks.get(body["week_start"])
        if known is not None and body["revision"] < known["revision"]:
            return []
        weeks[body["week_start"]] = body
        return [Message("capacity", body)]

    def put_health(self, body: Body) -> list[Message]:
        """Take an asset's health `{"asset","index","score","drivers","at"}`; its open case
        stays."""
        known = self.health.get(body["asset"], {})
        if body["at"] < known.get("at", 0):
            return []
        merged = {**known, **body}
        self.health[body["asset"]] = merged
        return [Message("health", merged)]

    def put_case(self, asset: str, case: Body | None, at: int) -> list[Message]:
        """Open (`case`) or close (None) an asset's maintenance case."""
        known = self.health.get(
            asset, {"asset": asset, "index": None, "score": None, "drivers": [], "at": 0}
        )
        if at < known.get("case_at", 0):
            return []
        self.health[asset] = {**known, "case": case, "case_at": at}
        return [Message("health", self.health[asset])]

    def raise_alarm(self, body: Body) -> list[Message]:
        """Add an active alarm; one that was cleared before stays cleared."""
        if body["id"] in self._cleared or body["id"] in self.alarms:
            return []
        self.alarms[body["id"]] = body
        return [Message("alarm", {"op": "raised", "line_id": self.line_of_alarm(body), **body})]

    def clear_alarm(self, alarm: str) -> list[Message]:
        """End an alarm."""
        self._cleared[alarm] = None
        while len(self._cleared) > 10_000:
            del self._cleared[next(iter(self._cleared))]
        body = self.alarms.pop(alarm, None)
        if body is None:
            return []
        return [Message("alarm", {"op": "cleared", "line_id": self.line_of_alarm(body), **body})]

    # --- for the browser ----------------------------------------------------------------------------------------

    def take_changes(self) -> tuple[set[int], set[str]]:
        """Indexes and keys that changed since the last call."""
        changed, heard = self.changed, self.heard_changed
        self.changed, self.heard_changed = set(), set()
        return changed, heard

    def frame(self, indexes: set[int], heard: set[str]) -> Body:
        """Columns of the newest values of `indexes`, and when `heard` were last heard."""
        chosen = [self.by_index[index] for index in sorted(indexes)]
        return {
            "i": [signal.index for signal in chosen],
            "v": [to_json(signal.value) for signal in chosen],
            "q": [signal.status for signal in chosen],
            "t": [signal.time_us // 1000 for signal in chosen],
            "h": {key: self.heard.get(key, 0) for key in sorted(heard)},
        }

    def snapshot(self) -> Body:
        """Everything that a browser needs to go on from."""
        voices = {
            asset.id: self.voice_of(asset.id)
            for asset in self.assets.values()
            if asset.level == "line"
        }
        return {
            "signals": [[s.id, s.asset, s.source, s.role] for s in self.by_index],
            "units": {
                a.id: a.meaning.get("source", "") for a in self.assets.values() if a.level == "unit"
            },
            "voices": voices,
            "values": self.frame({s.index for s in self.by_index if s.time_us}, set(self.heard)),
            "dead": {key: death.reason for key, death in self.dead.items()},
            "states": [line.state for line in self.lines.values() if line.state],
            "kpis": [line.kpi for line in self.lines.values() if line.kpi],
            "capacity": [week for line in self.lines.values() for week in line.capacity.values()],
            "alarms": [
                {"line_id": self.line_of_alarm(alarm), **alarm} for alarm in self.alarms.values()
            ],
            "health": list(self.health.values()),
        }
