"""The capacity API's reads of estimates. Rows of other owners never leave the database."""

from __future__ import annotations

from datetime import date

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from aurelian.access.keys import Principal
from aurelian.db.tables import asset, estimate
from aurelian.model.calendar import iso_week
from capacity.api.schemas import OperationsCapability, Quantity, Reason


async def operations_capabilities(
    conn: AsyncConnection, who: Principal, line: str | None, first: date, last: date
) -> list[OperationsCapability]:
    """The newest estimate of each line and week between two dates, by path and week."""
    query = (
        select(estimate, asset.c.path)
        .join(asset, asset.c.id == estimate.c.line)
        .ext(distinct_on(estimate.c.line, estimate.c.week))
        .where(estimate.c.week >= first, estimate.c.week <= last)
        .order_by(estimate.c.line, estimate.c.week, estimate.c.revision.desc())
    )
    if line is not None:
        query = query.where((estimate.c.line == line) | (asset.c.path == line))
    if not who.is_platform:
        query = query.where(estimate.c.owner == who.owner)
    rows = await conn.execute(query)
    return sorted(
        (_capability(row) for row in rows.mappings()), key=lambda c: (c.path, c.week_start)
    )


def _capability(row: RowMapping) -> OperationsCapability:
    return OperationsCapability(
        line=row["line"],
        path=row["path"],
        owner=row["owner"],
        week=iso_week(row["week"]),
        week_start=row["week"],
        unit=row["unit"],
        quantities=[
            Quantity(capability_type="Total", quantity=row["total"]),
            Quantity(
                capability_type="Available",
                quantity=row["available"],
                p10=row["available_p10"],
                p90=row["available_p90"],
            ),
            Quantity(capability_type="Committed", quantity=row["committed"]),
            Quantity(
                capability_type="Unattainable",
                quantity=row["unattainable"],
                reasons=[Reason.model_validate(reason) for reason in row["reasons"]],
            ),
        ],
        method=row["method"],
        inputs=row["inputs"],
        revision=row["revision"],
        data_time=row["data_time"],
        computed_at=row["computed_at"],
    )
