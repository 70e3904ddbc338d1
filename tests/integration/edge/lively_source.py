"""A source of a test's own that always has values."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

from aurelian.edge.gateway import Delivery, Reading
from aurelian.edge.source_state import Condition, SourceState
from aurelian.model.plant import Plant
from aurelian.model.sample import ValueType


class LivelySource:
    """Brings a value every 100 ms and says that it is live."""

    def __init__(self, plant: Plant) -> None:
        self.model, self.owner = plant.sources[0], plant.owner
        self.acked = 0
        self._unit = next(plant.units())

    def condition(self) -> Condition:
        return Condition(SourceState.LIVE)

    async def deliveries(self, bookmark: str = "") -> AsyncGenerator[Delivery, None]:
        unit = self._unit
        model, signal = unit.model.signals[0], next(iter(unit.signals()))
        while True:
            now = time.time_ns() // 1000
            reading = Reading(unit, model, signal, unit.line.path, 1.0, ValueType.DOUBLE, now)
            yield Delivery(
                source=self.model,
                owner=self.owner,
                received_at=now,
                readings=[reading],
                ack=self._ack,
            )
            await asyncio.sleep(0.1)

    def _ack(self) -> None:
        self.acked += 1
