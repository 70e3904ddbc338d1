"""The MQTT gateway through a hundred disconnects, and before a storm of 100,000 retained topics."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from pathlib import Path

import paho.mqtt.client as paho
import pytest

from aurelian.backbone.topics import create_topics
from aurelian.edge.gateway import Delivery
from aurelian.runtime.settings import KafkaSettings
from tests.integration.mqtt_gateway.gateway_process import (
    Store,
    log_of,
    machine,
    resident_mb,
    start,
    stop,
    write_plant,
)
from tests.integration.mqtt_gateway.test_brokers import live
from tests.integration.mqtt_gateway.test_mqtt_gateway import json_source, make_plant, values
from tests.integration.opcua_gateway.test_chaos_store import following
from tests.peers.brokers import broker
from tests.peers.fault_proxy import fault_proxy
from tests.source_alone import taking
from tests.stand_in_historian import Historian
from tests.waiting import until

pytestmark = pytest.mark.mosquitto

DISCONNECTS = 100
RETAINED = 100_000


@pytest.mark.timeout(900)
async def test_after_each_of_a_hundred_disconnects_it_delivers_within_five_seconds(
    kafka: str, tmp_path: Path
) -> None:
    """Nothing is lost or doubled, and the memory stays."""
    await create_topics(kafka)
    historian = Historian(KafkaSettings(kafka_bootstrap=kafka))
    store = Store(historian, "mqtt-hundred")
    newest = itertools.count(1)
    slowest, memory = 0.0, []
    with broker("mosquitto-stock") as server:
        async with (
            following(historian),
            fault_proxy(server.port) as proxy,
            machine(server.url, "mqtt-hundred/0/press-0/state") as press,
        ):
            url = f"mqtt://127.0.0.1:{proxy.port}"
            plant = write_plant(tmp_path / "plant", "mqtt-hundred", [url])
            process = await start(kafka, plant, tmp_path, "mqtt-hundred")
            try:
                number = press.send()
                log = log_of(tmp_path)
                await until(lambda: "broker is connected" in log.read_text(), "it", 60)
                for _ in range(DISCONNECTS):
                    proxy.disconnect()
                    began = time.monotonic()
                    number = press.send()
                    await until(lambda n=number: _has(historian, n), f"number {number}", 20)  # type: ignore[misc]
                    slowest = max(slowest, time.monotonic() - began)
                    if next(newest) % 10 == 0:
                        memory.append(resident_mb(process.pid))
            finally:
                await stop(process)
    print(f"the slowest took {slowest:.2f} s; memory {memory}")
    assert proxy.connections > DISCONNECTS
    assert slowest < 5.0
    assert memory[-1] - memory[2] < 10
    press.taken.pop(1)  # nobody was there yet
    assert store.check("press-0", press.taken) == set()


def _has(historian: Historian, number: int) -> bool:
    newest = historian.batches[-3:]
    return any(
        s.value == number and s.signal.path.endswith("/count") for b in newest for s in b.samples()
    )


@pytest.mark.timeout(300)
async def test_a_storm_of_retained_topics_at_connect_starves_no_live_value(tmp_path: Path) -> None:
    """All of it in bounded memory. The broker sends a live value of the same subscription behind
    it, as it must; other sources are not held up."""
    with broker("mosquitto") as server:
        client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        client.max_inflight_messages_set(1000)
        client.connect(server.host, server.port)
        client.loop_start()
        try:
            for first in range(0, RETAINED, 10_000):
                for n in range(first, first + 10_000):
                    topic = f"storm/unit-{n}/state"
                    sent = client.publish(topic, f'{{"count": {n}}}', 1, retain=True)
                await asyncio.to_thread(sent.wait_for_publish, 60)
            plant = make_plant(tmp_path, server.url, "storm")
            source = json_source(plant, "storm", mqtt_max_discovered=0)
            (tmp_path / "calm").mkdir()
            calm = json_source(make_plant(tmp_path / "calm", server.url, "calm"), "calm")
            before = resident_mb(os.getpid())
            async with taking(calm) as others:
                await live(calm)
                async with taking(source) as taken:
                    await live(source)
                    client.publish("storm/press/state", '{"count": -1}', 1)
                    slowest = 0.0
                    for number in itertools.count(1):
                        sent_at = time.monotonic()
                        client.publish("calm/press/state", f'{{"count": {number}}}', 1)
                        await until(lambda n=number: n in values(others), "another source's", 20)  # type: ignore[misc]
                        slowest = max(slowest, time.monotonic() - sent_at)
                        if _refused(taken) == RETAINED:
                            break
                        assert number < 1200, _refused(taken)
                        await asyncio.sleep(0.1)
                    await until(lambda: -1 in values(taken), "the live value behind it", 60)
                    grown = resident_mb(os.getpid()) - before
        finally:
            client.disconnect()
            client.loop_stop()
    print(f"another source's values within {slowest:.1f} s ({number} of them); {grown:.0f} MB more")
    assert number > 3, "the storm was over at once: nothing was tried"
    assert slowest < 5
    assert grown < 250


def _refused(taken: list[Delivery]) -> int:
    return sum(reject.samples for each in taken for reject in each.rejects)
