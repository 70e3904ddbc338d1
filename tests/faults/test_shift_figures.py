"""Figures of the running shift against a recomputation from raw rows by an SQL script of the tests:
with seeded history, live, and after everything was killed at once. `make test-faults`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

import pilot_factory
from aurelian.model.plant import Line
from aurelian.model.plant_file import load_plants
from tests.e2e.whole import Stack, running_stack
from tests.independent.shift_figures import Figures, recompute
from tests.waiting import until

POINT = 0.001
"""0.1 of a percentage point."""

REPORT_S = 2.0
"""Values of the last two seconds may be on their way: what they can change of a figure."""


@pytest.fixture
def stack() -> Iterator[Stack]:
    """A stack of the test's own."""
    with running_stack() as opened:
        yield opened


@pytest.mark.timeout(300)
async def test_figures_equal_a_recomputation_live_and_after_a_power_cut(stack: Stack) -> None:
    lines = pilot_lines(stack)
    assert len(lines) == 3
    for line in lines:
        await assert_equal(stack, line)
    cut = datetime.now(UTC)
    await asyncio.to_thread(stack.cut_power)
    await asyncio.to_thread(stack.start_again)
    for line in lines:
        await assert_equal(stack, line, cut)


def pilot_lines(stack: Stack) -> list[Line]:
    """The lines of the pilot plants, as the stack has them."""
    names = {plant.path for plant in load_plants(pilot_plants())}
    return [
        line
        for plant in load_plants(stack.plant)
        if plant.path in names
        for line in plant.lines()
        if any(unit.model.simulate for unit in line.units)
    ]


def pilot_plants() -> Path:
    """Folder of the pilot plants' models."""
    return Path(pilot_factory.__file__).parent / "plants"


async def assert_equal(stack: Stack, line: Line, cut: datetime | None = None) -> None:
    """Wait until a line's newest figures, made after this call and from the shift's start on,
    equal their recomputation.

    `cut`: when all was killed. The time until the line is heard again is without data where it is
    over 30 s, or the gateway that starts declares its source dead, which the rows do not say.
    """
    with psycopg.connect(stack.database_url, autocommit=True, row_factory=dict_row) as conn:
        now = conn.execute("SELECT now() AS now").fetchone()
        assert now is not None
        seen: list[str] = []
        compared = set()

        def equal() -> bool:
            row = conn.execute(NEWEST, {"line": line.id, "after": now["now"]}).fetchone()
            if row is None or row["computed_at"] in compared:
                return False
            compared.add(row["computed_at"])
            for declared in ([], [cut]) if cut is not None else ([],):
                computed = recompute(conn, line, row["computed_at"], declared)
                problems = differences(row, computed)
                seen.append(f"{row}\n{computed}\n{problems}")
                if not problems:
                    return True
            return False

        await until(equal, lambda: f"{line.path}: " + "\n".join(seen[-2:]), 90)


def differences(row: dict[str, Any], computed: Figures) -> list[str]:
    """Names of the figures that differ by more than 0.1 point, or than what is on its way."""
    share = POINT + REPORT_S / max(computed.planned_busy_s, REPORT_S)
    wrong = [
        name
        for name in ("availability", "effectiveness", "quality", "oee")
        if (row[name] is None) != (getattr(computed, name) is None)
        or (row[name] is not None and abs(row[name] - getattr(computed, name)) > share)
    ]
    wrong += [
        name
        for name in ("planned_busy_s", "production_s", "no_data_s")
        if abs(row[name] - getattr(computed, name)) > REPORT_S + POINT * computed.planned_busy_s
    ]
    wrong += [name for name in ("good", "scrap") if abs(row[name] - getattr(computed, name)) > 1]
    if row["counts_from"] != row["shift_start"]:
        wrong.append("counts_from")
    return wrong


NEWEST = """
SELECT * FROM line_health.kpi
WHERE line = %(line)s AND computed_at > %(after)s AND computed_at < now() - interval '2 seconds'
ORDER BY shift_start DESC LIMIT 1"""
