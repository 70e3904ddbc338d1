"""Sparkplug edge nodes of packages that share no line with ours: sparkplug-client of npm,
pysparkplug and mqtt-spb-wrapper of PyPI, each a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

from tests import npm, pypi

FOLDER = Path(__file__).parent / "sparkplug_nodes"
MAKERS = ("sparkplug-client", "pysparkplug", "mqtt-spb-wrapper")
_START_LIMIT_S = 60.0


class ForeignNode:
    """A running edge node with the device `press`.

    Attributes:
        said: what it told, in order: `born` once, `asked for a rebirth`, errors.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.said: list[object] = []

    async def do(self, what: str, value: float | None = None) -> None:
        """`data` (a value of Force), `old data`, `part` (of Drive), `lose a number`, `device dies`,
        `stop`; not every one knows all."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([what, value]).encode() + b"\n")
        await self._process.stdin.drain()

    def kill(self) -> None:
        """End it at once; the broker publishes its will."""
        self._process.kill()

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            with contextlib.suppress(ValueError):
                self.said.append(json.loads(line))


@contextlib.asynccontextmanager
async def foreign_node(
    maker: str, url: str, group: str, *options: str, node: str = "E1"
) -> AsyncIterator[ForeignNode]:
    """Run one; skip where it cannot be installed."""
    if maker == "sparkplug-client":
        program, packages = await asyncio.to_thread(npm.install, FOLDER, maker, maker)
        command = [program, str(FOLDER / "sparkplug_client.mjs"), str(packages)]
    else:
        name = maker.replace("-", "_")
        python = await asyncio.to_thread(pypi.install, FOLDER / f"{name}.lock", maker)
        command = [str(python), str(FOLDER / f"{name}_node.py")]
    process = await asyncio.create_subprocess_exec(
        *command,
        url,
        group,
        node,
        *options,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    running = ForeignNode(process)
    listening = asyncio.create_task(running._listen())
    try:
        async with asyncio.timeout(_START_LIMIT_S):
            while "born" not in running.said:
                assert process.returncode is None, f"{maker} ended: {running.said}"
                await asyncio.sleep(0.05)
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await listening
        assert process.stdin is not None
        process.stdin.close()
