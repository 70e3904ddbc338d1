"""The health index of a machine: learns its own baseline, falls when a signal leaves it, names what
drove it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.detector import TRAINING, SignalState, assess, health_index, update_signal


def _series(
    n: int, level: float, noise: float, seed: int, start: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    times = (np.arange(start, start + n) * 1_000_000).astype(np.int64)
    return times, level + noise * rng.standard_normal(n)


def test_a_machine_without_a_baseline_is_not_judged() -> None:
    state = SignalState()
    update_signal(state, *_series(TRAINING - 1, 2.0, 0.1, 1))
    assert not assess({"v": state}).trained


def test_a_machine_that_stays_as_it_was_is_healthy() -> None:
    state = SignalState()
    update_signal(state, *_series(4000, 2.0, 0.1, 2))
    verdict = assess({"v": state})
    assert verdict.trained
    assert verdict.score < 0.6
    assert verdict.index > 0.7


def test_growing_vibration_raises_the_score_and_is_named_as_the_driver() -> None:
    vibration, temperature = SignalState(), SignalState()
    update_signal(vibration, *_series(600, 2.0, 0.1, 3))
    update_signal(temperature, *_series(700, 60.0, 0.5, 4))
    update_signal(vibration, *_series(100, 6.0, 0.1, 5, start=601))
    verdict = assess({"vibration": vibration, "temperature": temperature})
    assert verdict.score > 1
    assert verdict.index < 0.5
    assert verdict.drivers[0].signal == "vibration"
    assert verdict.drivers[0].baseline == pytest.approx(2.0, abs=0.1)
    assert sum(driver.share for driver in verdict.drivers) == pytest.approx(1)


def test_values_from_the_past_and_missing_values_change_nothing() -> None:
    state = SignalState()
    update_signal(state, *_series(10, 2.0, 0.1, 6, start=100))
    before = (state.smoothed, state.time, list(state.training))
    update_signal(state, *_series(10, 99.0, 0.1, 7, start=1))
    update_signal(state, np.array([10**12], np.int64), np.array([np.nan]))
    assert (state.smoothed, state.time, state.training) == before


@given(st.lists(st.floats(0, 100), min_size=2, max_size=20))
def test_the_index_falls_as_the_score_rises_and_stays_between_one_and_zero(
    scores: list[float],
) -> None:
    indices = [health_index(score) for score in sorted(scores)]
    assert indices == sorted(indices, reverse=True)
    assert all(0 <= index <= 1 for index in indices)
    assert health_index(1.0) == pytest.approx(0.5)
