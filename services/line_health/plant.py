"""What the asset topic says of lines and units, as line_health needs it. Pure; called by
processor.py."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from aurelian.model.asset import Asset, LineMeaning
from aurelian.model.machine_states import Vocabulary
from aurelian.model.plant_parts import AlarmLimits, CalendarModel, Product, Role, StopReason


@dataclass(frozen=True, slots=True)
class SignalInfo:
    """A signal that line_health looks at."""

    id: str
    unit: str  # asset id of its unit
    unit_path: str
    unit_title: str
    name: str
    ucum: str
    role: Role
    limits: AlarmLimits | None
    states: Vocabulary
    wraps_at: float | None

    @property
    def path(self) -> str:
        """ISA-95 path."""
        return f"{self.unit_path}/{self.name}"


@dataclass(frozen=True, slots=True, eq=False)
class UnitInfo:
    """A unit: which source speaks for it, its signals that are looked at by id, and the ids of all
    that are declared."""

    id: str
    path: str
    title: str
    source: str
    signals: Mapping[str, SignalInfo]
    declared: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class LineInfo:
    """A line with its units in flow order."""

    id: str
    owner: str
    path: str
    zone: ZoneInfo
    calendar: CalendarModel
    products: tuple[Product, ...]
    stop_reasons: Mapping[int, StopReason]
    units: tuple[UnitInfo, ...]
    constraint: UnitInfo
    output: UnitInfo
    signals: Mapping[str, SignalInfo]
    """The signals of all its units that have a role or limits, by id."""
    by_role: Mapping[tuple[str, Role], str]
    """(asset id of a unit, role) -> signal id."""
    unit_of: Mapping[str, str]
    """Id of a declared signal -> asset id of its unit."""
    plan: int
    """Checksum of what states and shifts follow from, beside the values."""

    def neighbour(self, step: int) -> UnitInfo | None:
        """The unit `step` places after the constraint in the flow; None where the line ends."""
        place = self.units.index(self.constraint) + step
        return self.units[place] if 0 <= place < len(self.units) else None

    def product(self, id: str | None) -> Product:
        """The product with that id, else the line's first."""
        return next((product for product in self.products if product.id == id), self.products[0])


class Assets:
    """The assets learned so far; builds a line when all of its units are known."""

    def __init__(self) -> None:
        self._assets: dict[str, Asset] = {}
        self._owners: dict[str, str] = {}  # by asset, also of those that are gone
        self._line_ids: dict[str, str] = {}  # by path
        self._lines: dict[str, LineInfo] = {}
        self._built_with: dict[str, set[str]] = {}  # asset id -> paths of lines made of it

    def learn(self, id: str, asset: Asset | None) -> None:
        """Take in an asset; None: it is gone. Lines without it stay built. What another company
        says of it is not heard."""
        if asset is not None and self._owners.setdefault(id, asset.owner) != asset.owner:
            return
        known = self._assets.pop(id, None)
        if known is not None and known.level == "line":
            self._line_ids.pop(known.path, None)
        if asset is not None:
            self._assets[id] = asset
            if asset.level == "line":
                self._line_ids[asset.path] = id
        for path in self._built_with.pop(id, ()):
            self._lines.pop(path, None)

    def line(self, path: str) -> LineInfo | None:
        """Return the line at `path`; None while it or one of its units is unknown.

        Raises:
            AssetError: its meaning cannot be used.
        """
        line = self._lines.get(path)
        if line is None:
            id = self._line_ids.get(path)
            if id is None:
                return None
            line = _to_line(self._assets[id], self._assets)
            if line is None:
                return None
            self._lines[path] = line
            for each in (line.id, *(unit.id for unit in line.units)):
                self._built_with.setdefault(each, set()).add(path)
        return line


def _to_line(asset: Asset, assets: Mapping[str, Asset]) -> LineInfo | None:
    meaning = asset.line_meaning()
    if any(unit not in assets for unit in meaning.units):
        return None
    units = tuple(_to_unit(assets[unit]) for unit in meaning.units)
    by_id = {unit.id: unit for unit in units}
    return LineInfo(
        id=asset.id,
        owner=asset.owner,
        path=asset.path,
        zone=meaning.zone,
        calendar=meaning.calendar,
        products=meaning.products,
        stop_reasons=meaning.stop_reasons,
        units=units,
        constraint=by_id[meaning.constraint],
        output=by_id[meaning.output],
        signals={id: signal for unit in units for id, signal in unit.signals.items()},
        by_role={(unit.id, s.role): s.id for unit in units for s in unit.signals.values()},
        unit_of={signal: unit.id for unit in units for signal in unit.declared},
        plan=_checksum(meaning, units),
    )


def _to_unit(asset: Asset) -> UnitInfo:
    meaning = asset.unit_meaning()
    signals = {
        each.id: SignalInfo(
            each.id,
            asset.id,
            asset.path,
            meaning.title,
            each.name,
            each.unit,
            each.role,
            each.limits,
            each.states,
            each.wraps_at,
        )
        for each in meaning.signals
        if each.role is not Role.OTHER or each.limits is not None
    }
    declared = tuple(each.id for each in meaning.signals)
    return UnitInfo(asset.id, asset.path, meaning.title, meaning.source, signals, declared)


def _checksum(meaning: LineMeaning, units: tuple[UnitInfo, ...]) -> int:
    parts = (
        meaning.zone.key,
        meaning.calendar.model_dump_json(),
        [each.model_dump_json() for each in meaning.products],
        [each.model_dump_json() for each in meaning.stop_reasons.values()],
        meaning.constraint,
        meaning.output,
        [(s.id, s.role.value, s.states) for unit in units for s in unit.signals.values()],
    )
    return zlib.crc32(repr(parts).encode()) or 1
