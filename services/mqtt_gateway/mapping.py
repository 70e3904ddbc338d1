"""Topics, fields and metrics to signals and readings. Pure; called by source.py and
sparkplug/mapping.py."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from aurelian.edge.gateway import Reading, Reject
from aurelian.model.names import NameFault, check_paths
from aurelian.model.plant import Plant, Unit, derive_id
from aurelian.model.plant_parts import SignalModel
from aurelian.model.sample import Flag, Signal, Value, ValueType
from aurelian.model.source_model import SourceModel
from mqtt_gateway.json_payload import Broken, Unreadable, read_members
from mqtt_gateway.local_time import LocalClock

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
        self.units = units_by_address(plant, source)
        self._known: dict[tuple[str, str], tuple[SignalModel, Signal]] = {}
        self._paths: set[str] = set()
        self._discovered: dict[str, Signal] = {}
        self._max_discovered = max_discovered
        for unit in plant.units():
            if unit.model.source == source.id:
                name = unit.model.address or unit.model.name
                for signal, model in zip(unit.signals(), unit.model.signals, strict=True):
                    self._known[name, model.address or model.name] = model, signal
                    self._paths.add(signal.path)
        self._declared: dict[str, dict[str, ValueType]] = {name: {} for name in self.units}
        for (name, address), (model, _) in self._known.items():
            self._declared[name][address] = model.type

    def declared(self, unit: str) -> dict[str, ValueType]:
        """Addresses that the plant model knows of a unit, with their types."""
        return self._declared.get(unit, {})

    def declared_entries(
        self,
    ) -> tuple[list[tuple[Unit | None, SignalModel, Signal, str]], dict[tuple[str, str], int]]:
        """Unit, model, signal and line of each declared signal, as a `SignalTable` takes them, and
        its place among them by unit and address."""
        entries: list[tuple[Unit | None, SignalModel, Signal, str]] = []
        places: dict[tuple[str, str], int] = {}
        for (unit_name, address), (model, signal) in self._known.items():
            unit = self.units[unit_name]
            places[unit_name, address] = len(entries)
            entries.append((unit, model, signal, unit.line.path))
        return entries, places

    def model(self, unit: str, address: str) -> SignalModel | None:
        """The model of a signal, None where it is not in the plant model."""
        found = self._known.get((unit, address))
        return None if found is None else found[0]

    def signal(self, unit: str, address: str) -> Signal | None:
        """A signal of the plant model, None where it has none there."""
        found = self._known.get((unit, address))
        return None if found is None else found[1]

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
        measure: str = "",
    ) -> Reading | None:
        """A value as a reading; None where it is unknown and may not be discovered (a closed
        source, or too many). `measure`: unit of measure of a signal that is discovered by it.

        Raises:
            NameFault: it is unknown, and its name cannot be kept.
        """
        unit = self.units.get(unit_name)
        line = self.plant.path if unit is None else unit.line.path
        known = self._known.get((unit_name, address))
        if known is not None:
            return Reading(unit, known[0], known[1], line, value, kind, time, 0, status, flags)
        signal = self._discover(unit, unit_name, address, kind, measure)
        return (
            None
            if signal is None
            else Reading(unit, None, signal, line, value, kind, time, 0, status, flags)
        )

    def _discover(
        self,
        unit: Unit | None,
        unit_name: str,
        address: str,
        kind: ValueType,
        measure: str,
    ) -> Signal | None:
        parent = unit.path if unit is not None else self.plant.path
        # As they came: escaped, a control character would look like one that can be kept.
        check_paths(unit_name, address.replace("/", "."))
        if unit is None and unit_name:
            parent += "".join(f"/{_safe(level)}" for level in unit_name.split("/"))
        path = f"{parent}/{_safe(address)}"
        while path in self._paths:  # the name of a declared signal that has another address
            path += "~"
        signal = self._discovered.get(path)
        if signal is None:
            if self.source.closed or len(self._discovered) >= self._max_discovered:
                return None
            check_paths(path)
            asset = derive_id(self.plant.path) if unit is None else unit.id
            signal = self._discovered[path] = Signal(
                derive_id(path), asset, path, kind, measure, self.source.key, discovered=True
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
        self.signals = SignalMap(plant, source, max_discovered)
        self._clock = LocalClock(ZoneInfo(source.time_zone))
        self._max_payload_bytes = max_payload_bytes

    def map(
        self, topic: str, payload: bytes, flags: Flag, received_at: int | None = None
    ) -> Mapped:
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
        unit_name = places.get("unit") or self.only_unit
        prefix = places.get("signal", "")
        unit = self.signals.units.get(unit_name)
        try:
            members = read_members(
                payload,
                declared=_below(prefix, self.signals.declared(unit_name)),
                clock=self._clock,
                texts=self._takes_text(unit_name, prefix),
                stream=topic,
                received_at=received_at,
            )
        except Unreadable as error:
            # A topic of one signal says whose value it was, also where nobody can read it.
            signal = self.signals.signal(unit_name, prefix or "value")
            reject = Reject(str(error), "unreadable", topic, payload, signal=signal)
            return Mapped((), (reject,), unit)
        readings: list[Reading] = []
        refused: list[str] = []
        unnamed: list[str] = []
        unread: list[Unread] = []
        for field in members:
            address = ".".join(filter(None, (prefix, field.name))) or "value"
            if isinstance(field, Broken):
                reason = f"{field.name[:60]!a}: {field.reason}"
                signal = self.signals.signal(unit_name, address)
                unread.append(Unread(reason, field.error_class, signal, field.time))
                continue
            try:
                reading = self.signals.reading(
                    unit_name,
                    address,
                    field.value,
                    field.type,
                    field.time,
                    status=field.status,
                    flags=flags | field.flags,
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
        if unit is None and not readings and not rejects:
            reason = f"unit {unit_name[:60]!r} is not in the plant model, and no value came"
            rejects.append(Reject(reason, "unknown_unit", topic, payload))
        return Mapped(readings, rejects, unit)

    @property
    def only_unit(self) -> str:
        """The unit of a topic that names none: the source's, where it has just one."""
        return next(iter(self.signals.units)) if len(self.signals.units) == 1 else ""

    def _takes_text(self, unit_name: str, prefix: str) -> bool:
        model = self.signals.model(unit_name, prefix or "value")
        return model is not None and model.type is ValueType.TEXT


