"""The capacity API's reads and its one write. Rows of other owners never leave the database."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime

from sqlalchemy import insert, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from aurelian.access.keys import Principal
from aurelian.db.tables import asset, commitment, estimate
from aurelian.model.calendar import iso_week
from capacity.api.schemas import Commitment, CommitmentIn, OperationsCapability, Quantity, Reason


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


async def find_line(conn: AsyncConnection, who: Principal, line: str) -> tuple[str, str] | None:
    """Id and owner of a line that the key may see, by id or path."""
    query = select(asset.c.id, asset.c.owner).where(
        asset.c.level == "line", (asset.c.id == line) | (asset.c.path == line)
    )
    if not who.is_platform:
        query = query.where(asset.c.owner == who.owner)
    row = (await conn.execute(query)).first()
    return None if row is None else (row[0], row[1])


async def add_commitment(
    conn: AsyncConnection, line: str, owner: str, wanted: CommitmentIn
) -> Commitment:
    """Record a commitment; the worker counts it at its next estimate."""
    row = {
        "id": str(uuid.uuid4()),
        "line": line,
        "week": wanted.week,
        "owner": owner,
        "quantity": wanted.quantity,
        "reference": wanted.reference,
        "recorded_at": datetime.now(UTC),
    }
    await conn.execute(insert(commitment).values(row))
    return Commitment.model_validate(row)


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
        revision=row["revision"],
        data_time=row["data_time"],
        computed_at=row["computed_at"],
    )
