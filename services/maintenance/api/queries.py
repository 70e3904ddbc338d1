"""The maintenance API's reads. Rows of other owners never leave the database."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Select, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from aurelian.access.keys import Principal
from aurelian.db.tables import asset, case, health
from maintenance.api.schemas import AssetHealth, Case, HealthPoint


async def newest_health(
    conn: AsyncConnection, who: Principal, wanted: str | None
) -> list[AssetHealth]:
    """The newest health of each machine that the key may see, or of one."""
    query = (
        select(health, asset.c.path)
        .join(asset, asset.c.id == health.c.asset)
        .ext(distinct_on(health.c.asset))
        .order_by(health.c.asset, health.c.time.desc())
    )
    if wanted is not None:
        query = query.where(health.c.asset == wanted)
    rows = await conn.execute(_visible(query, who, health.c.owner))
    return sorted(
        (AssetHealth.model_validate(dict(row)) for row in rows.mappings()), key=lambda h: h.path
    )


async def health_history(
    conn: AsyncConnection, who: Principal, wanted: str, start: datetime, end: datetime, limit: int
) -> list[HealthPoint]:
    """The health of one machine by the minute, oldest first."""
    query = (
        select(health.c.time, health.c.index, health.c.score, health.c.drivers)
        .where(health.c.asset == wanted, health.c.time >= start, health.c.time < end)
        .order_by(health.c.time)
        .limit(limit)
    )
    rows = await conn.execute(_visible(query, who, health.c.owner))
    return [HealthPoint.model_validate(dict(row)) for row in rows.mappings()]


async def cases(conn: AsyncConnection, who: Principal, only_open: bool, limit: int) -> list[Case]:
    """Cases, newest first."""
    query = (
        select(case, asset.c.path)
        .join(asset, asset.c.id == case.c.asset)
        .order_by(case.c.opened_at.desc())
        .limit(limit)
    )
    if only_open:
        query = query.where(case.c.closed_at.is_(None))
    rows = await conn.execute(_visible(query, who, case.c.owner))
    return [Case.model_validate(dict(row)) for row in rows.mappings()]


def _visible(
    query: Select[tuple[object, ...]], who: Principal, owner: object
) -> Select[tuple[object, ...]]:
    return query if who.is_platform else query.where(owner == who.owner)  # type: ignore[arg-type]
