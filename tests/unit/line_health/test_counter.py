"""Pieces from a machine's totals: the issue's sequences, and counters that reset, wrap, jump and
take back against a model of what was made."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from line_health.counter import Total, follow

SECOND = 1_000_000


def made(totals: list[float], every_s: float = 6.0, wraps_at: float | None = None) -> float:
    """Pieces of totals that come every so many seconds, at an ideal cycle of 6 s."""
    counter = Total(totals[0], 0)
    return sum(
        follow(counter, total, round(n * every_s * SECOND), 6.0, wraps_at)
        for n, total in enumerate(totals[1:], 1)
    )


@pytest.mark.parametrize(
    ("totals", "pieces"),
    [
        ([500, 507], 7),
        ([507, 507], 0),
        ([120000, 120001, 0, 120002, 120003], 3),  # a 0 that was no reset
        ([120000, 120001, 0, 0, 120002, 120003], 3),
        ([120000, 120001, 0, 1, 2], 3),  # a reset
        ([120001, 0], 0),  # not confirmed yet
        ([120001, 3, 4], 4),  # a reset that was seen late
        ([1020, 1019], -1),  # a piece found bad
        ([1018, 1019, 1020, 1019, 1020, 1021], 3),
        ([1020, 1015, 1016], -4),
        ([50, 46, 47], -3),  # more than a share: held, then confirmed
        ([50, 50, 50, 50, 50, 45, 46], -4),  # time enough for a reset at ten times the speed
        ([3, 0, 1, 2], 2),  # a reset of a small total
        ([120034, 0, 1, 2, 0, 1, 2, 3], 5),
        ([1020, 0, 1019, 1020], 0),  # a fault before a piece is taken back
        ([65534, 65535, 0, 1], 3),  # 16 bits
        ([65530, 4, 5], 11),
        ([65534, 0, 65535, 65535], 1),  # no wrap: it goes on above
        ([2.0**32 - 2, 1, 2], 4),  # 32 bits
        ([1000, 120000, 1001, 1002], 2),  # a jump that was a fault
        ([1000, 120000, 120001], 1),  # set to another number
        ([1000, 120000, 500000, 1001], 1),
        ([40000, 0, 0, 1], 1),
    ],
)
def test_totals_give_the_pieces_that_can_have_been_made(totals: list[float], pieces: int) -> None:
    assert made(totals) == pieces


def test_a_counter_wraps_at_its_declared_modulus_again_and_again() -> None:
    totals = [float(n % 1000) for n in range(0, 5000, 3)]
    assert made(totals, wraps_at=1000) == 4998
    assert made([998.0, 2.0, 3.0]) == 3  # not declared: a reset
    assert made([998.0, 2.0, 3.0], wraps_at=1000) == 5


def test_a_fall_after_time_enough_is_a_reset_and_one_without_is_a_correction() -> None:
    assert made([50, 45], every_s=30) == 0  # not confirmed yet
    assert made([50, 45, 46], every_s=30) == -4
    assert made([100, 60, 61], every_s=8 * 3600) == 61
    assert made([50, 2, 3], every_s=20) == 3


def test_the_time_since_bounds_what_is_counted() -> None:
    assert made([0, 5000, 5001], every_s=1) == 1
    assert made([0, 5000], every_s=8 * 3600) == 5000


def test_a_value_that_comes_again_at_the_same_time_counts_once() -> None:
    counter = Total(10, 0)
    assert [follow(counter, 11, SECOND, 6.0) for _ in range(3)] == [1, 0, 0]


@given(
    start=st.integers(0, 2**33),
    steps=st.lists(st.integers(0, 10), min_size=1, max_size=60),
    size=st.sampled_from([None, 1000, 2**16, 2**32]),
)
def test_a_counter_of_any_size_gives_what_was_made(
    start: int, steps: list[int], size: int | None
) -> None:
    actual = [start]
    for step in [*steps, 1, 1]:  # what begins anew is held until the next value
        actual.append(actual[-1] + step)
    totals = [float(each % (size or 2**60)) for each in actual]
    assert made(totals, wraps_at=size) == actual[-1] - actual[0]


@given(
    steps=st.lists(st.integers(0, 3), min_size=5, max_size=60),
    faults=st.dictionaries(st.integers(1, 58), st.sampled_from([0.0, 7e5, 1.0, 2.0**31])),
)
def test_single_faulty_readings_change_nothing(steps: list[int], faults: dict[int, float]) -> None:
    totals = [120_000.0]
    for step in steps:
        totals.append(totals[-1] + step)
    truth = totals[-1] - totals[0]
    read = list(totals)
    for place, fault in faults.items():
        alone = place - 1 not in faults and place < len(read) - 1
        if alone:
            read[place] = fault
    assert made(read) == truth


@given(
    steps=st.lists(st.integers(0, 8), min_size=2, max_size=40),
    resets=st.sets(st.integers(1, 39)),
)
def test_resets_lose_nothing_that_was_shown(steps: list[int], resets: set[int]) -> None:
    """Of totals over 100: below, a 0 between 8 and 9 may be either."""
    totals = [500.0]
    for n, step in enumerate(steps):
        totals += [0.0, float(step)] if n in resets and totals[-1] > 100 else [totals[-1] + step]
    assert made([*totals, totals[-1] + 1], every_s=60) == sum(steps) + 1
