"""Pieces from the totals that machines report: resets, wraps, corrections and values that cannot
be. Pure; called by line.py and past.py.

A total is followed only where the time since the last one makes the step possible. What is not
possible is held until the next value says which of the two was right: a 0 between 120001 and
120002 is a fault of the reading, a 0 before 1 and 2 a reset.
"""

from __future__ import annotations

from dataclasses import dataclass

from aurelian.model.time import SECOND_US

FASTEST = 10.0
"""A machine makes at most this many times the pieces of its ideal cycle."""

SLACK = 10.0
"""Pieces that are always possible: a machine may report late, and several at once."""

CORRECTION_SHARE = 0.01
"""Share of a total that is taken back at once; more is held first."""

WORD_SIZES = (2.0**16, 2.0**32)
"""Where counters of 16 and 32 bits begin again."""


@dataclass(slots=True)
class Total:
    """A machine's counter as followed. Times in microseconds.

    Attributes:
        total, at: the newest value that fits, and when it counted.
        held, held_at: a value that did not fit and waits for the next one; None: none.
    """

    total: float
    at: int
    held: float | None = None
    held_at: int = 0


def follow(
    counter: Total, total: float, at: int, ideal_cycle_s: float, wraps_at: float | None = None
) -> float:
    """Take in a machine's total at `at`; return the pieces made since, negative where the machine
    took some back.

    Args:
        counter: what is known; is changed.
        total: of the machine.
        at: microseconds, not before the one before.
        ideal_cycle_s: planned run time per item (ISO 22400 PRI).
        wraps_at: the counter begins again at 0 there; None: at 16 or 32 bits, if at all.
    """
    held = counter.held
    direct = _step(counter.total, total, _bound(at - counter.at, ideal_cycle_s))
    if held == total and direct is None:
        return 0.0  # a repeat confirms nothing
    if held is not None and (direct is None or direct < 0):
        # A small fall below what was there before says less than a rise from what is held.
        step = _step(held, total, _bound(at - counter.held_at, ideal_cycle_s))
        if step is not None:
            return settle(counter, ideal_cycle_s, wraps_at) + _take(counter, total, at, step)
    if direct is not None:
        return _take(counter, total, at, direct)
    counter.held, counter.held_at = total, at
    return 0.0


def _take(counter: Total, total: float, at: int, made: float) -> float:
    counter.total, counter.at, counter.held = total, at, None
    return made


def settle(counter: Total, ideal_cycle_s: float, wraps_at: float | None = None) -> float:
    """Take what is held as confirmed; return the pieces that it stands for."""
    if counter.held is None:
        return 0.0
    bound = _bound(counter.held_at - counter.at, ideal_cycle_s)
    pieces = _begun_anew(counter.total, counter.held, bound, wraps_at)
    counter.total, counter.at, counter.held = counter.held, counter.held_at, None
    return pieces


def _bound(elapsed_us: int, ideal_cycle_s: float) -> float:
    return SLACK + FASTEST * max(elapsed_us, 0) / SECOND_US / ideal_cycle_s


def _step(before: float, total: float, bound: float) -> float | None:
    """Pieces from one total to the next; None: not possible in the time, or a reset."""
    made = total - before
    if 0 <= made <= bound:
        return made
    # A machine that finds a piece bad takes it back; one that starts anew reports 0.
    if made < 0 < total and -made <= max(1.0, CORRECTION_SHARE * before):
        return made
    return None


def _begun_anew(before: float, held: float, bound: float, wraps_at: float | None) -> float:
    """Pieces between two totals that do not fit, now that the second is confirmed."""
    for size in WORD_SIZES if wraps_at is None else (wraps_at,):
        if held < before < size and size - before + held <= bound:
            return size - before + held
    if 0 <= held < before:
        fall, at_the_ideal_cycle = before - held, (bound - SLACK) / FASTEST
        # 50 and then 45: were 45 made since a reset, or 5 taken back? What takes less counts,
        # where 45 in that time would be beyond the ideal cycle.
        if held > max(at_the_ideal_cycle, fall) and fall <= bound:
            return -fall  # more than a share was taken back
        if held <= bound:
            return held  # a reset: what it shows was made since
        if fall <= bound:
            return -fall
    return 0.0  # it was set to another number: nobody knows what was made
