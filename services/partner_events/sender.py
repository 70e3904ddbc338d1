"""Sends webhooks: queues new events per endpoint and makes the attempts that are due. Task of the
worker.

An endpoint has one attempt on its way at a time, the lowest number that is due first; each endpoint
goes at its own pace. So events reach an endpoint in order until one fails; that one is tried again
later while those after it go on.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import httpx
from sqlalchemy import (
    ColumnElement,
    and_,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from aurelian.access.policy import Principal
from aurelian.db import tables
from partner_events import metrics
from partner_events.queries import load_grants
from partner_events.visibility import Logged, may_concern, of_types, show
from partner_events.webhook import (
    DISABLE_AFTER,
    Answer,
    Verdict,
    attempt,
    next_attempt_at,
    throttle_s,
)

log_c, endpoint_c, pending_c = tables.event_log.c, tables.endpoint.c, tables.pending.c


@dataclass(frozen=True, slots=True)
class Due:
    """What an attempt needs: a row of `pending` with its endpoint and its event."""

    endpoint: str
    subscriber: str
    url: str
    secret: str
    failing_since: datetime | None
    made: int
    due_at: datetime
    replay: bool
    event: Logged


class Sender:
    """The webhook queues in the database and the attempts from them. One event loop; one instance
    at a time.

    The clock and the random numbers of the jitter come from outside, so that tests can move them.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        client: httpx.AsyncClient,
        *,
        now: Callable[[], datetime],
        rng: random.Random | None = None,
    ) -> None:
        self._engine, self._client, self._now, self._rng = (
            engine,
            client,
            now,
            rng or random.Random(),
        )
        self._throttled: dict[str, datetime] = {}

    async def find_work(self) -> list[str]:
        """Ids of the active endpoints that have new events or due attempts."""
        now = self._now()
        newest = select(func.max(log_c.number)).scalar_subquery()
        due = exists().where(pending_c.endpoint == endpoint_c.id, pending_c.due_at <= now)
        async with self._engine.connect() as conn:
            rows = await conn.execute(
                select(endpoint_c.id).where(
                    endpoint_c.state == "active", or_(endpoint_c.next_number <= newest, due)
                )
            )
            found = [str(row.id) for row in rows]
            oldest = await conn.scalar(select(func.min(pending_c.due_at)))
        metrics.oldest_pending_s.set(max((now - oldest).total_seconds(), 0.0) if oldest else 0.0)
        return [each for each in found if self._throttled.get(each, now) <= now]

    async def serve(self, endpoint: str) -> None:
        """Queue what is new for an endpoint, then send what is due, one after the other, until
        nothing is.

        Raises:
            sqlalchemy.exc.DBAPIError: the database is away. What was sent and not written down is
            sent again.
        """
        async with self._engine.begin() as conn:
            await queue_new(conn, endpoint, self._now())
        while self._throttled.get(endpoint, self._now()) <= self._now():
            async with self._engine.connect() as conn:
                due = await load_due(conn, endpoint, self._now())
                grants = await load_grants(conn, due.subscriber) if due else []
            if due is None:
                return
            shown = show(Principal(due.subscriber), due.event, grants, self._now())
            if shown.body is None:
                async with self._engine.begin() as conn:
                    await withhold(conn, due, self._now(), shown.reason)
                continue
            sent_at = self._now()
            with metrics.duration_s.time():
                began = asyncio.get_running_loop().time()
                answer = await attempt(
                    self._client, due.url, due.secret, due.event.id, shown.body.encode(), sent_at
                )
                took_ms = (asyncio.get_running_loop().time() - began) * 1000
            metrics.attempts.labels(answer.verdict.value).inc()
            if wait_s := throttle_s(answer):
                self._throttled[endpoint] = self._now() + timedelta(seconds=wait_s)
            next_at = next_attempt_at(due.made + 1, answer, self._now(), self._rng)
            async with self._engine.begin() as conn:
                await record(conn, due, answer, sent_at, took_ms, next_at, self._now())


async def queue_new(conn: AsyncConnection, endpoint: str, now: datetime) -> None:
    """Move an endpoint's place in the log to the end, queueing the events between that may concern
    it."""
    row = (
        await conn.execute(
            select(endpoint_c.subscriber, endpoint_c.event_types, endpoint_c.next_number)
            .where(endpoint_c.id == endpoint, endpoint_c.state == "active")
            .with_for_update()
        )
    ).one_or_none()
    newest = await conn.scalar(select(func.max(log_c.number)))
    if row is None or newest is None or newest < row.next_number:
        return
    await queue_range(conn, endpoint, row.subscriber, row.event_types, row.next_number, newest, now)
    await conn.execute(
        update(tables.endpoint).where(endpoint_c.id == endpoint).values(next_number=newest + 1)
    )


