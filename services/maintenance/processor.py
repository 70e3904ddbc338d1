"""The maintenance worker: folds samples into the health of machines and writes what follows. Called
by `__main__.py`."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from aurelian.backbone.topics import ASSETS, SAMPLES
from aurelian.fold.run import run_fold
from aurelian.runtime.health import Health
from maintenance.machines import Machines, Row
from maintenance.settings import MaintenanceSettings

_HEALTH = """
INSERT INTO maintenance.health (asset, time, owner, index, score, drivers)
VALUES (%(asset)s, %(time)s, %(owner)s, %(index)s, %(score)s, %(drivers)s)
ON CONFLICT (asset, time) DO UPDATE
SET index = excluded.index, score = excluded.score, drivers = excluded.drivers
"""

_CASE = """
INSERT INTO maintenance.case (id, asset, owner, opened_at, closed_at, severity, score, index, drivers, expected_down_s)
VALUES (%(id)s, %(asset)s, %(owner)s, %(opened_at)s, %(closed_at)s, %(severity)s, %(score)s, %(index)s, %(drivers)s,
        %(expected_down_s)s)
ON CONFLICT (id) DO UPDATE
SET closed_at = excluded.closed_at, expected_down_s = excluded.expected_down_s
"""


async def run(settings: MaintenanceSettings, health: Health) -> None:
    """Fold until cancelled."""
    await run_fold(
        settings,
        health,
        service="maintenance",
        fold=Machines(settings),
        write=insert_rows,
        owned=[SAMPLES],
        shared=[ASSETS],
    )


async def insert_rows(conn: AsyncConnection, rows: Sequence[Row]) -> None:
    """Write health and cases in the open transaction. Idempotent by key."""
    for row in rows:
        values = {**row.values, "drivers": Jsonb(row.values["drivers"])}
        await conn.execute(_HEALTH if row.table == "health" else _CASE, values)
