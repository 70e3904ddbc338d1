"""The event outbox, its relay and the inbox: committed events reach Kafka in order, and each counts
once."""

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from aurelian.backbone.client import Consumer
from aurelian.backbone.topics import FIGURES, LINE_EVENTS, create_topics
from aurelian.db.engine import as_role, connect
from aurelian.db.logs import declare_log
from aurelian.events.cloudevent import Event, decode_event
from aurelian.events.outbox import enqueue_all, first_seen, relay
from aurelian.events.schemas import LINE_KPI_UPDATED, LINE_STATE_CHANGED
from aurelian.runtime.settings import KafkaSettings
from tests.builders import make_unchecked_event
from tests.servers import kafka_broker
from tests.waiting import until

SERVICE = "line_health"


def event(number: int, kind: str = LINE_STATE_CHANGED) -> Event:
    return make_unchecked_event(
        kind,
        source="/aurelian/line_health",
        subject="line-1",
        owner="pilot-a",
        time=datetime(2026, 1, 5, tzinfo=UTC) + timedelta(seconds=number),
        data={"number": number},
    )


async def put(url: str, key: str, *numbers: int, kind: str = LINE_STATE_CHANGED) -> None:
    async with await connect(as_role(url, SERVICE), autocommit=True) as conn, conn.transaction():
        await enqueue_all(conn, SERVICE, [(LINE_EVENTS, key, event(n, kind)) for n in numbers])


@contextlib.asynccontextmanager
async def relaying(url: str, bootstrap: str) -> AsyncIterator[None]:
    settings = KafkaSettings(kafka_bootstrap=bootstrap, kafka_timeout_s=2)
    task = asyncio.create_task(relay(settings, as_role(url, SERVICE), SERVICE))
    try:
        yield
        assert not task.done(), task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class Reader:
    """Reads what one key has on the topic."""

    def __init__(self, bootstrap: str, key: str) -> None:
        self.settings = KafkaSettings(kafka_bootstrap=bootstrap)
        self.key, self.numbers = key, list[object]()

    async def read_until(self, numbers: list[int]) -> None:
        """Wait until these are the last ones, and the only ones but for what was sent twice before
        them."""
        async with Consumer(self.settings, [LINE_EVENTS], client_id="test") as consumer:
            self.numbers = []

            async def arrived() -> bool:
                for record in await consumer.take(timeout_s=0.1):
                    if record.key == self.key.encode() and record.value is not None:
                        self.numbers.append(decode_event(record.value).data["number"])
                return self.numbers[-len(numbers) :] == numbers and set(self.numbers) == set(
                    numbers
                )

            await until(arrived, f"events {numbers}", 20)


@pytest.fixture
async def key(kafka: str, database_url: str) -> str:
    """A record key of the test's own, with topics and a declared log."""
    await create_topics(kafka)
    declare_log(database_url, "log-1")
    return f"line-{uuid.uuid4().hex}"


async def test_committed_events_reach_kafka_in_order_and_rolled_back_ones_never(
    database_url: str, kafka: str, key: str
) -> None:
    async with relaying(database_url, kafka):
        await put(database_url, key, 1, 2)
        async with await connect(as_role(database_url, SERVICE), autocommit=True) as conn:
            with contextlib.suppress(RuntimeError):
                async with conn.transaction():
                    await enqueue_all(conn, SERVICE, [(LINE_EVENTS, key, event(99))])
                    raise RuntimeError("no")
        await put(database_url, key, 3)
        await Reader(kafka, key).read_until([1, 2, 3])


async def test_an_event_that_is_made_again_is_not_sent_again(
    database_url: str, kafka: str, key: str
) -> None:
    async with relaying(database_url, kafka):
        await put(database_url, key, 1, 2)
        await Reader(kafka, key).read_until([1, 2])
        await put(database_url, key, 1, 2)
        await put(database_url, key, 3)
        await Reader(kafka, key).read_until([1, 2, 3])


async def test_events_wait_until_a_log_is_declared(database_url: str, kafka: str) -> None:
    await create_topics(kafka)
    key = f"line-{uuid.uuid4().hex}"
    await put(database_url, key, 1)
    async with relaying(database_url, kafka):
        declare_log(database_url, "log-1")
        await Reader(kafka, key).read_until([1])


