"""A real OPC UA server with a folder per machine: the plant's OPC UA source. The only importer of
asyncua here, beside replay.

Called by `factory.py` (machines) and `replay.py` (recordings). Security None: it is for loopback
and test networks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from asyncua import Server, ua

from aurelian.model.plant import Unit
from aurelian.model.plant_file import PlantError
from aurelian.model.sample import GOOD, Value, ValueType
from aurelian.model.source_model import SourceModel
from aurelian.model.time import to_datetime
from aurelian.runtime.retry import Backoff
from pilot_factory.metrics import SENT
from pilot_factory.sendlog import SendLog
from pilot_factory.simulation import Measurement, SimulatedSignal

log = logging.getLogger(__name__)

# It warns of what we want: a server without security, on loopback.
logging.getLogger("asyncua.server.server").setLevel(logging.ERROR)

NAMESPACE = "urn:aurelian:pilot"

VARIANT = {
    ValueType.DOUBLE: ua.VariantType.Double,
    ValueType.INT64: ua.VariantType.Int64,
    ValueType.UINT64: ua.VariantType.UInt64,
    ValueType.BOOL: ua.VariantType.Boolean,
    ValueType.TEXT: ua.VariantType.String,
    ValueType.BYTES: ua.VariantType.ByteString,
    ValueType.JSON: ua.VariantType.String,
}


@dataclass(frozen=True, slots=True)
class Node:
    """A variable to serve: its place (`folder`), its string id, its name and its type."""

    folder: str
    id: str
    name: str
    type: ValueType


class OpcuaServer:
    """An asyncua server with one variable per node. `start`, then `write`; `silence` and `listen`
    pull the plug and back."""

    def __init__(self, host: str, port: int, namespace: str, nodes: Iterable[Node]) -> None:
        self._endpoint = f"opc.tcp://{host}:{port}"
        self._namespace, self._nodes = namespace, list(nodes)
        self._ids: dict[str, ua.NodeId] = {}
        self.server = Server()

    async def start(self, first: Iterable[tuple[str, ua.DataValue]] = ()) -> None:
        """Build the address space, give nodes their `first` values and listen.

        Raises:
            OSError: the port is taken.
        """
        server = self.server
        await server.init()
        server.set_endpoint(self._endpoint)
        server.set_server_name("Aurelian pilot plant")
        await server.set_application_uri(f"{self._namespace}:server")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        index = await server.register_namespace(self._namespace)
        folders = {}
        for node in self._nodes:
            if node.folder not in folders:
                folders[node.folder] = await server.nodes.objects.add_folder(
                    ua.NodeId(node.folder, index), ua.QualifiedName(node.folder, index)
                )
            self._ids[node.id] = node_id = ua.NodeId(node.id, index)
            await folders[node.folder].add_variable(
                node_id, ua.QualifiedName(node.name, index), _zero(node.type), VARIANT[node.type]
            )
        for name, value in first:
            await self.write(name, value)
        await server.start()

    async def write(self, id: str, value: ua.DataValue) -> None:
        """Set a node's value, status and times; monitored items see it at once.

        Raises:
            ValueError: the value is not of the node's type.
        """
        status = await self.server.iserver.aspace.write_attribute_value(
            self._ids[id], ua.AttributeIds.Value, value
        )
        if not status.is_good():
            raise ValueError(f"node {id!r} does not take {value}: {status}")

    def node_ids(self) -> list[ua.NodeId]:
        """The nodes' ids in this server's numbering."""
        return list(self._ids.values())

    async def silence(self) -> None:
        """Drop every connection and refuse new ones; sessions and their queues live on, as behind a
        pulled cable."""
        await self.server.bserver.stop()

    async def listen(self) -> None:
        """Take connections again, on the same port.

        Raises:
            OSError: another program has taken the port meanwhile.
        """
        await self.server.bserver.start()

    async def stop(self) -> None:
        """End it; never takes longer than a second."""
        if (clock := self.server.iserver.time_task) is not None:
            # asyncua would wait for its next tick, up to a second.
            clock.cancel()
            await asyncio.wait({clock})
            self.server.iserver.time_task = None
        try:
            async with asyncio.timeout(1.0):
                await self.server.stop()
        except TimeoutError:
            log.warning(
                "opc ua server did not end in time", extra={"fields": {"endpoint": self._endpoint}}
            )


class OpcuaOutlet:
    """An OPC UA source of the plant: one server for all its units. Pulling one unit's cable
    silences the server."""

    def __init__(
        self,
        source: SourceModel,
        signals: Sequence[SimulatedSignal],
        host: str,
        port: int | None,
        sent: SendLog | None,
        retry_s: float = 10.0,
    ) -> None:
        self.source = source
        self.listening = asyncio.Event()
        self._host = host
        self._port = port or urlsplit(source.url).port or 4840
        self._sent = sent
        self._ids = {each: _address(each) for each in signals}
        self._nodes = [
            Node(s.unit.model.name, self._ids[s], s.model.name, s.model.type) for s in signals
        ]
        self._cut: set[str] = set()
        self._last: dict[SimulatedSignal, Measurement] = {}
        self._pending: list[Measurement] = []
        self._changed = asyncio.Event()
        self._retry = Backoff(longest_s=retry_s)

    def put(self, measurements: Sequence[Measurement]) -> None:
        """Take the values of one step."""
        self._last.update((each.signal, each) for each in measurements)
        if self.listening.is_set():
            self._pending.extend(measurements)
        self._changed.set()

    def cut(self, unit: Unit) -> None:
        """Pull the cable: the line's whole server falls silent."""
        self._cut.add(unit.path)
        self._changed.set()

    def mend(self, unit: Unit) -> None:
        """Put the cable back."""
        self._cut.discard(unit.path)
        self._changed.set()

    async def run(self) -> None:
        """Serve until cancelled; a taken port is tried again for ever."""
        while True:
            server = OpcuaServer(self._host, self._port, NAMESPACE, self._nodes)
            try:
                while not self._last:
                    await self._changed.wait()
                    self._changed.clear()
                first = list(self._last.values())
                await server.start(
                    [(self._ids[each.signal], data_value_of(each)) for each in first]
                )
            except OSError as error:
                fields = {
                    "source": self.source.key,
                    "host": self._host,
                    "port": self._port,
                    "error": str(error),
                }
                log.error("opc ua server cannot listen; trying again", extra={"fields": fields})
                await self._retry.wait()
                continue
            fields = {"source": self.source.key, "host": self._host, "port": self._port}
            log.info("opc ua server listens", extra={"fields": fields})
            self._note(first)
            self.listening.set()
            try:
                await self._serve(server)
            finally:
                self.listening.clear()
                await server.stop()

    async def _serve(self, server: OpcuaServer) -> None:
        silent = False
        while True:
            if self._cut and not silent:
                await server.silence()
                silent = True
            elif silent and not self._cut:
                await server.listen()
                silent = False
            taken, self._pending = self._pending, []
            for measurement in taken:
                await server.write(self._ids[measurement.signal], data_value_of(measurement))
            self._note(taken)
            if not self._pending and silent == bool(self._cut):
                await self._changed.wait()
            self._changed.clear()

    def _note(self, shown: Sequence[Measurement]) -> None:
        SENT.labels("opcua").inc(len(shown))
        if self._sent is not None:
            self._sent.write_all(shown)
            self._sent.flush()


