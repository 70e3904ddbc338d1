"""The event log and who may read it: numbers, polling, streams, grants. Real store, real HTTP."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import httpx
import psycopg
import pytest

from aurelian.access.keys import revoke_key
from aurelian.db.engine import as_role, connect
from aurelian.events.cloudevent import EventError, encode_event
from aurelian.events.schemas import CAPACITY_ESTIMATE_UPDATED, LINE_KPI_UPDATED, LINE_STATE_CHANGED
from partner_events.writer import read_event, trim
from tests.builders import make_line_event
from tests.integration.partner_events.partner import (
    Api,
    Frame,
    Post,
    Receiver,
    attempts,
    estimate,
    log_events,
    make_events,
    monday,
    open_stream,
    poll_ids,
    read_stream,
    register,
)
from tests.waiting import until


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
        rows = conn.execute(
            "SELECT number FROM partner_events.event_log ORDER BY number"
        ).fetchall()
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
    with pytest.raises(EventError):
        read_event(value)


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
                    await read_stream(
                        client, min(7, 60 - len(got)), last_id=got[-1].id if got else "0"
                    )
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
    async with httpx.AsyncClient(
        base_url=api.url + "/events/v1", headers=headers, timeout=10
    ) as client:
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


async def give(client: httpx.AsyncClient, **more: object) -> str:
    told = {
        "grantee": "pilot-b",
        "purpose": "planning",
        "event_types": [CAPACITY_ESTIMATE_UPDATED],
        **more,
    }
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
    await log_events(
        api.database_url, estimate(1, monday()), estimate(2, monday(1)), estimate(3, monday(2))
    )
    async with api.client("pilot-a") as a, api.client("pilot-b") as b:
        await give(a, fields=["week_start", "available"], horizon_weeks=2)
        events = (await b.get("/events")).json()["events"]
        assert [event["data"]["week_start"] for event in events] == [monday(), monday(1)]
        assert all(set(event["data"]) == {"week_start", "available"} for event in events)
        assert {event["owner"] for event in events} == {"pilot-a"}


async def test_grants_are_given_and_taken_by_their_owner_alone(api: Api) -> None:
    async with (
        api.client("pilot-a") as a,
        api.client("pilot-b") as b,
        api.client("*", "admin") as platform,
    ):
        told = {"grantee": "pilot-b", "purpose": "p", "event_types": [CAPACITY_ESTIMATE_UPDATED]}
        assert (await b.post("/grants", json={**told, "owner": "pilot-a"})).status_code == 403
        assert (await platform.post("/grants", json=told)).status_code == 422
        assert (
            await platform.post("/grants", json={**told, "owner": "pilot-a"})
        ).status_code == 201
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


async def test_polling_beyond_the_log_says_reset_as_the_stream_does(
    api: Api, database_url: str
) -> None:
    await log_events(database_url, *make_events(3))
    async with api.client("pilot-a") as client:
        page = (await client.get("/events", params={"after": 5000})).json()
        assert page["reset"]["newest"] == 3 and page["next"] == 0
        again = (await client.get("/events", params={"after": page["next"]})).json()
        assert len(again["events"]) == 3 and "reset" not in again
        caught_up = (await client.get("/events", params={"after": 3})).json()
        assert caught_up["events"] == [] and "reset" not in caught_up


async def test_readings_come_only_to_who_names_them(api: Api, database_url: str) -> None:
    await log_events(
        database_url,
        *make_events(1),
        *make_events(3, 10, type=LINE_KPI_UPDATED),
        *make_events(1, 5),
    )
    async with api.client("pilot-a") as client:
        assert len(await poll_ids(client)) == 2
        named = await client.get("/events", params={"type": LINE_KPI_UPDATED})
        assert len(named.json()["events"]) == 3


async def test_one_url_is_registered_once_by_a_company(api: Api, receiver: Receiver) -> None:
    async with api.client("pilot-a") as client:
        made = await register(client, receiver)
        again = await client.post("/endpoints", json={"url": receiver.url})
        assert again.status_code == 409 and made["id"] in again.text
        other = await client.post("/endpoints", json={"url": receiver.url + "/other"})
        assert other.status_code == 201
