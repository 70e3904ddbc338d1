"""The MQTT gateway as a process, Mosquitto as Debian ships it, Kafka, and a bad network between:
what the broker took comes to the store once, or lies in a gap record."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from pathlib import Path

import pytest

from aurelian.backbone.topics import create_topics
from aurelian.runtime.settings import KafkaSettings
from tests import servers
from tests.integration.mqtt_gateway.gateway_process import (
    Machine,
    Store,
    log_of,
    machine,
    start,
    stop,
    write_plant,
)
from tests.integration.opcua_gateway.test_chaos_store import following
from tests.long_tests import LONG_TESTS
from tests.peers.brokers import broker
from tests.peers.fault_proxy import FaultProxy, fault_proxy
from tests.stand_in_historian import Historian
from tests.waiting import until

pytestmark = pytest.mark.mosquitto

PAUSE_S = 0.04
SEED, KILLS = 9, 20 if LONG_TESTS else 4
SHORT_FREEZE = ("freeze", 1.0)
"""Shorter than the keep-alive: the connection stays, unless the machine itself stands still too."""
FAULTS = [("cut", 0.2), ("cut", 5.0), SHORT_FREEZE, ("freeze", 8.0)]
if LONG_TESTS:
    FAULTS.append(("cut", 15.0))


async def disturb(proxy: FaultProxy, what: str, seconds: float) -> None:
    await asyncio.sleep(1)
    (proxy.cut if what == "cut" else proxy.freeze)()
    await asyncio.sleep(seconds)
    (proxy.restore if what == "cut" else proxy.thaw)()


async def test_cuts_freezes_kills_and_a_restart_of_the_broker_lose_and_double_nothing(
    kafka: str, tmp_path: Path
) -> None:
    """Each fault on a source of its own, all at once; then kills of the gateway at any moment; then
    the broker goes and comes back with what it has on its disk."""
    await create_topics(kafka)
    chance, company = random.Random(SEED), "mqtt-chaos"
    historian = Historian(KafkaSettings(kafka_bootstrap=kafka))
    store = Store(historian, company)
    with broker("mosquitto-stock") as server:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(following(historian))
            proxies = [await stack.enter_async_context(fault_proxy(server.port)) for _ in FAULTS]
            urls = [f"mqtt://127.0.0.1:{proxy.port}" for proxy in proxies]
            plant = write_plant(tmp_path / "plant", company, urls)
            machines = [
                await stack.enter_async_context(
                    machine(server.url, f"{company}/{n}/press-{n}/state")
                )
                for n in range(len(FAULTS))
            ]
            process = await start(kafka, plant, tmp_path, company, mqtt_keep_alive_s=4)
            try:

                async def arrives(seconds: float = 40) -> None:
                    last = [each.send() for each in machines]
                    await until(
                        lambda: all(store.has(f"press-{n}", v) for n, v in enumerate(last)),
                        lambda: f"{last}: {[store.rows(f'press-{n}')[-1:] for n in range(4)]}",
                        seconds,
                    )

                await until(
                    lambda: (
                        log_of(tmp_path).read_text().count("broker is connected") >= len(FAULTS)
                    ),
                    "connections",
                    40,
                )
                await arrives()
                longest = max(seconds for _, seconds in FAULTS) + 3
                connected = [proxy.connections for proxy in proxies]
                await asyncio.gather(
                    *(each.run(longest, PAUSE_S) for each in machines),
                    *(disturb(p, *fault) for p, fault in zip(proxies, FAULTS, strict=True)),
                )
                await arrives()
                for fault, proxy, number in zip(FAULTS, proxies, connected, strict=True):
                    assert proxy.connections > number or fault == SHORT_FREEZE, fault

                counting = [asyncio.create_task(each.run(600, PAUSE_S)) for each in machines]
                for _ in range(KILLS):
                    await asyncio.sleep(chance.uniform(0.3, 1.5))
                    process.send_signal(signal.SIGKILL)
                    await process.wait()
                    before = log_of(tmp_path).read_text().count("broker is connected")
                    process = await start(kafka, plant, tmp_path, company, mqtt_keep_alive_s=4)
                    await until(
                        lambda n=before: (  # type: ignore[misc]
                            log_of(tmp_path).read_text().count("broker is connected") > n
                        ),
                        "a connection",
                        40,
                    )
                for each in counting:
                    each.cancel()
                await arrives()

                # In this thread: a broker ends with the thread that started it.
                server.stop()
                server.start()
                await asyncio.gather(*(each.run(1, PAUSE_S) for each in machines))
                await arrives()
                for each in machines:
                    await each.all_taken()
            finally:
                await stop(process)
            for n, each in enumerate(machines):
                assert len(each.taken) > 200
                assert store.check(f"press-{n}", each.taken) == set(), FAULTS[n]
    assert not store.gaps()


async def until_one_arrives(press: Machine, store: Store) -> None:
    """Send until one is stored soon: those that find the broker's queue full are not."""
    for _ in range(90):
        last = press.send()
        await asyncio.sleep(1)
        if store.has("press-0", last):
            return
    raise AssertionError("nothing arrives any more")


