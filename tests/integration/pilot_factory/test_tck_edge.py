"""The specification's assertions of an edge node (tck-id-…), on one life of the pilot plant's own
that a wire saw, on real Mosquitto. Each test's id is the assertion's; the MQTT gateway's
SPARKPLUG.md lists them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from aurelian.model.plant import Plant
from aurelian.model.time import now_us
from aurelian.pb import sparkplug_b_pb2 as pb
from pilot_factory.simulation import Measurement, SimulatedSignal
from pilot_factory.sparkplug_edge import SparkplugOutlet
from tests.integration.mqtt_gateway.test_mqtt_gateway import Peer
from tests.peers.mqtt_spy import CONNACK, DISCONNECT, PUBLISH, SUBSCRIBE, Message, Session, spying
from tests.waiting import until

pytestmark = pytest.mark.mosquitto

GROUP, NODE, DEVICES, HOST = "TckEdge", "E1", ("press", "oven"), "TckPrimary"
STATE = f"spBv1.0/STATE/{HOST}"
_SOON_MS = 1500


@dataclass(slots=True)
class Life:
    """What a wire saw of the edge node.

    Attributes:
        rebirth_at: how many messages it had published when a rebirth was asked for.
        noted: when something happened, milliseconds since 1970.
    """

    sessions: list[Session] = field(default_factory=list)
    rebirth_at: int = 0
    noted: dict[str, int] = field(default_factory=dict)


def make_plant(url: str) -> Plant:
    signals = [
        {"name": "heat", "unit": "Cel"},
        {"name": "parts", "type": "int64"},
        {"name": "on", "type": "bool"},
    ]
    units = [{"name": each, "source": "spb", "signals": signals} for each in DEVICES]
    source = {"id": "spb", "kind": "sparkplug", "url": url, "group": GROUP, "edge_node": NODE}
    line = {"name": "l", "products": [{"id": "cup", "ideal_cycle_s": 2}], "units": units}
    return Plant.model_validate(
        {
            "company": {"id": "tck", "name": "TCK"},
            "site": "s",
            "time_zone": "UTC",
            "sources": [source],
            "areas": [{"name": "a", "lines": [line]}],
        }
    )


def now_ms() -> int:
    return now_us() // 1000


async def live(broker: str, folder: Path) -> Life:
    """From the first connection, without a host, to a clean stop."""
    life = Life()
    async with spying(broker) as spy:
        life.sessions = spy.sessions
        plant = make_plant(spy.url)
        signals = [
            SimulatedSignal(unit, model, signal, lambda *_: None, steady=False)
            for unit in plant.units()
            for signal, model in zip(unit.signals(), unit.model.signals, strict=True)
        ]
        outlet = SparkplugOutlet(plant.sources[0], signals, HOST, folder, None, retry_s=0.3)
        values = {"heat": 1.5, "parts": -5, "on": True}

        def measure(n: int) -> None:
            of = [signals[0], signals[4]] if n else signals
            outlet.put([Measurement(each, values[each.model.name], now_us() + n) for each in of])

        def published() -> int:
            return len(spy.sessions[-1].published())

        async def state(online: bool, timestamp: int) -> None:
            await host.send(
                STATE, json.dumps({"online": online, "timestamp": timestamp}), retain=True
            )

        with Peer(broker) as host:
            await state(False, 1)
            task = asyncio.create_task(outlet.run())
            try:
                measure(0)
                await until(lambda: len(spy.sessions) == 1, "a connection")
                await asyncio.sleep(0.4)
                assert not spy.sessions[0].published(), "it waits for its host"
                await host.send("spBv1.0/STATE/AnotherHost", '{"online": true, "timestamp": 9}')
                await host.send(f"spBv1.0/STATE/{HOST}X", '{"online": true, "timestamp": 9}')
                await asyncio.sleep(0.3)
                assert not spy.sessions[0].published(), "it waits for its own"
                life.noted["host"] = now_ms()
                await state(True, 1000)
                await until(lambda: published() == 3, "the births")
                for n in range(1, 130):  # over the turn of the numbers
                    measure(n)
                    await until(lambda n=n: published() >= 3 + 2 * n, "data")  # type: ignore[misc]
                life.rebirth_at = published()
                command = pb.Payload(timestamp=now_ms())
                command.metrics.add(name="Node Control/Rebirth", datatype=11, boolean_value=True)
                await host.send(f"spBv1.0/{GROUP}/NCMD/{NODE}", command.SerializeToString(), 0)
                await until(lambda: published() == life.rebirth_at + 3, "the rebirth")
                await state(False, 999)  # older than what the host said before
                await asyncio.sleep(0.3)
                assert len(spy.sessions) == 1 and published() == life.rebirth_at + 3
                life.noted["host is offline"] = now_ms()
                await state(False, 1000)
                await until(lambda: len(spy.sessions) == 2, "the next connection")
                # What the broker kept: before it is told, nobody knows what is older than that.
                kept = lambda: PUBLISH in spy.sessions[1].kinds(ours=False)  # noqa: E731
                await until(kept, "what the broker kept")
                await state(True, 999)  # older than what the broker kept
                await asyncio.sleep(0.3)
                life.noted["host again"] = now_ms()
                await state(True, 2000)
                await until(lambda: published() == 3, "the births")
                life.noted["stop"] = now_ms()
            finally:
                task.cancel()
                await asyncio.wait({task})
    return life


@pytest.fixture(scope="module")
def life(mosquitto: str, tmp_path_factory: pytest.TempPathFactory) -> Life:
    return asyncio.run(live(mosquitto, tmp_path_factory.mktemp("edge")))


def content(message: Message) -> pb.Payload:
    return pb.Payload.FromString(message.payload)


def kind(message: Message) -> str:
    return message.topic.split("/")[2]


def all_of(life: Life, *kinds: str) -> Iterator[Message]:
    found = [m for session in life.sessions for m in session.published() if kind(m) in kinds]
    assert found
    return iter(found)


def wills(life: Life) -> list[Message]:
    found = [session.connect.will for session in life.sessions]
    assert None not in found
    return [each for each in found if each is not None]


def bd_seq(payload: pb.Payload) -> int:
    (metric,) = (each for each in payload.metrics if each.name == "bdSeq")
    assert metric.datatype == 4 and metric.WhichOneof("value") == "long_value"
    return metric.long_value


def numbered(life: Life) -> list[list[Message]]:
    return [[m for m in s.published() if kind(m) != "NDEATH"] for s in life.sessions]


# What each assertion comes to.


def nbirth_has_its_topic(life: Life) -> None:
    assert {m.topic for m in all_of(life, "NBIRTH")} == {f"spBv1.0/{GROUP}/NBIRTH/{NODE}"}


def births_are_qos_0_and_not_retained(life: Life) -> None:
    assert {(m.qos, m.retain) for m in all_of(life, "NBIRTH", "DBIRTH")} == {(0, False)}


def data_is_qos_0_and_not_retained(life: Life) -> None:
    assert {(m.qos, m.retain) for m in all_of(life, "DDATA")} == {(0, False)}


def nbirth_has_number_0(life: Life) -> None:
    assert [content(m).seq for m in all_of(life, "NBIRTH")] == [0, 0, 0]


def every_message_has_the_time_of_its_sending(life: Life) -> None:
    for message in all_of(life, "NBIRTH", "DBIRTH", "DDATA", "NDEATH"):
        assert abs(content(message).timestamp - message.at_ms) < _SOON_MS


def nbirth_has_the_wills_number(life: Life) -> None:
    for session, will in zip(life.sessions, wills(life), strict=True):
        births = [content(m) for m in session.published() if kind(m) == "NBIRTH"]
        assert {bd_seq(each) for each in births} == {bd_seq(content(will))}


def numbers_of_births_begin_at_0_and_count_connections(life: Life) -> None:
    assert [bd_seq(content(will)) for will in wills(life)] == [0, 1]


def rebirth_has_the_same_number(life: Life) -> None:
    first = [content(m) for m in life.sessions[0].published() if kind(m) == "NBIRTH"]
    assert [bd_seq(each) for each in first] == [0, 0]


def control(payload: pb.Payload) -> pb.Payload.Metric:
    (metric,) = (each for each in payload.metrics if each.name == "Node Control/Rebirth")
    return metric


def nbirth_offers_the_rebirth(life: Life) -> None:
    for message in all_of(life, "NBIRTH"):
        metric = control(content(message))
        assert metric.datatype == 11 and metric.WhichOneof("value") == "boolean_value"
        assert metric.boolean_value is False


def the_rebirth_has_no_alias(life: Life) -> None:
    for message in all_of(life, "NBIRTH"):
        assert not control(content(message)).HasField("alias")
    assert all(m.HasField("alias") for d in all_of(life, "DBIRTH") for m in content(d).metrics)


def dbirth_has_its_topic(life: Life) -> None:
    wanted = {f"spBv1.0/{GROUP}/DBIRTH/{NODE}/{device}" for device in DEVICES}
    assert {m.topic for m in all_of(life, "DBIRTH")} == wanted


def ddata_has_its_topic(life: Life) -> None:
    wanted = {f"spBv1.0/{GROUP}/DDATA/{NODE}/{device}" for device in DEVICES}
    assert {m.topic for m in all_of(life, "DDATA")} == wanted


def numbers_go_on_by_one(life: Life) -> None:
    """Also from 255 to 0, over births, data and a rebirth."""
    for messages in numbered(life):
        expected, turned = 0, False
        for message in messages:
            assert content(message).HasField("seq")
            if kind(message) == "NBIRTH":
                expected = 0
            assert content(message).seq == expected
            turned = turned or expected == 255
            expected = (expected + 1) % 256
        assert turned or messages is not numbered(life)[0]
    assert any(content(m).seq == 255 for m in numbered(life)[0])


def births_come_before_data(life: Life) -> None:
    """NBIRTH, then the birth of each device, then data; so at each connection and rebirth."""
    births = ["NBIRTH", *["DBIRTH"] * len(DEVICES)]
    for messages in numbered(life):
        kinds = [kind(m) for m in messages]
        assert kinds[:3] == births
        for n in (n for n, each in enumerate(kinds) if each == "NBIRTH"):
            assert kinds[n : n + 3] == births


def births_have_all_metrics_with_values(life: Life) -> None:
    """Name, type and value; what data bring later was born."""
    aliases = set()
    for message in all_of(life, "DBIRTH"):
        metrics = content(message).metrics
        assert [each.name for each in metrics] == ["heat", "parts", "on"]
        assert [each.datatype for each in metrics] == [10, 4, 11]
        assert all(each.WhichOneof("value") and not each.is_null for each in metrics)
        aliases |= {each.alias for each in metrics}
    for message in all_of(life, "DDATA"):
        assert {each.alias for each in content(message).metrics} <= aliases


def aliases_are_of_one_metric_each(life: Life) -> None:
    births = [m for m in life.sessions[1].published() if kind(m) == "DBIRTH"]
    aliases = [each.alias for message in births for each in content(message).metrics]
    assert len(aliases) == len(set(aliases)) == 6


def data_name_no_metric_and_no_type(life: Life) -> None:
    for message in all_of(life, "DDATA"):
        for metric in content(message).metrics:
            assert metric.HasField("alias")
            assert not metric.HasField("name") and not metric.HasField("datatype")


def metrics_have_times(life: Life) -> None:
    for message in all_of(life, "NBIRTH", "DBIRTH", "DDATA"):
        assert all(metric.timestamp > 0 for metric in content(message).metrics)


def metrics_have_times_of_now(life: Life) -> None:
    """UTC, milliseconds. The births after a rebirth repeat values of before."""
    for message in all_of(life, "DDATA"):
        for metric in content(message).metrics:
            assert abs(metric.timestamp - message.at_ms) < _SOON_MS


def metrics_of_births_have_names_and_aliases(life: Life) -> None:
    for message in all_of(life, "DBIRTH"):
        assert all(m.name and m.HasField("alias") for m in content(message).metrics)


def datatypes_are_the_specifications(life: Life) -> None:
    for message in all_of(life, "NBIRTH", "DBIRTH"):
        assert {each.datatype for each in content(message).metrics} <= set(range(1, 35))


def properties_have_a_type_and_a_value_for_each_key(life: Life) -> None:
    for message in all_of(life, "DBIRTH"):
        heat = content(message).metrics[0]
        assert list(heat.properties.keys) == ["engUnit"]
        (unit,) = heat.properties.values
        assert (unit.type, unit.string_value) == (12, "Cel")


def nbirth_has_all_metrics_of_the_node(life: Life) -> None:
    """It has none but those of the protocol, and sends no NDATA."""
    for message in all_of(life, "NBIRTH"):
        metrics = content(message).metrics
        assert [each.name for each in metrics] == ["bdSeq", "Node Control/Rebirth"]
        assert all(each.datatype and each.WhichOneof("value") for each in metrics)
    published = (m for session in life.sessions for m in session.published())
    assert "NDATA" not in {kind(m) for m in published}


def data_are_of_what_changed(life: Life) -> None:
    """Two signals were measured at each step; each is in its device's message, no other is."""
    data = list(all_of(life, "DDATA"))
    assert all(len(content(m).metrics) == 1 for m in data)


