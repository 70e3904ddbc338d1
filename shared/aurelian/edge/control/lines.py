"""Answers as lines of JSON that come while the work goes on, and how much work goes on at one time.
Used by `app.py`."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from aurelian.edge.control.connector import NotPossible
from aurelian.edge.control.problems import FAILED, FAILED_FIX, in_lines, wrong

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/x-ndjson"
MOST_AT_ONCE = 4

Emit = Callable[[Mapping[str, object]], Awaitable[None]]
"""Sends one line."""

_T = TypeVar("_T")
_MOST_DEEP = 20


class Busy:
    """What goes on now: one for each address, a few in all."""

    def __init__(self, most: int = MOST_AT_ONCE) -> None:
        self._most = most
        self._addresses: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, url: str) -> Callable[[], None]:
        """Take the place for an address; returns what gives it back.

        Raises:
            Problem: 429, there is none.
        """
        address = _address(url)
        if address in self._addresses:
            raise wrong(
                429,
                f"something is being tried at {address} already",
                "wait until that has ended, or end that request",
                Retry_After="5",
            )
        if len(self._addresses) >= self._most:
            raise wrong(
                429,
                f"{self._most} servers or brokers are being tried already",
                "wait until one of these requests has ended",
                Retry_After="5",
            )
        self._addresses.add(address)
        return lambda: self._addresses.discard(address)

    def add(self, task: asyncio.Task[None]) -> None:
        """Know of work, to end it with the API."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def end_all(self) -> None:
        """End what goes on."""
        for task in self._tasks:
            task.cancel()


class Lines(Response):
    """Lines of JSON, as `work` emits them; what it raises is the last one. The work ends at once
    when its caller leaves. `ends`: is called afterwards, however it went."""

    media_type = MEDIA_TYPE

    def __init__(
        self, work: Callable[[Emit], Awaitable[None]], busy: Busy, ends: Callable[[], None]
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-store"})
        del self.headers["content-length"]
        self._work, self._busy, self._ends = work, busy, ends

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            working = asyncio.create_task(self._run(send), name="control lines")
            leaving = asyncio.create_task(_gone(receive), name="control caller")
            self._busy.add(working)
            try:
                await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                working.cancel()
                leaving.cancel()
                await asyncio.wait({working, leaving})
            if not leaving.cancelled():
                leaving.exception()
            await send(_chunk(b"", more=False))
        finally:
            self._ends()

    async def _run(self, send: Send) -> None:
        async def emit(row: Mapping[str, object]) -> None:
            await send(_chunk(as_line(row), more=True))

        try:
            await self._work(emit)
        except NotPossible as error:
            await emit(in_lines(str(error), error.step))
        except TimeoutError:
            await emit(in_lines("it took too long", "try again, with fewer seconds"))
        except Exception:
            log.exception("a request of the control API failed")
            await emit(in_lines(FAILED, FAILED_FIX))


@asynccontextmanager
async def closing(given: AsyncIterator[_T]) -> AsyncIterator[AsyncIterator[_T]]:
    """An iterator that is closed at the end, where it can be."""
    try:
        yield given
    finally:
        close = getattr(given, "aclose", None)
        if close is not None:
            await close()


def as_line(row: Mapping[str, object]) -> bytes:
    """One line of JSON, whatever a machine has sent."""
    return json.dumps(plain(row), ensure_ascii=False, allow_nan=False).encode() + b"\n"


def plain(value: object, deep: int = 0) -> object:
    """A value as JSON can have it: numbers that it does not know as texts, bytes as hexadecimal
    digits."""
    if deep > _MOST_DEEP:
        return "…"
    match value:
        case None | bool() | int():
            return value
        case str():
            return value.encode(errors="replace").decode()
        case float():
            return value if math.isfinite(value) else str(value)
        case bytes() | bytearray():
            return value.hex()
        case Mapping():
            return {str(plain(key)): plain(each, deep + 1) for key, each in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(each, deep + 1) for each in value]
    return str(value)


def _address(url: str) -> str:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    return f"{parts.hostname or ''}:{port or 0}"


async def _gone(receive: Receive) -> None:
    """Return when the caller has left."""
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            return


def _chunk(data: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}
