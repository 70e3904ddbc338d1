"""One SSE stream: reads the log at its client's pace, asks key and policy anew at least each
second. Used by `routes.py`.

The log itself is the buffer: a slow client gets its events later and costs no memory beyond one
page. Nothing is conflated.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi.sse import ServerSentEvent
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine

from aurelian.access.keys import Keys
from aurelian.access.policy import Grant, Principal
from partner_events.api.tail import Tail
from partner_events.queries import load_bounds, load_grants, load_page
from partner_events.visibility import show

log = logging.getLogger(__name__)

PAGE = 100
RETRY_MS = 3000
RECHECK_S = 1.0
"""A revoked key or grant works no longer than this plus `auth.CACHE_S`."""


@dataclass(slots=True)
class Follower:
    """A client of the stream.

    Attributes:
        token: its key, checked again and again.
        principal: who it was when last checked.
        types: event types that it wants; none: all.
        after: number of the last event that it has; None: only what comes from now on.
    """

    engine: AsyncEngine
    tail: Tail
    keys: Keys
    token: str
    principal: Principal
    types: Sequence[str]
    after: int | None

    async def follow(self) -> AsyncIterator[ServerSentEvent]:
        """Give events until the client goes, its key ends or the database is away: then the client
        comes back."""
        try:
            async for event in self._follow():
                yield event
        except (OperationalError, PoolTimeout):
            log.warning("stream ended: the database does not answer")

    async def _follow(self) -> AsyncIterator[ServerSentEvent]:
        async with self.engine.connect() as conn:
            oldest, newest = await load_bounds(conn)
            grants = await load_grants(conn, self.principal.owner)
        checked = time.monotonic()
        yield ServerSentEvent(comment="connected", retry=RETRY_MS)
        number = newest if self.after is None else self.after
        if is_gone(number, oldest, newest):
            number = oldest - 1
            yield _reset(oldest, newest)
        while not self.tail.closed:
            seen = self.tail.newest
            async with self.engine.connect() as conn:
                page = await load_page(conn, self.principal, self.types, number, PAGE)
            for event in page:
                if time.monotonic() - checked > RECHECK_S:
                    fresh = await self._recheck()
                    if fresh is None:
                        return
                    grants, checked = fresh, time.monotonic()
                if self.tail.closed:
                    return
                number = event.number
                body = show(self.principal, event, grants, datetime.now(UTC)).body
                if body is not None:
                    yield ServerSentEvent(raw_data=body, event=event.type, id=str(number))
            if len(page) < PAGE:
                # All up to `seen` was visible before the page was read, so what it lacks is not for
                # this client.
                number = max(number, seen)
                await self.tail.wait_beyond(number)
                fresh = await self._recheck()
                if fresh is None:
                    return
                grants, checked = fresh, time.monotonic()

    async def _recheck(self) -> list[Grant] | None:
        """The grants as they are now; None: the key has ended."""
        principal = await self.keys.check(self.token)
        if principal is None or not principal.scopes & {"events:read", "admin"}:
            return None
        self.principal = principal
        async with self.engine.connect() as conn:
            return await load_grants(conn, principal.owner)


def is_gone(after: int, oldest: int, newest: int) -> bool:
    """Tell whether a client's cursor is not in the log: trimmed, or of another log."""
    return 0 < after < oldest - 1 or after > newest


def _reset(oldest: int, newest: int) -> ServerSentEvent:
    body = reset_notice(oldest, newest)
    return ServerSentEvent(raw_data=json.dumps(body), event="reset", id=str(oldest - 1))


def reset_notice(oldest: int, newest: int) -> dict[str, object]:
    """What polling and stream tell a client whose cursor is gone."""
    return {
        "oldest": oldest,
        "newest": newest,
        "reason": "the last event id is not in the log: it is too old, or the log was begun anew",
        "poll": f"/events/v1/events?after={oldest - 1}",
    }
