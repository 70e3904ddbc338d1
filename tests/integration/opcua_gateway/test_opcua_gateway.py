"""The OPC UA gateway's whole path: a real server, sessions that break, and every value compared at
the broker."""

import asyncio
import contextlib
import os
import signal
import struct
import sys
import time
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from asyncua import Server, ua

from aurelian.edge.gateway import run_gateway
from aurelian.local import ports
from aurelian.model.sample import Flag, Value, ValueType
from aurelian.runtime.health import Health
from opcua_gateway.settings import OpcuaGatewaySettings
from opcua_gateway.sources import make_sources
from tests.gateway_log import Log, followed
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

URI = "urn:test:press"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
T = ua.VariantType
BAD = 0x80310000

# name, variant type, declared type
NODES: list[tuple[str, ua.VariantType, str]] = [
    ("flag", T.Boolean, "bool"),
    ("sbyte", T.SByte, "int64"),
    ("byte", T.Byte, "int64"),
    ("int16", T.Int16, "int64"),
    ("uint16", T.UInt16, "int64"),
    ("int32", T.Int32, "int64"),
    ("uint32", T.UInt32, "int64"),
    ("int64", T.Int64, "int64"),
    ("uint64", T.UInt64, "uint64"),
    ("float", T.Float, "double"),
    ("double", T.Double, "double"),
    ("text", T.String, "text"),
    ("bytes", T.ByteString, "bytes"),
    ("when", T.DateTime, "text"),
    ("guid", T.Guid, "text"),
    ("local", T.LocalizedText, "text"),
    ("array", T.Double, "json"),
    ("range", T.ExtensionObject, "json"),
]


def make_value(name: str, kind: ua.VariantType, n: int) -> tuple[object, Value]:
    """The n-th value of a node as the server writes it, and as it shall arrive. Every third equals
    the one before."""
    k = n - 1 if n % 3 == 2 else n
    match name:
        case "flag":
            return bool(k % 2), bool(k % 2)
        case "uint64":
            return 2**64 - 1 - k, 2**64 - 1 - k
        case "int64":
            return 2**53 + k, 2**53 + k
        case "sbyte" | "int16" | "int32":
            return -(k % 100), -(k % 100)
        case "byte" | "uint16" | "uint32":
            return k % 200, k % 200
        case "float":
            (value,) = struct.unpack("<f", struct.pack("<f", k / 7))
            return value, value
        case "double":
            return k / 7, k / 7
        case "text":
            return f"Größe {k}", f"Größe {k}"
        case "bytes":
            return bytes([k % 256, 0, 255]), bytes([k % 256, 0, 255])
        case "when":
            when = datetime(2026, 1, 5, tzinfo=UTC) + timedelta(seconds=k)
            return when, when.isoformat(timespec="microseconds").replace("+00:00", "Z")
        case "guid":
            return uuid.UUID(int=k), str(uuid.UUID(int=k))
        case "local":
            return ua.LocalizedText(f"auf {k}", "de"), f"auf {k}"
        case "array":
            return [float(k), float("nan"), 0.5], f"[{float(k)},null,0.5]"
        case _:
            return ua.Range(Low=float(k), High=2.0), f'{{"Low":{float(k)},"High":2.0}}'


