"""The health of one machine from its own early life: robust z-scores of smoothed signals. Pure;
used by machines.py.

Method `robust-z-ewma-2`: each signal is smoothed (EWMA, half-life in seconds of running time) apart
for each operating state in which the machine works on parts. Baseline: median and spread (1.4826 *
median absolute deviation) of the smoothed values of `TRAINING_S` seconds of running time, taken
when the signal has moved at all and its two halves agree. z = (smoothed - median) / max(spread,
floor); wear raises vibration, temperature, current and power, so a value below its baseline counts
as 0. The score is the largest z divided by `Z_LIMIT`: 1 is the alarm threshold. The health index is
exp(-ln 2 * max(0, score - 0.25) / 0.75): 1 up to a quarter of the threshold, 0.5 at the threshold.

All times are running time: a gap, or a stop, counts `LONGEST_STEP_S` at most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from aurelian.model.plant_parts import Role
from aurelian.model.time import SECOND_US

HALF_LIFE_S = 5.0
TRAINING_S = 240.0
"""Running time of a signal that makes its baseline."""

LONGEST_STEP_S = 5.0
LONGEST_TRAINING = 4
"""A signal that never settles gets a baseline after so many times `TRAINING_S`, the drift in its
spread."""

Z_LIMIT = 8.0
"""z that is the alarm threshold; chosen for few false cases, not for the best F1."""

HIGHEST_SCORE = 10.0
RELATIVE_FLOOR = 0.05
"""Smallest spread as a share of the level, of signals whose zero means none."""

_FLOORS = {
    Role.VIBRATION: (
        0.1,
        {"mm/s": 1.0, "m/s": 1000.0, "cm/s": 10.0, "um/s": 0.001, "[in_i]/s": 25.4, "in/s": 25.4},
    ),
    Role.TEMPERATURE: (2.0, {"Cel": 1.0, "K": 1.0, "[degF]": 5 / 9, "degF": 5 / 9, "": 1.0}),
    Role.CURRENT: (0.05, {"A": 1.0, "mA": 0.001, "kA": 1000.0}),
    Role.POWER: (0.02, {"kW": 1.0, "W": 0.001, "MW": 1000.0}),
}
"""Smallest spread by role (mm/s, K, A, kW) and the factor of each unit to that one. Declared
assumptions; eight times the floor opens a case."""

MOST_DRIVERS = 5
METHOD = "robust-z-ewma-2"


@dataclass(frozen=True, slots=True)
class Watched:
    """A signal that is judged: its path, role and unit (UCUM)."""

    path: str
    role: Role = Role.OTHER
    unit: str = ""

    def floor(self, median: float) -> float:
        """Smallest spread that its baseline may have, in the signal's unit."""
        least, factors = _FLOORS.get(self.role, (0.0, {}))
        absolute = least / factors[self.unit] if self.unit in factors else 0.0
        # The zero of a temperature is a convention: a share of it depends on the unit.
        if self.role is Role.TEMPERATURE:
            return absolute
        return absolute + RELATIVE_FLOOR * abs(median)


@dataclass(slots=True)
class SignalState:
    """What is kept of one signal in one operating state.

    Attributes:
        smoothed, time: smoothed value, and time of the newest value used (microseconds).
        raw, resolution: the newest value, and the smallest step between two (0: none seen).
        seen_s: running time since its training began.
        training: smoothed values, one a second of running time at most.
        median, spread: the baseline; NaN while it learns.
    """

    smoothed: float = math.nan
    time: int = 0
    raw: float = math.nan
    resolution: float = 0.0
    seen_s: float = 0.0
    training: list[float] = field(default_factory=list)
    median: float = math.nan
    spread: float = math.nan

    @property
    def trained(self) -> bool:
        """True once the baseline stands."""
        return not math.isnan(self.median)

    def z(self, watched: Watched) -> float:
        """How far it is above its baseline; 0 while it learns, and below."""
        if not self.trained or math.isnan(self.smoothed):
            return 0.0
        # The resolution may become known after the baseline: a sensor that stood still.
        width = max(self.spread, watched.floor(self.median), self.resolution, 1e-12)
        return max(0.0, (self.smoothed - self.median) / width)


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
    state: SignalState,
    times: NDArray[np.int64],
    values: NDArray[np.float64],
    watched: Watched | None = None,
) -> float:
    """Fold values in time order into one signal's state and return the running seconds that they
    cover. Shapes (n,), microseconds; older ones and NaN are ignored."""
    covered = 0.0
    watched = watched or Watched("")
    for time, value in zip(times.tolist(), values.tolist(), strict=True):
        if time <= state.time or not math.isfinite(value):
            continue
        step_s = min((time - state.time) / SECOND_US, LONGEST_STEP_S) if state.time else 0.0
        if math.isnan(state.smoothed):
            state.smoothed = value
        else:
            keep = 0.5 ** (step_s / HALF_LIFE_S)
            state.smoothed = keep * state.smoothed + (1 - keep) * value
            moved = abs(value - state.raw)
            if moved > 1e-9 * abs(value):
                state.resolution = min(state.resolution or moved, moved)
        state.time, state.raw = time, value
        covered += step_s
        if not state.trained:
            _train(state, step_s, watched)
    return covered


def assess(
    signals: dict[str, SignalState], watched: dict[str, Watched] | None = None
) -> Assessment:
    """Judge a machine from the states of its signals in one operating state (id -> state)."""
    known = watched or {}
    trained = {name: state for name, state in signals.items() if state.trained}
    if not trained:
        return Assessment(1.0, 0.0, (), trained=False)
    limit = HIGHEST_SCORE * Z_LIMIT
    zs = {
        name: min(limit, state.z(known.get(name, Watched("")))) for name, state in trained.items()
    }
    total = sum(z * z for z in zs.values())
    score = max(zs.values()) / Z_LIMIT
    drivers = [
        Driver(name, zs[name] ** 2 / total if total else 0.0, state.smoothed, state.median)
        for name, state in trained.items()
    ]
    drivers.sort(key=lambda driver: -driver.share)
    return Assessment(health_index(score), score, tuple(drivers[:MOST_DRIVERS]), trained=True)


def health_index(score: float) -> float:
    """1 as new, 0.5 at the alarm threshold, towards 0 beyond it; falls with the score, never
    rises."""
    return math.exp(-math.log(2) * max(0.0, score - 0.25) / 0.75)


def _train(state: SignalState, step_s: float, watched: Watched) -> None:
    """Learn from one smoothed value; set the baseline where the evidence is enough."""
    before, state.seen_s = state.seen_s, state.seen_s + step_s
    if state.training and int(before) == int(state.seen_s):
        return  # one value a second is enough
    # Nine digits are enough, and keep the saved state small.
    state.training.append(float(f"{state.smoothed:.9g}"))
    del state.training[: -int(TRAINING_S)]
    if state.seen_s < TRAINING_S or state.resolution == 0.0:
        return  # one that never moved has shown no spread
    values = np.array(state.training)
    median = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - median)))
    half = len(values) // 2
    drift = abs(float(np.median(values[half:]) - np.median(values[:half])))
    width = max(spread, watched.floor(median), state.resolution)
    if drift > width / 4:
        if state.seen_s < LONGEST_TRAINING * TRAINING_S:
            return
        spread = max(spread, drift)
    state.median, state.spread, state.training = median, spread, []
