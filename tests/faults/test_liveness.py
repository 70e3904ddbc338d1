"""Each way of falling silent, lying or repeating, over MQTT, Sparkplug and OPC UA: what the tile of
the line and the event for partners say after 0, 10, 40 and 120 s. `make test-faults`.

The table `CASES` is written by hand from decision 9: live needs evidence. A case is a line with one
machine that reports its state and a temperature; all cases run beside each other on one stack. Each
machine runs for `WARM_UP_S`, then its fault begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import re
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit

import paho.mqtt.client as paho
import psycopg
import pytest
from asyncua import Server, ua

from aurelian.local.ports import any_free
from aurelian.pb import sparkplug_b_pb2 as spb
from tests.e2e.plants import MQTT
from tests.e2e.whole import Stack, mqtt_client, running_stack

WARM_UP_S = 25.0
LOOKS_S = (3.0, 14.0, 40.0, 120.0)
"""When is looked, in seconds after the fault: shortly after each limit of decision 9."""

EXECUTE, ABORTED = 6, 9

STAYS = ("live", "live", "live", "live")
"""Something vouches for the state all the time: Running, and no event."""

SILENT = ("live", "late", "stale", "stale")
"""Nothing vouches any more: Running until 10 s, then with its age, then no data."""

CUT = ("any", "stale", "stale", "stale")
"""The protocol says within seconds that the connection is gone."""

ENDED = ("ended", "ended", "ended", "ended")
"""The state is known to be unknown at once: never Running from then on."""

OTHER = ("other", "other", "other", "other")
"""Another state is known at once: live, and not Running."""


@dataclass
class Machine:
    """One simulated machine: what it would say now. `temperature` changes with each second."""

    name: str
    state: object = EXECUTE
    send: Callable[[Machine], Awaitable[None]] | None = None
    fault: Callable[[Machine], Awaitable[None]] | None = None
    seen: list[str] = field(default_factory=list)

    @property
    def temperature(self) -> float:
        return 20.0 + int(time.time()) % 60 / 10


@dataclass(frozen=True)
class Case:
    """What happens, in words, and what must be seen at each of `LOOKS_S`.

    Attributes:
        name: of the line, and of the fault in `_faults_*`.
        expected: one of the rows above.
        says: a word that the tile shows once the state is not Running.
    """

    name: str
    expected: tuple[str, str, str, str]
    says: str = ""


JSON_CASES = [
    Case("j-silent", SILENT),
    Case("j-state-as-text", ENDED, "refused"),
    Case("j-state-offline", ENDED, "refused"),
    Case("j-state-null", ENDED),
    Case("j-state-unknown-23", ENDED, "23"),
    Case("j-state-bad-quality", ENDED),
    Case("j-undeclared-only", SILENT),
    Case("j-all-values-refused", SILENT),
    Case("j-clock-of-2000", ENDED, "clock"),
    Case("j-same-message-again", SILENT),
    Case("j-one-queued-message", SILENT),
    Case("j-garbage", SILENT),
    Case("j-history-only", SILENT),
    Case("j-aborts", OTHER, "Aborted"),
    Case("j-state-on-change", STAYS),
    Case("j-clock-60-s-slow", STAYS),
    Case("j-clock-ahead-once", STAYS),
]

SPARKPLUG_CASES = [
    Case("s-node-death", ENDED),
    Case("s-device-death", ENDED),
    Case("s-data-after-device-death", ENDED),
    Case("s-cable", ENDED),
    Case("s-state-bad-quality", ENDED),
    Case("s-state-null", ENDED),
    Case("s-state-text", ENDED, "refused"),
    Case("s-state-historical", STAYS),
    Case("s-birth-in-force", STAYS),
]

OPCUA_CASES = [
    Case("o-server-stops", CUT),
    Case("o-cable", CUT),
    Case("o-server-hangs", CUT),
    Case("o-no-communication", ENDED, "communication"),
    Case("o-state-bad", ENDED),
    Case("o-clock-of-2000", ENDED, "clock"),
    Case("o-aborts", OTHER, "Aborted"),
    Case("o-nothing-changes", STAYS),
]

CASES = [*JSON_CASES, *SPARKPLUG_CASES, *OPCUA_CASES]
OWN_SERVER = ("o-server-stops", "o-cable", "o-server-hangs")


@pytest.mark.timeout(420)
async def test_what_is_shown_of_a_machine_that_is_silent_lies_or_repeats() -> None:
    ports = {name: any_free() for name in (*OWN_SERVER, "o")}
    with running_stack({"liveness.yaml": _plant(ports)}) as stack:
        key = stack.aurelian(
            "keys", "create", "--owner", "liveness", "--name", "test", "--scope", "events:read"
        ).split()[-1]
        machines = {case.name: Machine(case.name) for case in CASES}
        async with contextlib.AsyncExitStack() as opened:
            client = await opened.enter_async_context(mqtt_client(stack))
            _set_up_json(machines, client)
            await _set_up_sparkplug(machines, stack, client, opened)
            await _set_up_opcua(machines, ports, opened)
            running = [asyncio.create_task(_run(machine)) for machine in machines.values()]
            try:
                await asyncio.sleep(WARM_UP_S)
                warm = await asyncio.to_thread(_tiles, stack)
                began = time.time()
                for machine in machines.values():
                    assert machine.fault is not None, machine.name
                    await machine.fault(machine)
                for look in LOOKS_S:
                    await asyncio.sleep(max(0.0, began + look - time.time()))
                    tiles = await asyncio.to_thread(_tiles, stack)
                    for name, machine in machines.items():
                        machine.seen.append(tiles.get(name, "no tile"))
                events = await asyncio.to_thread(_events, stack, key)
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
    """Whether a tile, as `_tiles` spells it, shows what is expected."""
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


# MQTT with JSON


def _set_up_json(machines: dict[str, Machine], client: paho.Client) -> None:
    first: set[str] = set()

    def publish(machine: Machine, payload: bytes) -> None:
        client.publish(f"liveness/{machine.name}/state", payload, qos=1)

    async def normal(machine: Machine) -> None:
        body: dict[str, object] = {"ts": _ms(), "temp": machine.temperature}
        if machine.name not in first or int(time.time()) % 5 == 0:
            body["state"] = machine.state
            first.add(machine.name)
        publish(machine, _body(body))

    async def on_change_only(machine: Machine) -> None:
        body: dict[str, object] = {"ts": _ms(), "temp": machine.temperature}
        if machine.name not in first:
            body["state"] = machine.state
            first.add(machine.name)
        publish(machine, _body(body))

    async def slow_clock(machine: Machine) -> None:
        body = {"ts": _ms() - 60_000, "temp": machine.temperature, "state": machine.state}
        publish(machine, _body(body))

    def sends(make: Callable[[Machine], object]) -> Callable[[Machine], Awaitable[None]]:
        """The fault: from now on the machine sends this, once a second."""

        async def send(machine: Machine) -> None:
            made = make(machine)
            publish(machine, made if isinstance(made, bytes) else _body(made))

        async def fault(machine: Machine) -> None:
            machine.send = send

        return fault

    def once_then_silent(make: Callable[[], object]) -> Callable[[Machine], Awaitable[None]]:
        async def fault(machine: Machine) -> None:
            machine.send = None
            publish(machine, _body(make()))

        return fault

    def once_then_temperature(make: Callable[[], object]) -> Callable[[Machine], Awaitable[None]]:
        async def fault(machine: Machine) -> None:
            publish(machine, _body(make()))
            machine.send = temperature

        return fault

    async def temperature(machine: Machine) -> None:
        publish(machine, _body({"ts": _ms(), "temp": machine.temperature}))

    async def silent(machine: Machine) -> None:
        machine.send = None

    async def nothing(machine: Machine) -> None:
        pass

    async def same_again(machine: Machine) -> None:
        body = _body({"ts": _ms(), "temp": 20.5, "state": EXECUTE})

        async def send(machine: Machine) -> None:
            publish(machine, body)

        machine.send = send

    faults: dict[str, Callable[[Machine], Awaitable[None]]] = {
        "j-silent": silent,
        "j-state-as-text": sends(lambda m: {"ts": _ms(), "state": "9", "temp": m.temperature}),
        "j-state-offline": once_then_temperature(lambda: {"ts": _ms(), "state": "Offline"}),
        "j-state-null": once_then_temperature(lambda: {"ts": _ms(), "state": None}),
        "j-state-unknown-23": once_then_temperature(lambda: {"ts": _ms(), "state": 23}),
        "j-state-bad-quality": once_then_temperature(
            lambda: {"ts": _ms(), "state": {"value": EXECUTE, "quality": "bad"}}
        ),
        "j-undeclared-only": sends(lambda _: {"ts": _ms(), "status": "offline"}),
        "j-all-values-refused": sends(lambda _: {"ts": _ms(), "temp": "warm"}),
        "j-clock-of-2000": sends(lambda m: {"ts": 946_684_800_000, "state": 9, "temp": 20.0}),
        "j-same-message-again": same_again,
        "j-one-queued-message": once_then_silent(
            lambda: {"ts": _ms() - 100_000, "state": EXECUTE, "temp": 21.0}
        ),
        "j-garbage": sends(lambda _: b"\x00\xff not json"),
        "j-history-only": sends(
            lambda _: {"ts": _ms() - 86_400_000 - int(time.time()) % 7 * 1000, "temp": 21.0}
        ),
        "j-aborts": once_then_temperature(lambda: {"ts": _ms(), "state": ABORTED}),
        "j-state-on-change": nothing,
        "j-clock-60-s-slow": nothing,
        "j-clock-ahead-once": once_then_temperature(
            lambda: {"ts": _ms() + 3_000_000, "temp": 20.0, "state": EXECUTE}
        ),
    }
    for case in JSON_CASES:
        machine = machines[case.name]
        machine.fault = faults[case.name]
        machine.send = {"j-state-on-change": on_change_only, "j-clock-60-s-slow": slow_clock}.get(
            case.name, normal
        )


# Sparkplug B, an edge node for each case


class _EdgeNode:
    """One edge node with one device: its own connection, whose will is the node's death."""

    def __init__(self, stack: Stack, name: str) -> None:
        self.name, self._seq = name, 0
        url = urlsplit(stack.mqtt_url)
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=f"liveness-{name}")
        death = spb.Payload(timestamp=_ms())
        death.metrics.add(name="bdSeq", datatype=4, long_value=0)
        self.node = f"node-{name}"
        self.client.will_set(
            f"spBv1.0/Liveness/NDEATH/{self.node}", death.SerializeToString(), qos=1
        )
        self.death = death.SerializeToString()
        self.client.connect(str(url.hostname), url.port or 1883)
        self.client.loop_start()

    def births(self) -> None:
        self._seq = 0
        birth = spb.Payload(timestamp=_ms(), seq=self._next())
        birth.metrics.add(name="bdSeq", datatype=4, long_value=0)
        birth.metrics.add(name="Node Control/Rebirth", datatype=11, boolean_value=False)
        self._publish("NBIRTH", birth)
        device = spb.Payload(timestamp=_ms(), seq=self._next())
        device.metrics.add(name="state", datatype=3, int_value=EXECUTE, timestamp=_ms())
        device.metrics.add(name="temp", datatype=10, double_value=20.0, timestamp=_ms())
        self._publish("DBIRTH", device, self.name)

    def data(self, fill: Callable[[spb.Payload], None]) -> None:
        payload = spb.Payload(timestamp=_ms(), seq=self._next())
        fill(payload)
        self._publish("DDATA", payload, self.name)

    def temperature(self, value: float) -> None:
        self.data(
            lambda p: (
                p.metrics.add(name="temp", datatype=10, double_value=value, timestamp=_ms())
                and None
            )
        )

    def die(self) -> None:
        self.client.publish(f"spBv1.0/Liveness/NDEATH/{self.node}", self.death, qos=1)

    def device_death(self) -> None:
        self._publish("DDEATH", spb.Payload(timestamp=_ms(), seq=self._next()), self.name)

    def cut(self) -> None:
        """Close the connection without a DISCONNECT: the broker publishes the will."""
        sock = self.client.socket()
        self.client.reconnect_delay_set(600, 600)
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(2)
        self.client.loop_stop()

    def close(self) -> None:
        self.client.loop_stop()

    def _next(self) -> int:
        self._seq, seq = (self._seq + 1) % 256, self._seq
        return seq

    def _publish(self, kind: str, payload: spb.Payload, device: str = "") -> None:
        topic = f"spBv1.0/Liveness/{kind}/{self.node}" + (f"/{device}" if device else "")
        self.client.publish(topic, payload.SerializeToString(), qos=0)


