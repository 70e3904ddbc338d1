"""Machines that publish JSON over MQTT, and their faults; for test_liveness.py."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import paho.mqtt.client as paho

from tests.faults.liveness.cases import ABORTED, EXECUTE, JSON_CASES, Machine, encoded, now_ms


def set_up_json(machines: dict[str, Machine], client: paho.Client) -> None:
    first: set[str] = set()

    def publish(machine: Machine, payload: bytes) -> None:
        client.publish(f"liveness/{machine.name}/state", payload, qos=1)

    async def normal(machine: Machine) -> None:
        body: dict[str, object] = {"ts": now_ms(), "temp": machine.temperature}
        if machine.name not in first or int(time.time()) % 5 == 0:
            body["state"] = machine.state
            first.add(machine.name)
        publish(machine, encoded(body))

    async def on_change_only(machine: Machine) -> None:
        body: dict[str, object] = {"ts": now_ms(), "temp": machine.temperature}
        if machine.name not in first:
            body["state"] = machine.state
            first.add(machine.name)
        publish(machine, encoded(body))

    async def slow_clock(machine: Machine) -> None:
        body = {"ts": now_ms() - 60_000, "temp": machine.temperature, "state": machine.state}
        publish(machine, encoded(body))

    def sends(make: Callable[[Machine], object]) -> Callable[[Machine], Awaitable[None]]:
        """The fault: from now on the machine sends this, once a second."""

        async def send(machine: Machine) -> None:
            made = make(machine)
            publish(machine, made if isinstance(made, bytes) else encoded(made))

        async def fault(machine: Machine) -> None:
            machine.send = send

        return fault

    def once_then_silent(make: Callable[[], object]) -> Callable[[Machine], Awaitable[None]]:
        async def fault(machine: Machine) -> None:
            machine.send = None
            publish(machine, encoded(make()))

        return fault

    def once_then_temperature(make: Callable[[], object]) -> Callable[[Machine], Awaitable[None]]:
        async def fault(machine: Machine) -> None:
            publish(machine, encoded(make()))
            machine.send = temperature

        return fault

    async def temperature(machine: Machine) -> None:
        publish(machine, encoded({"ts": now_ms(), "temp": machine.temperature}))

    async def silent(machine: Machine) -> None:
        machine.send = None

    async def nothing(machine: Machine) -> None:
        pass

    async def same_again(machine: Machine) -> None:
        body = encoded({"ts": now_ms(), "temp": 20.5, "state": EXECUTE})

        async def send(machine: Machine) -> None:
            publish(machine, body)

        machine.send = send

    faults: dict[str, Callable[[Machine], Awaitable[None]]] = {
        "j-silent": silent,
        "j-state-as-text": sends(lambda m: {"ts": now_ms(), "state": "9", "temp": m.temperature}),
        "j-state-offline": once_then_temperature(lambda: {"ts": now_ms(), "state": "Offline"}),
        "j-state-null": once_then_temperature(lambda: {"ts": now_ms(), "state": None}),
        "j-state-unknown-23": once_then_temperature(lambda: {"ts": now_ms(), "state": 23}),
        "j-state-bad-quality": once_then_temperature(
            lambda: {"ts": now_ms(), "state": {"value": EXECUTE, "quality": "bad"}}
        ),
        "j-undeclared-only": sends(lambda _: {"ts": now_ms(), "status": "offline"}),
        "j-all-values-refused": sends(lambda _: {"ts": now_ms(), "temp": "warm"}),
        "j-clock-of-2000": sends(lambda m: {"ts": 946_684_800_000, "state": 9, "temp": 20.0}),
        "j-same-message-again": same_again,
        "j-one-queued-message": once_then_silent(
            lambda: {"ts": now_ms() - 100_000, "state": EXECUTE, "temp": 21.0}
        ),
        "j-garbage": sends(lambda _: b"\x00\xff not json"),
        "j-history-only": sends(
            lambda _: {"ts": now_ms() - 86_400_000 - int(time.time()) % 7 * 1000, "temp": 21.0}
        ),
        "j-aborts": once_then_temperature(lambda: {"ts": now_ms(), "state": ABORTED}),
        "j-state-on-change": nothing,
        "j-clock-60-s-slow": nothing,
        "j-clock-ahead-once": once_then_temperature(
            lambda: {"ts": now_ms() + 3_000_000, "temp": 20.0, "state": EXECUTE}
        ),
    }
    for case in JSON_CASES:
        machine = machines[case.name]
        machine.fault = faults[case.name]
        machine.send = {"j-state-on-change": on_change_only, "j-clock-60-s-slow": slow_clock}.get(
            case.name, normal
        )
