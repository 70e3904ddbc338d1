"""The historian's pure parts: rows, rollups, COPY blocks, and what proves completeness."""

from __future__ import annotations

import struct
from collections import defaultdict
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aurelian.model.sample import BAD, Flag, Sample, Signal, ValueType
from aurelian.model.time import HOUR_US
from historian.columns import SignalKeys, TableColumns
from historian.copy_format import PG_EPOCH_US, encode_numeric, number_blocks, object_blocks
from historian.delivery import StreamProgress
from historian.hour_counts import count_by_hour
from historian.rollups import by_hour, by_minute
from historian.sample_columns import make_columns
from tests import oracle

NOW = oracle.START_US


def test_rows_of_the_oracle_are_what_it_expects() -> None:
    samples = oracle.make_samples(seed=1, count=5_000)
    expected = oracle.expect(samples)
    rows = _rows(samples)
    assert len(rows.numbers) + len(rows.texts) + len(rows.others) == len(expected)
    assert sum(rows.repeated.values()) == len(samples) - len(expected)
    assert sum(count_by_hour(rows.numbers).values()) == len(rows.numbers)


def test_no_batches_make_no_rows() -> None:
    rows = make_columns([], NOW)
    assert not len(rows.numbers) and not len(rows.texts) and not len(rows.others)
    minutes = by_minute(rows.numbers)
    assert len(minutes) == len(by_hour(minutes)) == 0
    assert list(number_blocks(rows.numbers)) == []


def test_of_samples_with_one_key_the_first_is_kept_and_other_contents_wait_for_a_free_sub() -> None:
    rows = _rows(
        [
            *(_sample(1.0, 5), _sample(2.0, 5), _sample(3.0, 5, sub=1), _sample(1.0, 5)),
            *(_sample(1.0, 5, status=BAD), _sample(1.0, 5, status=0x400), _sample(-0.0, 6)),
            *(_sample(0.0, 6), _sample(None, 7), _sample(None, 7)),
        ]
    )
    assert [str(value) for value in rows.numbers.value] == ["1.0", "3.0", "-0.0", "nan"]
    # Another value, another quality, the other zero; the bits that comment on a status are none.
    assert rows.shared_numbers.value.tolist() == [2.0, 1.0, 0.0]
    assert sum(rows.repeated.values()) == 3
    assert sum(rows.arrived.values()) == 10


def test_a_repeat_is_no_row_and_counts_as_a_duplicate() -> None:
    samples = [_sample(1.0, 5), _sample(2.0, 6), _sample(3.0, 7, signal=1)]
    beats = [replace(each, flags=Flag.HEARTBEAT, gateway_time=NOW + 9) for each in samples[1:]]
    text = replace(_sample(None, 8, signal=2, kind=ValueType.TEXT), value="a", type=ValueType.TEXT)
    beats.append(replace(text, flags=Flag.HEARTBEAT))
    rows = _rows([*samples, text, *beats])
    assert rows.numbers.value.tolist() == [1.0, 2.0, 3.0]
    assert list(rows.texts.objects) == ["a"]
    minutes = by_minute(rows.numbers)
    assert (minutes.count.sum(), minutes.bad.sum()) == (3, 0)
    assert (sum(rows.arrived.values()), sum(rows.repeated.values())) == (7, 3)
    # In a transaction of their own too, where the value that they repeat is in the table alone.
    rows = _rows(beats)
    assert not len(rows.numbers) and not len(rows.texts) and not len(rows.shared_numbers)
    assert (sum(rows.arrived.values()), sum(rows.repeated.values())) == (3, 3)


def test_rows_stand_at_the_time_that_the_plant_model_chose_and_keep_the_sources() -> None:
    at_server = replace(_sample(1.0, NOW - 9, server=NOW - 5), flags=Flag.AT_SERVER_TIME)
    at_gateway = replace(_sample(2.0, NOW - 9, signal=1), flags=Flag.AT_GATEWAY_TIME)
    rows = _rows([at_server, at_gateway]).numbers
    assert rows.time.tolist() == [at_server.time, at_gateway.time] == [NOW - 5, NOW]
    assert rows.source_time.tolist() == [NOW - 9, NOW - 9]
    assert not (rows.flags & Flag.TIME_REPLACED).any()


def test_what_arrived_is_counted_by_gateway_and_boot() -> None:
    batches = oracle.make_batches([_sample(1.0, NOW + n) for n in range(5)], sizes=(5,))
    keys = SignalKeys(np.zeros(1, np.int32), np.full(1, 3, np.int32), np.zeros(1, np.bool_))
    others = [replace(batches[0], gateway="b"), replace(batches[0], boot=7)]
    rows = make_columns([(batch, keys) for batch in (*batches, *others, *batches)], NOW)
    assert rows.origins == [("oracle-1", oracle.BOOT), ("b", oracle.BOOT), ("oracle-1", 7)]
    hour = NOW - NOW % HOUR_US
    assert rows.arrived == {(0, 3, hour): 10, (1, 3, hour): 5, (2, 3, hour): 5}


