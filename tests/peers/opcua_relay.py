"""A TCP relay that sees the messages of an OPC UA server and may hold one back, put another in its
place or hang up. For connections without security."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from asyncua import ua

from aurelian.local import ports

ACTIVATE_SESSION = int(ua.ObjectIds.ActivateSessionResponse_Encoding_DefaultBinary)
CREATE_SESSION = int(ua.ObjectIds.CreateSessionResponse_Encoding_DefaultBinary)
CREATE_SUBSCRIPTION = int(ua.ObjectIds.CreateSubscriptionResponse_Encoding_DefaultBinary)
PUBLISH = int(ua.ObjectIds.PublishResponse_Encoding_DefaultBinary)
READ = int(ua.ObjectIds.ReadResponse_Encoding_DefaultBinary)
REPUBLISH = int(ua.ObjectIds.RepublishResponse_Encoding_DefaultBinary)
SERVICE_FAULT = int(ua.ObjectIds.ServiceFault_Encoding_DefaultBinary)
TRANSFER = int(ua.ObjectIds.TransferSubscriptionsResponse_Encoding_DefaultBinary)

_CHUNK_HEAD = struct.Struct("<3scI")
_SEQUENCE_AT = 16  # behind message type, size, channel, token: sequence number and request id
_BODY_AT = _SEQUENCE_AT + 8
_SERVICE_FAULT = struct.pack("<BBH", 1, 0, SERVICE_FAULT)
_SUBSCRIPTION_AT = 28  # in a PublishResponse with a plain header
_MAX_MESSAGE_SIZE_AT = 20  # in an Acknowledge


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole message of the server, of one chunk or more, as its bytes are on the wire.

    Attributes:
        connection: number of the connection, from 1.
        kind: numeric id of its type, 0: not of a service.
    """

    connection: int
    chunks: tuple[bytes, ...]
    kind: int

    @property
    def size(self) -> int:
        """Of all its chunks, in bytes."""
        return sum(map(len, self.chunks))

    @property
    def body(self) -> bytes:
        """Type id, header and what the service says."""
        return b"".join(chunk[_BODY_AT:] for chunk in self.chunks)

    def with_body(self, body: bytes) -> Answer:
        """The same with another body, in one chunk."""
        head = self.chunks[0][_CHUNK_HEAD.size : _BODY_AT]
        size = _CHUNK_HEAD.size + len(head) + len(body)
        chunk = _CHUNK_HEAD.pack(b"MSG", b"F", size) + head + body
        return Answer(self.connection, (chunk,), self.kind)

    def fault(self, status: int) -> Answer:
        """A ServiceFault in its place."""
        header = struct.pack("<qIIBiHB", 0, 0, status, 0, -1, 0, 0)
        return self.with_body(_SERVICE_FAULT + header)

    def with_number_from(self, first: int) -> Answer:
        """A PublishResponse as of a server that numbers its messages from `first`, not from 1."""
        body = bytearray(self.body)
        (available,) = struct.unpack_from("<i", body, _SUBSCRIPTION_AT + 4)
        at = _SUBSCRIPTION_AT + 8 + 4 * max(available, 0) + 1
        (number,) = struct.unpack_from("<I", body, at)
        struct.pack_into("<I", body, at, number - 1 + first)
        return self.with_body(bytes(body))

    def with_revised(self, interval_ms: float, keep_alive_count: int) -> Answer:
        """Where it is a CreateSubscriptionResponse: with these revised values."""
        if self.kind != CREATE_SUBSCRIPTION:
            return self
        body = bytearray(self.body)
        struct.pack_into("<d", body, _SUBSCRIPTION_AT + 4, interval_ms)
        struct.pack_into("<I", body, _SUBSCRIPTION_AT + 16, keep_alive_count)
        return self.with_body(bytes(body))

    def with_request_limit(self, limit: int) -> Answer:
        """Where it is the Acknowledge: with that size, in bytes, of the largest request."""
        (chunk, *_) = self.chunks
        if chunk[:3] != b"ACK":
            return self
        at = _MAX_MESSAGE_SIZE_AT
        changed = chunk[:at] + struct.pack("<I", limit) + chunk[at + 4 :]
        return Answer(self.connection, (changed,), self.kind)


class Hangup(Exception):
    """A rule ends the connection."""


Rule = Callable[[Answer], Answer | None]
"""What becomes of an answer: itself, another one, None: it is lost. Raises Hangup."""


class Relay:
    """The running relay.

    Attributes:
        url: of the relay.
        rule: asked for each message of the server; it may be changed at any time.
        connections: how many were made.
        delay_s: how long each message of the server takes.
    """

    def __init__(self, url: str, target: int, rule: Rule) -> None:
        self.url, self.rule = url, rule
        self.connections = 0
        self.delay_s = 0.0
        self._target = target
        self._open: set[asyncio.StreamWriter] = set()

    def hang_up(self) -> None:
        """End all connections at once; new ones are taken."""
        for writer in list(self._open):
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._open.add(writer)
        ways = [
            asyncio.create_task(_copy(reader, there_writer)),
            asyncio.create_task(self._answer(self.connections, there_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._open.discard(writer)
            for each in (writer, there_writer):
                each.transport.abort()

    async def _answer(
        self, connection: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        sequence: int | None = None
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, Hangup):
            while True:
                answer = await _next(connection, reader)
                await asyncio.sleep(self.delay_s)
                passed = self.rule(answer)
                for chunk in () if passed is None else passed.chunks:
                    # Without a hole in the channel's own numbers, which would end it.
                    if chunk[:3] in (b"MSG", b"OPN"):
                        at = _SEQUENCE_AT if chunk[:3] == b"MSG" else _opened_at(chunk)
                        if sequence is None:
                            (sequence,) = struct.unpack_from("<I", chunk, at)
                        chunk = chunk[:at] + struct.pack("<I", sequence) + chunk[at + 4 :]
                        sequence += 1
                    writer.write(chunk)
                await writer.drain()


async def _next(connection: int, reader: asyncio.StreamReader) -> Answer:
    chunks: list[bytes] = []
    while True:
        head = await reader.readexactly(_CHUNK_HEAD.size)
        kind, last, size = _CHUNK_HEAD.unpack(head)
        chunks.append(head + await reader.readexactly(size - _CHUNK_HEAD.size))
        if last != b"C":
            break
    (number,) = struct.unpack_from("<H", chunks[0], _BODY_AT + 2) if kind == b"MSG" else (0,)
    return Answer(connection, tuple(chunks), int(number))


def _opened_at(chunk: bytes) -> int:
    """Where the sequence number of an OpenSecureChannel response is: behind three texts."""
    at = 12
    for _ in range(3):
        (length,) = struct.unpack_from("<i", chunk, at)
        at += 4 + max(length, 0)
    return at


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


@contextlib.asynccontextmanager
async def relay(url: str, rule: Rule = lambda answer: answer) -> AsyncIterator[Relay]:
    """A relay in front of the server at `url`."""
    address, _, path = url.removeprefix("opc.tcp://").partition("/")
    target, port = int(address.rpartition(":")[2]), ports.any_free()
    made = Relay(f"opc.tcp://127.0.0.1:{port}/{path}", target, rule)
    server = await asyncio.start_server(made.serve, "127.0.0.1", port)
    try:
        yield made
    finally:
        server.close()
        made.hang_up()
        await server.wait_closed()
