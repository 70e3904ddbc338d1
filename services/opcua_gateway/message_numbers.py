"""The numbers of a subscription's messages: which come next, which are missing, which are to be
acknowledged. Pure; used by publishing.py."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence as Items
from dataclasses import dataclass

LAST = 2**32 - 1
"""The highest number; the one after it is 1, never 0 (part 4, 7.26)."""

ASKED_FOR = 1000
"""At most this many missing messages are asked for again; servers keep far fewer."""

UNLISTED = 20
"""Of the missing messages that a server does not list as kept the newest are asked for all the
same, as some have no list. Asking for a thousand in vain at each message starves a subscription."""

REMEMBERED = 1000
"""Messages whose number and time are remembered, so that one that comes again is known."""

LATE = 100
"""A message that is behind by at most so many, and was not seen, is late; another one shows that
the server numbers anew."""


VALUES_ON_THE_WAY = 40_000
"""Of a source, between the server and the outbox: what does not fit waits at the server. More make
every value older and take memory, and nothing faster."""


class Window:
    """Messages of a source that wait for the outbox; while there are `limit`, or they have
    `VALUES_ON_THE_WAY`, no more are asked for."""

    def __init__(self, limit: int) -> None:
        self.room = asyncio.Event()
        self.room.set()
        self._limit, self._messages, self._values = limit, 0, 0

    def add(self, messages: int, values: int) -> None:
        """So many more wait, or fewer where negative."""
        self._messages += messages
        self._values += values
        if self._messages < self._limit and self._values < VALUES_ON_THE_WAY:
            self.room.set()
        else:
            self.room.clear()


class Acknowledgements:
    """What of one subscription is still to be acknowledged; outlives a break of the connection."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._waiting: dict[int, int] = {}  # values by number
        self._ready: deque[int] = deque()

    def delivered(self, number: int, values: int) -> None:
        """A message went on its way to the disk."""
        if number not in self._waiting:
            self._waiting[number] = values
            self._window.add(1, values)

    def withdrawn(self, number: int) -> None:
        """A message did not go on its way after all."""
        if number in self._waiting:
            self._window.add(-1, -self._waiting.pop(number))

    def stored(self, number: int) -> None:
        """A message is on our disk: the next Publish request may say so."""
        if number in self._waiting:
            self._window.add(-1, -self._waiting.pop(number))
        self._ready.append(number)

    def repeated(self, number: int) -> None:
        """A message came again: acknowledge it, unless it is still on its way to the disk."""
        if number not in self._waiting and number not in self._ready:
            self._ready.append(number)

    def take(self) -> list[int]:
        """The numbers to send with the next Publish request."""
        ready = list(self._ready)
        self._ready.clear()
        return ready

    def put_back(self, numbers: list[int]) -> None:
        """The request that carried them failed."""
        self._ready.extendleft(reversed(numbers))


@dataclass(frozen=True, slots=True)
class Observation:
    """What a message's number says.

    Attributes:
        fresh: carries notifications that were not seen yet.
        missing: numbers to ask for before it, oldest first; at most the newest ASKED_FOR.
        skipped: how many numbers were skipped in all.
    """

    fresh: bool
    missing: tuple[int, ...] = ()
    skipped: int = 0


class Sequence:
    """Follows the numbers of a subscription.

    Some servers begin anew in the middle of a subscription, or go from 65535 to 1: what is behind
    was seen only where its PublishTime is the same.

    Args:
        expected: None: the first message sets it.
        seen: PublishTime by number of the messages before, oldest first.
    """

    def __init__(self, expected: int | None = 1, seen: dict[int, int] | None = None) -> None:
        self.expected = expected
        self.seen = {} if seen is None else seen
        self.restarts = 0

    def observe(self, number: int, *, keep_alive: bool, published_at: int = 0) -> Observation:
        """Take the number of a message. A keep-alive carries the number that the next message will
        have."""
        if number == 0:
            # No message may have it; servers that count from it, or over it, exist.
            self.expected = self.expected or 1
            return Observation(fresh=not keep_alive)
        if self.expected is None:
            self.expected = number
        ahead = (number - self.expected) % LAST
        if ahead > LAST // 2:
            return Observation(fresh=False) if keep_alive else self._behind(number, published_at)
        missing = tuple(advance(number, -back) for back in range(min(ahead, ASKED_FOR), 0, -1))
        self.expected = number if keep_alive else advance(number, 1)
        if not keep_alive:
            self.note(number, published_at)
        return Observation(not keep_alive, missing, ahead)

    def behind(self, numbers: Items[int]) -> list[int]:
        """Which of the numbers are before the next one."""
        if self.expected is None:
            return []
        return [each for each in numbers if (each - self.expected) % LAST > LAST // 2]

    def go_back(self, expected: int | None) -> None:
        """Expect again a number of before: from there on nothing was told."""
        self.expected = expected

    def note(self, number: int, published_at: int) -> None:
        """Remember a message that was seen."""
        self.seen.pop(number, None)  # to the end
        self.seen[number] = published_at
        if len(self.seen) > REMEMBERED:
            del self.seen[next(iter(self.seen))]

    def _behind(self, number: int, published_at: int) -> Observation:
        before = self.seen.get(number)
        if before is not None and published_at in (before, 0):
            return Observation(fresh=False)
        back = ((self.expected or 1) - number) % LAST
        self.note(number, published_at)
        if before is None and back <= LATE:
            return Observation(fresh=True)
        self.restarts += 1
        self.expected = advance(number, 1)
        # From 1 on nothing is missing; else nobody knows how much.
        return Observation(fresh=True, skipped=int(number != 1))


def to_ask_for(missing: Items[int], available: Items[int]) -> tuple[int, ...]:
    """Which of the missing messages, oldest first, are asked for: those that the server lists as
    kept, and the newest ones that it does not list."""
    listed = set(available)
    unlisted = set([number for number in missing if number not in listed][-UNLISTED:])
    return tuple(number for number in missing if number in listed or number in unlisted)


def advance(number: int, by: int) -> int:
    """The number `by` messages later (earlier when negative)."""
    return (number - 1 + by) % LAST + 1