def test_times_that_nothing_can_mean_are_replaced_by_the_gateways() -> None:
    received = NOW
    times = [
        0,
        -1,
        -(2**63),
        2**63 - 1,
        received + HOUR_US + 10,
        received + HOUR_US,
        received - 10**15,
    ]
    rows = _rows([_sample(1.0, time, received=received + n) for n, time in enumerate(times)])
    flagged = {
        (int(t), bool(f & Flag.TIME_REPLACED))
        for t, f in zip(rows.numbers.time, rows.numbers.flags, strict=True)
    }
    assert flagged == {(received + n, True) for n in range(5)} | {
        (received + HOUR_US, False),
        (received - 10**15, False),
    }


def test_doubles_that_are_no_numbers_become_nulls_with_a_bad_status() -> None:
    rows = _rows([_sample(float("nan"), NOW), _sample(float("inf"), NOW + 1, status=0x803C0000)])
    assert np.isnan(rows.numbers.value).all()
    assert rows.numbers.type.tolist() == [ValueType.NULL] * 2
    assert rows.numbers.status.tolist() == [BAD, 0x803C0000]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.integers(0, 3 * HOUR_US),
            st.integers(0, 2),
            st.one_of(st.none(), st.floats(-1e6, 1e6), st.just(float("nan"))),
            st.sampled_from([0, 0x40000000, BAD]),
        ),
        max_size=60,
    )
)
def test_rollups_are_what_the_rows_say(
    drawn: list[tuple[int, int, int, float | None, int]],
) -> None:
    samples = [
        _sample(value, NOW + offset, signal=n, sub=sub, status=status, received=NOW + 4 * HOUR_US)
        for n, offset, sub, value, status in drawn
    ]
    numbers = _rows(samples).numbers
    minutes = by_minute(numbers)
    for rollup, width in ((minutes, 60_000_000), (by_hour(minutes), HOUR_US)):
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for i, (key, time) in enumerate(
            zip(numbers.signal.tolist(), numbers.time.tolist(), strict=True)
        ):
            groups[key, time - time % width].append(i)
        assert list(zip(rollup.signal.tolist(), rollup.bucket.tolist(), strict=True)) == sorted(
            groups
        )
        for i, rows in enumerate(groups[key] for key in sorted(groups)):
            good = [r for r in rows if not np.isnan(numbers.value[r]) and numbers.status[r] < BAD]
            assert (rollup.count[i], rollup.bad[i]) == (len(good), len(rows) - len(good))
            if good:
                values = numbers.value[good]
                assert (rollup.min[i], rollup.max[i]) == (values.min(), values.max())
                assert (rollup.first[i], rollup.last[i]) == (values[0], values[-1])
                assert rollup.first_time[i] == numbers.time[good[0]]
                assert rollup.last_sub[i] == numbers.sub[good[-1]]
                exact = float(sum(map(Fraction, values.tolist())))
                assert abs(rollup.sum[i] - exact) <= 1e-6


def test_blocks_have_the_bytes_of_postgresqls_binary_format() -> None:
    samples = [
        _sample(1.5, NOW),
        _sample(None, NOW + 1, server=NOW),
        _sample(2.5, -5, received=NOW + 2, status=BAD),
        _sample(3.5, NOW + 3, server=NOW),
    ]
    rows = [row for block in number_blocks(_rows(samples).numbers) for row in _parse(block)]
    by_time = {struct.unpack(">q", row[1] or b"")[0] + PG_EPOCH_US: row for row in rows}
    assert sorted(by_time) == [NOW, NOW + 1, NOW + 2, NOW + 3]
    assert [field is None for field in by_time[NOW]] == [False] * 3 + [True, True] + [False] * 5
    assert by_time[NOW][9] == struct.pack(">d", 1.5)
    assert by_time[NOW + 1][9] is None and by_time[NOW + 1][4] == struct.pack(
        ">q", NOW - PG_EPOCH_US
    )
    assert by_time[NOW + 2][3] == struct.pack(">q", -5 - PG_EPOCH_US)
    assert by_time[NOW + 2][6] == struct.pack(">q", BAD)


def test_blocks_of_texts_carry_each_text_with_its_row() -> None:
    samples = [
        _sample(f"läuft {n}", NOW + n, kind=ValueType.TEXT, server=NOW if n % 2 else 0)
        for n in range(7)
    ]
    texts = _rows(samples).texts
    values = [[str(text).encode() for text in texts.objects]]
    rows = [row for block in object_blocks(texts, values, ordinal=0) for row in _parse(block)]
    found = {struct.unpack(">i", row[0] or b"")[0]: (row[-1] or b"").decode() for row in rows}
    assert found == {n: f"läuft {n}" for n in range(7)}


