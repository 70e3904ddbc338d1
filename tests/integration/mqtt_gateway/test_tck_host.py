"""The specification's assertions of a host application (tck-id-…), on one life that a wire saw:
real Mosquitto, MQTT 5 and 3.1.1. Each test's id is the assertion's; SPARKPLUG.md lists them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from aurelian.model.evidence import UNCERTAIN_LAST_USABLE
from aurelian.pb import sparkplug_b_pb2 as pb
from mqtt_gateway.settings import MqttGatewaySettings
from mqtt_gateway.source import make_sources
from tests.integration.mqtt_gateway.sparkplug_life import (
    NODE,
    Life,
    hosting,
    make_plant,
    said,
    topic,
    until_subscribed,
    whole_life,
)
from tests.peers.mqtt_spy import CONNECT, DISCONNECT, PUBLISH, SUBACK, SUBSCRIBE, Message, Session
from tests.servers import mosquitto_broker
from tests.source_alone import taking
from tests.waiting import until

pytestmark = pytest.mark.mosquitto

_SOON_MS = 1000


@pytest.fixture(scope="module")
def life(mosquitto: str, tmp_path_factory: pytest.TempPathFactory) -> Life:
    """With a broker of MQTT 5."""
    folder = tmp_path_factory.mktemp("life5")
    return whole_life(mosquitto, folder, "Tck5", refuses_mqtt5=False)


@pytest.fixture(scope="module")
def old_life(mosquitto: str, tmp_path_factory: pytest.TempPathFactory) -> Life:
    """With a broker that speaks MQTT 3.1.1 only."""
    folder = tmp_path_factory.mktemp("life3")
    return whole_life(mosquitto, folder, "Tck3", refuses_mqtt5=True)


def births(life: Life) -> list[Message]:
    """The first thing that each session published."""
    return [session.published()[0] for session in life.sessions]


def wills(life: Life) -> list[Message]:
    found = [session.connect.will for session in life.sessions]
    assert None not in found
    return [each for each in found if each is not None]


def farewell(life: Life) -> Message:
    """The last that it published."""
    return life.sessions[-1].published()[-1]


def place(session: Session, kind: int, *, ours: bool) -> int:
    """Where the first packet of a kind stands."""
    return next(
        n for n, each in enumerate(session.packets) if (each.kind, each.ours) == (kind, ours)
    )


# What each assertion comes to.


def has_two_sessions_and_states(life: Life) -> None:
    assert len(life.sessions) == 2
    assert [said(each)["online"] for each in births(life)] == [True, True]
    assert [said(each)["online"] for each in wills(life)] == [False, False]
    assert said(farewell(life))["online"] is False
    assert all(each.topic == life.state_topic for each in (*births(life), *wills(life)))


def publishes_its_birth_first(life: Life) -> None:
    for first in births(life):
        assert first.topic == life.state_topic and said(first)["online"] is True


def birth_has_qos_1(life: Life) -> None:
    assert [each.qos for each in births(life)] == [1, 1]


def birth_is_retained(life: Life) -> None:
    assert [each.retain for each in births(life)] == [True, True]


def birth_has_its_topic(life: Life) -> None:
    assert [each.topic for each in births(life)] == [f"spBv1.0/STATE/{life.host_id}"] * 2


def subscribes_first(life: Life) -> None:
    """Its own STATE and the nodes' namespace, at once after CONNACK, before anything is
    published."""
    for session in life.sessions:
        ours = session.kinds(ours=True)
        assert ours[:2] == [CONNECT, SUBSCRIBE]
        filters = [name for name, _ in session.subscribed()]
        assert filters[0] == life.state_topic and f"spBv1.0/{life.host_id}/+/+/#" in filters


def publishes_its_birth_when_subscribed(life: Life) -> None:
    """After the SUBACK, and soon."""
    for session in life.sessions:
        suback = place(session, SUBACK, ours=False)
        publish = place(session, PUBLISH, ours=True)
        assert publish > suback
        waited = session.packets[publish].at_ms - session.packets[suback].at_ms
        assert waited < _SOON_MS


def is_state(message: Message, *, online: bool) -> None:
    """JSON in UTF-8 of exactly two members: the truth, and a time of now."""
    content = json.loads(message.payload.decode("utf-8"))
    assert set(content) == {"online", "timestamp"}
    assert content["online"] is online
    assert type(content["timestamp"]) is int
    assert abs(content["timestamp"] - message.at_ms) < _SOON_MS


def birth_says_online_now(life: Life) -> None:
    for each in births(life):
        is_state(each, online=True)


def birth_has_the_wills_time(life: Life) -> None:
    assert [said(each)["timestamp"] for each in births(life)] == [
        said(each)["timestamp"] for each in wills(life)
    ]


def will_has_qos_1(life: Life) -> None:
    assert [each.qos for each in wills(life)] == [1, 1]


def will_is_retained(life: Life) -> None:
    assert [each.retain for each in wills(life)] == [True, True]


def will_has_its_topic(life: Life) -> None:
    assert [each.topic for each in wills(life)] == [f"spBv1.0/STATE/{life.host_id}"] * 2


def has_a_will(life: Life) -> None:
    assert all(session.connect.will is not None for session in life.sessions)


def will_says_offline_now(life: Life) -> None:
    for each in wills(life):
        is_state(each, online=False)


def will_has_the_time_of_its_connect(life: Life) -> None:
    times = [said(each)["timestamp"] for each in wills(life)]
    assert len(set(times)) == 2
    for session, time in zip(life.sessions, times, strict=True):
        assert isinstance(time, int) and abs(session.connect.at_ms - time) < _SOON_MS


def says_goodbye_before_it_disconnects(life: Life) -> None:
    ours = life.sessions[-1].kinds(ours=True)
    assert ours[-2:] == [PUBLISH, DISCONNECT]
    is_state(farewell(life), online=False)
    time = said(farewell(life))["timestamp"]
    assert isinstance(time, int) and time >= life.noted["stop"]


def goodbye_has_its_topic(life: Life) -> None:
    assert farewell(life).topic == f"spBv1.0/STATE/{life.host_id}"
    assert said(farewell(life))["online"] is False


def goodbye_says_offline_now(life: Life) -> None:
    is_state(farewell(life), online=False)


def goodbye_has_qos_1(life: Life) -> None:
    assert farewell(life).qos == 1 and said(farewell(life))["online"] is False


def goodbye_is_retained(life: Life) -> None:
    assert farewell(life).retain and said(farewell(life))["online"] is False


def begins_clean(life: Life) -> None:
    for session in life.sessions:
        assert session.connect.clean and session.connect.expiry_s == 0


def contradicts_who_says_that_it_is_offline(life: Life) -> None:
    """At once, with the time of its CONNECT."""
    first = life.sessions[0]
    birth, again = life.states(first)
    told = life.noted["someone said offline"]
    assert said(again)["online"] is True
    assert said(again)["timestamp"] == said(birth)["timestamp"]
    assert (again.qos, again.retain) == (1, True)
    assert 0 <= again.at_ms - told < _SOON_MS


# Of edge nodes and devices that die. Their births were before.


def of_device(life: Life) -> str:
    return next(each.signal.asset for each in life.readings() if each.value == 1.5)


def of_node(life: Life) -> str:
    return next(each.signal.asset for each in life.readings() if each.value == 9)


def stale(life: Life, asset: str) -> list[tuple[object, int | None]]:
    return [
        (each.value, each.source_time)
        for each in life.readings()
        if each.status == UNCERTAIN_LAST_USABLE and each.signal.asset == asset
    ]


def is_now(time: int | None, noted: int) -> bool:
    return time is not None and 0 <= time // 1000 - noted < _SOON_MS


def node_is_offline(life: Life) -> None:
    death = life.deaths()[1]
    assert of_node(life) in death.death.assets and is_now(death.time, life.noted["node dies"])


def metrics_of_the_node_are_stale(life: Life) -> None:
    ((value, time),) = stale(life, of_node(life))
    assert value == 9 and is_now(time, life.noted["node dies"])


def devices_are_offline_with_their_node(life: Life) -> None:
    death = life.deaths()[1]
    assert of_device(life) in death.death.assets and is_now(death.time, life.noted["node dies"])


def metrics_of_devices_are_stale_with_their_node(life: Life) -> None:
    _, (value, time) = stale(life, of_device(life))
    assert value == 1.5 and is_now(time, life.noted["node dies"])


def device_is_offline_since_its_certificate_says(life: Life) -> None:
    death, told = life.deaths()[0], life.noted["device dies"]
    assert list(death.death.assets) == [of_device(life)]
    assert abs(death.time // 1000 - (told - 700)) < 200


def metrics_of_a_device_are_stale_since_its_certificate_says(life: Life) -> None:
    (value, time), _ = stale(life, of_device(life))
    assert value == 1.5 and time == life.deaths()[0].time


# Of the order of messages. Number 2 came after 3, 4 never did.


def time_to_reorder_is_a_setting(life: Life) -> None:
    """0.4 s here: the host was patient for so long, and not for the default of 3 s."""
    waited = life.commands()[0].at_ms - life.noted["before the gap"]
    assert 400 <= waited < 2000
    assert MqttGatewaySettings().sparkplug_reorder_s == 3.0


def waits_for_a_missing_number(life: Life) -> None:
    """What came too early is not taken before what it waited for."""
    values = [each.value for each in life.readings()]
    assert values[values.index(2.0) + 1] == 3.0
    assert life.noted["reordered"] > 0


def asks_for_a_rebirth_when_a_number_does_not_come(life: Life) -> None:
    (command,) = life.commands()
    assert command.topic == topic("NCMD", group=life.host_id)
    metrics = pb.Payload.FromString(command.payload).metrics
    assert [(each.name, each.boolean_value) for each in metrics] == [("Node Control/Rebirth", True)]


def goes_on_when_a_missing_number_came(life: Life) -> None:
    """No rebirth for it, and the next message is taken as it comes."""
    assert all(each.at_ms > life.noted["before the gap"] for each in life.commands())
    assert 5.0 in [each.value for each in life.readings()]


# Of commands: the one that this host knows is the request for a rebirth.


def command(life: Life) -> tuple[Message, pb.Payload]:
    (found,) = life.commands()
    return found, pb.Payload.FromString(found.payload)


def command_has_its_topic(life: Life) -> None:
    assert command(life)[0].topic == f"spBv1.0/{life.host_id}/NCMD/{NODE}"


def command_is_qos_0_and_not_retained(life: Life) -> None:
    assert (command(life)[0].qos, command(life)[0].retain) == (0, False)


def command_has_a_time(life: Life) -> None:
    message, content = command(life)
    assert abs(content.timestamp - message.at_ms) < _SOON_MS


def command_has_its_metric(life: Life) -> None:
    _, content = command(life)
    assert [each.name for each in content.metrics] == ["Node Control/Rebirth"]


def command_names_what_the_node_was_born_with(life: Life) -> None:
    born = next(
        pb.Payload.FromString(each.payload)
        for each in life.sessions[0].delivered()
        if "/NBIRTH/" in each.topic
    )
    assert {each.name for each in command(life)[1].metrics} <= {each.name for each in born.metrics}


def command_has_a_value_of_its_type(life: Life) -> None:
    (metric,) = command(life)[1].metrics
    assert metric.WhichOneof("value") == "boolean_value" and metric.boolean_value is True


def command_has_no_number(life: Life) -> None:
    assert not command(life)[1].HasField("seq")


def command_has_qos_0(life: Life) -> None:
    assert command(life)[0].qos == 0


def command_is_not_retained(life: Life) -> None:
    assert command(life)[0].retain is False


def command_metric_may_have_a_time(life: Life) -> None:
    """By name; it may have a time of its own, and has."""
    (metric,) = command(life)[1].metrics
    assert metric.HasField("name") and not metric.HasField("alias") and metric.timestamp > 0


def topics_have_the_namespace(life: Life) -> None:
    for session in life.sessions:
        for each in session.published():
            assert each.topic.split("/")[0] == "spBv1.0"


def topics_have_the_structure(life: Life) -> None:
    allowed = {life.state_topic, f"spBv1.0/{life.host_id}/NCMD/{NODE}"}
    assert {each.topic for session in life.sessions for each in session.published()} == allowed


def topics_of_nodes_have_no_device(life: Life) -> None:
    topics = [each.topic for session in life.sessions for each in session.published()]
    assert {each.count("/") for each in topics if "/NCMD/" in each} == {3}
    assert {each.count("/") for each in topics if "/STATE/" in each} == {2}


Check = Callable[[Life], None]

_HOST = "operational-behavior-host-application-"
_TERMINATION = "operational-behavior-edge-node-termination-host-action-"
_ORDER = "operational-behavior-host-reordering-"
_COMMANDS = "operational-behavior-data-commands-"

CHECKS: dict[str, Check] = {
    "intro-sparkplug-host-state": has_two_sessions_and_states,
    "conformance-primary-host": has_two_sessions_and_states,
    "components-ph-state": has_two_sessions_and_states,
    "principles-birth-certificates-order": publishes_its_birth_first,
    "topic-structure": topics_have_the_structure,
    "topic-structure-namespace-a": topics_have_the_namespace,
    "topic-structure-namespace-device-id-non-associated-message-types": (
        topics_of_nodes_have_no_device
    ),
    "host-topic-phid-birth-message": publishes_its_birth_first,
    "host-topic-phid-birth-qos": birth_has_qos_1,
    "host-topic-phid-birth-retain": birth_is_retained,
    "host-topic-phid-birth-topic": birth_has_its_topic,
    "host-topic-phid-birth-sub-required": subscribes_first,
    "host-topic-phid-birth-required": publishes_its_birth_when_subscribed,
    "host-topic-phid-birth-payload": birth_says_online_now,
    "host-topic-phid-birth-payload-timestamp": birth_has_the_wills_time,
    "host-topic-phid-death-qos": will_has_qos_1,
    "host-topic-phid-death-retain": will_is_retained,
    "host-topic-phid-death-topic": will_has_its_topic,
    "host-topic-phid-death-required": has_a_will,
    "host-topic-phid-death-payload": will_says_offline_now,
    "host-topic-phid-death-payload-timestamp-connect": will_has_the_time_of_its_connect,
    "host-topic-phid-death-payload-timestamp-disconnect-clean": says_goodbye_before_it_disconnects,
    "message-flow-phid-sparkplug-clean-session-50": begins_clean,
    "message-flow-phid-sparkplug-subscription": subscribes_first,
    "message-flow-phid-sparkplug-state-publish": publishes_its_birth_when_subscribed,
    "message-flow-phid-sparkplug-state-publish-payload": birth_says_online_now,
    "message-flow-phid-sparkplug-state-publish-payload-timestamp": birth_has_the_wills_time,
    "message-flow-hid-sparkplug-state-message-delivered": contradicts_who_says_that_it_is_offline,
    f"{_TERMINATION}ndeath-node-offline": node_is_offline,
    f"{_TERMINATION}ndeath-node-tags-stale": metrics_of_the_node_are_stale,
    f"{_TERMINATION}ndeath-devices-offline": devices_are_offline_with_their_node,
    f"{_TERMINATION}ndeath-devices-tags-stale": metrics_of_devices_are_stale_with_their_node,
    f"{_TERMINATION}ddeath-devices-offline": device_is_offline_since_its_certificate_says,
    f"{_TERMINATION}ddeath-devices-tags-stale": (
        metrics_of_a_device_are_stale_since_its_certificate_says
    ),
    f"{_ORDER}param": time_to_reorder_is_a_setting,
    f"{_ORDER}start": waits_for_a_missing_number,
    f"{_ORDER}rebirth": asks_for_a_rebirth_when_a_number_does_not_come,
    f"{_ORDER}success": goes_on_when_a_missing_number_came,
    f"{_HOST}connect-will": has_a_will,
    f"{_HOST}connect-will-topic": will_has_its_topic,
    f"{_HOST}connect-will-payload": will_says_offline_now,
    f"{_HOST}connect-will-qos": will_has_qos_1,
    f"{_HOST}connect-will-retained": will_is_retained,
    f"{_HOST}connect-birth": publishes_its_birth_when_subscribed,
    f"{_HOST}connect-birth-topic": birth_has_its_topic,
    f"{_HOST}connect-birth-payload": birth_says_online_now,
    f"{_HOST}connect-birth-qos": birth_has_qos_1,
    f"{_HOST}connect-birth-retained": birth_is_retained,
    f"{_HOST}termination": says_goodbye_before_it_disconnects,
    f"{_HOST}death-topic": goodbye_has_its_topic,
    f"{_HOST}death-payload": goodbye_says_offline_now,
    f"{_HOST}death-qos": goodbye_has_qos_1,
    f"{_HOST}death-retained": goodbye_is_retained,
    f"{_HOST}disconnect-intentional": says_goodbye_before_it_disconnects,
    f"{_COMMANDS}ncmd-rebirth-verb": command_has_its_topic,
    f"{_COMMANDS}ncmd-rebirth-name": command_has_its_metric,
    f"{_COMMANDS}ncmd-rebirth-value": command_has_a_value_of_its_type,
    f"{_COMMANDS}ncmd-verb": command_has_its_topic,
    f"{_COMMANDS}ncmd-metric-name": command_names_what_the_node_was_born_with,
    f"{_COMMANDS}ncmd-metric-value": command_has_a_value_of_its_type,
    "topics-ncmd-topic": command_has_its_topic,
    "topics-ncmd-mqtt": command_is_qos_0_and_not_retained,
    "topics-ncmd-timestamp": command_has_a_time,
    "topics-ncmd-payload": command_has_its_metric,
    "payloads-ncmd-timestamp": command_has_a_time,
    "payloads-ncmd-seq": command_has_no_number,
    "payloads-ncmd-qos": command_has_qos_0,
    "payloads-ncmd-retain": command_is_not_retained,
    "payloads-name-cmd-requirement": command_metric_may_have_a_time,
    "payloads-state-will-message": will_has_its_topic,
    "payloads-state-will-message-qos": will_has_qos_1,
    "payloads-state-will-message-retain": will_is_retained,
    "payloads-state-will-message-payload": will_says_offline_now,
    "payloads-state-subscribe": subscribes_first,
    "payloads-state-birth": publishes_its_birth_first,
    "payloads-state-birth-payload": birth_has_the_wills_time,
}


def ids(*names: str) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """Tests of their own, each by the id of its assertion."""
    return pytest.mark.parametrize(
        "_tck_id", [pytest.param(name, id=f"tck-id-{name}") for name in names]
    )


@pytest.mark.parametrize(
    "check", [pytest.param(each, id=f"tck-id-{name}") for name, each in CHECKS.items()]
)
def test_on_the_wire(life: Life, check: Check) -> None:
    check(life)


@ids("message-flow-phid-sparkplug-clean-session-311")
def test_on_the_wire_of_an_old_broker(old_life: Life, _tck_id: str) -> None:
    assert [session.connect.level for session in old_life.sessions] == [4, 4]
    begins_clean(old_life)
    for check in set(CHECKS.values()):
        check(old_life)  # what MQTT 3.1.1 says otherwise changes nothing


@ids(
    "operational-behavior-primary-application-state-with-multiple-servers-state",
    "operational-behavior-primary-application-state-with-multiple-servers-state-subs",
    "operational-behavior-host-application-multi-server-timestamp",
)
async def test_each_of_several_brokers_has_its_own_state(
    mosquitto: str, tmp_path: Path, _tck_id: str
) -> None:
    """One of them is lost and found again meanwhile."""
    with mosquitto_broker() as other:
        async with (
            hosting(mosquitto, tmp_path / "a", "TckTwo") as (one, _, _),
            hosting(other.url, tmp_path / "b", "TckTwo") as (two, wire, _),
        ):
            await until_subscribed(one)
            await until_subscribed(two)
            wire.cut()
            await until_subscribed(two, 2)
            await until(lambda: bool(two.states(two.sessions[-1])), "the birth at the second")
    for life, count in ((one, 1), (two, 2)):
        assert len(life.sessions) == count
        for session in life.sessions:
            first, will = session.published()[0], session.connect.will
            assert (first.topic, said(first)["online"]) == ("spBv1.0/STATE/TckTwo", True)
            assert will is not None and said(first)["timestamp"] == said(will)["timestamp"]
    times = [
        said(session.published()[0])["timestamp"] for session in (*one.sessions, *two.sessions)
    ]
    assert len(set(times)) == 3


@ids("operational-behavior-host-application-host-id")
async def test_hosts_at_one_broker_have_ids_of_their_own(
    mosquitto: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, _tck_id: str
) -> None:
    """Two sources of a gateway by themselves; with another gateway that has our id we say so."""
    settings = MqttGatewaySettings(state=tmp_path, gateway="own", sparkplug_host_id="TckOwn")
    plant = make_plant(mosquitto, mosquitto)
    topics = [source._state_topic for source in make_sources(settings, [plant])]  # type: ignore[attr-defined]
    assert len(set(topics)) == 2
    async with hosting(mosquitto, tmp_path / "a", "TckSame") as (life, _, _):
        await until_subscribed(life)
        assert not [each for each in caplog.records if "has our id" in each.message]
        again = MqttGatewaySettings(
            state=tmp_path / "b", gateway="another", sparkplug_host_id="TckSame"
        )
        (source,) = make_sources(again, [make_plant(mosquitto, group="TckSame")])
        async with taking(source):
            await until(
                lambda: any("has our id" in each.message for each in caplog.records), "a warning"
            )
