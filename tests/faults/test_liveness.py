"""Each way of falling silent, lying or repeating, over MQTT, Sparkplug and OPC UA: what the tile of
the line and the event for partners say after 0, 10, 40 and 120 s. `make test-faults`.

A case (`liveness/cases.py`) is a line with one machine that reports its state and a temperature;
all cases run beside each other on one stack. Each machine runs for `WARM_UP_S`, then its fault
begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator

import pytest

from aurelian.local.ports import any_free
from tests.e2e.whole import mqtt_client, running_stack
from tests.faults.liveness.cases import (
    CASES,
    LOOKS_S,
    OTHER,
    OWN_SERVER,
    STAYS,
    Case,
    Machine,
    plant_of,
)
from tests.faults.liveness.edge_nodes import set_up_sparkplug
from tests.faults.liveness.json_machines import set_up_json
from tests.faults.liveness.opcua_machines import set_up_opcua
from tests.faults.liveness.seen import events_of, tiles_of

WARM_UP_S = 25.0


@pytest.mark.timeout(420)
async def test_what_is_shown_of_a_machine_that_is_silent_lies_or_repeats() -> None:
    ports = {name: any_free() for name in (*OWN_SERVER, "o")}
    with running_stack({"liveness.yaml": plant_of(ports)}) as stack:
        key = stack.aurelian(
            "keys", "create", "--owner", "liveness", "--name", "test", "--scope", "events:read"
        ).split()[-1]
        machines = {case.name: Machine(case.name) for case in CASES}
        async with contextlib.AsyncExitStack() as opened:
            client = await opened.enter_async_context(mqtt_client(stack))
            set_up_json(machines, client)
            await set_up_sparkplug(machines, stack, client, opened)
            await set_up_opcua(machines, ports, opened)
            running = [asyncio.create_task(_run(machine)) for machine in machines.values()]
            try:
                await asyncio.sleep(WARM_UP_S)
                warm = await asyncio.to_thread(tiles_of, stack)
                began = time.time()
                for machine in machines.values():
                    assert machine.fault is not None, machine.name
                    await machine.fault(machine)
                for look in LOOKS_S:
                    await asyncio.sleep(max(0.0, began + look - time.time()))
                    tiles = await asyncio.to_thread(tiles_of, stack)
                    for name, machine in machines.items():
                        machine.seen.append(tiles.get(name, "no tile"))
                events = await asyncio.to_thread(events_of, stack, key)
            finally:
                for task in running:
                    task.cancel()
                await asyncio.gather(*running, return_exceptions=True)
    wrong = [
        problem
        for case in CASES
        for problem in _problems(case, warm, machines[case.name].seen, events, began)
    ]
    assert not wrong, "\n".join(wrong)


def _problems(
    case: Case,
    warm: dict[str, str],
    seen: list[str],
    events: dict[str, list[tuple[float, str]]],
    began: float,
) -> Iterator[str]:
    before = warm.get(case.name, "no tile")
    if not _is(before, "live"):
        yield f"{case.name}: before the fault: {before}"
        return
    for look, expected, tile in zip(LOOKS_S, case.expected, seen, strict=True):
        if not _is(tile, expected):
            yield f"{case.name} after {look:g} s: expected {expected}, shown {tile}"
    if case.says and case.says.lower() not in seen[-1].lower():
        yield f"{case.name}: nothing says {case.says!r}: {seen[-1]}"
    # Partners: the last state of the line, and that no other was ever sent before.
    said = events.get(case.name, [])
    after = [state for at, state in said if at >= began - 2]
    if case.expected is STAYS:
        if after:
            yield f"{case.name}: events after the fault: {after}"
    elif case.expected is OTHER:
        if not after or after[-1] in ("running", "no_data"):
            yield f"{case.name}: events after the fault: {after}"
    elif not said or said[-1][1] != "no_data":
        yield f"{case.name}: the last event says {said[-1:] or 'nothing'}"


def _is(tile: str, expected: str) -> bool:
    """Whether a tile, as `tiles_of` spells it, shows what is expected."""
    freshness, _, text = tile.partition(" | ")
    running = "Running" in text and "last Running" not in text
    match expected:
        case "live":
            return freshness == "live" and running
        case "any":
            return True
        case "late":
            return freshness == "late"
        case "stale":
            return freshness == "stale" and not running
        case "ended":
            return not running
        case _:
            return freshness == "live" and not running


async def _run(machine: Machine) -> None:
    """Send once a second what the machine says."""
    while True:
        if machine.send is not None:
            await machine.send(machine)
        await asyncio.sleep(1)