@pytest.mark.parametrize(
    "name", ["mosquitto", pytest.param("mosquitto-stock", marks=pytest.mark.long)]
)
async def test_kafka_away_and_the_outbox_full_lose_nothing_or_it_is_told(
    name: str, tmp_path: Path
) -> None:
    """The roomy broker keeps all that we do not acknowledge; the stock one 1,020 messages, and its
    count of the others makes a gap record."""
    away_s, pause_s = (60.0, 0.02) if LONG_TESTS else (8.0, 0.02)
    company = f"mqtt-away-{name}"
    limits = {"outbox_max_age_s": 2.0}
    with servers.kafka_broker() as kafka, broker(name) as server:
        await create_topics(kafka.bootstrap)
        historian = Historian(KafkaSettings(kafka_bootstrap=kafka.bootstrap))
        store = Store(historian, company)
        plant = write_plant(tmp_path / "plant", company, [server.url])
        async with machine(server.url, f"{company}/0/press-0/state") as press:
            process = await start(kafka.bootstrap, plant, tmp_path, company, **limits)
            try:
                async with following(historian):
                    await until(
                        lambda: "broker is connected" in log_of(tmp_path).read_text(), "it", 40
                    )
                    first = press.send()
                    await until(lambda: store.has("press-0", first), "the first", 40)
                    if name == "mosquitto-stock":
                        await asyncio.sleep(11)  # until its first count is there
                kafka.kill()
                await press.run(away_s, pause_s)
                assert b"outbox is full" in log_of(tmp_path).read_bytes()
                kafka.start()
                async with following(historian):
                    await press.run(2, pause_s)
                    await until_one_arrives(press, store)
                    await press.all_taken()
                    if name == "mosquitto-stock":
                        await until(lambda: bool(store.gaps()), "the gap", 30)
                        await asyncio.sleep(12)  # what was given up last is counted later
            finally:
                await stop(process)
    missing = store.check("press-0", press.taken)
    assert bool(missing) == (name == "mosquitto-stock")


async def test_two_gateways_at_one_source_store_each_value_once_and_two_of_one_time_stay_two(
    kafka: str, tmp_path: Path
) -> None:
    """Also where one of them is killed, and has again what it did not acknowledge."""
    await create_topics(kafka)
    company = "mqtt-two"
    historian = Historian(KafkaSettings(kafka_bootstrap=kafka))
    store = Store(historian, company)
    with broker("mosquitto-stock") as server:
        plant = write_plant(tmp_path / "plant", company, [server.url])
        async with (
            following(historian),
            machine(server.url, f"{company}/0/press-0/state") as press,
            contextlib.AsyncExitStack() as stack,
        ):
            processes = []
            for each in ("one", "other"):
                process = await start(kafka, plant, tmp_path / each, f"mqtt-two-{each}")
                stack.push_async_callback(stop, process)
                processes.append(process)
            for each in ("one", "other"):
                log = log_of(tmp_path / each)
                await until(lambda log=log: "broker is connected" in log.read_text(), each, 40)  # type: ignore[misc]
            at = 1_790_000_000_000
            for n in range(100):
                press.send(at + n)
            pair = at + 1000
            for value in (901, 902):
                press.send(pair, value)
            await press.all_taken()
            processes[0].send_signal(signal.SIGKILL)
            await processes[0].wait()
            again = await start(kafka, plant, tmp_path / "one", "mqtt-two-one")
            stack.push_async_callback(stop, again)
            press.send(at + 2000, 1000)
            await until(lambda: store.has("press-0", 1000), "the last", 40)
            await until(
                lambda: (
                    {b.gateway for b in historian.batches if b.line.startswith(company)}
                    == {"mqtt-two-one", "mqtt-two-other"}
                ),
                "both gateways",
                20,
            )
            await asyncio.sleep(2)
    expected = [((at + n) * 1000, 0, n + 1) for n in range(100)]
    expected += [(pair * 1000, 0, 901), (pair * 1000, 1, 902), ((at + 2000) * 1000, 0, 1000)]
    assert store.rows("press-0") == expected
