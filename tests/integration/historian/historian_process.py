"""A historian process of a test's own, and how to feed it. Used by the historian's tests and
benches."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from prometheus_client.parser import text_string_to_metric_families

from aurelian.backbone.client import Producer
from aurelian.backbone.topics import SAMPLES, SOURCE_EVENTS, Topic
from aurelian.db.engine import as_role
from aurelian.model import codec
from aurelian.model.record import Partition
from aurelian.model.sample import SampleBatch
from aurelian.runtime.settings import KafkaSettings


@dataclass
class HistorianProcess:
    """A running `python -m historian`."""

    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        """Kill -9 and wait until it is gone."""
        self.process.kill()
        self.process.wait()

    def stop(self, timeout_s: float = 10.0) -> int:
        """SIGTERM; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def pause(self) -> None:
        """SIGSTOP."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)


def start_historian(
    bootstrap: str, database_url: str, folder: Path, **settings: object
) -> HistorianProcess:
    """Start one as its own database role; `settings` become AURELIAN_* variables."""
    env = {
        **os.environ,
        "AURELIAN_KAFKA_BOOTSTRAP": bootstrap,
        "AURELIAN_PARTITIONS": "all",
        "AURELIAN_DATABASE_URL": as_role(database_url, "historian"),
        "AURELIAN_LOG_FORMAT": "text",
        "AURELIAN_STATE": str(folder),
        **{f"AURELIAN_{name.upper()}": str(value) for name, value in settings.items()},
    }
    log = folder / f"historian-{time.monotonic_ns()}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "historian"], env=env, stdout=out, stderr=out
        )
    return HistorianProcess(process, log)


@contextlib.contextmanager
def running_historian(
    bootstrap: str, database_url: str, folder: Path, **settings: object
) -> Iterator[HistorianProcess]:
    """Run one for the length of a block; its log is printed when the block fails."""
    historian = start_historian(bootstrap, database_url, folder, **settings)
    try:
        yield historian
    except BaseException:
        print(historian.log.read_text()[-4000:])
        raise
    finally:
        if historian.process.poll() is None:
            historian.resume()
            with contextlib.suppress(subprocess.TimeoutExpired):
                historian.stop(5)
            historian.kill()


def metrics_of(port: int) -> dict[str, float]:
    """What a historian says at its ops port, by metric."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    return {sample.name: sample.value for family in families for sample in family.samples}


def send(bootstrap: str, records: Iterable[tuple[Topic, str, bytes | None]]) -> int:
    """Send records in order and wait until Kafka has them; return how many."""
    return asyncio.run(_send(bootstrap, records))


def send_batches(bootstrap: str, batches: Iterable[SampleBatch]) -> int:
    """Send batches in order, keyed by their line."""
    return send(bootstrap, ((SAMPLES, batch.line, codec.encode(batch)) for batch in batches))


def send_events(bootstrap: str, events: Sequence[codec.SourceEvent]) -> int:
    """Send source events in order, keyed by their source."""
    return send(
        bootstrap, ((SOURCE_EVENTS, event.source, codec.encode_event(event)) for event in events)
    )


def delete_records(bootstrap: str, before: Mapping[Partition, int]) -> None:
    """Trim partitions: delete what is before an offset, as retention does."""
    asyncio.run(_delete_records(bootstrap, before))


def await_offsets(
    database_url: str,
    count: int,
    *,
    topic: str = SAMPLES.name,
    log_id: str | None = None,
    timeout_s: float = 30,
) -> None:
    """Wait until the historian has stored `count` records of a topic."""

    def stored() -> bool:
        with psycopg.connect(database_url) as conn:
            row = conn.execute(
                "SELECT coalesce(sum(next_offset), 0) FROM historian.kafka_offset "
                "WHERE topic = %s AND (%s::text IS NULL OR log_id = %s)",
                (topic, log_id, log_id),
            ).fetchone()
        return row is not None and int(row[0]) >= count

    wait_until(stored, timeout_s, f"{count} records of {topic} stored")


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Wait for a condition, asked every 50 ms.

    Raises:
        TimeoutError: it did not become true in time.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s} s: {what}")
        time.sleep(0.05)


async def _delete_records(bootstrap: str, before: Mapping[Partition, int]) -> None:
    async with _admin(bootstrap) as admin:
        await admin.delete_records(
            {TopicPartition(*p): RecordsToDelete(before_offset=n) for p, n in before.items()}
        )


@contextlib.asynccontextmanager
async def _admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def _send(bootstrap: str, records: Iterable[tuple[Topic, str, bytes | None]]) -> int:
    settings = KafkaSettings(kafka_bootstrap=bootstrap, kafka_timeout_s=60)
    count = 0
    async with Producer(settings, "test") as producer:
        futures = []
        for topic, key, value in records:
            futures.append(await producer.post(topic, key, value))
            count += 1
            if len(futures) >= 2000:
                await producer.settle(futures)
                futures = []
        await producer.settle(futures)
    return count
