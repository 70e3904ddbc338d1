"""How many samples a transaction may have: as many as the setting says, or fewer while the database
takes too long for so many. Kept over rounds by rounds.py. Pure."""

from __future__ import annotations

from collections.abc import Callable

LEAST = 1000
"""Fewer would cost more than they save; what fails with so few fails for another reason."""


class BatchLimit:
    """Halved where the database took too long or had no memory, raised again by what is stored.

    Without it a transaction that the server ends for its length would be tried in the same size for
    ever.
    """

    def __init__(self, most: int, told: Callable[[int], object] = lambda samples: None) -> None:
        """`told` is called with the limit whenever it is another one."""
        self._most, self._told = most, told
        self._set(most)

    def is_exceeded(self, samples: int) -> bool:
        """Whether so many are to be stored in parts. Up to the setting nothing is: it is about."""
        return self.samples < self._most and samples > self.samples

    def failed(self, samples: int) -> None:
        """So many were too many."""
        self._set(max(LEAST, min(samples, self.samples) // 2))

    def stored(self, samples: int) -> None:
        """So many went well; a half more may be tried where they were as many as may be."""
        if samples >= self.samples < self._most:
            self._set(self.samples + self.samples // 2)

    def _set(self, samples: int) -> None:
        self.samples = min(samples, self._most)
        self._told(self.samples)
