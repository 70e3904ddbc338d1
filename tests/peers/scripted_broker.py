"""A broker of MQTT 5 that does what a test says, packet by packet: for what real ones do now and
then, and in the field."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

CONNECT, PUBACK, SUBSCRIBE, PINGREQ, DISCONNECT = 1, 4, 8, 12, 14


@dataclass
class Told:
    """What all connections of a test said.

    Attributes:
        connections: how many there were.
        acknowledged: packet identifiers, in order.
        filters: that were subscribed to, in order.
        pings: how many came.
    """

    connections: int = 0
    acknowledged: list[int] = field(default_factory=list)
    filters: list[str] = field(default_factory=list)
    pings: int = 0


class Talk:
    """One connection."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, told: Told
    ) -> None:
        self._reader, self.writer, self.told = reader, writer, told
        self.subscribe_id = b"\0\0"

    async def packet(self) -> tuple[int, bytes]:
        """Type and content of the next one."""
        first = (await self._reader.readexactly(1))[0]
        length = shift = 0
        while True:
            byte = (await self._reader.readexactly(1))[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        body = await self._reader.readexactly(length)
        kind = first >> 4
        if kind == PUBACK:
            self.told.acknowledged.append(int.from_bytes(body[:2]))
        elif kind == SUBSCRIBE:
            self.subscribe_id = body[:2]
            at = 3 + body[2]
            size = int.from_bytes(body[at : at + 2])
            self.told.filters.append(body[at + 2 : at + 2 + size].decode())
        elif kind == PINGREQ:
            self.told.pings += 1
        return kind, body

    def send(self, first: int, body: bytes = b"") -> None:
        """One packet."""
        length, size = b"", len(body)
        while True:
            size, byte = size >> 7, size & 0x7F
            length += bytes([byte | (0x80 if size else 0)])
            if not size:
                break
        self.writer.write(bytes([first]) + length + body)

    async def accept(
        self, *, present: bool = False, properties: bytes = b"", granted: int = 1
    ) -> None:
        """CONNACK, and SUBACK of the first subscription."""
        await self.connack(present=present, properties=properties)
        while (await self.packet())[0] != SUBSCRIBE:
            pass
        self.suback(granted)

    async def connack(self, *, present: bool = False, properties: bytes = b"") -> None:
        """After the CONNECT."""
        kind, _ = await self.packet()
        assert kind == CONNECT
        self.send(0x20, bytes([present, 0, len(properties)]) + properties)

    def suback(self, granted: int = 1) -> None:
        """Of the last SUBSCRIBE."""
        self.send(0x90, self.subscribe_id + bytes([0, granted]))

    def publish(
        self,
        topic: str,
        payload: bytes | str,
        number: int = 0,
        *,
        again: bool = False,
        retained: bool = False,
    ) -> None:
        """A message: of QoS 1 where it has a number."""
        data = payload.encode() if isinstance(payload, str) else payload
        name = topic.encode()
        first = 0x30 | (2 if number else 0) | (8 if again else 0) | (1 if retained else 0)
        identifier = number.to_bytes(2) if number else b""
        self.send(first, len(name).to_bytes(2) + name + identifier + b"\0" + data)

    async def serve(self, *, pongs: bool = True, watch: int = 0) -> None:
        """Answer pings and further subscriptions until the end. `watch`: what those get."""
        while True:
            kind, _ = await self.packet()
            if kind == PINGREQ and pongs:
                self.send(0xD0)
            elif kind == SUBSCRIBE:
                self.suback(watch)
            elif kind == DISCONNECT:
                return


@contextlib.asynccontextmanager
async def scripted(
    script: Callable[[Talk, int], Awaitable[None]], *, buffer: int = 0
) -> AsyncIterator[tuple[str, Told]]:
    """Run `script(talk, number of the connection)` for each connection; give the url and what was
    told. A script that returns ends its connection. `buffer`: bytes that the system keeps of what
    is not read, 0: its own choice."""
    told = Told()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        told.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await script(Talk(reader, writer, told), told.connections)
        writer.close()

    listening = socket.socket()
    if buffer:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    listening.bind(("127.0.0.1", 0))
    async with await asyncio.start_server(serve, sock=listening) as server:
        yield f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}", told
        server.close()
