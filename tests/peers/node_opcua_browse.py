"""An OPC UA server of node-opcua with an address space that is to be browsed."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from aurelian.local import ports
from tests import npm
from tests.peers.node_opcua_server import FOLDER, url_at

START_LIMIT_S = 120.0


class BrowseServer:
    """The running server and its process."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.url, self.port, self.pid = url_at(port), port, process.pid


@contextlib.asynccontextmanager
async def browse_server(
    folder: Path,
    *,
    machines: int = 0,
    variables: int = 0,
    wide: int = 0,
    press: bool = False,
    nodesets: Sequence[str] = (),
    companions: bool = True,
    per_browse: int = 1000,
    per_read: int = 1000,
    continuation_points: int = 20,
    advertised: str = "",
) -> AsyncIterator[BrowseServer]:
    """Start a server with its certificates in `folder`; skip where npm cannot bring it.

    Args:
        machines, variables: so many machines, in lines of 50, with so many variables each.
        wide: variables under each of two folders.
        press: a machine with odd names and types, a closed node and loops.
        nodesets: names of node-opcua-nodesets.
        companions: machines of those.
        per_browse, per_read: the server's limits.
        continuation_points: that a session may have.
        advertised: address of a further endpoint, as the server tells it.
    """
    node, cache = await asyncio.to_thread(npm.install, FOLDER, "node-opcua", "node-opcua")
    port = ports.any_free()
    options = {
        "port": port,
        "folder": str(folder / "node-opcua-pki"),
        "machines": machines,
        "variables": variables,
        "wide": wide,
        "press": press,
        "nodesets": list(nodesets),
        "companions": companions,
        "per_browse": per_browse,
        "per_read": per_read,
        "continuation_points": continuation_points,
        "advertised": advertised,
    }
    with (folder / "node-opcua.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            node,
            str(FOLDER / "browse_server.mjs"),
            str(cache),
            json.dumps(options),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START_LIMIT_S):
            while (line := await process.stdout.readline()) != b"ready\n":
                if not line:
                    said = (folder / "node-opcua.log").read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"node-opcua ended: {said}")
        yield BrowseServer(process, port)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
