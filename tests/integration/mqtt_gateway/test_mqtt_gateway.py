"""The MQTT gateway's whole path: real brokers, bad input, messages that come again, and a Sparkplug
B edge node."""

import asyncio
import contextlib
import json
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import urlsplit

import paho.mqtt.client as paho
import pytest

from aurelian.edge.gateway import Delivery, run_gateway
from aurelian.model.plant import Plant
from aurelian.model.plant_file import load_plant
from aurelian.model.sample import Flag
from aurelian.pb import sparkplug_b_pb2 as pb
from aurelian.runtime.health import Health
from mqtt_gateway.connection import TAKEN_BYTES
from mqtt_gateway.json_messages import JsonMessages
from mqtt_gateway.packets import Arrived
from mqtt_gateway.settings import MqttGatewaySettings
from mqtt_gateway.source import JsonSource, make_sources
from tests.gateway_log import Log, followed
from tests.source_alone import readings_of, taking
from tests.waiting import until

PLANT = """
company: {id: pilot-x, name: Pilot X}
site: north
time_zone: UTC
sources:
  - {id: NAME-json, kind: mqtt_json, url: "URL", topic: "NAME/{unit}/state"}
  - {id: NAME-spb, kind: sparkplug, url: "URL", group: NAME, edge_node: E}
areas:
  - name: forming
    lines:
      - name: line-1
        products: [{id: cup, ideal_cycle_s: 2}]
        units:
          - name: press
            source: NAME-json
            signals:
              - {name: force, unit: kN}
              - {name: count, type: int64}
          - name: oven
            source: NAME-spb
            signals:
              - {name: heat, address: Heat}
              - {name: parts, address: oven/Parts, type: int64}
"""


class Peer:
    """An MQTT client of the test: machine, edge node and observer."""

    def __init__(self, url: str, *filters: str) -> None:
        parts = urlsplit(url)
        self.seen: list[tuple[str, bytes]] = []
        self._subscribed = threading.Event()
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self.client.on_message = lambda _c, _d, message: self.seen.append(
            (message.topic, message.payload)
        )
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        self.client.connect(parts.hostname or "", parts.port or 1883)
        self.client.loop_start()
        if filters:
            self.client.subscribe([(each, 1) for each in filters])
            assert self._subscribed.wait(10)

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()
        if (left := self.client.socket()) is not None:
            left.close()

    async def send(
        self, topic: str, payload: bytes | str, qos: int = 1, *, retain: bool = False
    ) -> None:
        """Publish, and wait until the broker has it."""
        info = self.client.publish(topic, payload, qos=qos, retain=retain)
        await asyncio.to_thread(info.wait_for_publish, 20)

    def states(self, topic: str) -> list[bool]:
        """What the host said of itself, in order."""
        return [json.loads(payload)["online"] for found, payload in self.seen if found == topic]

    def rebirths(self) -> int:
        """How many rebirths were asked for."""
        return sum("/NCMD/" in topic for topic, _ in self.seen)


def make_plant(folder: Path, url: str, name: str) -> Plant:
    (folder / "plant").mkdir(exist_ok=True)
    path = folder / "plant" / "north.yaml"
    path.write_text(PLANT.replace("URL", url).replace("NAME", name))
    return load_plant(path)


