"""What the control API asks of the MQTT gateway, at real brokers: looked at with a password, with
JSON that no standard knows and with Sparkplug, up to the plant file that its own trial takes."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import paho.mqtt.client as paho
import pytest

from aurelian.edge.control.connector import (
    Choice,
    FoundSource,
    KnownSource,
    Look,
    NotPossible,
    Planned,
    Row,
)
from aurelian.edge.control.pinned import pin
from aurelian.edge.ladder import Rung, Step, Verdict
from aurelian.local.connect_walk import NewSource, Place, plan_sources
from aurelian.model.plant import Plant
from aurelian.model.source_model import SourceModel
from mqtt_gateway.connect.connector import MqttConnector
from mqtt_gateway.settings import MqttGatewaySettings
from tests.peers.certificates import authority, make
from tests.peers.foreign_edge_nodes import ForeignNode, foreign_node
from tests.peers.secured_mosquitto import PASSWORD, USER, secured_mosquitto

pytestmark = pytest.mark.mosquitto
_PLACE = Place("acme", "north", "UTC", "hall", "line-1")


@pytest.fixture
def connector() -> MqttConnector:
    return MqttConnector(MqttGatewaySettings(gateway="connector", mqtt_timeout_s=4))


def model_of(url: str, **more: object) -> SourceModel:
    return SourceModel.model_validate({"id": "broker", "kind": "mqtt", "url": url} | more)


@asynccontextmanager
async def sending(
    port: int, send: Callable[[paho.Client], None], user: str = "", password: str = ""
) -> AsyncIterator[None]:
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    if user:
        client.username_pw_set(user, password)
    client.connect("127.0.0.1", port)
    client.loop_start()

    async def keep_sending() -> None:
        while True:
            send(client)
            await asyncio.sleep(0.05)

    task = asyncio.create_task(keep_sending())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        client.disconnect()
        client.loop_stop()


async def looked(
    connector: MqttConnector,
    model: SourceModel,
    *choose: str,
    known: tuple[Plant, ...] = (),
    leave_out: tuple[str, ...] = (),
    seconds: float = 1.2,
) -> Look:
    there = KnownSource.of(known)
    found = [each async for each in connector.look(model, there, choose, leave_out, seconds)]
    assert len({id(each) for each in found}) == 1 and len(found) > 1
    return found[-1]


def rows(source: FoundSource) -> dict[str, Row]:
    return {f"{each.unit}/{each.name}": each for each in source.rows}


def plant_of(folder: Path, planned: list[Planned]) -> Plant:
    """As the control API writes it."""
    new = [NewSource(each.fields, each.units) for each in planned]
    return plan_sources(folder, new, _PLACE).plant


def odd_machines(root: str) -> Callable[[paho.Client], None]:
    count = 0

    def send(client: paho.Client) -> None:
        nonlocal count
        count += random.randint(0, 3)
        state = {
            "hdr": {"seq": count},
            "vals": {"gutteile": count, "Öltemp [°C]": 60.5, "Zustand": 7},
            "list": [1, {"a": None}],
            "nan": float("nan"),
            "big": 2**70,
        }
        client.publish(f"{root}/Presse 7/data", json.dumps(state))
        client.publish(f"{root}/oven/data", json.dumps(state))
        client.publish(f"{root}/noise/data", json.dumps(state))
        client.publish(f"{root}/plc/frame", b"\xff\xfe{")

    return send


async def test_a_look_with_a_password_and_odd_json_becomes_a_file_that_its_trial_takes(
    connector: MqttConnector, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text(PASSWORD)
    root = f"odd-{time.time_ns()}"
    with secured_mosquitto(tmp_path) as broker:
        port = broker.port["password"]
        url = f"mqtt://127.0.0.1:{port}"
        model = model_of(url, user=USER, password_file=str(tmp_path / "secret"))
        with pytest.raises(NotPossible) as refused:
            await looked(connector, model_of(url), f"{root}/#")
        assert refused.value.step and PASSWORD not in str(refused.value)
        with pytest.raises(NotPossible, match="nothing came on"):
            await looked(connector, model, f"{root}/#", seconds=0.5)
        async with sending(port, odd_machines(root), USER, PASSWORD):
            look = await looked(connector, model, f"{root}/#", leave_out=(f"{root}/noise/#",))
            [source] = look.sources
            found = rows(source)
            units = {each.unit for each in source.rows}
            assert units == {"Presse-7", "oven"}
            assert not source.known_as and source.fields["user"] == USER
            assert PASSWORD not in repr(source.fields) and "password_file" in source.fields
            json.dumps([asdict(each) for each in source.rows], allow_nan=False)
            state = next(each for name, each in found.items() if name == "oven/vals.Zustand")
            assert (state.value, state.quality) == (7, "good") and state.question is not None
            assert state.question["key"] == "7" and "oven" in str(state.question["text"])
            counts = found["oven/vals.gutteile"]
            assert counts.role == "good_count" and counts.why and counts.changes > 3

            choice = Choice(
                frozenset({state.id, counts.id}), {state.id: {"7": "down"}}, "hall", "line-1"
            )
            [planned] = connector.plan(look, choice)
            [(area, line, unit)] = planned.units
            assert (area, line, unit["name"]) == ("hall", "line-1", "oven")
            plant = plant_of(tmp_path / "plant", [planned])
            signals = {each.name: each for one in plant.units() for each in one.model.signals}
            assert signals["vals.Zustand"].states == {"7": "down"}
            assert signals["vals.gutteile"].role.value == "good_count"
            [by_then] = [each async for each in connector.dry_run(plant, plant.sources[0], 1.0)][
                -1:
            ]
            json.dumps(by_then, allow_nan=False)
            path = "acme/north/hall/line-1/oven/vals.Zustand"
            of = by_then["signals"][path]  # type: ignore[index]
            assert of["value"] == 7 and of["samples"] > 3 and not of["rejects"]

            again = await looked(connector, model, f"{root}/#", known=(plant,), seconds=0.6)
            [source] = again.sources
            assert source.known_as == "acme/north/broker"
            assert PASSWORD not in repr(source.fields) and "password_file" not in source.fields
            found = rows(source)
            assert {each.unit: each.known_as for each in source.rows} == {
                "oven": "acme/north/hall/line-1/oven", "Presse-7": "", "noise": "",
            }  # fmt: skip
            assert found["oven/vals.Zustand"].question is None
            assert "without this signal" in found["oven/hdr.seq"].why[0]
            with pytest.raises(NotPossible, match="oven is connected already, as acme"):
                connector.plan(again, Choice(frozenset({found["oven/vals.Zustand"].id})))
            [planned] = connector.plan(again, Choice())
            assert planned.known_as == "acme/north/broker"
            assert {str(unit["name"]) for _, _, unit in planned.units} == {"Presse-7", "noise"}
            with pytest.raises(NotPossible, match="has no row"):
                connector.plan(again, Choice(frozenset({"no"})))


async def test_a_ladder_that_names_no_payload_takes_any(
    connector: MqttConnector, mosquitto: str
) -> None:
    """Bare values alone are no fault; a topic with JSON and others is told as the look tells it."""
    root, count = f"any-{time.time_ns()}", 0

    def send(client: paho.Client) -> None:
        nonlocal count
        count += 1
        client.publish(f"{root}/scale/weight", "offline" if count % 5 == 0 else f"{count}.5")
        if not count % 2:
            client.publish(f"{root}x/press/data", b'{"force": 5}' if count % 4 else b"NO SIGNAL")

    async def values(*filters: str) -> Step:
        topics = [{"topic": each} for each in filters]
        async for step in connector.climb(model_of(mosquitto, topics=topics)):
            if step.rung is Rung.VALUES:
                return step
        raise AssertionError("no values")

    async with sending(int(mosquitto.rpartition(":")[2]), send):
        step = await values(f"{root}/#")
        assert step.verdict is Verdict.PASSED and "messages came in" in step.said
        step = await values(f"{root}/#", f"{root}x/#")
        assert (step.verdict, step.code) == (Verdict.WARNING, "E1755")
        assert f"the first on {root}x/press/data: not JSON" in step.said
        look = await looked(connector, model_of(mosquitto), f"{root}/#", f"{root}x/#")
    said = "\n".join(each.said for each in look.sources)
    assert f"{root}x/press/data: " in said and "payloads cannot be read (not JSON" in said
    found = {name: each for source in look.sources for name, each in rows(source).items()}
    assert found.keys() == {"scale/weight", "press/force"}


async def test_each_row_has_states_of_its_own_where_machines_share_a_name(
    connector: MqttConnector, mosquitto: str, tmp_path: Path
) -> None:
    root, places = f"two-{time.time_ns()}", ("press", "north/l1/press", "south/l2/press")

    def send(client: paho.Client) -> None:
        for place in places:
            client.publish(f"{root}/{place}/state", json.dumps({"state": 3}))

    async with sending(int(mosquitto.rpartition(":")[2]), send):
        look = await looked(connector, model_of(mosquitto), f"{root}/#")
    assert len(look.sources) == 2
    asked = [each for source in look.sources for each in source.rows if each.question]
    words = ("running", "down", "setup")
    said = {each.id: {"3": state} for each, state in zip(asked, words, strict=True)}
    planned = connector.plan(look, Choice(states=said, area="hall", line="l9"))
    assert [each.fields["id"] for each in planned] == ["broker", "broker-2"]
    plant = plant_of(tmp_path, planned)
    meant = {one.path: one.model.signals[0].states for one in plant.units()}
    assert meant.keys() == {
        f"acme/north/{each}" for each in ("hall/l9/press", "north/l1/press", "south/l2/press")
    }
    assert {each["3"] for each in meant.values() if isinstance(each, dict)} == set(words)
    assert {each.path for each in asked} == {f"{each}/state" for each in places}
    assert (
        meant["acme/north/hall/l9/press"]
        == said[next(each.id for each in asked if each.path == "press/state")]
    )


async def test_a_sparkplug_node_is_asked_for_its_birth_also_by_a_look_at_all_topics(
    connector: MqttConnector, mosquitto: str, tmp_path: Path
) -> None:
    group = f"Found{time.time_ns()}"
    plain = model_of(mosquitto)
    grouped = SourceModel(id="broker", kind="sparkplug", url=mosquitto, group=group)
    async with (
        foreign_node("sparkplug-client", mosquitto, group) as node,
        asyncio.TaskGroup() as tasks,
    ):
        sends = tasks.create_task(_keeps_sending(node))
        for model, choose in ((plain, (f"spBv1.0/{group}/#",)), (grouped, ())):
            look = await looked(connector, model, *choose, seconds=2.0)
            [source] = look.sources
            assert (source.fields["kind"], source.fields["group"]) == ("sparkplug", group)
            force = next(each for each in source.rows if each.path == "E1/press/Force")
            assert isinstance(force.value, float) and force.quality == "good"
            folder = tmp_path / model.kind
            plant = plant_of(folder, connector.plan(look, Choice()))
            assert plant.sources[0].group == group
        with pytest.raises(NotPossible):
            await looked(connector, grouped, leave_out=("spBv1.0/#",))
        sends.cancel()


async def _keeps_sending(node: ForeignNode) -> None:
    value = 5.0
    while True:
        value += 1.0
        await node.do("data", value)
        await asyncio.sleep(0.3)


async def test_a_certificate_that_nobody_signed_is_pinned_by_the_ladders_own_facts(
    connector: MqttConnector, tmp_path: Path
) -> None:
    own = make("itself", uris=(), hosts=("127.0.0.1",))
    with secured_mosquitto(tmp_path, certificate=own, issuer=authority("x")) as broker:
        url = f"mqtts://127.0.0.1:{broker.port['tls']}"

        async def climbed(**more: object) -> list[Step]:
            steps = []
            async for each in connector.climb(model_of(url, **more)):
                steps.append(each)
                if each.rung is Rung.SUBSCRIBE:
                    break  # nothing is sent here
            return steps

        failed = (await climbed())[-1]
        assert failed.rung is Rung.CERTIFICATE and failed.code == "E1452"
        sha256, pem = failed.facts["sha256"].replace(":", "").lower(), failed.facts["pem"]
        with pytest.raises(NotPossible) as error:
            connector.trust(sha256)
        assert "ca_file" in error.value.step and not connector.certificates()
        folder = tmp_path / "secrets"
        other = make("other", uris=(), hosts=("127.0.0.1",)).pem.decode()
        for wrong in (
            (sha256, other),
            (sha256, pem + other),
            (sha256, "no certificate"),
            (sha256[:63], pem),
            ("../" + sha256[3:], pem),
        ):
            with pytest.raises(NotPossible):
                pin(folder, *wrong)
        assert not folder.exists()
        subject, file = pin(folder, sha256, pem)
        assert pin(folder, sha256, pem) == (subject, file) and subject == "CN=itself"
        steps = await climbed(tls={"ca_file": str(file)})
    certificate = next(each for each in steps if each.rung is Rung.CERTIFICATE)
    assert certificate.verdict is Verdict.PASSED
    assert any(each.rung is Rung.SUBSCRIBE for each in steps)
