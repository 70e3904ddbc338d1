"""The stateful consumer: each record counts once over restarts, crashes, new logs and moves of
partitions."""

import asyncio
import contextlib
import itertools
import json
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from pydantic import SecretStr

from aurelian.backbone.client import Consumer, Producer
from aurelian.backbone.topics import LINE_EVENTS, Topic, create_topics
from aurelian.db.engine import as_role, connect
from aurelian.db.logs import declare_log
from aurelian.db.offsets import claim
from aurelian.events.schemas import LINE_STATE_CHANGED
from aurelian.fold.contract import Effects, FoldSettings, Outgoing, State
from aurelian.fold.run import run_fold
from aurelian.fold.store import FoldStore
from aurelian.model.codec import DecodeError
from aurelian.model.record import Partition, Record
from aurelian.runtime.health import Health
from tests.builders import make_unchecked_event
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("quick_fold")

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


@pytest.fixture
async def bench(database_url: str, kafka: str) -> Bench:
    bench = Bench(database_url, kafka)
    await bench.make()
    return bench


async def test_a_restart_goes_on_with_the_committed_state_at_the_committed_offset(
    bench: Bench,
) -> None:
    await bench.send_numbers(10)
    async with bench.folding(Sums()):
        await until(lambda: bench.total() == 10)
    await bench.send_numbers(5)
    second = Sums()
    async with bench.folding(second):
        await until(lambda: bench.total() == 15)
    assert second.sums["a"]["sum"] == 15
    assert bench.events() == 15


async def test_a_fold_is_ready_although_records_come_faster_than_its_end_can_be_asked_for(
    bench: Bench,
) -> None:
    numbers = itertools.count()

    async def keep_sending(producer: Producer) -> None:
        while True:
            await producer.send(bench.numbers, "a", f"{next(numbers)}:1".encode())

    async with Producer(bench.settings, client_id="test") as producer:
        senders = [asyncio.create_task(keep_sending(producer)) for _ in range(20)]
        try:
            async with bench.folding(Sums()) as health:
                await until(lambda: health.ready is None, "ready", 10)
        finally:
            for each in senders:
                each.cancel()
            await asyncio.gather(*senders, return_exceptions=True)


async def test_records_that_were_folded_but_not_committed_are_folded_again_with_the_same_event_ids(
    bench: Bench,
) -> None:
    failures = 2

    async def fails_at_first(conn: psycopg.AsyncConnection, rows: Sequence[Row]) -> None:
        nonlocal failures
        await write(conn, rows)
        if failures:
            failures -= 1
            raise psycopg.OperationalError("connection lost before the commit")

    await bench.send_numbers(10)
    async with bench.folding(Sums(), fails_at_first):
        await until(lambda: bench.total() == 10)
    assert failures == 0
    assert bench.events() == 10


async def test_a_fenced_owner_commits_nothing_and_begins_anew_from_the_committed_state(
    bench: Bench,
) -> None:
    await bench.send_numbers(10)
    fold = Sums()
    async with bench.folding(fold):
        await until(lambda: bench.total() == 10)
        async with await connect(bench.url, autocommit=True) as other:
            partitions = [Partition(bench.numbers.name, n) for n in range(2)]
            await claim(other, "line_health", "fold", "log-1", partitions, {})
        await bench.send_numbers(5)
        await until(lambda: bench.total() == 15)
    assert bench.events() == 15
    epochs = bench.query("SELECT max(owner_epoch) FROM line_health.kafka_offset")
    assert epochs[0][0] >= 3


async def test_a_declared_new_log_is_read_from_its_start_and_known_records_change_nothing(
    bench: Bench,
) -> None:
    await bench.send_numbers(10)
    async with bench.folding(Sums()) as health:
        await until(lambda: bench.total() == 10 and health.ready is None)
        declare_log(bench.url, "log-2")
        await bench.send_numbers(5)
        await until(lambda: bench.total() == 15)
        await until(
            lambda: (
                bench.query(
                    "SELECT sum(next_offset) FROM line_health.kafka_offset WHERE log_id = 'log-2'"
                )[0][0]
                == 15
            )
        )
    assert bench.total() == 15
    assert bench.events() == 15


