"""The running shift of a line: its edges, the times and counts summed in it, its OEE. Pure; called
by line.py."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from aurelian.model.calendar import ShiftSpan, shift_at, shifts_between
from aurelian.model.plant_parts import LineState
from aurelian.model.time import to_datetime, to_us
from line_health.oee import compute_oee
from line_health.plant import LineInfo
from line_health.rows import KpiRow
from line_health.states import PRODUCING_STATES


@dataclass(slots=True)
class ShiftSums:
    """What happened in a shift so far; only planned time counts. Times in microseconds, durations
    in seconds.

    Attributes:
        start: of the shift; with the calendar it names the shift.
        watched_from: from when the line is known: in the first shift ever later than its start.
        production_s: APT, time in running and slow.
        no_data_s: time of which nothing is known; never production.
        planned_stop_s: stops whose reason is planned: no part of PBT.
        good, scrap: pieces.
        ideal_s: sum of PRI over the pieces.
    """

    start: int
    watched_from: int
    production_s: float = 0.0
    no_data_s: float = 0.0
    planned_stop_s: float = 0.0
    good: float = 0.0
    scrap: float = 0.0
    ideal_s: float = 0.0

    def add_time(
        self, shift: ShiftSpan, state: str, planned_by_reason: bool, start: int, end: int
    ) -> None:
        """Add the planned part of [start, end), in which the line was in `state`."""
        seconds = (
            shift.planned_seconds(to_datetime(start), to_datetime(end)) if end > start else 0.0
        )
        if state in PRODUCING_STATES:
            self.production_s += seconds
        elif state == LineState.NO_DATA:
            self.no_data_s += seconds
        elif planned_by_reason:
            self.planned_stop_s += seconds

    def to_kpi(self, line: LineInfo, shift: ShiftSpan, ideal_cycle_s: float, at: int) -> KpiRow:
        """The figures as they stand at `at`, when all time until then was added.

        Target: the good pieces that the planned time so far gives at the ideal cycle of the present
        product.
        """
        until = min(to_datetime(at), shift.end)
        watched = shift.planned_seconds(to_datetime(self.watched_from), until)
        busy_s = max(watched - self.planned_stop_s, 0.0)
        oee = compute_oee(
            planned_busy_s=busy_s,
            production_s=self.production_s,
            ideal_s=self.ideal_s,
            good=self.good,
            scrap=self.scrap,
        )
        return KpiRow(
            line=line.id,
            shift_start=shift.start,
            shift_end=shift.end,
            owner=line.owner,
            shift=shift.name,
            planned_busy_s=busy_s,
            production_s=self.production_s,
            no_data_s=self.no_data_s,
            good=self.good,
            scrap=self.scrap,
            target=busy_s / ideal_cycle_s,
            availability=oee.availability,
            effectiveness=oee.effectiveness,
            quality=oee.quality,
            oee=oee.oee,
            computed_at=to_datetime(at),
        )


def find_shift(line: LineInfo, at: int) -> ShiftSpan | None:
    """The shift that runs at `at`."""
    return shift_at(line.calendar, line.zone, to_datetime(at))


def next_edge(line: LineInfo, after: int) -> int:
    """The next time after `after` at which a shift or break begins or ends; without any, the end of
    the look-ahead."""
    moment = to_datetime(after)
    horizon = moment + timedelta(days=8)
    edges = [
        edge
        for shift in shifts_between(line.calendar, line.zone, moment, horizon)[:3]
        for edge in (
            shift.start,
            shift.end,
            *(t for pause in shift.breaks for t in (pause.start, pause.end)),
        )
        if edge > moment
    ]
    return to_us(min(edges, default=horizon))
