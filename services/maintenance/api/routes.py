"""The maintenance API's routes; every one asks for the scope `maintenance:read`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import AwareDatetime

from aurelian.access.keys import Principal, require
from maintenance.api import queries
from maintenance.api.schemas import AssetHealth, Case, HealthPoint

router = APIRouter(prefix="/maintenance/v1", tags=["maintenance"])

Who = Annotated[Principal, Depends(require("maintenance:read"))]


@router.get("/health")
async def list_health(request: Request, who: Who, asset: str | None = None) -> list[AssetHealth]:
    """The newest health of each machine, by path."""
    async with request.app.state.engine.connect() as conn:
        return await queries.newest_health(conn, who, asset)


@router.get("/health/{asset}/history")
async def list_health_history(
    request: Request,
    who: Who,
    asset: str,
    start: Annotated[AwareDatetime | None, Query(alias="from")] = None,
    end: Annotated[AwareDatetime | None, Query(alias="to")] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1440,
) -> list[HealthPoint]:
    """One machine's health by the minute, oldest first; the last day unless told otherwise."""
    until = end or datetime.now(UTC)
    async with request.app.state.engine.connect() as conn:
        return await queries.health_history(
            conn, who, asset, start or until - timedelta(days=1), until, limit
        )


@router.get("/cases")
async def list_cases(
    request: Request,
    who: Who,
    open: bool = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[Case]:
    """Cases, newest first; `open=true` for those that are still open."""
    async with request.app.state.engine.connect() as conn:
        return await queries.cases(conn, who, open, limit)
