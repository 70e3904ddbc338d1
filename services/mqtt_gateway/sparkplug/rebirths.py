"""When an edge node is asked for its births again: each request waits twice as long as the one
before, and there is a limit for all nodes (rebirth storms). Pure; used by host.py."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

_FIRST_WAIT_S, _LONGEST_WAIT_S = 5.0, 300.0
_CALM_S = 60.0
_REBIRTHS_PER_S = 10


@dataclass(slots=True)
class Wish:
    """One node's. `reason`: why a rebirth is wanted; empty: none is."""

    reason: str = ""
    ask_at: float = 0.0
    wait_s: float = _FIRST_WAIT_S

    def want(self, reason: str) -> None:
        """A rebirth is wanted; the first reason counts."""
        self.reason = self.reason or reason

    def granted(self, now: float) -> None:
        """The node was born; after a calm time it is asked as soon as one that never was."""
        self.reason = ""
        if now - self.ask_at > _CALM_S:
            self.wait_s = _FIRST_WAIT_S


@dataclass(slots=True)
class Budget:
    """For all nodes of one source. `chance`: for the jitter of repeated requests."""

    chance: random.Random
    _asked: list[float] = field(default_factory=list)

    def takes(self, wish: Wish, now: float) -> bool:
        """Whether a request is due and may be sent; then it counts as sent."""
        if not wish.reason or now < wish.ask_at:
            return False
        self._asked = [each for each in self._asked if now - each < 1.0]
        if len(self._asked) >= _REBIRTHS_PER_S:
            return False
        self._asked.append(now)
        wish.ask_at = now + wish.wait_s * self.chance.uniform(1.0, 1.25)
        wish.wait_s = min(wish.wait_s * 2, _LONGEST_WAIT_S)
        return True