@given(st.integers(-(10**40), 10**40))
def test_integers_become_postgresqls_numeric(value: int) -> None:
    digits, weight, sign, scale = struct.unpack_from(">hhHh", encode_numeric(value))
    read = struct.unpack_from(f">{digits}H", encode_numeric(value), 8)
    whole = sum(digit * 10_000 ** (weight - n) for n, digit in enumerate(read))
    assert (whole if sign == 0 else -whole) == value and scale == 0


@given(st.lists(st.integers(1, 30), max_size=60))
def test_a_stream_knows_what_is_stored_in_whatever_order_it_comes(sequences: list[int]) -> None:
    progress, stored = StreamProgress("owner"), set[int]()
    for sequence in sequences:
        assert progress.accept(sequence) == (sequence not in stored)
        stored.add(sequence)
        first_missing = next(n for n in range(1, 100) if n not in stored)
        assert progress.stored_to == first_missing - 1
        ranges = list(zip(progress.beyond[::2], progress.beyond[1::2], strict=True))
        assert {n for a, b in ranges for n in range(a, b + 1)} == {
            n for n in stored if n > progress.stored_to
        }
        assert all(b + 1 < c for (_, b), (c, _) in pairwise(ranges))
        assert progress.missing() == len(set(range(1, max(stored) + 1)) - stored)


def test_a_hole_that_is_filled_is_reported_once() -> None:
    progress = StreamProgress("owner")
    for sequence in (1, 2, 5):
        progress.accept(sequence)
    assert progress.take_closed() == []
    progress.accept(3)
    progress.accept(4)
    assert progress.take_closed() == [2, 3]
    assert progress.take_closed() == []
    assert (progress.stored_to, progress.beyond) == (5, [])


def test_a_hole_that_is_given_up_holds_nothing_back_and_takes_what_still_comes() -> None:
    progress = StreamProgress("owner")
    for sequence in (1, 2, 6, 7, 9):
        progress.accept(sequence)
    assert progress.give_up() == (3, 5)
    assert (progress.settled, progress.given_up) == ((7, (9, 9)), [3, 5])
    assert [progress.accept(n) for n in (4, 4, 2, 7, 3, 5, 5, 8)] == [
        *(True, False, False, False, True, True, False, True)
    ]
    assert (progress.settled, progress.given_up) == ((9, ()), [])
    assert progress.give_up() is None


@given(
    st.lists(st.integers(1, 20), max_size=20),
    st.lists(st.tuples(st.integers(1, 25), st.integers(0, 8)), max_size=4),
    st.lists(st.integers(1, 30), max_size=20),
)
def test_ranges_that_a_gateway_lost_count_as_settled_and_nothing_is_stored_twice(
    before: list[int], lost: list[tuple[int, int]], after: list[int]
) -> None:
    progress, stored, settled = StreamProgress("owner"), set[int](), set[int]()
    for sequence in before:
        assert progress.accept(sequence) == (sequence not in stored)
        stored.add(sequence)
    settled |= stored
    for first, more in lost:
        progress.give_up_range(first, first + more)
        settled |= set(range(first, first + more + 1))
    for sequence in after:
        assert progress.accept(sequence) == (sequence not in stored)
        stored.add(sequence)
        settled.add(sequence)
    to = next(n for n in range(1, 100) if n not in settled) - 1
    ranges = zip(progress.beyond[::2], progress.beyond[1::2], strict=True)
    assert progress.stored_to == to
    assert {n for a, b in ranges for n in range(a, b + 1)} == {n for n in settled if n > to}


def _rows(samples: list[Sample]) -> TableColumns:
    batches = oracle.make_batches(samples)
    ids = {
        signal.id: n
        for n, signal in enumerate(sorted({s.signal for s in samples}, key=lambda s: s.id))
    }
    signal_keys = [
        SignalKeys(
            np.array([ids[s.id] for s in batch.signals], np.int32),
            np.zeros(len(batch.signals), np.int32),
            np.zeros(len(batch.signals), np.bool_),
        )
        for batch in batches
    ]
    return make_columns(list(zip(batches, signal_keys, strict=True)), NOW)


def _sample(
    value: object,
    time: int,
    *,
    signal: int = 0,
    sub: int = 0,
    status: int = 0,
    received: int = NOW,
    server: int = 0,
    kind: ValueType = ValueType.DOUBLE,
) -> Sample:
    of = Signal(f"s{signal}", "a", f"oracle/site/area/line/unit/s{signal}", kind)
    return Sample(
        of,
        value,
        ValueType.NULL if value is None else kind,
        time,
        received,
        server,
        status,
        Flag.NONE,
        sub,  # type: ignore[arg-type]
    )


def _parse(block: bytes) -> list[list[bytes | None]]:
    rows, place = [], 0
    while place < len(block):
        (fields,) = struct.unpack_from(">h", block, place)
        place += 2
        row: list[bytes | None] = []
        for _ in range(fields):
            (length,) = struct.unpack_from(">i", block, place)
            place += 4
            row.append(None if length < 0 else block[place : place + length])
            place += max(length, 0)
        rows.append(row)
    return rows
