"""What the values of a signal say of it: a counter only rises, a state has few whole numbers. Pure;
called by proposal.py."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum
from itertools import groupby, pairwise
from statistics import median, pstdev

MOST_STATES = 24
"""More different values than that are no states of a machine."""

_STATES_BELOW = 1000
_LEAST_BEATS = 5


class Shape(Enum):
    """How values behave."""

    UNKNOWN = "unknown"  # none, or no numbers
    STILL = "still"  # never another one
    ROSE = "rose"  # whole numbers, once another one, above it: a slow counter, or a state
    SWITCH = "switch"  # true and false
    COUNTER = "counter"  # whole numbers that only rise, apart from a new begin
    BEAT = "beat"  # a counter that rises by the clock: a sign of life
    TOTAL = "total"  # fractions that only rise
    FEW = "few"  # few different whole numbers, to and fro
    WORDS = "words"  # few different texts
    MANY = "many"  # anything else


def shape_of(values: Sequence[object], times: Sequence[float] = ()) -> Shape:
    """The shape of values in the order in which they came; `times`: of each, seconds, or none."""
    kept = [(n, each) for n, each in enumerate(values) if each is not None]
    if not kept:
        return Shape.UNKNOWN
    seen = [each for _, each in kept]
    if all(isinstance(each, bool) for each in seen):
        return Shape.SWITCH
    texts = [each for each in seen if isinstance(each, str)]
    if len(texts) == len(seen):
        distinct = len(set(texts))
        if distinct == 1:
            return Shape.STILL
        # Words of a state come again; texts of which each is another one are times or numbers of
        # orders, and what is made of digits is no word.
        comes_again = distinct < len(list(groupby(texts)))
        are_words = all(sum(map(str.isdigit, each)) * 2 <= len(each) for each in texts)
        is_few = distinct <= MOST_STATES and are_words and (comes_again or distinct == 2)
        return Shape.WORDS if is_few else Shape.MANY
    numbers = [as_float(each) for each in seen if isinstance(each, int | float)]
    if len(numbers) != len(seen) or not all(map(math.isfinite, numbers)):
        return Shape.UNKNOWN
    if len(set(numbers)) == 1:
        return Shape.STILL
    whole = all(each.is_integer() for each in numbers)
    steps = [b - a for a, b in pairwise(numbers) if b != a]
    if _only_rises(numbers):
        rises = sum(each > 0 for each in steps)
        if not whole:
            return Shape.TOTAL if rises >= 3 else Shape.MANY
        if rises >= 2:
            at = [times[n] for n, _ in kept] if len(times) == len(values) else []
            return Shape.BEAT if _is_beat(numbers, at) else Shape.COUNTER
        if rises == 1 and len(set(numbers)) == 2:
            return Shape.ROSE
    most = min(MOST_STATES, max(2, len(numbers) // 2 + 1))
    if whole and min(numbers) >= 0 and max(numbers) < _STATES_BELOW and len(set(numbers)) <= most:
        return Shape.FEW
    return Shape.MANY


def as_float(number: float) -> float:
    """A number as a float; one that JSON had more digits of than any float has is infinite."""
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _only_rises(numbers: Sequence[float]) -> bool:
    """Whether no number is below the one before, but for a new begin near 0."""
    falls = [(a, b) for a, b in pairwise(numbers) if b < a]
    return all(b <= max(1.0, 0.02 * a) for a, b in falls) and len(falls) <= len(numbers) // 10


def _is_beat(numbers: Sequence[float], times: Sequence[float]) -> bool:
    """Whether it rises by the same number in the same time, over and over, and often: machines make
    no parts so."""
    changed = [n for n in range(1, len(numbers)) if numbers[n] != numbers[n - 1]]
    if len(times) != len(numbers) or len(changed) < _LEAST_BEATS:
        return False
    steps = {numbers[n] - numbers[n - 1] for n in changed}
    at = [times[n] for n in changed]
    pauses = [b - a for a, b in pairwise(at)]
    middle = median(pauses)
    return len(steps) == 1 and 0 < middle <= 2.0 and pstdev(pauses) <= 0.05 * middle
