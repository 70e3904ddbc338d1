"""Everything is killed at once in the middle of the work and started again: nothing is lost,
nothing doubled, Kafka's log goes on, the pages go on. `make test-faults`."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from aurelian.backbone.client import Consumer
from aurelian.backbone.topics import SAMPLES
from aurelian.model.record import Partition
from aurelian.runtime.settings import KafkaSettings
from tests.e2e.whole import Stack, check_store, replay, running_stack
from tests.waiting import until

PARTITIONS = [Partition(SAMPLES.name, n) for n in range(SAMPLES.partitions)]


@pytest.fixture
def stack() -> Iterator[Stack]:
    """A stack of the test's own."""
    with running_stack() as opened:
        yield opened


@pytest.mark.timeout(300)
async def test_a_power_cut_loses_nothing_and_the_log_goes_on(stack: Stack, tmp_path: Path) -> None:
    await replay(stack, "mqtt-small", tmp_path / "mqtt-small", speed=0)
    await check_store(stack, "mqtt-small", tmp_path / "mqtt-small")
    log_before, ends_before = _declared_logs(stack), await _ends(stack)
    machine = asyncio.create_task(
        replay(stack, "opcua-small", tmp_path / "opcua-small", speed=20, limit_s=150)
    )
    try:
        for _ in range(2):
            await asyncio.sleep(3)  # the fault's own moment: somewhere in the middle
            await asyncio.to_thread(stack.cut_power)
            await asyncio.to_thread(stack.start_again)
        await machine
    finally:
        machine.cancel()
        await asyncio.gather(machine, return_exceptions=True)
    await check_store(stack, "opcua-small", tmp_path / "opcua-small", limit_s=60)
    await check_store(stack, "mqtt-small", tmp_path / "mqtt-small")
    assert _declared_logs(stack) == log_before
    ends = await _ends(stack)
    assert all(ends[each] >= end for each, end in ends_before.items())
    assert sum(ends.values()) > sum(ends_before.values())

    request = urllib.request.Request(stack.url, headers=stack.headers_of("pilot-a"))

    def shown() -> bool:
        with urllib.request.urlopen(request, timeout=5) as answer:
            text = answer.read().decode()
        return 'data-freshness="live"' in text

    await until(shown, "a live tile on the page", 30)


def _declared_logs(stack: Stack) -> list[tuple[str, bool]]:
    with psycopg.connect(stack.database_url) as connection:
        return connection.execute("SELECT log_id, current FROM platform.kafka_log").fetchall()


async def _ends(stack: Stack) -> dict[Partition, int]:
    settings = KafkaSettings(kafka_bootstrap=str(stack.status["kafka_bootstrap"]))
    async with Consumer(settings, [SAMPLES], client_id="test") as consumer:
        return await consumer.end_offsets(PARTITIONS)
