"""partner_events from the event log outwards: numbers, polling, streams, grants, webhooks. Real store, real HTTP."""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import uvicorn
from aurelian.auth import create_key, make_pepper, revoke_key
from aurelian.db.engine import as_role, connect, make_engine
from aurelian.events import CAPACITY_ESTIMATE_UPDATED, LINE_STATE_CHANGED, Event, encode_event
from aurelian.ops import Health
from aurelian.testing import ManualClock, make_line_event
from fastapi import FastAPI
from partner_events.api.app import make_app
from partner_events.delivery import make_client
from partner_events.fold import Received, read_event
from partner_events.sender import Sender
from partner_events.settings import PartnerEventsApiSettings
from partner_events.ssrf import parse_allowed
from partner_events.webhook import RETRY_AFTER_S
from partner_events.writer import insert_events, trim
from pydantic import SecretStr
from standardwebhooks import Webhook

from tests.servers import PostgresServer
from tests.waiting import until

LOOPBACK = "127.0.0.0/8"
ESTIMATE = {"line": "pilot-a/north/machining/line-1", "total": 100.0, "available": 60.0, "committed": 40.0}


# --- the log, the API and a receiver --------------------------------------------------------------------------------


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
        app, host="127.0.0.1", port=0, log_config=None, ws="none", lifespan="on", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    await until(lambda: server.started or task.done())
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


@pytest.fixture(scope="module")
def module_database(postgres: PostgresServer, migrated_template: str) -> Iterator[str]:
    """One database for this file; `database_url` empties it before each test, which is faster than a fresh one."""
    url = postgres.create_database(migrated_template)
    yield url
    postgres.drop_database(url)


@pytest.fixture
def database_url(module_database: str) -> str:
    """An empty store, as its owner."""
    with psycopg.connect(module_database) as conn:
        rooms = "schemaname = 'partner_events' OR (schemaname, tablename) IN (('platform', 'grant'), ('platform', 'api_key'))"
        tables = conn.execute(
            f"SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE {rooms}"
        ).fetchall()
        conn.execute("TRUNCATE " + ", ".join(name for (name,) in tables))
    return module_database


@dataclass
class Api:
    """The running API and keys for it."""

    url: str
    database_url: str
    pepper: bytes

    def key(self, owner: str, *scopes: str) -> str:
        wanted = scopes or ("events:read", "webhooks:write", "grants:write")
        return create_key(self.database_url, owner=owner, name="test", scopes=wanted, pepper=self.pepper)

    def client(self, owner: str, *scopes: str) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.key(owner, *scopes)}"}
        return httpx.AsyncClient(
            base_url=self.url + "/events/v1", headers=headers, timeout=10, trust_env=False
        )


@pytest.fixture
async def api(database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    pepper_file = tmp_path / "pepper"
    pepper = make_pepper(pepper_file)
    settings = PartnerEventsApiSettings(
        database_url=SecretStr(as_role(database_url, "partner_events")),
        key_pepper_file=pepper_file,
        webhook_allow=LOOPBACK,
        poll_interval_s=0.2,
        max_streams=3,
    )
    async with serving(make_app(settings, Health("partner_events.api"))) as url:
        yield Api(url, database_url, pepper)


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
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in head.split("\r\n")[1:-2])}
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


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


@dataclass
class Post:
    """The webhook sender with a clock that the test moves."""

    sender: Sender
    clock: ManualClock

    async def send(self) -> None:
        """Send all that is due."""
        while work := await self.sender.find_work():
            await asyncio.gather(*(self.sender.serve(endpoint) for endpoint in work))


@pytest.fixture
async def post(database_url: str) -> AsyncIterator[Post]:
    engine, clock = make_engine(as_role(database_url, "partner_events")), ManualClock(datetime.now(UTC))
    async with make_client(parse_allowed(LOOPBACK)) as client:
        yield Post(Sender(engine, client, now=clock.now, rng=random.Random(7)), clock)
    await engine.dispose()


