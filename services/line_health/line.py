"""A line's state machine: samples, silences and time in; state intervals, stops, counts and KPIs
out. Pure.

Called by processor.py. The rules (README.md has them for people):

- The constraint unit's PackML state is the line's. Intervals never overlap and leave no gap; each
  begins where the one before ended. Source times drive them, but never ahead of the gateway's
  clock.
- A sample that is not newer than the newest of its signal, or flagged historical, changes nothing:
  it is in the store. One that is older than the start of the present interval counts from that
  start.
- A stop is `short_stop` for `SHORT_STOP_S` and then `down`, from its start; a reason given later
  also counts from the start.
- A constraint unit that is not heard for 30 s (presence.py), or declared dead, means `no_data` from
  when it was last heard.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby
from statistics import median

from aurelian.fold.contract import Effects
from aurelian.model.calendar import ShiftSpan
from aurelian.model.packml import read_state
from aurelian.model.plant_parts import LineState, Role
from aurelian.model.time import to_datetime, to_us
from line_health.line_status import OTHER, OWN, WAITING, Interval, LineStatus, Reading, Target
from line_health.oee import count_increment
from line_health.plant import LineInfo, SignalInfo
from line_health.presence import SILENCE_US, Presence
from line_health.rows import (
    LineRow,
    StateRow,
    StopRow,
    derive_id,
    kpi_event,
    state_changed,
    stop_event,
)
from line_health.shift import ShiftSums, find_shift, next_edge
from line_health.states import STOP_STATES
from line_health.target import SHORT_STOP_S, find_target, value_of

SLOW_AT, FAST_AGAIN_AT = 1.15, 1.10
"""Median cycle over ideal cycle from which a line is slow, and below which it is no longer."""

KPI_EVERY_S = 10

_KPI_EVERY_US = KPI_EVERY_S * 1_000_000
_CYCLES, _FEWEST_CYCLES = 5, 3
_SETTLE_US = 2_000_000  # neighbours report a little later than the constraint why it waits
_SHORT_STOP_US = SHORT_STOP_S * 1_000_000


class LineMachine:
    """The state machine of one line over its status."""

    def __init__(self, line: LineInfo, status: LineStatus) -> None:
        self.line, self.status = line, status
        self._edge = 0
        self._edge_after = -1
        self._shift: ShiftSpan | None = None
        self._shift_span = 0, 0
        self._kpi_phase = zlib.crc32(line.id.encode()) % _KPI_EVERY_US

    def hear(self, first: int, last: int, presence: Presence) -> Effects[LineRow]:
        """Data of the constraint unit came, received at the gateway from `first` to `last`."""
        status = self.status
        effects: Effects[LineRow] = Effects()
        if status.heard and first - status.heard > SILENCE_US and not status.silent:
            for start, end in presence.silences(self.line.constraint.id, status.heard, first):
                effects.add(self._fall_silent(start))
                effects.add(self._be_heard(end))
        status.heard = max(status.heard, last)
        if status.silent and presence.dead_since(self.line.constraint.id, status.heard) is None:
            effects.add(self._be_heard(first))
        return effects

    def read(self, readings: Iterable[Reading]) -> Effects[LineRow]:
        """Take in values in the order of their times; those of one time together."""
        effects: Effects[LineRow] = Effects()
        for at, together in groupby(readings, lambda reading: reading.at):
            fresh = [r for r in together if at > self.status.newest.get(r.signal.id, 0)]
            if not fresh:
                continue
            effects.add(self._pass_time(at))
            self.status.newest |= {r.signal.id: at for r in fresh}
            self.status.changed = True
            if any([self._remember(r) for r in fresh]):
                effects.add(self._settle(at))
        return effects

    def tick(self, now: int, presence: Presence, catching_up: bool) -> Effects[LineRow]:
        """Let time pass until `now`, look for silence, and publish the KPIs every `KPI_EVERY_S`.

        `catching_up`: old data still come in, so that their age is no silence.
        """
        status, effects = self.status, self._pass_time(now)
        constraint = self.line.constraint.id
        if status.present is None:
            effects.add(self._begin(self._target(now), status.heard or now))
        silent_since = presence.silent_since(constraint, status.heard, now)
        dead = presence.dead_since(constraint, status.heard) is not None
        if silent_since is not None and not status.silent and (dead or not catching_up):
            effects.add(self._fall_silent(silent_since))
        elif silent_since is None and status.silent:
            effects.add(self._be_heard(presence.heard_again(constraint, self._since()) or now))
        # Each line at a phase of its own: all at once would make every tenth second a heavy one.
        period = (now + self._kpi_phase) // _KPI_EVERY_US
        if period != (status.kpi_published_at + self._kpi_phase) // _KPI_EVERY_US:
            effects.add(self._publish_kpi(now))
        return effects

    def _remember(self, reading: Reading) -> bool:
        """Keep a value; True when the state of the line may follow from it."""
        signal, value, status = reading.signal, reading.value, self.status
        match signal.role:
            case Role.GOOD_COUNT | Role.SCRAP_COUNT:
                if signal.unit == self.line.output.id and isinstance(value, int | float):
                    self._count(signal, float(value))
                return False
            case Role.CYCLE_TIME:
                if (
                    signal.unit != self.line.constraint.id
                    or not isinstance(value, int | float)
                    or value <= 0
                ):
                    return False
                status.cycles = [*status.cycles[1 - _CYCLES :], float(value)]
                ratio = median(status.cycles) / self._ideal_cycle_s()
                limit = FAST_AGAIN_AT if status.slow else SLOW_AT
                status.slow = len(status.cycles) >= _FEWEST_CYCLES and ratio > limit
                return True
            case Role.STATE:
                state = read_state(value)
                status.values[signal.id] = None if state is None else float(state)
                return True
            case Role.STOP_REASON | Role.BUFFER | Role.PRODUCT:
                status.values[signal.id] = value if isinstance(value, int | float | str) else None
                return signal.role != Role.PRODUCT
            case _:
                return False

    def _count(self, signal: SignalInfo, total: float) -> None:
        made = count_increment(self.status.totals.get(signal.id), total)
        self.status.totals[signal.id] = total
        shift = self.status.shift
        if shift is not None and made:
            if signal.role == Role.GOOD_COUNT:
                shift.good += made
            else:
                shift.scrap += made
            shift.ideal_s += made * self._ideal_cycle_s()

    def _settle(self, at: int) -> Effects[LineRow]:
        """Go to the state that all that is known asks for, if it is another one."""
        present, target = self.status.present, self._target(max(at, self.status.time_passed))
        if present is None:
            return self._begin(target, at) if target.state != LineState.NO_DATA else Effects()
        if (present.state, present.unit, present.code) == (target.state, target.unit, target.code):
            return Effects()
        if present.state == target.state and target.cause == OTHER:
            return Effects()
        same_stop = present.cause == target.cause and (
            target.cause == OWN or (target.cause == WAITING and at - present.since <= _SETTLE_US)
        )
        if same_stop or at <= present.since:
            return self._correct(target, max(at, present.since))
        return self._enter(target, max(at, self.status.counted_to))

    def _target(self, at: int) -> Target:
        return find_target(self.line, self.status, at, self._find_shift)

    def _begin(self, target: Target, at: int) -> Effects[LineRow]:
        self._open_shift(at)
        self.status.counted_to, self.status.changed = at, True
        return self._open(target, at, LineState.NO_DATA)

    def _enter(self, target: Target, at: int) -> Effects[LineRow]:
        """End the present interval at `at` and begin the next one there."""
        present = self.status.present
        assert present is not None
        self._add_time(at)
        effects: Effects[LineRow] = Effects([self._state_row(present, at)])
        if present.state in STOP_STATES:
            effects.add(self._end_stop(present, at))
        effects.add(self._open(target, at, present.state))
        return effects

    def _open(self, target: Target, at: int, previous: str) -> Effects[LineRow]:
        present = Interval(target.state, at, target.unit, target.reason, target.code, target.cause)
        self.status.present, self.status.changed = present, True
        row = self._state_row(present, None)
        effects: Effects[LineRow] = Effects(
            [row], [state_changed(self.line, row, previous, to_datetime(at), 0)]
        )
        if target.state in STOP_STATES:
            stop = self._stop_row(present, None)
            effects.add(Effects([stop], [stop_event(self.line, stop, 0)]))
        return effects

    def _correct(self, target: Target, at: int) -> Effects[LineRow]:
        """Correct state and reason of the present interval, from its start: more is known now."""
        present, self.status.changed = self.status.present, True
        assert present is not None
        previous, was_stop = present.state, present.state in STOP_STATES
        before = replace(present)
        present.state, present.unit, present.reason = target.state, target.unit, target.reason
        present.code, present.cause, present.revision = (
            target.code,
            target.cause,
            present.revision + 1,
        )
        row = self._state_row(present, None)
        event = state_changed(self.line, row, previous, to_datetime(at), present.revision)
        effects: Effects[LineRow] = Effects([row], [event])
        if present.state in STOP_STATES:
            stop = self._stop_row(present, None)
            events = [] if was_stop else [stop_event(self.line, stop, present.revision)]
            effects.add(Effects([stop], events))
        elif was_stop:
            effects.add(self._end_stop(before, max(at, present.since), present.revision))
        return effects

    def _end_stop(self, present: Interval, at: int, revision: int = 0) -> Effects[LineRow]:
        stop = self._stop_row(present, at)
        return Effects([stop], [stop_event(self.line, stop, revision)])

    def _pass_time(self, to: int) -> Effects[LineRow]:
        """Do what time alone does until `to`: shifts and breaks begin and end, a short stop becomes
        long."""
        status = self.status
        effects: Effects[LineRow] = Effects()
        while status.present is not None:
            present = status.present
            edge = self._next_edge()
            long = present.since + _SHORT_STOP_US if present.state == LineState.SHORT_STOP else edge
            if min(edge, long) > to:
                break
            if long < edge:
                effects.add(self._settle(long))
                continue
            status.time_passed = edge
            effects.add(self._cross(edge))
        status.time_passed = max(status.time_passed, to)
        return effects

    def _cross(self, edge: int) -> Effects[LineRow]:
        """Pass an edge of the calendar: end a shift that ends there and begin one that begins
        there."""
        status = self.status
        effects: Effects[LineRow] = Effects()
        self._add_time(edge)
        shift = self._find_shift(status.shift.start) if status.shift is not None else None
        if shift is not None and to_us(shift.end) <= edge:
            effects.add(self._publish_kpi(edge))
            status.shift = None
        if status.shift is None:
            self._open_shift(edge)
        effects.add(self._settle(edge))
        return effects

    def _open_shift(self, at: int) -> None:
        shift = self._find_shift(at)
        self.status.shift = (
            None if shift is None else ShiftSums(to_us(shift.start), max(to_us(shift.start), at))
        )

    def _add_time(self, until: int) -> None:
        """Add the present interval up to `until` to the shift's sums."""
        status = self.status
        if status.shift is not None and status.present is not None:
            shift = self._find_shift(status.shift.start)
            if shift is not None:
                present = status.present
                planned = present.state == LineState.PLANNED and present.cause == OWN
                status.shift.add_time(shift, present.state, planned, status.counted_to, until)
        status.counted_to, status.changed = max(status.counted_to, until), True

    def _publish_kpi(self, at: int) -> Effects[LineRow]:
        status = self.status
        shift = self._find_shift(status.shift.start) if status.shift is not None else None
        if status.shift is None or shift is None or status.present is None:
            return Effects()
        sums, present = replace(status.shift), status.present
        planned = present.state == LineState.PLANNED and present.cause == OWN
        sums.add_time(shift, present.state, planned, status.counted_to, at)
        status.kpi_published_at, status.changed = at, True
        row = sums.to_kpi(self.line, shift, self._ideal_cycle_s(), at)
        return Effects([row], [kpi_event(self.line, row, 0)])

    def _fall_silent(self, since: int) -> Effects[LineRow]:
        self.status.silent = self.status.changed = True
        return self._settle(max(since, self._since(), self.status.counted_to))

    def _be_heard(self, at: int) -> Effects[LineRow]:
        self.status.silent, self.status.changed = False, True
        return self._settle(max(at, self._since()))

    def _find_shift(self, at: int) -> ShiftSpan | None:
        start, end = self._shift_span
        if not start <= at < end:
            self._shift = find_shift(self.line, at)
            span = self._shift
            self._shift_span = (0, 0) if span is None else (to_us(span.start), to_us(span.end))
        return self._shift

    def _since(self) -> int:
        return self.status.present.since if self.status.present is not None else 0

    def _next_edge(self) -> int:
        if self._edge_after > self.status.time_passed or self._edge <= self.status.time_passed:
            self._edge_after, self._edge = (
                self.status.time_passed,
                next_edge(self.line, self.status.time_passed),
            )
        return self._edge

    def _ideal_cycle_s(self) -> float:
        product = value_of(self.line, self.status, self.line.constraint.id, Role.PRODUCT)
        return self.line.product(product if isinstance(product, str) else None).ideal_cycle_s

    def _state_row(self, present: Interval, ended_at: int | None) -> StateRow:
        return StateRow(
            line=self.line.id,
            started_at=to_datetime(present.since),
            ended_at=None if ended_at is None else to_datetime(ended_at),
            owner=self.line.owner,
            state=present.state,
            unit=present.unit,
            reason=present.reason,
        )

    def _stop_row(self, present: Interval, ended_at: int | None) -> StopRow:
        return StopRow(
            id=derive_id(self.line.id, "stop", present.since),
            line=self.line.id,
            owner=self.line.owner,
            unit=present.unit,
            started_at=to_datetime(present.since),
            ended_at=None if ended_at is None else to_datetime(ended_at),
            state=present.state,
            reason_code=present.code,
            reason=present.reason,
        )
