"""What MQTT consumers of others lost, doubled or silently stopped on in the field, tried on ours.
Each docstring names the public report; the words are ours."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from aurelian.edge.source_state import SourceState
from aurelian.model.plant_file import load_plant
from mqtt_gateway import connection
from mqtt_gateway.source import JsonSource
from tests.integration.mqtt_gateway.test_brokers import deaths, fresh, gaps, live
from tests.integration.mqtt_gateway.test_mqtt_gateway import json_source, make_plant, values
from tests.peers.scripted_broker import SUBSCRIBE, Talk, scripted
from tests.source_alone import taking
from tests.waiting import until

TOPIC = "field/press/state"


def make_source(folder: Path, url: str, **more: object) -> JsonSource:
    return json_source(make_plant(folder, url, "field"), "field", **more)


def count(number: int, at_ms: int | None = None) -> str:
    return f'{{"count": {number}}}' if at_ms is None else f'{{"ts": {at_ms}, "count": {number}}}'


async def test_it_subscribes_again_also_where_the_broker_says_that_it_kept_the_session(
    tmp_path: Path,
) -> None:
    """influxdata/telegraf#6232, influxdata/telegraf#16038, apache/streampipes#4157: a restarted
    broker knew the session and not its subscription; nothing came any more, without an error."""

    async def script(talk: Talk, number: int) -> None:
        await talk.accept(present=number > 1)
        talk.publish(TOPIC, count(number), 1)
        if number == 1:
            await asyncio.sleep(0.3)
            return
        await talk.serve()

    async with scripted(script) as (url, told), taking(make_source(tmp_path, url)) as taken:
        await until(lambda: values(taken) == [1, 2], lambda: str(values(taken)))
    assert [each for each in told.filters if each[0] != "$"] == ["field/+/state"] * 2


async def test_a_new_topic_counts_also_in_a_kept_session(tmp_path: Path) -> None:
    """influxdata/telegraf#14366 (#9703): with a persistent session other topics were never
    subscribed to, also after a restart; what the old subscription still brings is kept."""

    async def script(talk: Talk, number: int) -> None:
        await talk.accept(present=True)
        talk.publish("field/press/state", count(1), 1)
        talk.publish("field/press/new", count(2), 2)
        await talk.serve()

    async with scripted(script) as (url, told):
        make_plant(tmp_path, url, "field")
        file = tmp_path / "plant" / "north.yaml"
        file.write_text(file.read_text().replace("{unit}/state", "{unit}/new"))
        async with taking(json_source(load_plant(file), "field")) as taken:
            await until(lambda: values(taken) == [2], lambda: str(values(taken)))
            await until(lambda: told.acknowledged == [1, 2], lambda: str(told.acknowledged))
    assert [r.error_class for d in taken for r in d.rejects] == ["unknown_topic"]
    assert told.filters[0] == "field/+/new"


async def test_messages_between_connack_and_suback_are_taken_once(tmp_path: Path) -> None:
    """fusesource/mqtt-client#121, shamblett/mqtt5_client#28: a broker sends what it kept before it
    answers the subscription; such messages were thrown away, or came twice."""

    async def script(talk: Talk, number: int) -> None:
        await talk.connack(present=True)
        talk.publish(TOPIC, count(1), 1, again=True)
        talk.publish(TOPIC, count(2), 2)
        while (await talk.packet())[0] != SUBSCRIBE:
            pass
        talk.publish(TOPIC, count(3), 3)
        talk.suback()
        await talk.serve()

    async with scripted(script) as (url, told), taking(make_source(tmp_path, url)) as taken:
        await until(lambda: told.acknowledged == [1, 2, 3], lambda: str(told.acknowledged))
    assert values(taken) == [1, 2, 3]


async def test_what_is_sent_again_under_another_number_and_without_dup_is_known(
    tmp_path: Path,
) -> None:
    """thingsboard/tbmq#320: retransmissions with DUP 0. Two values of one time, sent twice, would
    be four: A B A B."""
    at = 1_790_000_000_000

    async def script(talk: Talk, number: int) -> None:
        await talk.accept(present=number > 1)
        first = 10 * number
        talk.publish(TOPIC, count(7, at), first)
        talk.publish(TOPIC, count(8, at), first + 1)
        if number == 1:
            await asyncio.sleep(0.3)
            return
        talk.publish(TOPIC, count(9, at + 1), first + 2)
        await talk.serve()

    async with scripted(script) as (url, _):
        async with taking(make_source(tmp_path, url), acknowledge=False) as taken:
            await until(lambda: 9 in values(taken), lambda: str(values(taken)))
    assert values(taken) == [7, 8, 7, 8, 9]
    assert fresh(taken) == [7, 8, 9]


async def test_an_outbox_that_stands_for_longer_than_the_keep_alive_costs_no_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """warpstreamlabs/bento#489: where the output stood for longer than the keep-alive the input
    was disconnected, and what it held was dropped."""
    monkeypatch.setattr(connection, "MOST_MESSAGES", 5)

    async def script(talk: Talk, number: int) -> None:
        await talk.accept(present=number > 1)
        for n in range(1, 41):
            talk.publish(TOPIC, count(n), n)
        await talk.serve()

    async with scripted(script) as (url, told):
        source = make_source(tmp_path, url, mqtt_keep_alive_s=1)
        async with taking(source, acknowledge=False) as taken:
            await asyncio.sleep(4)
            assert told.pings >= 2
            done = 0

            def acknowledge() -> bool:
                nonlocal done
                for delivery in taken[done:]:
                    if delivery.ack is not None:
                        delivery.ack()
                done = len(taken)
                return told.acknowledged == list(range(1, 41))

            await until(acknowledge, lambda: str(told.acknowledged))
    assert told.connections == 1 and not deaths(taken)


async def test_a_reset_in_the_middle_of_a_message_stops_nothing(tmp_path: Path) -> None:
    """redpanda-data/connect#717: a reset of the TCP connection left the input hanging for good."""
    whole = bytearray()

    async def script(talk: Talk, number: int) -> None:
        await talk.accept(present=number > 1)
        if number == 1:
            sent = talk.writer
            large = count(1)[:-1] + ', "text": "' + "x" * 200_000 + '"}'
            talk.writer = _Kept(whole)  # type: ignore[assignment]
            talk.publish(TOPIC, large, 1)
            talk.writer = sent
            sent.write(bytes(whole[:100_000]))
            await sent.drain()
            await asyncio.sleep(0.3)
            sent.transport.abort()
            return
        talk.writer.write(bytes(whole))
        await talk.serve()

    async with scripted(script) as (url, told), taking(make_source(tmp_path, url)) as taken:
        await until(lambda: told.acknowledged == [1], lambda: str(told))
    assert values(taken) == [1]


