"""What a broker says that it has given up: Mosquitto's queues are short (1,000 messages of a
client), and a message that finds one full is gone without a word to either side. Pure; used by
source.py."""

from __future__ import annotations

TOPIC = "$SYS/broker/publish/messages/dropped"
"""Mosquitto's count for all its clients, told every 10 s, retained; other makes have no such
topic."""

_TOLD_WITHIN_S = 25.0
_MOST_DIGITS = 20


class Drops:
    """Of the broker of one source. The count is for all clients, so it is taken for ours only where
    the broker had reason to give up ours: we were away, or it waited for us.

    Attributes:
        count: as it was told last; -1: never.
    """

    def __init__(self, count: int = -1) -> None:
        self.count = count
        self._from, self._until = 0, 0.0

    def suspect(self, begin: int, now: float) -> None:
        """From `begin` on (microseconds since 1970) the broker may have given up messages of ours,
        `now` (monotonic seconds) it may still."""
        if now > self._until or not self._from:
            self._from = begin
        self._until = now + _TOLD_WITHIN_S

    def told(self, payload: bytes, now: float) -> tuple[int, int] | None:
        """The broker tells its count; return how many of ours may be among them, and since when
        (microseconds since 1970); None: none of ours."""
        if not payload.isdigit() or len(payload) > _MOST_DIGITS:
            return None
        count, before = int(payload), self.count
        self.count = count
        if before < 0:
            return None
        dropped = count if count < before else count - before  # a broker begins anew at 0
        if not dropped or now > self._until or not self._from:
            return None
        # The next count may tell of more that was given up in the same time.
        return dropped, self._from
