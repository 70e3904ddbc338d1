"""The stateful consumer: each record counts once over restarts, crashes and new logs."""

import asyncio
import itertools
import json
from collections.abc import Sequence

import psycopg
import pytest

from aurelian.backbone.client import Producer
from aurelian.db.engine import connect
from aurelian.db.logs import declare_log
from aurelian.db.offsets import claim
from aurelian.fold.run import run_fold
from aurelian.model.record import Partition
from aurelian.runtime.health import Health
from tests.contract.fold.bench import Bench, Row, Sums, write
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("quick_fold")


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
