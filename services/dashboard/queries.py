"""What the dashboard reads from the store: the snapshot that the live picture starts from, and the
lists of the pages.

SQL through SQLAlchemy Core on `aurelian.db.tables`; the role `aurelian_dashboard` may only read.
Called by feed.py, routes.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, Table, func, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from aurelian.db import tables
from aurelian.model.asset import Asset
from aurelian.model.machine_states import LineState
from aurelian.model.sample import (
    CHOSEN_TIME,
    MAX_EXACT_INT,
    Flag,
    Signal,
    Value,
    ValueType,
)
from aurelian.model.time import to_ms, to_us
from dashboard import business_events
from dashboard.companies import Pictures
from dashboard.live import LivePlant

SAMPLE_TABLES = (tables.sample_number, tables.sample_text, tables.sample_other)
MOST_STOPS = 30
CAPACITY_WEEKS = 2
"""Weeks from the running one that pages show."""


async def read_plant(connection: AsyncConnection, pictures: Pictures, now: datetime) -> None:
    """Fill empty pictures with what the store knows: tree, signals, newest values, states,
    alarms, figures."""
    await _read_assets(connection, pictures)
    await _read_signals(connection, pictures)
    await _read_sources(connection, pictures, to_ms(now))
    await _read_newest(connection, pictures, now)
    await _read_lines(connection, pictures)
    await _read_health(connection, pictures)
    await _read_capacity(connection, pictures, now.date())


async def read_log(connection: AsyncConnection) -> str | None:
    """Id of the Kafka log that is declared as current; None before the first declaration."""
    table = tables.kafka_log
    found: str | None = await connection.scalar(select(table.c.log_id).where(table.c.current))
    return found


async def _rows(connection: AsyncConnection, query: Select[Any]) -> Sequence[RowMapping]:
    rows: Sequence[RowMapping] = (await connection.execute(query)).mappings().all()
    return rows


async def _of_assets(
    connection: AsyncConnection, pictures: Pictures, query: Select[Any], column: str
) -> list[tuple[LivePlant, RowMapping]]:
    """Rows about an asset that somebody has told of, with its company's picture."""
    return [
        (plant, row)
        for row in await _rows(connection, query)
        if (plant := pictures.of_asset(row[column])) is not None
    ]


async def _read_assets(connection: AsyncConnection, pictures: Pictures) -> None:
    for row in await _rows(connection, select(tables.asset).order_by(tables.asset.c.path)):
        pictures.put_asset(
            Asset(
                row["id"],
                row["owner"],
                row["parent"],
                row["level"],
                row["name"],
                row["path"],
                row["meaning"],
            )
        )


async def _read_signals(connection: AsyncConnection, pictures: Pictures) -> None:
    for row in await _rows(connection, select(tables.signal).order_by(tables.signal.c.path)):
        signal = Signal(
            row["id"],
            row["asset"],
            row["path"],
            ValueType(row["type"]),
            row["unit"],
            row["source"],
            row["discovered"],
        )
        pictures.of(row["owner"]).put_signal(signal, row["role"] or "other", row["limits"])


async def _read_sources(connection: AsyncConnection, pictures: Pictures, now_ms: int) -> None:
    for row in await _rows(connection, select(tables.source)):
        plant = pictures.of(row["owner"])
        if row["heard_at"] is not None:
            plant.presence.mark_heard(f"~{row['id']}", to_ms(row["heard_at"]) * 1000, now_ms)
        if row["state"] == "dead":
            plant.presence.mark_silent(
                row["id"], row["detail"] or "the source is gone", to_ms(row["changed_at"]) * 1000
            )


async def _read_newest(connection: AsyncConnection, pictures: Pictures, now: datetime) -> None:
    """One index look-up per signal and table; historical samples are never the current value.

    A machine was heard when its newest value was; heartbeats of the last seconds follow from Kafka.
    Where the newest time is still to come (the clock of the machine was ahead), the newest of those
    up to now is read too: what was received later is newer.
    """
    for table in SAMPLE_TABLES:
        ahead = []
        for row in await _rows(connection, _newest(table)):
            _take_sample(pictures, table, row, to_ms(now))
            if row["time"] > now:
                ahead.append(row["id"])
        if ahead:
            up_to_now = _newest(table, table.c.time <= now).where(tables.signal.c.id.in_(ahead))
            for row in await _rows(connection, up_to_now):
                _take_sample(pictures, table, row, to_ms(now))


def _newest(table: Table, *which: ColumnElement[bool]) -> Select[Any]:
    newest = (
        select(table)
        .where(table.c.signal == tables.signal.c.key, table.c.flags.op("&")(1) == 0, *which)
        .order_by(table.c.time.desc(), table.c.sub.desc())
        .limit(1)
        .lateral("newest")
    )
    return select(tables.signal.c.id, tables.signal.c.owner, newest).select_from(
        tables.signal.join(newest, true())
    )


def _take_sample(pictures: Pictures, table: Table, row: RowMapping, now_ms: int) -> None:
    plant = pictures.of(row["owner"])
    if row["id"] not in plant.signals:
        return
    value, flags, time = _value(table, row), row["flags"], to_us(row["time"])
    gateway_time = to_us(row["gateway_time"])
    plant.put_value(
        row["id"],
        value,
        status=row["status"],
        flags=flags,
        time_us=time,
        gateway_time_us=gateway_time,
        sub=row["sub"],
    )
    if flags & Flag.RETAINED:
        return
    if row["source_time"] is not None and not flags & CHOSEN_TIME:
        source_time = to_us(row["source_time"])
    else:
        source_time = 0 if flags & Flag.TIME_REPLACED else time
    plant.evidence.take(
        plant.signals[row["id"]],
        value,
        status=row["status"],
        flags=flags,
        source_time=source_time,
        gateway_time=gateway_time,
        now_ms=now_ms,
    )


