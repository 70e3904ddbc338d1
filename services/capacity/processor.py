"""The capacity worker: folds events into weekly estimates, reads commitments, writes rows. Called
by `__main__.py`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import psycopg
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from aurelian.backbone.topics import ASSETS, LINE_EVENTS, MAINTENANCE_EVENTS
from aurelian.db.engine import connect
from aurelian.fold.run import run_fold
from aurelian.runtime.health import Health
from capacity.lines import Lines, Row, sum_commitments
from capacity.settings import CapacitySettings

log = logging.getLogger(__name__)

COMMITMENTS_EVERY_S = 5.0

_ESTIMATE = """
INSERT INTO capacity.estimate (line, week, revision, owner, total, available, committed, unattainable, available_p10,
    available_p90, unit, reasons, method, inputs, data_time, computed_at)
VALUES (%(line)s, %(week)s, %(revision)s, %(owner)s, %(total)s, %(available)s, %(committed)s, %(unattainable)s,
    %(available_p10)s, %(available_p90)s, %(unit)s, %(reasons)s, %(method)s, %(inputs)s, %(data_time)s, %(computed_at)s)
ON CONFLICT (line, week, revision) DO UPDATE
SET total = excluded.total, available = excluded.available, committed = excluded.committed,
    unattainable = excluded.unattainable, unit = excluded.unit, reasons = excluded.reasons, inputs = excluded.inputs,
    data_time = excluded.data_time, computed_at = excluded.computed_at
"""

_COMMITMENTS = "SELECT line, week, quantity FROM capacity.commitment WHERE week >= current_date - 7"


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
                write=insert_rows,
                owned=[LINE_EVENTS, MAINTENANCE_EVENTS],
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


async def insert_rows(conn: AsyncConnection, rows: Sequence[Row]) -> None:
    """Write estimates in the open transaction. Idempotent by line, week and revision."""
    for row in rows:
        values = dict(row.values)
        values["reasons"], values["inputs"] = Jsonb(values["reasons"]), Jsonb(values["inputs"])
        await conn.execute(_ESTIMATE, values)
