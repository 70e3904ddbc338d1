"""The history API's reads of what machines say themselves: events and alarms. Rows of other owners
never leave the database."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Literal

from sqlalchemy import ColumnElement, Table, and_, case, func, literal, or_, select, true, tuple_
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from aurelian.access.keys import Principal
from aurelian.db import tables
from aurelian.model.evidence import STALE_S
from history.schemas import AlarmOut, AlarmStateOut

EventPlace = tuple[datetime, datetime, str]
"""Receipt, time and id of an event: its place in the order of events."""

Which = Literal["standing", "active", "all"]


async def read_alarms(
    conn: AsyncConnection,
    who: Principal,
    path: str,
    source: str | None,
    which: Which,
    limit: int,
) -> list[AlarmStateOut]:
    """The state of conditions, the most severe first, then the newest.

    Args:
        path: of what they are about, and all below it; of a unit, a line, an area or a site.
        which: of interest (active, or not acknowledged), active, or all that are stored.
    """
    table, heard = tables.machine_alarm, tables.source
    silent = case(
        (heard.c.id.is_(None), table.c.received_at),
        (heard.c.state == "dead", heard.c.changed_at),
        (
            func.coalesce(heard.c.heard_at, heard.c.changed_at)
            < func.now() - func.make_interval(0, 0, 0, 0, 0, 0, STALE_S),
            func.coalesce(heard.c.heard_at, heard.c.changed_at),
        ),
    )
    joined = table.outerjoin(
        heard, and_(heard.c.owner == table.c.owner, heard.c.id == table.c.source)
    ).outerjoin(tables.asset, _is_unit(table))
    wanted = {
        "standing": table.c.retain,
        "active": and_(table.c.retain, table.c.active),
        "all": true(),
    }[which]
    query = (
        select(table, silent.label("not_known_since"))
        .select_from(joined)
        .where(_mine(table, who), _about(table, path), wanted)
        .where(true() if source is None else table.c.source == source)
        .order_by(table.c.severity.desc(), table.c.time.desc(), table.c.condition, table.c.branch)
        .limit(limit)
    )
    rows = (await conn.execute(query)).mappings()
    return [AlarmStateOut.model_validate(_shown(row)) for row in rows]


async def read_alarm_events(
    conn: AsyncConnection,
    who: Principal,
    start: datetime,
    end: datetime,
    path: str,
    source: str | None,
    condition: str | None,
    min_severity: int,
    before: EventPlace | None,
    limit: int,
) -> list[tuple[str, AlarmOut]]:
    """Events received in [start, end), newest first, each with its id; `before`: the last one of
    the page before."""
    table = tables.machine_alarm_event
    query = (
        select(table)
        .select_from(table.outerjoin(tables.asset, _is_unit(table)))
        .where(
            _mine(table, who),
            _about(table, path),
            table.c.received_at >= start,
            table.c.received_at < end,
            table.c.severity >= min_severity,
            true() if source is None else table.c.source == source,
            true() if condition is None else table.c.condition == condition,
        )
        .order_by(table.c.received_at.desc(), table.c.time.desc(), table.c.id.desc())
        .limit(limit)
    )
    if before is not None:
        at = (literal(before[0]), literal(before[1]), literal(before[2], table.c.id.type))
        here = tuple_(table.c.received_at, table.c.time, table.c.id)
        query = query.where(here < tuple_(*at))
    rows = (await conn.execute(query)).mappings()
    return [(str(row["id"]), AlarmOut.model_validate(_shown(row))) for row in rows]


def _is_unit(table: Table) -> ColumnElement[bool]:
    return and_(tables.asset.c.id == table.c.asset, tables.asset.c.owner == table.c.owner)


def _about(table: Table, path: str) -> ColumnElement[bool]:
    """By the unit's path of today; what is of no unit belongs to its source alone, whose name
    begins with its site."""
    prefix = path.strip("/")
    if not prefix:
        return true()
    column = func.coalesce(tables.asset.c.path, func.nullif(table.c.line, ""), table.c.source)
    return or_(column == prefix, func.starts_with(column, prefix + "/"))


def _mine(table: Table, who: Principal) -> ColumnElement[bool]:
    return true() if who.is_platform else table.c.owner == who.owner


def _shown(row: RowMapping) -> dict[str, object]:
    try:
        fields = json.loads(row["fields"] or "{}")
    except ValueError:
        fields = {"text": row["fields"]}
    return {
        **row,
        "event_id": bytes(row["event_id"]).hex(),
        "fields": fields if isinstance(fields, dict) else {"value": fields},
    }