class _Kept:
    """A writer to a buffer."""

    def __init__(self, to: bytearray) -> None:
        self.write = to.extend


@pytest.mark.parametrize(
    "scheme", ["mqtts", *(pytest.param(each, marks=pytest.mark.long) for each in ("wss", "ws"))]
)
async def test_a_peer_that_hangs_up_in_the_handshake_is_tried_again(
    tmp_path: Path, scheme: str
) -> None:
    """thingsboard/thingsboard-gateway#1195, thingsboard/thingsboard-gateway#1074: an error while
    connecting ended the connector's thread, and nobody tried again."""

    async def script(talk: Talk, number: int) -> None:
        await asyncio.sleep(0.05)
        talk.writer.transport.abort() if number % 2 else None

    async with scripted(script) as (url, told):
        source = make_source(tmp_path, url.replace("mqtt", scheme, 1))
        async with taking(source):
            await until(lambda: told.connections >= 4, lambda: f"{told}: {source.condition()}")
            assert source.condition().state is SourceState.CONNECTING
            assert source.condition().cause


@pytest.mark.parametrize("seconds", [0, 65535])
async def test_a_broker_that_falls_silent_is_left_whatever_keep_alive_it_sets(
    tmp_path: Path, seconds: int
) -> None:
    """shamblett/mqtt5_client#51 (a broker that says 65,535 s), shamblett/mqtt5_client#100,
    node-red/node-red#1105, 21cncstudio/project_aura#125: half-open connections looked alive for
    days."""

    async def script(talk: Talk, number: int) -> None:
        await talk.accept(properties=b"\x13" + seconds.to_bytes(2))
        await talk.serve(pongs=False)

    async with scripted(script) as (url, told):
        source = make_source(tmp_path, url, mqtt_keep_alive_s=1)
        async with taking(source) as taken:
            await until(lambda: told.connections >= 2, lambda: str(told), 10)
    assert deaths(taken) and told.pings


async def test_a_broker_that_grants_less_than_qos_1_is_told(tmp_path: Path) -> None:
    """mqttjs/MQTT.js#855, knolleary/pubsubclient#997: nobody looked at what a SUBACK granted."""

    async def script(talk: Talk, number: int) -> None:
        await talk.accept(granted=0)
        await talk.serve()

    async with scripted(script) as (url, _):
        source = make_source(tmp_path, url)
        async with taking(source):
            await until(lambda: source.condition().state is SourceState.DEGRADED, "a doubt")
            assert "QoS 0 only" in source.condition().cause
            assert "allow this client QoS 1" in source.condition().step


