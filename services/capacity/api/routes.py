"""The capacity API's routes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, HTTPException, Query, Request, Response

from aurelian.access.keys import Principal, require
from aurelian.runtime.problems import Problem
from capacity.api import commitments, queries
from capacity.api.schemas import (
    Commitment,
    CommitmentChange,
    CommitmentIn,
    OperationsCapability,
)

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
    end = last or start + min(timedelta(weeks=106), date.max - start)
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
    request: Request,
    response: Response,
    wanted: CommitmentIn,
    who: Annotated[Principal, Depends(require("admin"))],
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=255,
            description="any text of your own for this request: a retry with the same one is "
            "committed once; kept for 30 days",
        ),
    ] = None,
) -> Commitment:
    """Record pieces promised in a week; they count as Committed from the next estimate on. The
    same request again is answered with 200 and what was recorded."""
    async with request.app.state.engine.begin() as conn:
        line = await commitments.find_line(conn, who, wanted.line)
        if line is None:
            raise Problem(404, f"no line {wanted.line!r} that this key may see")
        commitments.check_week(line, wanted.week, request.app.state.weeks, datetime.now(UTC))
        commitments.check_quantity(line, wanted.quantity)
        made, is_new = await commitments.add(conn, who, line, wanted, idempotency_key)
    if not is_new:
        response.status_code = 200
    return made


@router.get("/commitments")
async def list_commitments(
    request: Request,
    who: Annotated[Principal, Depends(require("capacity:read"))],
    line: Annotated[str | None, Query(description="id or path")] = None,
    first: Annotated[date | None, Query(alias="from")] = None,
    last: Annotated[date | None, Query(alias="to")] = None,
    reference: str | None = None,
    withdrawn: Annotated[bool, Query(description="also those")] = False,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> list[Commitment]:
    """Commitments by week, then by when they were recorded."""
    async with request.app.state.engine.connect() as conn:
        return await commitments.find(
            conn, who, line, first, last, reference, withdrawn=withdrawn, limit=limit
        )


@router.patch("/commitments/{id}")
async def change_commitment(
    request: Request,
    id: UUID,
    change: CommitmentChange,
    who: Annotated[Principal, Depends(require("admin"))],
) -> Commitment:
    """Change the week or the quantity of a commitment whose week is not over."""
    now, weeks = datetime.now(UTC), request.app.state.weeks
    async with request.app.state.engine.begin() as conn:
        return await commitments.change(conn, who, str(id), change, weeks, now)


@router.delete("/commitments/{id}")
async def withdraw_commitment(
    request: Request, id: UUID, who: Annotated[Principal, Depends(require("admin"))]
) -> Commitment:
    """Withdraw a commitment whose week is not over; again changes nothing. It stays on record, and
    its reference is free."""
    now, weeks = datetime.now(UTC), request.app.state.weeks
    async with request.app.state.engine.begin() as conn:
        return await commitments.change(conn, who, str(id), None, weeks, now)
