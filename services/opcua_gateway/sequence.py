"""The message numbers of one subscription: what is new, what was seen, what is missing. Pure;
called by subscription.py."""

from __future__ import annotations

from dataclasses import dataclass

LAST = 2**32 - 1
"""The highest number; the one after it is 1, never 0 (part 4, 7.26)."""

ASKED_FOR = 1000
"""At most this many missing messages are asked for again; servers keep far fewer."""


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
    """Follows the numbers of a subscription. `expected` None: the first message sets it."""

    def __init__(self, expected: int | None = 1) -> None:
        self.expected = expected

    def observe(self, number: int, *, keep_alive: bool) -> Observation:
        """Take the number of a message. A keep-alive carries the number that the next message will
        have."""
        if self.expected is None:
            self.expected = number
        ahead = (number - self.expected) % LAST
        if ahead > LAST // 2:
            return Observation(fresh=False)
        missing = tuple(advance(number, -back) for back in range(min(ahead, ASKED_FOR), 0, -1))
        self.expected = number if keep_alive else advance(number, 1)
        return Observation(not keep_alive, missing, ahead)


def advance(number: int, by: int) -> int:
    """The number `by` messages later (earlier when negative)."""
    return (number - 1 + by) % LAST + 1
