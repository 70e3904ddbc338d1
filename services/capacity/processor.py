"""The capacity worker: folds events into weekly estimates, reads commitments, writes rows. Called
by `__main__.py`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import psycopg
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from aurelian.backbone.topics import ASSETS, FIGURES, LINE_EVENTS, MAINTENANCE_EVENTS
from aurelian.db.engine import connect
from aurelian.db.upsert import Upsert
from aurelian.fold.run import run_fold
from aurelian.runtime.health import Health
from capacity.lines import EstimateRow, Lines, sum_commitments
from capacity.settings import CapacitySettings

log = logging.getLogger(__name__)

COMMITMENTS_EVERY_S = 5.0

_ESTIMATE = Upsert(
    "capacity",
    "estimate",
    {
        "line": "text",
        "week": "date",
        "revision": "integer",
        "owner": "text",
        "total": "double precision",
        "available": "double precision",
        "committed": "double precision",
        "unattainable": "double precision",
        "available_p10": "double precision",
        "available_p90": "double precision",
        "unit": "text",
        "reasons": "jsonb",
        "method": "text",
        "inputs": "jsonb",
        "data_time": "timestamptz",
        "computed_at": "timestamptz",
    },
    ["line", "week", "revision"],
)

_COMMITMENTS = (
    "SELECT line, week, quantity FROM capacity.commitment "
    "WHERE withdrawn_at IS NULL AND week >= current_date - 7"
)


async def run(settings: CapacitySettings, health: Health) -> None:
    """Fold until cancelled, reading the commitments beside it."""
    lines = Lines(settings)
    async with asyncio.TaskGroup() as group:
        group.create_task(follow_commitments(settings, lines), name="commitments")
        group.create_task(
            run_fold(
                settings,
                health,
                service="capacity",
                fold=lines,
                write=write_estimates,
                owned=[LINE_EVENTS, MAINTENANCE_EVENTS, FIGURES],
                shared=[ASSETS],
                exclusive=True,
            ),
            name="fold",
        )


async def follow_commitments(settings: CapacitySettings, lines: Lines) -> None:
    """Read the commitments every few seconds, for ever; while the database is away the last ones
    count."""
    away = False
    while True:
        try:
            async with await connect(
                settings.database_url.get_secret_value(), autocommit=True
            ) as conn:
                while True:
                    rows = await (await conn.execute(_COMMITMENTS)).fetchall()
                    lines.set_commitments(
                        sum_commitments((str(r[0]), r[1], float(r[2])) for r in rows)
                    )
                    if away:
                        log.info("commitments read again")
                        away = False
                    await asyncio.sleep(COMMITMENTS_EVERY_S)
        except psycopg.OperationalError as error:
            if not away:
                log.warning("commitments cannot be read", extra={"fields": {"error": str(error)}})
                away = True
            await asyncio.sleep(COMMITMENTS_EVERY_S)


async def write_estimates(conn: AsyncConnection, rows: Sequence[EstimateRow]) -> None:
    """Write estimates in the open transaction, in one statement. Idempotent by line, week and
    revision."""
    await _ESTIMATE.write(
        conn,
        [
            [
                Jsonb(row.values[name]) if name in ("reasons", "inputs") else row.values[name]
                for name in _ESTIMATE.names
            ]
            for row in rows
        ],
    )
