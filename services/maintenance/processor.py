"""The maintenance worker: folds samples into the health of machines and writes what follows. Called
by `__main__.py`."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from aurelian.backbone.topics import ASSETS, SAMPLES
from aurelian.db.upsert import Upsert
from aurelian.fold.run import run_fold
from aurelian.runtime.health import Health
from maintenance.machines import Machines, MaintenanceRow
from maintenance.settings import MaintenanceSettings

_UPSERT = {
    "health": Upsert(
        "maintenance",
        "health",
        {
            "asset": "text",
            "time": "timestamptz",
            "owner": "text",
            "index": "double precision",
            "score": "double precision",
            "drivers": "jsonb",
        },
        ["asset", "time"],
    ),
    "case": Upsert(
        "maintenance",
        "case",
        {
            "id": "uuid",
            "asset": "text",
            "owner": "text",
            "opened_at": "timestamptz",
            "closed_at": "timestamptz",
            "severity": "text",
            "score": "double precision",
            "index": "double precision",
            "drivers": "jsonb",
            "expected_down_s": "double precision",
            "reason": "text",
        },
        ["id"],
        # Severity, score and drivers of a case are those of its opening.
        replaced=["closed_at", "expected_down_s", "reason"],
    ),
}


async def run(settings: MaintenanceSettings, health: Health) -> None:
    """Fold until cancelled."""
    await run_fold(
        settings,
        health,
        service="maintenance",
        fold=Machines(settings),
        write=write_rows,
        owned=[SAMPLES],
        shared=[ASSETS],
    )


async def write_rows(conn: AsyncConnection, rows: Sequence[MaintenanceRow]) -> None:
    """Write health and cases in the open transaction, a statement a table. Idempotent by key."""
    for table, upsert in _UPSERT.items():
        values = [
            {**r.values, "drivers": Jsonb(r.values["drivers"])} for r in rows if r.table == table
        ]
        await upsert.write(conn, [[value[name] for name in upsert.names] for value in values])
