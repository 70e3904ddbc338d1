"""Messages of plain MQTT to readings, rejects and what they say of devices. Pure; called by
json_messages.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from zoneinfo import ZoneInfo

from aurelian.edge.gateway import Reading, Reject
from aurelian.model.mqtt_payloads import TopicModel
from aurelian.model.mqtt_topics import Template
from aurelian.model.names import NameFault
from aurelian.model.plant import Plant, Unit
from aurelian.model.sample import Flag
from aurelian.model.source_model import SourceModel
from mqtt_gateway.json_payload import Broken, Unreadable
from mqtt_gateway.mapping import SignalMap, Unread, reject_values
from mqtt_gateway.payloads.contract import Context, Decoder, DeviceState, Memory, Message, Part
from mqtt_gateway.payloads.table import decoder_of
from mqtt_gateway.times import Times


@dataclass(frozen=True, slots=True)
class Said:
    """What a message says of devices. `units`: declared ones; none: of no declared one."""

    units: Sequence[Unit]
    state: DeviceState


@dataclass(frozen=True, slots=True)
class Mapped:
    """What one message became.

    Attributes:
        unit: the unit that was heard, None where the plant model has none.
        said: what it says of devices.
        is_other: its topic is none of the source's, and only came since its filter is wider.
    """

    readings: Sequence[Reading]
    rejects: Sequence[Reject]
    unit: Unit | None = None
    said: Sequence[Said] = ()
    is_other: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """Topics with one decoder. `units`: those that they spoke for, by name."""

    template: Template
    entry: TopicModel
    decode: Decoder
    units: dict[str, Unit] = field(default_factory=dict)


class MessageMap:
    """Messages of a source of plain MQTT to readings.

    Raises:
        AddressError: one of the source's topics is unusable.
    """

    def __init__(
        self, plant: Plant, source: SourceModel, *, max_payload_bytes: int, max_discovered: int
    ) -> None:
        self._site = plant.path
        self.routes = tuple(
            Route(template, entry, decoder_of(entry))
            for entry in source.subscriptions
            for template in entry.templates(plant.path)
        )
        self.signals = SignalMap(plant, source, max_discovered)
        self.times = Times(ZoneInfo(source.time_zone), source.time_unit)
        self._memory = Memory()
        self._max_payload_bytes = max_payload_bytes
        self._is_wider = any(each.template.is_wider for each in self.routes)

    def find(self, topic: str) -> tuple[Route, dict[str, str]] | None:
        """The first entry of the plant file that takes a topic, and what its places found."""
        for route in self.routes:
            places = route.template.match(topic)
            if places is not None:
                return route, places
        return None

    def unit_name(self, route: Route, places: dict[str, str]) -> str:
        """What a topic calls its unit; where it names none the source's, if it has just one."""
        name = route.template.unit_name(places, self._site)
        return self.only_unit if name is None else name

    def json_place(self, topic: str) -> tuple[str, str] | None:
        """Unit and signal (empty: it names none) of a topic with a payload of plain JSON whose
        times have the usual names; None: another one."""
        found = self.find(topic)
        if found is None or found[0].entry.payload != "json" or found[0].entry.time_member:
            return None
        return self.unit_name(*found), found[1].get("signal", "")

    @property
    def only_unit(self) -> str:
        """The unit of a topic that names none: the source's, where it has just one."""
        return next(iter(self.signals.units)) if len(self.signals.units) == 1 else ""

    def map(
        self, topic: str, payload: bytes, flags: Flag, received_at: int | None = None
    ) -> Mapped:
        """Read one message; what cannot be read is a reject, never an exception."""
        if len(payload) > self._max_payload_bytes:
            reason = f"payload of {len(payload)} bytes, at most {self._max_payload_bytes} are read"
            return Mapped((), (Reject(reason, "too_large", topic, payload),))
        found = self.find(topic)
        if found is None:
            if self._is_wider:
                return Mapped((), (), is_other=True)
            reason = "topic does not fit the source's template"
            return Mapped((), (Reject(reason, "unknown_topic", topic, payload),))
        route, places = found
        unit_name = self.unit_name(route, places)
        context = Context(
            unit_name,
            self.signals.declared,
            self.times,
            route.entry,
            self._memory,
            received_at,
        )
        try:
            parts = route.decode(Message(topic, payload, places), context)
        except Unreadable as error:
            # A topic of one signal says whose value it was, also where nobody can read it.
            signal = self.signals.signal(unit_name, places.get("signal", "") or "value")
            reject = Reject(str(error), "unreadable", topic, payload, signal=signal)
            return Mapped((), (reject,), self.signals.units.get(unit_name))
        readings: list[Reading] = []
        rejects: list[Reject] = []
        said: list[Said] = []
        unit: Unit | None = None
        for part in parts:
            name = unit_name if part.unit is None else part.unit
            unit = self.signals.units.get(name)
            if unit is not None:
                route.units.setdefault(name, unit)
            made, refused = self._members(part, name, topic, payload, flags)
            readings += made
            rejects += refused
            if part.state is not None:
                units = [unit] if unit is not None else []
                units = list(route.units.values()) if part.state.everyone else units
                said.append(Said(units, part.state))
        return Mapped(readings, _merged(rejects), unit, said)

    def _members(
        self, part: Part, unit_name: str, topic: str, payload: bytes, flags: Flag
    ) -> tuple[list[Reading], list[Reject]]:
        readings: list[Reading] = []
        refused: list[str] = []
        unnamed: list[str] = []
        unread: list[Unread] = []
        for member in part.members:
            address = member.name or "value"
            if isinstance(member, Broken):
                reason = f"{member.name[:60]!a}: {member.reason}"
                signal = self.signals.signal(unit_name, address)
                unread.append(Unread(reason, member.error_class, signal, member.time))
                continue
            try:
                reading = self.signals.reading(
                    unit_name,
                    address,
                    member.value,
                    member.type,
                    member.time,
                    status=member.status,
                    flags=flags | member.flags,
                )
            except NameFault as error:
                unnamed.append(str(error))
                continue
            if reading is None:
                refused.append(address)
            else:
                readings.append(reading)
        rejects = reject_values(unread, topic, payload)
        if unnamed:
            rejects.append(Reject(unnamed[0], "name", topic, payload, len(unnamed)))
        if refused:
            reason = (
                f"signals {', '.join(each[:60] for each in refused[:5])} of unit "
                f"{unit_name[:60]!r} are not in the plant model"
            )
            rejects.append(Reject(reason, "unknown_signal", topic, payload, len(refused)))
        is_nothing = not (readings or rejects or part.state or part.is_aside)
        if is_nothing and unit_name not in self.signals.units:
            reason = f"unit {unit_name[:60]!r} is not in the plant model, and no value came"
            rejects.append(Reject(reason, "unknown_unit", topic, payload))
        return readings, rejects


def _merged(rejects: Sequence[Reject]) -> list[Reject]:
    """Rejects of one message's parts: of those that are of no single signal one for each class, and
    the payload once."""
    if len(rejects) < 2:
        return list(rejects)
    merged: list[Reject] = []
    places: dict[str, int] = {}
    for each in rejects:
        place = places.get(each.error_class) if each.signal is None else None
        if place is not None:
            first = merged[place]
            merged[place] = replace(first, samples=first.samples + each.samples)
            continue
        if each.signal is None:
            places[each.error_class] = len(merged)
        merged.append(replace(each, payload=b"") if merged else each)
    return merged
