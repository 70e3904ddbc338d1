"""Somebody on loopback between a client and an OPC UA server, who changes the messages that nobody
signs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from aurelian.local import ports

_HEADER = 8  # type, chunk, size: part 6, 7.1.2.2


class Between:
    """The running attacker.

    Attributes:
        port: where it listens.
        change: what it does to each message of the server's; of the same length.
        look: is shown each message of the client's.
    """

    def __init__(self, port: int, target: int) -> None:
        self.port, self._target = port, target
        self.change: Callable[[bytes], bytes] = lambda message: message
        self.look: Callable[[bytes], object] = lambda message: None
        self._open: set[asyncio.StreamWriter] = set()

    def disconnect(self) -> None:
        """End all connections at once; new ones are taken."""
        for writer in list(self._open):
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side ends it."""
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        self._open |= {writer, back}
        ways = [
            asyncio.ensure_future(_pass(reader, back, self._shown)),
            asyncio.ensure_future(_pass(there, writer, lambda message: self.change(message))),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            for each in (writer, back):
                each.transport.abort()
                self._open.discard(each)

    def _shown(self, message: bytes) -> bytes:
        self.look(message)
        return message


async def _pass(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: Callable[[bytes], bytes]
) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            header = await reader.readexactly(_HEADER)
            size = int.from_bytes(header[4:], "little")
            message = header + await reader.readexactly(size - _HEADER)
            writer.write(change(message))
            await writer.drain()


@contextlib.asynccontextmanager
async def between(target: int) -> AsyncIterator[Between]:
    """An attacker before a port of this machine; it changes nothing at first."""
    made = Between(ports.any_free(), target)
    server = await asyncio.start_server(made.serve, "127.0.0.1", made.port)
    try:
        yield made
    finally:
        server.close()
        made.disconnect()
        await server.wait_closed()