async def test_a_broker_that_comes_back_empty_gets_the_past_again(database_url: str) -> None:
    key = "line-1"
    declare_log(database_url, "log-1")
    with kafka_broker() as broker:
        await create_topics(broker.bootstrap)
        async with relaying(database_url, broker.bootstrap):
            await put(database_url, key, 1, 2)
            await Reader(broker.bootstrap, key).read_until([1, 2])
            broker.kill()
            await put(database_url, key, 3)
            broker.start()
            await create_topics(broker.bootstrap)
            # Only now: what the broker acknowledged before its topics were there may be lost.
            declare_log(database_url, "log-2")
            await Reader(broker.bootstrap, key).read_until([1, 2, 3])


async def test_a_new_log_gets_what_is_young_enough_and_what_no_log_ever_had(
    database_url: str, kafka: str, key: str
) -> None:
    await put(database_url, key, 1, 2, 3)
    with psycopg.connect(database_url) as conn:
        conn.execute("UPDATE line_health.event_outbox SET published_log = 'log-0' WHERE number < 3")
        conn.execute(
            "UPDATE line_health.event_outbox SET recorded_at = now() - interval '31 days' "
            "WHERE number IN (SELECT min(number) FROM line_health.event_outbox)"
        )
    async with relaying(database_url, kafka):
        await Reader(kafka, key).read_until([2, 3])


async def test_old_events_are_deleted_and_readings_earlier(
    database_url: str, kafka: str, key: str
) -> None:
    await put(database_url, key, 1, 2)
    await put(database_url, key, 3, 4, kind=LINE_KPI_UPDATED)
    with psycopg.connect(database_url) as conn:
        for number, age in ((1, "31 days"), (2, "2 days"), (3, "2 days"), (4, "1 hour")):
            conn.execute(
                "UPDATE line_health.event_outbox SET published_log = 'log-1', recorded_at = now() "
                "- %s::interval "
                "WHERE body::json -> 'data' ->> 'number' = %s",
                [age, str(number)],
            )

    def left() -> list[int]:
        with psycopg.connect(database_url) as conn:
            found = conn.execute(
                "SELECT body FROM line_health.event_outbox ORDER BY number"
            ).fetchall()
        return [int(str(decode_event(body).data["number"])) for (body,) in found]

    async with relaying(database_url, kafka):
        await until(lambda: left() == [2, 4])


async def test_one_of_two_relays_sends_and_the_other_takes_over(
    database_url: str, kafka: str, key: str
) -> None:
    async with relaying(database_url, kafka):
        async with relaying(database_url, kafka):
            await put(database_url, key, *range(20))
            await Reader(kafka, key).read_until(list(range(20)))
        await put(database_url, key, 20)
        await Reader(kafka, key).read_until(list(range(21)))


async def test_the_inbox_knows_an_event_again_unless_its_transaction_was_rolled_back(
    database_url: str,
) -> None:
    async with await connect(as_role(database_url, SERVICE), autocommit=True) as conn:
        with contextlib.suppress(RuntimeError):
            async with conn.transaction():
                assert await first_seen(conn, SERVICE, "/aurelian/capacity", "1")
                raise RuntimeError("no")
        async with conn.transaction():
            assert await first_seen(conn, SERVICE, "/aurelian/capacity", "1")
        async with conn.transaction():
            assert not await first_seen(conn, SERVICE, "/aurelian/capacity", "1")
            assert await first_seen(conn, SERVICE, "/aurelian/maintenance", "1")


async def test_a_service_without_an_outbox_is_named(database_url: str) -> None:
    async with await connect(database_url, autocommit=True) as conn:
        with pytest.raises(ValueError, match="historian"):
            await enqueue_all(conn, "historian", [(LINE_EVENTS, "line-1", event(1))])


async def test_readings_have_a_topic_of_their_own_and_sequences_rise(
    database_url: str, kafka: str, key: str
) -> None:
    await put(database_url, key, 1, 2)
    await put(database_url, key, 3, kind=LINE_KPI_UPDATED)
    found: dict[str, list[str]] = {LINE_EVENTS.name: [], FIGURES.name: []}
    settings = KafkaSettings(kafka_bootstrap=kafka)
    async with (
        relaying(database_url, kafka),
        Consumer(settings, [LINE_EVENTS, FIGURES], client_id="test") as consumer,
    ):

        async def arrived() -> bool:
            for record in await consumer.take(timeout_s=0.1):
                if record.key == key.encode() and record.value is not None:
                    found[record.topic].append(json.loads(record.value)["sequence"])
            return [len(each) for each in found.values()] == [2, 1]

        await until(arrived, "two decisions and a reading", 20)
    decisions, readings = found[LINE_EVENTS.name], found[FIGURES.name]
    assert decisions[0] < decisions[1] < readings[0]