async def test_a_subscription_that_is_refused_is_told_and_tried_again(tmp_path: Path) -> None:
    """eclipse-paho/paho.mqtt.golang#292, novastone-media/MQTT-Client-Framework#299: a refused
    subscription counted as one, and nothing ever came."""

    async def script(talk: Talk, number: int) -> None:
        await talk.accept(granted=0x87 if number < 3 else 1)
        await talk.serve()

    async with scripted(script) as (url, told):
        source = make_source(tmp_path, url)
        async with taking(source):
            await until(lambda: "refuses field/+/state" in source.condition().cause, "the refusal")
            assert "access list" in source.condition().step
            await live(source)
    assert told.connections == 3


@pytest.mark.parametrize(("seconds", "state"), [(0, "DEGRADED"), (3600, "LIVE")])
async def test_a_broker_that_keeps_sessions_for_less_than_was_asked_says_so_to_people(
    tmp_path: Path, seconds: int, state: str
) -> None:
    """eclipse-mosquitto/mosquitto#3616, spring-projects/spring-integration#9784: the session ended
    sooner than the client believed, and with it what was queued."""

    async def script(talk: Talk, number: int) -> None:
        await talk.accept(properties=b"\x11" + seconds.to_bytes(4))
        await talk.serve()

    async with scripted(script) as (url, _):
        source = make_source(tmp_path, url)
        async with taking(source):
            await until(lambda: f"for {seconds} s" in source.condition().cause, "the doubt")
            assert source.condition().state == state


async def test_a_broker_that_ends_connections_for_its_own_topics_is_asked_once(
    tmp_path: Path,
) -> None:
    """thomasnordquist/MQTT-Explorer#17, aws/aws-iot-device-sdk-js#125: AWS IoT closes the
    connection of who subscribes to `$SYS`; clients went on to do so in a loop."""

    async def script(talk: Talk, number: int) -> None:
        await talk.accept(present=number > 1)
        while True:
            kind, _ = await talk.packet()
            if kind == SUBSCRIBE:
                return
            if kind == 12:
                talk.send(0xD0)
                talk.publish(TOPIC, count(number), 1)

    async with scripted(script) as (url, told):
        source = make_source(tmp_path, url, mqtt_keep_alive_s=1)
        async with taking(source) as taken:
            await until(lambda: 2 in values(taken), lambda: str(told), 20)
    assert told.connections == 2
    assert told.filters[-1] == "field/+/state"


async def test_after_many_reconnects_a_message_comes_once(tmp_path: Path) -> None:
    """hivemq/hivemq-mqtt-client#552, mqttjs/MQTT.js#909: a message came as often as the client had
    connected."""

    async def script(talk: Talk, number: int) -> None:
        await talk.accept(present=number > 1)
        if number < 6:
            return
        talk.publish(TOPIC, count(1), 1)
        await talk.serve()

    async with scripted(script) as (url, told), taking(make_source(tmp_path, url)) as taken:
        await until(lambda: 1 in values(taken), lambda: str(told), 40)
        await asyncio.sleep(0.3)
    assert values(taken) == [1] and told.acknowledged == [1]
    # Sessions were kept, so nothing is missing.
    assert not gaps(taken)


async def test_a_retained_value_is_no_new_one_at_each_connect_and_counts_when_it_changed(
    tmp_path: Path,
) -> None:
    """salmanzafar949/MQTT-Laravel#17, knolleary/pubsubclient#276: the retained value was stored
    again at each reconnect; home-assistant/core#12004: a changed one was not taken."""

    async def script(talk: Talk, number: int) -> None:
        await talk.accept()
        talk.publish(TOPIC, count(1 if number < 4 else 2), 1, retained=True)
        if number < 4:
            await asyncio.sleep(0.2)
            return
        await talk.serve()

    async with scripted(script) as (url, told), taking(make_source(tmp_path, url)) as taken:
        await until(lambda: 2 in values(taken), lambda: str(told), 30)
    assert values(taken) == [1, 2]
    assert told.acknowledged.count(1) >= 1


async def test_a_backlog_of_a_session_beyond_the_window_comes_whole(tmp_path: Path) -> None:
    """johanvandevenne/kafka-connect-mqtt#17, aws/aws-iot-device-sdk-cpp-v2#378: what was kept while
    the client was away did not come, or only its end; and a broker that does not keep to Receive
    Maximum (here 5) sent more than the client took."""

    async def script(talk: Talk, number: int) -> None:
        await talk.accept(present=True)
        for n in range(1, 3001):
            talk.publish(TOPIC, count(n), n)
        await talk.serve()

    async with scripted(script) as (url, told):
        source = make_source(tmp_path, url, mqtt_window=5)
        async with taking(source) as taken:
            await until(lambda: len(told.acknowledged) == 3000, lambda: str(len(values(taken))), 30)
    assert values(taken) == list(range(1, 3001)) == told.acknowledged