def values_are_in_order_of_time(life: Life) -> None:
    times: dict[int, int] = {}
    for message in life.sessions[0].published()[: life.rebirth_at]:
        for metric in content(message).metrics:
            if kind(message) in ("DBIRTH", "DDATA"):
                assert metric.timestamp >= times.get(metric.alias, 0)
                times[metric.alias] = metric.timestamp


def publishes_in_a_session(life: Life) -> None:
    """Nothing before the broker's CONNACK."""
    for session in life.sessions:
        kinds = [(each.kind, each.ours) for each in session.packets]
        assert kinds.index((CONNACK, False)) < kinds.index((PUBLISH, True))


def has_a_will(life: Life) -> None:
    assert len(wills(life)) == len(life.sessions) == 2


def will_has_its_topic(life: Life) -> None:
    assert {will.topic for will in wills(life)} == {f"spBv1.0/{GROUP}/NDEATH/{NODE}"}


def will_has_qos_1(life: Life) -> None:
    assert [will.qos for will in wills(life)] == [1, 1]


def will_is_not_retained(life: Life) -> None:
    assert [will.retain for will in wills(life)] == [False, False]


def death_has_its_number_alone(life: Life) -> None:
    for message in (*wills(life), *all_of(life, "NDEATH")):
        assert [each.name for each in content(message).metrics] == ["bdSeq"]
        bd_seq(content(message))