async def register(client: httpx.AsyncClient, receiver: Receiver, **more: object) -> dict[str, Any]:
    answer = await client.post("/endpoints", json={"url": receiver.url, **more})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def attempts(client: httpx.AsyncClient, endpoint: dict[str, Any], **query: int) -> list[dict[str, Any]]:
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


# --- numbers --------------------------------------------------------------------------------------------------------


async def test_events_that_come_again_get_no_second_number(database_url: str) -> None:
    events = make_events(5)
    await log_events(database_url, *events[:3])
    await log_events(database_url, *events[1:], events[4], events[0])
    with psycopg.connect(database_url) as conn:
        rows = conn.execute(
            "SELECT number, id, body FROM partner_events.event_log ORDER BY number"
        ).fetchall()
    assert rows == [(n, e.id, encode_event(e)) for n, e in enumerate(events, 1)]


async def test_writers_at_once_leave_no_hole_and_show_numbers_in_order(database_url: str) -> None:
    seen: list[int] = []
    writing = True

    async def watch() -> None:
        async with await connect(database_url, autocommit=True) as conn:
            while writing:
                cursor = await conn.execute(
                    "SELECT count(*), coalesce(max(number), 0) FROM partner_events.event_log"
                )
                count, newest = (await cursor.fetchone()) or (0, 0)
                assert count == newest
                seen.append(newest)

    async def write(first: int) -> None:
        for step in range(10):
            await log_events(database_url, *make_events(3, first + step * 3), *make_events(1, 0))

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(write(first) for first in (0, 1000, 2000, 3000)))
    writing = False
    await watching
    with psycopg.connect(database_url) as conn:
        row = conn.execute(
            "SELECT count(*), min(number), max(number) FROM partner_events.event_log"
        ).fetchone()
    assert row == (120, 1, 120)
    assert seen == sorted(seen)


async def test_old_events_go_and_numbers_go_on(database_url: str) -> None:
    await log_events(database_url, *make_events(3))
    with psycopg.connect(database_url) as conn:
        conn.execute("UPDATE partner_events.event_log SET recorded_at = now() - interval '50 days'")
    async with await connect(as_role(database_url, "partner_events")) as conn2:
        await trim(conn2, timedelta(days=40), timedelta(days=3))
    await log_events(database_url, *make_events(1, 10))
    with psycopg.connect(database_url) as conn:
        rows = conn.execute("SELECT number FROM partner_events.event_log ORDER BY number").fetchall()
    assert rows == [(3,), (4,)]


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\xff\xfe",
        b"{}",
        b"[]",
        b"null",
        b'{"specversion":"0.3"}',
        encode_event(make_line_event())
        .replace("pilot-a", "", 1)
        .replace('"owner":"pilot-a"', '"owner":""')
        .encode(),
        encode_event(make_line_event()).replace('"id":"', '"id":"\\u0000').encode(),
        encode_event(make_line_event()).replace("Z", "").encode(),
    ],
)
def test_what_is_no_usable_event_is_told_apart(value: bytes | None) -> None:
    from aurelian.events import EventError

    with pytest.raises(EventError):
        read_event(value)


# --- polling and streams --------------------------------------------------------------------------------------------


async def test_polling_gives_every_event_once_byte_for_byte(api: Api) -> None:
    events = make_events(25)
    await log_events(api.database_url, *events)
    got, after = [], 0
    async with api.client("pilot-a") as client:
        while True:
            answer = await client.get("/events", params={"after": after, "limit": 7})
            page = answer.json()
            if page["next"] == after:
                break
            got += page["events"]
            assert all(encode_event(e) in answer.text for e in events[after : page["next"]])
            after = page["next"]
    assert [event["id"] for event in got] == [event.id for event in events]


