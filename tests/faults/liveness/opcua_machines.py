"""OPC UA servers with machines, and their faults; for test_liveness.py."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

from asyncua import Server, ua

from aurelian.local.ports import any_free
from tests.faults.liveness.cases import ABORTED, EXECUTE, OPCUA_CASES, OWN_SERVER, Machine
from tests.peers.fault_proxy import FaultProxy, fault_proxy


async def set_up_opcua(
    machines: dict[str, Machine], ports: dict[str, int], opened: contextlib.AsyncExitStack
) -> None:
    shared = [case.name for case in OPCUA_CASES if case.name not in OWN_SERVER]
    servers: dict[str, Server] = {}
    proxies: dict[str, FaultProxy] = {}
    shared_server = await opened.enter_async_context(_server(ports["o"], shared))
    servers |= dict.fromkeys(shared, shared_server)
    for name in OWN_SERVER:
        inner = any_free()
        servers[name] = await _started(inner, [name])
        opened.push_async_callback(_stop_quietly, servers[name])
        proxies[name] = await opened.enter_async_context(fault_proxy(inner, ports[name]))

    async def write(machine: Machine, what: str, value: ua.DataValue) -> None:
        node = ua.NodeId(f"{machine.name}.{what}", 2)
        await servers[machine.name].write_attribute_value(node, value)

    async def temperature(machine: Machine) -> None:
        value = ua.Variant(machine.temperature, ua.VariantType.Double)
        now = datetime.now(UTC)
        await write(machine, "temp", ua.DataValue(value, SourceTimestamp=now, ServerTimestamp=now))

    def sends(
        number: int, code: int = 0, at: datetime | None = None
    ) -> Callable[[Machine], Awaitable[None]]:
        async def fault(machine: Machine) -> None:
            when = at or datetime.now(UTC)
            state = ua.Variant(number, ua.VariantType.Int32)
            await write(
                machine,
                "state",
                ua.DataValue(state, StatusCode=ua.StatusCode(code), SourceTimestamp=when),
            )
            if code == 0x408F0000:  # of all nodes: the device behind the server is away
                machine.send = None
                temp = ua.Variant(20.0, ua.VariantType.Double)
                await write(
                    machine,
                    "temp",
                    ua.DataValue(temp, StatusCode=ua.StatusCode(code), SourceTimestamp=when),
                )

        return fault

    async def stop(machine: Machine) -> None:
        machine.send = None
        await servers[machine.name].stop()

    async def cut(machine: Machine) -> None:
        proxies[machine.name].cut()

    async def freeze(machine: Machine) -> None:
        proxies[machine.name].freeze()

    async def silent(machine: Machine) -> None:
        machine.send = None

    faults: dict[str, Callable[[Machine], Awaitable[None]]] = {
        "o-server-stops": stop,
        "o-cable": cut,
        "o-server-hangs": freeze,
        "o-no-communication": sends(EXECUTE, 0x408F0000),
        "o-state-bad": sends(EXECUTE, 0x80310000),
        "o-clock-of-2000": sends(ABORTED, 0, datetime(2000, 1, 1, tzinfo=UTC)),
        "o-aborts": sends(ABORTED),
        "o-nothing-changes": silent,
    }
    for case in OPCUA_CASES:
        machines[case.name].send = temperature
        machines[case.name].fault = faults[case.name]


@contextlib.asynccontextmanager
async def _server(port: int, names: list[str]) -> AsyncIterator[Server]:
    server = await _started(port, names)
    try:
        yield server
    finally:
        await server.stop()


async def _started(port: int, names: list[str]) -> Server:
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    assert await server.register_namespace("urn:liveness") == 2
    for name in names:
        await server.nodes.objects.add_variable(
            ua.NodeId(f"{name}.state", 2), f"{name}.state", EXECUTE, ua.VariantType.Int32
        )
        await server.nodes.objects.add_variable(
            ua.NodeId(f"{name}.temp", 2), f"{name}.temp", 20.0, ua.VariantType.Double
        )
    await server.start()
    return server


async def _stop_quietly(server: Server) -> None:
    with contextlib.suppress(Exception):  # the case may have stopped it already
        await server.stop()
