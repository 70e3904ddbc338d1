"""The same promises at brokers of four makes, by MQTT 5 and 3.1.1: what a broker took of QoS 1
comes once and in order, or there is a gap record."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from aurelian.edge.gateway import Delivery
from aurelian.edge.source_state import SourceState
from aurelian.model import codec
from mqtt_gateway.source import JsonSource
from tests.integration.mqtt_gateway.test_mqtt_gateway import Peer, json_source, make_plant, values
from tests.peers.brokers import MAKES, broker
from tests.peers.fault_proxy import fault_proxy
from tests.servers import MqttServer
from tests.source_alone import taking
from tests.waiting import until

pytestmark = pytest.mark.mosquitto

_HANDS = ThreadPoolExecutor(1)


CASES = [(make.name, version) for make in MAKES.values() for version in make.versions]
SESSIONS = [(name, version) for name, version in CASES if MAKES[name].resends]
EACH_TIME = [
    ("mosquitto-stock", 5),
    ("mosquitto-stock", 4),
    ("artemis", 5),
    ("aedes", 4),
    ("amqtt", 4),
]
"""The others only in the long run."""

FALL_BACK = [("aedes", 5)]
EACH_TIME += FALL_BACK
"""Speaks 3.1.1 only, and is tried with MQTT 5 first."""


def at(cases: Sequence[tuple[str, int]]) -> pytest.MarkDecorator:
    """Run a test at these brokers, by these versions."""
    params = [
        pytest.param(*each, marks=[] if each in EACH_TIME else pytest.mark.long) for each in cases
    ]
    return pytest.mark.parametrize("server, version", params, indirect=True, scope="module")


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[MqttServer]:
    """One for all tests of a make; they may restart it."""
    with broker(request.param) as found:
        yield found


@pytest.fixture(scope="module")
def version(request: pytest.FixtureRequest) -> Iterator[int]:
    """The version that is tried first."""
    with pytest.MonkeyPatch.context() as patch:
        first = MQTTProtocolVersion(request.param)
        patch.setattr("mqtt_gateway.dialling.FIRST_VERSION", first)
        yield int(request.param)


@pytest.fixture
def place(
    server: MqttServer, version: int, request: pytest.FixtureRequest, tmp_path: Path
) -> Place:
    """A source at a broker, both of this test."""
    return Place(server, f"{request.node.originalname[:24]}-{version}", tmp_path)


class Place:
    """Where a test's source and machine meet."""

    def __init__(self, server: MqttServer, name: str, folder: Path) -> None:
        self.server, self.name = server, name
        self.plant = make_plant(folder, server.url, name)

    def source(self, **more: object) -> JsonSource:
        """Of a process of its own: the client id is the same."""
        return json_source(self.plant, self.name, **more)

    async def restart(self) -> None:
        """Kill the broker and start it again. (It ends with the thread that started it, so not in
        one of the test's loop.)"""
        await asyncio.get_running_loop().run_in_executor(_HANDS, self.server.restart)

    async def send(self, first: int, last: int, *, qos: int = 1) -> None:
        """Numbers that the broker has taken when this returns."""
        with Peer(self.server.url) as machine:
            for n in range(first, last + 1):
                sent = machine.client.publish(f"{self.name}/press/state", f'{{"count": {n}}}', qos)
            await asyncio.to_thread(sent.wait_for_publish, 30)


async def live(source: JsonSource) -> None:
    await until(
        lambda: source.condition().state is SourceState.LIVE,
        lambda: f"a connection: {source.condition()}",
        30,
    )


def fresh(taken: list[Delivery]) -> list[object]:
    """Values of which the broker does not say that they may have come before."""
    return values([each for each in taken if not each.repeated])


def gaps(taken: list[Delivery]) -> list[codec.Gap]:
    return [e.gap for d in taken for e in d.events if e.HasField("gap")]


def bookmark_of(taken: list[Delivery]) -> str:
    return [each.bookmark for each in taken if each.bookmark][-1]


