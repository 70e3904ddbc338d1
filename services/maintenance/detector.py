"""The health of one machine from its own early life: robust z-scores of smoothed signals. Pure;
used by processor.py.

Method `robust-z-ewma-1`: each signal is smoothed (EWMA, half-life in seconds of source time) while
the machine executes.
Its first `TRAINING` smoothed values give a baseline: median and 1.4826 * median absolute deviation.
From then on z = (smoothed - median) / max(deviation, floor), the score is the root mean square of
the z of all trained signals divided by `Z_LIMIT`, so that 1 is the alarm threshold, and the health
index is exp(-ln 2 * max(0, score - 0.25) / 0.75): 1 up to a quarter of the threshold, 0.5 at the
threshold, towards 0 beyond it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

HALF_LIFE_S = 10.0
TRAINING = 240
"""Smoothed values per signal that make the baseline: four minutes at 1 Hz."""

Z_LIMIT = 8.0
"""Root mean square of z that is the alarm threshold; chosen for few false cases, not for the best
F1."""

METHOD = "robust-z-ewma-1"


@dataclass(slots=True)
class SignalState:
    """What is kept of one signal: JSON-ready by `as_list`/`from_list`."""

    smoothed: float = math.nan
    time: int = 0  # microseconds, of the newest value used
    training: list[float] = field(default_factory=list)
    median: float = math.nan
    deviation: float = math.nan

    @property
    def trained(self) -> bool:
        """True once the baseline stands."""
        return not math.isnan(self.median)

    @property
    def z(self) -> float:
        """Deviation from the baseline; 0 while untrained."""
        if not self.trained or math.isnan(self.smoothed):
            return 0.0
        return (self.smoothed - self.median) / self.deviation


@dataclass(frozen=True, slots=True)
class Driver:
    """One signal's part in a score; shares of all drivers add up to 1 (or all are 0)."""

    signal: str
    share: float
    value: float
    baseline: float


@dataclass(frozen=True, slots=True)
class Assessment:
    """The health of a machine now. `trained` false: not enough data, index and score say
    nothing."""

    index: float
    score: float
    drivers: tuple[Driver, ...]
    trained: bool


def update_signal(
    state: SignalState, times: NDArray[np.int64], values: NDArray[np.float64]
) -> None:
    """Fold values in time order into one signal's state. Shapes (n,), microseconds; older ones and
    NaN are ignored."""
    for time, value in zip(times.tolist(), values.tolist(), strict=True):
        if time <= state.time or math.isnan(value):
            continue
        if math.isnan(state.smoothed):
            state.smoothed = value
        else:
            keep = 0.5 ** ((time - state.time) / 1e6 / HALF_LIFE_S)
            state.smoothed = keep * state.smoothed + (1 - keep) * value
        state.time = time
        if not state.trained:
            state.training.append(state.smoothed)
            if len(state.training) >= TRAINING:
                _set_baseline(state)


def assess(signals: dict[str, SignalState], top: int = 5) -> Assessment:
    """Judge a machine from the states of its signals (id -> state)."""
    trained = {name: state for name, state in signals.items() if state.trained}
    if not trained:
        return Assessment(1.0, 0.0, (), trained=False)
    squares = {name: state.z**2 for name, state in trained.items()}
    total = sum(squares.values())
    score = math.sqrt(total / len(trained)) / Z_LIMIT
    drivers = [
        Driver(name, squares[name] / total if total else 0.0, state.smoothed, state.median)
        for name, state in trained.items()
    ]
    drivers.sort(key=lambda driver: -driver.share)
    return Assessment(health_index(score), score, tuple(drivers[:top]), trained=True)


def health_index(score: float) -> float:
    """1 as new, 0.5 at the alarm threshold, towards 0 beyond it; falls with the score, never
    rises."""
    return math.exp(-math.log(2) * max(0.0, score - 0.25) / 0.75)


def _set_baseline(state: SignalState) -> None:
    values = np.array(state.training)
    median = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - median)))
    # A signal that hardly moved in training must not alarm on its first digit: 1 % of its level at
    # least.
    state.deviation = max(spread, 0.01 * abs(median), 1e-9)
    state.median = median
    state.training = []
