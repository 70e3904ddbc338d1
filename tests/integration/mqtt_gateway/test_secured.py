"""Brokers with TLS, certificates, passwords and WebSocket: what gets in, and what people are told
where it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import paho.mqtt.client as paho
import pytest

from aurelian.edge.gateway import Delivery
from aurelian.edge.source_state import SourceState
from aurelian.local import ports
from aurelian.model.plant import Plant
from mqtt_gateway.settings import MqttGatewaySettings
from mqtt_gateway.source import JsonSource, make_sources
from tests.peers.certificates import NOW, make
from tests.peers.secured_mosquitto import PASSWORD, USER, SecuredMosquitto, secured_mosquitto
from tests.source_alone import readings_of, taking
from tests.waiting import until

pytestmark = pytest.mark.mosquitto


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredMosquitto]:
    with secured_mosquitto(tmp_path_factory.mktemp("broker")) as found:
        yield found


def make_source(url: str, **more: object) -> JsonSource:
    unit = {"name": "press", "source": "x", "signals": [{"name": "count", "type": "int64"}]}
    line = {"name": "l", "products": [{"id": "p", "ideal_cycle_s": 1}], "units": [unit]}
    plant = Plant.model_validate(
        {
            "company": {"id": "o", "name": "O"},
            "site": "s",
            "time_zone": "UTC",
            "sources": [
                {"id": "x", "kind": "mqtt_json", "url": url, "topic": "p/{unit}/state"} | more
            ],
            "areas": [{"name": "a", "lines": [line]}],
        }
    )
    settings = MqttGatewaySettings(gateway=f"secured-{ports.any_free()}", mqtt_timeout_s=5)
    (source,) = make_sources(settings, [plant])
    assert isinstance(source, JsonSource)
    return source


async def send(broker: SecuredMosquitto, value: int) -> None:
    """A value from a machine that the broker lets in by the listener for everybody. (All listeners
    of one broker share its topics.)"""
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", broker.port["plain"])
    client.loop_start()
    try:
        sent = client.publish("p/press/state", f'{{"count": {value}}}', qos=1)
        await asyncio.to_thread(sent.wait_for_publish, 10)
    finally:
        client.disconnect()
        client.loop_stop()


def values(taken: list[Delivery]) -> list[object]:
    return [each.value for delivery in taken for each in readings_of(delivery)]


def of_authority(broker: SecuredMosquitto, **more: object) -> dict[str, object]:
    return {"tls": {"ca_file": str(broker.folder / "authority.pem")} | more}


WAYS = {
    "plain": ("mqtt", {}),
    "tls": ("mqtts", {}),
    "mutual": ("mqtts", {"certificate": "client.pem", "key": "client-key.pem"}),
    "websocket": ("ws", {}),
    "secure_websocket": ("wss", {}),
}


@pytest.mark.parametrize("listener", WAYS)
async def test_values_come_by_every_listener(broker: SecuredMosquitto, listener: str) -> None:
    scheme, files = WAYS[listener]
    more = {} if scheme in ("mqtt", "ws") else of_authority(broker)
    if files:
        more["tls"] |= {name: str(broker.folder / file) for name, file in files.items()}  # type: ignore[operator]
    source = make_source(f"{scheme}://127.0.0.1:{broker.port[listener]}", **more)
    async with taking(source) as taken:
        await until(lambda: source.condition().state is SourceState.LIVE, "a connection")
        for n in range(300):
            await send(broker, n) if n in (0, 299) else None
        await until(lambda: values(taken) == [0, 299], lambda: str(values(taken)))
        assert source.condition().reason == ""


async def test_a_large_message_and_many_come_over_tls_and_websocket(
    broker: SecuredMosquitto,
) -> None:
    """More than a TLS record and a frame of a WebSocket hold at once."""
    url = f"wss://127.0.0.1:{broker.port['secure_websocket']}/mqtt"
    source = make_source(url, **of_authority(broker))
    async with taking(source) as taken:
        await until(lambda: source.condition().state is SourceState.LIVE, "a connection")
        client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        client.connect("127.0.0.1", broker.port["plain"])
        client.loop_start()
        try:
            client.publish("p/press/state", b'{"count": 1, "text": "' + b"x" * 900_000 + b'"}', 1)
            for n in range(2, 2000):
                client.publish("p/press/state", f'{{"count": {n}}}', 1)
            await until(lambda: 1999 in values(taken), "the last value", 30)
        finally:
            client.disconnect()
            client.loop_stop()
    counts = [value for value in values(taken) if isinstance(value, int)]
    assert counts == list(range(1, 2000))


@pytest.mark.parametrize("listener", ["tls", "secure_websocket"])
async def test_many_small_messages_of_qos_0_come_at_once_over_tls(
    broker: SecuredMosquitto, listener: str
) -> None:
    """Mosquitto makes a TLS record of each message, and a read gives one record."""
    scheme, _ = WAYS[listener]
    url = f"{scheme}://127.0.0.1:{broker.port[listener]}"
    source = make_source(url, **of_authority(broker))
    async with taking(source) as taken:
        await until(lambda: source.condition().state is SourceState.LIVE, "a connection")
        client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        client.connect("127.0.0.1", broker.port["plain"])
        client.loop_start()
        try:
            for n in range(900):  # a queue that Mosquitto keeps for a client that is not so fast
                client.publish("p/press/state", f'{{"count": {n}}}')
            await until(lambda: 899 in values(taken), "the last value", 5)
        finally:
            client.disconnect()
            client.loop_stop()
    assert values(taken) == list(range(900))


@pytest.mark.parametrize("listener", ["password"])
async def test_a_name_and_its_password_get_in(
    broker: SecuredMosquitto, listener: str, tmp_path: Path
) -> None:
    file = tmp_path / "word"
    file.write_text(f"{PASSWORD}\n", encoding="utf-8")
    url = f"mqtt://127.0.0.1:{broker.port[listener]}"
    source = make_source(url, user=USER, password_file=str(file))
    async with taking(source):
        await until(lambda: source.condition().state is SourceState.LIVE, "a connection")
        file.write_text("another\n")  # read anew at each connection
    async with taking(source):
        await until(lambda: source.condition().state is SourceState.AUTH_FAILED, "a refusal")


def refusals(broker: SecuredMosquitto, tmp_path: Path) -> dict[str, tuple[JsonSource, str, str]]:
    port = broker.port
    word = tmp_path / "wrong"
    word.write_text("wrong")
    other = {"certificate": "other.pem", "key": "other-key.pem"}
    files = {name: str(broker.folder / file) for name, file in other.items()}
    return {
        "nobody": (
            make_source(f"mqtt://127.0.0.1:{port['password']}"),
            "AUTH_FAILED",
            "say `user` and `password_file`",
        ),
        "wrong password": (
            make_source(f"mqtt://127.0.0.1:{port['password']}", user=USER, password_file=str(word)),
            "AUTH_FAILED",
            "is the password of 'press-7' right",
        ),
        "no password file": (
            make_source(
                f"mqtt://127.0.0.1:{port['password']}", user=USER, password_file="/nowhere/word"
            ),
            "AUTH_FAILED",
            "put the file there",
        ),
        "authority unknown": (
            make_source(f"mqtts://127.0.0.1:{port['tls']}"),
            "CERT_REJECTED",
            "`tls: {ca_file: …}`",
        ),
        "no such file": (
            make_source(f"mqtts://127.0.0.1:{port['tls']}", tls={"ca_file": "/nowhere/ca.pem"}),
            "AUTH_FAILED",
            "put the file there",
        ),
        "another host": (
            make_source(f"mqtts://localhost:{port['tls']}", **of_authority(broker)),
            "CERT_REJECTED",
            "`tls: {server_name: …}`",
        ),
        "no certificate of ours": (
            make_source(f"mqtts://127.0.0.1:{port['mutual']}", **of_authority(broker)),
            "CERT_REJECTED",
            "the broker wants a certificate of us",
        ),
        "a certificate that it does not know": (
            make_source(f"mqtts://127.0.0.1:{port['mutual']}", **of_authority(broker, **files)),
            "CERT_REJECTED",
            "signed by an authority that it trusts",
        ),
        "no TLS there": (
            make_source(f"mqtts://127.0.0.1:{port['plain']}"),
            "CONNECTING",
            "is that its port for TLS, or is the url mqtt://?",
        ),
        "TLS there": (
            make_source(f"mqtt://127.0.0.1:{port['tls']}"),
            "CONNECTING",
            "is that its port for TLS? Then the url is mqtts://",
        ),
        "password in the clear": (
            make_source(f"mqtt://10.255.255.1:{port['plain']}", user=USER, password_file="x"),
            "AUTH_FAILED",
            "say mqtts:// (or wss://)",
        ),
        "nobody there": (
            make_source(f"mqtt://127.0.0.1:{ports.any_free()}"),
            "CONNECTING",
            "does the broker run, on that port",
        ),
    }


async def test_each_refusal_says_what_to_do(broker: SecuredMosquitto, tmp_path: Path) -> None:
    async def check(name: str, source: JsonSource, state: str, step: str) -> None:
        async with taking(source):
            await until(
                lambda: source.condition().reason not in ("", "not connected yet"),
                lambda: f"{name}: {source.condition()}",
            )
            # Some say it of one version of the protocol only.
            await until(
                lambda: source.condition().state == state and step in source.condition().step,
                lambda: f"{name}: {source.condition()}",
            )

    found = refusals(broker, tmp_path)
    async with asyncio.TaskGroup() as tasks:
        for name, (source, state, step) in found.items():
            tasks.create_task(check(name, source, state, step))


@pytest.mark.parametrize(
    ("hosts", "ends", "waive", "name"),
    [
        (("127.0.0.1",), NOW - timedelta(days=1), ["validity"], ""),
        (("plc.example",), NOW + timedelta(days=1), [], "plc.example"),
        (("plc.example",), NOW + timedelta(days=1), ["host_name"], ""),
    ],
)
async def test_a_broker_that_cannot_be_mended_is_taken_where_the_plant_file_says_so(
    tmp_path: Path, hosts: tuple[str, ...], ends: object, waive: list[str], name: str
) -> None:
    """Its own certificate, signed by itself, stands in `ca_file`."""
    own = make("broker", uris=(), hosts=hosts, ends=ends, begins=NOW - timedelta(days=9))  # type: ignore[arg-type]
    with secured_mosquitto(tmp_path, certificate=own) as broker:
        url = f"mqtts://127.0.0.1:{broker.port['tls']}"
        file = str(tmp_path / "broker.pem")
        strict = make_source(url, tls={"ca_file": file})
        async with taking(strict):
            await until(lambda: strict.condition().state is SourceState.CERT_REJECTED, "a refusal")
        source = make_source(url, tls={"ca_file": file, "waive": waive, "server_name": name})
        async with taking(source):
            await until(
                lambda: source.condition().state is SourceState.LIVE,
                lambda: str(source.condition()),
            )
