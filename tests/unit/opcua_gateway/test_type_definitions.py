"""Types that come without being expected are asked for in whichever thread they are seen."""

from __future__ import annotations

import asyncio
import threading

import pytest
from asyncua import ua

from opcua_gateway.data_types.type_definitions import TypeDefinitions


async def test_a_type_that_is_first_seen_in_a_thread_is_asked_for_in_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = TypeDefinitions("x/s/peer", [], 30.0)
    threads = []
    event_set = asyncio.Event.set

    def note(event: asyncio.Event) -> None:
        threads.append(threading.current_thread())
        event_set(event)

    monkeypatch.setattr(asyncio.Event, "set", note)
    waiting = asyncio.create_task(made._has_unknown.wait())
    await asyncio.sleep(0)
    await asyncio.to_thread(made._ask_for, ua.NodeId("Part", 2))
    async with asyncio.timeout(5):
        await waiting
    assert list(made._unknown) == [ua.NodeId("Part", 2)]
    assert threads == [threading.main_thread()]