def death_has_no_sequence_number(life: Life) -> None:
    for message in (*wills(life), *all_of(life, "NDEATH")):
        assert not content(message).HasField("seq")


def death_has_its_births_number(life: Life) -> None:
    for session in life.sessions:
        last = session.published()[-1]
        birth = next(m for m in session.published() if kind(m) == "NBIRTH")
        assert kind(last) == "NDEATH" and bd_seq(content(last)) == bd_seq(content(birth))


def begins_clean(life: Life) -> None:
    for session in life.sessions:
        assert session.connect.level == 4 and session.connect.clean


def subscribes_to_commands_first(life: Life) -> None:
    for session in life.sessions:
        ours = session.kinds(ours=True)
        assert ours.index(SUBSCRIBE) < ours.index(PUBLISH)
        assert (f"spBv1.0/{GROUP}/NCMD/{NODE}", 1) in session.subscribed()


def subscribes_to_its_hosts_state(life: Life) -> None:
    assert all((STATE, 1) in session.subscribed() for session in life.sessions)


def waits_for_its_host(life: Life) -> None:
    """Nothing before its own host said that it is online; `live` looks too."""
    assert life.sessions[0].published()[0].at_ms >= life.noted["host"]


def takes_no_older_word_of_its_host(life: Life) -> None:
    assert life.sessions[1].published()[0].at_ms >= life.noted["host again"]


