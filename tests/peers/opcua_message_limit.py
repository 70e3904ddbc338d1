"""A TCP relay that gives an OPC UA server a limit of its messages' size, as small controllers have
it. For connections without security."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator

from aurelian.local import ports

_BAD_RESPONSE_TOO_LARGE = 0x80B90000
_CHUNK_HEAD = struct.Struct("<3scI")
_SERVICE_FAULT = bytes.fromhex("01008d01")  # node id i=397
_SEQUENCE_OFFSET = 16  # message type, size, channel, token; then sequence number and request id


class MessageLimit:
    """The running relay.

    Attributes:
        url: of the relay.
        refused: messages that were larger than the limit.
    """

    def __init__(self, url: str, target: int, limit: int, *, says_so: bool) -> None:
        self.url = url
        self.refused = 0
        self._target, self._limit, self._says_so = target, limit, says_so

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target)
        ways = [
            asyncio.create_task(self._copy(reader, there_writer)),
            asyncio.create_task(self._bound(there_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for each in (writer, there_writer):
                each.transport.abort()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()

    async def _bound(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on whole messages; a too large one is refused by a ServiceFault, or ends the
        connection."""
        chunks: list[bytes] = []
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                head = await reader.readexactly(_CHUNK_HEAD.size)
                _, last, size = _CHUNK_HEAD.unpack(head)
                chunks.append(head + await reader.readexactly(size - _CHUNK_HEAD.size))
                if last == b"C":
                    continue
                if sum(map(len, chunks)) > self._limit:
                    self.refused += 1
                    if not self._says_so:
                        return
                    chunks = [_fault(chunks[0])]
                writer.write(b"".join(chunks))
                await writer.drain()
                chunks.clear()


def _fault(chunk: bytes) -> bytes:
    """The message BadResponseTooLarge in place of the one that begins with `chunk`."""
    head = chunk[_CHUNK_HEAD.size : _SEQUENCE_OFFSET + 8]
    header = struct.pack("<qIIBiHB", 0, 0, _BAD_RESPONSE_TOO_LARGE, 0, -1, 0, 0)
    size = _CHUNK_HEAD.size + len(head) + len(_SERVICE_FAULT) + len(header)
    return _CHUNK_HEAD.pack(b"MSG", b"F", size) + head + _SERVICE_FAULT + header


@contextlib.asynccontextmanager
async def message_limit(url: str, limit: int, *, says_so: bool) -> AsyncIterator[MessageLimit]:
    """A relay in front of the server at `url` whose messages have at most `limit` bytes. A larger
    one is refused by BadResponseTooLarge where it `says_so`, else it ends the connection."""
    address, _, path = url.removeprefix("opc.tcp://").partition("/")
    target, port = int(address.rpartition(":")[2]), ports.any_free()
    made = MessageLimit(f"opc.tcp://127.0.0.1:{port}/{path}", target, limit, says_so=says_so)
    server = await asyncio.start_server(made.relay, "127.0.0.1", port)
    try:
        yield made
    finally:
        server.close()
