"""What tests of partner_events share: events in the log, the served API, a receiver, streams. Used
with `conftest.py`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from aurelian.access.keys import create_key
from aurelian.db.engine import as_role, connect
from aurelian.events.cloudevent import Event, encode_event
from aurelian.events.schemas import CAPACITY_ESTIMATE_UPDATED
from partner_events.sender import Sender
from partner_events.writer import Received, insert_events
from tests.builders import ManualClock, make_line_event
from tests.waiting import until

LOOPBACK = "127.0.0.0/8"
ESTIMATE = {
    "line": "pilot-a/north/machining/line-1",
    "total": 100.0,
    "available": 60.0,
    "committed": 40.0,
}


async def log_events(url: str, *events: Event) -> None:
    """Append events as the worker does."""
    rows = [Received(event, encode_event(event)) for event in events]
    async with await connect(as_role(url, "partner_events")) as conn:
        await insert_events(conn, rows)


def make_events(count: int, first: int = 0, **told: Any) -> list[Event]:
    return [make_line_event(revision, **told) for revision in range(first, first + count)]


@contextlib.asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[str]:
    """Serve an app on a free port; gives its base URL."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        log_config=None,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    await until(lambda: server.started or task.done())
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


@dataclass
class Api:
    """The running API and keys for it."""

    url: str
    database_url: str
    pepper: bytes

    def key(self, owner: str, *scopes: str) -> str:
        wanted = scopes or ("events:read", "webhooks:write", "grants:write")
        return create_key(
            self.database_url, owner=owner, name="test", scopes=wanted, pepper=self.pepper
        )

    def client(self, owner: str, *scopes: str) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.key(owner, *scopes)}"}
        return httpx.AsyncClient(
            base_url=self.url + "/events/v1", headers=headers, timeout=10, trust_env=False
        )


@dataclass
class Receiver:
    """A partner's endpoint that answers as scripted and keeps what it got."""

    url: str = ""
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    delay_s: float = 0.0
    calls: int = 0
    open: int = 0
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = {
            k.lower(): v for k, v in (line.split(": ", 1) for line in head.split("\r\n")[1:-2])
        }
        body = await reader.readexactly(int(headers["content-length"]))
        self.calls += 1
        self.open += 1
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.closing.wait(), self.delay_s)
        self.requests.append((headers, body))
        status, more = self.answers.pop(0) if self.answers else (200, {})
        lines = "".join(f"{k}: {v}\r\n" for k, v in more.items())
        writer.write(f"HTTP/1.1 {status} X\r\n{lines}Content-Length: 5\r\n\r\nhello".encode())
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        self.open -= 1

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.requests]


@contextlib.asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.answer, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    async with server:
        yield receiver
        receiver.closing.set()
        await until(lambda: receiver.open == 0, "the receiver's connections to close")


@dataclass
class Post:
    """The webhook sender with a clock that the test moves."""

    sender: Sender
    clock: ManualClock

    async def send(self) -> None:
        """Send all that is due."""
        while work := await self.sender.find_work():
            await asyncio.gather(*(self.sender.serve(endpoint) for endpoint in work))


async def register(client: httpx.AsyncClient, receiver: Receiver, **more: object) -> dict[str, Any]:
    answer = await client.post("/endpoints", json={"url": receiver.url, **more})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def attempts(
    client: httpx.AsyncClient, endpoint: dict[str, Any], **query: int
) -> list[dict[str, Any]]:
    """Delivery records, the oldest first."""
    answer = await client.get(f"/endpoints/{endpoint['id']}/attempts", params=query)
    assert answer.status_code == 200, answer.text
    return list(reversed(answer.json()))


async def poll_ids(client: httpx.AsyncClient, after: int = 0, limit: int = 1000) -> list[str]:
    answer = await client.get("/events", params={"after": after, "limit": limit})
    assert answer.status_code == 200, answer.text
    return [event["id"] for event in answer.json()["events"]]


@dataclass
class Frame:
    """A server-sent event."""

    id: str = ""
    event: str = ""
    data: str = ""


async def frames(answer: httpx.Response) -> AsyncIterator[Frame]:
    frame = Frame()
    async for line in answer.aiter_lines():
        name, _, value = line.partition(": ")
        if not line and frame.data:
            yield frame
            frame = Frame()
        elif name in ("id", "event", "data"):
            setattr(frame, name, value)


async def read_stream(
    client: httpx.AsyncClient, count: int, *, after: int | None = None, last_id: str | None = None
) -> list[Frame]:
    """Read `count` frames of a new stream."""
    got: list[Frame] = []
    async with asyncio.timeout(10), open_stream(client, after=after, last_id=last_id) as answer:
        async for frame in frames(answer):
            got.append(frame)
            if len(got) == count:
                break
    return got


@contextlib.asynccontextmanager
async def open_stream(
    client: httpx.AsyncClient, *, after: int | None = None, last_id: str | None = None
) -> AsyncIterator[httpx.Response]:
    params = {} if after is None else {"after": after}
    headers = {} if last_id is None else {"Last-Event-ID": last_id}
    async with client.stream("GET", "/stream", params=params, headers=headers) as answer:
        assert answer.status_code == 200
        yield answer


def estimate(revision: int, week_start: str, available: float = 60.0) -> Event:
    data = {**ESTIMATE, "week_start": week_start, "available": available}
    return make_line_event(revision, type=CAPACITY_ESTIMATE_UPDATED, data=data)


def monday(weeks: int = 0) -> str:
    today = datetime.now(UTC).date()
    return (today - timedelta(days=today.weekday()) + timedelta(weeks=weeks)).isoformat()
