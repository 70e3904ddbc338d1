"""The pilot plant as other programs see it: an OPC UA client, MQTT subscribers, the control API, a
replayed file."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from asyncua import Client, ua

import pilot_factory
from aurelian.model.plant import Plant
from aurelian.model.plant_file import load_plants
from aurelian.pb import sparkplug_b_pb2 as spb
from aurelian.runtime.health import Health
from pilot_factory.factory import Factory
from pilot_factory.faults import Fault, FaultKind
from pilot_factory.mqtt_link import MqttLink, connect
from pilot_factory.opcua_server import OpcuaOutlet
from pilot_factory.recording import plant_model, read_recording
from pilot_factory.replay import replay
from pilot_factory.settings import PilotSettings
from tests import servers
from tests.waiting import until

PLANTS = Path(pilot_factory.__file__).parent / "plants"
RECORDING = Path(__file__).parents[2] / "fixtures" / "small_recording.csv"
CNC_2 = "pilot-a/north/machining/line-1/cnc-2"
CARTONER = "pilot-a/north/packing/line-2/cartoner-1"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PRESS = "pilot-b/south/assembly/line-1/press-1"


def load(monkeypatch: pytest.MonkeyPatch, mqtt_url: str) -> list[Plant]:
    monkeypatch.setenv("AURELIAN_MQTT_URL", mqtt_url)
    return load_plants(PLANTS)


def load_lines_without_opcua(monkeypatch: pytest.MonkeyPatch, mqtt_url: str) -> list[Plant]:
    """The pilot plants without the line that needs a second for its OPC UA server."""
    first, second = load(monkeypatch, mqtt_url)
    return [first.model_copy(update={"areas": first.areas[1:]}), second]


@asynccontextmanager
async def running(plants: list[Plant], state: Path, **settings: Any) -> AsyncIterator[Factory]:
    """The pilot plant on free ports, ten steps a second, faster than life."""
    values = {
        "pilot_step_s": 0.1,
        "pilot_speed": 5.0,
        "pilot_retry_s": 0.2,
        "pilot_host": "",
        "pilot_opcua_port": servers.ports.any_free(),
    } | settings
    factory = Factory(
        plants,
        PilotSettings(
            state=state,
            pilot_control_port=servers.ports.any_free(),
            pilot_send_log=True,
            **values,
        ),
    )
    task = asyncio.create_task(factory.run(Health("pilot_factory")), name="pilot plant")
    try:
        outlet = factory.outlets.get("pilot-a/north/pilot-a-opcua")
        if isinstance(outlet, OpcuaOutlet):
            listening = outlet.listening
            await until(lambda: task.done() or listening.is_set(), "the OPC UA server", 60)
        port = factory.settings.pilot_control_port
        await until(lambda: task.done() or servers.ports.accepts(port), "the control API")
        yield factory
    finally:
        task.cancel()
        await asyncio.wait({task}, timeout=3)
        assert task.done(), "the pilot plant did not end within 3 s"
        factory.close()
    assert task.cancelled(), task.exception()


def sent_by(state: Path, source: str) -> list[dict[str, Any]]:
    site = "pilot-a~north" if source.startswith("pilot-a") else "pilot-b~south"
    text = (state / "sendlog" / f"{site}~{source}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


@dataclass
class Seen:
    """A subscription handler that keeps (node id, value, source time in µs, status) of each
    notification."""

    values: list[tuple[str, object, int, int]] = field(default_factory=list)

    def datachange_notification(self, node: Any, value: object, data: Any) -> None:
        found = data.monitored_item.Value
        microseconds = (found.SourceTimestamp - EPOCH) // timedelta(microseconds=1)
        self.values.append((node.nodeid.Identifier, value, microseconds, found.StatusCode.value))


async def subscribe(
    client: Client, identifiers: list[str], seen: Seen, queue_size: int = 1000
) -> None:
    """Watch nodes of the last registered namespace, every new source time counts."""
    namespaces = await client.get_namespace_array()
    nodes = [client.get_node(ua.NodeId(each, len(namespaces) - 1)) for each in identifiers]
    subscription = await client.create_subscription(50, seen)
    await subscription.subscribe_data_change(
        nodes,
        queuesize=queue_size,
        sampling_interval=0,
    )


async def test_an_opcua_client_sees_values_as_logged_until_and_after_a_pulled_cable(
    mqtt_broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(load(monkeypatch, mqtt_broker), tmp_path) as factory:
        seen = Seen()
        async with Client(f"opc.tcp://127.0.0.1:{factory.settings.pilot_opcua_port}") as client:
            assert "urn:aurelian:pilot" in await client.get_namespace_array()
            await subscribe(client, ["cnc-2.vibration", "cnc-2.good", "cnc-2.product"], seen)
            await until(lambda: len(seen.values) > 15, "values")
        logged = {
            (
                e["path"].removeprefix("pilot-a/north/machining/line-1/").replace("/", "."),
                e["value"],
                e["source_time"],
            )
            for e in sent_by(tmp_path, "pilot-a-opcua")
        }
        assert {(name, value, time) for name, value, time, _ in seen.values} <= logged
        assert ("cnc-2.product", "shaft-40") in {(name, value) for name, value, _, _ in seen.values}

        port = factory.settings.pilot_opcua_port or 0
        _, unit, machine = factory.find(CNC_2) or pytest.fail("no such unit")
        factory.begin_fault(Fault(unit, FaultKind.CABLE, 60, 1), machine)
        await until(lambda: not servers.ports.accepts(port), "silence")
        assert factory.faults.end(CNC_2) == 1
        await until(lambda: servers.ports.accepts(port), "the server's return")


async def test_the_control_api_stops_machines_and_names_what_is_wrong(
    mqtt_broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(load_lines_without_opcua(monkeypatch, mqtt_broker), tmp_path) as factory:
        url = f"http://127.0.0.1:{factory.settings.pilot_control_port}"
        async with httpx.AsyncClient(base_url=url) as control:
            assert (await control.get("/healthy")).json() == {"healthy": True}

            async def state_of(path: str) -> tuple[str, str]:
                units = (await control.get("/units")).json()
                return next((u["state"], u["reason"]) for u in units if u["unit"] == path)

            body = {"unit": CARTONER, "fault": "stop", "seconds": 60}
            assert (await control.post("/faults", json=body)).json()["unit"] == CARTONER
            stopped = ("stopped", "stopped_by_hand")
            await until(lambda: _is(state_of(CARTONER), stopped), "the stop")
            await control.delete("/faults", params={"unit": CARTONER})
            await until(lambda: _is_not(state_of(CARTONER), stopped), "the end of the stop")
            assert (await control.get("/faults")).json() == []

            wear = {"unit": PRESS, "fault": "wear", "factor": 5000}
            assert (await control.post("/faults", json=wear)).status_code == 201
            await until(
                lambda: _is(state_of(PRESS), ("aborted", "bearing_failure")), "the bearing's end"
            )

            unknown = await control.post("/faults", json=body | {"unit": "no/such/unit"})
            assert unknown.status_code == 404 and "no/such/unit" in unknown.json()["detail"]
            assert unknown.headers["content-type"].startswith("application/problem+json")
            assert (await control.post("/faults", json=body | {"seconds": -1})).status_code == 422


async def _is(answer: Any, wanted: object) -> bool:
    return bool(await answer == wanted)


async def _is_not(answer: Any, wanted: object) -> bool:
    return bool(await answer != wanted)


class Host:
    """Reads what an edge node says, as a host application does."""

    def __init__(self, link: MqttLink) -> None:
        self.link = link
        self.messages: list[tuple[str, str, spb.Payload]] = []

    async def read_until(self, condition: Callable[[], bool], what: str) -> None:
        async with asyncio.timeout(10):
            while not condition():
                topic, body = await self.link.messages.get()
                kind, _, device = topic.removeprefix("spBv1.0/PilotA/").partition("/")
                self.messages.append((kind, device.partition("/")[2], spb.Payload.FromString(body)))

    def kinds(self) -> list[str]:
        return [kind for kind, _, _ in self.messages]


def data_topics(url: str, name: str) -> Any:
    filters = [(f"spBv1.0/PilotA/{kind}/#", 1) for kind in ("NBIRTH", "NDEATH", "DBIRTH", "DDATA")]
    return connect(url, name, subscriptions=filters)


async def test_the_edge_node_is_born_speaks_by_alias_and_is_born_again_when_asked(
    mqtt_broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with data_topics(mqtt_broker, "host-1") as link:
        host = Host(link)
        async with running(load_lines_without_opcua(monkeypatch, mqtt_broker), tmp_path):
            await host.read_until(lambda: host.kinds().count("DDATA") > 4, "data")
            kinds = host.kinds()
            assert kinds[:5] == ["NBIRTH", *["DBIRTH"] * 4]
            numbers = [payload.seq for _, _, payload in host.messages]
            assert numbers == list(range(len(numbers)))
            births = {device: p for kind, device, p in host.messages if kind == "DBIRTH"}
            assert set(births) == {"erector-1", "cartoner-1", "weigher-1", "palletizer-1"}
            by_name = {metric.name: metric for metric in births["cartoner-1"].metrics}
            assert (
                by_name["product"].string_value == "carton-12" and by_name["state"].long_value == 6
            )
            assert by_name["vibration"].properties.values[0].string_value == "mm/s"
            aliases = {m.alias: m.name for p in births.values() for m in p.metrics}
            assert len(aliases) == sum(len(p.metrics) for p in births.values())
            data = [p for kind, _, p in host.messages if kind == "DDATA"]
            assert all(m.alias in aliases and not m.name for p in data for m in p.metrics)

            ask = spb.Payload()
            ask.metrics.add(name="Node Control/Rebirth", datatype=11, boolean_value=True)
            link.publish("spBv1.0/PilotA/NCMD/Packaging", ask.SerializeToString())
            await host.read_until(lambda: host.kinds().count("NBIRTH") == 2, "the second birth")
            born = [p for kind, _, p in host.messages if kind == "NBIRTH"]
            assert [p.seq for p in born] == [0, 0]
            assert born[0].metrics[0].long_value == born[1].metrics[0].long_value == 0
        await host.read_until(lambda: host.kinds()[-1] == "NDEATH", "the death at the end")


async def test_a_pulled_cable_lets_the_broker_publish_the_will_and_the_next_birth_counts_on(
    mqtt_broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with data_topics(mqtt_broker, "host-2") as link:
        host = Host(link)
        async with running(load_lines_without_opcua(monkeypatch, mqtt_broker), tmp_path) as factory:
            await host.read_until(lambda: "DDATA" in host.kinds(), "data")
            _, unit, machine = factory.find(CARTONER) or pytest.fail("no such unit")
            factory.begin_fault(Fault(unit, FaultKind.CABLE, 60, 1), machine)
            await host.read_until(lambda: host.kinds()[-1] == "NDEATH", "the will")
            first, death = host.messages[0][2], host.messages[-1][2]
            assert death.metrics[0].name == "bdSeq" and not death.HasField("seq")
            assert death.metrics[0].long_value == first.metrics[0].long_value
            factory.faults.end()
            since = len(host.messages)
            await host.read_until(lambda: "DDATA" in host.kinds()[since:], "data again")
            again = [p for kind, _, p in host.messages[since:] if kind == "NBIRTH"]
            assert again[0].metrics[0].long_value == death.metrics[0].long_value + 1
            kept = [m for kind, _, p in host.messages[since:] if kind == "DDATA" for m in p.metrics]
            assert any(m.is_historical for m in kept), "what happened meanwhile comes as historical"


async def test_the_edge_node_waits_for_its_host_and_dies_with_it(
    mqtt_broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def state(online: bool, timestamp: int) -> bytes:
        return json.dumps({"online": online, "timestamp": timestamp}).encode()

    async with data_topics(mqtt_broker, "host-3") as link:
        host = Host(link)
        async with running(
            load_lines_without_opcua(monkeypatch, mqtt_broker), tmp_path, pilot_host="our-host"
        ) as factory:
            outlet = factory.outlets["pilot-a/north/pilot-a-spb"]
            link.publish("spBv1.0/STATE/other-host", state(True, 1000), retain=True)
            await until(
                lambda: bool(sent_by(tmp_path, "pilot-b-json")),
                "the JSON machines, which wait for nobody",
            )
            assert not outlet.online.is_set() and link.messages.empty()  # type: ignore[attr-defined]
            link.publish("spBv1.0/STATE/our-host", state(True, 2000), retain=True)
            await host.read_until(lambda: "DDATA" in host.kinds(), "data")
            assert host.kinds()[0] == "NBIRTH"
            link.publish("spBv1.0/STATE/our-host", state(False, 1999))
            link.publish("spBv1.0/STATE/our-host", state(False, 2001), retain=True)
            await host.read_until(lambda: host.kinds()[-1] == "NDEATH", "the death")
        for name in ("our-host", "other-host"):
            link.publish(f"spBv1.0/STATE/{name}", b"", retain=True, qos=1)
        await until(link_is_idle(link), "the clean-up")


def link_is_idle(link: MqttLink) -> Callable[[], bool]:
    return lambda: not link._client.want_write()


async def test_json_machines_send_everything_and_one_alone_can_fall_silent(
    mqtt_broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connect(mqtt_broker, "reader", subscriptions=[("pilot-b/+/state", 1)]) as link:
        async with running(load_lines_without_opcua(monkeypatch, mqtt_broker), tmp_path) as factory:
            async with asyncio.timeout(10):
                topic, body = await link.messages.get()
            message = json.loads(body)
            assert topic in {f"pilot-b/{unit}/state" for unit in ("press-1", "weld-1", "test-1")}
            assert set(message) == {"ts", "fields"} and len(message["fields"]) >= 10
            assert message["fields"]["product"] == "bracket-a" and message["fields"]["state"] == 6

            _, unit, machine = factory.find(PRESS) or pytest.fail("no such unit")
            factory.begin_fault(Fault(unit, FaultKind.CABLE, 60, 1), machine)
            heard = []
            async with asyncio.timeout(10):
                while heard.count("pilot-b/weld-1/state") < 12:
                    heard.append((await link.messages.get())[0])
            last_of_press = max((i for i, t in enumerate(heard) if "press-1" in t), default=-1)
            assert heard[last_of_press + 1 :].count("pilot-b/weld-1/state") >= 8


@pytest.mark.mosquitto
async def test_a_broker_that_is_away_stops_only_its_own_part_and_is_found_when_it_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = servers.ports.any_free()
    plants = load(monkeypatch, f"mqtt://127.0.0.1:{port}")
    async with running(plants, tmp_path) as factory:
        assert servers.ports.accepts(factory.settings.pilot_opcua_port or 0)
        before = len(sent_by(tmp_path, "pilot-a-opcua"))
        await until(lambda: len(sent_by(tmp_path, "pilot-a-opcua")) > before, "more OPC UA values")
        assert sent_by(tmp_path, "pilot-b-json") == []
        with servers.mosquitto_broker(port):
            await until(lambda: bool(sent_by(tmp_path, "pilot-b-json")), "the JSON machines")
            await until(lambda: bool(sent_by(tmp_path, "pilot-a-spb")), "the edge node")


async def test_every_row_of_a_recording_reaches_an_opcua_client_value_for_value(
    tmp_path: Path,
) -> None:
    recording = read_recording(RECORDING)
    expected = {
        (f"machine.{column.name}", value, row.time)
        for row in recording.rows
        for column, value, _ in row.values
    }
    port = servers.ports.any_free()
    task = asyncio.create_task(
        replay(RECORDING, "opcua", 0, port=port, send_log=tmp_path), name="replay"
    )
    await until(lambda: task.done() or servers.ports.accepts(port), "the server")
    seen = Seen()
    async with Client(f"opc.tcp://127.0.0.1:{port}") as client:
        await subscribe_with_time(client, [f"machine.{c.name}" for c in recording.columns], seen, 7)
        async with asyncio.timeout(20):
            assert await task == recording.values
    assert {(name, value, time) for name, value, time, _ in seen.values} == expected
    assert (
        len((tmp_path / "replay-small_recording.jsonl").read_text().splitlines())
        == recording.values
    )


async def subscribe_with_time(
    client: Client, identifiers: list[str], seen: Seen, queue_size: int
) -> None:
    """Watch nodes so that a new source time alone is a notification too, with small queues."""
    subscription = await client.create_subscription(20, seen)
    index = await client.get_namespace_index("urn:aurelian:replay")
    requests = []
    for handle, identifier in enumerate(identifiers, start=1):
        request = ua.MonitoredItemCreateRequest()
        request.ItemToMonitor.NodeId = ua.NodeId(identifier, index)
        request.ItemToMonitor.AttributeId = ua.AttributeIds.Value
        request.MonitoringMode = ua.MonitoringMode.Reporting
        request.RequestedParameters.ClientHandle = handle
        request.RequestedParameters.SamplingInterval = 0
        request.RequestedParameters.QueueSize = queue_size
        request.RequestedParameters.Filter = ua.DataChangeFilter(
            Trigger=ua.DataChangeTrigger.StatusValueTimestamp
        )
        requests.append(request)
    results = await subscription.create_monitored_items(requests)
    assert all(isinstance(result, int) for result in results), results


async def test_every_row_of_a_recording_is_published_once_somebody_listens(
    mqtt_broker: str, tmp_path: Path
) -> None:
    recording = read_recording(RECORDING)
    found: dict[int, dict[str, object]] = {}
    topic = [("replay/small_recording/machine", 1)]
    async with connect(mqtt_broker, "listener", subscriptions=topic) as link:
        task = asyncio.create_task(
            replay(RECORDING, "mqtt", 0, mqtt_url=mqtt_broker), name="replay"
        )
        async with asyncio.timeout(20):
            while len(found) < len(recording.rows):
                message = json.loads((await link.messages.get())[1])
                found[message["ts"] * 1000] = message["fields"]
            assert await task == recording.values
    assert found == {
        row.time: {c.name: value for c, value, _ in row.values} for row in recording.rows
    }


def test_the_plant_model_of_a_recording_is_valid_and_names_its_columns(tmp_path: Path) -> None:
    recording = read_recording(RECORDING)
    for kind, url in (("opcua", "opc.tcp://127.0.0.1:4841"), ("mqtt", "mqtt://127.0.0.1:1883")):
        (tmp_path / f"{kind}.yaml").write_text(plant_model(recording, kind, url))
        (plant,) = load_plants(tmp_path)
        (unit,) = plant.units()
        assert [s.path for s in unit.signals()] == [recording.path(c) for c in recording.columns]
        assert [s.type for s in unit.signals()] == [c.type for c in recording.columns]
        (tmp_path / f"{kind}.yaml").unlink()
