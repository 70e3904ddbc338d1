"""So many sources at a time set their sessions up; taken by source.py.

All of hundreds at once would each take longer than its time-outs allow, leave sessions at the
servers, and begin again.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

AT_ONCE = 8
HELD_S = 2.0
"""A turn ends by itself then: a server that hangs keeps nobody waiting."""

_LONGEST_WAIT_S = 60.0


class Turn:
    """Leave to set up a session; `end` may be called more than once."""

    def __init__(self, slots: asyncio.Semaphore | None) -> None:
        self._slots = slots
        self._timer = (
            None if slots is None else asyncio.get_running_loop().call_later(HELD_S, self.end)
        )

    def end(self) -> None:
        """Let the next one begin."""
        if self._slots is not None and self._timer is not None:
            self._timer.cancel()
            self._slots.release()
            self._slots = None


class Turns:
    """Of all sources of a gateway."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def take(self) -> Turn:
        """Wait for a turn, in the order of the calls; not for ever."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LONGEST_WAIT_S):
                await self._slots.acquire()
                return Turn(self._slots)
        return Turn(None)