def _value(table: Table, row: RowMapping) -> Value:
    kind = ValueType(row["type"])
    if table is tables.sample_other:
        other: Value = next(
            (
                int(found) if name == "integer" else found
                for name in ("integer", "bytes", "json")
                if (found := row[name]) is not None
            ),
            None,
        )
        return other
    value: Value = row["value"]
    if isinstance(value, float):
        if kind is ValueType.BOOL:
            return value != 0
        if kind in (ValueType.INT64, ValueType.UINT64) and abs(value) <= MAX_EXACT_INT:
            return int(value)
    return value


async def _read_lines(connection: AsyncConnection, pictures: Pictures) -> None:
    state, kpi, alarm = tables.line_state, tables.kpi, tables.alarm
    newest_state = (
        select(state).distinct(state.c.line).order_by(state.c.line, state.c.started_at.desc())
    )
    for plant, row in await _of_assets(connection, pictures, newest_state, "line"):
        plant.put_state(_state_body(row))
    known = newest_state.where(state.c.state != LineState.NO_DATA)
    for plant, row in await _of_assets(connection, pictures, known, "line"):
        plant.put_before(_state_body(row))
    newest_kpi = select(kpi).distinct(kpi.c.line).order_by(kpi.c.line, kpi.c.shift_start.desc())
    for plant, row in await _of_assets(connection, pictures, newest_kpi, "line"):
        plant.put_kpi(business_events.kpi_body(row["line"], dict(row)))
    active = select(alarm).where(alarm.c.cleared_at.is_(None))
    for plant, row in await _of_assets(connection, pictures, active, "asset"):
        plant.raise_alarm(business_events.alarm_body(row["asset"], dict(row)))


def _state_body(row: RowMapping) -> dict[str, Any]:
    return {
        "line": row["line"],
        "state": row["state"],
        "unit": row["unit"],
        "reason": row["reason"],
        "since": to_ms(row["started_at"]),
    }


async def _read_health(connection: AsyncConnection, pictures: Pictures) -> None:
    health, case = tables.health, tables.case
    newest = select(health).distinct(health.c.asset).order_by(health.c.asset, health.c.time.desc())
    for plant, row in await _of_assets(connection, pictures, newest, "asset"):
        plant.put_health(
            {
                "asset": row["asset"],
                "index": row["index"],
                "score": row["score"],
                "drivers": row["drivers"],
                "at": to_ms(row["time"]),
            }
        )
    open_cases = select(case).where(case.c.closed_at.is_(None))
    for plant, row in await _of_assets(connection, pictures, open_cases, "asset"):
        plant.put_case(row["asset"], business_events.case_body(dict(row)), to_ms(row["opened_at"]))


async def _read_capacity(connection: AsyncConnection, pictures: Pictures, today: date) -> None:
    table = tables.estimate
    first = today - timedelta(
        days=today.weekday() + 7
    )  # a week early: the plant's zone may still have Sunday
    query = (
        select(table)
        .where(table.c.week.between(first, first + timedelta(weeks=CAPACITY_WEEKS + 1)))
        .distinct(table.c.line, table.c.week)
        .order_by(table.c.line, table.c.week, table.c.revision.desc())
    )
    for plant, row in await _of_assets(connection, pictures, query, "line"):
        plant.put_capacity(business_events.capacity_body(row["line"], dict(row)))


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which a line was in one state; `end` None: it still is."""

    state: str
    start: datetime
    end: datetime | None
    unit: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Stop:
    """A stop of a line; `end` None: it goes on."""

    state: str
    start: datetime
    end: datetime | None
    unit: str | None
    reason: str


async def read_spans(connection: AsyncConnection, line: str, since: datetime) -> list[Span]:
    """States of a line that reach into the time from `since` on, in order."""
    table = tables.line_state
    query = (
        select(table)
        .where(table.c.line == line, _reaches(table, since))
        .order_by(table.c.started_at)
        .limit(5000)
    )
    return [
        Span(row["state"], row["started_at"], row["ended_at"], row["unit"], row["reason"])
        for row in await _rows(connection, query)
    ]


async def read_stops(connection: AsyncConnection, line: str, since: datetime) -> list[Stop]:
    """Stops of a line from `since` on, the newest first."""
    table = tables.stop
    query = (
        select(table)
        .where(table.c.line == line, _reaches(table, since))
        .order_by(table.c.started_at.desc())
        .limit(MOST_STOPS)
    )
    return [
        Stop(row["state"], row["started_at"], row["ended_at"], row["unit"], row["reason"])
        for row in await _rows(connection, query)
    ]


async def read_sources(connection: AsyncConnection, owner: str) -> Sequence[RowMapping]:
    """A company's sources as the historian knows them."""
    table = tables.source
    return await _rows(connection, select(table).where(table.c.owner == owner).order_by(table.c.id))


def _reaches(table: Table, since: datetime) -> ColumnElement[bool]:
    return func.coalesce(table.c.ended_at, func.now()) >= since
