"""A TCP proxy on loopback that cuts, freezes and thaws what runs through it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aurelian.local import ports


class FaultProxy:
    """The running proxy.

    Attributes:
        port: where it listens.
        connections: how many were made through it.
    """

    def __init__(self, port: int, target: int) -> None:
        self.port, self._target = port, target
        self.connections = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._refuses = False
        self._flows = asyncio.Event()
        self._flows.set()

    def cut(self) -> None:
        """End all connections at once and take no new ones."""
        self._refuses = True
        self.disconnect()

    def restore(self) -> None:
        """Take connections again."""
        self._refuses = False

    def disconnect(self) -> None:
        """End all connections at once; new ones are taken."""
        for writer in list(self._open):
            writer.transport.abort()

    def send_to(self, target: int) -> None:
        """Make new connections to another port."""
        self._target = target

    def freeze(self) -> None:
        """Hold all bytes from now on; connections stay up, and new ones are taken."""
        self._flows.clear()

    def thaw(self) -> None:
        """Let the held bytes go on."""
        self._flows.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side ends it."""
        if self._refuses:
            writer.transport.abort()
            return
        self.connections += 1
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, back}
        try:
            ways = (self._pass(reader, back), self._pass(there, writer))
            await asyncio.wait(
                [asyncio.ensure_future(way) for way in ways], return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for each in (writer, back):
                each.transport.abort()
                self._open.discard(each)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()


@contextlib.asynccontextmanager
async def fault_proxy(target: int, port: int = 0) -> AsyncIterator[FaultProxy]:
    """A proxy to a port of this machine; `port`: where it listens, 0: any free one."""
    proxy = FaultProxy(port or ports.any_free(), target)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", proxy.port)
    try:
        yield proxy
    finally:
        server.close()
        proxy.thaw()
        proxy.cut()
        await server.wait_closed()