async def _set_up_sparkplug(
    machines: dict[str, Machine],
    stack: Stack,
    client: paho.Client,
    opened: contextlib.AsyncExitStack,
) -> None:
    nodes = {case.name: _EdgeNode(stack, case.name) for case in SPARKPLUG_CASES}
    for node in nodes.values():
        opened.callback(node.close)
        await asyncio.sleep(0.2)  # connected, and the gateway's host is online
        node.births()

    async def temperature(machine: Machine) -> None:
        nodes[machine.name].temperature(machine.temperature)

    def state(fill: Callable[[spb.Payload.Metric], None]) -> Callable[[Machine], Awaitable[None]]:
        async def fault(machine: Machine) -> None:
            def add(payload: spb.Payload) -> None:
                fill(payload.metrics.add(name="state", datatype=3, timestamp=_ms()))

            nodes[machine.name].data(add)

        return fault

    def bad_quality(metric: spb.Payload.Metric) -> None:
        metric.int_value = EXECUTE
        metric.properties.keys.append("Quality")
        metric.properties.values.add(type=3, int_value=0)

    def null(metric: spb.Payload.Metric) -> None:
        metric.is_null = True

    def text(metric: spb.Payload.Metric) -> None:
        metric.datatype, metric.string_value = 12, "Offline"

    def historical(metric: spb.Payload.Metric) -> None:
        metric.int_value, metric.is_historical = ABORTED, True
        metric.timestamp = _ms() - 600_000

    async def node_death(machine: Machine) -> None:
        machine.send = None
        nodes[machine.name].die()

    async def device_death(machine: Machine) -> None:
        machine.send = None
        nodes[machine.name].device_death()

    async def data_after_death(machine: Machine) -> None:
        nodes[machine.name].device_death()

    async def cable(machine: Machine) -> None:
        machine.send = None
        nodes[machine.name].cut()

    async def silent(machine: Machine) -> None:
        machine.send = None

    faults: dict[str, Callable[[Machine], Awaitable[None]]] = {
        "s-node-death": node_death,
        "s-device-death": device_death,
        "s-data-after-device-death": data_after_death,
        "s-cable": cable,
        "s-state-bad-quality": state(bad_quality),
        "s-state-null": state(null),
        "s-state-text": state(text),
        "s-state-historical": state(historical),
        "s-birth-in-force": silent,
    }
    for case in SPARKPLUG_CASES:
        machines[case.name].send = temperature
        machines[case.name].fault = faults[case.name]


