"""The health index of a machine: learns its own baseline, falls when a signal leaves it, names what
drove it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurelian.model.plant_parts import Role
from maintenance.detector import (
    TRAINING_S,
    SignalState,
    Watched,
    assess,
    health_index,
    update_signal,
)


def _series(
    n: int, level: float, noise: float, seed: int, start: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    times = (np.arange(start, start + n) * 1_000_000).astype(np.int64)
    return times, level + noise * rng.standard_normal(n)


def test_a_machine_without_a_baseline_is_not_judged() -> None:
    state = SignalState()
    update_signal(state, *_series(int(TRAINING_S) - 1, 2.0, 0.1, 1))
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


def _score_after_step(watched: Watched, level: float, step: float, noise: float) -> float:
    state, size = SignalState(), 1000
    rng = np.random.default_rng(8)
    values = level + noise * rng.standard_normal(size)
    values[600:] += step
    times = (np.arange(1, size + 1) * 1_000_000).astype(np.int64)
    update_signal(state, times, values, watched)
    return assess({"s": state}, {"s": watched}).score


@pytest.mark.parametrize(("step_k", "opens"), [(0.3, False), (5.0, False), (30.0, True)])
def test_the_verdict_is_the_same_in_every_unit_of_temperature(step_k: float, opens: bool) -> None:
    scores = [
        _score_after_step(Watched("t", Role.TEMPERATURE, unit), level, step_k * k, 0.01 * k)
        for unit, level, k in (("Cel", 2.0, 1.0), ("K", 275.15, 1.0), ("[degF]", 35.6, 1.8))
    ]
    assert scores == pytest.approx([scores[0]] * 3, rel=1e-3)
    assert (scores[0] >= 1) is opens


@pytest.mark.parametrize(
    ("role", "units"),
    [
        (Role.VIBRATION, {"mm/s": 1.0, "m/s": 0.001, "[in_i]/s": 1 / 25.4}),
        (Role.POWER, {"kW": 1.0, "W": 1000.0, "MW": 0.001}),
        (Role.CURRENT, {"A": 1.0, "mA": 1000.0}),
    ],
)
def test_the_verdict_is_the_same_in_every_other_unit(role: Role, units: dict[str, float]) -> None:
    scores = [
        _score_after_step(Watched("s", role, unit), 2.0 * k, 2.5 * k, 0.05 * k)
        for unit, k in units.items()
    ]
    assert scores == pytest.approx([scores[0]] * len(scores), rel=1e-3)
    assert scores[0] > 1


@pytest.mark.parametrize("unit", ["mm/s", ""])
@pytest.mark.parametrize("digit", [0.01, 0.0001])
def test_a_flat_sensor_that_moves_by_its_last_digits_opens_nothing(unit: str, digit: float) -> None:
    state, watched = SignalState(), Watched("v", Role.VIBRATION, unit)
    rng = np.random.default_rng(9)
    for start in (1, 2000):
        values = np.zeros(1999)
        values[600:] = digit * rng.integers(0, 3, 1399)
        times = ((start + np.arange(1999)) * 1_000_000).astype(np.int64)
        update_signal(state, times, values, watched)
        assert assess({"v": state}, {"v": watched}).score < 1


def test_a_sensor_that_never_moved_is_not_judged() -> None:
    state = SignalState()
    update_signal(state, *_series(2000, 0.0, 0.0, 1))
    assert not state.trained
    assert len(state.training) <= TRAINING_S


@pytest.mark.parametrize("rate_hz", [1, 10, 50])
def test_evidence_is_counted_in_time_and_its_memory_is_bounded(rate_hz: int) -> None:
    state = SignalState()
    times, values = _series(int(TRAINING_S * rate_hz) - rate_hz, 2.0, 0.1, 1)
    update_signal(state, times // rate_hz, values)
    assert not state.trained
    assert len(state.training) <= TRAINING_S


def test_a_score_is_bounded() -> None:
    assert _score_after_step(Watched("v"), 2.0, 1e9, 0.1) == 10.0