async def test_stream_and_polling_give_the_same_events_in_the_same_order(api: Api) -> None:
    await log_events(
        api.database_url, *make_events(150), *make_events(5, owner="pilot-b"), *make_events(30, 200)
    )
    async with api.client("pilot-a") as client:
        polled = await poll_ids(client)
        streamed = await read_stream(client, 180, after=0)
    assert [json.loads(frame.data)["id"] for frame in streamed] == polled
    assert {frame.event for frame in streamed} == {LINE_STATE_CHANGED}
    numbers = [int(frame.id) for frame in streamed]
    assert numbers == [*range(1, 151), *range(156, 186)]


async def test_a_stream_resumed_by_last_event_id_loses_and_doubles_nothing(api: Api) -> None:
    events = make_events(60)
    got: list[Frame] = []
    async with api.client("pilot-a") as client:

        async def write() -> None:
            for event in events:
                await log_events(api.database_url, event)

        async def read() -> None:
            while len(got) < 60:
                got.extend(
                    await read_stream(client, min(7, 60 - len(got)), last_id=got[-1].id if got else "0")
                )

        await asyncio.gather(write(), read())
    assert [json.loads(frame.data)["id"] for frame in got] == [event.id for event in events]


async def test_a_stream_gets_a_new_event_at_once(api: Api) -> None:
    async with api.client("pilot-a") as client, open_stream(client) as answer:
        lines = answer.aiter_lines()
        assert await anext(lines) == ": connected"
        [event] = make_events(1)
        await log_events(api.database_url, event)
        began = time.monotonic()
        async with asyncio.timeout(5):
            async for line in lines:
                if line.startswith("data: "):
                    break
        assert line == f"data: {encode_event(event)}"
        assert time.monotonic() - began < 2


async def test_a_last_event_id_that_is_not_kept_gives_a_reset(api: Api) -> None:
    await log_events(api.database_url, *make_events(10))
    with psycopg.connect(api.database_url) as conn:
        conn.execute("DELETE FROM partner_events.event_log WHERE number < 5")
    async with api.client("pilot-a") as client:
        for last_id in ("2", "4711"):
            reset, first = await read_stream(client, 2, last_id=last_id)
            assert (reset.event, reset.id) == ("reset", "4")
            assert json.loads(reset.data)["poll"] == "/events/v1/events?after=4"
            assert first.id == "5"
        assert (await read_stream(client, 1, last_id="4"))[0].id == "5"
        answer = await client.get("/stream", headers={"Last-Event-ID": "x"})
        assert answer.status_code == 422


async def test_a_stream_ends_soon_after_its_key_is_revoked(api: Api) -> None:
    key = api.key("pilot-a")
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=api.url + "/events/v1", headers=headers, timeout=10) as client:
        async with open_stream(client) as answer:
            revoke_key(api.database_url, key)
            await log_events(api.database_url, *make_events(1))
            async with asyncio.timeout(5):
                async for _ in answer.aiter_lines():
                    pass
        assert (await client.get("/events")).status_code == 401


async def test_one_stream_too_many_is_refused_and_a_closed_one_makes_room(api: Api) -> None:
    async with api.client("pilot-a") as client:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(3):
                await stack.enter_async_context(open_stream(client))
            refused = await client.get("/stream")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "30")

        async def there_is_room() -> bool:
            async with client.stream("GET", "/stream") as answer:
                return answer.status_code == 200

        await until(there_is_room, "room for a stream", 5)


# --- who may see what -----------------------------------------------------------------------------------------------


def estimate(revision: int, week_start: str, available: float = 60.0) -> Event:
    data = {**ESTIMATE, "week_start": week_start, "available": available}
    return make_line_event(revision, type=CAPACITY_ESTIMATE_UPDATED, data=data)


def monday(weeks: int = 0) -> str:
    today = datetime.now(UTC).date()
    return (today - timedelta(days=today.weekday()) + timedelta(weeks=weeks)).isoformat()


