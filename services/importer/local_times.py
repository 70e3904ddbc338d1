"""Times of a site's clocks to UTC, a column at a time: the hour that comes twice and the one that
is left out. Pure; called by chunks.py.

Which pass of a repeated hour is meant the time does not say: the order of the lines does, where a
time steps back. What stays open is taken as the pass that fits best, and flagged.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from aurelian.model.time import HOUR_US, SECOND_US, to_datetime, to_us

_STEP_BACK_US = 600 * SECOND_US
"""A smaller step back is a line out of order, not the second pass of the hour."""

_COARSE_US = 1800 * SECOND_US
"""Values so far apart show the second pass as the same time again."""

_DAY_US = 24 * HOUR_US


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a zone's clocks: when (UTC), and the offsets before and after, microseconds."""

    at: int
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Last:
    """The line before, of one stream of lines: its own time, in UTC, the step to it, and whether it
    stood in the second pass of a repeated hour."""

    wall: int
    utc: int
    step: int = 0
    second: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Resolved:
    """Times in UTC. `missing`: in an hour that the zone leaves out. `open`: of a repeated hour, and
    it may be the other one."""

    utc: NDArray[np.int64]
    missing: NDArray[np.bool_]
    open: NDArray[np.bool_]


def changes_between(zone: ZoneInfo, first: int, last: int) -> list[Change]:
    """The changes of a zone's clocks from a day before `first` to a day after `last` (microseconds
    since 1970)."""
    found: list[Change] = []
    at = first - 2 * _DAY_US
    before = _offset(zone, at)
    while at < last + 2 * _DAY_US:
        then = at + 7 * _DAY_US
        after = _offset(zone, then)
        if after != before:
            low, high = at, then
            while high - low > SECOND_US:
                middle = (low + high) // 2
                low, high = (middle, high) if _offset(zone, middle) == before else (low, middle)
            moment = -(-high // SECOND_US) * SECOND_US
            if _offset(zone, moment - SECOND_US) != before:
                moment -= SECOND_US
            found.append(Change(moment, before, after))
        at, before = then, after
    return found


class LocalTimes:
    """The clocks of a file: `resolve` takes its lines block by block, in order.

    Attributes:
        last: the line before, by stream, within some days of a change; what a resumed import
            begins with.
    """

    def __init__(self, zone: ZoneInfo, *, newest_first: bool = False) -> None:
        self._zone, self._newest_first = zone, newest_first
        self.last: dict[int, Last] = {}

    def resolve(
        self, wall: NDArray[np.int64], usable: NDArray[np.bool_], stream: NDArray[np.int64]
    ) -> Resolved:
        """Read the times of some lines.

        Args:
            wall: (n,) microseconds since 1970 as the clock on the wall showed them.
            usable: (n,) which of them are times at all.
            stream: (n,) number of the signal in a long table, 0 in a wide one: the lines of each
                are in order.
        """
        n = len(wall)
        missing, twice = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
        if not usable.any():
            return Resolved(wall.copy(), missing, twice)
        low, high = int(wall[usable].min()), int(wall[usable].max())
        changes = changes_between(self._zone, low, high)
        starts = np.array([max(c.at + c.before, c.at + c.after) for c in changes], np.int64)
        offsets = np.array(
            [changes[0].before if changes else _offset(self._zone, low)]
            + [c.after for c in changes],
            np.int64,
        )
        utc = wall - offsets[np.searchsorted(starts, wall, side="right")]
        other = np.zeros(n, np.int64)
        for change in changes:
            if change.after > change.before:
                inside = (wall >= change.at + change.before) & (wall < change.at + change.after)
                missing |= inside & usable
            else:
                inside = (wall >= change.at + change.after) & (wall < change.at + change.before)
                inside &= usable
                twice |= inside
                utc[inside] = wall[inside] - change.before
                other[inside] = wall[inside] - change.after
        is_open = np.zeros(n, np.bool_)
        if twice.any():
            self._walk(wall, utc, other, twice, usable & ~missing, stream, is_open)
        elif changes:
            self._note(wall, utc, usable & ~missing, stream)
        else:
            self.last.clear()
        return Resolved(utc, missing, is_open)

    def _walk(
        self,
        wall: NDArray[np.int64],
        utc: NDArray[np.int64],
        other: NDArray[np.int64],
        twice: NDArray[np.bool_],
        usable: NDArray[np.bool_],
        stream: NDArray[np.int64],
        is_open: NDArray[np.bool_],
    ) -> None:
        """Go through a block with a repeated hour line by line: one a year."""
        sign = -1 if self._newest_first else 1
        for row in np.flatnonzero(usable).tolist():
            of, at = int(stream[row]), int(wall[row])
            last = self.last.get(of)
            second = False
            if twice[row]:
                # Of a file with the newest line first everything runs backwards.
                ends = sorted((sign * int(utc[row]), sign * int(other[row])))
                second, is_open[row] = _pass(sign * at, ends[0], ends[1], last, sign)
                utc[row] = sign * ends[second]
            self.last[of] = _after(last, at, int(utc[row]), second=second)

    def _note(
        self,
        wall: NDArray[np.int64],
        utc: NDArray[np.int64],
        usable: NDArray[np.bool_],
        stream: NDArray[np.int64],
    ) -> None:
        rows = np.flatnonzero(usable)
        if not len(rows):
            return
        backwards = rows[::-1]
        streams, ends = np.unique(stream[backwards], return_index=True)
        for of, end in zip(streams.tolist(), ends.tolist(), strict=True):
            row = int(backwards[end])
            before = self.last.get(int(of))
            same = rows[(stream[rows] == of) & (rows < row)][-8:]
            for earlier in same.tolist():
                before = _after(before, int(wall[earlier]), int(utc[earlier]), second=False)
            self.last[int(of)] = _after(before, int(wall[row]), int(utc[row]), second=False)


def _pass(wall: int, first: int, second: int, last: Last | None, sign: int) -> tuple[bool, bool]:
    """Whether a time of a repeated hour is of its second pass, and whether that stays open."""
    if last is None:
        return False, True
    utc, last_wall = sign * last.utc, sign * last.wall
    if last.second and utc > first:
        return True, wall < last_wall  # one that steps back again is out of order
    if second <= utc:
        return True, True  # behind the hour already: out of order
    back = last_wall - wall
    if utc >= second - 2 * HOUR_US and back >= _STEP_BACK_US and first < utc:
        return True, False
    if back == 0 and last.step >= _COARSE_US:
        return True, False
    if back > 0 and first < utc:
        return False, True
    return False, first - utc > max(_COARSE_US, 2 * last.step)


def _after(last: Last | None, wall: int, utc: int, *, second: bool) -> Last:
    if last is None:
        return Last(wall, utc, 0, second)
    step = abs(utc - last.utc) or last.step
    return Last(wall, utc, step, second)


def _offset(zone: ZoneInfo, at: int) -> int:
    """Of a zone's clocks from UTC at a time, microseconds."""
    when = to_datetime(at)
    local = when.astimezone(zone).replace(tzinfo=None)
    return to_us(local.replace(tzinfo=UTC)) - to_us(when)


def wall_text(us: int) -> str:
    """A time of a clock on the wall, for people."""
    return to_datetime(us).replace(tzinfo=None).isoformat(sep=" ")
