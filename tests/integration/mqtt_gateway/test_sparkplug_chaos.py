"""Sparkplug over a bad network: data are QoS 0, so some are lost; nothing is doubled, each loss is
a record, and values flow again within 5 s of the broker's return."""

from __future__ import annotations

import asyncio
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aurelian.backbone.topics import create_topics
from aurelian.runtime.settings import KafkaSettings
from tests import servers
from tests.integration.mqtt_gateway.counting_node import Oracle, counting_node, write_plant
from tests.integration.mqtt_gateway.gateway_process import Store, log_of, start, stop
from tests.integration.opcua_gateway.test_chaos_store import following
from tests.long_tests import LONG_TESTS
from tests.peers.brokers import broker
from tests.peers.fault_proxy import fault_proxy
from tests.stand_in_historian import Historian
from tests.waiting import until

pytestmark = pytest.mark.mosquitto

_HANDS = ThreadPoolExecutor(1)

PAUSE_S = 0.02
LIMITS = {"mqtt_keep_alive_s": 1, "sparkplug_reorder_s": 0.5}
CUTS = (0.2, 5.0, 15.0) if LONG_TESTS else (0.2, 1.5)
FREEZES = (3.0, 8.0) if LONG_TESTS else (3.0,)
KILLS = 5 if LONG_TESTS else 1
KAFKA_AWAY_S = 30.0 if LONG_TESTS else 2.0


async def test_each_loss_is_told_nothing_is_doubled_and_values_flow_again_within_5_s(
    tmp_path: Path,
) -> None:
    """One fault after the other, within the time in which a node is not asked for its births
    again. Kafka, which is no concern of the broker's, costs nothing."""
    company = "spb-chaos"
    with servers.kafka_broker() as kafka, broker("mosquitto-stock") as server:
        await create_topics(kafka.bootstrap)
        historian = Historian(KafkaSettings(kafka_bootstrap=kafka.bootstrap))
        async with (
            fault_proxy(server.port) as proxy,
            counting_node(server.url, company) as node,
        ):
            oracle = Oracle(node, Store(historian, company))
            plant = write_plant(tmp_path / "plant", company, f"mqtt://127.0.0.1:{proxy.port}")
            process = await start(kafka.bootstrap, plant, tmp_path, company, **LIMITS)
            try:
                async with following(historian):
                    await oracle.flows("the start", 40)
                    await oracle.all_came()
                    for seconds in CUTS:
                        proxy.cut()
                        await node.run(seconds, PAUSE_S)
                        proxy.restore()
                        await oracle.flows(f"a cut of {seconds} s")
                    for seconds in FREEZES:
                        before = proxy.connections
                        proxy.freeze()
                        await node.run(seconds, PAUSE_S)
                        proxy.thaw()
                        await oracle.flows(f"a freeze of {seconds} s")
                        assert proxy.connections > before  # it was noticed
                    for _ in range(KILLS):
                        await node.run(0.3, PAUSE_S)
                        process.send_signal(signal.SIGKILL)
                        await process.wait()
                        await node.run(0.5, PAUSE_S)
                        online = times_online(tmp_path)
                        process = await start(kafka.bootstrap, plant, tmp_path, company, **LIMITS)
                        counting = asyncio.create_task(node.run(60, PAUSE_S))
                        await until(lambda n=online: times_online(tmp_path) > n, "the next", 40)  # type: ignore[misc]
                        counting.cancel()
                        await oracle.flows("a kill")
                    await asyncio.to_thread(node.leave)
                    server.stop()
                    await asyncio.sleep(0.5)
                    server.start()
                    await asyncio.to_thread(node.connect, server.url)
                    await oracle.flows("a restart of the broker")
                    await oracle.all_came()
                kafka.kill()
                first = node.send()
                await node.run(KAFKA_AWAY_S, PAUSE_S)
                # Not in this thread, where the proxy works; and a broker ends with the thread that
                # started it.
                await asyncio.get_running_loop().run_in_executor(_HANDS, kafka.start)
                async with following(historian):
                    await oracle.all_came(30)
            finally:
                await stop(process)
    lost = oracle.check()
    faults = len(CUTS) + len(FREEZES) + KILLS
    assert lost and max(lost) < first
    assert len(oracle.told()) > faults and len(node.rebirths) >= faults


def times_online(state: Path) -> int:
    """How often the host was."""
    return log_of(state).read_text().count("host is online")


@pytest.mark.long
async def test_a_full_outbox_says_that_the_host_is_offline_and_what_comes_then_is_told_as_lost(
    tmp_path: Path,
) -> None:
    """This node does not wait for its host."""
    company = "spb-full"
    limits = LIMITS | {"outbox_max_age_s": 8.0, "sparkplug_offline_after_s": 1.0}
    with servers.kafka_broker() as kafka, broker("mosquitto-stock") as server:
        await create_topics(kafka.bootstrap)
        historian = Historian(KafkaSettings(kafka_bootstrap=kafka.bootstrap))
        async with counting_node(server.url, company) as node:
            oracle = Oracle(node, Store(historian, company))
            plant = write_plant(tmp_path / "plant", company, server.url)
            process = await start(kafka.bootstrap, plant, tmp_path, company, **limits)
            try:
                async with following(historian):
                    await oracle.flows("the start", 40)
                kafka.kill()
                await node.run(20.0, PAUSE_S)
                assert "the outbox takes nothing more" in log_of(tmp_path).read_text()
                kafka.start()
                async with following(historian):
                    await oracle.flows("the return of Kafka", 40)
                    await oracle.all_came()
            finally:
                await stop(process)
    assert len(oracle.check()) > 100
