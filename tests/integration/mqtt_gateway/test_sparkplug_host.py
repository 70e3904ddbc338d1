"""The Sparkplug host application beside other hosts, with old edge nodes, with a broker that keeps
births, and with an outbox that takes nothing; on real Mosquitto."""

import asyncio
from pathlib import Path

import pytest

from aurelian.edge.gateway import Delivery
from aurelian.model import codec
from aurelian.model.evidence import UNCERTAIN_LAST_USABLE
from aurelian.model.sample import Flag
from mqtt_gateway.settings import MqttGatewaySettings
from mqtt_gateway.source import make_sources
from tests.integration.mqtt_gateway.sparkplug_life import (
    BD_SEQ,
    DEVICE,
    FORCE,
    UPTIME,
    give_birth,
    hosting,
    make_plant,
    now_ms,
    payload,
    topic,
    until_subscribed,
    until_value,
)
from tests.integration.mqtt_gateway.test_mqtt_gateway import Peer
from tests.peers.mqtt_spy import CONNECT, DISCONNECT, PUBLISH, SUBSCRIBE
from tests.servers import mosquitto_broker
from tests.source_alone import taking
from tests.waiting import until

pytestmark = pytest.mark.mosquitto


@pytest.mark.parametrize("mode", ["secondary-active", "secondary-passive"])
async def test_a_secondary_host_has_no_state_and_a_passive_one_sends_nothing(
    mosquitto: str, tmp_path: Path, mode: str
) -> None:
    name = f"Sec{mode[-6:]}"
    async with hosting(mosquitto, tmp_path, name, mode=mode) as (life, _, edge):
        await until_subscribed(life)
        await give_birth(edge, name)
        await until_value(life, 1.5)
        late = {"alias": 2, "double_value": 9.0}
        await edge.send(topic("DDATA", DEVICE, name), payload(9, late), 0)
        await until_value(life, 9.0)  # a gap, kept all the same
        await edge.send(topic("DDATA", DEVICE, name), payload(10, {"alias": 77}), 0)
        await until(
            lambda: any(each.rejects for each in life.taken), "the reject of an unknown alias"
        )
        if mode == "secondary-active":
            await until(lambda: bool(life.commands()), "a rebirth request")
    (session,) = life.sessions
    assert session.connect.will is None and session.connect.clean
    assert [found for found, _ in session.subscribed()] == [f"spBv1.0/{name}/+/+/#"]
    topics = {each.topic for each in session.published()}
    assert topics == ({topic("NCMD", group=name)} if mode == "secondary-active" else set())
    assert not [each for each in life.seen if each[0].startswith("spBv1.0/STATE/")]
    kinds = session.kinds(ours=True)
    assert kinds[:2] == [CONNECT, SUBSCRIBE] and kinds[-1] == DISCONNECT
    assert (PUBLISH in kinds) is (mode == "secondary-active")


async def test_the_state_of_version_2_2_comes_and_goes_with_the_hosts_own(
    mosquitto: str, tmp_path: Path
) -> None:
    old = "STATE/TckOld"
    with Peer(mosquitto, old) as listener:

        def said() -> list[bytes]:
            return [found for name, found in listener.seen if name == old]

        async with hosting(mosquitto, tmp_path, "TckOld", legacy_state=True) as (life, wire, _):
            await until(lambda: said() == [b"ONLINE"], "the old state")
            first, second = life.sessions
            will = second.connect.will
            assert will is not None
            assert (will.topic, will.payload, will.qos, will.retain) == (old, b"OFFLINE", 1, True)
            (told,) = second.published()
            assert (told.topic, told.qos, told.retain) == (old, 1, True)
            assert first.connect.client_id != second.connect.client_id

            await listener.send(old, b"OFFLINE", retain=True)
            await until(lambda: said()[-2:] == [b"OFFLINE", b"ONLINE"], "the contradiction")

            wire.cut()  # as if we were gone: the broker says it by the will
            await until(lambda: said()[3:] == [b"OFFLINE", b"ONLINE"], "offline, and back")
        await until(lambda: said()[5:] == [b"OFFLINE"], "the goodbye")
    with Peer(mosquitto, old) as later:
        await until(lambda: bool(later.seen), "what the broker kept")
        assert later.seen == [(old, b"OFFLINE")]


