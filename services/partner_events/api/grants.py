"""Routes of grants: a company lets another one see some of its events, and takes that back."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends
from sqlalchemy import insert, or_, select, true, update
from sqlalchemy.engine import RowMapping

from aurelian.access.keys import Principal, require
from aurelian.access.policy import PLATFORM, Action, decide
from aurelian.db.tables import grant
from aurelian.runtime.problems import Problem, invalid
from partner_events.api.context import InContext, problems
from partner_events.api.schemas import GrantAnswer, GrantRequest

router = APIRouter(prefix="/events/v1/grants", tags=["grants"])

Giver = Annotated[Principal, Depends(require("grants:write"))]
Reader = Annotated[Principal, Depends(require("events:read"))]


@router.post("", status_code=201, responses=problems(422))
async def give_grant(context: InContext, principal: Giver, body: GrantRequest) -> GrantAnswer:
    """Let `grantee` see events of yours. It holds at once, on every channel."""
    owner = body.owner or principal.owner
    now = datetime.now(UTC)
    if owner == PLATFORM:
        raise invalid("owner", "name the company that gives")
    if not decide(principal, Action.CHANGE, owner, None, (), now).permit:
        raise Problem(403, f"only {owner} itself may give grants for its events")
    if body.grantee in (owner, PLATFORM):
        raise invalid("grantee", "name another company")
    if body.expires_at is not None and body.expires_at <= now:
        raise invalid("expires_at", "lies in the past")
    made = {
        "id": str(uuid.uuid4()),
        "owner": owner,
        "grantee": body.grantee,
        "purpose": body.purpose,
        "event_types": body.event_types,
        "fields": body.fields,
        "resolution": None,
        "horizon_weeks": body.horizon_weeks,
        "expires_at": body.expires_at,
        "revoked_at": None,
        "created_at": now,
    }
    async with context.engine.begin() as conn:
        await conn.execute(insert(grant).values(**made))
    return GrantAnswer.model_validate(made)


@router.get("", responses=problems())
async def list_grants(context: InContext, principal: Reader) -> list[GrantAnswer]:
    """Grants that you gave and those that you were given, ended ones too."""
    mine = or_(grant.c.owner == principal.owner, grant.c.grantee == principal.owner)
    async with context.engine.connect() as conn:
        rows = await conn.execute(
            select(grant)
            .where(true() if principal.is_platform else mine)
            .order_by(grant.c.created_at)
        )
        return [_answer(row) for row in rows.mappings()]


@router.delete("/{grant_id}", status_code=204, responses=problems(404, 422))
async def revoke_grant(context: InContext, principal: Giver, grant_id: uuid.UUID) -> None:
    """End a grant that you gave. The next event is not sent any more."""
    own = true() if principal.is_platform else grant.c.owner == principal.owner
    async with context.engine.begin() as conn:
        done = await conn.execute(
            update(grant)
            .where(grant.c.id == str(grant_id), own, grant.c.revoked_at.is_(None))
            .values(revoked_at=datetime.now(UTC))
        )
    if done.rowcount != 1:
        raise Problem(404, f"there is no live grant {grant_id} of yours")


def _answer(row: RowMapping) -> GrantAnswer:
    return GrantAnswer.model_validate(dict(row))
