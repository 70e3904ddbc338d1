"""The history API's reads beside samples: ledger, gaps, rejected records. Rows of other owners
never leave the database."""

from __future__ import annotations

import base64
from datetime import datetime

from sqlalchemy import BigInteger, ColumnElement, cast, func, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from aurelian.access.keys import Principal
from aurelian.db import tables
from history.schemas import GapOut, LedgerRow, RejectedOut

PAYLOAD_SHOWN = 1024


async def read_ledger(
    conn: AsyncConnection, who: Principal, start: datetime, end: datetime, source: str | None
) -> list[LedgerRow]:
    """The ledger of the hours that begin in [start, end), newest first."""
    r, s = tables.ledger_received, tables.ledger_stored
    received = (
        select(
            r.c.owner,
            r.c.source,
            r.c.hour,
            *(
                cast(func.sum(r.c[name]), BigInteger).label(name)
                for name in ("received", "dropped", "skipped")
            ),
        )
        .where(r.c.hour >= start, r.c.hour < end, _mine(r.c.owner, who))
        .group_by(r.c.owner, r.c.source, r.c.hour)
        .subquery("received")
    )
    stored = (
        select(s).where(s.c.hour >= start, s.c.hour < end, _mine(s.c.owner, who)).subquery("stored")
    )
    both = received.join(
        stored,
        (received.c.owner == stored.c.owner)
        & (received.c.source == stored.c.source)
        & (received.c.hour == stored.c.hour),
        full=True,
    )
    named = func.coalesce(received.c.source, stored.c.source)
    hour = func.coalesce(received.c.hour, stored.c.hour)
    counts = [
        func.coalesce(side.c[name], 0).label(name)
        for side, names in (
            (received, ("received", "dropped", "skipped")),
            (stored, ("stored", "duplicate", "rejected")),
        )
        for name in names
    ]
    query = (
        select(
            named.label("source"),
            hour.label("hour"),
            func.coalesce(received.c.owner, stored.c.owner).label("owner"),
            *counts,
        )
        .select_from(both)
        .where(true() if source is None else named == source)
        .order_by(hour.desc(), named, func.coalesce(received.c.owner, stored.c.owner))
        .limit(10_000)
    )
    rows = (await conn.execute(query)).mappings()
    return [
        LedgerRow.model_validate(
            {
                **row,
                "in_flight": row["received"]
                - sum(
                    row[name] for name in ("stored", "duplicate", "rejected", "dropped", "skipped")
                ),
            }
        )
        for row in rows
    ]


async def read_gaps(
    conn: AsyncConnection,
    who: Principal,
    start: datetime,
    end: datetime,
    source: str | None,
    line: str | None,
    limit: int,
) -> list[GapOut]:
    """Gaps that touch [start, end), newest first. A gap of a line that names no source concerns all
    of its sources."""
    table = tables.gap
    query = (
        select(table)
        .where(
            table.c.from_time < end,
            table.c.to_time >= start,
            _mine(table.c.owner, who),
            true() if source is None else table.c.source.in_((source, "")),
            true() if line is None else table.c.line.in_((line, "")),
        )
        .order_by(table.c.from_time.desc(), table.c.id)
        .limit(limit)
    )
    rows = (await conn.execute(query)).mappings()
    return [
        GapOut.model_validate({**row, "from_": row["from_time"], "to": row["to_time"]})
        for row in rows
    ]


async def read_rejected(
    conn: AsyncConnection, who: Principal, source: str | None, before: int | None, limit: int
) -> list[RejectedOut]:
    """Rejected records, newest first, with the beginning of their bytes."""
    table = tables.rejected
    names = [name for name in RejectedOut.model_fields if name != "payload"]
    query = (
        select(
            *(table.c[name] for name in names),
            func.substring(table.c.payload, 1, PAYLOAD_SHOWN).label("payload"),
        )
        .where(
            _mine(table.c.owner, who),
            true() if source is None else table.c.source == source,
            true() if before is None else table.c.id < before,
        )
        .order_by(table.c.id.desc())
        .limit(limit)
    )
    rows = (await conn.execute(query)).mappings()
    return [
        RejectedOut.model_validate({**row, "payload": base64.b64encode(row["payload"]).decode()})
        for row in rows
    ]


def _mine(owner: ColumnElement[str], who: Principal) -> ColumnElement[bool]:
    return true() if who.is_platform else owner == who.owner