async def give(client: httpx.AsyncClient, **more: object) -> str:
    told = {"grantee": "pilot-b", "purpose": "planning", "event_types": [CAPACITY_ESTIMATE_UPDATED], **more}
    answer = await client.post("/grants", json=told)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def test_another_company_sees_events_under_a_live_grant_only_on_every_channel(
    api: Api, post: Post, receiver: Receiver
) -> None:
    async with api.client("pilot-a") as a, api.client("pilot-b") as b:
        endpoint = await register(b, receiver)
        await log_events(api.database_url, estimate(1, monday()), *make_events(1))
        await post.send()
        assert await poll_ids(b) == [] and receiver.requests == []

        grant = await give(a)
        shown = estimate(2, monday())
        async with open_stream(b) as answer:
            lines = answer.aiter_lines()
            assert await anext(lines) == ": connected"
            await log_events(api.database_url, shown, *make_events(1, 5))
            await post.send()
            assert (await poll_ids(b))[-1] == shown.id
            assert receiver.ids == [shown.id]
            async with asyncio.timeout(5):
                async for line in lines:
                    if line.startswith("data: "):
                        break
            assert json.loads(line.removeprefix("data: "))["id"] == shown.id

            # Revoked: what was queued under the grant is not sent any more either.
            receiver.answers = [(500, {})]
            await log_events(api.database_url, estimate(3, monday()))
            await post.send()
            assert (await a.delete(f"/grants/{grant}")).status_code == 204
            hidden = estimate(4, monday())
            own = make_line_event(9, owner="pilot-b")
            await log_events(api.database_url, hidden, own)
            post.clock.advance(10)
            await post.send()
            assert await poll_ids(b) == [own.id]
            assert len(receiver.ids) == 3 and receiver.ids[-1] == own.id
            async with asyncio.timeout(5):
                streamed = [json.loads(line[6:])["id"] async for line in _data_until(lines, own.id)]
            assert hidden.id not in streamed
        last = await attempts(b, endpoint, number=5)
        assert "the grant has ended" in last[-1]["outcome"] or "no grant" in last[-1]["outcome"]
        assert (await a.delete(f"/grants/{grant}")).status_code == 404


async def _data_until(lines: AsyncIterator[str], event_id: str) -> AsyncIterator[str]:
    async for line in lines:
        if line.startswith("data: "):
            yield line
            if event_id in line:
                return


async def test_a_grant_shows_its_fields_and_weeks_only(api: Api) -> None:
    await log_events(api.database_url, estimate(1, monday()), estimate(2, monday(1)), estimate(3, monday(2)))
    async with api.client("pilot-a") as a, api.client("pilot-b") as b:
        await give(a, fields=["week_start", "available"], horizon_weeks=2)
        events = (await b.get("/events")).json()["events"]
        assert [event["data"]["week_start"] for event in events] == [monday(), monday(1)]
        assert all(set(event["data"]) == {"week_start", "available"} for event in events)
        assert {event["owner"] for event in events} == {"pilot-a"}


async def test_grants_are_given_and_taken_by_their_owner_alone(api: Api) -> None:
    async with api.client("pilot-a") as a, api.client("pilot-b") as b, api.client("*", "admin") as platform:
        told = {"grantee": "pilot-b", "purpose": "p", "event_types": [CAPACITY_ESTIMATE_UPDATED]}
        assert (await b.post("/grants", json={**told, "owner": "pilot-a"})).status_code == 403
        assert (await platform.post("/grants", json=told)).status_code == 422
        assert (await platform.post("/grants", json={**told, "owner": "pilot-a"})).status_code == 201
        grant = await give(a)
        assert (await b.delete(f"/grants/{grant}")).status_code == 404
        assert len((await b.get("/grants")).json()) == 2
        for wrong in (
            {"event_types": ["org.aurelian.x.v1"]},
            {"event_types": []},
            {"grantee": "pilot-a"},
            {"grantee": "*"},
            {"expires_at": "2020-01-01T00:00:00Z"},
            {"expires_at": "2030-01-01T00:00:00"},
            {"horizon_weeks": 0},
            {"resolution": "day"},
        ):
            assert (await a.post("/grants", json={**told, **wrong})).status_code == 422, wrong
        async with api.client("pilot-c") as c:
            assert (await c.get("/grants")).json() == []