class Machine:
    """A real OPC UA server with a node of each type and a counter."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.server = Server()
        self.nodes: dict[str, ua.NodeId] = {}

    async def start(self, *, decoys: bool = False, without: str = "") -> None:
        server = self.server = Server()
        await server.init()
        server.set_endpoint(f"opc.tcp://127.0.0.1:{self.port}")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        if decoys:
            index = await server.register_namespace("urn:test:decoy")
            await server.nodes.objects.add_variable(ua.NodeId("counter", index), "counter", 999_999)
        index = await server.register_namespace(URI)
        for name, kind, _ in [*NODES, ("counter", T.Int64, "int64")]:
            if name != without:
                await self.add(name, kind, index)
        limit = server.get_node(
            ua.NodeId(
                ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall
            )
        )
        await limit.write_value(ua.Variant(7, T.UInt32))
        await server.start()

    async def add(self, name: str, kind: ua.VariantType, index: int) -> None:
        first = make_value(name, kind, 0)[0] if name != "counter" else 0
        self.nodes[name] = ua.NodeId(name, index)
        await self.server.nodes.objects.add_variable(
            self.nodes[name], name, ua.Variant(first, kind)
        )

    async def write(self, name: str, value: ua.Variant, at: int, status: int = 0) -> None:
        when = EPOCH + timedelta(microseconds=at)
        found = ua.DataValue(
            value, ua.StatusCode(status), SourceTimestamp=when, ServerTimestamp=when
        )
        await self.server.iserver.aspace.write_attribute_value(
            self.nodes[name], ua.AttributeIds.Value, found
        )

    async def count(self, first: int, last: int, pause_s: float = 0.02) -> None:
        for n in range(first, last + 1):
            await self.write("counter", ua.Variant(n, T.Int64), now())
            await asyncio.sleep(pause_s)

    def cut(self) -> None:
        """Abort every connection."""
        for transport in list(self.server.iserver.asyncio_transports):
            transport.abort()


class Wire:
    """A TCP relay in front of the machine that can hold all bytes back while the connection stays
    up."""

    def __init__(self, port: int, target: int) -> None:
        self.port, self._target = port, target
        self.flowing = asyncio.Event()
        self.flowing.set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Wire":
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target)
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._copy(reader, there_writer))
                ways.create_task(self._copy(there_reader, writer))
        except* OSError:
            pass

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self.flowing.wait()
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()


def write_plant(folder: Path, port: int) -> None:
    signals = "\n".join(
        f'              - {{name: {name}, address: "nsu={URI};s={name}", type: {declared}}}'
        for name, _, declared in [*NODES, ("counter", T.Int64, "int64")]
    )
    folder.mkdir(exist_ok=True)
    (folder / "north.yaml").write_text(
        f"""
company: {{id: pilot-x, name: Pilot X}}
site: north
time_zone: UTC
sources:
  - {{id: press-opcua, kind: opcua, url: "opc.tcp://127.0.0.1:{port}", publishing_interval_ms: 100}}
