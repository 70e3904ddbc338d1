"""What the asset topic says of lines and units, as line_health needs it. Pure; called by
processor.py."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from aurelian.model.calendar import CalendarError, check_calendar
from aurelian.model.plant_parts import AlarmLimits, CalendarModel, Product, Role, StopReason


class AssetError(ValueError):
    """An asset's meaning cannot be used; the text says which and why."""


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

    @property
    def path(self) -> str:
        """ISA-95 path."""
        return f"{self.unit_path}/{self.name}"


@dataclass(frozen=True, slots=True, eq=False)
class UnitInfo:
    """A unit: which source speaks for it, and its signals by id."""

    id: str
    path: str
    title: str
    source: str
    signals: Mapping[str, SignalInfo]


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
        self._assets: dict[str, dict[str, Any]] = {}
        self._lines: dict[str, LineInfo] = {}

    def learn(self, id: str, asset: dict[str, Any] | None) -> None:
        """Take in an asset as `assets.Asset.as_dict` gives it; None: it is gone."""
        if asset is None:
            self._assets.pop(id, None)
        else:
            self._assets[id] = asset
        self._lines.clear()

    def line(self, path: str) -> LineInfo | None:
        """The line at `path`; None while it or one of its units is unknown.

        Raises:
            AssetError: its meaning cannot be used.
        """
        if path not in self._lines:
            asset = next(
                (a for a in self._assets.values() if a["level"] == "line" and a["path"] == path),
                None,
            )
            if asset is None or any(unit not in self._assets for unit in asset["meaning"]["units"]):
                return None
            self._lines[path] = _to_line(asset, self._assets)
        return self._lines[path]


def _to_line(asset: dict[str, Any], assets: Mapping[str, dict[str, Any]]) -> LineInfo:
    meaning = asset["meaning"]
    try:
        units = tuple(_to_unit(assets[id]) for id in meaning["units"])
        by_id = {unit.id: unit for unit in units}
        calendar = CalendarModel.model_validate(meaning["calendar"])
        check_calendar(calendar)
        return LineInfo(
            id=asset["id"],
            owner=asset["owner"],
            path=asset["path"],
            zone=ZoneInfo(meaning["time_zone"]),
            calendar=calendar,
            products=tuple(Product.model_validate(p) for p in meaning["products"]),
            stop_reasons={
                r.code: r for r in map(StopReason.model_validate, meaning["stop_reasons"])
            },
            units=units,
            constraint=by_id[meaning["constraint"]],
            output=by_id[meaning["output"]],
            signals={id: signal for unit in units for id, signal in unit.signals.items()},
            by_role={(unit.id, s.role): s.id for unit in units for s in unit.signals.values()},
        )
    except (KeyError, TypeError, ValidationError, CalendarError) as error:
        raise AssetError(f"line {asset['path']!r}: {error}") from error


def _to_unit(asset: dict[str, Any]) -> UnitInfo:
    meaning = asset["meaning"]
    title = str(meaning.get("title") or asset["name"])
    signals = _to_signals(asset, title, meaning["signals"])
    return UnitInfo(
        asset["id"], asset["path"], title, meaning["source"], {s.id: s for s in signals}
    )


def _to_signals(
    asset: dict[str, Any], title: str, signals: Iterable[dict[str, Any]]
) -> Iterable[SignalInfo]:
    for each in signals:
        role = Role(each["role"]) if each["role"] in set(Role) else Role.OTHER
        limits = AlarmLimits.model_validate(each["limits"]) if each.get("limits") else None
        if role is not Role.OTHER or limits is not None:
            yield SignalInfo(
                each["id"],
                asset["id"],
                asset["path"],
                title,
                each["name"],
                each["unit"],
                role,
                limits,
            )
