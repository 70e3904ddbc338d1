"""Routes of webhooks: register, look at, test, replay, enable, delete; and their delivery
records."""

from __future__ import annotations

import json
import time
import uuid
from datetime import UTC, datetime
from typing import Annotated

import httpx
from fastapi import APIRouter, Depends, Query
from sqlalchemy import ColumnElement, Row, Select, delete, func, insert, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from aurelian.access.keys import Principal, require
from aurelian.db.tables import attempt as attempts
from aurelian.db.tables import endpoint, event_log, pending
from aurelian.model.time import to_iso
from aurelian.runtime.problems import Problem, invalid
from partner_events import webhook
from partner_events.api.context import InContext, problems
from partner_events.api.schemas import (
    AttemptAnswer,
    EndpointAnswer,
    EndpointMade,
    EndpointRequest,
    ReplayAnswer,
    TestAnswer,
)
from partner_events.event_types import TEST_TYPE
from partner_events.queries import load_bounds
from partner_events.sender import queue_range
from partner_events.ssrf import Allowed, Refused, check_url, choose_address, resolve

router = APIRouter(prefix="/events/v1/endpoints", tags=["webhooks"])

Writer = Annotated[Principal, Depends(require("webhooks:write"))]


@router.post("", status_code=201, responses=problems(409, 422))
async def register_endpoint(
    context: InContext, principal: Writer, body: EndpointRequest
) -> EndpointMade:
    """Register a webhook for events from now on. The answer holds the signing secret, this once."""
    subscriber = body.subscriber or principal.owner
    if not principal.is_platform and subscriber != principal.owner:
        raise Problem(403, "only the platform's own key may register for another company")
    await _check_target(body.url, context.settings.allowed)
    made: dict[str, object] = {
        "id": str(uuid.uuid4()),
        "subscriber": subscriber,
        "url": body.url,
        "secret": webhook.make_secret(),
        "event_types": sorted(set(body.event_types)),
        "state": "active",
        "disabled_reason": "",
        "failing_since": None,
        "created_at": datetime.now(UTC),
    }
    async with context.engine.begin() as conn:
        await conn.execute(
            select(func.pg_advisory_xact_lock(func.hashtextextended(f"endpoints {subscriber}", 0)))
        )
        theirs = await conn.execute(
            select(endpoint.c.id, endpoint.c.url).where(endpoint.c.subscriber == subscriber)
        )
        # As it is called: scheme and host in any case and the usual port are the same target.
        wanted = httpx.URL(body.url)
        same = next((row.id for row in theirs if httpx.URL(row.url) == wanted), None)
        if same is not None:
            raise Problem(
                409,
                f"{subscriber} has registered this url already, as endpoint {same}; it gets each "
                "event once. Delete that one first to change its types or get a new secret",
            )
        there = await conn.scalar(
            select(func.count()).select_from(endpoint).where(endpoint.c.subscriber == subscriber)
        )
        if (there or 0) >= context.settings.max_endpoints:
            raise Problem(
                409, f"{subscriber} has {there} endpoints, no more are possible; delete one"
            )
        made["next_number"] = (await load_bounds(conn))[1] + 1
        await conn.execute(insert(endpoint).values(**made))
    return EndpointMade.model_validate({**made, "pending": 0})


@router.get("", responses=problems())
async def list_endpoints(context: InContext, principal: Writer) -> list[EndpointAnswer]:
    """Your webhooks."""
    async with context.engine.connect() as conn:
        rows = await conn.execute(_select().where(_own(principal)).order_by(endpoint.c.created_at))
        return [EndpointAnswer.model_validate(dict(row._mapping)) for row in rows]


@router.get("/{endpoint_id}", responses=problems(404, 422))
async def get_endpoint(
    context: InContext, principal: Writer, endpoint_id: uuid.UUID
) -> EndpointAnswer:
    """One of your webhooks."""
    async with context.engine.connect() as conn:
        return EndpointAnswer.model_validate(
            dict((await _find(conn, principal, endpoint_id))._mapping)
        )


@router.delete("/{endpoint_id}", status_code=204, responses=problems(404, 422))
async def delete_endpoint(context: InContext, principal: Writer, endpoint_id: uuid.UUID) -> None:
    """Delete a webhook and what waits for it. Its delivery records stay until they are too old."""
    async with context.engine.begin() as conn:
        await _find(conn, principal, endpoint_id, lock=True)
        await conn.execute(delete(pending).where(pending.c.endpoint == str(endpoint_id)))
        await conn.execute(delete(endpoint).where(endpoint.c.id == str(endpoint_id)))


@router.post("/{endpoint_id}/enable", responses=problems(404, 422))
async def enable_endpoint(
    context: InContext, principal: Writer, endpoint_id: uuid.UUID
) -> EndpointAnswer:
    """Take a disabled webhook into service again, for events from now on; `replay` sends what was
    missed."""
    async with context.engine.begin() as conn:
        if (await _find(conn, principal, endpoint_id, lock=True)).state == "disabled":
            newest = (await load_bounds(conn))[1]
            fresh = {
                "state": "active",
                "disabled_reason": "",
                "failing_since": None,
                "next_number": newest + 1,
            }
            await conn.execute(
                update(endpoint).where(endpoint.c.id == str(endpoint_id)).values(**fresh)
            )
        return EndpointAnswer.model_validate(
            dict((await _find(conn, principal, endpoint_id))._mapping)
        )


