"""Topics, fields and metrics to signals and readings. Pure; called by source.py and
sparkplug_source.py."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from aurelian.edge.gateway import Reading, Reject
from aurelian.model.plant import Plant, Unit, derive_id
from aurelian.model.plant_parts import SignalModel, SourceModel
from aurelian.model.sample import Flag, Signal, Value, ValueType
from mqtt_gateway.json_payload import Unreadable, read_fields

_PLACE = re.compile(r"\{(unit|signal)\}|\+")


class TemplateError(ValueError):
    """A source's topic is no usable template; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Template:
    """A topic with places in it, say `plant/{unit}/{signal}`; `+` stands for any level, `#` at the
    end for all that follow.

    Attributes:
        filter: what to subscribe to.
    """

    filter: str
    _pattern: re.Pattern[str]

    def match(self, topic: str) -> dict[str, str] | None:
        """Unit and signal as the topic names them (each where the template has a place for it);
        None: another topic."""
        found = self._pattern.fullmatch(topic)
        return (
            None if found is None else {k: v for k, v in found.groupdict().items() if v is not None}
        )


def parse_template(topic: str) -> Template:
    """Read a source's topic.

    Raises:
        TemplateError: empty, a place stands twice, or `#` is not the last level.
    """
    levels = topic.split("/")
    if (
        not topic
        or any("#" in level for level in levels[:-1])
        or ("#" in levels[-1] and levels[-1] != "#")
    ):
        raise TemplateError(f"topic {topic!r} is no MQTT filter; say plant/{{unit}}/state")
    wild = levels[-1] == "#"
    if wild and "{signal}" in topic:
        raise TemplateError(
            f"topic {topic!r}: `#` already stands for the signal, so {{signal}} has no place"
        )
    parts = []
    for level in levels[:-1] if wild else levels:
        parts.append(
            "".join(
                f"(?P<{piece[1:-1]}>[^/]+)"
                if piece in ("{unit}", "{signal}")
                else "[^/]*"
                if piece == "+"
                else re.escape(piece)
                for piece in re.split(r"(\{unit\}|\{signal\}|\+)", level)
            )
        )
    pattern = "/".join(parts) + ("(?:/(?P<signal>.+))?" if wild else "")
    try:
        compiled = re.compile(pattern, re.DOTALL)
    except re.error as error:
        raise TemplateError(f"topic {topic!r}: a place stands twice") from error
    return Template("/".join("+" if _PLACE.search(level) else level for level in levels), compiled)


class SignalMap:
    """The signals of one source by unit name and address; what is not there is discovered, up to
    `max_discovered`."""

    def __init__(self, plant: Plant, source: SourceModel, max_discovered: int) -> None:
        self.plant, self.source = plant, source
        self.units: dict[str, Unit] = {}
        self._known: dict[tuple[str, str], tuple[SignalModel, Signal]] = {}
        self._paths: set[str] = set()
        self._discovered: dict[str, Signal] = {}
        self._max_discovered = max_discovered
        for unit in plant.units():
            if unit.model.source == source.id:
                self.units[unit.model.name] = unit
                for signal, model in zip(unit.signals(), unit.model.signals, strict=True):
                    self._known[unit.model.name, model.address or model.name] = model, signal
                    self._paths.add(signal.path)

    def declared(self, unit: str) -> set[str]:
        """Addresses that the plant model knows of a unit."""
        return {address for name, address in self._known if name == unit}

    def model(self, unit: str, address: str) -> SignalModel | None:
        """The model of a signal, None where it is not in the plant model."""
        found = self._known.get((unit, address))
        return None if found is None else found[0]

    def reading(
        self,
        unit_name: str,
        address: str,
        value: Value,
        kind: ValueType,
        time: int | None,
        *,
        status: int = 0,
        flags: Flag = Flag.NONE,
    ) -> Reading | None:
        """A value as a reading; None where it is unknown and may not be discovered (a closed
        source, or too many)."""
        unit = self.units.get(unit_name)
        line = self.plant.path if unit is None else unit.line.path
        known = self._known.get((unit_name, address))
        if known is not None:
            return Reading(unit, known[0], known[1], line, value, kind, time, 0, status, flags)
        signal = self._discover(unit, unit_name, address, kind)
        return (
            None
            if signal is None
            else Reading(unit, None, signal, line, value, kind, time, 0, status, flags)
        )

    def _discover(
        self, unit: Unit | None, unit_name: str, address: str, kind: ValueType
    ) -> Signal | None:
        parent = unit.path if unit is not None else self.plant.path
        if unit is None and unit_name:
            parent += f"/{_safe(unit_name)}"
        path = f"{parent}/{_safe(address)}"
        while path in self._paths:  # the name of a declared signal that has another address
            path += "~"
        signal = self._discovered.get(path)
        if signal is None:
            if self.source.closed or len(self._discovered) >= self._max_discovered:
                return None
            asset = derive_id(self.plant.path) if unit is None else unit.id
            signal = self._discovered[path] = Signal(
                derive_id(path), asset, path, kind, "", self.source.id, discovered=True
            )
        return signal