async def test_another_companys_endpoint_is_not_there(api: Api, receiver: Receiver) -> None:
    async with api.client("pilot-a") as a, api.client("pilot-b") as b:
        path = f"/endpoints/{(await register(a, receiver))['id']}"
        asks: list[Callable[[], Awaitable[httpx.Response]]] = [
            lambda: b.get(path),
            lambda: b.delete(path),
            lambda: b.post(path + "/test"),
            lambda: b.post(path + "/enable"),
            lambda: b.post(path + "/replay", params={"after": 0}),
            lambda: b.get(path + "/attempts"),
        ]
        for ask in asks:
            assert (await ask()).status_code == 404
        assert (await b.get("/endpoints")).json() == []
        answer = await b.post("/endpoints", json={"url": receiver.url, "subscriber": "pilot-a"})
        assert answer.status_code == 403
        assert (await a.get(path)).status_code == 200
    assert receiver.calls == 0


# --- webhooks -------------------------------------------------------------------------------------------------------


async def test_a_receiver_that_fails_twice_gets_three_attempts_with_one_id(
    api: Api, post: Post, receiver: Receiver
) -> None:
    receiver.answers = [(500, {}), (500, {})]
    [event] = make_events(1)
    async with api.client("pilot-a") as client:
        endpoint = await register(client, receiver)
        await log_events(api.database_url, event)
        for wait_s in (0, 5.6, 331):
            post.clock.advance(wait_s)
            await post.send()
        records = await attempts(client, endpoint)
        listed = (await client.get("/endpoints")).json()[0]
    assert receiver.ids == [event.id] * 3
    for headers, body in receiver.requests[:2]:
        assert body.decode() == encode_event(event)
        assert headers["content-type"].startswith("application/cloudevents+json")
        Webhook(endpoint["secret"]).verify(body, headers)
    assert len({headers["webhook-timestamp"] for headers, _ in receiver.requests}) == 3
    told = [(r["attempt"], r["status"], r["outcome"], r["response"], r["replay"]) for r in records]
    assert told == [
        (1, 500, "failed: HTTP 500", "hello", False),
        (2, 500, "failed: HTTP 500", "hello", False),
        (3, 200, "delivered", "hello", False),
    ]
    assert all(r["event_id"] == event.id and r["duration_ms"] > 0 and r["of"] == 10 for r in records)
    assert [r["next_at"] is None for r in records] == [False, False, True]
    assert (listed["pending"], listed["failing_since"], "secret" in listed) == (0, None, False)


async def test_attempts_follow_the_schedule_and_end_after_ten(
    api: Api, post: Post, receiver: Receiver
) -> None:
    receiver.answers = [(503, {})] * 20
    async with api.client("pilot-a") as client:
        endpoint = await register(client, receiver)
        await log_events(api.database_url, *make_events(1))
        for wait_s in RETRY_AFTER_S:
            post.clock.advance(wait_s * 0.89)
            before = receiver.calls
            await post.send()
            assert receiver.calls == before or wait_s == 0
            post.clock.advance(wait_s * 0.22 + 0.001)
            await post.send()
        assert receiver.calls == 10
        post.clock.advance(40 * 86400)
        await post.send()
        records = await attempts(client, endpoint)
        assert receiver.calls == 10
        assert [r["attempt"] for r in records] == list(range(1, 11))
        assert records[-1]["next_at"] is None