async def test_a_log_that_changed_undeclared_halts_its_partition(bench: Bench) -> None:
    await bench.send_numbers(10)
    async with bench.folding(Sums()):
        await until(lambda: bench.total() == 10)
    with psycopg.connect(bench.url) as conn:
        conn.execute("UPDATE line_health.kafka_offset SET last_hash = 1 WHERE next_offset > 0")
    await bench.send_numbers(5)
    async with bench.folding(Sums()) as health:
        await until(lambda: health.ready is not None and "halt" in health.ready)
        assert bench.total() == 10
    async with bench.folding(Sums()) as health:
        await until(lambda: health.ready is not None and "halt" in health.ready)
        declare_log(bench.url, "log-2")
        await until(lambda: bench.total() == 15)


async def test_a_log_that_is_shorter_than_it_was_halts_its_partition(bench: Bench) -> None:
    await bench.send_numbers(10)
    async with bench.folding(Sums()):
        await until(lambda: bench.total() == 10)
    with psycopg.connect(bench.url) as conn:
        conn.execute("UPDATE line_health.kafka_offset SET next_offset = 1000 WHERE next_offset > 0")
    async with bench.folding(Sums()) as health:
        await until(lambda: health.ready is not None and "halt" in health.ready)
    assert "consumed up to 1000" in str(
        bench.query("SELECT halted FROM line_health.kafka_offset WHERE halted <> ''")
    )


