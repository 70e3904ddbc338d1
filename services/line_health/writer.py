"""Runs the fold and writes its rows. Called by `__main__.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from operator import attrgetter

from psycopg import AsyncConnection

from aurelian.backbone.topics import ASSETS, SAMPLES, SOURCE_EVENTS
from aurelian.db.upsert import Upsert
from aurelian.fold.run import run_fold
from aurelian.runtime.health import Health
from line_health.past import fill_pasts
from line_health.processor import Lines
from line_health.rows import AlarmRow, KpiRow, LineRow, StateRow, StopRow
from line_health.settings import LineHealthSettings


async def run(settings: LineHealthSettings, health: Health) -> None:
    """Watch the lines until cancelled."""
    lines = Lines()
    async with asyncio.TaskGroup() as group:
        group.create_task(fill_pasts(settings, lines), name="line_health past")
        await run_fold(
            settings,
            health,
            service="line_health",
            fold=lines,
            write=write_rows,
            owned=[SAMPLES],
            shared=[ASSETS, SOURCE_EVENTS],
        )


async def write_rows(conn: AsyncConnection, rows: Sequence[LineRow]) -> None:
    """Upsert rows by their key in the open transaction, a statement a table; of rows with one key
    the last is written."""
    for kind, upsert in _UPSERT.items():
        values = attrgetter(*upsert.names)
        await upsert.write(conn, [values(row) for row in rows if type(row) is kind])


_TIME, _NUMBER = "timestamptz", "double precision"

_UPSERT: dict[type[LineRow], Upsert] = {
    StateRow: Upsert(
        "line_health",
        "line_state",
        {
            "line": "text",
            "started_at": _TIME,
            "ended_at": _TIME,
            "owner": "text",
            "state": "text",
            "unit": "text",
            "reason": "text",
        },
        ["line", "started_at"],
    ),
    StopRow: Upsert(
        "line_health",
        "stop",
        {
            "id": "uuid",
            "line": "text",
            "owner": "text",
            "unit": "text",
            "started_at": _TIME,
            "ended_at": _TIME,
            "state": "text",
            "reason_code": "integer",
            "reason": "text",
        },
        ["id"],
    ),
    AlarmRow: Upsert(
        "line_health",
        "alarm",
        {
            "id": "uuid",
            "owner": "text",
            "line": "text",
            "asset": "text",
            "signal": "text",
            "priority": "text",
            "message": "text",
            "action": "text",
            "value": _NUMBER,
            "limit": _NUMBER,
            "raised_at": _TIME,
            "cleared_at": _TIME,
        },
        ["id"],
    ),
    KpiRow: Upsert(
        "line_health",
        "kpi",
        {
            "line": "text",
            "shift_start": _TIME,
            "shift_end": _TIME,
            "owner": "text",
            "shift": "text",
            "planned_busy_s": _NUMBER,
            "production_s": _NUMBER,
            "no_data_s": _NUMBER,
            "good": _NUMBER,
            "scrap": _NUMBER,
            "target": _NUMBER,
            "availability": _NUMBER,
            "effectiveness": _NUMBER,
            "quality": _NUMBER,
            "oee": _NUMBER,
            "computed_at": _TIME,
            "counts_from": _TIME,
            "bridged": _NUMBER,
            "note": "text",
        },
        ["line", "shift_start"],
    ),
}
"""The table of each kind of row; its columns are the fields."""
