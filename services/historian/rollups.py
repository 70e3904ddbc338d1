"""Pure: what a set of rows adds to the rollups of their minutes and hours. Called by writer.py, in
a thread.

Rollups are merged, not recomputed: each row that is really inserted adds to its minute and its hour
in the same transaction. All parts of a rollup (count, bad, sum, min, max, first, last) merge in any
order, so late data is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from aurelian.model.time import HOUR_US
from historian.columns import Columns

T = TypeVar("T", bound=np.generic)

MINUTE_US = 60_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Rollup:
    """One entry per (signal, bucket), sorted. Where `count` is 0 the values are 0 and mean
    nothing."""

    signal: NDArray[np.int32]
    bucket: NDArray[np.int64]
    count: NDArray[np.int64]
    bad: NDArray[np.int64]
    sum: NDArray[np.float64]
    min: NDArray[np.float64]
    max: NDArray[np.float64]
    first: NDArray[np.float64]
    first_time: NDArray[np.int64]
    first_sub: NDArray[np.int32]
    last: NDArray[np.float64]
    last_time: NDArray[np.int64]
    last_sub: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.signal)


def by_minute(columns: Columns) -> Rollup:
    """Sum up rows that are sorted by (signal, time, sub)."""
    minutes = columns.time - columns.time % MINUTE_US
    starts = _group_starts(columns.signal, minutes)
    value = columns.value
    good = ~np.isnan(value) & (columns.status < 0x80000000)
    if good.all():
        firsts, lasts = starts, np.append(starts[1:], len(value))[: len(starts)] - 1
        count = lasts - firsts + 1
        bad = np.zeros(len(starts), np.int64)
        low = high = total = value
    else:
        place = np.arange(len(value))
        firsts = _reduce(np.minimum, np.where(good, place, len(value) - 1), starts)
        lasts = _reduce(np.maximum, np.where(good, place, 0), starts)
        count = _reduce(np.add, good.astype(np.int64), starts)
        bad = _reduce(np.add, (~good).astype(np.int64), starts)
        low, high = np.where(good, value, np.inf), np.where(good, value, -np.inf)
        total = np.where(good, value, 0.0)
    some = count > 0
    with np.errstate(over="ignore", invalid="ignore"):
        return Rollup(
            columns.signal[starts],
            minutes[starts],
            count.astype(np.int64),
            bad,
            _reduce(np.add, total, starts),
            np.where(some, _reduce(np.minimum, low, starts), 0.0),
            np.where(some, _reduce(np.maximum, high, starts), 0.0),
            np.where(some, value[firsts], 0.0),
            np.where(some, columns.time[firsts], 0),
            np.where(some, columns.sub[firsts], 0),
            np.where(some, value[lasts], 0.0),
            np.where(some, columns.time[lasts], 0),
            np.where(some, columns.sub[lasts], 0),
        )


def by_hour(minutes: Rollup) -> Rollup:
    """Sum up minutes into hours."""
    hours = minutes.bucket - minutes.bucket % HOUR_US
    starts = _group_starts(minutes.signal, hours)
    some_minutes = minutes.count > 0
    place = np.arange(len(minutes))
    last_place = max(len(minutes) - 1, 0)
    firsts = _reduce(np.minimum, np.where(some_minutes, place, last_place), starts)
    lasts = _reduce(np.maximum, np.where(some_minutes, place, 0), starts)
    count = _reduce(np.add, minutes.count, starts)
    some = count > 0
    with np.errstate(over="ignore", invalid="ignore"):
        return Rollup(
            minutes.signal[starts],
            hours[starts],
            count,
            _reduce(np.add, minutes.bad, starts),
            _reduce(np.add, minutes.sum, starts),
            np.where(
                some, _reduce(np.minimum, np.where(some_minutes, minutes.min, np.inf), starts), 0.0
            ),
            np.where(
                some, _reduce(np.maximum, np.where(some_minutes, minutes.max, -np.inf), starts), 0.0
            ),
            minutes.first[firsts],
            minutes.first_time[firsts],
            minutes.first_sub[firsts],
            minutes.last[lasts],
            minutes.last_time[lasts],
            minutes.last_sub[lasts],
        )


def _group_starts(signal: NDArray[np.int32], bucket: NDArray[np.int64]) -> NDArray[np.intp]:
    if not len(signal):
        return np.zeros(0, np.intp)
    change = (signal[1:] != signal[:-1]) | (bucket[1:] != bucket[:-1])
    return np.concatenate([np.zeros(1, np.intp), np.flatnonzero(change) + 1])


def _reduce(how: np.ufunc, values: NDArray[T], starts: NDArray[np.intp]) -> NDArray[T]:
    reduced: NDArray[T] = how.reduceat(values, starts) if len(starts) else values[:0]
    return reduced
