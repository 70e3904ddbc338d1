"""The capacity API's routes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Request

from aurelian.access.keys import Principal, require
from capacity.api import queries
from capacity.api.schemas import Commitment, CommitmentIn, OperationsCapability

router = APIRouter(prefix="/capacity/v1", tags=["capacity"])


@router.get("/operations-capabilities")
async def list_operations_capabilities(
    request: Request,
    who: Annotated[Principal, Depends(require("capacity:read"))],
    line: Annotated[str | None, Query(description="id or path")] = None,
    first: Annotated[date | None, Query(alias="from")] = None,
    last: Annotated[date | None, Query(alias="to")] = None,
) -> list[OperationsCapability]:
    """Capacity by line and ISO week; from the current week on, for all weeks that are estimated."""
    today = datetime.now(UTC).date()
    start = first or today - timedelta(days=7)
    end = last or start + timedelta(weeks=106)
    if end < start:
        raise HTTPException(422, f"`to` ({end}) is before `from` ({start})")
    async with request.app.state.engine.connect() as conn:
        found = await queries.operations_capabilities(conn, who, line, start, end)
    if first is None:
        # The current week began at most six days ago wherever the site is.
        return [c for c in found if c.week_start > today - timedelta(days=7)]
    return found


@router.post("/commitments", status_code=201)
async def add_commitment(
    request: Request, wanted: CommitmentIn, who: Annotated[Principal, Depends(require("admin"))]
) -> Commitment:
    """Record pieces promised in a week; they count as Committed from the next estimate on."""
    async with request.app.state.engine.begin() as conn:
        line = await queries.find_line(conn, who, wanted.line)
        if line is None:
            raise HTTPException(404, f"no line {wanted.line!r} that this key may see")
        return await queries.add_commitment(conn, line[0], line[1], wanted)