async def test_an_endpoint_that_fails_for_five_days_is_disabled_with_a_reason(
    api: Api, post: Post, receiver: Receiver
) -> None:
    receiver.answers = [(500, {})] * 100
    async with api.client("pilot-a") as client:
        endpoint = await register(client, receiver)
        path = f"/endpoints/{endpoint['id']}"
        for day in range(5):
            await log_events(api.database_url, *make_events(1, day))
            await post.send()
            assert (await client.get(path)).json()["state"] == "active"
            post.clock.advance(86400)
        await post.send()
        shown = (await client.get(path)).json()
        assert shown["state"] == "disabled" and shown["pending"] == 0
        assert "5 days" in shown["disabled_reason"] and "HTTP 500" in shown["disabled_reason"]
        calls = receiver.calls
        await log_events(api.database_url, *make_events(1, 50))
        await post.send()
        assert receiver.calls == calls
        assert (await client.post(path + "/replay", params={"after": 0})).status_code == 409

        receiver.answers, receiver.requests = [], []
        assert (await client.post(path + "/enable")).json()["state"] == "active"
        assert (await client.post(path + "/replay", params={"after": 0})).json() == {"queued": 6}
        await post.send()
        assert len(set(receiver.ids)) == 6


async def test_gone_disables_at_once(api: Api, post: Post, receiver: Receiver) -> None:
    receiver.answers = [(410, {})]
    async with api.client("pilot-a") as client:
        endpoint = await register(client, receiver)
        await log_events(api.database_url, *make_events(3))
        await post.send()
        shown = (await client.get(f"/endpoints/{endpoint['id']}")).json()
    assert (shown["state"], shown["disabled_reason"]) == ("disabled", "the receiver answered 410 Gone")
    assert receiver.calls == 1


async def test_a_busy_receiver_is_left_alone_as_long_as_it_asks(
    api: Api, post: Post, receiver: Receiver
) -> None:
    receiver.answers = [(429, {"Retry-After": "600"})]
    async with api.client("pilot-a") as client:
        await register(client, receiver)
        await log_events(api.database_url, *make_events(3))
        await post.send()
        post.clock.advance(590)
        await post.send()
        assert receiver.calls == 1
        post.clock.advance(11)
        await post.send()
    assert len(set(receiver.ids)) == 3 and receiver.calls == 4


async def test_a_redirect_is_a_failure_and_is_not_followed(api: Api, post: Post, receiver: Receiver) -> None:
    async with receiving() as other, api.client("pilot-a") as client:
        receiver.answers = [(307, {"Location": other.url})]
        endpoint = await register(client, receiver)
        await log_events(api.database_url, *make_events(1))
        await post.send()
        assert (receiver.calls, other.calls) == (1, 0)
        assert "redirects are not followed" in (await attempts(client, endpoint))[0]["outcome"]


async def test_events_after_a_failed_one_go_on_and_types_are_chosen(
    api: Api, post: Post, receiver: Receiver
) -> None:
    receiver.answers = [(500, {})]
    events = make_events(3)
    async with api.client("pilot-a") as client:
        await register(client, receiver, event_types=[LINE_STATE_CHANGED])
        await log_events(api.database_url, *events, estimate(1, monday()))
        await post.send()
        assert receiver.ids == [event.id for event in events]
        post.clock.advance(6)
        await post.send()
    assert receiver.ids[3:] == [events[0].id]


async def test_a_replay_is_a_new_attempt_with_the_same_id(api: Api, post: Post, receiver: Receiver) -> None:
    events = make_events(3)
    async with api.client("pilot-a") as client:
        endpoint = await register(client, receiver)
        path = f"/endpoints/{endpoint['id']}/replay"
        await log_events(api.database_url, *events, make_line_event(owner="pilot-b"))
        await post.send()
        assert (await client.post(path, params={"number": 2})).json() == {"queued": 1}
        await post.send()
        assert (await client.post(path, params={"after": 1})).json() == {"queued": 2}
        await post.send()
        for wrong, status in (
            ({}, 422),
            ({"after": 1, "number": 1}, 422),
            ({"number": 99}, 404),
            ({"number": 4}, 404),
        ):
            assert (await client.post(path, params=wrong)).status_code == status
        records = await attempts(client, endpoint, number=2)
    e1, e2, e3 = (event.id for event in events)
    assert receiver.ids == [e1, e2, e3, e2, e2, e3]
    assert [(r["attempt"], r["replay"]) for r in records] == [(1, False), (1, True), (1, True)]