@router.post("/{endpoint_id}/test", responses=problems(404, 422))
async def test_endpoint(
    context: InContext, principal: Writer, endpoint_id: uuid.UUID
) -> TestAnswer:
    """Send a signed test event now, once, and answer how it went."""
    async with context.engine.connect() as conn:
        found = await _find(conn, principal, endpoint_id)
        secret = await conn.scalar(
            select(endpoint.c.secret).where(endpoint.c.id == str(endpoint_id))
        )
    sent_at, event_id = datetime.now(UTC), str(uuid.uuid4())
    body = _test_event(event_id, found.subscriber, sent_at)
    began = time.monotonic()
    answer = await webhook.attempt(context.client, found.url, secret or "", event_id, body, sent_at)
    took_ms = (time.monotonic() - began) * 1000
    row = {
        "endpoint": str(endpoint_id),
        "number": 0,
        "attempt": 1,
        "sent_at": sent_at,
        "duration_ms": took_ms,
        "status": answer.status,
        "outcome": answer.words,
        "response": answer.response,
        "replay": False,
    }
    async with context.engine.begin() as conn:
        await conn.execute(insert(attempts).values(**row))
    return TestAnswer(
        webhook_id=event_id,
        status=answer.status,
        outcome=answer.words,
        duration_ms=took_ms,
        response=answer.response,
    )


@router.post("/{endpoint_id}/replay", status_code=202, responses=problems(404, 409, 422))
async def replay_events(
    context: InContext,
    principal: Writer,
    endpoint_id: uuid.UUID,
    after: Annotated[
        int | None, Query(ge=0, le=2**62, description="all events after this number")
    ] = None,
    number: Annotated[int | None, Query(ge=1, le=2**62, description="this event alone")] = None,
) -> ReplayAnswer:
    """Send events again: the same `webhook-id`, a new attempt. What you may not see any more is
    withheld."""
    if (after is None) == (number is None):
        raise invalid("after", "give either `after` or `number`")
    async with context.engine.begin() as conn:
        found = await _find(conn, principal, endpoint_id, lock=True)
        if found.state != "active":
            raise Problem(
                409, f"the endpoint is disabled ({found.disabled_reason}); enable it first"
            )
        # What the worker has not queued yet comes by itself.
        first, last = (
            (number, number) if number is not None else ((after or 0) + 1, found.next_number - 1)
        )
        queued = await queue_range(
            conn,
            str(endpoint_id),
            found.subscriber,
            found.event_types,
            first,
            last,
            datetime.now(UTC),
        )
    if number is not None and not queued:
        raise Problem(
            404, f"event {number} is not in the log, not of this endpoint's types, or not yours"
        )
    return ReplayAnswer(queued=queued)


@router.get("/{endpoint_id}/attempts", responses=problems(404, 422))
async def list_attempts(
    context: InContext,
    principal: Writer,
    endpoint_id: uuid.UUID,
    number: Annotated[
        int | None, Query(ge=0, le=2**62, description="of one event; 0: tests")
    ] = None,
    before: Annotated[
        int | None, Query(ge=1, le=2**62, description="`id` of the last record that you have")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[AttemptAnswer]:
    """Delivery records, the newest first."""
    wanted = (
        select(attempts, event_log.c.id.label("event_id"), event_log.c.type)
        .join(event_log, event_log.c.number == attempts.c.number, isouter=True)
        .where(attempts.c.endpoint == str(endpoint_id))
        .order_by(attempts.c.id.desc())
        .limit(limit)
    )
    if number is not None:
        wanted = wanted.where(attempts.c.number == number)
    if before is not None:
        wanted = wanted.where(attempts.c.id < before)
    async with context.engine.connect() as conn:
        await _find(conn, principal, endpoint_id)
        rows = (await conn.execute(wanted)).mappings()
        return [
            AttemptAnswer.model_validate({**row, "of": len(webhook.RETRY_AFTER_S)}) for row in rows
        ]


async def _check_target(url: str, allowed: Allowed) -> None:
    try:
        target = check_url(url, allowed)
        choose_address(target, await resolve(target), allowed)
    except Refused as error:
        raise invalid("url", str(error)) from error
    except (OSError, UnicodeError) as error:
        raise invalid("url", "the host name does not resolve") from error


def _select() -> Select[tuple[object, ...]]:
    """Endpoints as they are shown: never with the secret."""
    waiting = select(func.count()).where(pending.c.endpoint == endpoint.c.id).scalar_subquery()
    shown = [column for column in endpoint.c if column is not endpoint.c.secret]
    return select(*shown, waiting.label("pending"))


def _own(principal: Principal) -> ColumnElement[bool]:
    return true() if principal.is_platform else endpoint.c.subscriber == principal.owner


async def _find(
    conn: AsyncConnection, principal: Principal, endpoint_id: uuid.UUID, *, lock: bool = False
) -> Row[tuple[object, ...]]:
    """Read an endpoint of the principal's; another's is not there (404)."""
    wanted = _select().where(endpoint.c.id == str(endpoint_id), _own(principal))
    row = (
        await conn.execute(wanted.with_for_update(of=endpoint) if lock else wanted)
    ).one_or_none()
    if row is None:
        raise Problem(404, f"you have no endpoint {endpoint_id}")
    return row


def _test_event(event_id: str, subscriber: str, now: datetime) -> bytes:
    event = {
        "specversion": "1.0",
        "id": event_id,
        "source": "/aurelian/partner_events",
        "type": TEST_TYPE,
        "subject": subscriber,
        "time": to_iso(now),
        "datacontenttype": "application/json",
        "owner": subscriber,
        "data": {"message": "This is a test."},
    }
    return json.dumps(event, separators=(",", ":")).encode()
