"""Sources set their sessions up in turns."""

from __future__ import annotations

import asyncio

import pytest

from opcua_gateway import turns
from opcua_gateway.turns import AT_ONCE, Turns


async def test_one_more_than_may_at_once_waits_for_an_end() -> None:
    all_turns = Turns()
    taken = [await all_turns.take() for _ in range(AT_ONCE)]
    next_one = asyncio.create_task(all_turns.take())
    await asyncio.sleep(0)
    assert not next_one.done()
    taken[0].end()
    taken[0].end()  # counts once
    last = await next_one
    further = asyncio.create_task(all_turns.take())
    await asyncio.sleep(0)
    assert not further.done()
    for each in (*taken, last):
        each.end()
    (await further).end()


async def test_a_server_that_hangs_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "HELD_S", 0.02)
    all_turns = Turns()
    for _ in range(3 * AT_ONCE):  # none of them ends by itself
        await asyncio.wait_for(all_turns.take(), 5)
    await asyncio.sleep(0.05)  # the last timers