# OPC UA


class _Proxy:
    """TCP between the gateway and a server, which can be cut or frozen."""

    def __init__(self, port: int, target: int) -> None:
        self._port, self._target = port, target
        self._writers: list[asyncio.StreamWriter] = []
        self._flows = asyncio.Event()
        self._flows.set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()

    def freeze(self) -> None:
        self._flows.clear()

    async def close(self) -> None:
        self._flows.set()
        await self.cut()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:  # the server has been stopped
            writer.close()
            return
        self._writers += [writer, back]
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await asyncio.gather(self._copy(reader, back), self._copy(there, writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            await self._flows.wait()
            writer.write(data)
            await writer.drain()
        writer.close()


async def _set_up_opcua(
    machines: dict[str, Machine], ports: dict[str, int], opened: contextlib.AsyncExitStack
) -> None:
    shared = [case.name for case in OPCUA_CASES if case.name not in OWN_SERVER]
    servers: dict[str, Server] = {}
    proxies: dict[str, _Proxy] = {}
    shared_server = await opened.enter_async_context(_server(ports["o"], shared))
    servers |= dict.fromkeys(shared, shared_server)
    for name in OWN_SERVER:
        inner = any_free()
        servers[name] = await _started(inner, [name])
        opened.push_async_callback(_stop_quietly, servers[name])
        proxies[name] = _Proxy(ports[name], inner)
        await proxies[name].start()
        opened.push_async_callback(proxies[name].close)

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
        await proxies[machine.name].cut()

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


# What is seen


def _tiles(stack: Stack) -> dict[str, str]:
    """By line: freshness | the words of its tile."""
    asked = urllib.request.Request(f"{stack.url}/", headers=stack.headers_of("liveness"))
    with urllib.request.urlopen(asked, timeout=20) as answer:
        page = answer.read().decode()
    found = {}
    for frame in re.findall(r'<line-frame class="tile".*?</line-frame>', page, re.DOTALL):
        freshness = re.search(r'data-freshness="(\w+)"', frame)
        band = re.search(r'<a class="band".*?</a>', frame, re.DOTALL)
        name = re.search(r'<span class="name">([^<]*)</span>', frame)
        assert freshness and band and name
        words = html.unescape(re.sub(r"<[^>]+>", " ", band.group()))
        found[html.unescape(name.group(1))] = f"{freshness.group(1)} | {' '.join(words.split())}"
    return found


def _events(stack: Stack, key: str) -> dict[str, list[tuple[float, str]]]:
    """By line: times and states of its state-changed events, as a partner polls them."""
    found: dict[str, list[tuple[float, str]]] = {}
    names = _line_names(stack)
    after = 0
    while True:
        request = urllib.request.Request(
            f"{stack.service_url('partner_events.api')}/events/v1/events?after={after}&limit=500",
            headers={"Authorization": f"Bearer {key}"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            body = json.load(answer)
        events = body["events"]
        for event in events:
            if "state-changed" in event["type"]:
                name = names.get(event["subject"], event["subject"])
                at = datetime.fromisoformat(event["time"].replace("Z", "+00:00")).timestamp()
                found.setdefault(name, []).append((at, event["data"]["state"]))
        if not events or body["next"] == after:
            return found
        after = body["next"]


def _line_names(stack: Stack) -> dict[str, str]:
    """Names of lines by the subject of their events."""
    with psycopg.connect(stack.database_url) as connection:
        rows = connection.execute("SELECT id, path FROM historian.asset").fetchall()
    return {str(row[0]): str(row[1]).rpartition("/")[2] for row in rows} | {
        str(row[1]): str(row[1]).rpartition("/")[2] for row in rows
    }


def _plant(ports: dict[str, int]) -> str:
    sources = [f'  - {{id: j, kind: mqtt_json, url: "{MQTT}", topic: "liveness/{{unit}}/state"}}']
    lines = []
    for case in CASES:
        if case in JSON_CASES:
            source, state, temp = "j", "state", "temp"
        elif case in SPARKPLUG_CASES:
            source, state, temp = case.name, "state", "temp"
            sources.append(
                f'  - {{id: {source}, kind: sparkplug, url: "{MQTT}", group: Liveness, '
                f"edge_node: node-{case.name}}}"
            )
        else:
            source = case.name if case.name in OWN_SERVER else "o"
            state, temp = (f'"nsu=urn:liveness;s={case.name}.{n}"' for n in ("state", "temp"))
        lines.append(
            f"      - name: {case.name}\n"
            "        products: [{id: thing, ideal_cycle_s: 10}]\n"
            "        units:\n"
            f"          - name: {case.name}\n"
            f"            source: {source}\n"
            "            signals:\n"
            f"              - {{name: state, address: {state}, type: int64, role: state}}\n"
            f"              - {{name: temp, address: {temp}, type: double, unit: Cel}}\n"
        )
    sources += [
        f'  - {{id: {name}, kind: opcua, url: "opc.tcp://127.0.0.1:{port}", '
        "publishing_interval_ms: 200}"
        for name, port in ports.items()
    ]
    return (
        "company: {id: liveness, name: Liveness Company}\nsite: site\ntime_zone: UTC\nsources:\n"
        + "\n".join(sources)
        + "\ncalendar:\n  shifts:\n"
        "    - {name: first, start: '00:00', end: '12:00'}\n"
        "    - {name: second, start: '12:00', end: '00:00'}\nareas:\n  - name: hall\n    lines:\n"
        + "".join(lines)
    )


def _body(body: object) -> bytes:
    return json.dumps(body).encode()


def _ms() -> int:
    return time.time_ns() // 1_000_000
