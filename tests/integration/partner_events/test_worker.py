"""The worker with a real broker and a real store: what Kafka repeats, what kill -9 interrupts."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from aurelian.backbone.client import Producer
from aurelian.backbone.topics import CAPACITY_EVENTS, LINE_EVENTS, MAINTENANCE_EVENTS, create_topics
from aurelian.db.engine import as_role
from aurelian.db.logs import declare_log
from aurelian.events.cloudevent import Event, encode_event
from aurelian.runtime.health import Health
from aurelian.runtime.settings import KafkaSettings
from partner_events.settings import PartnerEventsSettings
from partner_events.worker import run
from tests import servers
from tests.builders import make_line_event
from tests.integration.partner_events.partner import LOOPBACK, Api, Receiver, make_events, register
from tests.waiting import until


@pytest.fixture
def broker(database_url: str) -> Iterator[servers.KafkaServer]:
    """A broker of the test's own with the topics, declared as the current log."""
    with servers.kafka_broker() as server:
        declare(server, database_url)
        yield server


def declare(server: servers.KafkaServer, database_url: str) -> None:
    asyncio.run(create_topics(server.bootstrap))
    declare_log(database_url, uuid.uuid4())


async def publish(server: servers.KafkaServer, *events: Event | bytes) -> None:
    """Send events, over all three topics and their partitions."""
    settings = KafkaSettings(kafka_bootstrap=server.bootstrap)
    topics = (LINE_EVENTS, MAINTENANCE_EVENTS, CAPACITY_EVENTS)
    async with Producer(settings, "test") as producer:
        bodies = [
            each if isinstance(each, bytes) else encode_event(each).encode() for each in events
        ]
        await producer.settle(
            [
                await producer.post(topics[n % 3], f"key-{n % 7}", body)
                for n, body in enumerate(bodies)
            ]
        )


@contextlib.asynccontextmanager
async def working(server: servers.KafkaServer, database_url: str) -> AsyncIterator[Health]:
    """Run the worker in this process."""
    settings = PartnerEventsSettings(
        kafka_bootstrap=server.bootstrap,
        database_url=SecretStr(as_role(database_url, "partner_events")),
        webhook_allow=LOOPBACK,
    )
    health = Health("partner_events")
    task = asyncio.create_task(run(settings, health))
    try:
        await until(lambda: task.done() or health.ready is None, "the worker to be ready", 30)
        assert not task.done(), task.exception()
        yield health
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def logged(database_url: str) -> list[tuple[int, str]]:
    with psycopg.connect(database_url) as conn:
        rows = conn.execute(
            "SELECT number, id FROM partner_events.event_log ORDER BY number"
        ).fetchall()
    return [(int(number), str(event_id)) for number, event_id in rows]


def test_what_kafka_repeats_gets_no_second_number_and_the_unreadable_stops_nothing(
    database_url: str, broker: servers.KafkaServer
) -> None:
    events = make_events(40)

    async def first() -> None:
        async with working(broker, database_url):
            await publish(broker, *events[:20], b"\xff", b"{}", *events[:20])
            await until(lambda: len(logged(database_url)) >= 20, "20 numbers")

    async def again() -> None:
        async with working(broker, database_url):
            # All of the past is published again into the new log, and something new.
            await publish(broker, *events)
            await until(lambda: len(logged(database_url)) >= 40, "40 numbers")

    asyncio.run(first())
    broker.restart()
    declare(broker, database_url)
    asyncio.run(again())
    rows = logged(database_url)
    assert [number for number, _ in rows] == list(range(1, 41))
    assert {event_id for _, event_id in rows} == {event.id for event in events}


async def test_an_event_reaches_a_webhook_soon_after_kafka_has_it(
    api: Api, receiver: Receiver, broker: servers.KafkaServer
) -> None:
    async with working(broker, api.database_url), api.client("pilot-a") as client:
        await register(client, receiver)
        event = make_line_event(1)
        began = asyncio.get_running_loop().time()
        await publish(broker, event)
        await until(lambda: bool(receiver.ids), "the webhook")
        took_s = asyncio.get_running_loop().time() - began
        assert receiver.ids == [event.id]
    print(f"published to received: {took_s:.2f} s")


async def test_kill_9_in_the_middle_of_a_delivery_loses_no_event(
    api: Api, receiver: Receiver, broker: servers.KafkaServer, tmp_path: Path
) -> None:
    receiver.delay_s = 0.02
    events = make_events(60)
    environment = {
        **os.environ,
        "AURELIAN_KAFKA_BOOTSTRAP": broker.bootstrap,
        "AURELIAN_DATABASE_URL": as_role(api.database_url, "partner_events"),
        "AURELIAN_WEBHOOK_ALLOW": LOOPBACK,
        "AURELIAN_OPS_PORT": "0",
    }
    log = tmp_path / "worker.log"

    def start() -> "subprocess.Popen[bytes]":
        with log.open("ab") as file:
            return subprocess.Popen(
                [sys.executable, "-m", "partner_events"], env=environment, stderr=file
            )

    async with api.client("pilot-a") as client:
        await register(client, receiver)
        await publish(broker, *events[:30])
        worker = start()
        try:
            await until(lambda: receiver.calls >= 10 or worker.poll() is not None, "deliveries", 30)
            os.kill(worker.pid, signal.SIGKILL)
            worker.wait()
            before = set(receiver.ids)
            assert 0 < len(before) < 30, log.read_text()
            await publish(broker, *events)
            worker = start()
            await until(lambda: len(set(receiver.ids)) == 60, "all events", 30)
            worker.terminate()
            assert worker.wait(10) == 0, log.read_text()
        finally:
            worker.kill()
            worker.wait()
    assert set(receiver.ids) == {event.id for event in events}
    assert len(receiver.ids) - 60 <= 1  # the one that was on its way
    numbers = logged(api.database_url)
    assert [number for number, _ in numbers] == list(range(1, 61))
    assert len({event_id for _, event_id in numbers}) == 60