@at(SESSIONS + FALL_BACK)
async def test_a_kept_session_brings_once_and_in_order_what_came_while_nobody_was_there(
    place: Place,
) -> None:
    async with taking(place.source()) as before:
        await until(lambda: bool(before), "a subscription", 30)
        await place.send(1, 100)
        await until(lambda: values(before) == list(range(1, 101)), lambda: str(values(before)[-3:]))
    await place.send(101, 400)
    async with taking(place.source(), bookmark=bookmark_of(before)) as after:
        await until(lambda: 400 in values(after), lambda: f"{len(values(after))} came", 30)
        await place.send(401, 401)
        await until(lambda: 401 in values(after), "what comes then")
    # A broker may have ended the connection before it read our last acknowledgements, and may have
    # sent the first of what came then into it.
    assert [n for n in values(after) if n not in range(1, 101)] == list(range(101, 402))
    assert not set(fresh(after)) & set(range(1, 101))
    assert not gaps(before) and not gaps(after)
    # A make of 3.1.1 was asked with MQTT 5 first, and that was no loss.
    assert not [e for d in after for e in d.events if e.HasField("death")]


@at(SESSIONS)
async def test_what_was_not_acknowledged_comes_again_and_says_so(place: Place) -> None:
    async with taking(place.source()) as first:
        await until(lambda: bool(first), "a subscription", 30)
    async with taking(place.source(), acknowledge=False) as lost:
        await place.send(1, 15)
        await until(lambda: len(values(lost)) == 15, lambda: str(values(lost)))
    async with taking(place.source()) as taken:
        await place.send(16, 16)
        await until(lambda: {1, 15, 16} <= set(values(taken)), lambda: str(values(taken)), 30)
    assert [n for n in values(taken) if n != 16] == list(range(1, 16))
    if place.server.kind.startswith("mosquitto"):
        assert values([each for each in taken if each.repeated]) == list(range(1, 16))


@at(SESSIONS)
async def test_what_comes_again_after_a_cut_is_known_also_where_the_broker_does_not_say_so(
    place: Place, tmp_path: Path
) -> None:
    """Artemis and aedes send again without DUP."""
    async with fault_proxy(place.server.port) as proxy:
        (tmp_path / "proxied").mkdir()
        plant = make_plant(tmp_path / "proxied", f"mqtt://127.0.0.1:{proxy.port}", place.name)
        source = json_source(plant, place.name)
        async with taking(source, acknowledge=False) as taken:
            await until(lambda: bool(taken), "a subscription", 30)
            await place.send(1, 15)
            await until(lambda: len(values(taken)) == 15, lambda: str(values(taken)))
            before = len(taken)
            proxy.disconnect()
            await live(source)
            await until(lambda: len(values(taken)) == 30, lambda: str(values(taken)), 20)
            await place.send(16, 16)
            await until(lambda: 16 in values(taken), "a new one")
    repeated = [each for each in taken[before:] if each.repeated]
    assert values(repeated) == list(range(1, 16))
    assert fresh(taken[before:]) == [16]


@at(CASES)
async def test_a_restart_of_the_broker_loses_nothing_that_is_on_its_disk_and_tells_the_rest(
    place: Place,
) -> None:
    """While we are there, and while no gateway runs."""
    keeps = MAKES[place.server.kind].keeps
    source = place.source()
    async with taking(source) as taken:
        await until(lambda: bool(taken), "a subscription", 30)
        await place.send(1, 5)
        await until(lambda: 5 in values(taken), "values")
        heard = source.condition().heard_at
        await asyncio.sleep(1.5)  # Mosquitto writes each second
        await place.restart()
        await until(lambda: len(taken) and bool(deaths(taken)), "the loss")
        await live(source)
        await place.send(6, 6)
        await until(lambda: 6 in values(taken), "values again", 20)
    if keeps:
        assert not gaps(taken)
    else:
        (gap,) = gaps(taken)
        assert gap.from_time == heard and gap.reason == "the broker did not keep our session"
    await place.send(7, 20)
    await asyncio.sleep(1.5)
    await place.restart()
    bookmark = bookmark_of(taken)
    async with taking(place.source(), bookmark=bookmark) as after:
        await live_after(after)
        await place.send(21, 21)
        await until(lambda: 21 in values(after), "the next value", 20)
    if keeps:
        assert fresh(after) == list(range(7, 22)) and not gaps(after)
    else:
        (gap,) = gaps(after)
        assert gap.from_time == int(bookmark.split()[0])
        assert int(bookmark_of(after).split()[0]) > gap.from_time


