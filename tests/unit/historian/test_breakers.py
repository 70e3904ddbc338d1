"""When the samples of a signal or source no longer go beside the others, and when again."""

from __future__ import annotations

from historian.breakers import OF_A_SIGNAL, OF_A_SOURCE, OPEN_S, WINDOW_S, Breakers


def test_it_opens_after_several_failures_in_a_minute_and_closes_by_itself() -> None:
    breakers = Breakers()
    for n in range(OF_A_SIGNAL - 1):
        breakers.failed([7, 7], [1], float(n))
    assert not breakers.are_open(5.0)
    breakers.failed([7], [1], 10.0)
    assert breakers.are_open(10.0) and breakers.signals() == [7] and breakers.sources() == []
    assert not breakers.are_open(10.0 + OPEN_S)
    assert breakers.signals() == []


def test_failures_far_apart_open_nothing() -> None:
    breakers = Breakers()
    for n in range(20):
        breakers.failed([7], [1], n * WINDOW_S / (OF_A_SIGNAL - 2))
    assert not breakers.are_open(0.0)


def test_many_signals_of_one_source_open_it_whole() -> None:
    breakers = Breakers()
    for n in range(OF_A_SOURCE):
        breakers.failed([n], [1], 0.0)
    assert breakers.are_open(1.0) and breakers.sources() == [1] and breakers.signals() == []
