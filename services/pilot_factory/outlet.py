"""What the three protocols have in common for the plant: values are put in, cables are pulled. Used
by `factory.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from aurelian.model.plant import Unit
from aurelian.model.plant_parts import SourceModel
from pilot_factory.simulation import Measurement


class Outlet(Protocol):
    """One source of the plant model, seen from its machines."""

    source: SourceModel

    def put(self, measurements: Sequence[Measurement]) -> None:
        """Take the values of one step; never waits."""

    async def run(self) -> None:
        """Speak the protocol until cancelled; a server or broker that is away is tried again for
        ever."""

    def cut(self, unit: Unit) -> None:
        """Pull the cable of a unit: from now on it is silent, without a word of farewell."""

    def mend(self, unit: Unit) -> None:
        """Put the cable back."""


class Backoff:
    """Seconds to wait before each next try: 0.5 s, doubling to `longest_s`."""

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._next_s = 0.5

    def wait_s(self) -> float:
        """The wait that is due now; the next one is longer."""
        now, self._next_s = self._next_s, min(self._next_s * 2, self._longest_s)
        return min(now, self._longest_s)

    def reset(self) -> None:
        """It worked: begin with short waits again."""
        self._next_s = 0.5