async def test_records_deleted_before_they_were_folded_are_counted_and_the_rest_is_folded(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.send_numbers(10)
    async with bench.folding(Sums()):
        await until(lambda: bench.total() == 10)
    await bench.send_numbers(10)
    (number,) = (n for n, end in (await bench.ends()).items() if end == 20)
    await bench.delete_before(number, 15)
    async with bench.folding(Sums()) as health:
        await until(lambda: bench.total() == 15 and health.ready is None)
        assert [
            record.fields["lost"] for record in caplog.records if "deleted" in record.message
        ] == [5]  # type: ignore[attr-defined]
        caplog.clear()
    async with bench.folding(Sums()) as health:
        await bench.send_numbers(1)
        await until(lambda: bench.total() == 16 and health.ready is None)
    assert not [record for record in caplog.records if "deleted" in record.message]


async def test_a_log_that_was_replaced_undeclared_halts_its_partition(bench: Bench) -> None:
    await bench.send_numbers(10)
    async with bench.folding(Sums()):
        await until(lambda: bench.total() == 10)
    await bench.replace_log()
    bench.sent = 100
    await bench.send_numbers(20)
    async with bench.folding(Sums()) as health:
        await until(lambda: health.ready is not None and "halt" in health.ready)
        assert bench.total() == 10
        declare_log(bench.url, "log-2")
        await until(lambda: bench.total() == 30)


async def test_the_state_that_the_version_before_kept_is_taken_over(bench: Bench) -> None:
    state = json.dumps({"partition": 0, "state": {"sum": 40, "seen": ["1"]}})
    with psycopg.connect(bench.url) as conn:
        conn.execute("INSERT INTO line_health.fold_state VALUES ('fold', 'a', %s, now())", [state])
    await bench.send_numbers(3)
    async with bench.folding(Sums()):
        await until(lambda: bench.total() == 42)
    assert bench.query("SELECT count(*) FROM line_health.fold_state") == [(0,)]
    parts = bench.query("SELECT part, content FROM line_health.fold_part ORDER BY part")
    assert parts == [("seen", '["1","2","3"]'), ("sum", "42")]


async def test_shared_topics_are_learned_to_their_end_before_the_first_owned_record(
    bench: Bench,
) -> None:
    await bench.send_numbers(10)
    await bench.send(bench.factors, *[("f", str(factor)) for factor in range(1, 101)])
    async with bench.folding(Sums(), shared=[bench.factors]):
        await until(lambda: bench.total() == 1000)
        await bench.send(bench.factors, ("f", "7"))
        await asyncio.sleep(0)


async def test_unreadable_records_are_passed_over(bench: Bench) -> None:
    await bench.send(bench.numbers, ("a", "1:1"), ("a", "nonsense"), ("a", "2:1"))
    async with bench.folding(Sums()):
        await until(lambda: bench.total() == 2)


async def test_a_shared_record_that_nobody_thought_of_is_passed_over(bench: Bench) -> None:
    """`learn` has a record raise what no contract names (here int() of a word)."""
    await bench.send(bench.factors, ("f", "a word"), ("f", "3"))
    await bench.send(bench.numbers, ("a", "1:1"))
    async with bench.folding(Sums(), shared=[bench.factors]):
        await until(lambda: bench.total() == 3)


async def test_time_passes_for_keys_that_have_no_new_records_after_a_restart(bench: Bench) -> None:
    await bench.send_numbers(3)
    async with bench.folding(Sums()):
        await until(lambda: bench.total() == 3)
    second = Sums()
    async with bench.folding(second):
        await until(lambda: second.ticks.get("a", 0) >= 1)


async def test_two_instances_share_the_partitions_and_one_takes_over_from_the_other(
    database_url: str, kafka: str
) -> None:
    bench = Bench(database_url, kafka)
    await bench.make()
    keys = [f"k{n}" for n in range(8)]
    first, second = Sums(), Sums()

    def all_at(sum: int) -> bool:
        return all(bench.total(key) == sum for key in keys)

    group: dict[str, Any] = {"exclusive": False, "consumer": uuid.uuid4().hex}
    async with bench.folding(first, **group):
        await bench.send_numbers(5, keys)
        await until(lambda: all_at(5))
        async with bench.folding(second, **group):
            await until(
                lambda: (
                    bool(first.sums)
                    and bool(second.sums)
                    and not set(first.sums) & set(second.sums)
                ),
                "each to own a partition alone",
                30,
            )
            await bench.send_numbers(5, keys)
            await until(lambda: all_at(10))
        await bench.send_numbers(5, keys)
        await until(lambda: all_at(15), timeout_s=30)
        assert set(first.sums) == set(keys)
    assert bench.events() == 15 * len(keys)


async def test_an_exclusive_fold_has_one_owner_and_one_that_stands_by(bench: Bench) -> None:
    more = Topic(bench.factors.name, "key", 1, 3_600_000, "", "")
    first, second = Sums(), Sums()
    async with bench.folding(second_owner := Sums(), owned=[bench.numbers, more]):
        await bench.send_numbers(3)
        await bench.send(more, ("a", "100:1"))
        await until(lambda: bench.total() == 4)
        async with bench.folding(second, owned=[bench.numbers, more]) as health:
            await until(lambda: "standing by" in str(health.ready))
            assert not second.sums
    async with bench.folding(first, owned=[bench.numbers, more]):
        await bench.send_numbers(3)
        await until(lambda: bench.total() == 7)
    assert second_owner.sums["a"]["sum"] == 4
    assert first.sums["a"]["sum"] == 7


async def test_several_owned_topics_need_one_owner(bench: Bench) -> None:
    with pytest.raises(ValueError, match="exclusive"):
        await run_fold(
            bench.settings,
            Health("line_health"),
            service="line_health",
            fold=Sums(),
            write=write,
            owned=[bench.numbers, bench.factors],
        )


async def test_four_instances_under_load_commit_beside_each_other_without_deadlock(
    database_url: str, kafka: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each does a share of its own, and no commit is tried again. What 1, 2 and 4 reach, as
    processes: 482, 920 and 1,505 records/s at 2 ms of waiting a record on two cores, by `make bench
    BENCH=fold_instances`."""
    bench = Bench(database_url, kafka, partitions=8)
    await bench.make()
    keys = [f"key-{n}" for n in range(32)]
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    folds = [Sums() for _ in range(4)]
    each_owns_some, two_write = asyncio.Event(), asyncio.Event()
    writing = 0
    shares: dict[int, set[str]] = {}  # process id in the database -> keys that it wrote

    async def write_beside_another(conn: psycopg.AsyncConnection, rows: Sequence[Row]) -> None:
        """Once each instance owns partitions, end no transaction before two have been in one."""
        nonlocal writing
        await write(conn, rows)
        if not each_owns_some.is_set():
            return
        shares.setdefault(conn.info.backend_pid, set()).update(key for key, _ in rows)
        writing += 1
        try:
            if writing >= 2:
                two_write.set()
            await asyncio.wait_for(two_write.wait(), 5)
        finally:
            writing -= 1

    def spread() -> bool:
        owned = [key for fold in folds for key in fold.sums]
        return all(fold.sums for fold in folds) and sorted(owned) == sorted(keys)

    def all_at(number: int) -> Callable[[], bool]:
        total = "SELECT coalesce(sum(sum), 0) FROM line_health.total"
        return lambda: bench.query(total)[0][0] == number * len(keys)

    before = bench.query(deadlocks)[0][0]
    async with contextlib.AsyncExitStack() as stack:
        for fold in folds:
            await stack.enter_async_context(
                bench.folding(fold, write_beside_another, exclusive=False)
            )
        await bench.send_numbers(5, keys)
        await until(lambda: all_at(5)() and spread(), "each to own partitions alone", 30)
        caplog.clear()
        each_owns_some.set()
        for _ in range(9):
            await bench.send_numbers(5, keys)
        await until(all_at(50), timeout_s=40)
        again = ("folding begins anew", "folding waits", "a record fails, looking for it")
        assert not [each.message for each in caplog.records if each.message in again]
    assert two_write.is_set(), "no commits of two instances overlapped"
    assert len(shares) == 4, "an instance did nothing, or lost its connection and came again"
    assert sorted(key for share in shares.values() for key in share) == sorted(keys)
    assert bench.events() == 50 * len(keys)
    assert bench.query(deadlocks)[0][0] == before


async def test_partitions_that_go_elsewhere_while_their_state_is_loaded_end_no_instance(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The group moves them while the first instance waits for the database, which is slow."""
    keys = [f"key-{n}" for n in range(16)]
    await bench.send_numbers(1, keys)
    first, second = Sums(), Sums()
    loading, second_has_some = asyncio.Event(), asyncio.Event()
    load = FoldStore.load

    async def load_slowly(
        store: FoldStore, numbers: Sequence[int] | None
    ) -> Mapping[str, tuple[int | None, State]]:
        states = await load(store, numbers)
        if numbers and len(numbers) == 2 and not loading.is_set():
            loading.set()
            await asyncio.wait_for(second_has_some.wait(), 30)
        return states

    monkeypatch.setattr(FoldStore, "load", load_slowly)
    async with bench.folding(first, exclusive=False):
        await asyncio.wait_for(loading.wait(), 30)
        async with bench.folding(second, exclusive=False):
            await until(lambda: bool(second.sums), "the second to own a partition", 30)
            second_has_some.set()
            await until(
                lambda: bool(first.sums) and sorted([*first.sums, *second.sums]) == sorted(keys),
                "each key to be folded by one of them",
                30,
            )


async def test_instances_lock_only_what_they_claimed(bench: Bench) -> None:
    first, second = (Partition(bench.numbers.name, n) for n in range(2))
    async with await connect(bench.url) as one, await connect(bench.url) as other:
        claims = await claim(one, "line_health", "fold", "log-1", [first], {})
        more = await claim(other, "line_health", "fold", "log-1", [second], {})
        await other.execute("SET lock_timeout = '500ms'")
        await FoldStore(one, "line_health", "fold").prove_ownership("log-1", claims)
        await FoldStore(other, "line_health", "fold").prove_ownership("log-1", more)
        await other.rollback()
        with pytest.raises(psycopg.errors.LockNotAvailable):
            await claim(other, "line_health", "fold", "log-1", [first], {})


async def test_a_pause_inside_a_transaction_ends_the_session_not_the_fold(bench: Bench) -> None:
    pauses = 1

    async def pausing(conn: psycopg.AsyncConnection, rows: Sequence[Row]) -> None:
        nonlocal pauses
        await write(conn, rows)
        if pauses:
            pauses -= 1
            await conn.execute("SET LOCAL idle_in_transaction_session_timeout = '50ms'")
            pid = conn.info.backend_pid
            alive = f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}"
            await until(lambda: bench.query(alive)[0][0] == 0)

    await bench.send_numbers(10)
    async with bench.folding(Sums(), pausing):
        await until(lambda: bench.total() == 10)
    assert pauses == 0 and bench.events() == 10


async def test_a_database_that_is_read_only_after_a_fail_over_is_waited_for(bench: Bench) -> None:
    name = bench.query("SELECT current_database()")[0][0]
    others = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid()"
    )

    def turn(setting: str) -> None:
        with psycopg.connect(bench.url, autocommit=True) as conn:
            conn.execute("SET default_transaction_read_only = off")
            conn.execute(f'ALTER DATABASE "{name}" {setting}')  # type: ignore[arg-type]
            conn.execute(others)

    await bench.send_numbers(5)
    async with bench.folding(Sums()) as health:
        await until(lambda: bench.total() == 5 and health.ready is None)
        turn("SET default_transaction_read_only = on")
        await bench.send_numbers(5)
        await until(lambda: health.ready is not None)
        turn("RESET default_transaction_read_only")
        await until(lambda: bench.total() == 10)
    assert bench.events() == 10
