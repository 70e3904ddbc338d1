"""Acknowledgements in order, and what a broker's window is learned from."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mqtt_gateway.window import InFlight, Window


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_identifiers_are_acknowledged_in_the_order_in_which_they_came(
    sizes: list[int], chance: object
) -> None:
    window, number = Window(), 0
    tickets, numbers = [], []
    for size in sizes:
        batch = list(range(number + 1, number + 1 + size))
        number += size
        numbers += batch
        tickets.append(window.add(batch))
    chance.shuffle(tickets)  # type: ignore[attr-defined]
    assert [each for ticket in tickets for each in window.stored(ticket)] == numbers


def test_a_stock_mosquitto_waits_after_twenty() -> None:
    broker = InFlight(most=1000)
    assert [n for n in range(21) if broker.is_full(n)] == [20]


def test_a_broker_that_sends_more_than_was_thought_is_not_waiting() -> None:
    broker = InFlight(most=1000)
    assert broker.is_full(20)
    assert not broker.is_full(21)
    assert not broker.is_full(39) and broker.is_full(40)
    assert not broker.is_full(500)
    assert broker.is_full(1000)  # it was told to wait then


def test_few_in_flight_are_known_from_the_first_that_are_more() -> None:
    broker = InFlight(most=1000)
    assert broker.is_small
    broker.is_full(20)
    assert broker.is_small
    broker.is_full(21)
    assert not broker.is_small


def test_a_smaller_window_is_learned_from_rounds_of_one_size() -> None:
    broker = InFlight(most=1000)
    for _ in range(4):
        broker.acknowledged(10, quiet=True)
    assert not broker.is_full(10)
    broker.acknowledged(10, quiet=True)
    assert broker.is_full(10)
    assert not broker.is_full(11)  # it was no window: forgotten


def test_what_comes_all_the_time_tells_nothing() -> None:
    broker = InFlight(most=1000)
    for n in range(50):
        broker.acknowledged(10, quiet=False)
        broker.acknowledged(9 + n % 2, quiet=True)
        broker.acknowledged(1, quiet=True)
    assert not broker.is_full(10)
