"""A plant file of MQTT sources that changes while its gateway runs: who stays keeps the connection,
who goes leaves nothing at the broker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import paho.mqtt.client as paho
import yaml
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from aurelian.edge.gateway import run_gateway
from aurelian.edge.reload.reload import RELOADS
from aurelian.local.ports import any_free
from aurelian.runtime.health import Health
from mqtt_gateway import metrics
from mqtt_gateway.settings import MqttGatewaySettings
from mqtt_gateway.source import make_sources
from tests.peers.plain_mosquitto import plain_mosquitto
from tests.waiting import until


def write(folder: Path, url: str, topics: dict[str, str]) -> None:
    """A plant with one source and one unit for each topic."""
    content = {
        "company": {"id": "x", "name": "X"},
        "site": "s",
        "time_zone": "UTC",
        "sources": [
            {"id": id_, "kind": "mqtt", "url": url, "topic": topic} for id_, topic in topics.items()
        ],
        "areas": [
            {
                "name": "a",
                "lines": [
                    {
                        "name": "l",
                        "products": [{"id": "p", "ideal_cycle_s": 1}],
                        "units": [{"name": f"u-{id_}", "source": id_} for id_ in topics],
                    }
                ],
            }
        ],
    }
    folder.mkdir(exist_ok=True)
    (folder / "new").write_text(yaml.safe_dump(content))
    (folder / "new").replace(folder / "site.yaml")


async def changed(folder: Path, url: str, topics: dict[str, str]) -> None:
    """Write the file, and wait until the gateway has taken it up."""
    count = RELOADS.labels("accepted")._value.get()
    write(folder, url, topics)
    await until(lambda: RELOADS.labels("accepted")._value.get() > count, "the change")


@contextlib.asynccontextmanager
async def running(folder: Path, state: Path) -> AsyncIterator[Health]:
    """A gateway in this process; Kafka is away."""
    settings = MqttGatewaySettings(
        kafka_bootstrap=f"127.0.0.1:{any_free()}",
        gateway="reload",
        plant=folder,
        state=state,
        outbox_min_free=0.0,
    )
    health = Health("mqtt_gateway")
    task = asyncio.create_task(run_gateway(settings, health, make_sources))
    try:
        await until(lambda: health.ready is None, "ready", 30)
        yield health
        assert not task.done()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def is_up(source: str) -> bool:
    return metrics.CONNECTED.labels(f"x/s/{source}")._value.get() == 1


async def session_of(url: str, source: str) -> tuple[bool, list[str]]:
    """Whether the broker keeps a session for a source, and the topics that wait in it. Ends it."""
    parts, seen, present = urlsplit(url), [], asyncio.Event()
    found: list[bool] = []
    client = paho.Client(
        paho.CallbackAPIVersion.VERSION2, f"aurelian-reload-x~s~{source}", protocol=paho.MQTTv5
    )

    def on_connect(_c: object, _d: object, flags: paho.ConnectFlags, *_: object) -> None:
        found.append(flags.session_present)

    client.on_connect = on_connect
    client.on_message = lambda _c, _d, message: seen.append(message.topic)
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 0
    client.connect(parts.hostname or "", parts.port or 0, clean_start=False, properties=properties)
    client.loop_start()
    try:
        await until(lambda: bool(found), "the broker")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(present.wait(), 0.5)
    finally:
        client.disconnect()
        client.loop_stop()
    return found[0], seen


async def publish(url: str, *topics: str) -> None:
    parts = urlsplit(url)
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.connect(parts.hostname or "", parts.port or 0)
    client.loop_start()
    for topic in topics:
        await asyncio.to_thread(client.publish(topic, "1", qos=1).wait_for_publish, 10)
    client.disconnect()
    client.loop_stop()


async def test_who_goes_leaves_no_session_and_who_changes_no_topic_of_before(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "plant"
    with plain_mosquitto() as url:
        write(folder, url, {"stays": "a/{unit}/x", "goes": "b/{unit}/x", "moves": "c/{unit}/old"})
        async with running(folder, tmp_path / "state"):
            await until(lambda: all(map(is_up, ("stays", "goes", "moves"))), "connections", 30)
            lost = metrics.LOST.labels("x/s/stays")._value.get()
            await changed(folder, url, {"stays": "a/{unit}/x", "moves": "c/{unit}/new"})
            await until(lambda: is_up("moves"), "the changed one", 30)
            await asyncio.sleep(1)  # the farewell of the one that went
            assert is_up("stays") and metrics.LOST.labels("x/s/stays")._value.get() == lost
        await publish(url, "a/u-stays/x", "b/u-goes/x", "c/u-moves/old", "c/u-moves/new")
        assert await session_of(url, "stays") == (True, ["a/u-stays/x"])
        assert await session_of(url, "moves") == (True, ["c/u-moves/new"])
        assert await session_of(url, "goes") == (False, [])


async def test_another_topic_counts_also_where_the_file_changed_while_no_gateway_ran(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "plant"
    with plain_mosquitto() as url:
        write(folder, url, {"away": "c/{unit}/old"})
        async with running(folder, tmp_path / "state"):
            await until(lambda: is_up("away"), "the connection", 30)
        write(folder, url, {"away": "c/{unit}/new"})
        async with running(folder, tmp_path / "state"):
            await until(lambda: is_up("away"), "the connection", 30)
            await asyncio.sleep(0.5)
        await publish(url, "c/u-away/old", "c/u-away/new")
        assert await session_of(url, "away") == (True, ["c/u-away/new"])
