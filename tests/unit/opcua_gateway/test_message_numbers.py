"""Servers that number their messages in ways of their own: nothing is dropped unseen."""

from __future__ import annotations

import pytest

from opcua_gateway.message_numbers import (
    LAST,
    REMEMBERED,
    UNLISTED,
    Sequence,
    to_ask_for,
)


def taken(numbers: list[int], *, timed: bool = True, expected: int | None = 1) -> list[int]:
    """Indexes of the messages that are fresh; each has a PublishTime of its own, or none has."""
    sequence = Sequence(expected)
    return [
        index
        for index, number in enumerate(numbers)
        if sequence.observe(
            number, keep_alive=False, published_at=1000 + index if timed else 0
        ).fresh
    ]


@pytest.mark.parametrize(
    "numbers",
    [
        [1, 2, 3, 4, 1, 2, 3, 4, 5, 6],
        [1, 2, 3, 1, 2, 3, 1, 2, 3, 1],
        [1, 2, 3, 0, 1, 2, 3, 0, 1, 2],
        [5000, 5001, 5002, 1, 2, 3],
        [1, 2, 3, 3_000_000_000, 3_000_000_001],
        [1, 2, 2**31, 2**31 + 1, LAST, 1, 2],
        [7, 7, 7, 7],
    ],
)
def test_a_server_that_numbers_anew_loses_nothing(numbers: list[int]) -> None:
    assert taken(numbers, expected=numbers[0]) == list(range(len(numbers)))


def test_without_publish_times_numbers_that_were_seen_long_ago_are_taken() -> None:
    numbers = [*range(1, 65_536), 1, 2, 3]
    assert taken(numbers, timed=False)[-3:] == [65_535, 65_536, 65_537]


def test_a_message_that_comes_again_is_not_fresh_whatever_came_between() -> None:
    sequence = Sequence()
    for number in range(1, 500):
        assert sequence.observe(number, keep_alive=False, published_at=number).fresh
    for number in (499, 250, 1, 498):
        again = sequence.observe(number, keep_alive=False, published_at=number)
        assert not again.fresh and not again.skipped
    assert sequence.expected == 500 and not sequence.restarts


def test_a_message_that_comes_late_is_taken_and_moves_nothing() -> None:
    sequence = Sequence()
    sequence.observe(1, keep_alive=False, published_at=1)
    assert sequence.observe(3, keep_alive=False, published_at=3).missing == (2,)
    assert sequence.observe(2, keep_alive=False, published_at=2).fresh
    assert sequence.observe(4, keep_alive=False, published_at=4).missing == ()
    assert not sequence.restarts


def test_who_numbers_anew_in_the_middle_may_have_lost_something() -> None:
    sequence = Sequence(5000)
    sequence.observe(5000, keep_alive=False, published_at=1)
    assert sequence.observe(1, keep_alive=False, published_at=2).skipped == 0
    assert sequence.observe(4_000_000_000, keep_alive=False, published_at=3).skipped == 1


def test_what_is_remembered_is_bounded_and_goes_on_over_a_break() -> None:
    seen: dict[int, int] = {}
    before = Sequence(1, seen)
    for number in range(1, 3 * REMEMBERED):
        before.observe(number, keep_alive=False, published_at=number)
    assert len(seen) == REMEMBERED
    after = Sequence(before.expected, seen)
    last = 3 * REMEMBERED - 1
    assert not after.observe(last, keep_alive=False, published_at=last).fresh


def test_what_is_not_kept_is_not_asked_for_a_thousand_times() -> None:
    missing = list(range(1, 1001))
    assert to_ask_for(missing, [1001]) == tuple(missing[-UNLISTED:])
    assert to_ask_for(missing, [3, 4, 1001]) == (3, 4, *missing[-UNLISTED:])
    assert to_ask_for(missing, missing) == tuple(missing)
    assert to_ask_for([8, 9], []) == (8, 9)