def data_value_of(measurement: Measurement) -> ua.DataValue:
    """A machine's value as OPC UA has it."""
    return data_value(
        measurement.signal.model.type,
        measurement.value,
        measurement.source_time,
        measurement.status,
    )


def data_value(type: ValueType, value: Value, source_time: int, status: int = GOOD) -> ua.DataValue:
    """A value as OPC UA has it. `source_time`: microseconds since 1970; the server time is now."""
    return ua.DataValue(
        Value=ua.Variant(value, VARIANT[type])
        if value is not None
        else ua.Variant(None, ua.VariantType.Null),
        StatusCode=ua.StatusCode(status),
        SourceTimestamp=to_datetime(source_time),
        ServerTimestamp=datetime.now(UTC),
    )


def _address(signal: SimulatedSignal) -> str:
    """The string id of `nsu=urn:aurelian:pilot;s=<id>`.

    Raises:
        PlantError: another kind of address.
    """
    head = f"nsu={NAMESPACE};s="
    if not signal.model.address.startswith(head):
        raise PlantError(
            f"signal {signal.signal.path!r}: address {signal.model.address!r} does not begin with "
            f"{head!r}"
        )
    return signal.model.address.removeprefix(head)


def _zero(type: ValueType) -> Value:
    zeros: dict[ValueType, Value] = {
        ValueType.DOUBLE: 0.0,
        ValueType.BOOL: False,
        ValueType.TEXT: "",
        ValueType.JSON: "null",
        ValueType.BYTES: b"",
    }
    return zeros.get(type, 0)
