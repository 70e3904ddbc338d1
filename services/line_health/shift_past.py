"""The running shift from before it was watched: opened late, filled from the store. Pure; called by
line.py, and by past.py with what the store has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from aurelian.model.calendar import ShiftSpan
from aurelian.model.plant_parts import LineState, Role
from aurelian.model.time import to_us
from line_health.counter import Total, follow, settle
from line_health.line_status import LineStatus
from line_health.plant import LineInfo
from line_health.shift import ShiftSums

ASK_AFTER_S = (0, 5, 15, 30, 60, 120, 300, 900)
"""When the store is asked for what was before, after the line was first watched: what it gets from
others (history of the pilot plant, late data) may come a little later."""


@dataclass(frozen=True, slots=True)
class Gap:
    """What is not known of a line's running shift. Times in microseconds.

    Attributes:
        line, path, owner: of the line.
        start: of the shift.
        watched_from: up to where its states are looked for.
        firsts: counter signal -> [its first total here, when]: up to where its totals are.
        scrap: which of the counters count scrap.
        wraps_at: counter signal -> where it begins again.
        product: signal with the product; empty: none.
        cycles: product -> its ideal cycle in seconds; "": of all others.
    """

    line: str
    path: str
    start: int
    watched_from: int
    firsts: dict[str, list[float]]
    scrap: frozenset[str]
    wraps_at: dict[str, float | None]
    product: str
    cycles: dict[str, float]


@dataclass(frozen=True, slots=True)
class PastSpan:
    """A state of the line in the store. `planned`: a stop whose reason is planned."""

    start: int
    end: int
    state: str
    planned: bool


@dataclass(slots=True)
class Past:
    """What the store has for a gap.

    Attributes:
        gap: that was asked for.
        spans: ascending, inside the gap.
        pieces: (scrap or not, pieces, ideal cycle, bridged) as they were made.
        counted_from: since when `pieces` count; 0: the store has none.
    """

    gap: Gap
    spans: Sequence[PastSpan] = ()
    pieces: list[tuple[bool, float, float, bool]] = field(default_factory=list)
    counted_from: int = 0


def open_shift(line: LineInfo, status: LineStatus, shift: ShiftSpan, at: int) -> ShiftSums:
    """Begin to sum a shift at `at`."""
    start = to_us(shift.start)
    sums = ShiftSums(start, max(start, at), counted_from=max(start, at))
    for id, total in status.totals.items():
        signal = line.signals.get(id)
        if signal is not None and signal.unit == line.output.id and at > start:
            sums.firsts[id] = [total.total, total.at]
    return sums


def find_gap(line: LineInfo, sums: ShiftSums) -> Gap | None:
    """What is not known of the shift; None: all of it is."""
    counters = {
        signal.id: signal
        for signal in line.output.signals.values()
        if signal.role in (Role.GOOD_COUNT, Role.SCRAP_COUNT)
    }
    firsts = {id: first for id, first in sums.firsts.items() if id in counters}
    if sums.watched_from <= sums.start and not firsts:
        return None
    return Gap(
        line=line.id,
        path=line.path,
        start=sums.start,
        watched_from=sums.watched_from,
        firsts={id: list(first) for id, first in firsts.items()},
        scrap=frozenset(id for id in firsts if counters[id].role is Role.SCRAP_COUNT),
        wraps_at={id: counters[id].wraps_at for id in firsts},
        product=line.by_role.get((line.constraint.id, Role.PRODUCT), ""),
        cycles={"": line.products[0].ideal_cycle_s}
        | {product.id: product.ideal_cycle_s for product in line.products},
    )


def add_past(sums: ShiftSums, shift: ShiftSpan, past: Past) -> None:
    """Add what the store has to the sums; where they changed since it was asked, nothing."""
    if sums.start != past.gap.start:
        return
    sums.asked += 1
    if past.spans and sums.watched_from == past.gap.watched_from:
        known_to = max(past.spans[0].start, sums.start)
        known_from = known_to
        for span in past.spans:
            start, end = max(span.start, known_to), min(span.end, sums.watched_from)
            if end > start:
                sums.add_time(shift, LineState.NO_DATA, False, known_to, start)
                sums.add_time(shift, span.state, span.planned, start, end)
                known_to = end
        sums.add_time(shift, LineState.NO_DATA, False, known_to, sums.watched_from)
        sums.watched_from = known_from
    if past.counted_from and sums.firsts == past.gap.firsts:
        for scrap, pieces, cycle_s, bridged in past.pieces:
            sums.add_pieces(pieces, scrap, cycle_s, bridged)
        sums.counted_from, sums.firsts = max(past.counted_from, sums.start), {}


def count_past(
    gap: Gap,
    totals: dict[str, list[tuple[int, float]]],
    products: Sequence[tuple[int, str]],
    silences: Sequence[tuple[int, int]],
) -> Past:
    """Follow the counters through the totals of the store up to their first here.

    Args:
        gap: asked for.
        totals: counter -> (time, total) ascending; the first may be from before the shift.
        products: (time, product) ascending.
        silences: times without data.
    """
    past = Past(gap)
    for id, read in totals.items():
        first_total, first_at = gap.firsts[id]
        rows = [row for row in read if row[0] < first_at]
        if not rows:
            continue
        past.counted_from = max(past.counted_from, max(rows[0][0], gap.start))
        counter = Total(rows[0][1], rows[0][0])
        for (before, _), (at, total) in pairwise([*rows, (int(first_at), first_total)]):
            cycle_s = _cycle_at(gap, products, at)
            made = follow(counter, total, max(at, counter.at), cycle_s, gap.wraps_at[id])
            if made and at >= gap.start:
                bridged = any(start < at and end > before for start, end in silences)
                past.pieces.append((id in gap.scrap, made, cycle_s, bridged))
        # The first total here is followed by others, so that it was no fault of the reading.
        cycle_s = _cycle_at(gap, products, int(first_at))
        if begun := settle(counter, cycle_s, gap.wraps_at[id]):
            past.pieces.append((id in gap.scrap, begun, cycle_s, True))
    return past


def _cycle_at(gap: Gap, products: Sequence[tuple[int, str]], at: int) -> float:
    product = ""
    for since, name in products:
        if since > at:
            break
        product = name
    return gap.cycles.get(product, gap.cycles[""])
