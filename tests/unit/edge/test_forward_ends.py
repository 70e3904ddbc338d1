"""A source that fails just when it is cancelled ends all the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from aurelian.edge.assembly import Delivery, LastSeen
from aurelian.edge.forward import keep_forwarding
from aurelian.edge.ordinals import Ordinals
from aurelian.edge.outbox.limits import Limits
from aurelian.edge.outbox.outbox import Outbox
from aurelian.edge.outbox.thread import OutboxThread
from aurelian.edge.pace import Pace
from aurelian.model.source_model import SourceModel


class Failing:
    """Delivers nothing; fails when it is told to."""

    model = SourceModel(id="src", kind="opcua", url="opc.tcp://127.0.0.1:4840")
    owner = "a"

    def __init__(self) -> None:
        self.fails = asyncio.Event()

    async def deliveries(self, bookmark: str = "") -> AsyncGenerator[Delivery, None]:
        await self.fails.wait()
        raise ZeroDivisionError
        yield


@pytest.mark.parametrize("rounds", range(6))
async def test_a_source_that_fails_while_it_is_cancelled_ends(tmp_path: Path, rounds: int) -> None:
    """Before, the cancellation was forgotten, and a gateway that should end waited for ever."""
    outbox = Outbox.open(tmp_path / "outbox", 1, Limits())
    source = Failing()
    async with OutboxThread(outbox) as thread:
        task = asyncio.create_task(
            keep_forwarding(source, thread, "g", LastSeen("g", 1), Ordinals(), 0, Pace())
        )
        await asyncio.sleep(0.05)
        source.fails.set()
        for _ in range(rounds):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=5)
        task.cancel()
        assert done
