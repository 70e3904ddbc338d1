"""The historian against real Apache Kafka: killed, paused, doubled. Nothing may be lost or stored
twice."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from aurelian.backbone.topics import SAMPLES, Topic, create_topics
from aurelian.db.engine import as_role
from aurelian.db.logs import declare_log
from tests import oracle, servers
from tests.integration.historian.historian_process import (
    await_offsets,
    running_historian,
    send,
    send_batches,
    send_events,
    start_historian,
    wait_until,
)
from tests.long_tests import LONG_TESTS
from tests.waiting import until

GROUP = {"partitions": "group"}


def test_redelivery_and_poison_on_apache_kafka(
    broker: servers.KafkaServer, database_url: str, tmp_path: Path
) -> None:
    samples = oracle.make_samples(seed=21, count=20_000)
    batches = oracle.make_batches(samples)
    declare_log(database_url, "kafka")
    with running_historian(broker.bootstrap, database_url, tmp_path, **GROUP) as historian:
        sent = send_batches(broker.bootstrap, batches[: len(batches) // 2])
        sent += send(broker.bootstrap, [(SAMPLES, batches[0].line, b"\xde\xad poison")])
        sent += send_batches(broker.bootstrap, batches)
        send_events(broker.bootstrap, oracle.received_events(samples))
        await_offsets(database_url, sent)
        assert oracle.differences(oracle.expect(samples), oracle.read_store(database_url)) == []
        wait_until(lambda: oracle.imbalance(database_url) == {}, 10, "a balanced ledger")
        with psycopg.connect(database_url) as conn:
            rejected = conn.execute(
                "SELECT error_class, payload FROM historian.rejected"
            ).fetchall()
        assert rejected == [("unreadable", b"\xde\xad poison")]

        # A clean stop and a new process go on where the last one was: the fingerprint fits.
        assert historian.stop() == 0
        more = oracle.make_samples(seed=22, count=500, signals=4)
        extra = [replace(batch, gateway="another") for batch in oracle.make_batches(more)]
        with running_historian(broker.bootstrap, database_url, tmp_path, **GROUP):
            sent += send_batches(broker.bootstrap, extra)
            await_offsets(database_url, sent)
    assert not _halted(database_url)


def test_a_historian_killed_over_and_over_loses_nothing_and_doubles_nothing(
    broker: servers.KafkaServer, database_url: str, tmp_path: Path
) -> None:
    samples = oracle.make_samples(seed=23, count=60_000)
    batches = oracle.make_batches(samples, sizes=(1, 8))
    declare_log(database_url, "kafka")
    sent = send_batches(broker.bootstrap, batches)
    send_events(broker.bootstrap, oracle.received_events(samples))
    settings = {"partitions": "all", "commit_samples": 200, "commit_interval_s": 0.01}
    for kills in range(1, 4 if LONG_TESTS else 3):
        historian = start_historian(broker.bootstrap, database_url, tmp_path, **settings)
        try:
            goal = oracle.count_rows(database_url) + 3000
            wait_until(
                lambda goal=goal: oracle.count_rows(database_url) >= goal,
                30,
                f"progress before kill {kills}",
            )  # type: ignore[misc]
        finally:
            historian.kill()
    with running_historian(broker.bootstrap, database_url, tmp_path, **settings):
        await_offsets(database_url, sent, timeout_s=120)
        assert oracle.differences(oracle.expect(samples), oracle.read_store(database_url)) == []
        wait_until(lambda: oracle.imbalance(database_url) == {}, 10, "a balanced ledger")


def test_a_paused_zombie_is_fenced_and_its_group_goes_on(
    broker: servers.KafkaServer, database_url: str, tmp_path: Path
) -> None:
    samples = oracle.make_samples(seed=24, count=30_000)
    batches = oracle.make_batches(samples)
    half = len(batches) // 2
    declare_log(database_url, "kafka")
    limits = {**GROUP, "transaction_limit_s": 3}
    with running_historian(broker.bootstrap, database_url, tmp_path, **limits) as zombie:
        sent = send_batches(broker.bootstrap, batches[:half])
        # Its transactions wait here in the middle, before the offsets: the streams come first.
        with psycopg.connect(as_role(database_url, "historian")) as blocker:
            await_offsets(database_url, 1)
            blocker.execute("LOCK TABLE historian.delivery IN SHARE MODE")
            sent += send_batches(broker.bootstrap, batches[half:])
            wait_until(
                lambda: _waiting(database_url) > 0, 20, "a transaction that waits for the lock"
            )
            zombie.pause()
            blocker.rollback()
        with running_historian(broker.bootstrap, database_url, tmp_path, **limits) as successor:
            await_offsets(database_url, sent, timeout_s=60)
            zombie.resume()
            wait_until(
                lambda: (
                    "fenced" in zombie.log.read_text() or "interrupted" in zombie.log.read_text()
                ),
                30,
                "the zombie notices",
            )
            assert oracle.differences(oracle.expect(samples), oracle.read_store(database_url)) == []
            send_events(broker.bootstrap, oracle.received_events(samples))
            wait_until(lambda: oracle.imbalance(database_url) == {}, 40, "a balanced ledger")
            assert successor.process.poll() is None and zombie.process.poll() is None


def _waiting(url: str) -> int:
    with psycopg.connect(url) as conn:
        row = conn.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'historian writer' "
            "AND wait_event_type = 'Lock'"
        ).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("partitions", ["group", "all"])
def test_a_topic_that_is_made_again_while_it_is_read_halts(
    broker: servers.KafkaServer, database_url: str, tmp_path: Path, partitions: str
) -> None:
    """Its first records have the offsets of records that were stored: they must not be skipped in
    silence."""
    declare_log(database_url, "kafka")
    batches = oracle.make_batches(oracle.make_samples(3, 80, lines=1), sizes=(8,))
    settings = {"partitions": partitions}
    with running_historian(broker.bootstrap, database_url, tmp_path, **settings) as historian:
        send_batches(broker.bootstrap, batches[:3])
        await_offsets(database_url, 3)
        asyncio.run(_make_again(broker.bootstrap, SAMPLES))
        send_batches(broker.bootstrap, batches[3:])
        wait_until(lambda: bool(_halted(database_url)), 30, "the partition halts")
        assert historian.process.poll() is None


async def _make_again(bootstrap: str, topic: Topic) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([topic.name])
    finally:
        await admin.close()
    made: list[str] = []

    async def is_made() -> bool:
        made.extend(await create_topics(bootstrap))
        return topic.name in made

    await until(is_made, f"{topic.name} made again", 20)


def _halted(url: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as conn:
        return conn.execute(
            "SELECT topic, halted FROM historian.kafka_offset WHERE halted IS NOT NULL"
        ).fetchall()