areas:
  - name: forming
    lines:
      - name: line-1
        products: [{{id: cup, ideal_cycle_s: 2}}]
        units:
          - name: press
            source: press-opcua
            signals:
{signals}
"""
    )


def now() -> int:
    return time.time_ns() // 1000


def counted(log: Log) -> list[int]:
    return [int(s.value) for s in log.of("counter") if isinstance(s.value, int)]


@contextlib.asynccontextmanager
async def running(
    kafka: str, folder: Path, port: int, gateway: str, **more: object
) -> AsyncIterator[Log]:
    """A gateway in this process, and what it sends."""
    write_plant(folder / "plant", port)
    settings = OpcuaGatewaySettings(
        kafka_bootstrap=kafka,
        gateway=gateway,
        plant=folder / "plant",
        state=folder,
        **more,  # type: ignore[arg-type]
    )
    async with followed(kafka, gateway) as log:
        task = asyncio.create_task(run_gateway(settings, Health("opcua_gateway"), make_sources))
        try:
            yield log
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def machine() -> AsyncIterator[Machine]:
    found = Machine(ports.any_free())
    await found.start()
    yield found
    await found.server.stop()


async def test_two_thousand_values_of_all_types_arrive_as_they_were_written(
    kafka: str, tmp_path: Path, machine: Machine
) -> None:
    expected: dict[tuple[str, int], tuple[ValueType, Value, int]] = {}
    async with running(kafka, tmp_path, machine.port, "opcua-types") as log:
        await until(
            lambda: len({s.signal.id for s in log.samples}) == len(NODES) + 1, "first values"
        )
        assert all(s.flags & Flag.INITIAL for s in log.samples)
        at = now()
        for n in range(1, 2001 // len(NODES) + 2):
            for name, kind, declared in NODES:
                at += 7
                sent, value = make_value(name, kind, n)
                status, type = (0x408F0000 if n % 10 == 0 else 0), ValueType[declared.upper()]
                if n % 20 == 5:
                    sent, value, status, type = None, None, BAD, ValueType.NULL
                await machine.write(
                    name, ua.Variant(sent, T.Null if sent is None else kind), at, status
                )
                expected[name, at] = type, value, status
        assert len(expected) >= 2000
        last = max(expected, key=lambda key: key[1])
        await until(lambda: any(s.source_time == last[1] for s in log.samples), "the last value")
        found = {
            (s.signal.path.rpartition("/")[2], s.source_time): (s.type, s.value, s.status)
            for s in log.samples
            if not s.flags & Flag.INITIAL
        }
        assert found == expected
        assert sum(not s.flags & Flag.INITIAL for s in log.samples) == len(expected)
        assert all(
            s.sub == 0 and s.server_time == s.source_time
            for s in log.samples
            if not s.flags & Flag.INITIAL
        )
        assert not log.kind("gap")
        assert [len(event.birth.assets) for event in log.kind("birth")] == [1]
        await until(lambda: len(log.kind("heartbeat")) >= 2, "heartbeats", 8)


async def test_a_cut_and_a_freeze_lose_and_double_nothing(
    kafka: str, tmp_path: Path, machine: Machine
) -> None:
    fast = {"opcua_timeout_s": 1.0, "opcua_keep_alive_s": 0.5}
    async with (
        Wire(ports.any_free(), machine.port) as wire,
        running(kafka, tmp_path, wire.port, "opcua-cut", **fast) as log,
    ):
        await machine.count(0, 0)
        await until(lambda: 0 in counted(log), "first value")
        await machine.count(1, 20)
        machine.cut()
        await machine.count(21, 60)
        await until(lambda: 60 in counted(log), "values after the cut")
        wire.flowing.clear()
        await machine.count(61, 160)
        await until(lambda: len(log.kind("death")) == 2, "the watchdog")
        wire.flowing.set()
        await machine.count(161, 180)
        await until(lambda: 180 in counted(log), "values after the freeze")
        unique = {(s.source_time, s.sub): s.value for s in log.of("counter")}
        assert [v for v in unique.values() if isinstance(v, int)][-181:] == list(range(181))
        assert not log.kind("gap")
        assert [event.birth.detail for event in log.kind("birth")] == [
            "connected",
            "resumed",
            "resumed",
        ]


async def test_a_killed_gateway_goes_on_with_its_subscription_and_nothing_is_lost(
    kafka: str, tmp_path: Path, machine: Machine
) -> None:
    first = 1000
    write_plant(tmp_path / "plant", machine.port)
    environment = os.environ | {
        "AURELIAN_KAFKA_BOOTSTRAP": kafka,
        "AURELIAN_GATEWAY": "opcua-killed",
        "AURELIAN_PLANT": str(tmp_path / "plant"),
        "AURELIAN_STATE": str(tmp_path),
    }

    async def start() -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "opcua_gateway", env=environment
        )

    async with followed(kafka, "opcua-killed") as log:
        process = await start()
        try:
            await until(lambda: bool(log.of("counter")), "first value", 30)
            writing = asyncio.create_task(machine.count(first, first + 150, 0.03))
            await until(lambda: len(counted(log)) > 30, "values before the kill")
            process.send_signal(signal.SIGKILL)
            await process.wait()
            process = await start()
            await writing
            await until(lambda: first + 150 in counted(log), "the last value", 30)
        finally:
            process.terminate()
            await process.wait()
        assert process.returncode == 0
        unique = {(s.source_time, s.sub): s.value for s in log.of("counter")}
        assert sorted(v for v in unique.values() if isinstance(v, int))[-151:] == list(
            range(first, first + 151)
        )
        assert not log.kind("gap")


async def test_a_missing_node_costs_no_other_and_a_namespace_put_in_front_changes_no_value(
    kafka: str, tmp_path: Path
) -> None:
    machine = Machine(ports.any_free())
    await machine.start(without="double")
    fast = {"opcua_retry_s": 0.2, "opcua_timeout_s": 1.0}
    try:
        async with running(kafka, tmp_path, machine.port, "opcua-restarted", **fast) as log:
            await until(lambda: bool(log.of("counter")) and bool(log.of("double")), "first values")
            (refused,) = log.of("double")
            assert (refused.value, refused.type, refused.status) == (
                None,
                ValueType.NULL,
                0x80340000,
            )
            await machine.add("double", T.Double, machine.nodes["counter"].NamespaceIndex)
            await until(lambda: len(log.of("double")) == 2, "the node's value")
            assert log.of("double")[1].value == 0.0

            await machine.count(1, 5)
            await until(lambda: 5 in counted(log), "values before the restart")
            assert not log.kind("gap")
            await machine.server.stop()
            await until(lambda: bool(log.kind("death")), "the death")
            await machine.start(decoys=True)
            await until(lambda: len(log.kind("birth")) == 2, "the second birth")
            await machine.count(6, 10)
            await until(lambda: 10 in counted(log), "values after the restart")
            assert 999_999 not in counted(log)
            (event,) = log.kind("gap")
            assert 0 < event.gap.from_time < event.gap.to_time
    finally:
        await machine.server.stop()
