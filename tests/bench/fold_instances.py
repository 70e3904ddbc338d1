"""Benchmark `fold_instances`: what one, two and four instances of a fold reach together.

    make bench BENCH=fold_instances

Each instance is a process with `run_fold` on one topic of `PARTITIONS` partitions, a member of the
same group. The work of a record is a wait: the write holds its transaction `RECORD_MS` for each,
as a store that is far away or slow does. So what is measured is whether instances wait for each
other (locks of `kafka_offset`, the relay's, the group's), and not how many cores there are: with
work that is CPU alone nothing can grow beyond the number of cores. The instances first share the
partitions; then `RECORDS` for each instance are sent and the time is taken until all of them
are committed, deadlocks and sessions begun anew counted. `value` is records/s of four instances,
`ratio` that to one instance; at best it is 4, and less where the keys fall unevenly.

On two cores with other work beside it: 482, 920 and 1,505 records/s for 1, 2 and 4 instances,
ratio 3.12; the largest of the four had 39 of 128 keys, which alone bounds it to 3.28. No deadlock,
no session begun anew.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psycopg
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from pydantic import SecretStr

from aurelian.backbone.client import Producer
from aurelian.backbone.topics import Topic
from aurelian.db.engine import as_role
from aurelian.db.logs import declare_log
from aurelian.db.migrate import upgrade
from aurelian.fold.contract import Effects, FoldSettings, State
from aurelian.fold.run import run_fold
from aurelian.model.record import Record
from aurelian.runtime.health import Health
from aurelian.runtime.settings import KafkaSettings
from tests import servers
from tests.bench.framework import say

INSTANCES = (1, 2, 4)
PARTITIONS = 16
KEYS = [f"key-{number}" for number in range(128)]
RECORDS = 3_000
RECORD_MS = 2.0
LIMIT_S = 90.0
AGAIN = ("folding begins anew", "folding waits", "a record fails")


def run() -> Iterator[dict[str, object]]:
    """Yield the one result."""
    rates: dict[int, float] = {}
    deadlocks = again = 0
    with servers.postgres_server(durable=True) as postgres, servers.kafka_broker() as broker:
        for count in INSTANCES:
            url = postgres.create_database()
            upgrade(url)
            declare_log(url, "bench")
            with psycopg.connect(url) as conn:
                conn.execute(
                    "CREATE TABLE line_health.total (key text PRIMARY KEY, records bigint, pid int)"
                )
                conn.execute("GRANT ALL ON line_health.total TO aurelian_line_health")
            seconds, by_instance, log = _measure(count, broker.bootstrap, url)
            rates[count] = count * RECORDS / seconds
            again += sum(log.count(said) for said in AGAIN)
            deadlocks += _query(
                url, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
            )[0][0]
            say(
                f"{count} instances: {rates[count]:.0f} records/s, "
                f"{rates[count] / rates[1]:.2f} of one; keys of each: {by_instance}"
            )
    yield {
        "bench": "fold_instances",
        "value": round(rates[4]),
        "unit": "records/s",
        "peer": "one instance",
        "ratio": round(rates[4] / rates[1], 2),
        "samples": sum(INSTANCES) * RECORDS,
        "records_s": {str(count): round(rate) for count, rate in rates.items()},
        "record_ms": RECORD_MS,
        "deadlocks": deadlocks,
        "sessions_begun_anew": again,
        "store": "PostgreSQL 18, fsync on",
        "broker": "Apache Kafka 4.3",
    }


def _measure(count: int, bootstrap: str, url: str) -> tuple[float, list[int], str]:
    """Seconds for `RECORDS` for each of `count` instances, the keys that each wrote, their log."""
    topic = f"bench.fold.{uuid.uuid4().hex[:8]}"
    asyncio.run(_make_topic(bootstrap, topic))
    with tempfile.TemporaryDirectory(prefix="aurelian-bench-") as folder:
        path = Path(folder) / "instances.log"
        with path.open("wb") as file:
            processes = [
                subprocess.Popen(
                    [sys.executable, "-m", "tests.bench.fold_instances", bootstrap, url, topic],
                    stdout=file,
                    stderr=file,
                )
                for _ in range(count)
            ]
        try:
            seconds = asyncio.run(_feed(count, bootstrap, url, topic))
        except BaseException:
            print(path.read_text()[-4000:], file=sys.stderr)
            raise
        finally:
            for process in processes:
                process.kill()
                process.wait(20)
        shares = _query(url, "SELECT count(*) FROM line_health.total GROUP BY pid ORDER BY 1")
        return seconds, [number for (number,) in shares], path.read_text()


async def _feed(count: int, bootstrap: str, url: str, name: str) -> float:
    topic, sent = _topic(name), 0
    async with Producer(KafkaSettings(kafka_bootstrap=bootstrap), "bench") as producer:

        async def send(number: int) -> None:
            nonlocal sent
            futures = [
                await producer.post(topic, KEYS[(sent + n) % len(KEYS)], b"1")
                for n in range(number)
            ]
            await producer.settle(futures)
            sent += number

        async def done(limit_s: float) -> None:
            deadline = time.monotonic() + limit_s
            while _folded(url) < sent:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{_folded(url)} of {sent} records folded")
                await asyncio.sleep(0.05)

        pids, even = "SELECT count(*) FROM line_health.total GROUP BY pid", False
        while not even:
            await send(len(KEYS))
            await done(LIMIT_S)
            shares = [number for (number,) in _query(url, pids)]
            even = len(shares) == count and max(shares) < 2 * len(KEYS) / count
        start = time.monotonic()
        await send(count * RECORDS)
        await done(LIMIT_S)
        return time.monotonic() - start


class _Counts:
    """Number of records by key; each gives a row."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.touched: set[str] = set()

    def learn(self, record: Record, now: int) -> None:
        raise NotImplementedError

    def fold(self, record: Record, now: int) -> Effects[tuple[str, int]]:
        assert record.key is not None
        key = record.key.decode()
        self.counts[key] = self.counts.get(key, 0) + 1
        self.touched.add(key)
        return Effects([(key, self.counts[key])])

    def tick(self, now: int) -> Effects[tuple[str, int]]:
        return Effects()

    def changed(self) -> Mapping[str, State]:
        touched, self.touched = self.touched, set()
        return {key: {"count": self.counts[key]} for key in touched}

    def restore(self, states: Mapping[str, State]) -> None:
        self.counts = {key: int(str(state["count"])) for key, state in states.items()}
        self.touched = set()

    def memory(self) -> State:
        return {}

    def recall(self, memory: State) -> None:
        pass