def dies_when_its_host_goes(life: Life) -> None:
    """NDEATH, DISCONNECT and a new connection; an older word of its host changes nothing."""
    first = life.sessions[0]
    assert kind(first.published()[-1]) == "NDEATH"
    waited = first.published()[-1].at_ms - life.noted["host is offline"]
    assert 0 <= waited < _SOON_MS
    assert first.kinds(ours=True)[-2:] == [PUBLISH, DISCONNECT]


def says_goodbye_before_it_disconnects(life: Life) -> None:
    assert kind(life.sessions[-1].published()[-1]) == "NDEATH"
    assert life.sessions[-1].kinds(ours=True)[-2:] == [PUBLISH, DISCONNECT]


def a_rebirth_is_all_births_and_nothing_between(life: Life) -> None:
    after = life.sessions[0].published()[life.rebirth_at : life.rebirth_at + 3]
    assert [kind(m) for m in after] == ["NBIRTH", "DBIRTH", "DBIRTH"]


def topics_have_the_namespace(life: Life) -> None:
    published = (m for session in life.sessions for m in session.published())
    assert {m.topic.split("/")[0] for m in published} == {"spBv1.0"}


def payloads_are_protobuf(life: Life) -> None:
    for message in (*wills(life), *all_of(life, "NBIRTH", "DBIRTH", "DDATA", "NDEATH")):
        assert content(message).timestamp > 0


