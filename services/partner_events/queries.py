"""Reads of the event log and of grants, shared by the webhook sender and the API."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Row, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from aurelian.access.policy import Grant, Principal
from aurelian.db.tables import event_log, grant
from partner_events.visibility import Logged, may_concern, of_types


async def load_grants(conn: AsyncConnection, grantee: str) -> list[Grant]:
    """Read the grants to a company that were not revoked; whether one is live is `decide`'s to
    say."""
    rows = await conn.execute(
        select(grant).where(grant.c.grantee == grantee, grant.c.revoked_at.is_(None))
    )
    return [to_grant(row) for row in rows]


def to_grant(row: Row[tuple[object, ...]]) -> Grant:
    """Make a grant of its row."""
    got = row._mapping
    fields = got["fields"]
    return Grant(
        id=str(got["id"]),
        owner=got["owner"],
        grantee=got["grantee"],
        purpose=got["purpose"],
        event_types=tuple(got["event_types"]),
        fields=None if fields is None else tuple(fields),
        resolution=got["resolution"],
        horizon_weeks=got["horizon_weeks"],
        expires_at=got["expires_at"],
        revoked_at=got["revoked_at"],
    )


async def load_page(
    conn: AsyncConnection, principal: Principal, types: Sequence[str], after: int, limit: int
) -> list[Logged]:
    """Read events after a number that may concern a principal; each still needs
    `visibility.show`."""
    log = event_log.c
    rows = await conn.execute(
        select(log.number, log.id, log.type, log.owner, log.body)
        .where(log.number > after, may_concern(principal.owner), of_types(types))
        .order_by(log.number)
        .limit(limit)
    )
    return [Logged(*row) for row in rows]


async def load_bounds(conn: AsyncConnection) -> tuple[int, int]:
    """The oldest and the newest number of the log; (1, 0) while it is empty."""
    row = (
        await conn.execute(select(func.min(event_log.c.number), func.max(event_log.c.number)))
    ).one()
    return (1, 0) if row[0] is None else (int(row[0]), int(row[1]))