async def live_after(taken: list[Delivery]) -> None:
    """Until something came, or three seconds."""
    for _ in range(30):
        if taken:
            break
        await asyncio.sleep(0.1)


def deaths(taken: list[Delivery]) -> list[str]:
    return [e.death.reason for d in taken for e in d.events if e.HasField("death")]


@at(CASES)
async def test_large_payloads_pass_and_too_large_ones_are_kept_as_rejects(place: Place) -> None:
    source = place.source()
    large = json.dumps({"count": 1, "text": "x" * 900_000})
    too_large = json.dumps({"count": 2, "text": "y" * 20_000_000})
    async with taking(source) as taken:
        await until(lambda: bool(taken), "a subscription", 30)
        with Peer(place.server.url) as machine:
            topic = f"{place.name}/press/state"
            await machine.send(topic, large)
            await machine.send(topic, too_large)
            await machine.send(topic, '{"count": 3}')
        await until(lambda: 3 in values(taken), lambda: str(values(taken)), 40)
    rejects = [each for delivery in taken for each in delivery.rejects]
    assert values(taken) == [1, 3]
    assert [(each.error_class, len(each.payload)) for each in rejects] == [
        ("too_large", len(too_large))
    ]
    assert not deaths(taken)


@at(SESSIONS)
async def test_another_client_with_our_id_is_named_and_fought_with_pauses(place: Place) -> None:
    one, other = place.source(), place.source()
    async with taking(one) as taken, taking(other) as taken_too:
        await asyncio.sleep(6)
        conditions = [one.condition(), other.condition()]
        lost = deaths(taken) + deaths(taken_too)
    assert len(lost) >= 3, lost
    # Without pauses that grow there would be two a second and more.
    assert len(lost) <= 12, lost
    assert all(each.state is not SourceState.LIVE for each in conditions), conditions
    for each in conditions:
        assert f"aurelian-{place.name}" in each.cause + each.step, each
    if place.server.kind == "artemis" and place.name.endswith("-5"):  # Mosquitto 2.0.11 is silent
        assert any("another client has signed in with our client id" in each for each in lost), lost


@pytest.mark.long
@pytest.mark.parametrize("name", ["mosquitto-stock"])
async def test_what_a_full_queue_gave_up_is_a_gap(name: str, tmp_path: Path) -> None:
    """Mosquitto keeps 1,000 messages for a client that is away, and says nothing of the others to
    either side; its count of them comes every 10 s."""
    with broker(name) as server:
        place = Place(server, "full", tmp_path)
        async with taking(place.source()) as before:
            await until(lambda: bool(before), "a subscription", 30)
            await place.send(1, 1)
            # Until its first count is there; on the disk with the next message.
            await asyncio.sleep(11)
            await place.send(2, 2)
            await until(lambda: 2 in values(before), "values")
        bookmark = bookmark_of(before)
        assert bookmark.endswith(" 0")
        await place.send(3, 1502)
        async with taking(place.source(), bookmark=bookmark) as after:
            await until(lambda: len(values(after)) >= 1000, "what was kept", 30)
            await until(lambda: bool(gaps(after)), "the gap", 30)
    lost = set(range(3, 1503)) - set(values(after))
    assert 400 < len(lost) <= 500, len(lost)
    (gap,) = gaps(after)
    assert gap.reason.startswith(f"the broker gave up {len(lost)} messages")
    assert gap.from_time == int(bookmark.split()[0])
