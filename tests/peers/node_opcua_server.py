"""An OPC UA server of node-opcua, a stack that shares no line with ours."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from aurelian.local import ports
from tests import npm

FOLDER = Path(__file__).parent / "node_opcua"
NAMESPACE = "urn:aurelian-test:node-opcua"
START_LIMIT_S = 60.0


def url_at(port: int) -> str:
    """The server's address behind a port."""
    return f"opc.tcp://127.0.0.1:{port}/UA/Peer"


class NodeOpcua:
    """The running server: Double variables `nsu=NAMESPACE;s=v0` and so on, all 0 at first."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.url, self.port = url_at(port), port
        self._process = process
        self._ready = asyncio.Event()
        self._done: dict[int, asyncio.Event] = {}

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    async def count(
        self, first: int, last: int, pause_ms: int = 20, first_ms: int | None = None
    ) -> None:
        """Write each number of a range to every variable; `first_ms`: source time of the first
        (milliseconds since 1970), the others have theirs `pause_ms` apart, None: the clock's."""
        await self._do("count", first, last, pause_ms, first_ms)

    async def write(
        self,
        node: int,
        value: float | None,
        *,
        status: int = 0,
        source_ms: float | None = None,
        server_ms: float | None = None,
    ) -> None:
        """Give one variable a value with any status and times, in milliseconds since 1970, None:
        without."""
        await self._do("write", node, value, status, source_ms, server_ms)

    async def write_bool(self, node: int, value: bool) -> None:
        """Write a Boolean variable."""
        await self._do("write_bool", node, value)

    async def set_range(self, node: int, low: float, high: float) -> None:
        """Write the EURange of an analog variable."""
        await self._do("range", node, low, high)

    async def add_namespace(self, uri: str) -> None:
        """Add a namespace with as many variables; they count from now on, those before do not; and
        `s=mode` of the enumeration ServerState, 4."""
        await self._do("add_namespace", uri)

    async def delete_node(self, node: int) -> None:
        """Take a variable out, as a new program in a controller does."""
        await self._do("delete_node", node)

    async def add_node(self, node: int) -> None:
        """Put a variable back, with the value 0."""
        await self._do("add_node", node)

    async def end_subscriptions(self) -> None:
        """Forget all subscriptions without telling their clients; sessions stay."""
        await self._do("end_subscriptions")

    async def write_structures(self, number: int) -> None:
        """Write the value of that number to each node of a type of `types.xml`."""
        await self._do("structures", number)

    async def say_state(self, number: int, seconds: int = 0, reason: str = "") -> None:
        """Say that the server is in a state (part 5, ServerState: 0 Running, 4 Shutdown), which it
        goes to in so many seconds."""
        await self._do("state", number, seconds, reason)

    async def say_level(self, number: int) -> None:
        """Say a ServiceLevel, 255 at first."""
        await self._do("level", number)

    async def allow_subscriptions(self, most: int) -> None:
        """Give each session no more from now on; those that are there stay."""
        await self._do("subscriptions", most)

    async def add_mute(self) -> None:
        """Add a variable `s=mute` that never has a value."""
        await self._do("add_mute")

    async def let_read(self, node_id: str, *, may: bool) -> None:
        """Let a variable be read from now on, or not."""
        await self._do("readable", node_id, may)

    async def allow_sessions(self, most: int) -> None:
        """Give no more from now on; those that are there stay."""
        await self._do("sessions", most)

    async def alarm(self, number: int, **change: object) -> None:
        """An event of an alarm: active, message, severity, retain, acked, confirmed."""
        await self._do("alarm", number, change)

    async def limit(self, value: float) -> None:
        """Write the variable that has limits: 10, 20, 80, 90."""
        await self._do("limit", value)

    async def branch(self, number: int, *, end: bool = False) -> None:
        """Make a branch of an alarm, or end its last one."""
        await self._do("branch", number, end)

    async def event(self, kind: str, message: str, severity: int) -> None:
        """Raise an event that is no condition."""
        await self._do("event", kind, message, severity)

    async def forget(self) -> None:
        """End all sessions with their subscriptions."""
        await self._do("forget")

    async def _do(self, command: str, *given: object) -> None:
        assert self._process.stdin is not None
        number = len(self._done)
        done = self._done[number] = asyncio.Event()
        self._process.stdin.write(f"{json.dumps([number, command, *given])}\n".encode())
        await self._process.stdin.drain()
        waiting = asyncio.create_task(done.wait())
        ended = asyncio.create_task(self._process.wait())
        try:
            await asyncio.wait({waiting, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            ended.cancel()
        assert done.is_set(), "node-opcua ended"

    async def listen(self) -> None:
        """Take what it says, until it ends."""
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            said = line.decode().strip()
            if said == "ready":
                self._ready.set()
            elif said.startswith("done "):
                self._done[int(said[5:])].set()

    async def ready(self) -> None:
        """Wait until it takes connections."""
        await self._ready.wait()


@contextlib.asynccontextmanager
async def node_opcua(
    folder: Path,
    *,
    nodes: int,
    most_items: int = 100_000,
    items_per_subscription: int = 100_000,
    subscriptions: int = 10,
    items_per_call: int = 1000,
    analog: int = 0,
    bools: int = 0,
    historized: int = 0,
    refused: int = 0,
    history_nodes_per_call: int = 0,
    policies: Sequence[str] = ("None",),
    modes: Sequence[str] = ("None",),
    anonymous: bool = True,
    password: str = "",
    accepts_all: bool = True,
    accepts_users: bool = True,
    certificate: Path | None = None,
    key: Path | None = None,
    port: int = 0,
    namespaces: Sequence[str] = (),
    types: bool = False,
    nodesets: Sequence[str] = ("standard",),
    transport: Mapping[str, int] | None = None,
    token_lifetime_ms: int = 0,
    clock_ahead_ms: int = 0,
    alarms: int = 0,
    uri: str = NAMESPACE,
    host: str = "127.0.0.1",
    redundancy: int = 0,
    redundant: Sequence[tuple[str, str]] = (),
) -> AsyncIterator[NodeOpcua]:
    """Start a server with its certificates in `folder`; skip where npm cannot bring it.

    Args:
        analog: the first so many nodes have an EURange, 0 to 200, and EngineeringUnits, degrees C.
        bools: further variables, Booleans `s=b0` and so on.
        historized: the first so many nodes have a history, the next `refused` say so and refuse it.
        policies, modes: of the endpoints, by their names in node-opcua.
        anonymous: whether nobody may sign in. `operator` may with `password`.
        accepts_all: clients' certificates, unseen; else those in `folder`/node-opcua-pki/trusted.
        accepts_users: their certificates, unseen; else none.
        certificate, key: of the server, PEM; None: one that it makes for itself.
        port: 0: a free one.
        namespaces: further ones, in their order. All have nodes of the same names; those of the
            last count, the others stay at 999,999.
        types: also nodes of the types of `types.xml`, at most 3 nodes in a call to read.
        nodesets: with `types`, those before them, by their names in node-opcua.
        transport: receiveBufferSize, sendBufferSize, maxMessageSize and maxChunkCount of its
            connections; None: as it likes.
        token_lifetime_ms: after which a secure channel must be renewed; 0: its own.
        alarms: so many at an object `s=press`, and one of the limits of `s=press.temperature`.
        clock_ahead_ms: of all its times, negative: behind.
        uri: its ApplicationUri.
        host: in the addresses that it names.
        redundancy: RedundancySupport, with the ApplicationUris and addresses of the others,
            `redundant`.
    """
    node, cache = await asyncio.to_thread(npm.install, FOLDER, "node-opcua", "node-opcua")
    port = port or ports.any_free()
    options = {
        "port": port,
        "folder": str(folder / "node-opcua-pki"),
        "nodes": nodes,
        "namespaces": list(namespaces),
        "most_items": most_items,
        "items_per_subscription": items_per_subscription,
        "subscriptions": subscriptions,
        "items_per_call": items_per_call,
        "analog": analog,
        "bools": bools,
        "historized": historized,
        "refused": refused,
        "history_nodes_per_call": history_nodes_per_call,
        "policies": list(policies),
        "modes": list(modes),
        "anonymous": anonymous,
        "password": password,
        "accepts_all": accepts_all,
        "accepts_users": accepts_users,
        "certificate": None if certificate is None else str(certificate),
        "types": str(FOLDER / "types.xml") if types else None,
        "nodesets": list(nodesets),
        "key": None if key is None else str(key),
        "transport": transport,
        "token_lifetime_ms": token_lifetime_ms,
        "alarms": alarms,
        "clock_ahead_ms": clock_ahead_ms,
        "uri": uri,
        "host": host,
        "redundancy": redundancy,
        "redundant": list(redundant),
    }
    with (folder / "node-opcua.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            node,
            str(FOLDER / "server.mjs"),
            str(cache),
            json.dumps(options),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
    server = NodeOpcua(process, port)
    listening = asyncio.create_task(server.listen())
    try:
        async with asyncio.timeout(START_LIMIT_S):
            await server.ready()
        yield server
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await listening
