"""A past of the simulated lines: every signal's values, and states, stops and shifts of each line.
Pure; called by `seed.py`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from aurelian.model.calendar import planned_seconds, shifts_between
from aurelian.model.machine_states import PackMl
from aurelian.model.plant import Plant
from aurelian.model.plant_parts import LineState, SignalModel
from aurelian.model.sample import Signal, Value
from aurelian.model.time import SECOND_US, to_datetime
from pilot_factory.physics import Machine, Reason
from pilot_factory.simulation import SimulatedLine, SimulatedSignal, simulate_lines

SHORT_STOP_S = 120
"""A stop up to this long is a short stop, as live."""

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
    0: none; `own`: the machine is the cause, not the calendar."""

    start: int
    end: int
    state: LineState
    code: int
    reason: str
    own: bool = True


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
    ideal_s: float


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
    states: list[tuple[int, LineState, int, str, bool]] = []
    shifts = shifts_between(
        line.asset.calendar, line.asset.plant.zone, to_datetime(start), to_datetime(end)
    )
    losses = {reason.code: reason.loss for reason in line.asset.plant.stop_reasons}
    counts: list[tuple[int, int, int, float]] = []
    line.step(60, start)
    for now in range(start, end, STEP_S * 1_000_000):
        for each in line.measure(now, everything=now == start):
            past = pasts[each.signal]
            past.times.append(now)
            past.values.append(each.value)
        moment = to_datetime(now)
        planned = any(s.start <= moment < s.end and not s.in_break(moment) for s in shifts)
        state, own = _state(constraint, planned, losses)
        code, name = int(constraint.reason), constraint.state.name.lower()
        stops = state is LineState.SHORT_STOP and bool(states) and states[-1][1] is state
        if stops and code and not states[-1][2]:
            # One stop, whose reason came later.
            states[-1] = (states[-1][0], state, code, name, own)
        elif not stops and (not states or states[-1][1:3] != (state, code)):
            states.append((now, state, code, name, own))
        counts.append((now, output.good, output.scrap, line.ideal_cycle_s))
        line.step(STEP_S, now + STEP_S * 1_000_000, _RESOLUTION_S)
    names = {reason.code: reason.name for reason in line.asset.plant.stop_reasons}
    ends = [*(at for at, *_ in states[1:]), end]
    spans = tuple(
        _span(at, until, state, code, names.get(code) or f"machine {name}", own)
        for (at, state, code, name, own), until in zip(states, ends, strict=True)
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
    counts: Sequence[tuple[int, int, int, float]],
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
        (_, good, scrap, _), (_, last_good, last_scrap, _) = inside[0], inside[-1]
        ideal_s = sum((b[1] + b[2] - a[1] - a[2]) * b[3] for a, b in pairwise(inside))
        yield Shift(
            name,
            begin,
            finish,
            planned_s,
            running / 1e6,
            last_good - good,
            last_scrap - scrap,
            ideal_s,
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


def _state(machine: Machine, planned: bool, losses: Mapping[int, str]) -> tuple[LineState, bool]:
    """What a machine's state is to its line and whether the machine is the cause, by the rules of
    line_health; each stop for its own cause as a short one."""
    match machine.state:
        case PackMl.EXECUTE | PackMl.STARTING:
            return LineState.RUNNING, True
        case _ if not planned:
            return LineState.PLANNED, False
        case PackMl.SUSPENDED:
            blocked = machine.reason is Reason.BLOCKED
            return LineState.BLOCKED if blocked else LineState.STARVED, True
    match losses.get(int(machine.reason)):
        case "setup":
            return LineState.SETUP, True
        case "planned":
            return LineState.PLANNED, True
        case _:
            return LineState.SHORT_STOP, True


def _span(start: int, end: int, state: LineState, code: int, reason: str, own: bool) -> Span:
    """A span; a stop of over two minutes was no short one."""
    if state is LineState.SHORT_STOP and end - start >= SHORT_STOP_S * SECOND_US:
        state = LineState.DOWN
    quiet = state in (LineState.RUNNING, LineState.PLANNED) and not code
    return Span(start, end, state, code, "" if quiet else reason, own)