@contextlib.asynccontextmanager
async def running(
    kafka: str, url: str, folder: Path, name: str, **more: object
) -> AsyncIterator[tuple[Log, Plant]]:
    """A gateway in this process, connected, and what it sends."""
    plant = make_plant(folder, url, name)
    settings = MqttGatewaySettings(
        kafka_bootstrap=kafka,
        gateway=name,
        plant=folder / "plant",
        state=folder,
        sparkplug_host_id=name,
        **more,  # type: ignore[arg-type]
    )
    async with followed(kafka, name) as log:
        task = asyncio.create_task(run_gateway(settings, Health("mqtt_gateway"), make_sources))
        try:
            with Peer(url, f"spBv1.0/STATE/{name}") as peer:
                await until(
                    lambda: peer.states(f"spBv1.0/STATE/{name}")[-1:] == [True], "the host's birth"
                )
                # The JSON source is connected when a message that is sent again and again arrives.
                await until(
                    lambda: poke(peer, name, lambda: bool(log.of("ready"))), "the first message"
                )
            yield log, plant
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def test_json_values_and_all_bad_input_end_where_they_belong(
    kafka: str, mqtt_broker: str, tmp_path: Path
) -> None:
    async with running(kafka, mqtt_broker, tmp_path, "mqtt-json") as (log, plant):
        with Peer(mqtt_broker) as machine:
            topic = "mqtt-json/press/state"
            ts = now_ms()
            for n in range(200):
                await machine.send(
                    topic,
                    json.dumps({"ts": ts + n, "fields": {"force": n / 7, "count": 2**53 + n}}),
                )
            await machine.send(topic, f'{{"ts": {ts + 200}, "force": NaN}}')
            await machine.send(topic, f'{{"ts": {ts + 201}, "force": "much", "count": 5}}')
            await machine.send(topic, '{"ts": "1601-01-01T00:00:00Z", "count": 1601}')
            await machine.send(topic, json.dumps({"ts": ts + 86_400_000, "count": 86400}))
            await machine.send(topic, f'{{"ts": {ts + 202}, "odd": {{"list": [1, NaN]}}}}')
            await machine.send(topic, b"\x00no json")
            await machine.send(topic, b"1" * 10_000_000)
            hostile = f'"{"k" * 6000}": 1, "k\\ud800": 1, "kin": "serial\\u0000"'
            await machine.send(topic, f'{{"ts": {ts + 203}, {hostile}, "count": 7}}')
            await machine.send(f"mqtt-json/{'u' * 20_000}/state", '{"count": 1}')
            await machine.send("mqtt-json/robot/state", f'{{"ts": {ts}, "speed": 1}}')
            await until(
                lambda: bool(log.of("speed")) and len(log.rejected) == 6,
                "the last message and all rejects",
            )
        force = {s.source_time: s for s in log.of("force")}
        count = {s.source_time: s for s in log.of("count")}
        assert [force[(ts + n) * 1000].value for n in range(200)] == [n / 7 for n in range(200)]
        assert [count[(ts + n) * 1000].value for n in range(200)] == [2**53 + n for n in range(200)]
        nan = force[(ts + 200) * 1000]
        assert nan.value is None and nan.status & 0x80000000
        assert count[(ts + 201) * 1000].value == 5
        assert [s.value for s in log.of("count") if s.flags & Flag.TIME_REPLACED] == [1601, 86400]
        (odd,) = log.of("odd.list")
        assert odd.value == "[1,null]" and odd.signal.discovered
        assert log.of("speed")[0].signal.path == "pilot-x/north/robot/speed"
        rejected = {each.error_class: each for each in log.rejected}
        assert set(rejected) == {"type", "unreadable", "too_large", "name", "encoding"}
        assert count[(ts + 203) * 1000].value == 7
        names = [each for each in log.rejected if each.error_class == "name"]
        assert [each.samples for each in names] == [2, 1]
        assert hostile.encode() in names[0].payload and names[1].payload == b'{"count": 1}'
        assert rejected["unreadable"].payload == b"\x00no json"
        assert rejected["unreadable"].origin == topic
        assert rejected["too_large"].payload_size == 10_000_000
        assert len(rejected["too_large"].payload) <= 512 * 1024
        press = next(plant.units()).id
        await until(
            lambda: any(press in event.heartbeat.assets for event in log.kind("heartbeat")),
            "a heartbeat",
        )


async def test_a_topic_that_is_no_utf8_stops_nothing(mqtt_broker: str, tmp_path: Path) -> None:
    plant = make_plant(tmp_path, mqtt_broker, "mqtt-topic")
    source = json_source(plant, "mqtt-topic")
    odd = Arrived(b"mqtt-topic/\xff/state", b"5", 0, False, False, 1)
    (found,) = JsonMessages(plant, source.model, MqttGatewaySettings()).deliveries([odd])
    assert [(each.error_class, each.origin, each.payload) for each in found.rejects] == [
        ("topic", "mqtt-topic/\\xff/state", b"5")
    ]
    async with taking(source) as taken:
        with Peer(mqtt_broker) as machine:
            await until_connected(machine, "mqtt-topic", taken)
            await asyncio.to_thread(send_odd_topic, mqtt_broker, b"mqtt-topic/\xff/state")
            await machine.send("mqtt-topic/press/state", '{"count": 7}')
            await until(lambda: 7 in values(taken), "the message after it")


