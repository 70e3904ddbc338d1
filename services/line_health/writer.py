"""Runs the fold and writes its rows. Called by `__main__.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields

from psycopg import AsyncConnection, sql

from aurelian.backbone.topics import ASSETS, SAMPLES, SOURCE_EVENTS
from aurelian.fold.run import run_fold
from aurelian.runtime.health import Health
from line_health.processor import Lines
from line_health.rows import AlarmRow, KpiRow, Row, StateRow, StopRow
from line_health.settings import LineHealthSettings


async def run(settings: LineHealthSettings, health: Health) -> None:
    """Watch the lines until cancelled."""
    await run_fold(
        settings,
        health,
        service="line_health",
        fold=Lines(),
        write=write_rows,
        owned=[SAMPLES],
        shared=[ASSETS, SOURCE_EVENTS],
    )


async def write_rows(conn: AsyncConnection, rows: Sequence[Row]) -> None:
    """Upsert rows by their key, in order, in the open transaction; of rows with one key the last is
    written."""
    newest: dict[tuple[object, ...], Row] = {}
    for row in rows:
        key = (type(row), *(getattr(row, name) for name in _KEYS[type(row)]))
        newest.pop(key, None)
        newest[key] = row
    for kind, statement in _UPSERT.items():
        chosen = [asdict(row) for row in newest.values() if type(row) is kind]
        if chosen:
            async with conn.cursor() as cursor:
                await cursor.executemany(statement, chosen)


def _upsert(table: str, kind: type[Row], keys: tuple[str, ...]) -> sql.Composed:
    names = [field.name for field in fields(kind)]
    return sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT ({}) DO UPDATE SET {}").format(
        sql.Identifier("line_health", table),
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.SQL(", ").join(map(sql.Placeholder, names)),
        sql.SQL(", ").join(map(sql.Identifier, keys)),
        sql.SQL(", ").join(
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name))
            for name in names
            if name not in keys
        ),
    )


_KEYS: dict[type[Row], tuple[str, ...]] = {
    StateRow: ("line", "started_at"),
    StopRow: ("id",),
    AlarmRow: ("id",),
    KpiRow: ("line", "shift_start"),
}

_UPSERT: dict[type[Row], sql.Composed] = {
    StateRow: _upsert("line_state", StateRow, _KEYS[StateRow]),
    StopRow: _upsert("stop", StopRow, _KEYS[StopRow]),
    AlarmRow: _upsert("alarm", AlarmRow, _KEYS[AlarmRow]),
    KpiRow: _upsert("kpi", KpiRow, _KEYS[KpiRow]),
}