async def test_births_that_a_broker_kept_give_names_to_what_comes_first(
    mosquitto: str, tmp_path: Path
) -> None:
    """Mosquitto does not keep births; here somebody does it for it."""
    name = "TckKept"
    kept = "$sparkplug/certificates/"
    with Peer(mosquitto) as keeper:
        births = {
            kept + topic("NBIRTH", group=name): payload(0, BD_SEQ, UPTIME),
            kept + topic("DBIRTH", DEVICE, name): payload(1, FORCE),
        }
        for where, body in births.items():
            await keeper.send(where, body, retain=True)
        async with hosting(mosquitto, tmp_path, name, certificates=True) as (life, _, edge):
            await until_value(life, 1.5)
            assert not [each for delivery in life.taken for each in delivery.events]
            live = {"alias": 2, "double_value": 8.25}
            await edge.send(topic("DDATA", DEVICE, name), payload(133, live), 0)
            await until_value(life, 8.25)
            assert not life.commands()
        for where in births:
            await keeper.send(where, b"", retain=True)
    old, new = (each for each in life.readings() if each.signal.path.endswith("/force"))
    assert (old.status, old.flags) == (UNCERTAIN_LAST_USABLE, Flag.INITIAL | Flag.RETAINED)
    assert (new.value, new.status, new.flags) == (8.25, 0, Flag.NONE)


async def test_an_outbox_that_is_stuck_when_the_broker_goes_does_not_end_the_source(
    tmp_path: Path,
) -> None:
    """The lost nodes are handed over while nothing is stored; the host is back when both are."""
    name = "TckStuck"
    with mosquitto_broker() as broker:
        settings = MqttGatewaySettings(
            state=tmp_path, gateway=name, sparkplug_host_id=name, sparkplug_offline_after_s=0.5
        )
        (source,) = make_sources(settings, [make_plant(broker.url, group=name)])
        async with taking(source, acknowledge=False) as taken:

            async def is_online() -> bool:
                with Peer(broker.url, f"spBv1.0/STATE/{name}") as peer:
                    await until(lambda: bool(peer.seen), "a state")
                    return peer.states(f"spBv1.0/STATE/{name}")[-1]

            def deaths() -> list[Delivery]:
                return [
                    each
                    for each in taken
                    for event in each.events
                    if event.WhichOneof("kind") == "death"
                ]

            with Peer(broker.url, f"spBv1.0/STATE/{name}") as edge:
                await until(lambda: bool(edge.seen), "the host's birth")
                await give_birth(edge, name)
                await until(lambda: any(each.readings for each in taken), "the births")
                assert not deaths()
                await asyncio.sleep(0.7)  # longer than the outbox may take
                broker.kill()
            await until(lambda: bool(deaths()), "the lost nodes")
            broker.start()
            for delivery in taken:
                assert delivery.ack is not None
                delivery.ack()
            await until(is_online, "the host's return")


async def test_the_time_without_a_host_is_a_gap_also_where_no_gateway_ran(tmp_path: Path) -> None:
    """By the bookmark that the outbox keeps; what still waits for a message before it is not
    behind it."""
    name = "TckGap"
    with mosquitto_broker() as broker:
        settings = MqttGatewaySettings(
            state=tmp_path, gateway=name, sparkplug_host_id=name, sparkplug_reorder_s=60
        )
        state = f"spBv1.0/STATE/{name}"
        with Peer(broker.url, state) as edge:

            def gaps(taken: list[Delivery]) -> list[codec.Gap]:
                return [e.gap for each in taken for e in each.events if e.HasField("gap")]

            (source,) = make_sources(settings, [make_plant(broker.url, group=name)])
            async with taking(source) as taken:
                await until(lambda: edge.states(state)[-1:] == [True], "the host's birth")
                await give_birth(edge, name)
                await until(lambda: any(each.readings for each in taken), "the births")
                await asyncio.sleep(1)
                held_at = now_ms()
                # Number 2 never comes.
                await edge.send(topic("DDATA", DEVICE, name), payload(3, FORCE), 0)
                await asyncio.sleep(1.5)
                await edge.send(topic("DDATA", DEVICE, name), payload(4, FORCE), 0)
                await asyncio.sleep(1.5)  # heartbeats go on
                assert not gaps(taken)
            bookmark = [each.bookmark for each in taken if each.bookmark][-1]
            assert held_at <= int(bookmark) // 1000 <= held_at + 1000

            begun = now_ms()
            (source,) = make_sources(settings, [make_plant(broker.url, group=name)])
            async with taking(source, bookmark=bookmark) as after:
                await until(lambda: bool(gaps(after)), "the gap")
            (gap,) = gaps(after)
            assert gap.from_time == int(bookmark)
            assert begun <= gap.to_time // 1000 <= now_ms()