async def _write(conn: psycopg.AsyncConnection, rows: Sequence[tuple[str, int]]) -> None:
    keys, counts = (list(column) for column in zip(*dict(rows).items(), strict=True))
    await conn.execute(
        "INSERT INTO line_health.total SELECT *, pg_backend_pid() FROM"
        " unnest(%b::text[], %b::bigint[]) ON CONFLICT (key) DO UPDATE"
        " SET records = excluded.records, pid = excluded.pid",
        [keys, counts],
    )
    await conn.execute("SELECT pg_sleep(%s)", [len(rows) * RECORD_MS / 1000])


async def _make_topic(bootstrap: str, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(name, PARTITIONS, 1)])
    await admin.close()


def _topic(name: str) -> Topic:
    return Topic(name, "key", PARTITIONS, 3_600_000, "", "")


def _folded(url: str) -> int:
    return int(_query(url, "SELECT coalesce(sum(records), 0) FROM line_health.total")[0][0])


def _query(url: str, statement: str) -> list[tuple[int, ...]]:
    with psycopg.connect(url) as conn:
        return conn.execute(statement).fetchall()  # type: ignore[arg-type]


def _be_instance(bootstrap: str, url: str, name: str) -> None:
    settings = FoldSettings(
        kafka_bootstrap=bootstrap, database_url=SecretStr(as_role(url, "line_health"))
    )
    asyncio.run(
        run_fold(
            settings,
            Health("line_health"),
            service="line_health",
            fold=_Counts(),
            write=_write,
            owned=[_topic(name)],
        )
    )


if __name__ == "__main__":
    _be_instance(*sys.argv[1:4])
