"""Several instances of one stateful consumer: they share partitions, stand by and take over, and
none is in the other's way."""

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psycopg
import pytest

from aurelian.backbone.topics import Topic
from aurelian.db.engine import connect
from aurelian.db.offsets import claim
from aurelian.fold.contract import State
from aurelian.fold.store import FoldStore
from aurelian.model.record import Partition
from tests.contract.fold.bench import Bench, Row, Sums, write
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("quick_fold")


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
