"""A real OPC UA server with a folder per machine: the plant's OPC UA source. With
its parts `opcua_security.py` and `packml_machine.py` the only importer of asyncua here, beside
replay.

Called by `factory.py` (machines) and `replay.py` (recordings). In the clear for loopback and test
networks; the machines also secured.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from asyncua import Server, ua

from aurelian.edge.applications import pilot_certificate, pilot_store
from aurelian.edge.certificates import UNREADABLE, TrustError
from aurelian.model.plant import Unit
from aurelian.model.plant_file import PlantError
from aurelian.model.sample import GOOD, Value, ValueType
from aurelian.model.source_model import SourceModel
from aurelian.model.time import to_datetime
from aurelian.runtime.retry import Backoff
from pilot_factory.metrics import SENT
from pilot_factory.opcua_security import Secured, SecuredServer, password_of
from pilot_factory.packml_machine import EFFECTIVE_STATE, PackMlMachine, load_packml
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

    def __init__(
        self,
        host: str,
        port: int,
        namespace: str,
        nodes: Iterable[Node],
        machines: Collection[str] = (),
        secured: Secured | None = None,
    ) -> None:
        """Args:
        machines: names of PackML machines; nodes with such a `folder` are below it.
        secured: endpoints with security, beside the one in the clear.
        """
        self._endpoint = f"opc.tcp://{host}:{port}"
        self._namespace, self._nodes = namespace, list(nodes)
        self._machines = dict.fromkeys(machines)
        self._ids: dict[str, ua.NodeId] = {}
        self.server = Server() if secured is None else SecuredServer(secured)
        self.packml: dict[str, PackMlMachine] = {}

    async def start(self, first: Iterable[tuple[str, ua.DataValue]] = ()) -> None:
        """Build the address space, give nodes their `first` values and listen.

        Raises:
            OSError: the port is taken.
        """
        await self.build()
        for name, value in first:
            await self.write(name, value)
        await self.open()

    async def build(self) -> None:
        """Build the address space; nobody sees it before `open`."""
        server = self.server
        await server.init()
        server.set_endpoint(self._endpoint)
        server.set_server_name("Aurelian pilot plant")
        await server.set_application_uri(f"{self._namespace}:server")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        if isinstance(server, SecuredServer):
            await server.load()
        types = await load_packml(server) if self._machines else None
        index = await server.register_namespace(self._namespace)
        folders = {}
        if types is not None:
            for name in self._machines:
                machine = PackMlMachine(server, types, index, name)
                folders[name] = server.get_node(await machine.create())
                self.packml[name] = machine
        for node in self._nodes:
            if node.folder not in folders:
                folders[node.folder] = await server.nodes.objects.add_folder(
                    ua.NodeId(node.folder, index), ua.QualifiedName(node.folder, index)
                )
            self._ids[node.id] = node_id = ua.NodeId(node.id, index)
            await folders[node.folder].add_variable(
                node_id, ua.QualifiedName(node.name, index), _zero(node.type), VARIANT[node.type]
            )

    async def open(self) -> None:
        """Listen, after `build`.

        Raises:
            OSError: the port is taken.
        """
        await self.server.start()

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
        state: Path,
        retry_s: float = 10.0,
    ) -> None:
        self.source = source
        self._state = state
        self.listening = asyncio.Event()
        self._host = host
        self._port = port or urlsplit(source.url).port or 4840
        self._sent = sent
        self._ids = {each: _address(each) for each in signals}
        self._machines = [s.unit.model.name for s in signals if self._is_of_packml(s)]
        self._nodes = [
            Node(s.unit.model.name, self._ids[s], s.model.name, s.model.type)
            for s in signals
            if not self._is_of_packml(s)
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
            secured = await asyncio.to_thread(self._secured)
            server = OpcuaServer(
                self._host, self._port, NAMESPACE, self._nodes, self._machines, secured
            )
            try:
                while not self._last:
                    await self._changed.wait()
                    self._changed.clear()
                first = list(self._last.values())
                await server.build()
                await self._show(first, server)
                await server.open()
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
            await self._show(taken, server)
            self._note(taken)
            if not self._pending and silent == bool(self._cut):
                await self._changed.wait()
            self._changed.clear()

    async def _show(self, measured: Sequence[Measurement], server: OpcuaServer) -> None:
        for each in measured:
            signal, value = each.signal, data_value_of(each)
            machine = server.packml.get(signal.unit.model.name)
            if machine is not None:
                await machine.show(signal.model.role, each.value, value)
            if not self._is_of_packml(signal):
                await server.write(self._ids[signal], value)

    def _is_of_packml(self, signal: SimulatedSignal) -> bool:
        """Whether its node is one that PackML has."""
        return self._ids[signal] == _effective(signal.unit.model.name)

    def _secured(self) -> Secured | None:
        """None: without a certificate it speaks in the clear only."""
        store = pilot_store(self._state)
        try:
            own = pilot_certificate(store)
        except (TrustError, OSError, *UNREADABLE) as error:
            extra = {"fields": {"source": self.source.key, "error": str(error)}}
            log.error("no certificate of our own: no secured endpoints", extra=extra)
            return None
        password = functools.partial(password_of, self.source)
        return Secured(own, store, self.source.user, password)

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


def _effective(unit: str) -> str:
    """Id of the node with the state of a PackML machine."""
    return f"{unit}.{EFFECTIVE_STATE}"


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
