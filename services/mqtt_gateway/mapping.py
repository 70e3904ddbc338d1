"""Units and signals of a source by what it calls them, and what is not in the plant model. Pure;
called by message_map.py and sparkplug/mapping.py."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from aurelian.edge.gateway import Reading, Reject
from aurelian.model.names import check_paths
from aurelian.model.plant import Plant, Unit, derive_id
from aurelian.model.plant_parts import SignalModel
from aurelian.model.sample import Flag, Signal, Value, ValueType
from aurelian.model.source_model import SourceModel


class SignalMap:
    """The signals of one source by unit name and address; what is not there is discovered, up to
    `max_discovered`."""

    def __init__(self, plant: Plant, source: SourceModel, max_discovered: int) -> None:
        self.plant, self.source = plant, source
        self.units = units_by_address(plant, source)
        self._known: dict[tuple[str, str], tuple[SignalModel, Signal]] = {}
        self._paths: set[str] = set()
        self._unit_paths = {unit.path for unit in plant.units()}
        self._discovered: dict[str, Signal] = {}
        self._max_discovered = max_discovered
        for unit in plant.units():
            if unit.model.source == source.id:
                name = source.unit_key(unit.path, unit.model.address)
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
            if parent in self._unit_paths:  # the path of a declared unit that has another address
                parent += "~"
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
        source.unit_key(unit.path, unit.model.address): unit
        for unit in plant.units()
        if unit.model.source == source.id
    }


def _safe(name: str) -> str:
    """A name as one part of a path; `/`, `%`, `~` and control characters as `%2F`, so that it can
    be read back."""
    return re.sub(r"[/%~\x00-\x1f\x7f]", lambda found: f"%{ord(found[0]):02X}", name) or "%"
