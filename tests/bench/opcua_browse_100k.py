"""`opcua_browse_100k`: seconds to find all nodes of a server with 1,000 machines and 99 variables
each, node-opcua in a process of its own.

Peer: asyncua's Node.get_children_descriptions, called for each node of one line (50 machines), and
scaled to the same number of nodes.
"""

from __future__ import annotations

import asyncio
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from asyncua import Client, ua

from opcua_gateway.browse.variables import read_variables
from opcua_gateway.browse.walk import SERVER, Bounds, Node, browse_tree, find_reach
from opcua_gateway.browse.wire import VARIABLE
from opcua_gateway.connection import opened
from opcua_gateway.security.endpoints import Way
from tests.bench.framework import cpu_and_memory, say
from tests.peers.node_opcua_browse import BrowseServer, browse_server

MACHINES, VARIABLES = 1_000, 99
LINES = MACHINES // 50
NODES = LINES + MACHINES * (1 + VARIABLES)
ROUNDS = 3
IN_FLIGHT = 4


def run() -> Iterator[dict[str, object]]:
    """Yield the best of three rounds."""
    with tempfile.TemporaryDirectory() as folder:
        yield asyncio.run(_run(Path(folder)))


async def _run(folder: Path) -> dict[str, object]:
    async with browse_server(folder, machines=MACHINES, variables=VARIABLES) as server:
        rounds = [await _round(server) for _ in range(ROUNDS)]
        best = min(rounds, key=lambda each: each["browse_s"])
        peer, part = await _asyncua(server.url)
    say(f"{rounds}; asyncua: {part} nodes in {peer:.2f} s")
    scaled = peer * NODES / part
    return {
        "bench": "opcua_browse_100k",
        "value": round(best["browse_s"], 2),
        "unit": f"s for {NODES} nodes",
        "peer": round(scaled, 1),
        "ratio": round(scaled / best["browse_s"], 1),
        "target": 10,
        "cpu_s": round(best["browse_cpu_s"], 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "samples": NODES,
        "server_cpu_s": round(best["server_cpu_s"], 2),
        "types_s": round(best["types_s"], 2),
        "types_cpu_s": round(best["types_cpu_s"], 2),
        "in_flight": IN_FLIGHT,
    }


async def _round(server: BrowseServer) -> dict[str, float]:
    async with opened(
        server.url, Way(), timeout_s=30, session_timeout_s=60, name="bench", secret=None
    ) as session:
        reach = await find_reach(session)
        server_cpu, cpu, started = cpu_and_memory(server.pid)[0], time.process_time(), _now()
        tree = await browse_tree(
            session, reach, Bounds(in_flight=IN_FLIGHT), leave_out=lambda node: not _counts(node)
        )
        assert not tree.cut and len(tree.nodes) == NODES, (tree.cut, len(tree.nodes))
        found = {
            "browse_s": _now() - started,
            "browse_cpu_s": time.process_time() - cpu,
            "server_cpu_s": cpu_and_memory(server.pid)[0] - server_cpu,
        }
        cpu, started = time.process_time(), _now()
        nodes = [node for node in tree.nodes if node.node_class == VARIABLE]
        variables = await read_variables(session, reach, nodes, tree.nodes, IN_FLIGHT)
        assert {each.type_name for each in variables} == {"Double"}
        found |= {"types_s": _now() - started, "types_cpu_s": time.process_time() - cpu}
        await session.close()
        return found


def _counts(node: Node) -> bool:
    """Not the server's own nodes, of which other versions have more or fewer."""
    return node.key != SERVER and node.way[0].name.startswith("Line ")


async def _asyncua(url: str) -> tuple[float, int]:
    """Seconds that asyncua takes to recurse through a line, and how many nodes that are."""
    async with Client(url, timeout=30) as client:
        started, count = _now(), 0
        waiting = [client.get_node(ua.NodeId("line0", 1))]
        while waiting:
            count += 1
            for each in await waiting.pop().get_children_descriptions():
                waiting.append(client.get_node(each.NodeId))
        return _now() - started, count


def _now() -> float:
    return time.perf_counter()
