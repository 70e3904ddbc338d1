"""What the three protocols have in common for the plant: values are put in, cables are pulled. Used
by `factory.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from aurelian.model.plant import Unit
from aurelian.model.source_model import SourceModel
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
