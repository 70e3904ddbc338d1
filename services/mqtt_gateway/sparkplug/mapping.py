"""What the host application learned, as readings, rejects and events of the plant model; used by
source.py."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import assert_never

from aurelian.edge.columns import SignalTable
from aurelian.edge.contract import judge_time
from aurelian.edge.gateway import Reading, Reject
from aurelian.edge.names import label_fault, readable
from aurelian.model import codec
from aurelian.model.evidence import UNCERTAIN_LAST_USABLE
from aurelian.model.names import NameFault
from aurelian.model.sample import Flag
from aurelian.model.source_model import SourceModel
from aurelian.model.time import now_us
from mqtt_gateway import metrics
from mqtt_gateway.collected import Collected
from mqtt_gateway.mapping import SignalMap, Unread, reject_values
from mqtt_gateway.sparkplug.descriptions import Descriptions
from mqtt_gateway.sparkplug.messages import (
    Action,
    Born,
    Died,
    Edge,
    Irregular,
    Measured,
    Missing,
    Numbers,
    Rebirth,
    RefusedValues,
    Stale,
    Told,
)
from mqtt_gateway.sparkplug.messages import Refused as RefusedMessage
from mqtt_gateway.sparkplug.units import SparkplugUnits

log = logging.getLogger(__name__)

_MOST_UNITS = 100_000
_MOST_TOLD = 10_000


@dataclass(slots=True)
class Content:
    """What actions come to, in one delivery. `rebirths`: edge nodes to ask for one, and why;
    `others`: handles of the declared signals that have readings."""

    numbers: Collected = field(default_factory=Collected)
    others: set[int] = field(default_factory=set)
    readings: list[Reading] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    events: list[codec.SourceEvent] = field(default_factory=list)
    rebirths: list[tuple[Edge, str]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.numbers.place or self.readings or self.rejects or self.events)


class ActionMap:
    """Edge nodes, devices and metrics of one source to its units and signals. `counted`: in the
    gateway's metrics and log.

    Attributes:
        descriptions: what births say of the units of the plant model.
        table: the declared signals by handle.
    """

    def __init__(
        self,
        model: SourceModel,
        owner: str,
        signals: SignalMap,
        units: SparkplugUnits,
        *,
        counted: bool = True,
    ) -> None:
        self._model, self._owner, self._counted = model, owner, counted
        self._signals, self._units = signals, units
        self.descriptions = Descriptions()
        entries, self._handles = signals.declared_entries()
        self.table = SignalTable(owner, entries)
        self._measures: dict[tuple[str, str], str] = {}
        self._told: set[tuple[Edge, str]] = set()

    def map(self, actions: Iterable[Action], at: int) -> list[Content]:
        """Map actions in order, mostly to one content; `at`: the time of births and deaths,
        microseconds. No signal has both numbers and readings in one: their order would be lost."""
        content = Content()
        contents = [content]
        for action in actions:
            found = Content()
            match action:
                case Numbers():
                    if _are_apart(action, content):
                        content.numbers.add_each(action.columns)
                        continue
                    found.numbers.add_each(action.columns)
                case Told():
                    self._add_readings(action, found)
                case Stale():
                    self._add_readings(_as_told(action, at), found)
                case _:
                    self._add_other(action, at, content)
                    continue
            if found.numbers.place or not content.numbers.handles.isdisjoint(found.others):
                contents.append(found)
                content = found
            else:
                content.others |= found.others
                content.readings += found.readings
                content.rejects += found.rejects
        return contents

    def _add_other(
        self,
        action: Born | Died | Irregular | Rebirth | Missing | RefusedMessage | RefusedValues,
        at: int,
        content: Content,
    ) -> None:
        match action:
            case Born(edge, device):
                self._note_birth(action, at)
                if assets := self.assets(edge, (device,)):
                    detail = f"{edge.group}/{edge.node}"
                    birth = codec.Birth(assets=assets, detail=detail)
                    content.events.append(self.event(at, birth=birth))
            case Irregular():
                self._note_rule(action)
            case Died(edge, device, devices, reason, time):
                everything = (
                    device is None and self._model.edge_node != "+" and self._model.group != "+"
                )
                assets = (
                    [unit.id for unit in self._signals.units.values()]
                    if everything
                    else self.assets(edge, (device, *devices))
                )
                if assets:
                    death = codec.Death(assets=assets, reason=reason)
                    content.events.append(self.event(_since(time, at), death=death))
            case Missing(edge, since, reason):
                if self._counted:
                    metrics.MISSING.labels(self._model.key).inc()
                content.events.append(self.gap(since, f"{edge.group}/{edge.node}: {reason}"))
            case Rebirth(edge, reason):
                content.rebirths.append((edge, reason))
            case RefusedMessage(topic, payload, reason, error_class, count):
                content.rejects.append(Reject(reason, error_class, topic, payload, count))
            case RefusedValues():
                content.rejects += self._reject_values(action)
            case _:
                assert_never(action)

    def handle_of(self, edge: Edge, device: str | None, name: str) -> int:
        """The handle of a metric in `table`; -1: the plant model does not have it."""
        unit = self._units.name(edge, device)
        return self._handles.get((unit, self._address_of(unit, device or edge.node, name)), -1)

    def assets(self, edge: Edge, devices: Iterable[str | None]) -> list[str]:
        """Ids of the units that an edge node (None) and its devices are."""
        return [
            unit.id
            for name in self._units.names(edge, devices)
            if (unit := self._signals.units.get(name)) is not None
        ]

    def gap(self, since: int, reason: str) -> codec.SourceEvent:
        """Something is missing between `since` (0: not known) and now."""
        now = now_us()
        return self.event(now, gap=codec.Gap(from_time=since or now, to_time=now, reason=reason))

    def event(self, at: int, **kind: object) -> codec.SourceEvent:
        """An event of the source."""
        return codec.SourceEvent(owner=self._owner, source=self._model.key, time=at, **kind)  # type: ignore[arg-type]

    def _add_readings(self, told: Told, content: Content) -> None:
        unit = self._units.name(told.edge, told.device)
        for each in told.values:
            address = self._address(unit, told, each.name)
            reason = f"metric {each.name[:60]!r} of {unit[:60]!r} is not in the plant model"
            error_class = "unknown_signal"
            try:
                reading = self._signals.reading(
                    unit,
                    address,
                    each.value,
                    each.type,
                    each.time,
                    status=each.status,
                    flags=each.flags,
                    measure=self._measures.get((unit, address), ""),
                )
            except NameFault as error:
                reading, reason, error_class = None, str(error), "name"
            if reading is not None:
                content.readings.append(reading)
                content.others.add(self.table.handle_of.get(reading.signal.id, -1))
            else:
                origin = f"{'/'.join(told.edge)}/{_own_name(told)}/{each.name}"
                payload = repr(each.value).encode(errors="backslashreplace")
                content.rejects.append(Reject(reason, error_class, origin, payload))

    def _note_birth(self, born: Born, at: int) -> None:
        if not born.metrics:
            return
        name = self._units.name(born.edge, born.device)
        unit = self._signals.units.get(name)
        if unit is not None:
            self.descriptions.take(unit.id, born, at)
        for each in born.metrics:
            place = name, self._address(name, born, each.name)
            if each.unit and self._signals.signal(*place) is None and not label_fault(each.unit):
                if len(self._measures) < _MOST_UNITS or place in self._measures:
                    self._measures[place] = each.unit
            else:
                self._measures.pop(place, None)

    def _note_rule(self, broken: Irregular) -> None:
        if not self._counted:
            return
        metrics.IRREGULAR.labels(self._model.key, broken.rule).inc()
        place = broken.edge, broken.rule
        if place in self._told or len(self._told) >= _MOST_TOLD:
            return
        self._told.add(place)
        fields = {
            "source": self._model.key,
            "node": readable("/".join(broken.edge)),
            "rule": broken.rule,
            "detail": readable(broken.detail),
        }
        log.warning("an edge node breaks a rule; it is understood", extra={"fields": fields})

    def _reject_values(self, refused: RefusedValues) -> list[Reject]:
        unit = self._units.name(refused.edge, refused.device)
        unread = [
            Unread(
                each.reason,
                "type",
                self._signals.signal(unit, self._address(unit, refused, each.name)),
                each.time,
            )
            for each in refused.values
        ]
        return reject_values(unread, refused.topic, refused.payload)

    def _address(self, unit: str, of: Told | RefusedValues | Born, name: str) -> str:
        """What the plant model calls a metric: after the name of its device, or without it."""
        return self._address_of(unit, _own_name(of), name)

    def _address_of(self, unit: str, own_name: str, name: str) -> str:
        full = f"{own_name}/{name}"
        return full if self._signals.signal(unit, full) is not None else name


def _are_apart(numbers: Numbers, content: Content) -> bool:
    """Whether no signal of the numbers has readings in the content."""
    others = content.others
    return not others or all(
        others.isdisjoint(handles) for _, handles, _, _ in numbers.columns.values()
    )


def _as_told(stale: Stale, at: int) -> Told:
    since = at if stale.time is None else stale.time
    values = [
        Measured(name, value, kind, since, UNCERTAIN_LAST_USABLE, Flag.NONE)
        for name, value, kind in stale.values
    ]
    return Told(stale.edge, stale.device, tuple(values))


def _own_name(of: Told | RefusedValues | Born) -> str:
    return of.device if of.device is not None else of.edge.node


def _since(said: int | None, at: int) -> int:
    """When somebody died: as the death certificate says where that can be, else `at`."""
    if said is None or judge_time(said, Flag.NONE, at, 0) is not Flag.NONE:
        return at
    return min(said, at)
