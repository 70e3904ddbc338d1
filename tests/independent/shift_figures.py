"""Runs `shift_figures.sql` for a line of a plant model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psycopg
from psycopg.rows import dict_row

from aurelian.model.calendar import shift_at
from aurelian.model.plant import Line, Unit
from aurelian.model.plant_parts import Role

SQL = (Path(__file__).parent / "shift_figures.sql").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Figures:
    """Of a shift so far, ISO 22400-2."""

    planned_busy_s: float
    production_s: float
    no_data_s: float
    good: float
    scrap: float
    ideal_s: float
    availability: float | None
    effectiveness: float | None
    quality: float | None
    oee: float | None


def recompute(
    conn: psycopg.Connection, line: Line, until: datetime, declared: Sequence[datetime] = ()
) -> Figures:
    """The figures at `until` of the shift that runs then, from the rows of the historian;
    `declared`: when the source was declared dead, of which the rows know nothing."""
    shift = shift_at(line.calendar, line.plant.zone, until)
    assert shift is not None
    constraint, output = line.constraint, line.output
    parameters = {
        "start": shift.start,
        "until": until,
        "break_starts": [each.start for each in shift.breaks],
        "break_ends": [each.end for each in shift.breaks],
        "state": _signal(constraint, Role.STATE),
        "signals": [signal.id for signal in constraint.signals()],
        "good": _signal(output, Role.GOOD_COUNT),
        "scrap": _signal(output, Role.SCRAP_COUNT),
        "product": _signal(constraint, Role.PRODUCT),
        "product_ids": [each.id for each in line.model.products],
        "product_cycles": [each.ideal_cycle_s for each in line.model.products],
        "declared": list(declared),
        "cycle": line.model.products[0].ideal_cycle_s,
    }
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(SQL, parameters).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return Figures(**row)


def _signal(unit: Unit, role: Role) -> str:
    """Id of a unit's signal with a role; "" where it has none."""
    for model, signal in zip(unit.model.signals, unit.signals(), strict=True):
        if model.role is role:
            return signal.id
    return ""
