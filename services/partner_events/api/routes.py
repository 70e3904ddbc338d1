"""Routes that read events: cursor polling, the SSE stream, the AsyncAPI document."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from aurelian.access.keys import Principal, require
from aurelian.runtime.problems import Problem, invalid
from partner_events import metrics
from partner_events.api.context import InContext, problems
from partner_events.api.schemas import EventsPage, TypeName
from partner_events.api.stream import Follower, is_gone, reset_notice
from partner_events.asyncapi import render_yaml
from partner_events.queries import load_bounds, load_grants, load_page
from partner_events.visibility import show

router = APIRouter(prefix="/events/v1", tags=["events"])

Reader = Annotated[Principal, Depends(require("events:read"))]
Types = Annotated[
    list[TypeName], Query(alias="type", description="event types; none: all", max_length=100)
]
After = Annotated[
    int,
    Query(ge=0, le=2**62, description="number of the last event that you have; 0: from the oldest"),
]


@router.get("/events", responses={200: {"model": EventsPage}, **problems(422)})
async def list_events(
    context: InContext,
    principal: Reader,
    after: After = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    types: Types = [],  # noqa: B006
) -> Response:
    """Poll the log. Ask again with `after` = `next`; the events are those of the stream, in the
    same order."""
    async with context.engine.connect() as conn:
        oldest, newest = await load_bounds(conn)
        grants = await load_grants(conn, principal.owner)
        page = await load_page(conn, principal, types, after, limit)
    now = datetime.now(UTC)
    bodies = [shown.body for shown in (show(principal, event, grants, now) for event in page)]
    # As in the stream: the cursor is not in the log, so what comes next begins at the oldest.
    gone = is_gone(after, oldest, newest)
    reset = f',"reset":{json.dumps(reset_notice(oldest, newest))}' if gone else ""
    last = page[-1].number if page else oldest - 1 if gone else after
    # Put together from text: each event goes out byte for byte as its maker wrote it.
    events = ",".join(body for body in bodies if body is not None)
    return Response(
        f'{{"events":[{events}],"next":{last},"oldest":{oldest}{reset}}}',
        media_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


async def _open_follower(
    request: Request,
    context: InContext,
    principal: Reader,
    after: Annotated[
        int | None, Query(ge=0, le=2**62, description="as in polling; none: from now on")
    ] = None,
    types: Types = [],  # noqa: B006
    last_event_id: Annotated[str | None, Header(description="goes before `after`")] = None,
) -> AsyncIterator[Follower]:
    """Make the follower while there is room; everything that can be refused is refused before the
    stream begins."""
    start = _start(last_event_id, after)
    if context.streams >= context.settings.max_streams:
        raise Problem(
            503,
            f"{context.streams} streams are open; poll instead, or try later",
            headers={"Retry-After": "30"},
        )
    context.streams += 1
    metrics.streams.set(context.streams)
    token = request.headers["authorization"].partition(" ")[2].strip()
    try:
        yield Follower(context.engine, context.tail, context.keys, token, principal, types, start)
    finally:
        context.streams -= 1
        metrics.streams.set(context.streams)


@router.get("/stream", response_class=EventSourceResponse, responses=problems(422))
async def stream_events(
    follower: Annotated[Follower, Depends(_open_follower)],
) -> AsyncIterator[ServerSentEvent]:
    """Stream events: `id` = number, `event` = type, `data` = the CloudEvent. Resumes after
    Last-Event-ID."""
    async for event in follower.follow():
        yield event


@router.get(
    "/asyncapi.yaml",
    response_class=Response,
    responses={200: {"content": {"application/yaml": {}}}},
)
async def get_asyncapi() -> Response:
    """The AsyncAPI 3.0 document of all events. Open to everybody."""
    return Response(render_yaml(), media_type="application/yaml")


def _start(last_event_id: str | None, after: int | None) -> int | None:
    if not last_event_id:
        return after
    if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < 19):
        raise invalid("Last-Event-ID", f"{last_event_id[:40]!r} is no number of the log")
    return int(last_event_id)
