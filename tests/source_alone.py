"""A source of a gateway run alone, without outbox and Kafka."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aurelian.edge.gateway import Delivery, Reading, Source


@contextlib.asynccontextmanager
async def taking(
    source: Source, *, acknowledge: bool = True, bookmark: str = ""
) -> AsyncIterator[list[Delivery]]:
    """Run a source alone from a bookmark on; acknowledge at once, or not at all."""
    taken: list[Delivery] = []

    async def take() -> None:
        async with contextlib.aclosing(source.deliveries(bookmark)) as deliveries:
            async for delivery in deliveries:
                taken.append(delivery)
                if acknowledge and delivery.ack is not None:
                    delivery.ack()

    task = asyncio.create_task(take())
    try:
        yield taken
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def readings_of(delivery: Delivery) -> list[Reading]:
    """All values of a delivery one by one, those in columns too."""
    columns = [] if delivery.columns is None else delivery.columns.readings()
    return [*columns, *delivery.readings]
