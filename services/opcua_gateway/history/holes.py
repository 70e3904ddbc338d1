"""What of each node did not come live, and shall be read out of the server's history. Pure; fed by
deliveries.py in the order of the deliveries, worked off by read_back.py.

A hole is open until the node's next live value comes. Its edges are values that were delivered, so
what lies strictly between them, in whole microseconds, is all that is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from aurelian.edge.columns import NO_TIME
from aurelian.edge.contract import MAX_AHEAD
from aurelian.model.codec import SourceEvent
from aurelian.model.time import SECOND_US
from opcua_gateway.decode.notifications import Published
from opcua_gateway.mapping import OVERFLOW, OVERFLOW_BITS, Notification

MOST_HOLES = 200_000
"""Closed ones that wait; beyond, and beyond two for each node, the oldest are given up."""

_MARGIN_US = 5 * SECOND_US
"""Where a node's last value is not known, as after a restart of ours: read from so long before the
last message. What is read twice then is stored once (D6)."""

_PATIENCE_US = 120 * SECOND_US
"""A node that has no value so long after a new session is read up to its beginning."""

_SHORT_PATIENCE_US = 5 * SECOND_US
"""The same after lost messages: most nodes do not change every second."""


class Outcome(Enum):
    """How the reading of a hole ended."""

    WHOLE = "the history reaches back to the last value that came live"
    PART = "it does not, so that nobody knows whether more is missing"
    NO_HISTORY = "the node has no history"
    REFUSED = "the server refuses the node, or its history"
    GIVEN_UP = "too many values, or too many attempts"


@dataclass(slots=True, eq=False)
class Gap:
    """What became of the holes of one gap.

    Attributes:
        event: as it was told; None: by the process before this one.
        open: holes that are not worked off.
        outcomes: how many of the others ended how.
        values: that were read.
    """

    event: SourceEvent | None
    open: int = 0
    outcomes: dict[Outcome, int] = field(default_factory=dict)
    values: int = 0


_Content = tuple[str, str, int]
"""Type, value as text (no number is equal to NaN) and status."""


@dataclass(slots=True, eq=False)
class Hole:
    """What is missing of one node, strictly between two times (microseconds since 1970).

    Attributes:
        after: its last value before; goes forward as values are read.
        before: its first live value; None: it has not come yet.
        until: read up to this time where `before` does not come.
        gaps: that it is part of.
        edge: time of the last value before that was delivered; None: not known.
        seen: what was read of the values at `after`: a response may end between values of one time.
        unstored: where `after` was before values that are on their way to our disk; None: none are.
        needs_first: without `before` nobody knows whether more is missing after `until`.
        settles_at: `before` is not waited for any longer.
        is_ready: it was given to be read.
        is_alone: to be read in a request of its own.
        reached: the history had the value at `edge`, so it has what followed, too.
        values: read so far.
        attempts: requests in a row that brought nothing.
    """

    handle: int
    after: int
    before: int | None
    until: int
    gaps: list[Gap]
    edge: int | None
    seen: set[_Content] | None = None
    unstored: int | None = None
    needs_first: bool = False
    settles_at: int = 0
    is_ready: bool = False
    is_alone: bool = False
    reached: bool = False
    values: int = 0
    attempts: int = 0

    @property
    def end(self) -> int:
        """Exclusive end of what is missing."""
        return self.until + 1 if self.before is None else self.before

    def note(self, value: Notification) -> None:
        """A value of it is on its way: what was read goes up to there."""
        time = time_of(value) or self.after
        if time != self.after or self.seen is None:
            self.seen = set()
        self.after = time
        self.seen.add(_content(value))
        self.values += 1
        self.attempts = 0


class Holes:
    """The holes of one source's nodes; outlives its sessions.

    Args:
        nodes: how many; their handles count from 0.
        is_on: False: nothing is noted.
        longest_us: of a longer hole its end is read.

    Attributes:
        completed: gaps whose holes are all worked off; who tells of them takes them out.
    """

    def __init__(self, nodes: int, *, is_on: bool, longest_us: int) -> None:
        self._nodes, self._is_on, self._longest_us = nodes, is_on, longest_us
        self._last = np.full(nodes, NO_TIME, np.int64)
        self._is_waiting = np.zeros(nodes, np.bool_)
        self._waiting: dict[int, Hole] = {}  # for their first live value
        self._ready: list[Hole] = []
        self._taken: list[Hole] = []
        self._is_sorted = True
        self._settles_at = 0
        self.completed: list[Gap] = []

    @property
    def are_being_read(self) -> bool:
        """Whether some are read now, or are next."""
        return bool(self._ready or self._taken)

    @property
    def unread(self) -> tuple[int, int] | None:
        """From when to when something is missing, all nodes together; None: nothing."""
        holes = {id(h): h for h in (*self._waiting.values(), *self._ready, *self._taken)}.values()
        if not holes:
            return None
        begins = (h.after if h.unstored is None else h.unstored for h in holes)
        return min(begins), max(hole.end for hole in holes)

    def missed_by_all(self, event: SourceEvent, *, new_session: bool = False) -> SourceEvent:
        """Any node may have missed values; returns the gap event. In a new session each node's
        first value comes soon."""
        if not self._is_on:
            return event
        if not new_session and self._is_waiting.all():
            # All wait for their next value as it is: with a gap in each message they would
            # otherwise collect gaps without end. This one is not told as recovered.
            return event
        # By the server's clock, as the gap is.
        gap, until = Gap(event), event.gap.to_time
        settles_at = event.time + (_PATIENCE_US if new_session else _SHORT_PATIENCE_US)
        for handle, last in enumerate(self._last.tolist()):
            hole = self._waiting.get(handle)
            if hole is None:
                edge = None if last == NO_TIME else last
                after = event.gap.from_time - _MARGIN_US if edge is None else edge
                hole = Hole(handle, after, None, until, [], edge)
                self._waiting[handle] = hole
            self._join(hole, gap)
            hole.until, hole.settles_at = max(hole.until, until), settles_at
            hole.needs_first |= new_session
        self._is_waiting[:] = True
        self._settles_at = settles_at
        return event

    def overflowed(self, event: SourceEvent, published: Published) -> SourceEvent:
        """The server's queues lost values just before some of this message; returns the gap
        event."""
        if not self._is_on:
            return event
        gap = Gap(event)
        previous: dict[int, int] = {}
        for each in published.notifications:
            time = time_of(each)
            if each.handle >= self._nodes or time is None:
                continue
            last = previous.get(each.handle, int(self._last[each.handle]))
            is_open = each.handle in self._waiting and each.handle not in previous
            is_full = each.status & OVERFLOW_BITS == OVERFLOW and time > last
            if is_full and last != NO_TIME and not is_open:
                self._close(self._join(Hole(each.handle, last, None, 0, [], last), gap), time)
            previous[each.handle] = time
        return event

    def reopen(self, after: int, before: int) -> None:
        """Note what the process before this one had not read yet, in any node."""
        if not self._is_on:
            return
        gap = Gap(None)
        for handle in range(self._nodes):
            self._close(self._join(Hole(handle, after, None, before, [], None), gap), before)

    def delivered(self, published: Published, at: int) -> None:
        """Values were delivered live; `at`: when the message came."""
        if not self._is_on:
            return
        # What stands behind damage may be of any node: the next message ends its hole.
        closes = not published.unreadable
        for numbers in published.numbers:
            without = numbers.source_time == NO_TIME
            times = np.where(without, numbers.server_time, numbers.source_time)
            self._note(numbers.handle.astype(np.int64), times, at, closes=closes)
        if published.others:
            found = [(each.handle, time) for each in published.others if (time := time_of(each))]
            if found:
                columns = np.array(found, np.int64)
                self._note(columns[:, 0], columns[:, 1], at, closes=closes)

    def refused(self, handles: Iterable[int]) -> None:
        """The server does not give these nodes: nothing will come that closes their holes."""
        for handle in handles:
            hole = self._waiting.get(handle)
            if hole is not None and not hole.is_ready:
                self.finish(hole, Outcome.REFUSED)

    def take(self, most: int, now: int) -> list[Hole]:
        """Holes that one request can read: of different nodes, of much the same time."""
        self._settle(now)
        if not self._is_sorted:
            self._ready.sort(key=_order, reverse=True)
            self._is_sorted = True
        taken: dict[int, Hole] = {}
        while self._ready and len(taken) < most:
            hole = self._ready[-1]
            if taken and (hole.is_alone or hole.attempts > 1):
                break
            if taken:
                first = next(iter(taken.values()))
                length = max(first.end - first.after, SECOND_US)
                begins = min(first.after, hole.after)
                if hole.handle in taken or hole.end - begins > 4 * length:
                    break
            taken[hole.handle] = self._ready.pop()
            if hole.is_alone or hole.attempts > 1:
                break
        self._taken += taken.values()
        return list(taken.values())

    def put_back(self) -> None:
        """What was taken and is not worked off shall be taken again."""
        self._ready += self._taken
        self._is_sorted &= not self._taken
        self._taken = []

    def is_taken(self, hole: Hole) -> bool:
        """Whether it was taken and is not worked off."""
        return hole in self._taken

    def finish(self, hole: Hole, outcome: Outcome) -> None:
        """A hole is worked off."""
        if hole in self._taken:
            self._taken.remove(hole)
        if self._waiting.get(hole.handle) is hole:
            del self._waiting[hole.handle]
            self._is_waiting[hole.handle] = False
        for gap in hole.gaps:
            gap.outcomes[outcome] = gap.outcomes.get(outcome, 0) + 1
            gap.values += hole.values
            gap.open -= 1
            if not gap.open:
                self.completed.append(gap)

    def _note(
        self, handles: NDArray[np.int64], times: NDArray[np.int64], at: int, *, closes: bool
    ) -> None:
        # A time far ahead is no time (see `contract.apply`): what follows would be missed for it.
        usable = (handles < self._nodes) & (times != NO_TIME) & (times <= at + MAX_AHEAD)
        if not usable.all():
            handles, times = handles[usable], times[usable]
        if not len(times):
            return
        if self._waiting and closes:
            hit = self._is_waiting[handles]
            for handle, time in zip(handles[hit].tolist(), times[hit].tolist(), strict=True):
                if (hole := self._waiting.pop(handle, None)) is not None:
                    self._is_waiting[handle] = False
                    self._close(hole, time)
        self._last[handles] = times  # the last one of a node counts

    def _join(self, hole: Hole, gap: Gap) -> Hole:
        hole.gaps.append(gap)
        gap.open += 1
        return hole

    def _close(self, hole: Hole, time: int) -> None:
        """The first live value behind a hole came."""
        hole.before = time
        if hole.is_ready:
            return  # who reads it sees the new end
        if time <= hole.after:
            # The value of before again: nothing happened. An older one: its clock was set back.
            is_same = time == hole.after or hole.edge is None
            self.finish(hole, Outcome.WHOLE if is_same else Outcome.PART)
            return
        self._give(hole)

    def _give(self, hole: Hole) -> None:
        hole.is_ready = True
        if hole.end - hole.after > self._longest_us:
            hole.after, hole.edge = hole.end - self._longest_us, None
        self._ready.append(hole)
        self._is_sorted = False
        most = max(MOST_HOLES, 2 * self._nodes)
        if len(self._ready) > most:
            self._ready.sort(key=lambda each: each.end, reverse=True)
            for oldest in self._ready[most // 2 :]:
                self.finish(oldest, Outcome.GIVEN_UP)
            del self._ready[most // 2 :]

    def _settle(self, now: int) -> None:
        """Give the holes whose first live value is not waited for any longer."""
        if not self._waiting or now < self._settles_at:
            return
        # A copy: where there are too many, giving one gives others up.
        for hole in list(self._waiting.values()):
            if not hole.is_ready and hole.settles_at <= now and hole.handle in self._waiting:
                hole.edge = None if hole.needs_first else hole.edge
                self._give(hole)


def missing(hole: Hole, found: Sequence[Notification]) -> list[Notification]:
    """Those of a node's values that lie in its hole, by time, equal ones of one time once; notes
    whether its edge is among `found`."""
    inside: list[tuple[int, Notification]] = []
    taken = {(hole.after, each) for each in hole.seen or ()}
    for each in found:
        time = time_of(each)
        if time is None:
            continue
        hole.reached |= time == hole.edge
        # At `after` itself only where that is a value that was read, not one that came live.
        if (hole.after < time or (time == hole.after and hole.seen)) and time < hole.end:
            content = time, _content(each)
            if content not in taken:
                taken.add(content)
                inside.append((time, each))
    inside.sort(key=lambda each: each[0])
    return [each for _, each in inside]


def _content(value: Notification) -> _Content:
    return value.type.name, repr(value.value), value.status


def time_of(each: Notification) -> int | None:
    """When a value is: at its source's time, else the server's; microseconds since 1970."""
    return each.server_time if each.source_time is None else each.source_time


def _order(hole: Hole) -> tuple[int, int]:
    """By length in powers of two, then by time: a request has one span for all of its nodes."""
    return (max(hole.end - hole.after, 0) // SECOND_US).bit_length(), hole.after
