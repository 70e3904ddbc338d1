"""Brokers behind a WebSocket that keeps to RFC 6455."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import struct
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve

from aurelian.local import ports
from aurelian.local.processes import Program
from mqtt_gateway.websocket import WebSocket
from tests import servers
from tests.integration.mqtt_gateway.test_brokers import deaths, live
from tests.integration.mqtt_gateway.test_mqtt_gateway import Peer, json_source, make_plant, values
from tests.peers.brokers import aedes_program
from tests.source_alone import taking
from tests.waiting import until


@pytest.fixture(scope="module")
def aedes() -> Iterator[tuple[servers.MqttServer, int]]:
    """aedes behind the library `ws`, which pings each 0.2 s, and its port for WebSockets."""
    port, web_port = ports.any_free(), ports.any_free()
    with servers.server_folder() as folder:
        program: Program = aedes_program(port, folder / "mqtt.log", web_port=web_port, ping_s=0.2)
        server = servers.MqttServer(
            program,
            lambda: ports.accepts(port) and ports.accepts(web_port),
            start_limit_s=60,
            port=port,
            kind="aedes",
        )
        server.start()
        try:
            yield server, web_port
        finally:
            server.stop()


async def test_pings_of_a_strict_server_are_answered_with_masked_frames(
    aedes: tuple[servers.MqttServer, int], tmp_path: Path
) -> None:
    """With paho's own frames the library closes with 1002 at the first ping."""
    server, web_port = aedes
    source = json_source(make_plant(tmp_path, f"ws://127.0.0.1:{web_port}", "web"), "web")
    async with taking(source) as taken:
        await live(source)
        await asyncio.sleep(1.0)  # five pings
        with Peer(server.url) as machine:
            for n in range(1, 301):
                sent = machine.client.publish("web/press/state", f'{{"count": {n}}}', 1)
            await asyncio.to_thread(sent.wait_for_publish, 30)
            await machine.send("web/press/state", '{"count": 301, "text": "' + "x" * 900_000 + '"}')
        await until(lambda: 301 in values(taken), lambda: str(values(taken)[-3:]), 30)
    assert values(taken) == list(range(1, 302))
    assert not deaths(taken)
    assert b"pong still there" in server.program.log.read_bytes()


def packet(first: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    assert len(body) < 128
    return bytes((first, len(body))) + body


def publish(number: int, topic: bytes = b"odd/press/state") -> bytes:
    """Of MQTT 5 and QoS 1: a count."""
    payload = f'{{"count": {number}}}'.encode()
    return packet(
        0x32, struct.pack("!H", len(topic)), topic, struct.pack("!HB", number, 0), payload
    )


class Acknowledged:
    """What a broker of the test got, in order."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.connections = 0

    def note(self, data: bytes) -> None:
        """Whole packets, PUBACKs among them."""
        while data:
            if data[0] == 0x40:
                self.numbers.append(int.from_bytes(data[2:4]))
            data = data[2 + data[1] :]


@contextlib.asynccontextmanager
async def broker_of(
    pieces: list[bytes], *, close: bool = False
) -> AsyncIterator[tuple[str, Acknowledged]]:
    """A broker behind the library `websockets`, which sends one frame of each of the pieces."""
    got = Acknowledged()

    async def talk(connection: ServerConnection) -> None:
        got.connections += 1
        await connection.recv()
        await connection.send(b"\x20\x03\x00\x00\x00")
        subscribe = bytes(await connection.recv())  # type: ignore[arg-type]
        await connection.send(b"\x90\x04" + subscribe[2:4] + b"\x00\x01")
        for piece in pieces:
            await connection.send(piece)
            await connection.ping()
        if close:
            await connection.close(1008, "not here")
            return
        with contextlib.suppress(Exception):
            async for data in connection:
                got.note(bytes(data))  # type: ignore[arg-type]

    async with serve(talk, "127.0.0.1", 0, subprotocols=["mqtt"], ping_interval=0.2) as server:  # type: ignore[list-item]
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}", got


async def test_packets_cut_and_joined_by_frames_are_read_and_acknowledged_in_order(
    tmp_path: Path,
) -> None:
    stream = b"".join(publish(n) for n in range(1, 201))
    sizes = [1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233]
    pieces, at = [], 0
    while at < len(stream):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(stream[at : at + size])
        at += size
    async with broker_of(pieces) as (url, got):
        source = json_source(make_plant(tmp_path, url, "odd"), "odd")
        async with taking(source) as taken:
            await until(lambda: 200 in values(taken), lambda: str(values(taken)[-3:]))
            await until(lambda: got.numbers == list(range(1, 201)), lambda: str(got.numbers[-3:]))
            await asyncio.sleep(1)  # pings
    assert values(taken) == list(range(1, 201))
    assert got.connections == 1


async def test_the_reason_of_a_server_that_closes_is_told(tmp_path: Path) -> None:
    async with broker_of([publish(1)], close=True) as (url, _):
        source = json_source(make_plant(tmp_path, url, "odd"), "odd")
        async with taking(source) as taken:
            await until(lambda: bool(deaths(taken)), "the end")
    assert values(taken)[:1] == [1]
    assert deaths(taken)[0] == (
        "the connection ended: the server closed the WebSocket (1008) not here"
    )


async def test_a_frame_that_goes_out_in_part_keeps_its_packet(tmp_path: Path) -> None:
    """A server that reads slowly: our large packets go out in pieces, with pings between."""
    sent = bytearray()
    pings = itertools.chain([True] * 300, itertools.repeat(False))

    class Slow:
        """A socket that takes seven bytes at a time, every other time none."""

        calls = 0

        def send(self, data: bytes) -> int:
            self.calls += 1
            if self.calls % 2:
                raise BlockingIOError
            sent.extend(data[:7])
            return min(7, len(data))

        def recv(self, size: int) -> bytes:
            if not next(pings):
                raise BlockingIOError
            return b"\x89\x02hi"

    web = WebSocket.__new__(WebSocket)
    web.closed, web._socket = "", Slow()  # type: ignore[assignment]
    web._came, web._answers, web._sendbuffer = bytearray(), bytearray(), bytearray()
    for packet_ in (b"a" * 50, b"b" * 300):
        while True:
            with contextlib.suppress(BlockingIOError):
                web.recv(1)
            try:
                assert web.send(packet_) == len(packet_)
                break
            except BlockingIOError:
                continue
    frames, at = [], 0
    while at < len(sent):
        opcode, size = sent[at] & 15, sent[at + 1] & 127
        assert sent[at + 1] & 128, "every frame of a client has a mask"
        at += 2
        if size == 126:
            size, at = int.from_bytes(sent[at : at + 2]), at + 2
        key, body = sent[at : at + 4], sent[at + 4 : at + 4 + size]
        at += 4 + size
        if len(body) == size:
            frames.append((opcode, bytes(b ^ key[i % 4] for i, b in enumerate(body))))
    assert [body for opcode, body in frames if opcode == 2] == [b"a" * 50, b"b" * 300]
    assert {body for opcode, body in frames if opcode == 10} == {b"hi"}
