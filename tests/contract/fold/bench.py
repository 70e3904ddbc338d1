"""A fold over a database, a log and topics of the test's own; for the tests beside this file."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from pydantic import SecretStr

from aurelian.backbone.client import Consumer, Producer
from aurelian.backbone.topics import LINE_EVENTS, Topic, create_topics
from aurelian.db.engine import as_role
from aurelian.db.logs import declare_log
from aurelian.events.schemas import LINE_STATE_CHANGED
from aurelian.fold.contract import Effects, FoldSettings, Outgoing, State
from aurelian.fold.run import run_fold
from aurelian.model.codec import DecodeError
from aurelian.model.record import Partition, Record
from aurelian.runtime.health import Health
from tests.builders import make_unchecked_event
from tests.waiting import until

Row = tuple[str, int]


class Sums:
    """Adds up numbers by key, times the factor learned; knows a number again by its id."""

    def __init__(self, factor: int = 1) -> None:
        self.factor = factor
        self.sums: dict[str, dict[str, Any]] = {}
        self.touched: set[str] = set()
        self.ticks: dict[str, int] = {}

    def learn(self, record: Record, now: int) -> None:
        self.factor = int(record.value or b"1")

    def fold(self, record: Record, now: int) -> Effects[Row]:
        assert record.key is not None and record.value is not None
        if record.value == b"nonsense":
            raise DecodeError("nonsense")
        key, (id, number) = record.key.decode(), record.value.decode().split(":")
        state = self.sums.setdefault(key, {"sum": 0, "seen": []})
        if id in state["seen"]:
            return Effects()
        state["seen"].append(id)
        state["sum"] += int(number) * self.factor
        self.touched.add(key)
        event = make_unchecked_event(
            LINE_STATE_CHANGED,
            source="/aurelian/line_health",
            subject=key,
            owner="pilot-a",
            time=datetime(2026, 1, 5, tzinfo=UTC),
            data={"sum": state["sum"]},
            revision=int(id),
        )
        return Effects([(key, state["sum"])], [Outgoing(LINE_EVENTS, key, event)])

    def tick(self, now: int) -> Effects[Row]:
        self.ticks = {key: self.ticks.get(key, 0) + 1 for key in self.sums}
        return Effects()

    def changed(self) -> Mapping[str, State]:
        changed = {key: dict(self.sums[key]) for key in self.touched}
        self.touched = set()
        return changed

    def restore(self, states: Mapping[str, State]) -> None:
        self.sums = {key: dict(state) for key, state in states.items()}
        self.touched, self.ticks = set(), {}

    def memory(self) -> State:
        return {"factor": self.factor}

    def recall(self, memory: State) -> None:
        self.factor = int(str(memory["factor"]))


async def write(conn: psycopg.AsyncConnection, rows: Sequence[Row]) -> None:
    async with conn.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO line_health.total VALUES (%s, %s) ON CONFLICT (key) DO UPDATE SET sum = "
            "excluded.sum",
            rows,
        )


class Bench:
    """A database, a log and topics of the test's own."""

    def __init__(self, url: str, bootstrap: str, partitions: int = 2) -> None:
        self.url, self.bootstrap = url, bootstrap
        name = uuid.uuid4().hex[:10]
        self.numbers = Topic(f"test.numbers.{name}", "key", partitions, 3_600_000, "", "")
        self.factors = Topic(f"test.factors.{name}", "key", 1, None, "", "")
        self.settings = FoldSettings(
            kafka_bootstrap=bootstrap,
            database_url=SecretStr(as_role(url, "line_health")),
            commit_interval_s=0.05,
        )
        self.sent = 0

    async def make(self) -> None:
        declare_log(self.url, "log-1")
        with psycopg.connect(self.url) as conn:
            conn.execute("CREATE TABLE line_health.total (key text PRIMARY KEY, sum bigint)")
            conn.execute("GRANT ALL ON line_health.total TO aurelian_line_health")
        await create_topics(self.bootstrap)
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        await admin.create_topics(
            [NewTopic(t.name, t.partitions, 1) for t in (self.numbers, self.factors)]
        )
        await admin.close()

    async def send(self, topic: Topic, *records: tuple[str, str]) -> None:
        async with Producer(self.settings, "test") as producer:
            await producer.settle(
                [await producer.post(topic, key, value.encode()) for key, value in records]
            )

    async def send_numbers(self, count: int, keys: Sequence[str] = ("a",)) -> None:
        records = [(key, f"{self.sent + i + 1}:1") for i in range(count) for key in keys]
        self.sent += count
        await self.send(self.numbers, *records)

    @contextlib.asynccontextmanager
    async def folding(self, fold: Sums, write: Any = write, **more: Any) -> AsyncIterator[Health]:
        health = Health("line_health")
        arguments: dict[str, Any] = {"owned": [self.numbers], "exclusive": True, **more}
        task = asyncio.create_task(
            run_fold(
                self.settings, health, service="line_health", fold=fold, write=write, **arguments
            )
        )
        try:
            yield health
            assert not task.done(), task
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def ends(self) -> dict[int, int]:
        """Partition number to end offset."""
        async with Consumer(self.settings, [self.numbers], client_id="test") as consumer:
            ends = await consumer.end_offsets([Partition(self.numbers.name, n) for n in range(2)])
        return {partition.number: end for partition, end in ends.items()}

    async def delete_before(self, number: int, offset: int) -> None:
        """Do to the log of a partition what retention does."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        await admin.delete_records(
            {TopicPartition(self.numbers.name, number): RecordsToDelete(before_offset=offset)}
        )
        await admin.close()

    async def replace_log(self) -> None:
        """Delete the topic with its records and make it anew."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        await admin.delete_topics([self.numbers.name])

        async def made() -> bool:
            answer = await admin.create_topics([NewTopic(self.numbers.name, 2, 1)])
            return all(topic[1] == 0 for topic in answer.topic_errors)

        await until(made, "the topic made anew")
        await admin.close()

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as conn:
            return conn.execute(statement).fetchall()  # type: ignore[arg-type]

    def total(self, key: str = "a") -> int:
        found = self.query(f"SELECT sum FROM line_health.total WHERE key = '{key}'")
        return int(found[0][0]) if found else 0

    def events(self) -> int:
        return int(self.query("SELECT count(*) FROM line_health.event_outbox")[0][0])
