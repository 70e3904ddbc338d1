"""A past of the simulated lines: every signal's values, and states, stops and shifts of each line.
Pure; called by `seed.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from aurelian.model.calendar import planned_seconds
from aurelian.model.packml import PackMl
from aurelian.model.plant import Plant
from aurelian.model.plant_parts import LineState, SignalModel
from aurelian.model.sample import Signal, Value
from pilot_factory.physics import Machine, Reason
from pilot_factory.simulation import SimulatedLine, SimulatedSignal, simulate_lines

STEP_S = 10
"""Seconds between two values of a signal."""

_RESOLUTION_S = 2.5
_STOPS = (
    LineState.DOWN,
    LineState.SHORT_STOP,
    LineState.SETUP,
    LineState.STARVED,
    LineState.BLOCKED,
)


@dataclass(slots=True)
class SignalPast:
    """One signal's values in time order (microseconds since 1970)."""

    signal: Signal
    model: SignalModel
    owner: str
    times: list[int] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    _arrays: tuple[NDArray[np.int64], NDArray[np.float64]] | None = None

    def between(self, start: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Times and values in [start, end) as arrays; for numbers."""
        if self._arrays is None:
            self._arrays = np.array(self.times, np.int64), np.array(self.values, np.float64)
        times, values = self._arrays
        low, high = np.searchsorted(times, (start, end))
        return times[low:high], values[low:high]

    def texts_between(self, start: int, end: int) -> list[tuple[int, Value]]:
        """Times and values in [start, end)."""
        return [(t, v) for t, v in zip(self.times, self.values, strict=True) if start <= t < end]

    def times_between(self, start: int, end: int) -> Iterator[int]:
        """Times in [start, end)."""
        return (t for t in self.times if start <= t < end)


@dataclass(frozen=True, slots=True)
class Span:
    """A state of a line from `start` to `end`, microseconds since 1970. `code`: of the stop reason,
    0: none."""

    start: int
    end: int
    state: LineState
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Shift:
    """A shift that is over, with what it made."""

    name: str
    start: int
    end: int
    planned_s: float
    running_s: float
    good: int
    scrap: int


@dataclass(frozen=True, slots=True)
class LineSpan:
    """A line's past. `unit`: asset id of the unit whose state is the line's."""

    id: str
    owner: str
    unit: str
    ideal_cycle_s: float
    spans: tuple[Span, ...]
    shifts: tuple[Shift, ...]

    @property
    def stops(self) -> list[Span]:
        """The states that count as stops."""
        return [span for span in self.spans if span.state in _STOPS]


def live_through(
    plants: Sequence[Plant], seed: str, start: int, end: int
) -> tuple[list[SignalPast], list[LineSpan]]:
    """Let the simulated lines live from `start` to `end` (microseconds since 1970), a value every
    10 s."""
    signals: list[SignalPast] = []
    lines: list[LineSpan] = []
    for line in simulate_lines(plants, seed):
        owner = line.asset.plant.owner
        pasts: dict[SimulatedSignal, SignalPast] = {
            each: SignalPast(each.signal, each.model, owner) for each in line.signals()
        }
        lines.append(_live(line, pasts, start, end))
        signals += pasts.values()
    return signals, lines


def _live(
    line: SimulatedLine, pasts: dict[SimulatedSignal, SignalPast], start: int, end: int
) -> LineSpan:
    constraint = _machine(line, line.asset.constraint.path)
    output = _machine(line, line.asset.output.path)
    states: list[tuple[int, LineState, int]] = []
    counts: list[tuple[int, int, int]] = []
    line.step(60, start)
    for now in range(start, end, STEP_S * 1_000_000):
        for each in line.measure(now, everything=now == start):
            past = pasts[each.signal]
            past.times.append(now)
            past.values.append(each.value)
        state = _state(constraint)
        if not states or states[-1][1:] != (state, int(constraint.reason)):
            states.append((now, state, int(constraint.reason)))
        counts.append((now, output.good, output.scrap))
        line.step(STEP_S, now + STEP_S * 1_000_000, _RESOLUTION_S)
    names = {reason.code: reason.name for reason in line.asset.plant.stop_reasons}
    following = [*states[1:], (end, LineState.RUNNING, 0)]
    spans = tuple(
        Span(at, until, state, code, names.get(code, ""))
        for (at, state, code), (until, _, _) in zip(states, following, strict=True)
    )
    return LineSpan(
        line.asset.id,
        line.asset.plant.owner,
        line.asset.constraint.id,
        line.asset.model.products[0].ideal_cycle_s,
        spans,
        tuple(_shifts(line, spans, counts, start, end)),
    )


def _shifts(
    line: SimulatedLine,
    spans: Sequence[Span],
    counts: Sequence[tuple[int, int, int]],
    start: int,
    end: int,
) -> Iterator[Shift]:
    """The shifts that lie in [start, end) from their start to their end."""
    calendar, zone = line.asset.calendar, line.asset.plant.zone
    day = datetime.fromtimestamp(start / 1e6, zone).date()
    windows = [
        (shift.name, *_window(day + timedelta(days=offset), shift.start, shift.end, zone))
        for offset in range(2 + (end - start) // (24 * 3_600_000_000))
        for shift in calendar.shifts
    ]
    for name, opens, closes in sorted(windows, key=lambda each: each[1]):
        begin, finish = (int(each.timestamp()) * 1_000_000 for each in (opens, closes))
        planned_s = planned_seconds(calendar, zone, opens, closes)
        if begin < start or finish > end or planned_s == 0:
            continue
        running = sum(
            max(0, min(span.end, finish) - max(span.start, begin))
            for span in spans
            if span.state is LineState.RUNNING
        )
        inside = [each for each in counts if begin <= each[0] < finish]
        (_, good, scrap), (_, last_good, last_scrap) = inside[0], inside[-1]
        yield Shift(
            name, begin, finish, planned_s, running / 1e6, last_good - good, last_scrap - scrap
        )


def _window(day: date, start: time, end: time, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """A shift on a local day, UTC; an end at or before the start is on the next day."""
    last = day if end > start else day + timedelta(days=1)
    return (
        datetime.combine(day, start, zone).astimezone(UTC),
        datetime.combine(last, end, zone).astimezone(UTC),
    )


def _machine(line: SimulatedLine, path: str) -> Machine:
    """The machine of a unit; the last one where that unit is not simulated."""
    found = [m for unit, m in zip(line.units, line.machines, strict=True) if unit.path == path]
    return found[0] if found else line.machines[-1]


def _state(machine: Machine) -> LineState:
    """What a machine's state is to its line, as line_health says it."""
    match machine.state:
        case PackMl.EXECUTE | PackMl.STARTING:
            return LineState.RUNNING
        case PackMl.SUSPENDED:
            return LineState.BLOCKED if machine.reason is Reason.BLOCKED else LineState.STARVED
        case PackMl.HELD:
            return LineState.SHORT_STOP
        case PackMl.RESETTING:
            return LineState.SETUP
        case PackMl.IDLE:
            return LineState.PLANNED
        case _:
            return LineState.DOWN
