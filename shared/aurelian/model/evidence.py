"""What vouches for the present state of a machine (D9), and how far its clock is off. Pure.

Used by the gateways for their heartbeats, and by line_health, maintenance and the dashboard, so
that all of them call the same machine live.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from aurelian.model.sample import BAD, Flag
from aurelian.model.time import SECOND_US

LIVE_S = 10
"""Up to this age evidence makes a state live."""

STALE_S = 30
"""Beyond this age a state is stale; between both it is late."""

UNCERTAIN_NO_COMMUNICATION = 0x408F0000
UNCERTAIN_LAST_USABLE = 0x40900000
UNCERTAIN_SUBSTITUTE = 0x40910000
UNCERTAIN_INITIAL = 0x40920000

_NOT_READ_NOW = (
    UNCERTAIN_NO_COMMUNICATION,
    UNCERTAIN_LAST_USABLE,
    UNCERTAIN_SUBSTITUTE,
    UNCERTAIN_INITIAL,
)
"""Uncertain codes that say: this was not read from the machine just now (OPC UA Part 8, 6.3)."""

STEADY_US = 2 * SECOND_US
LEARN_US = 10 * SECOND_US

_FEWEST, _MOST = 3, 64
_CODE = 0xFFFF0000
NOT_OF_NOW = int(Flag.HISTORICAL | Flag.RETAINED | Flag.HEARTBEAT)
"""Flags of a sample that says nothing of now: read back, kept by a broker, or the value of before
once more, whose age would be taken for a slow clock."""

_TIME_REPLACED = int(Flag.TIME_REPLACED)


def vouches(status: int, flags: int, source_time: int) -> bool:
    """Whether an accepted sample of a declared signal is a sign of life of its machine.

    Not: a Bad status, a value that its server did not read now, a historical, retained or repeated
    one, and one whose own time cannot be (no time at all is fine: then its receipt is its time).
    Its age is judged apart, see `MachineClock`.
    """
    if status & BAD or status & _CODE in _NOT_READ_NOW or flags & NOT_OF_NOW:
        return False
    return not (flags & _TIME_REPLACED and source_time != 0)


class Judged(Protocol):
    """What `vouching` looks at of n samples: a batch, or what becomes one."""

    @property
    def status(self) -> NDArray[np.uint32]: ...
    @property
    def flags(self) -> NDArray[np.uint32]: ...
    @property
    def source_time(self) -> NDArray[np.int64]: ...
    def __len__(self) -> int: ...


def vouching(batch: Judged) -> NDArray[np.bool_]:
    """(n,) `vouches` for each sample of a batch."""
    status, flags = batch.status, batch.flags
    good = np.ones(len(batch), np.bool_)
    if status.any():
        good &= (status & np.uint32(BAD)) == 0
        good &= ~np.isin(status & np.uint32(_CODE), _NOT_READ_NOW)
    if flags.any():
        good &= (flags & np.uint32(NOT_OF_NOW)) == 0
        good &= ((flags & np.uint32(_TIME_REPLACED)) == 0) | (batch.source_time == 0)
    return good


def time_is_refused(flags: int, source_time: int) -> bool:
    """Whether a sample had a time of its own that cannot be (D8); its receipt stands instead."""
    return bool(flags & _TIME_REPLACED) and source_time != 0


@dataclass(slots=True)
class MachineClock:
    """How far a machine's clock is behind the gateway's, learned from its vouching samples.

    A slow clock and a queue both make values look old. A clock that is off differs by the same
    amount all the time, a queue that is drained does not: the difference counts as the clock's
    when it stayed within `STEADY_US` over `LEARN_US` of receipt. A clock that is ahead needs no
    learning, because nothing happened later than it was received.

    Attributes:
        behind_us: microseconds to add to a source time, 0 while none is known; a difference
            under `STEADY_US` is the way of the value, not the clock.
    """

    behind_us: int = 0
    _recent: deque[tuple[int, int]] = field(default_factory=deque, repr=False)

    def note(self, source_time: int, gateway_time: int) -> None:
        """Take in one sample's own time and its receipt, in order of receipt."""
        behind = gateway_time - source_time
        recent = self._recent
        if self.behind_us and abs(behind - self.behind_us) > STEADY_US:
            self.behind_us = 0  # the clock was set, or a queue is drained: learn anew
            recent.clear()
        if recent and abs(behind - recent[0][1]) > STEADY_US:
            recent.clear()
        recent.append((gateway_time, behind))
        while len(recent) > 2 and gateway_time - recent[1][0] >= LEARN_US:
            recent.popleft()
        if len(recent) >= _FEWEST and gateway_time - recent[0][0] >= LEARN_US:
            least = min(each for _, each in recent)
            self.behind_us = least if least > STEADY_US else 0
        if len(recent) > _MOST:
            # Keep the window's start: it says since when the difference has been steady.
            del recent[1]

    @property
    def lag_us(self) -> int:
        """How much later than it happened the newest value was received, beyond what is known of
        the clock."""
        return max(self._recent[-1][1] - self.behind_us, 0) if self._recent else 0

    def snapshot(self) -> list[object]:
        """JSON-ready form."""
        return [self.behind_us, [*map(list, self._recent)]]

    @classmethod
    def restore(cls, kept: list[Any]) -> MachineClock:
        """The opposite of `snapshot`."""
        behind_us, recent = kept
        return cls(behind_us, deque((at, behind) for at, behind in recent))

    def happened_at(self, source_time: int, gateway_time: int) -> int:
        """When a value with that time of its own was true, by the gateway's clock."""
        return min(source_time + self.behind_us, gateway_time)
