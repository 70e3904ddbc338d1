"""The numbers of a subscription's messages: which come next, which are missing, which are to be
acknowledged. Pure; used by publishing.py."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

LAST = 2**32 - 1
"""The highest number; the one after it is 1, never 0 (part 4, 7.26)."""

ASKED_FOR = 1000
"""At most this many missing messages are asked for again; servers keep far fewer."""


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

    def stored(self, number: int) -> None:
        """A message is on our disk: the next Publish request may say so."""
        if number in self._waiting:
            self._window.add(-1, -self._waiting.pop(number))
        self._ready.append(number)

    def repeated(self, number: int) -> None:
        """A message came again: acknowledge it, unless it is still on its way to the disk."""
        if number not in self._waiting:
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
    """Follows the numbers of a subscription. `expected` None: the first message sets it.

    A number behind the expected one is that of a message that came already, or the server counts
    from there: it began anew, or a number before was damaged on the way. What is taken for a
    message that came already is lost, so that this counts only where it did."""

    def __init__(self, expected: int | None = 1) -> None:
        self.expected = expected
        self._taken: dict[int, None] = {}  # the newest last

    def take(self, number: int) -> None:
        """A message has come, by whatever way."""
        self._taken[number] = None
        if len(self._taken) > 2 * ASKED_FOR:
            del self._taken[next(iter(self._taken))]

    def observe(self, number: int, *, keep_alive: bool) -> Observation:
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
            if number in self._taken:
                return Observation(fresh=False)
            ahead = 0
        if not keep_alive:
            self.take(number)
        missing = tuple(advance(number, -back) for back in range(min(ahead, ASKED_FOR), 0, -1))
        self.expected = number if keep_alive else advance(number, 1)
        return Observation(not keep_alive, missing, ahead)


def advance(number: int, by: int) -> int:
    """The number `by` messages later (earlier when negative)."""
    return (number - 1 + by) % LAST + 1
