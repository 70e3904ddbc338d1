"""Values of one signal that share a time (13, 14): none is lost as a duplicate, none is doubled,
and the newest is the last to come."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import replace

import pytest

from aurelian.backbone.topics import SAMPLES
from aurelian.model.sample import BAD, Flag, ValueType
from tests import oracle
from tests.integration.historian.stored_in_memory import (
    encoded,
    open_store,
    record,
    sample,
    signal,
)

SHARED = int(Flag.TIME_SHARED)


async def test_a_logger_whose_clock_starts_anew_keeps_every_value_of_its_second_start(
    database_url: str,
) -> None:
    async with open_store(database_url, [SAMPLES]) as store:
        first = [sample("level", 1.0 + n, n * 1_000_000) for n in range(15)]
        second = [sample("level", 101.0 + n, n * 1_000_000) for n in range(15)]
        await store.put(record(SAMPLES, encoded(*first, sequence=1)))
        await store.put(record(SAMPLES, encoded(*second, sequence=1, boot=2)))
        assert store.values("level") == [
            row
            for n in range(15)
            for row in ((n * 1_000_000, 0, 1 + n, 0), (n * 1_000_000, 1, 101 + n, SHARED))
        ]
        assert oracle.ledger_totals(database_url)["duplicate"] == 0


async def test_local_times_of_the_hour_that_comes_twice_keep_both_passes(database_url: str) -> None:
    quarter = 15 * 60 * 1_000_000
    async with open_store(database_url, [SAMPLES]) as store:
        # 02:00 ... 02:45, and 02:00 ... 02:45 once more, one message each.
        for n in range(8):
            await store.put(
                record(SAMPLES, encoded(sample("t", 20.0 + n, n % 4 * quarter), sequence=n + 1))
            )
        assert [row[:3] for row in store.values("t")] == [
            (n * quarter, sub, 20 + n + 4 * sub) for n in range(4) for sub in (0, 1)
        ]


@pytest.mark.parametrize("together", [True, False])
async def test_the_newest_of_values_with_one_time_is_the_last_to_come(
    database_url: str, together: bool
) -> None:
    async with open_store(database_url, [SAMPLES]) as store:
        # A gateway that forgets gives each of them ordinal 0 again.
        states = [sample("state", value) for value in (6.0, 9.0)]
        if together:
            await store.put(*(record(SAMPLES, encoded(each)) for each in states))
        else:
            for each in states:
                await store.put(record(SAMPLES, encoded(each)))
        assert store.values("state") == [(0, 0, 6, 0), (0, 1, 9, SHARED)]
        last = store.ask("SELECT first, last, last_sub, count FROM historian.rollup_minute")
        assert last == [(6.0, 9.0, 1, 2)]


async def test_the_third_of_9_4_9_is_stored_where_the_gateway_counts_them(
    database_url: str,
) -> None:
    async with open_store(database_url, [SAMPLES]) as store:
        sent = [sample("state", value, sub=sub) for sub, value in enumerate((9.0, 4.0, 9.0))]
        for gateway in ("g", "second"):  # the same once more from a second gateway: nothing new
            await store.put(
                *(
                    record(SAMPLES, encoded(each, sequence=n + 1, gateway=gateway))
                    for n, each in enumerate(sent)
                )
            )
        assert [row[2] for row in store.values("state")] == [9, 4, 9]
        assert store.ask("SELECT last, count FROM historian.rollup_hour") == [(9.0, 3)]
        totals = oracle.ledger_totals(database_url)
        assert (totals["stored"], totals["duplicate"]) == (3, 3)


async def test_the_same_content_under_any_ordinal_of_its_time_is_a_duplicate(
    database_url: str,
) -> None:
    async with open_store(database_url, [SAMPLES]) as store:
        await store.put(record(SAMPLES, encoded(sample("x", 1.0), sample("x", 2.0, sub=1))))
        for value in (2.0, 1.0, 3.0, 3.0, 2.0):
            await store.put(record(SAMPLES, encoded(sample("x", value))))
        again = encoded(*(sample("x", value) for value in (3.0, 4.0, 1.0, 4.0)))
        await store.put(record(SAMPLES, again))
        assert [row[2] for row in store.values("x")] == [1, 2, 3, 4]
        assert oracle.ledger_totals(database_url)["duplicate"] == 7


async def test_what_counts_as_another_content(database_url: str) -> None:
    big = 2**60
    of_text, of_json = signal("text", ValueType.TEXT), signal("json", ValueType.JSON)
    of_bytes = signal("bytes", ValueType.BYTES)
    number = sample("number", 1.0)
    async with open_store(database_url, [SAMPLES]) as store:
        contents = [
            number,
            replace(number, status=BAD),
            replace(number, status=BAD | 0x400),  # as a server's history says it: the same
            replace(number, value=None, type=ValueType.NULL, status=BAD),
            replace(number, value=True, type=ValueType.BOOL),
            replace(number, value=1, type=ValueType.INT64),
            replace(number, value=-0.0),
            replace(number, value=0.0),
            sample("big", big),
            sample("big", big + 1),
            sample(of_text, "a"),
            sample(of_text, "A"),
            replace(sample(of_json, "[1]"), type=ValueType.JSON),
            replace(sample(of_json, "[1.0]"), type=ValueType.JSON),
            replace(sample(of_bytes, b"\x00"), type=ValueType.BYTES),
            replace(sample(of_bytes, b"\x00\x00"), type=ValueType.BYTES),
        ]
        distinct = len(contents) - 1
        await store.put(*(record(SAMPLES, encoded(each)) for each in contents))
        assert oracle.count_rows(database_url) == distinct
        for each in contents:
            await store.put(record(SAMPLES, encoded(each)))
        assert oracle.count_rows(database_url) == distinct
        assert len(store.values("number")) == 7
        totals = oracle.ledger_totals(database_url)
        assert (totals["stored"], totals["duplicate"]) == (distinct, 1 + len(contents))
        # The rollup of big integers takes those under a new `sub` as well.
        rollup = store.ask(
            "SELECT r.count, r.last_sub FROM historian.rollup_minute AS r JOIN historian.signal "
            "AS s ON s.key = r.signal WHERE s.name = 'big'"
        )
        assert rollup == [(2, 1)]


async def test_equal_values_of_replaced_times_are_told_apart_by_the_times_they_came_with(
    database_url: str,
) -> None:
    """Also under one ordinal, as a gateway that was started anew gives it."""
    kinds = [
        sample("number", 0.0),
        sample(signal("text", ValueType.TEXT), "idle"),
        sample("big", 2**60),
    ]
    rows = [
        replace(each, source_time=1 + n, flags=Flag.TIME_REPLACED, sub=n % 3)
        for each in kinds
        for n in range(9)
    ]
    async with open_store(database_url, [SAMPLES]) as store:
        for part in (rows[::2], rows, rows[1::2]):
            await store.put(*(record(SAMPLES, encoded(each)) for each in part))
        assert oracle.count_rows(database_url) == len(rows)
        times = store.ask(
            "SELECT count(DISTINCT source_time) FROM historian.sample_number JOIN "
            "historian.signal ON key = signal WHERE name = 'number'"
        )
        assert times == [(9,)]
        assert oracle.ledger_totals(database_url)["duplicate"] == len(rows)


@pytest.mark.parametrize("seed", range(4))
async def test_any_order_of_contents_at_few_times_keeps_each_once(
    database_url: str, seed: int
) -> None:
    """Whatever a forgetful gateway sends: every distinct (time, value) is stored, the ledger and
    the rollups agree, and sending all of it again changes nothing."""
    drawn = random.Random(seed)
    sent = [
        sample(f"s{drawn.randrange(2)}", float(drawn.randrange(6)), drawn.randrange(3))
        for _ in range(300)
    ]
    distinct = {(s.signal.id, s.source_time, s.value) for s in sent}
    async with open_store(database_url, [SAMPLES]) as store:
        for _ in range(2):
            left = list(sent)
            while left:
                size = drawn.choice((1, 2, 7, 40))
                part, left = left[:size], left[size:]
                await store.put(record(SAMPLES, encoded(*part)))
            rows = [(n, *row) for n in ("s0", "s1") for row in store.values(n)]
            assert Counter((f"id-{n}", at + oracle.START_US, v) for n, at, _, v, _ in rows) == (
                Counter(distinct)
            )
            assert len({(n, at, sub) for n, at, sub, *_ in rows}) == len(rows)
        totals = oracle.ledger_totals(database_url)
        assert totals["stored"] == len(distinct)
        assert totals["stored"] + totals["duplicate"] == 600 == totals["received"]
        assert store.ask("SELECT sum(count) FROM historian.rollup_hour") == [(len(distinct),)]
        newest = {n: max(store.values(n))[2] for n in ("s0", "s1")}
        last = store.ask(
            "SELECT s.name, r.last FROM historian.rollup_hour AS r JOIN historian.signal AS s ON "
            "s.key = r.signal"
        )
        assert dict(last) == newest  # type: ignore[arg-type]


async def test_an_ordinal_beyond_what_the_store_counts_is_taken_as_its_largest(
    database_url: str,
) -> None:
    async with open_store(database_url, [SAMPLES]) as store:
        sent = encoded(sample("x", 1.0, sub=2**32 - 1), sample("x", 2.0, sub=2**31))
        await store.put(record(SAMPLES, sent))
        assert [row[2] for row in store.values("x")] == [1, 2]


async def test_very_many_values_of_one_time_are_stored_in_time_that_grows_with_their_number(
    database_url: str,
) -> None:
    many = 30_000
    async with open_store(database_url, [SAMPLES]) as store:
        began = time.monotonic()
        counted = [sample("x", float(n), sub=n) for n in range(many)]
        forgotten = [sample("x", float(n)) for n in range(many // 2, many + many // 2)]
        for sent in (counted, forgotten):
            await store.put(record(SAMPLES, encoded(*sent)))
        assert store.ask("SELECT count(*), max(sub) FROM historian.sample_number") == [
            (many + many // 2, many + many // 2 - 1)
        ]
        assert time.monotonic() - began < 60  # compared one by one it takes many minutes