def send_odd_topic(url: str, topic: bytes) -> None:
    """Publish by hand, as paho refuses such a topic; the broker may pass it on or hang up."""
    parts = urlsplit(url)
    connect = b"\x00\x04MQTT\x04\x02\x00\x3c\x00\x03odd"
    publish = len(topic).to_bytes(2, "big") + topic + b"5"
    with socket.create_connection((parts.hostname or "", parts.port or 1883), timeout=5) as wire:
        wire.sendall(b"\x10" + bytes([len(connect)]) + connect)
        assert wire.recv(4)[:1] == b"\x20"
        wire.sendall(b"\x30" + bytes([len(publish)]) + publish + b"\xe0\x00")
        with contextlib.suppress(OSError):
            wire.recv(1)


@pytest.mark.mosquitto
async def test_what_was_received_and_not_acknowledged_comes_again(
    mosquitto: str, tmp_path: Path
) -> None:
    plant = make_plant(tmp_path, mosquitto, "mqtt-again")
    with Peer(mosquitto) as machine:
        async with taking(json_source(plant, "mqtt-again")) as taken:
            await until_connected(machine, "mqtt-again", taken)
        async with taking(json_source(plant, "mqtt-again"), acknowledge=False) as taken:
            for n in range(10):
                await machine.send("mqtt-again/press/state", json.dumps({"count": n}))
            await until(lambda: values(taken) >= list(range(10)), "the messages")
        await machine.send("mqtt-again/press/state", '{"count": 10}')
        async with taking(json_source(plant, "mqtt-again")) as taken:
            await until(lambda: values(taken)[-1:] == [10], "the messages again")
            assert values(taken) == list(range(11))
            # The new one is not among those that may have been there.
            assert values([each for each in taken if each.repeated]) == list(range(10))

        async def only_the_new_one_comes() -> bool:
            async with taking(json_source(plant, "mqtt-again")) as taken:
                await machine.send("mqtt-again/press/state", '{"count": 11}')
                await until(lambda: 11 in values(taken), "a new message")
                return values(taken) == [11]

        # A broker may still be busy with the acknowledgements of the connection before.
        await until(only_the_new_one_comes, "an end of repetitions")


@pytest.mark.mosquitto
async def test_a_retained_value_that_changed_while_we_were_away_is_taken(
    mqtt_broker: str, tmp_path: Path
) -> None:
    plant = make_plant(tmp_path, mqtt_broker, "mqtt-kept")
    source = json_source(plant, "mqtt-kept", mqtt_session_expiry_s=0)
    topic = "mqtt-kept/press/state"
    with Peer(mqtt_broker) as machine:
        await machine.send(topic, '{"count": 1}', retain=True)
        async with taking(source) as taken:
            await until(lambda: values(taken) == [1], "the retained value")
        for count, expected in ((1, []), (2, [2])):
            await machine.send(topic, f'{{"count": {count}}}', retain=True)
            async with taking(source) as taken:
                await until_connected(machine, "mqtt-kept", taken)
                assert values(taken) == expected


async def test_large_messages_that_wait_are_taken_in_portions(
    mosquitto: str, tmp_path: Path
) -> None:
    """All at once, 40 messages of 2,000 members held the event loop for seconds: /readyz too."""
    plant = make_plant(tmp_path, mosquitto, "mqtt-large")
    source = json_source(plant, "mqtt-large")
    large = json.dumps({f"member{n}": n for n in range(2_000)})
    with Peer(mosquitto) as machine:
        async with taking(source) as taken:
            await until_connected(machine, "mqtt-large", taken)
        for _ in range(40):
            await machine.send("mqtt-large/press/state", large)
        async with taking(source) as taken:
            sizes = lambda: [delivery.values for delivery in taken]  # noqa: E731
            await until(lambda: sum(sizes()) >= 80_000, "all of them", 60)
    assert sum(sizes()) == 80_000
    assert max(sizes()) <= math.ceil(TAKEN_BYTES / len(large)) * 2_000


