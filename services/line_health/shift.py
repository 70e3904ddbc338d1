"""The running shift of a line: its edges, the times and counts summed in it, its OEE. Pure; called
by line.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from aurelian.model.calendar import ShiftSpan, shift_at, shifts_between
from aurelian.model.plant_parts import LineState, Role
from aurelian.model.time import to_datetime, to_us
from line_health.oee import Oee, compute_oee
from line_health.plant import LineInfo
from line_health.rows import KpiRow
from line_health.states import PRODUCING_STATES


@dataclass(slots=True)
class ShiftSums:
    """What happened in a shift so far; only planned time counts. Times in microseconds, durations
    in seconds.

    Attributes:
        start: of the shift; with the calendar it names the shift.
        watched_from: since when its time counts: later than its start where nothing is known of
            before (past.py looks into the store).
        production_s: APT, time in running and slow.
        no_data_s: time of which nothing is known; never production.
        planned_stop_s: stops whose reason is planned: no part of PBT.
        good, scrap: pieces.
        ideal_s: sum of PRI over the pieces.
        bridged: pieces of them that were made while no data came.
        counted_from: since when its pieces count.
        firsts: counter -> [its first total here, when], where the shift was opened late.
        asked: how often the store was asked for what was before.
    """

    start: int
    watched_from: int
    production_s: float = 0.0
    no_data_s: float = 0.0
    planned_stop_s: float = 0.0
    good: float = 0.0
    scrap: float = 0.0
    ideal_s: float = 0.0
    bridged: float = 0.0
    counted_from: int = 0
    firsts: dict[str, list[float]] = field(default_factory=dict)
    asked: int = 0

    def add_pieces(self, pieces: float, scrap: bool, ideal_cycle_s: float, bridged: bool) -> None:
        """Add pieces, or take them back where negative; what a shift did not count it cannot take
        back."""
        before = self.scrap if scrap else self.good
        pieces = max(pieces, -before)
        if scrap:
            self.scrap += pieces
        else:
            self.good += pieces
        self.ideal_s = max(self.ideal_s + pieces * ideal_cycle_s, 0.0)
        if bridged:
            self.bridged += max(pieces, 0.0)

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

        Target: the pieces that the planned time so far gives at the ideal cycle of what was made,
        weighted by pieces (of the present product, where none was made). So Actual / Target is the
        OEE, also in a shift of several products.
        """
        made = self.good + self.scrap
        if made > 0 and self.ideal_s > 0:
            ideal_cycle_s = self.ideal_s / made
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
        if (line.output.id, Role.GOOD_COUNT) not in line.by_role:
            # Nobody counts good pieces: 0 of them is no finding, also where scrap is counted.
            oee = Oee(oee.availability, None, None, None)
        since = max(self.watched_from, self.counted_from, self.start)
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
            counts_from=to_datetime(since),
            bridged=self.bridged,
            note=self._note(oee),
        )

    def _note(self, oee: Oee) -> str:
        """Why a figure cannot be as it is; empty where all can."""
        if oee.effectiveness is None or oee.effectiveness <= 1:
            return ""
        made = self.good + self.scrap
        watched = self.ideal_s * (1 - self.bridged / made) if made > 0 else 0.0
        if self.bridged and watched <= self.production_s:
            return f"{self.bridged:.0f} pieces were made while no data came: more than 100 %"
        return (
            f"The ideal cycle is too slow: {made:.0f} pieces took {self.production_s:.0f} s of "
            f"production and not {self.ideal_s:.0f} s"
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