async def queue_range(
    conn: AsyncConnection,
    endpoint: str,
    subscriber: str,
    event_types: list[str],
    first: int,
    last: int,
    now: datetime,
) -> int:
    """Queue the events with numbers `first` to `last` for an endpoint, anew where they are queued;
    return how many."""
    wanted = select(
        literal(endpoint, pending_c.endpoint.type), log_c.number, literal(0), literal(now)
    ).where(log_c.number.between(first, last), of_types(event_types), may_concern(subscriber))
    adding = upsert(tables.pending).from_select(["endpoint", "number", "attempt", "due_at"], wanted)
    again = {"attempt": adding.excluded.attempt, "due_at": adding.excluded.due_at}
    done = await conn.execute(
        adding.on_conflict_do_update(index_elements=["endpoint", "number"], set_=again).returning(
            pending_c.number
        )
    )
    return len(done.all())


async def load_due(conn: AsyncConnection, endpoint: str, now: datetime) -> Due | None:
    """Read the lowest number that is due for an active endpoint; None: nothing is."""
    a = tables.attempt.c
    ended = exists().where(
        a.endpoint == pending_c.endpoint, a.number == pending_c.number, a.next_at.is_(None)
    )
    row = (
        await conn.execute(
            select(
                endpoint_c.subscriber,
                endpoint_c.url,
                endpoint_c.secret,
                endpoint_c.failing_since,
                pending_c.attempt.label("made"),
                pending_c.due_at,
                ended.label("replay"),
                log_c.number,
                log_c.id,
                log_c.type,
                log_c.owner,
                log_c.body,
            )
            .join(tables.pending, pending_c.endpoint == endpoint_c.id)
            .join(tables.event_log, log_c.number == pending_c.number)
            .where(endpoint_c.id == endpoint, endpoint_c.state == "active", pending_c.due_at <= now)
            .order_by(pending_c.number)
            .limit(1)
        )
    ).one_or_none()
    if row is None:
        return None
    event = Logged(row.number, row.id, row.type, row.owner, row.body)
    return Due(
        endpoint,
        row.subscriber,
        row.url,
        row.secret,
        row.failing_since,
        row.made,
        row.due_at,
        row.replay,
        event,
    )


async def withhold(conn: AsyncConnection, due: Due, now: datetime, reason: str) -> None:
    """Take an event that may not be sent (any more) from the queue and write down why."""
    await _leave_queue(conn, due)
    await conn.execute(
        insert(tables.attempt).values(
            endpoint=due.endpoint,
            number=due.event.number,
            attempt=due.made,
            sent_at=now,
            duration_ms=0.0,
            outcome=f"not sent: {reason}",
            response="",
            replay=due.replay,
        )
    )
    metrics.attempts.labels("withheld").inc()


async def record(
    conn: AsyncConnection,
    due: Due,
    answer: Answer,
    sent_at: datetime,
    took_ms: float,
    next_at: datetime | None,
    now: datetime,
) -> None:
    """Write an attempt down: delivery record, queue and the endpoint's state, together."""
    delivered = answer.verdict is Verdict.DELIVERED
    why = "" if delivered else _why_disabled(due, answer, now)
    if delivered or why:
        next_at = None
    await conn.execute(
        insert(tables.attempt).values(
            endpoint=due.endpoint,
            number=due.event.number,
            attempt=due.made + 1,
            sent_at=sent_at,
            duration_ms=took_ms,
            status=answer.status,
            outcome=answer.words,
            response=answer.response,
            next_at=next_at,
            replay=due.replay,
        )
    )
    if why:
        await conn.execute(delete(tables.pending).where(pending_c.endpoint == due.endpoint))
        metrics.disabled.inc()
    elif next_at is None:
        await _leave_queue(conn, due)
    else:
        await conn.execute(
            update(tables.pending).where(_same(due)).values(attempt=due.made + 1, due_at=next_at)
        )
    change: dict[str, object] = {
        "failing_since": None if delivered else due.failing_since or sent_at
    }
    if why:
        change |= {"state": "disabled", "disabled_reason": why}
    if why or change["failing_since"] != due.failing_since:
        await conn.execute(
            update(tables.endpoint).where(endpoint_c.id == due.endpoint).values(**change)
        )


def _why_disabled(due: Due, answer: Answer, now: datetime) -> str:
    if answer.verdict is Verdict.GONE:
        return "the receiver answered 410 Gone"
    if due.failing_since is not None and now - due.failing_since >= DISABLE_AFTER:
        since = due.failing_since.isoformat(timespec="seconds")
        return (
            f"every attempt has failed since {since}, for {DISABLE_AFTER.days} days; last: "
            f"{answer.words}"
        )
    return ""


async def _leave_queue(conn: AsyncConnection, due: Due) -> None:
    await conn.execute(delete(tables.pending).where(_same(due)))


def _same(due: Due) -> ColumnElement[bool]:
    """Condition: the row is still as it was read; a replay asked for meanwhile is kept."""
    return and_(
        pending_c.endpoint == due.endpoint,
        pending_c.number == due.event.number,
        pending_c.attempt == due.made,
        pending_c.due_at == due.due_at,
    )