async def test_a_broker_sends_no_more_than_the_window_before_an_acknowledgement(
    mosquitto: str, tmp_path: Path
) -> None:
    plant = make_plant(tmp_path, mosquitto, "mqtt-window")
    with Peer(mosquitto) as machine:
        async with taking(json_source(plant, "mqtt-window", mqtt_window=5)) as taken:
            await until_connected(machine, "mqtt-window", taken)
        async with taking(
            json_source(plant, "mqtt-window", mqtt_window=5), acknowledge=False
        ) as taken:
            for n in range(20):
                await machine.send("mqtt-window/press/state", json.dumps({"count": n}))
            await until(lambda: len(values(taken)) == 5, "the window")
            done = 0

            def all_came() -> bool:
                nonlocal done
                now, done = taken[done:], len(taken)
                for delivery in reversed(
                    now
                ):  # whatever the order, PUBACKs leave in the order of receipt
                    if delivery.ack is not None:
                        delivery.ack()
                return len(values(taken)) >= 20

            await until(all_came, "the rest")
            assert values(taken) == list(range(20))


@pytest.mark.mosquitto
async def test_a_killed_gateway_loses_no_message(
    kafka: str, mosquitto: str, tmp_path: Path
) -> None:
    make_plant(tmp_path, mosquitto, "mqtt-killed")
    environment = os.environ | {
        "AURELIAN_KAFKA_BOOTSTRAP": kafka,
        "AURELIAN_GATEWAY": "mqtt-killed",
        "AURELIAN_PLANT": str(tmp_path / "plant"),
        "AURELIAN_STATE": str(tmp_path),
    }

    async def start() -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "mqtt_gateway", env=environment
        )

    async def write(machine: Peer) -> None:
        ts = now_ms()
        for n in range(200):
            await machine.send("mqtt-killed/press/state", json.dumps({"ts": ts + n, "count": n}))
            await asyncio.sleep(0.01)

    async with followed(kafka, "mqtt-killed") as log:
        process = await start()
        try:
            with Peer(mosquitto) as machine:
                first = lambda: poke(machine, "mqtt-killed", lambda: bool(log.of("ready")))  # noqa: E731
                await until(first, "the first message", 30)
                writing = asyncio.create_task(write(machine))
                await until(lambda: len(log.of("count")) > 20, "values before the kill")
                process.send_signal(signal.SIGKILL)
                await process.wait()
                process = await start()
                await writing
                await until(
                    lambda: any(s.value == 199 for s in log.of("count")), "the last value", 30
                )
        finally:
            process.terminate()
            await process.wait()
    assert process.returncode == 0
    unique = {(s.source_time, s.sub): s.value for s in log.of("count")}
    assert sorted(v for v in unique.values() if isinstance(v, int)) == list(range(200))


def payload(seq: int | None, *metrics: dict[str, object]) -> bytes:
    message = pb.Payload(timestamp=now_ms())
    if seq is not None:
        message.seq = seq
    for metric in metrics:
        message.metrics.add(**metric)  # type: ignore[arg-type]
    return message.SerializeToString()


