"""The order in which the embedded stack stops, and its time."""

from aurelian.local.services import Rank
from aurelian.local.stack import _STOP_LIMIT_S, _STOP_STEPS


def test_sources_stop_first_and_the_database_last() -> None:
    steps = [who for who, _, _ in _STOP_STEPS]
    assert steps == [*Rank, ("mqtt", "kafka"), ("postgres",)]


def test_stopping_takes_less_than_ten_seconds_however_slow_everybody_is() -> None:
    assert sum(least_s for _, _, least_s in _STOP_STEPS) < _STOP_LIMIT_S < 10
