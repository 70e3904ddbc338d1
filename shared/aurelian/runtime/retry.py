"""The one back-off of everything that reconnects: doubling pauses with jitter, short again after
success."""

from __future__ import annotations

import asyncio
import random

FIRST_S, LONGEST_S = 0.5, 10.0


class Backoff:
    """Pauses between attempts: 0.5 s, 1 s, 2 s … 10 s, each shortened at random by up to a half.

    The jitter keeps processes that lost the same server from coming back in one moment. Not thread
    safe; one per connection.
    """

    def __init__(self, first_s: float = FIRST_S, longest_s: float = LONGEST_S) -> None:
        self._first_s, self._longest_s = first_s, longest_s
        self._next_s = first_s

    def reset(self) -> None:
        """Begin with the first pause again: the connection stood."""
        self._next_s = self._first_s

    def next_s(self) -> float:
        """Return the next pause in seconds; the one after it is twice as long."""
        pause_s = self._next_s
        self._next_s = min(pause_s * 2, self._longest_s)
        return pause_s * random.uniform(0.5, 1.0)

    async def wait(self) -> None:
        """Sleep for the next pause."""
        await asyncio.sleep(self.next_s())