async def test_an_edge_nodes_life_from_birth_to_death(
    kafka: str, mqtt_broker: str, tmp_path: Path
) -> None:
    name = "mqtt-spb"
    state = f"spBv1.0/STATE/{name}"
    with Peer(mqtt_broker, f"spBv1.0/{name}/NCMD/#", state) as edge:
        async with running(kafka, mqtt_broker, tmp_path, name, sparkplug_reorder_s=0.5) as (
            log,
            plant,
        ):
            oven = list(plant.units())[1].id
            bd_seq = {"name": "bdSeq", "datatype": 4, "long_value": 1}
            await edge.send(f"spBv1.0/{name}/NBIRTH/E", payload(0, bd_seq), 0)
            heat = {"name": "Heat", "alias": 1, "datatype": 10, "double_value": 20.5}
            parts = {"name": "Parts", "alias": 2, "datatype": 2, "int_value": 2**32 - 5}
            await edge.send(f"spBv1.0/{name}/DBIRTH/E/oven", payload(1, heat, parts), 0)
            for n in range(2, 52):
                await edge.send(
                    f"spBv1.0/{name}/DDATA/E/oven",
                    payload(n, {"alias": 1, "double_value": float(n), "timestamp": now_ms() + n}),
                    0,
                )
            await until(lambda: len(log.of("heat")) == 51, "data by alias")
            assert [s.value for s in log.of("heat")] == [20.5, *(float(n) for n in range(2, 52))]
            assert log.of("heat")[0].flags & Flag.INITIAL
            assert [s.value for s in log.of("parts")] == [-5]
            assert [list(event.birth.assets) for event in log.kind("birth")] == [[oven]]
            assert edge.rebirths() == 0

            await edge.send(
                f"spBv1.0/{name}/DDATA/E/oven",
                payload(60, {"alias": 1, "double_value": math.pi}),
                0,
            )
            await until(lambda: edge.rebirths() == 1 and bool(log.kind("gap")), "the rebirth")
            await edge.send(
                f"spBv1.0/{name}/DDATA/E/oven", payload(61, {"alias": 1, "double_value": 61.0}), 0
            )
            await until(
                lambda: [s.value for s in log.of("heat")][-2:] == [math.pi, 61.0],
                "data after the gap",
            )
            assert edge.rebirths() == 1

            await until(
                lambda: any(oven in event.heartbeat.assets for event in log.kind("heartbeat")),
                "a heartbeat",
            )
            await edge.send(
                f"spBv1.0/{name}/NDEATH/E", payload(None, bd_seq | {"long_value": 0}), 0
            )
            await edge.send(f"spBv1.0/{name}/NDEATH/E", payload(None, bd_seq))
            await until(lambda: bool(log.kind("death")), "the death")
            assert [list(event.death.assets) for event in log.kind("death")] == [[oven]]
        # Artemis may publish the will too: to it the end of a connection can overtake DISCONNECT.
        await until(lambda: edge.states(state)[-1:] == [False], lambda: str(edge.states(state)))
        said = edge.states(state)
        assert said[: said.index(False) + 1] == [True, False] and True not in said[2:]


async def test_the_host_is_offline_while_the_outbox_takes_nothing(
    mqtt_broker: str, tmp_path: Path
) -> None:
    name = "mqtt-stuck"
    state = f"spBv1.0/STATE/{name}"
    plant = make_plant(tmp_path, mqtt_broker, name)
    settings = MqttGatewaySettings(
        gateway=name, sparkplug_host_id=name, sparkplug_offline_after_s=0.3
    )
    source = make_sources(settings, [plant])[1]
    with Peer(mqtt_broker, state, f"spBv1.0/{name}/NCMD/#") as edge:
        async with taking(source, acknowledge=False) as taken:
            await until(lambda: edge.states(state)[-1:] == [True], "the host's birth")
            # Somebody else says that the host is offline: it contradicts at once.
            await edge.send(
                state, json.dumps({"online": False, "timestamp": now_ms()}), retain=True
            )
            await until(lambda: edge.states(state)[-2:] == [False, True], "the contradiction")

            async def said_offline() -> bool:
                await edge.send(f"spBv1.0/{name}/NDATA/E", payload(5), 0)
                return not edge.states(state)[-1]

            def acknowledged() -> bool:
                while stored := taken[:1]:
                    del taken[:1]
                    assert stored[0].ack is not None
                    stored[0].ack()
                return edge.states(state)[-1]

            await until(said_offline, "the host's death")
            await until(acknowledged, "the host's return")


def json_source(plant: Plant, name: str, **more: object) -> JsonSource:
    return JsonSource(plant, plant.sources[0], MqttGatewaySettings(gateway=name, **more))  # type: ignore[arg-type]


def values(taken: list[Delivery]) -> list[object]:
    return [
        reading.value
        for delivery in taken
        for reading in readings_of(delivery)
        if reading.signal.path.endswith("/count")
    ]


async def poke(machine: Peer, name: str, arrived: Callable[[], bool]) -> bool:
    """Send something, as a subscription that is not there yet takes nothing; True when it
    arrived."""
    await machine.send(f"{name}/press/state", '{"ready": 1}')
    return arrived()


async def until_connected(machine: Peer, name: str, taken: list[Delivery]) -> None:
    """Send until something arrives, then wait until nothing is under way any more."""

    def arrived(value: int) -> bool:
        return any(
            reading.value == value for delivery in taken for reading in readings_of(delivery)
        )

    await until(lambda: poke(machine, name, lambda: arrived(1)), "the first message")
    await machine.send(f"{name}/press/state", '{"ready": 2}')
    await until(lambda: arrived(2), "the last of them")
