"""A source of a test's own that always has values, and a gateway that runs with it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aurelian.edge.gateway import Delivery, GatewaySettings, Reading, run_gateway
from aurelian.edge.source_state import Condition, SourceState
from aurelian.model.plant import Plant
from aurelian.model.sample import ValueType
from aurelian.runtime.health import Health
from tests.waiting import until


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


@asynccontextmanager
async def running(
    settings: GatewaySettings, timeout_s: float = 15.0
) -> AsyncIterator[tuple[Health, LivelySource]]:
    """A gateway with a source that brings a value every 100 ms."""
    made: list[LivelySource] = []

    def make_sources(_: GatewaySettings, plants: Sequence[Plant], __: object) -> Sequence[Any]:
        made.append(LivelySource(plants[0]))
        return made

    health = Health("opcua_gateway")
    task = asyncio.create_task(run_gateway(settings, health, make_sources))
    try:
        await until(
            lambda: bool(made) and made[0].acked > 3 and health.ready is None, timeout_s=timeout_s
        )
        yield health, made[0]
    finally:
        task.cancel()
        await asyncio.wait({task})