@dataclass(frozen=True, slots=True)
class Unread:
    """A value that could not be read. `signal`: the declared one that it was of; `time`:
    microseconds since 1970, None: it had none."""

    reason: str
    error_class: str
    signal: Signal | None
    time: int | None


def reject_values(unread: Sequence[Unread], topic: str, payload: bytes) -> list[Reject]:
    """Rejects of one message's values: one for each declared signal's, so that its state is not
    taken for known any more, and one for all others.

    The first has the payload: a message of a thousand bad values is not kept a thousand times.
    """
    others = [each for each in unread if each.signal is None]
    rejects = []
    if others:
        rejects.append(Reject(others[0].reason, others[0].error_class, topic, payload, len(others)))
    for each in unread:
        if each.signal is not None:
            rejects.append(
                Reject(
                    each.reason,
                    each.error_class,
                    topic,
                    b"" if rejects else payload,
                    signal=each.signal,
                    source_time=each.time or 0,
                )
            )
    return rejects


def printable(topic: bytes) -> str:
    r"""A topic for people and records; bytes that are no UTF-8 as `\xff`."""
    return topic.decode(errors="backslashreplace")


def units_by_address(plant: Plant, source: SourceModel) -> dict[str, Unit]:
    """The units of a source by what the source calls them; the plant has each address once."""
    return {
        unit.model.address or unit.model.name: unit
        for unit in plant.units()
        if unit.model.source == source.id
    }


def _below(prefix: str, declared: dict[str, ValueType]) -> dict[str, ValueType]:
    """Addresses under a prefix, without it; the prefix itself as ""."""
    if not prefix:
        return declared
    below = {
        address.removeprefix(f"{prefix}."): kind
        for address, kind in declared.items()
        if address.startswith(f"{prefix}.")
    }
    if prefix in declared:
        below[""] = declared[prefix]
    return below


def _safe(name: str) -> str:
    """A name as one part of a path; `/`, `%`, `~` and control characters as `%2F`, so that it can
    be read back."""
    return re.sub(r"[/%~\x00-\x1f\x7f]", lambda found: f"%{ord(found[0]):02X}", name) or "%"
