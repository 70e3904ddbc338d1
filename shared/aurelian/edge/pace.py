"""Holds machines back where receiving would starve forwarding. Used by `gateway` (receives) and
`drain` (forwards)."""

from __future__ import annotations

import asyncio
import time

BEHIND_US = 500_000
"""Microseconds that a row may wait to be sent before receiving stops for a moment."""

_STUCK_S = 1.5
"""Without progress for so long Kafka is taken for away: the disk takes what comes."""

_CHECK_S = 0.02
_BUSY_S, _LONGEST_PAUSE_S = 0.005, 0.1
_MOST_CREDIT = 20_000


class Pace:
    """Says when a source may deliver more.

    While Kafka takes what comes, rows are sent within half a second, or else receiving pauses until
    they are. After Kafka was away there is a backlog that takes longer: until it is sent, at most
    half as many samples come in as go out. While Kafka is away nothing is held back, only where the
    event loop is busy each delivery leaves as much time to others as a turn of the loop took.
    """

    def __init__(self) -> None:
        self._up = self._caught_up = False
        self._waiting_since = 0
        self._credit = 0.0
        self._progress_at = 0.0

    def appended(self, samples: int) -> None:
        """Rows with so many samples are on the disk and not sent yet."""
        self._credit -= samples
        if not self._waiting_since:
            self._waiting_since = time.time_ns() // 1000

    def sent(self, up_to: int, samples: int, *, reached_end: bool) -> None:
        """Kafka has what was appended up to a time (microseconds since 1970); `reached_end`: that
        was all there was."""
        self._up = True
        self._progress_at = time.monotonic()
        self._credit = min(max(self._credit, -_MOST_CREDIT) + samples / 2, _MOST_CREDIT)
        if reached_end:
            self._caught_up = True
            if self._waiting_since <= up_to:
                self._waiting_since = 0
        if self._waiting_since:
            self._waiting_since = max(self._waiting_since, up_to)

    def away(self) -> None:
        """Kafka takes nothing: rows collect, and are sent again later."""
        self._up = self._caught_up = False
        self._credit = 0.0

    @property
    def behind(self) -> bool:
        """True while rows wait too long to be sent, and Kafka would take them."""
        if not self._up or time.monotonic() - self._progress_at > _STUCK_S:
            return False
        if not self._caught_up:
            return self._credit < 0
        since = self._waiting_since
        return bool(since) and time.time_ns() // 1000 - since > BEHIND_US

    async def wait(self) -> None:
        """Return when one more delivery may be taken."""
        began = time.monotonic()
        await asyncio.sleep(0)
        turn_s = time.monotonic() - began
        if turn_s > _BUSY_S:
            await asyncio.sleep(min(turn_s, _LONGEST_PAUSE_S))
        while self.behind:  # noqa: ASYNC110 - time alone makes it true
            await asyncio.sleep(_CHECK_S)
