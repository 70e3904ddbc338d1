"""An asset's record on `aurelian.assets.v1`: what gateways write of the plant model and
all others read.

The one reader of these records. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import ValidationError

from aurelian.model.calendar import CalendarError, check_calendar
from aurelian.model.decode_errors import DecodeError
from aurelian.model.machine_states import DEFAULT, VOCABULARIES, LineState, Vocabulary
from aurelian.model.names import owner_fault
from aurelian.model.plant_parts import AlarmLimits, CalendarModel, Product, Role, StopReason
from aurelian.model.sample import ValueType


class AssetError(DecodeError):
    """An asset's record cannot be used; the text says which one and why."""


@dataclass(frozen=True, slots=True)
class SignalMeaning:
    """What the plant model says of a signal; `path` is that of its unit and its own name."""

    id: str
    name: str
    path: str
    role: Role
    type: ValueType
    unit: str
    """UCUM code, empty where there is none."""
    limits: AlarmLimits | None
    stale_after_s: float | None
    states: Vocabulary = DEFAULT
    """Of a state signal: what its values mean."""
    wraps_at: float | None = None
    """Of a counter: it begins again at 0 there."""


@dataclass(frozen=True, slots=True)
class UnitMeaning:
    """What the plant model says of a machine; `source` speaks for it."""

    title: str
    source: str
    signals: tuple[SignalMeaning, ...]


@dataclass(frozen=True, slots=True)
class LineMeaning:
    """What the plant model says of a line; units by their asset ids, in flow order."""

    title: str
    zone: ZoneInfo
    output: str
    constraint: str
    units: tuple[str, ...]
    calendar: CalendarModel
    products: tuple[Product, ...]
    stop_reasons: Mapping[int, StopReason]


@dataclass(frozen=True, slots=True)
class Asset:
    """One node of the ISA-95 tree, as written to `aurelian.assets.v1` and `historian.asset`.

    Attributes:
        id: opaque, stable over renames.
        owner: company.
        parent: id of the asset above; None for the enterprise.
        level: `enterprise`, `site`, `area`, `line` or `unit`.
        meaning: its part of the plant model, JSON-ready; `unit_meaning` and `line_meaning` read it.
    """

    id: str
    owner: str
    parent: str | None
    level: str
    name: str
    path: str
    meaning: dict[str, Any]

    @property
    def title(self) -> str:
        """What people call it."""
        return str(self.meaning.get("title") or self.meaning.get("name") or self.name)

    def encode(self) -> bytes:
        """Return the record's value: JSON."""
        return json.dumps(asdict(self)).encode()

    def signal_records(self) -> tuple[Mapping[str, Any], ...]:
        """Return what the record lists as signals, JSON-ready; empty where it lists none.

        For who keeps them as they stand, also with roles and limits that this version does not
        know; `unit_meaning` reads what they mean.

        Raises:
            AssetError: they are no list of objects with a text for `id` and `name`, or another
                member has the wrong type.
        """
        listed = self.meaning.get("signals", [])
        if not isinstance(listed, list) or not all(map(_is_signal_record, listed)):
            raise AssetError(
                f"{self.path!r}: meaning.signals is a list of objects with id, name, type, unit, "
                "role and limits"
            )
        return tuple(listed)

    def unit_meaning(self) -> UnitMeaning:
        """Read the meaning of a unit.

        A role that this version does not know reads as `other`.

        Raises:
            AssetError: it is no unit, or its meaning cannot be used.
        """
        meaning = self._meaning("unit")
        try:
            signals = tuple(_read_signal(self.path, each) for each in meaning["signals"])
            return UnitMeaning(self.title, str(meaning["source"]), signals)
        except (KeyError, TypeError, ValueError) as error:
            raise AssetError(f"unit {self.path!r}: {error!r}") from error

    def line_meaning(self) -> LineMeaning:
        """Read the meaning of a line.

        Raises:
            AssetError: it is no line, or its meaning cannot be used.
        """
        meaning = self._meaning("line")
        try:
            calendar = CalendarModel.model_validate(meaning["calendar"])
            check_calendar(calendar)
            line = LineMeaning(
                title=self.title,
                zone=ZoneInfo(meaning["time_zone"]),
                output=str(meaning["output"]),
                constraint=str(meaning["constraint"]),
                units=tuple(str(unit) for unit in meaning["units"]),
                calendar=calendar,
                products=tuple(Product.model_validate(each) for each in meaning["products"]),
                stop_reasons={
                    reason.code: reason
                    for reason in map(StopReason.model_validate, meaning["stop_reasons"])
                },
            )
        except (ZoneInfoNotFoundError, OSError) as error:  # OSError: a folder of zones
            raise AssetError(f"line {self.path!r}: unknown time zone {error}") from error
        except (KeyError, TypeError, ValidationError, CalendarError, ValueError) as error:
            raise AssetError(f"line {self.path!r}: {error}") from error
        if not line.products or not {line.output, line.constraint} <= set(line.units):
            raise AssetError(f"line {self.path!r}: no product, or output or constraint is no unit")
        return line

    def _meaning(self, level: str) -> dict[str, Any]:
        if self.level != level:
            raise AssetError(f"{self.path!r} is a {self.level}, not a {level}")
        return self.meaning


def decode_asset(value: bytes | None) -> Asset | None:
    """Read an asset's record; None: the asset is gone (a tombstone).

    Raises:
        AssetError: no JSON, not an asset's members, or of another owner than its path says.
    """
    if not value:
        return None
    try:
        body = json.loads(value)
        parent, meaning = body["parent"], body["meaning"]
        texts = [body[name] for name in ("id", "owner", "level", "name", "path")]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise AssetError(f"not an asset: {error!r}") from error
    if not all(isinstance(text, str) for text in texts) or not isinstance(meaning, dict):
        raise AssetError(f"not an asset: {str(body)[:120]}")
    id, owner, level, name, path = texts
    if fault := owner_fault(owner, path):
        raise AssetError(f"not an asset: {fault}")
    return Asset(id, owner, None if parent is None else str(parent), level, name, path, meaning)


def _is_signal_record(each: object) -> bool:
    return (
        isinstance(each, dict)
        and isinstance(each.get("id"), str)
        and isinstance(each.get("name"), str)
        and isinstance(each.get("type", 0), int)
        and isinstance(each.get("unit", ""), str)
        and isinstance(each.get("role", ""), str)
        and isinstance(each.get("limits") or {}, dict)
    )


def _read_signal(unit_path: str, each: dict[str, Any]) -> SignalMeaning:
    return SignalMeaning(
        id=str(each["id"]),
        name=str(each["name"]),
        path=f"{unit_path}/{each['name']}",
        role=Role(each["role"]) if each["role"] in set(Role) else Role.OTHER,
        type=ValueType(each.get("type", ValueType.DOUBLE)),
        unit=str(each.get("unit", "")),
        limits=AlarmLimits.model_validate(each["limits"]) if each.get("limits") else None,
        stale_after_s=each.get("stale_after_s"),
        states=read_vocabulary(each.get("states", DEFAULT)),
        wraps_at=None if each.get("wraps_at") is None else float(each["wraps_at"]),
    )


def read_vocabulary(given: object) -> Vocabulary:
    """Read a state signal's vocabulary as the record has it.

    Raises:
        ValueError: a name or a line state that this version does not know: to read its values with
            another vocabulary would be a guess.
    """
    if isinstance(given, dict):
        return {str(key): LineState(line) for key, line in given.items()}
    if given not in VOCABULARIES:
        raise ValueError(f"unknown vocabulary of states {given!r}")
    return str(given)
