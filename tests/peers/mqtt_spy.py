"""A wire between an MQTT client and its broker that reads along: it takes the packets apart by the
text of the MQTT specifications 3.1.1 and 5, without any line of the client that it watches."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

CONNECT, CONNACK, PUBLISH, SUBSCRIBE, SUBACK, DISCONNECT = 1, 2, 3, 8, 9, 14
_SESSION_EXPIRY = 0x11


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet. `ours`: the client sent it; `at_ms`: when it passed, milliseconds since 1970."""

    kind: int
    ours: bool
    at_ms: int
    flags: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """A PUBLISH packet, or the will in a CONNECT packet."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    at_ms: int


@dataclass(frozen=True, slots=True)
class Connect:
    """A CONNECT packet. `clean`: Clean Session or Clean Start; `expiry_s`: Session Expiry Interval,
    0 where there is none."""

    level: int
    clean: bool
    expiry_s: int
    client_id: str
    will: Message | None
    at_ms: int


@dataclass(slots=True)
class Session:
    """The packets of one network connection, in the order in which they passed."""

    packets: list[Packet] = field(default_factory=list)

    @property
    def connect(self) -> Connect:
        """Its first packet."""
        first = self.packets[0]
        assert first.kind == CONNECT and first.ours
        return _connect(first)

    def kinds(self, *, ours: bool) -> list[int]:
        """Of the client's packets, or the broker's."""
        return [each.kind for each in self.packets if each.ours is ours]

    def published(self) -> list[Message]:
        """What the client published."""
        level = self.connect.level
        return [_publish(p, level) for p in self.packets if p.kind == PUBLISH and p.ours]

    def delivered(self) -> list[Message]:
        """What the broker brought."""
        level = self.connect.level
        return [_publish(p, level) for p in self.packets if p.kind == PUBLISH and not p.ours]

    def subscribed(self) -> list[tuple[str, int]]:
        """Filters and QoS that the client asked for."""
        level = self.connect.level
        packets = (each for each in self.packets if each.kind == SUBSCRIBE)
        return [found for each in packets for found in _filters(each, level)]


class Spy:
    """A running wire. `sessions`: of all connections so far."""

    def __init__(self, broker: str, *, refuses_mqtt5: bool) -> None:
        parts = urlsplit(broker)
        self._broker = parts.hostname or "", parts.port or 1883
        self._refuses_mqtt5 = refuses_mqtt5
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self.sessions: list[Session] = []
        self.url = ""

    def cut(self) -> None:
        """Break all connections, without a word."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.append(writer)
        try:
            await self._pass_on(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = Session()
        first = await _packet(reader)
        if self._refuses_mqtt5 and first[1][:7] == b"\x00\x04MQTT\x05":
            writer.write(b"\x20\x02\x00\x01")  # MQTT 3.1.1: unacceptable protocol version
            await writer.drain()
            return
        self.sessions.append(session)
        over_there, to_broker = await asyncio.open_connection(*self._broker)
        self._writers.append(to_broker)
        try:
            _note(session, first, ours=True)
            to_broker.write(first[2])
            async with asyncio.TaskGroup() as both:
                both.create_task(_copy(session, reader, to_broker, ours=True))
                both.create_task(_copy(session, over_there, writer, ours=False))
        except* (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            to_broker.close()

    async def end(self) -> None:
        """Break what is left."""
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def spying(broker: str, *, refuses_mqtt5: bool = False) -> AsyncIterator[Spy]:
    """A wire to the broker at a url. `refuses_mqtt5`: as a broker that speaks 3.1.1 only."""
    spy = Spy(broker, refuses_mqtt5=refuses_mqtt5)
    server = await asyncio.start_server(spy._serve, "127.0.0.1", 0)
    spy.url = f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield spy
    finally:
        server.close()
        await spy.end()
        await server.wait_closed()


async def _copy(
    session: Session, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, ours: bool
) -> None:
    try:
        while True:
            found = await _packet(reader)
            _note(session, found, ours=ours)
            writer.write(found[2])
            await writer.drain()
    finally:
        writer.transport.abort() if not ours else writer.close()


async def _packet(reader: asyncio.StreamReader) -> tuple[int, bytes, bytes]:
    """First byte, body and all bytes of the next packet."""
    head = await reader.readexactly(1)
    length = shift = 0
    while True:
        byte = await reader.readexactly(1)
        head += byte
        length |= (byte[0] & 0x7F) << shift
        shift += 7
        if byte[0] < 0x80:
            break
    body = await reader.readexactly(length)
    return head[0], body, head + body


def _note(session: Session, found: tuple[int, bytes, bytes], *, ours: bool) -> None:
    first, body, _ = found
    now = time.time_ns() // 1_000_000
    session.packets.append(Packet(first >> 4, ours, now, first & 0x0F, body))


def _string(body: bytes, at: int) -> tuple[bytes, int]:
    stop = at + 2 + int.from_bytes(body[at : at + 2], "big")
    return body[at + 2 : stop], stop


def _properties(body: bytes, at: int) -> tuple[bytes, int]:
    length = shift = 0
    while True:
        byte = body[at]
        at += 1
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return body[at : at + length], at + length


_LENGTHS = {0x11: 4, 0x17: 1, 0x19: 1, 0x21: 2, 0x22: 2, 0x27: 4}
"""Bytes of a CONNECT packet's properties by identifier (MQTT 5, 3.1.2.11), but texts."""


def _connect(packet: Packet) -> Connect:
    body = packet.body
    protocol, at = _string(body, 0)
    assert protocol == b"MQTT"
    level, flags = body[at], body[at + 1]
    at += 4  # with the keep-alive
    expiry = 0
    if level == 5:
        properties, at = _properties(body, at)
        place = 0
        while place < len(properties):
            length = _LENGTHS[properties[place]]
            if properties[place] == _SESSION_EXPIRY:
                expiry = int.from_bytes(properties[place + 1 : place + 5], "big")
            place += 1 + length
    client_id, at = _string(body, at)
    will = None
    if flags & 0x04:
        if level == 5:
            _, at = _properties(body, at)
        topic, at = _string(body, at)
        payload, at = _string(body, at)
        qos, retain = flags >> 3 & 3, bool(flags & 0x20)
        will = Message(topic.decode(), payload, qos, retain, packet.at_ms)
    return Connect(level, bool(flags & 0x02), expiry, client_id.decode(), will, packet.at_ms)


def _publish(packet: Packet, level: int) -> Message:
    topic, at = _string(packet.body, 0)
    qos = packet.flags >> 1 & 3
    if qos:
        at += 2
    if level == 5:
        _, at = _properties(packet.body, at)
    payload = packet.body[at:]
    return Message(topic.decode(), payload, qos, bool(packet.flags & 1), packet.at_ms)


def _filters(packet: Packet, level: int) -> list[tuple[str, int]]:
    body, at = packet.body, 2
    if level == 5:
        _, at = _properties(body, at)
    found = []
    while at < len(body):
        name, at = _string(body, at)
        found.append((name.decode(), body[at] & 3))
        at += 1
    return found
