"""What is heard at a real broker: the tree of topics, the proposals out of it, and a plant file
that is made of them, tried."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import paho.mqtt.client as paho
import pytest

from aurelian.model.plant import Plant
from aurelian.model.source_model import SourceModel
from mqtt_gateway import metrics as counted
from mqtt_gateway.connect.look import look
from mqtt_gateway.connect.propose import propose
from mqtt_gateway.connect.proposed import Proposals, ProposedSource
from mqtt_gateway.connect.sightings import Sightings
from mqtt_gateway.connect.topic_tree import Level, tree_of
from mqtt_gateway.connect.trial import Trial, try_out
from mqtt_gateway.settings import MqttGatewaySettings
from tests.peers.foreign_edge_nodes import ForeignNode, foreign_node

pytestmark = pytest.mark.mosquitto
SETTINGS = MqttGatewaySettings(gateway="proposals", mqtt_timeout_s=5)


async def while_sending(url: str, send: Callable[[paho.Client], None], work: object) -> None:
    """Do something while a machine sends again and again."""
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    host, port = url.removeprefix("mqtt://").split(":")
    client.connect(host, int(port))
    client.loop_start()

    async def keep_sending() -> None:
        while True:
            send(client)
            await asyncio.sleep(0.05)

    sending = asyncio.create_task(keep_sending())
    try:
        await work  # type: ignore[misc]
    finally:
        sending.cancel()
        with suppress(asyncio.CancelledError):
            await sending
        client.disconnect()
        client.loop_stop()


async def heard(
    url: str, send: Callable[[paho.Client], None], filters: tuple[str, ...], kind: str = "mqtt"
) -> Sightings:
    found: list[Sightings] = []
    more = {"topic": "x"} if kind == "mqtt" else {}
    model = SourceModel.model_validate({"id": "x", "kind": kind, "url": url} | more)

    async def listen() -> None:
        found.extend([each async for each in look(model, SETTINGS, filters, 1.2, every_s=0.3)])

    await while_sending(url, send, listen())
    assert len(found) > 1  # as it comes, not at the end alone
    return found[-1]


def level(tree: Level, topic: str) -> Level:
    at = tree
    for name in topic.split("/"):
        at = next(each for each in at.below if each.name == name)
    return at


def proposed(sightings: Sightings, url: str) -> Proposals:
    return propose(sightings, {"id": "found", "url": url}, "acme/north", ["Asia/Kolkata"])


def plant_of(source: ProposedSource) -> Plant:
    """What a command would write: everything that is proposed is taken as it stands."""
    line = {
        "name": "line-1",
        "products": [{"id": "part", "ideal_cycle_s": 5}],
        "units": [dict(each.fields) for each in source.units],
    }
    return Plant.model_validate(
        {
            "company": {"id": "acme", "name": "Acme"},
            "site": "north",
            "time_zone": "Asia/Kolkata",
            "sources": [dict(source.fields)],
            "areas": [{"name": "hall", "lines": [line]}],
        }
    )


async def tried(url: str, plant: Plant, send: Callable[[paho.Client], None]) -> Trial:
    found: list[Trial] = []

    async def listen() -> None:
        [model] = plant.sources
        found.extend([each async for each in try_out(plant, model, SETTINGS, 1.0)])

    await while_sending(url, send, listen())
    return found[-1]


def plain_machines(root: str) -> Callable[[paho.Client], None]:
    count = 0

    def send(client: paho.Client) -> None:
        nonlocal count
        count += random.randint(0, 3)  # what rises evenly is a sign of life, no count
        local = (datetime.now(UTC) + timedelta(hours=5, minutes=30)).isoformat()[:23]
        state = {"time": local, "good_count": count, "temperature_C": 21.5, "state": "running"}
        for name in ("press", "Öfen 2"):
            client.publish(f"{root}/{name}/state", json.dumps(state))
        client.publish(f"tele/{root}/SENSOR", json.dumps({"Time": local, "ENERGY": {"Power": 5}}))

    return send


async def test_topics_are_a_tree_with_what_each_brings(mosquitto: str) -> None:
    root = f"tree-{time.time_ns()}"

    def send(client: paho.Client) -> None:
        plain_machines(root)(client)
        client.publish(f"{root}/scale/weight", "12.5")
        client.publish(f"{root}/plc/frame", bytes((0xFF, 0xFE, 3, 4)))

    sightings = await heard(mosquitto, send, (f"{root}/#", f"tele/{root}/#"))
    tree = tree_of(sightings)
    press = level(tree, f"{root}/press/state")
    assert press.seen is not None and press.seen.payload == "json" and press.seen.rate > 5
    assert press.seen.last.startswith('{"time": ') and len(press.seen.last) <= 200
    assert level(tree, root).messages == sum(each.messages for each in level(tree, root).below)
    tasmota = level(tree, f"tele/{root}/SENSOR").seen
    assert tasmota is not None and tasmota.fits[0] == "tasmota" and "json" in tasmota.fits
    assert "tele/{unit}/#" in tasmota.why
    weight = level(tree, f"{root}/scale/weight").seen
    assert weight is not None and (weight.payload, weight.last) == ("bare", "12.5")
    frame = level(tree, f"{root}/plc/frame").seen
    assert frame is not None and (frame.payload, frame.last) == ("raw", "ff fe 03 04")
    assert json.loads(json.dumps(tree.as_json()))["messages"] == sightings.messages
    assert f"{root}/plc/frame" in proposed(sightings, mosquitto).left_out


async def test_plain_machines_are_proposed_and_the_proposal_brings_their_values(
    mosquitto: str,
) -> None:
    root = f"plain-{time.time_ns()}"
    send = plain_machines(root)
    sightings = await heard(mosquitto, send, (f"{root}/#", f"tele/{root}/#"))
    [source] = proposed(sightings, mosquitto).sources
    entries = source.fields["topics"]
    assert entries == [{"payload": "tasmota"}, {"topic": f"{root}/{{unit}}/state"}]
    assert source.fields["time_zone"] == "Asia/Kolkata"
    plant = plant_of(source)
    units = {each.model.address or each.model.name: each for each in plant.units()}
    assert units.keys() == {"press", "Öfen 2", root}
    signals = {each.fields["name"]: each for unit in source.units for each in unit.signals}
    assert signals["good_count"].fields["role"] == "good_count"
    assert signals["temperature_C"].fields["unit"] == "Cel"
    assert signals["state"].fields["role"] == "state" and signals["state"].proposal.why
    before = counted.MESSAGES.labels(plant.sources[0].key)._value.get()
    trial = await tried(mosquitto, plant, send)
    assert not trial.silent and not trial.rejects and not trial.discovered, trial
    path = "acme/north/hall/line-1/press/temperature_C"
    assert trial.newest[path].value == 21.5
    assert abs(trial.newest[path].time - time.time() * 1e6) < 30e6
    assert counted.MESSAGES.labels(plant.sources[0].key)._value.get() == before


async def test_a_trial_shows_what_is_refused_unknown_and_silent(mosquitto: str) -> None:
    root = f"trial-{time.time_ns()}"
    unit = {
        "name": "press",
        "source": "found",
        "signals": [{"name": "count", "type": "int64"}, {"name": "never"}],
    }
    fields = {"id": "found", "kind": "mqtt", "url": mosquitto, "topic": f"{root}/{{unit}}/state"}
    plant = Plant.model_validate(
        {
            "company": {"id": "acme", "name": "Acme"},
            "site": "north",
            "time_zone": "UTC",
            "sources": [fields],
            "areas": [
                {
                    "name": "hall",
                    "lines": [
                        {
                            "name": "line-1",
                            "products": [{"id": "part", "ideal_cycle_s": 5}],
                            "units": [unit],
                        }
                    ],
                }
            ],
        }
    )

    def send(client: paho.Client) -> None:
        client.publish(f"{root}/press/state", '{"count": "many", "other": 1}')
        client.publish(f"{root}/press/state", "no JSON")

    trial = await tried(mosquitto, plant, send)
    base = "acme/north/hall/line-1/press"
    assert trial.silent == {f"{base}/count", f"{base}/never"}
    assert set(trial.discovered) == {f"{base}/other"} and not trial.newest
    assert {each.error_class for each in trial.rejects} == {"type", "unreadable"}
    assert any("not JSON" in each.reason for each in trial.rejects)


async def test_a_foreign_edge_node_is_proposed_by_its_birth(mosquitto: str) -> None:
    group = f"Found{time.time_ns()}"
    async with (
        foreign_node("sparkplug-client", mosquitto, group) as node,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(_later(node))
        sightings = await heard(
            mosquitto, lambda _: None, (f"spBv1.0/{group}/#",), kind="sparkplug"
        )
        assert sightings.machines, "it was not asked for its birth"
        tree = tree_of(sightings)
        birth = level(tree, f"spBv1.0/{group}/DBIRTH/E1/press")
        assert any(each.name == "Force" for each in birth.metrics), birth.metrics
        assert birth.seen is not None and birth.seen.payload == "sparkplug"
        [source] = proposed(sightings, mosquitto).sources
        assert (source.fields["kind"], source.fields["group"]) == ("sparkplug", group)
        plant = plant_of(source)
        press = next(each for each in plant.units() if each.model.address == "E1/press")
        assert "Force" in {each.name for each in press.model.signals}


async def _later(node: ForeignNode) -> None:
    for value in (5.0, 6.0):
        await asyncio.sleep(0.3)
        await node.do("data", value)
