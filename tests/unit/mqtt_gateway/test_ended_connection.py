"""A broker that reads nothing or slowly."""

import asyncio
import socket

import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from mqtt_gateway import connection
from mqtt_gateway.connection import Connection
from mqtt_gateway.websocket import WebSocket
from mqtt_gateway.wire import Wire


async def test_no_reader_is_left_on_a_file_number_that_may_be_anothers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reading is paused, and what waited for the outbox is stored after the end."""
    monkeypatch.setattr(connection, "_GOODBYE_S", 0.05)
    ours, theirs = socket.socketpair()
    with theirs:
        ours.setblocking(False)
        client = Wire("x", MQTTProtocolVersion.MQTTv5, clean=True)
        client._sock = ours
        live = Connection(client, 10)
        live.begin()
        with pytest.raises(BlockingIOError):
            while True:
                ours.send(bytes(65536))
        number, live._paused_at = ours.fileno(), 1
        asyncio.get_running_loop().remove_reader(number)
        batch = await live.take(1, 0.01)
        await live.end()
        live._window.add([])
        live.stored(batch)
        assert not asyncio.get_running_loop().remove_reader(number)


async def test_a_broker_that_hung_up_before_it_read_our_connect_is_an_end() -> None:
    live = Connection(Wire("x", MQTTProtocolVersion.MQTTv5, clean=True), 10)
    with pytest.raises(connection.ConnectionLost):
        live.begin()


def test_what_began_to_wait_just_now_is_no_broker_that_does_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a keep-alive of 1 s, looked at each second."""
    clock = 100.0
    monkeypatch.setattr("mqtt_gateway.wire.monotonic", lambda: clock)
    client = Wire("x", MQTTProtocolVersion.MQTTv5, clean=True)
    client._keepalive = 1
    waits = False
    monkeypatch.setattr(client, "want_write", lambda: waits)
    assert not client._is_stuck()
    clock, waits = 101.001, True
    assert not client._is_stuck()
    clock = 102.002
    assert client._is_stuck()


def test_a_part_of_a_frame_that_goes_out_is_no_broker_that_does_not_read() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        client = Wire("x", MQTTProtocolVersion.MQTTv5, clean=True)
        framed = WebSocket.__new__(WebSocket)
        framed._socket, framed._sendbuffer, framed._answers = ours, bytearray(), bytearray()
        client._sock, client._written_at = framed, 0.0
        with pytest.raises(BlockingIOError):
            client._sock_send(bytes(4_000_000))
        assert client._written_at > 0
        client._written_at = 0.0
        with pytest.raises(BlockingIOError):  # full, and nobody reads
            client._sock_send(bytes(4_000_000))
        assert client._written_at == 0