async def test_one_slow_endpoint_never_delays_another(api: Api, post: Post, receiver: Receiver) -> None:
    async with receiving() as slow, api.client("pilot-a") as client:
        slow.delay_s = 30
        await register(client, slow)
        await register(client, receiver)
        await log_events(api.database_url, *make_events(20))
        work = await post.sender.find_work()
        tasks = [asyncio.create_task(post.sender.serve(endpoint)) for endpoint in work]
        await until(lambda: len(receiver.requests) == 20)
        assert slow.calls == 1
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_receiver_that_nobody_answers_for_is_recorded_in_words(api: Api, post: Post) -> None:
    async with receiving() as gone:
        url = gone.url
    async with api.client("pilot-a") as client:
        endpoint = (await client.post("/endpoints", json={"url": url})).json()
        await log_events(api.database_url, *make_events(1))
        await post.send()
        [record] = await attempts(client, endpoint)
    assert record["status"] is None and record["outcome"].startswith("no connection")


async def test_a_test_event_is_signed_and_answered_at_once(api: Api, receiver: Receiver) -> None:
    async with api.client("pilot-a") as client:
        endpoint = await register(client, receiver)
        answer = (await client.post(f"/endpoints/{endpoint['id']}/test")).json()
        assert (answer["status"], answer["outcome"], answer["response"]) == (200, "delivered", "hello")
        [(headers, body)] = receiver.requests
        Webhook(endpoint["secret"]).verify(body, headers)
        assert headers["webhook-id"] == answer["webhook_id"] == json.loads(body)["id"]
        assert (await attempts(client, endpoint, number=0))[0]["outcome"] == "delivered"


async def test_deleting_an_endpoint_ends_its_deliveries(api: Api, post: Post, receiver: Receiver) -> None:
    async with api.client("pilot-a") as client:
        endpoint = await register(client, receiver)
        receiver.answers = [(500, {})]
        await log_events(api.database_url, *make_events(1))
        await post.send()
        assert (await client.delete(f"/endpoints/{endpoint['id']}")).status_code == 204
        post.clock.advance(60)
        await post.send()
        assert receiver.calls == 1
        assert (await client.get("/endpoints")).json() == []


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1/", "https://[::1]/", "https://169.254.169.254/", "x"]
)
async def test_an_endpoint_that_leads_inside_cannot_be_registered(api: Api, url: str) -> None:
    async with api.client("pilot-a") as client:
        answer = await client.post("/endpoints", json={"url": url})
    assert answer.status_code == 422 and answer.headers["content-type"] == "application/problem+json"


async def test_a_company_has_a_limited_number_of_endpoints(api: Api, receiver: Receiver) -> None:
    async with api.client("pilot-a") as client:
        answers = await asyncio.gather(
            *(client.post("/endpoints", json={"url": receiver.url}) for _ in range(22))
        )
    assert sorted(answer.status_code for answer in answers) == [201] * 20 + [409] * 2


async def test_every_route_wants_a_key_with_its_scope(api: Api) -> None:
    async with httpx.AsyncClient(base_url=api.url) as client, api.client("pilot-a", "history:read") as other:
        document = (await client.get("/events/v1/openapi.json")).json()
        assert document["openapi"].startswith("3.1")
        routes = [(path, method) for path, ways in document["paths"].items() for method in ways]
        assert len(routes) >= 14
        for path, method in routes:
            if path.endswith("asyncapi.yaml"):
                continue
            here = path.format(endpoint_id="0" * 32, grant_id="0" * 32)
            bare = await client.request(method, here, json={})
            assert bare.status_code == 401, (method, path)
            weak = await other.request(method, here.removeprefix("/events/v1"), json={})
            assert weak.status_code == 403, (method, path)
