"""Webhooks: attempts, retries, replays, disabling. Real store, real HTTP, a clock moved by hand."""

import asyncio
import json

import httpx
import pytest
from standardwebhooks import Webhook

from aurelian.db.engine import as_role, connect
from aurelian.events.cloudevent import encode_event
from aurelian.events.outbox import _numbered
from aurelian.events.schemas import LINE_STATE_CHANGED
from partner_events.webhook import RETRY_AFTER_S
from partner_events.writer import Received, insert_events
from tests.builders import make_line_event
from tests.integration.partner_events.partner import (
    Api,
    Post,
    Receiver,
    attempts,
    estimate,
    log_events,
    make_events,
    monday,
    receiving,
    register,
)
from tests.waiting import until


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
    assert all(
        r["event_id"] == event.id and r["duration_ms"] > 0 and r["of"] == 10 for r in records
    )
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
    assert (shown["state"], shown["disabled_reason"]) == (
        "disabled",
        "the receiver answered 410 Gone",
    )
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


async def test_a_redirect_is_a_failure_and_is_not_followed(
    api: Api, post: Post, receiver: Receiver
) -> None:
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


async def test_a_replay_is_a_new_attempt_with_the_same_id(
    api: Api, post: Post, receiver: Receiver
) -> None:
    events = make_events(3)
    async with api.client("pilot-a") as client:
        endpoint = await register(client, receiver)
        path = f"/endpoints/{endpoint['id']}/replay"
        await log_events(api.database_url, *events, make_line_event(owner="pilot-b"))
        await post.send()
        post.clock.advance(60)  # a replay is due by the wall clock
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


async def test_one_slow_endpoint_never_delays_another(
    api: Api, post: Post, receiver: Receiver
) -> None:
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


async def test_a_receiver_that_nobody_answers_for_is_recorded_in_words(
    api: Api, post: Post
) -> None:
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
        assert (answer["status"], answer["outcome"], answer["response"]) == (
            200,
            "delivered",
            "hello",
        )
        [(headers, body)] = receiver.requests
        Webhook(endpoint["secret"]).verify(body, headers)
        assert headers["webhook-id"] == answer["webhook_id"] == json.loads(body)["id"]
        assert (await attempts(client, endpoint, number=0))[0]["outcome"] == "delivered"


async def test_deleting_an_endpoint_ends_its_deliveries(
    api: Api, post: Post, receiver: Receiver
) -> None:
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
    assert (
        answer.status_code == 422 and answer.headers["content-type"] == "application/problem+json"
    )


async def test_a_company_has_a_limited_number_of_endpoints(api: Api, receiver: Receiver) -> None:
    async with api.client("pilot-a") as client:
        answers = await asyncio.gather(
            *(client.post("/endpoints", json={"url": f"{receiver.url}/{n}"}) for n in range(22))
        )
    assert sorted(answer.status_code for answer in answers) == [201] * 20 + [409] * 2


async def test_every_route_wants_a_key_with_its_scope(api: Api) -> None:
    async with (
        httpx.AsyncClient(base_url=api.url) as client,
        api.client("pilot-a", "history:read") as other,
    ):
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


async def test_one_target_in_other_letters_is_registered_once(api: Api, receiver: Receiver) -> None:
    async with api.client("pilot-a") as client:
        named = receiver.url.replace("127.0.0.1", "localhost")
        assert (await client.post("/endpoints", json={"url": named})).status_code == 201
        for again in (
            named.replace("http", "HTTP"),
            named.replace("localhost", "LocalHost"),
            named.replace("/hook", "/./hook"),
        ):
            assert (await client.post("/endpoints", json={"url": again})).status_code == 409, again
        other = await client.post("/endpoints", json={"url": named + "/2"})
        assert other.status_code == 201


async def test_a_null_character_in_a_grant_is_the_callers_fault(api: Api) -> None:
    grant = {"grantee": "b", "purpose": "p", "event_types": [LINE_STATE_CHANGED]}
    wrongs: tuple[dict[str, object], ...] = (
        {"grantee": "b\0"},
        {"purpose": "\0"},
        {"fields": ["state\0"]},
    )
    async with api.client("pilot-a") as client:
        for wrong in wrongs:
            answer = await client.post("/grants", json={**grant, **wrong})
            assert answer.status_code == 422, answer.text


async def test_a_retry_that_comes_after_a_newer_event_is_known_by_its_sequence(
    api: Api, post: Post, receiver: Receiver
) -> None:
    """`sequence` is in the signed body, as the relay of the outbox wrote it into the record."""
    older, newer = (
        Received(event, _numbered(encode_event(event), number).decode())
        for event, number in zip(make_events(2), (99, 100), strict=True)
    )
    receiver.answers = [(503, {})]
    async with api.client("pilot-a") as client:
        await register(client, receiver)
        for each in (older, newer):
            async with await connect(as_role(api.database_url, "partner_events")) as conn:
                await insert_events(conn, [each])
            await post.send()
        post.clock.advance(RETRY_AFTER_S[1] * 1.2)
        await post.send()
    bodies = [json.loads(body) for _, body in receiver.requests]
    came = [body["id"] for body in bodies]
    assert came == [older.event.id, newer.event.id, older.event.id]
    assert {(body["source"], body["subject"]) for body in bodies} == {
        (older.event.source, older.event.subject)
    }
    assert bodies[2]["sequence"] == bodies[0]["sequence"] < bodies[1]["sequence"]
