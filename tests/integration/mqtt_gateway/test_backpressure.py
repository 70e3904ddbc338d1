"""What nobody stores is not read, and what a broker sends that cannot be read ends the connection
alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import paho.mqtt.client as paho
import pytest

from aurelian.edge.gateway import Delivery
from aurelian.edge.source_state import SourceState
from aurelian.model import codec
from mqtt_gateway import connection
from tests.integration.mqtt_gateway.test_mqtt_gateway import json_source, make_plant
from tests.peers.scripted_broker import Talk, scripted
from tests.source_alone import readings_of, taking
from tests.waiting import until

COUNT = 1_000
PADDING = "x" * 10_000


def counts(taken: list[Delivery]) -> list[object]:
    return [
        each.value
        for delivery in taken
        for each in readings_of(delivery)
        if each.signal.path.endswith("/count")
    ]


def publish_all(url: str, topic: str, qos: int) -> None:
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    host, _, port = url.removeprefix("mqtt://").partition(":")
    client.connect(host, int(port))
    client.loop_start()
    try:
        for n in range(1, COUNT + 1):
            sent = client.publish(topic, f'{{"count": {n}, "note": "{PADDING}"}}', qos)
        sent.wait_for_publish(30)
    finally:
        client.disconnect()
        client.loop_stop()


@pytest.mark.mosquitto
@pytest.mark.parametrize("qos", [0, 1])
async def test_a_flood_that_nobody_stores_waits_at_the_broker(
    mosquitto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, qos: int
) -> None:
    """10 MB of messages, while a tenth of it may wait here. Of QoS 0 the broker may give up the
    rest, which is told."""
    monkeypatch.setattr(connection, "MOST_BYTES", 1_000_000)
    name = f"flood-{qos}"
    source = json_source(make_plant(tmp_path, mosquitto, name), name)
    async with taking(source, acknowledge=False) as taken:
        await until(lambda: source.condition().state is SourceState.LIVE, "a connection")
        await asyncio.to_thread(publish_all, mosquitto, f"{name}/press/state", qos)
        await asyncio.sleep(2)
        held = len(counts(taken))
        assert 0 < held < COUNT / 2
        acknowledged = 0

        def acknowledge() -> bool:
            nonlocal acknowledged
            for delivery in taken[acknowledged:]:
                if delivery.ack is not None:
                    delivery.ack()
            acknowledged = len(taken)
            return counts(taken)[-1] == COUNT

        def gaps() -> list[codec.Gap]:
            return [e.gap for d in taken for e in d.events if e.HasField("gap")]

        if qos:
            await until(acknowledge, "the rest", 30)
            assert counts(taken) == list(range(1, COUNT + 1))
            assert not gaps()
        else:
            await until(lambda: acknowledge() or bool(gaps()), "the rest or a gap", 30)
            await until(lambda: acknowledge() and bool(gaps()), "a gap", 30)
            (gap, *_) = gaps()
            assert gap.to_time - gap.from_time > 1_000_000
        assert source.condition().state is SourceState.LIVE  # its pings went on


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (b"\x36\x05\x00\x01a\x00\x01", "QoS 3"),
        (b"\x30\xff\xff\xff\xff\x01", "more than four bytes"),
        (b"\x32\x03\x00\x01a", "ends before its identifier"),
        (b"\x90\x00", "type 9"),
        (b"\xf0\x00", "Protocol error|protocol"),
    ],
)
async def test_what_no_broker_may_send_ends_the_connection_with_a_reason(
    tmp_path: Path, bad: bytes, says: str
) -> None:
    """After CONNACK and SUBACK; a good message before it is taken."""
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        try:
            await reader.read(4096)
            writer.write(b"\x20\x03\x00\x00\x00")
            subscribe = await reader.read(4096)
            writer.write(b"\x90\x04" + subscribe[2:4] + b"\x00\x01")
            topic = b"odd/press/state"
            body = len(topic).to_bytes(2) + topic + b"\x00" + b'{"count": 5}'
            writer.write(b"\x30" + bytes([len(body)]) + body + bad)
            await writer.drain()
            await reader.read()
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        source = json_source(make_plant(tmp_path, f"mqtt://127.0.0.1:{port}", "odd"), "odd")
        async with taking(source) as taken:
            await until(lambda: connections >= 2, "another attempt", 20)
            assert 5 in counts(taken)
            deaths = [e.death.reason for d in taken for e in d.events if e.HasField("death")]
            assert any(part in deaths[0] for part in says.split("|")), deaths


async def test_messages_that_come_one_by_one_are_taken_together(tmp_path: Path) -> None:
    """At most every `REST_S`; the broker does not wait for an answer to them."""
    lasted = 0.0

    async def script(talk: Talk, _: int) -> None:
        nonlocal lasted
        await talk.accept()
        began = asyncio.get_running_loop().time()
        for n in range(1, 201):
            talk.publish("calm/press/state", f'{{"count": {n}}}')
            await asyncio.sleep(0.001)
        lasted = asyncio.get_running_loop().time() - began
        await talk.serve()

    async with scripted(script) as (url, _):
        source = json_source(make_plant(tmp_path, url, "calm"), "calm")
        async with taking(source) as taken:
            await until(lambda: counts(taken)[-1:] == [200], "all messages")
    assert counts(taken) == list(range(1, 201))
    deliveries = sum(bool(readings_of(each)) for each in taken)
    assert deliveries <= lasted / connection.REST_S + 2


async def test_a_broker_that_waits_for_each_message_does_not_wait_for_more(tmp_path: Path) -> None:
    """Of so few in flight the next is read when it comes: `REST_S` each would be its pace else."""
    waited: list[float] = []

    async def script(talk: Talk, _: int) -> None:
        await talk.accept(properties=b"")
        now = asyncio.get_running_loop().time
        for n in range(1, 101):
            talk.publish("few/press/state", f'{{"count": {n}}}', n)
            began = now()
            while talk.told.acknowledged[-1:] != [n]:
                await talk.packet()
            waited.append(now() - began)
        await talk.serve()

    async with scripted(script) as (url, _):
        source = json_source(make_plant(tmp_path, url, "few"), "few")
        async with taking(source) as taken:
            await until(lambda: counts(taken)[-1:] == [100], "all messages")
    assert sorted(waited)[len(waited) // 4] < connection.REST_S / 2