Check = Callable[[Life], None]

_FLOW = "message-flow-edge-node-birth-publish-"
_DEVICE = "message-flow-device-birth-publish-"
_COMMANDS = "operational-behavior-data-commands-"
_DATA = "operational-behavior-data-publish-"

CHECKS: dict[str, Check] = {
    "principles-persistence-clean-session-311": begins_clean,
    "topics-nbirth-topic": nbirth_has_its_topic,
    "topics-nbirth-mqtt": births_are_qos_0_and_not_retained,
    "topics-nbirth-seq-num": nbirth_has_number_0,
    "topics-nbirth-timestamp": every_message_has_the_time_of_its_sending,
    "topics-nbirth-bdseq-included": nbirth_has_the_wills_number,
    "topics-nbirth-bdseq-matching": nbirth_has_the_wills_number,
    "topics-nbirth-bdseq-increment": numbers_of_births_begin_at_0_and_count_connections,
    "topics-nbirth-rebirth-metric": nbirth_offers_the_rebirth,
    "topics-ndeath-topic": will_has_its_topic,
    "topics-ndeath-payload": death_has_its_number_alone,
    "topics-ndeath-seq": death_has_no_sequence_number,
    "topics-dbirth-topic": dbirth_has_its_topic,
    "topics-dbirth-mqtt": births_are_qos_0_and_not_retained,
    "topics-dbirth-seq": numbers_go_on_by_one,
    "topics-dbirth-timestamp": every_message_has_the_time_of_its_sending,
    "topics-dbirth-metric-reqs": births_have_all_metrics_with_values,
    "topics-dbirth-metrics": births_have_all_metrics_with_values,
    "topics-ddata-topic": ddata_has_its_topic,
    "topics-ddata-mqtt": data_is_qos_0_and_not_retained,
    "topics-ddata-seq-num": numbers_go_on_by_one,
    "topics-ddata-timestamp": every_message_has_the_time_of_its_sending,
    "message-flow-edge-node-ncmd-subscribe": subscribes_to_commands_first,
    f"{_FLOW}will-message": has_a_will,
    f"{_FLOW}will-message-topic": will_has_its_topic,
    f"{_FLOW}will-message-payload": payloads_are_protobuf,
    f"{_FLOW}will-message-qos": will_has_qos_1,
    f"{_FLOW}will-message-will-retained": will_is_not_retained,
    f"{_FLOW}phid-wait": waits_for_its_host,
    f"{_FLOW}phid-wait-id": waits_for_its_host,
    f"{_FLOW}phid-wait-online": waits_for_its_host,
    f"{_FLOW}phid-wait-timestamp": takes_no_older_word_of_its_host,
    f"{_FLOW}phid-offline": dies_when_its_host_goes,
    f"{_FLOW}nbirth-topic": nbirth_has_its_topic,
    f"{_FLOW}nbirth-payload": payloads_are_protobuf,
    f"{_FLOW}nbirth-qos": births_are_qos_0_and_not_retained,
    f"{_FLOW}nbirth-retained": births_are_qos_0_and_not_retained,
    f"{_FLOW}nbirth-payload-seq": nbirth_has_number_0,
    f"{_DEVICE}nbirth-wait": births_come_before_data,
    f"{_DEVICE}dbirth-topic": dbirth_has_its_topic,
    f"{_DEVICE}dbirth-payload": payloads_are_protobuf,
    f"{_DEVICE}dbirth-qos": births_are_qos_0_and_not_retained,
    f"{_DEVICE}dbirth-retained": births_are_qos_0_and_not_retained,
    f"{_DEVICE}dbirth-payload-seq": numbers_go_on_by_one,
    "operational-behavior-edge-node-intentional-disconnect-ndeath": (
        says_goodbye_before_it_disconnects
    ),
    "operational-behavior-edge-node-intentional-disconnect-packet": (
        says_goodbye_before_it_disconnects
    ),
    "operational-behavior-edge-node-termination-host-offline": dies_when_its_host_goes,
    "operational-behavior-edge-node-termination-host-offline-timestamp": dies_when_its_host_goes,
    "operational-behavior-edge-node-birth-sequence-wait": waits_for_its_host,
    f"{_DATA}dbirth": births_have_all_metrics_with_values,
    f"{_DATA}dbirth-values": births_have_all_metrics_with_values,
    f"{_COMMANDS}rebirth-name": nbirth_offers_the_rebirth,
    f"{_COMMANDS}rebirth-name-aliases": the_rebirth_has_no_alias,
    f"{_COMMANDS}rebirth-datatype": nbirth_offers_the_rebirth,
    f"{_COMMANDS}rebirth-value": nbirth_offers_the_rebirth,
    f"{_COMMANDS}rebirth-action-1": a_rebirth_is_all_births_and_nothing_between,
    f"{_COMMANDS}rebirth-action-2": a_rebirth_is_all_births_and_nothing_between,
    f"{_COMMANDS}rebirth-action-3": rebirth_has_the_same_number,
    "payloads-sequence-num-always-included": numbers_go_on_by_one,
    "payloads-sequence-num-req-nbirth": nbirth_has_number_0,
    "payloads-sequence-num-incrementing": numbers_go_on_by_one,
    "payloads-alias-uniqueness": aliases_are_of_one_metric_each,
    "payloads-alias-data-cmd-requirement": data_name_no_metric_and_no_type,
    "payloads-name-birth-data-requirement": metrics_have_times,
    "payloads-metric-datatype-req": births_have_all_metrics_with_values,
    "payloads-metric-datatype-not-req": data_name_no_metric_and_no_type,
    "payloads-nbirth-timestamp": every_message_has_the_time_of_its_sending,
    "payloads-nbirth-seq": nbirth_has_number_0,
    "payloads-nbirth-bdseq": nbirth_has_the_wills_number,
    "payloads-nbirth-bdseq-repeat": nbirth_has_the_wills_number,
    "payloads-nbirth-rebirth-req": nbirth_offers_the_rebirth,
    "payloads-nbirth-qos": births_are_qos_0_and_not_retained,
    "payloads-nbirth-retain": births_are_qos_0_and_not_retained,
    "payloads-dbirth-timestamp": every_message_has_the_time_of_its_sending,
    "payloads-dbirth-seq": numbers_go_on_by_one,
    "payloads-dbirth-seq-inc": numbers_go_on_by_one,
    "payloads-dbirth-order": births_come_before_data,
    "payloads-dbirth-qos": births_are_qos_0_and_not_retained,
    "payloads-dbirth-retain": births_are_qos_0_and_not_retained,
    "payloads-ddata-timestamp": every_message_has_the_time_of_its_sending,
    "payloads-ddata-seq": numbers_go_on_by_one,
    "payloads-ddata-seq-inc": numbers_go_on_by_one,
    "payloads-ddata-order": births_come_before_data,
    "payloads-ddata-qos": data_is_qos_0_and_not_retained,
    "payloads-ddata-retain": data_is_qos_0_and_not_retained,
    "payloads-ndeath-seq": death_has_no_sequence_number,
    "payloads-ndeath-will-message": will_has_its_topic,
    "payloads-ndeath-will-message-qos": will_has_qos_1,
    "payloads-ndeath-will-message-retain": will_is_not_retained,
    "payloads-ndeath-bdseq": death_has_its_births_number,
    "payloads-ndeath-will-message-publisher": says_goodbye_before_it_disconnects,
    "payloads-ndeath-will-message-publisher-disconnect-mqtt311": (
        says_goodbye_before_it_disconnects
    ),
    f"{_FLOW}connect": publishes_in_a_session,
    f"{_FLOW}will-message-payload-bdSeq": death_has_its_number_alone,
    f"{_FLOW}nbirth-payload-bdSeq": nbirth_has_the_wills_number,
    f"{_DEVICE}dbirth-match-edge-node-topic": dbirth_has_its_topic,
    "payloads-timestamp-in-UTC": every_message_has_the_time_of_its_sending,
    "payloads-metric-timestamp-in-UTC": metrics_have_times_of_now,
    "payloads-name-requirement": metrics_of_births_have_names_and_aliases,
    "payloads-alias-birth-requirement": metrics_of_births_have_names_and_aliases,
    "payloads-metric-datatype-value": datatypes_are_the_specifications,
    "payloads-metric-datatype-value-type": datatypes_are_the_specifications,
    "payloads-metric-propertyvalue-type-type": properties_have_a_type_and_a_value_for_each_key,
    "payloads-metric-propertyvalue-type-value": properties_have_a_type_and_a_value_for_each_key,
    "payloads-metric-propertyvalue-type-req": properties_have_a_type_and_a_value_for_each_key,
    "payloads-propertyset-keys-array-size": properties_have_a_type_and_a_value_for_each_key,
    "payloads-propertyset-values-array-size": properties_have_a_type_and_a_value_for_each_key,
    "topics-nbirth-metric-reqs": nbirth_has_all_metrics_of_the_node,
    "topics-nbirth-metrics": nbirth_has_all_metrics_of_the_node,
    f"{_DATA}nbirth": nbirth_has_all_metrics_of_the_node,
    f"{_DATA}nbirth-values": nbirth_has_all_metrics_of_the_node,
    "topics-ddata-payload": data_are_of_what_changed,
    f"{_DATA}dbirth-change": data_are_of_what_changed,
    f"{_DATA}dbirth-order": values_are_in_order_of_time,
    "topic-structure-namespace-device-id-associated-message-types": ddata_has_its_topic,
}


@pytest.mark.parametrize(
    "check", [pytest.param(each, id=f"tck-id-{name}") for name, each in CHECKS.items()]
)
def test_on_the_wire(life: Life, check: Check) -> None:
    check(life)


def test_it_subscribes_to_its_hosts_state_and_keeps_to_the_namespace(life: Life) -> None:
    subscribes_to_its_hosts_state(life)
    topics_have_the_namespace(life)