@dataclass(frozen=True, slots=True)
class Mapped:
    """What one message became. `unit`: the unit that was heard, None where the plant model has
    none."""

    readings: Sequence[Reading]
    rejects: Sequence[Reject]
    unit: Unit | None = None


class JsonMap:
    """Messages of an mqtt_json source to readings.

    Raises:
        TemplateError: the source's topic is unusable.
    """

    def __init__(
        self, plant: Plant, source: SourceModel, *, max_payload_bytes: int, max_discovered: int
    ) -> None:
        self.template = parse_template(source.topic)
        self._signals = SignalMap(plant, source, max_discovered)
        self._zone = ZoneInfo(source.time_zone)
        self._max_payload_bytes = max_payload_bytes

    def map(self, topic: str, payload: bytes, flags: Flag) -> Mapped:
        """Read one message; what cannot be read is a reject, never an exception."""
        if len(payload) > self._max_payload_bytes:
            reason = f"payload of {len(payload)} bytes, at most {self._max_payload_bytes} are read"
            return Mapped((), (Reject(reason, "too_large", topic, payload),))
        places = self.template.match(topic)
        if places is None:
            return Mapped(
                (),
                (
                    Reject(
                        "topic does not fit the source's template", "unknown_topic", topic, payload
                    ),
                ),
            )
        unit_name = places.get("unit") or self._only_unit()
        prefix = places.get("signal", "")
        unit = self._signals.units.get(unit_name)
        try:
            fields = read_fields(
                payload,
                declared=_below(prefix, self._signals.declared(unit_name)),
                zone=self._zone,
                texts=self._takes_text(unit_name, prefix),
            )
        except Unreadable as error:
            return Mapped((), (Reject(str(error), "unreadable", topic, payload),), unit)
        readings, refused = [], []
        for field in fields:
            address = ".".join(filter(None, (prefix, field.name))) or "value"
            reading = self._signals.reading(
                unit_name, address, field.value, field.type, field.time, flags=flags
            )
            if reading is None:
                refused.append(address)
            else:
                readings.append(reading)
        rejects = []
        if refused:
            reason = (
                f"signals {', '.join(refused[:5])} of unit {unit_name!r} are not in the plant model"
            )
            rejects.append(Reject(reason, "unknown_signal", topic, payload, len(refused)))
        return Mapped(readings, rejects, unit)

    def _only_unit(self) -> str:
        """The unit of a topic that names none: the source's, where it has just one."""
        return next(iter(self._signals.units)) if len(self._signals.units) == 1 else ""

    def _takes_text(self, unit_name: str, prefix: str) -> bool:
        model = self._signals.model(unit_name, prefix or "value")
        return model is not None and model.type is ValueType.TEXT


def printable(topic: bytes) -> str:
    r"""A topic for people and records; bytes that are no UTF-8 as `\xff`."""
    return topic.decode(errors="backslashreplace")


def _below(prefix: str, addresses: set[str]) -> set[str]:
    if not prefix:
        return addresses
    return {
        address.removeprefix(f"{prefix}.")
        for address in addresses
        if address.startswith(f"{prefix}.")
    }


def _safe(name: str) -> str:
    """A name as one part of a path; `/`, `%` and control characters as `%2F`, so that it can be
    read back."""
    return re.sub(r"[/%\x00-\x1f\x7f]", lambda found: f"%{ord(found[0]):02X}", name) or "%"
