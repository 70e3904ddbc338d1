"""Several topics of one source at a real broker, each with its payload; last wills; subscriptions
that gateways share; what the broker keeps, deletes and throws away."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import cbor2
import paho.mqtt.client as paho
import pytest

from aurelian.edge.gateway import Delivery
from aurelian.edge.source_state import SourceState
from aurelian.model import codec
from aurelian.model.plant_file import load_plant
from aurelian.model.sample import Flag
from mqtt_gateway.settings import MqttGatewaySettings
from mqtt_gateway.source import JsonSource
from tests.integration.mqtt_gateway.test_mqtt_gateway import Peer
from tests.source_alone import readings_of, taking
from tests.waiting import until

PLANT = """
company: {id: pilot-x, name: Pilot X}
site: north
time_zone: UTC
sources:
  - id: all
    kind: mqtt
    url: "URL"
MORE
areas:
  - name: hall
    lines:
      - name: line-1
        products: [{id: cup, ideal_cycle_s: 2}]
        units:
          - {name: press, source: all, signals: [{name: count, type: int64}]}
          - {name: plug, source: all, signals: [{name: power, address: ENERGY.Power}]}
"""

TOPICS = """
    topics:
      - {topic: "NAME/json/{unit}"}
      - {topic: "NAME/cbor/{unit}", payload: cbor}
      - {topic: "NAME/tele/{unit}/#", payload: tasmota}
"""


def source_of(folder: Path, url: str, more: str, gateway: str, window: int = 100) -> JsonSource:
    path = folder / f"{gateway}.yaml"
    path.write_text(PLANT.replace("URL", url).replace("MORE", more))
    plant = load_plant(path)
    settings = MqttGatewaySettings(gateway=gateway, mqtt_window=window)
    return JsonSource(plant, plant.sources[0], settings)


def values(taken: list[Delivery]) -> list[object]:
    return [
        reading.value
        for delivery in taken
        for reading in readings_of(delivery)
        if reading.model is not None
    ]


def events(taken: list[Delivery], kind: str) -> list[codec.SourceEvent]:
    return [each for d in taken for each in d.events if each.WhichOneof("kind") == kind]


async def live(*sources: JsonSource) -> None:
    for source in sources:
        await until(lambda s=source: s.condition().state is SourceState.LIVE, "a connection")  # type: ignore[misc]


async def test_each_topic_of_a_source_has_its_own_payload(mqtt_broker: str, tmp_path: Path) -> None:
    source = source_of(tmp_path, mqtt_broker, TOPICS.replace("NAME", "several"), "several")
    async with taking(source) as taken:
        await live(source)
        with Peer(mqtt_broker) as machine:
            await machine.send("several/json/press", '{"count": 1}')
            await machine.send("several/cbor/press", cbor2.dumps({"count": 2}))
            await machine.send("several/tele/plug/SENSOR", '{"ENERGY": {"Power": 3.5}}')
            # QoS 2 comes as QoS 1, and is acknowledged as such.
            await machine.send("several/json/press", '{"count": 4}', qos=2)
            await machine.send("several/json/press", "no json")
            await until(lambda: values(taken) == [1, 2, 3.5, 4], "all values")
            await until(lambda: any(each.rejects for each in taken), "the reject")
    (reject,) = [reject for each in taken for reject in each.rejects]
    assert (reject.error_class, reject.origin) == ("unreadable", "several/json/press")


async def test_a_last_will_that_the_broker_sends_is_a_death(
    mqtt_broker: str, tmp_path: Path
) -> None:
    source = source_of(tmp_path, mqtt_broker, TOPICS.replace("NAME", "wills"), "wills")
    topic = "wills/tele/plug/LWT"
    async with taking(source) as taken:
        await live(source)
        parts = urlsplit(mqtt_broker)
        plug = paho.Client(paho.CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
        plug.will_set(topic, "Offline", qos=1, retain=True)
        plug.connect(parts.hostname or "", parts.port or 1883)
        plug.loop_start()
        plug.publish(topic, "Online", qos=1, retain=True).wait_for_publish(10)
        await until(lambda: bool(events(taken, "birth")), "its birth")
        wire = plug.socket()
        assert isinstance(wire, socket.socket)
        wire.shutdown(socket.SHUT_RDWR)  # without a DISCONNECT
        await until(lambda: bool(events(taken, "death")), "its death")
        plug.loop_stop()
        with contextlib.suppress(OSError):
            wire.close()
    (death,) = events(taken, "death")
    assert len(death.death.assets) == 1
    assert death.death.reason == f"{topic}: Offline"


@pytest.mark.mosquitto
async def test_gateways_share_the_work_and_one_of_them_reads_what_is_kept(
    mosquitto: str, tmp_path: Path
) -> None:
    topic = '\n    topic: "shared/{unit}"\n'
    first = topic + "    share: {group: g1, read_retained: true}\n"
    one = source_of(tmp_path, mosquitto, first, "share-a")
    two = source_of(tmp_path, mosquitto, topic + "    share: g1\n", "share-b")
    with Peer(mosquitto) as machine:
        await machine.send("shared/press", '{"count": 1000}', retain=True)
        async with taking(one) as left, taking(two) as right:
            await live(one, two)
            await until(lambda: 1000 in values(left), "what the broker keeps")
            await asyncio.sleep(1.5)  # until nothing more is kept
            for n in range(200):
                await machine.send("shared/press", json.dumps({"count": n}))
            await until(lambda: len(values(left)) + len(values(right)) >= 201, "all messages")
            assert 1000 not in values(right)
            kept = [r for d in left for r in readings_of(d) if r.value == 1000]
            assert [each.flags for each in kept] == [Flag.RETAINED]
            counted = Counter([*values(left), *values(right)])
            assert counted == Counter([*range(200), 1000])
            assert values(left)[1:] and values(right)
        await machine.send("shared/press", "", retain=True)  # deletes it


@pytest.mark.mosquitto
async def test_a_retained_message_that_is_deleted_is_no_reject(
    mosquitto: str, tmp_path: Path
) -> None:
    source = source_of(tmp_path, mosquitto, '\n    topic: "deleted/{unit}"\n', "deleted")
    with Peer(mosquitto) as machine:
        await machine.send("deleted/press", '{"count": 1}', retain=True)
        async with taking(source) as taken:
            await until(lambda: values(taken) == [1], "what is kept")
            await machine.send("deleted/press", "", retain=True)
            await machine.send("deleted/press", '{"count": 2}')
            await until(lambda: values(taken) == [1, 2], "the next value")
    assert [each.rejects for each in taken if each.rejects] == []
