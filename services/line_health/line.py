"""A line's state machine: samples, silences and time in; state intervals, stops, counts and KPIs
out. Pure.

Called by processor.py. The rules (README.md has them for people):

- The constraint unit's state is the line's. Intervals never overlap and leave no gap; each
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

from aurelian.fold.contract import Effects
from aurelian.model.calendar import ShiftSpan
from aurelian.model.plant_parts import LineState
from aurelian.model.time import SECOND_US, to_datetime, to_us
from line_health.interval_rows import state_row, stop_row
from line_health.line_status import OTHER, OWN, WAITING, Interval, LineStatus, Reading, Target
from line_health.line_values import ideal_cycle_s, remember
from line_health.plant import LineInfo
from line_health.presence import SILENCE_US, Presence
from line_health.rows import (
    LineRow,
    kpi_event,
    state_changed,
    stop_event,
)
from line_health.shift import find_shift, next_edge
from line_health.shift_past import ASK_AFTER_S, Gap, Past, add_past, find_gap, open_shift
from line_health.states import STOP_STATES
from line_health.target import SHORT_STOP_S, find_target

KPI_EVERY_S = 10

_KPI_EVERY_US = KPI_EVERY_S * 1_000_000
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

    def hear(
        self, first: int, last: int, presence: Presence, readings: list[Reading]
    ) -> Effects[LineRow]:
        """Take in values of which those of the constraint unit say that it lived from `first` to
        `last`."""
        status = self.status
        effects: Effects[LineRow] = Effects()
        if status.heard and first - status.heard > SILENCE_US and not status.silent:
            for start, end in presence.silences(self.line.constraint.id, status.heard, first):
                effects.add(self._fall_silent(start))
                if end < first:
                    effects.add(self._be_heard(end))
        heard, status.heard = status.heard, max(status.heard, last)
        if status.silent and presence.dead_since(self.line.constraint.id, status.heard) is None:
            if status.present is not None and 0 < heard <= first <= heard + SILENCE_US:
                # Values that were held back on their way show that there was no silence.
                self._take_back(heard)
                effects.add(self._be_heard(max(heard, status.counted_to)))
            else:
                # The new values first: else the line would go back to the state of before.
                early = [reading for reading in readings if reading.at <= first]
                readings = readings[len(early) :]
                effects.add(self.read(early))
                self._take_back(first)
                effects.add(self._be_heard(first))
        effects.add(self.read(readings))
        return effects

    def read(self, readings: Iterable[Reading]) -> Effects[LineRow]:
        """Take in values in the order of their times; those of one time together, the later one
        counts."""
        effects: Effects[LineRow] = Effects()
        for at, together in groupby(readings, lambda reading: reading.at):
            fresh = [r for r in together if at >= self.status.newest.get(r.signal.id, 0)]
            if not fresh:
                continue
            effects.add(self._pass_time(at))
            self.status.newest |= {r.signal.id: at for r in fresh}
            self.status.changed = True
            if any([remember(self.line, self.status, r) for r in fresh]):
                effects.add(self._settle(at, max(r.received for r in fresh)))
        return effects

    def refuse(self, refusals: Iterable[tuple[str, int, str]]) -> Effects[LineRow]:
        """Values of state signals were refused at the gateway: what was known of them is no
        longer."""
        status, effects = self.status, Effects[LineRow]()
        for signal, at, reason in refusals:
            known = status.doubts.get(signal)
            if at <= max(status.state_received.get(signal, 0), 0 if known is None else known[1]):
                continue
            status.doubts[signal], status.changed = (f"values refused: {reason}", at), True
            status.values[signal] = None
            if known is None or known[0] != status.doubts[signal][0]:
                effects.add(self._settle(max(at, self._since())))
        return effects

    def tick(self, now: int, presence: Presence, catching_up: bool) -> Effects[LineRow]:
        """Let time pass until `now`, look for silence, and publish the KPIs every `KPI_EVERY_S`.

        `catching_up`: old data still come in, so that their age is no silence.
        """
        status, effects = self.status, self._follow_plan(now)
        constraint = self.line.constraint.id
        if status.present is None:
            effects.add(self._begin(self._target(now), status.heard or now))
        silent_since = presence.silent_since(constraint, status.heard, now)
        dead = presence.dead_since(constraint, status.heard) is not None
        if silent_since is not None and not status.silent and (dead or not catching_up):
            effects.add(self._fall_silent(silent_since))
        elif silent_since is None and status.silent:
            again = presence.heard_again(constraint, self._since()) or now
            if now - again >= _SETTLE_US or not self._would_stop(again):
                effects.add(self._be_heard(again))
        # A shift or break that begins since the line was last heard waits until it is known what
        # the line did until then, or that it is silent.
        lived = presence.last_heard(constraint, status.heard)
        effects.add(self._pass_time(now if status.silent else min(now, lived)))
        # Each line at a phase of its own: all at once would make every tenth second a heavy one.
        period = (now + self._kpi_phase) // _KPI_EVERY_US
        if period != (status.kpi_published_at + self._kpi_phase) // _KPI_EVERY_US:
            effects.add(self._publish_kpi(now))
        return effects

    def _settle(self, at: int, received: int = 0) -> Effects[LineRow]:
        """Go to the state that all that is known asks for, if it is another one. `received`: when
        the gateway had the value that says so."""
        present, target = self.status.present, self._target(max(at, self.status.time_passed))
        if present is None:
            if target.state == LineState.NO_DATA:
                return Effects()
            return self._begin(target, at, received)
        same = (present.state, present.unit, present.code) == (
            target.state,
            target.unit,
            target.code,
        )
        if same and (target.cause == OWN or present.reason == target.reason):
            return Effects()
        if present.state == target.state and target.cause == OTHER:
            if present.reason == target.reason:
                return Effects()
            return self._correct(target, max(at, present.since))
        same_stop = present.cause == target.cause and (
            target.cause == OWN
            or (target.cause == WAITING and (same or at - present.since <= _SETTLE_US))
        )
        if same_stop or at <= present.since:
            return self._correct(target, max(at, present.since))
        return self._enter(target, max(at, self.status.counted_to))

    def _target(self, at: int) -> Target:
        return find_target(self.line, self.status, at, self._find_shift)

    def _begin(self, target: Target, at: int, received: int = 0) -> Effects[LineRow]:
        # A machine may be in its state since long before anybody listened: it is shown since then,
        # and counts, as its pieces do, from when it was listened to.
        watched = max(at, received)
        self._open_shift(watched)
        self.status.counted_to, self.status.changed = watched, True
        # A line has no edges of the calendar to cross from before it began.
        self.status.time_passed = max(self.status.time_passed, watched)
        return self._open(target, at, LineState.NO_DATA)

    def _enter(self, target: Target, at: int) -> Effects[LineRow]:
        """End the present interval at `at` and begin the next one there."""
        present = self.status.present
        assert present is not None
        self._add_time(at)
        effects: Effects[LineRow] = Effects([state_row(self.line, present, at)])
        if present.state in STOP_STATES:
            effects.add(self._end_stop(present, at))
        effects.add(self._open(target, at, present.state))
        return effects

    def _open(self, target: Target, at: int, previous: str) -> Effects[LineRow]:
        # Numbers of corrections go on from the interval before: two intervals that were corrected
        # at one time would otherwise give two events one id.
        before = self.status.present
        corrected = 0 if before is None else before.revision
        present = Interval(
            target.state, at, target.unit, target.reason, target.code, target.cause, corrected
        )
        self.status.present, self.status.changed = present, True
        row = state_row(self.line, present, None)
        effects: Effects[LineRow] = Effects(
            [row], [state_changed(self.line, row, previous, to_datetime(at), 0)]
        )
        if target.state in STOP_STATES:
            stop = stop_row(self.line, present, None)
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
        row = state_row(self.line, present, None)
        event = state_changed(self.line, row, previous, to_datetime(at), present.revision)
        effects: Effects[LineRow] = Effects([row], [event])
        if present.state in STOP_STATES:
            stop = stop_row(self.line, present, None)
            events = [] if was_stop else [stop_event(self.line, stop, present.revision)]
            effects.add(Effects([stop], events))
        elif was_stop:
            effects.add(self._end_stop(before, max(at, present.since), present.revision))
        return effects

    def _end_stop(self, present: Interval, at: int, revision: int = 0) -> Effects[LineRow]:
        stop = stop_row(self.line, present, at)
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
        self.status.shift = None if shift is None else open_shift(self.line, self.status, shift, at)

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
        row = sums.to_kpi(self.line, shift, ideal_cycle_s(self.line, self.status), at)
        return Effects([row], [kpi_event(self.line, row, 0)])

    def _fall_silent(self, since: int) -> Effects[LineRow]:
        self.status.silent = self.status.changed = True
        return self._settle(max(since, self._since(), self.status.counted_to))

    def _be_heard(self, at: int) -> Effects[LineRow]:
        self.status.silent, self.status.changed = False, True
        self.status.silent_until = max(at, self._since())
        return self._settle(self.status.silent_until)

    def _take_back(self, to: int) -> None:
        """Let time without data that was passed already not have passed from `to` on. A shift that
        ended meanwhile stays as it was published."""
        status, present = self.status, self.status.present
        if present is None or present.state != LineState.NO_DATA:
            return
        to = max(to, present.since)
        if status.counted_to <= to:
            return
        shift = None if status.shift is None else self._find_shift(status.shift.start)
        if status.shift is not None and shift is not None:
            taken = shift.planned_seconds(to_datetime(to), to_datetime(status.counted_to))
            status.shift.no_data_s = max(status.shift.no_data_s - taken, 0.0)
        status.counted_to = status.time_passed = to

    def _would_stop(self, at: int) -> bool:
        """Whether the line would be stopped if it was heard again at `at`: by its last values, to
        which the present ones may still come."""
        self.status.silent = False
        state = self._target(at).state
        self.status.silent = True
        return state in STOP_STATES

    def _follow_plan(self, now: int) -> Effects[LineRow]:
        """Take in that calendar, reasons, products or states of the plant model changed."""
        status, plan = self.status, self.line.plan
        if status.plan == plan or status.present is None:
            if status.plan != plan:
                status.plan, status.changed = plan, True
            return Effects()
        known, status.plan, status.changed = status.plan != 0, plan, True
        shift = self._find_shift(now)
        sums = status.shift
        if sums is not None and (shift is None or to_us(shift.start) != sums.start):
            sums = status.shift = None
        if sums is None:
            status.counted_to = max(status.counted_to, now)
            self._open_shift(now)
        elif known:
            # What was summed is by the calendar of before: past.py sums it anew from the store.
            status.counted_to = max(status.counted_to, now)
            status.shift = replace(
                sums,
                watched_from=now,
                production_s=0.0,
                no_data_s=0.0,
                planned_stop_s=0.0,
                asked=0,
            )
        return self._settle(now)

    def lacks(self, now: int) -> Gap | None:
        """What of the running shift is not known here, and is worth looking for in the store."""
        sums = self.status.shift
        if sums is None or sums.asked >= len(ASK_AFTER_S):
            return None
        if now < max(sums.watched_from, sums.start) + ASK_AFTER_S[sums.asked] * SECOND_US:
            return None
        return find_gap(self.line, sums)

    def take_past(self, past: Past) -> None:
        """Take in what the store has of the running shift from before it was watched."""
        sums = self.status.shift
        shift = None if sums is None else self._find_shift(sums.start)
        if sums is not None and shift is not None:
            add_past(sums, shift, past)
            self.status.changed = True

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
