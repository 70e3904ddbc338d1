"""The connection ladder: for each rung a broker that breaks exactly it, and the sentence that a
person reads; and that nothing of us stays at a broker."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from aurelian.edge import ladder
from aurelian.edge.ladder import Rung, Step, Verdict
from aurelian.local import ports
from aurelian.model.source_model import SourceModel
from aurelian.pb import sparkplug_b_pb2 as pb
from mqtt_gateway.connect.ladder import climb
from mqtt_gateway.settings import MqttGatewaySettings
from mqtt_gateway.wire import Wire
from tests.peers.certificates import DAY, NOW, Made, authority, make
from tests.peers.scripted_broker import SUBSCRIBE, Talk, scripted
from tests.peers.secured_mosquitto import PASSWORD, USER, SecuredMosquitto, secured_mosquitto
from tests.waiting import until

pytestmark = pytest.mark.mosquitto

_OF_CLIENTS = ExtendedKeyUsageOID.CLIENT_AUTH
_PLUGIN = "/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so"
_READS_OPEN = {
    "defaultACLAccess": {
        "publishClientSend": True,
        "publishClientReceive": True,
        "subscribe": False,
        "unsubscribe": True,
    },
    "anonymousGroup": "all",
    "groups": [{"groupname": "all", "roles": [{"rolename": "reads"}]}],
    "roles": [
        {
            "rolename": "reads",
            "acls": [
                {"acltype": "subscribePattern", "topic": "open/#", "priority": 0, "allow": True}
            ],
        }
    ],
}


@pytest.fixture(scope="module")
def issuer() -> Made:
    return authority("plant authority")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, issuer: Made) -> Iterator[SecuredMosquitto]:
    """One with a listener for each fault."""
    hosts = ("127.0.0.1",)
    own = make("itself", uris=(), hosts=hosts)
    made = {
        "expired": make("old", issuer, uris=(), hosts=hosts, ends=NOW - DAY, key=own.key),
        "early": make(
            "new", issuer, uris=(), hosts=hosts, begins=NOW + DAY, ends=NOW + 2 * DAY, key=own.key
        ),
        "misnamed": make("press", issuer, uris=(), hosts=("press.works",), key=own.key),
        "itself": own,
        "purpose": make(
            "a client", issuer, uris=(), hosts=hosts, extended=(_OF_CLIENTS,), key=own.key
        ),
        "good": make("good", issuer, uris=(), hosts=hosts, key=own.key),
    }
    files = {f"{name}.pem": each.pem for name, each in made.items()}
    folder = tmp_path_factory.mktemp("broker")
    files["key.pem"] = own.write(folder, "itself")[1].read_bytes()
    files["access.json"] = json.dumps(_READS_OPEN).encode()
    everybody = "allow_anonymous true"
    more = {
        name: (everybody, f"certfile {{folder}}/{name}.pem", "keyfile {folder}/key.pem")
        for name in made
    }
    more["unmapped"] = (
        "allow_anonymous false",
        "cafile {folder}/authority.pem",
        "require_certificate true",
        *more["good"][1:],
    )
    more["qos0"] = (everybody, "max_qos 0")
    more["access"] = (everybody, f"plugin {_PLUGIN}", "plugin_opt_config_file {folder}/access.json")
    with secured_mosquitto(folder, issuer=issuer, more=more, files=files) as found:
        yield found


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """On one machine nobody has to be waited for."""
    monkeypatch.setattr("mqtt_gateway.connect.listening._WIDER_S", 0.3)


def settings_for_tests(**more: object) -> MqttGatewaySettings:
    return MqttGatewaySettings(gateway="ladder", mqtt_timeout_s=4, **more)


def model_of(url: str, **more: object) -> SourceModel:
    if more.get("kind", "mqtt") == "mqtt":
        more.setdefault("topic", "works/{unit}/state")
    return SourceModel.model_validate({"id": "x", "kind": "mqtt", "url": url} | more)


async def climbed(url: str, *, listen_s: float = 0.3, **more: object) -> list[Step]:
    return [
        step
        async for step in ladder.whole(
            climb(model_of(url, **more), settings_for_tests(), listen_s=listen_s)
        )
    ]


async def failing(url: str, **more: object) -> Step:
    """The step that failed; those below it went well, those above were not reached."""
    steps = await climbed(url, **more)
    assert [each.rung for each in steps] == list(Rung)
    at = next(n for n, each in enumerate(steps) if each.ends)
    assert all(each.verdict in (Verdict.PASSED, Verdict.NOT_NEEDED) for each in steps[:at]), steps
    assert all(each.verdict is Verdict.NOT_REACHED for each in steps[at + 1 :])
    assert steps[at].fix and "{" not in steps[at].said
    return steps[at]


def url_of(broker: SecuredMosquitto, listener: str, scheme: str = "mqtt") -> str:
    return f"{scheme}://127.0.0.1:{broker.port[listener]}"


def trusting(broker: SecuredMosquitto, **more: object) -> dict[str, object]:
    return {"tls": {"ca_file": str(broker.folder / "authority.pem")} | more}


# DNS, TCP


async def test_a_name_that_nobody_knows_and_a_port_where_nobody_listens() -> None:
    step = await failing("mqtt://no-such-broker.invalid:1883")
    assert (step.rung, step.code[:3]) == (Rung.DNS, "E11")
    step = await failing(f"mqtt://127.0.0.1:{ports.any_free()}")
    assert (step.rung, step.code) == (Rung.TCP, "E1201")
    assert "nothing listens" in step.said


# ENDPOINT


@pytest.mark.parametrize(
    ("listener", "scheme", "code", "words"),
    [
        ("tls", "mqtt", "E1351", "say mqtts://127.0.0.1:{port}"),
        ("mutual", "mqtt", "E1351", "say mqtts://127.0.0.1:{port}"),
        ("plain", "mqtts", "E1352", "say mqtt://127.0.0.1:{port}"),
        ("websocket", "mqtt", "E1359", "say ws://127.0.0.1:{port}/mqtt"),
        ("plain", "ws", "E1360", "say mqtt://127.0.0.1:{port} "),
        ("secure_websocket", "ws", "E1351", "say wss://127.0.0.1:{port}/mqtt"),
    ],
)
async def test_the_right_url_is_named_where_another_way_is_spoken(
    broker: SecuredMosquitto, listener: str, scheme: str, code: str, words: str
) -> None:
    step = await failing(url_of(broker, listener, scheme))
    assert (step.rung, step.code) == (Rung.ENDPOINT, code), step
    assert words.format(port=broker.port[listener]) in f"{step.fix} "


@asynccontextmanager
async def serving(answer: Callable[[bytes], bytes]):  # type: ignore[no-untyped-def]
    """Something that gives one answer and hangs up; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            writer.write(answer(await reader.read(2048)))
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


_UPGRADED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Protocol: mqtt\r\n\r\n"
)


@pytest.mark.parametrize(
    ("scheme", "path", "code", "words"),
    [("ws", "/broker", "E1353", "say ws://127.0.0.1:{port}/mqtt"), ("mqtt", "", "E1359", "/mqtt")],
)
async def test_the_path_of_a_websocket_is_found(
    scheme: str, path: str, code: str, words: str
) -> None:
    def answer(said: bytes) -> bytes:
        if said.startswith(b"GET /mqtt "):
            return _UPGRADED
        return (
            b"HTTP/1.1 404 Not Found\r\n\r\n"
            if said.startswith(b"GET")
            else b"HTTP/1.1 400\r\n\r\n"
        )

    async with serving(answer) as port:
        step = await failing(f"{scheme}://127.0.0.1:{port}{path}")
    assert (step.rung, step.code) == (Rung.ENDPOINT, code), step
    assert words.format(port=port) in step.fix


@pytest.mark.parametrize(
    ("scheme", "answer", "code", "words"),
    [
        (
            "mqtt",
            b"HTTP/1.1 400 Bad Request\r\nServer: shop\r\n\r\n",
            "E1354",
            "a web server (shop)",
        ),
        ("ws", b"HTTP/1.1 404 Not Found\r\n\r\n", "E1353", "no MQTT at its path /mqtt"),
        ("mqtt", b"ACKF\x1c\0\0\0" + bytes(20), "E1355", "an OPC UA server"),
        ("mqtt", b"SSH-2.0-OpenSSH_9.2\r\n", "E1356", "begins b'SSH-2.0"),
        ("mqtt", b"", "E1363", "ends it before it says a word"),
    ],
)
async def test_what_is_no_broker_is_named(
    scheme: str, answer: bytes, code: str, words: str
) -> None:
    async with serving(lambda said: answer) as port:
        step = await failing(f"{scheme}://127.0.0.1:{port}")
    assert (step.rung, step.code) == (Rung.ENDPOINT, code), step
    assert words in step.said
    assert (
        "opcua" not in step.fix or f"aurelian connect opcua opc.tcp://127.0.0.1:{port}" in step.fix
    )


async def test_something_that_says_nothing_is_told_from_something_that_hangs_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_open = 0

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal now_open
        now_open += 1
        with suppress(ConnectionError):
            while await reader.read(1024):
                pass
            writer.close()
            await writer.wait_closed()
        now_open -= 1

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        settings = MqttGatewaySettings(gateway="ladder", mqtt_timeout_s=0.3)
        monkeypatch.setattr("mqtt_gateway.connect.endpoint._KNOCK_S", 0.2)
        began = time.monotonic()
        *_, step = [each async for each in climb(model_of(f"mqtt://127.0.0.1:{port}"), settings)]
        await until(lambda: not now_open, "connections that were left")
    assert step.code == "E1357" and "says nothing" in step.said
    assert time.monotonic() - began < 15


def answers(code: int, properties: bytes = b"") -> Callable[[Talk, int], Awaitable[None]]:
    """A broker of MQTT 5 that answers every CONNECT with a reason code, and serves where that is
    0."""

    async def script(talk: Talk, number: int) -> None:
        await talk.packet()
        talk.send(0x20, bytes([0, code, len(properties)]) + properties)
        if not code:
            await talk.serve(watch=1)

    return script


@pytest.mark.parametrize(
    ("code", "properties", "rung", "expected", "words"),
    [
        (137, b"", Rung.ENDPOINT, "E1361", "too much to do"),
        (156, b"\x1c\0\x05there", Rung.ENDPOINT, "E1362", "another one: there"),
        (
            133,
            b"",
            Rung.SIGN_IN,
            "E1554",
            "does not take our client id, aurelian-ladder-x-connect-",
        ),
        (138, b"", Rung.SIGN_IN, "E1555", "locked us out"),
        (140, b"", Rung.SIGN_IN, "E1557", "a way of signing in"),
        (131, b"\x1f\0\x04no-o", Rung.SIGN_IN, "E1559", "no-o"),
    ],
)
async def test_what_a_broker_says_to_our_connect_is_told(
    code: int, properties: bytes, rung: Rung, expected: str, words: str
) -> None:
    async with scripted(answers(code, properties)) as (url, _):
        step = await failing(url)
    assert (step.rung, step.code) == (rung, expected), step
    assert words in step.said


async def test_a_broker_of_3_1_1_alone_is_climbed_with_that() -> None:
    levels: list[int] = []

    async def script(talk: Talk, number: int) -> None:
        _, body = await talk.packet()
        levels.append(body[6])
        talk.send(0x20, bytes([0, 1 if body[6] == 5 else 4]))

    async with scripted(script) as (url, _):
        steps = await climbed(url)
    assert steps[2].said.endswith("speaks MQTT 3.1.1") and levels[:2] == [5, 4]
    assert steps[4].code == "E1553"


# CERTIFICATE


@pytest.mark.parametrize(
    ("listener", "code", "said", "fix"),
    [
        ("expired", "E1453", "(CN=old) has run out, on", "waive: validity"),
        ("early", "E1454", "(CN=new) counts from", "look at the clocks"),
        ("misnamed", "E1455", "is for press.works, and the url says 127.0.0.1", "press.works"),
        ("itself", "E1452", "signed its certificate itself (CN=itself)", "ca_file: FILE"),
        ("purpose", "E1456", "(CN=a client) does not stand the check: unsuitable", "a new"),
    ],
)
async def test_a_bad_certificate_of_the_broker(
    broker: SecuredMosquitto, listener: str, code: str, said: str, fix: str
) -> None:
    step = await failing(url_of(broker, listener, "mqtts"), **trusting(broker))
    assert (step.rung, step.code) == (Rung.CERTIFICATE, code), step
    assert said in step.said and fix in step.fix


async def test_an_unknown_authority_is_trusted_by_the_file_that_the_step_gives(
    broker: SecuredMosquitto, tmp_path: Path
) -> None:
    url = url_of(broker, "tls", "mqtts")
    step = await failing(url)
    assert step.code == "E1451" and "signed by CN=plant authority" in step.said
    assert step.facts["sha256"] in step.fix and len(step.facts["sha256"]) == 95
    assert step.facts["names"] == "127.0.0.1"
    file = tmp_path / "broker.pem"
    file.write_text(step.facts["pem"])
    steps = await climbed(url, tls={"ca_file": str(file)})
    assert steps[3].verdict is Verdict.PASSED and "trusted (CN=broker)" in steps[3].said


@pytest.mark.parametrize(
    ("files", "code", "words"),
    [
        ({}, "E1461", "wants a certificate of us"),
        ({"certificate": "other.pem", "key": "other-key.pem"}, "E1462", "does not take our"),
        ({"certificate": "nowhere.pem", "key": "other-key.pem"}, "E1463", "nowhere.pem"),
        ({"certificate": "other-key.pem", "key": "other-key.pem"}, "E1464", "no certificate"),
    ],
)
async def test_our_certificate_is_wanted_refused_or_not_there(
    broker: SecuredMosquitto, files: dict[str, str], code: str, words: str
) -> None:
    ours = {name: str(broker.folder / file) for name, file in files.items()}
    step = await failing(url_of(broker, "mutual", "mqtts"), **trusting(broker, **ours))
    assert (step.rung, step.code) == (Rung.CERTIFICATE, code), step
    assert words in step.said


# SIGN_IN


async def test_a_certificate_that_the_broker_has_no_user_for(broker: SecuredMosquitto) -> None:
    ours = {
        "certificate": str(broker.folder / "client.pem"),
        "key": str(broker.folder / "client-key.pem"),
    }
    step = await failing(url_of(broker, "unmapped", "mqtts"), **trusting(broker, **ours))
    assert (step.rung, step.code) == (Rung.SIGN_IN, "E1556"), step
    assert "client.pem known to the broker as a user" in step.fix


async def test_signing_in(
    broker: SecuredMosquitto, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = url_of(broker, "password")
    step = await failing(url)
    assert step.code == "E1553" and "wants a name and a password" in step.said
    monkeypatch.setenv("WORD_OF_TEST", "a wrong secret")
    step = await failing(url, user=USER, password_env="WORD_OF_TEST")
    assert step.code == "E1552" and f"does not let {USER!r} in" in step.said
    assert "a wrong secret" not in repr(step)
    step = await failing(url, user=USER, password_file=str(tmp_path / "nowhere"))
    assert step.code == "E1558" and "nowhere" in step.said
    monkeypatch.setenv("WORD_OF_TEST", PASSWORD)
    steps = await climbed(url, user=USER, password_env="WORD_OF_TEST")
    assert steps[4].verdict is Verdict.PASSED and USER in steps[4].said


async def test_a_password_never_goes_out_in_the_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    """To another machine; here it is this one under a name that is not known to be it."""
    monkeypatch.setenv("WORD_OF_TEST", "a secret")
    sent = b""

    async def script(talk: Talk, number: int) -> None:
        nonlocal sent
        sent += (await talk.packet())[1]
        talk.send(0x20, bytes([0, 0, 0]))
        await talk.serve(watch=1)

    host = os.uname().nodename
    monkeypatch.setattr("aurelian.model.source_model.is_loopback", lambda _: False)
    async with scripted(script) as (url, _):
        step = await failing(url, user="press", password_env="WORD_OF_TEST")
    assert (step.rung, step.code) == (Rung.SIGN_IN, "E1551"), (step, host)
    assert "was not sent" in step.said and "mqtts://127.0.0.1:8883" in step.fix
    assert sent and b"a secret" not in sent and b"press" not in sent


# SUBSCRIBE


async def test_an_access_list_is_told_with_the_filter_that_it_refuses(
    broker: SecuredMosquitto,
) -> None:
    topics = [{"topic": "open/{unit}/state"}, {"topic": "closed/{unit}/state"}]
    step = await failing(url_of(broker, "access"), topic="closed/{unit}/state")
    assert (step.rung, step.code) == (Rung.SUBSCRIBE, "E1651"), step
    model = SourceModel.model_validate(
        {"id": "x", "kind": "mqtt", "url": url_of(broker, "access"), "topics": topics}
    )
    *_, step = [each async for each in climb(model, settings_for_tests(), listen_s=0.5)]
    assert step.code == "E1651" and "subscribe to closed/+/state:" in step.said
    assert "open/" not in step.said and "aurelian-ladder-x" in step.fix


async def test_a_broker_of_qos_0_is_a_warning(broker: SecuredMosquitto) -> None:
    steps = await climbed(url_of(broker, "qos0"))
    assert (steps[5].verdict, steps[5].code) == (Verdict.WARNING, "E1661")
    assert "cannot deliver at once is lost" in steps[5].said and "max_qos" in steps[5].fix


@pytest.mark.parametrize(
    ("properties", "more", "verdict", "code", "words"),
    [
        (b"\x11\0\0\0\x3c", {}, Verdict.WARNING, "E1662", "keeps messages for 60 s"),
        (b"\x2a\x00", {"share": "g"}, Verdict.FAILED, "E1654", "no shared subscriptions"),
        (b"\x28\x00", {}, Verdict.FAILED, "E1655", "no filters with wildcards, and works/+/state"),
        (
            b"\x25\x00",
            {"kind": "sparkplug", "group": "g"},
            Verdict.WARNING,
            "E1663",
            "no retained messages",
        ),
    ],
)
async def test_what_a_broker_does_not_promise_is_told(
    properties: bytes, more: dict[str, object], verdict: Verdict, code: str, words: str
) -> None:
    async with scripted(answers(0, properties)) as (url, _):
        steps = await climbed(url, listen_s=0.1, **more)
    assert (steps[5].verdict, steps[5].code) == (verdict, code), steps[5]
    assert words in steps[5].said


async def test_a_broker_that_ends_the_connection_for_a_subscription_or_says_nothing() -> None:
    async def ends(talk: Talk, number: int) -> None:
        await talk.connack()
        while (await talk.packet())[0] != SUBSCRIBE:
            pass

    async def is_silent(talk: Talk, number: int) -> None:
        await talk.connack()
        while True:
            await talk.packet()

    async with scripted(ends) as (url, _):
        step = await failing(url)
    assert step.code == "E1652" and "when we subscribed to works/+/state" in step.said
    async with scripted(is_silent) as (url, _):
        settings = MqttGatewaySettings(gateway="ladder", mqtt_timeout_s=0.5)
        *_, step = [each async for each in climb(model_of(url), settings)]
    assert step.code == "E1653"


# VALUES and CLOCK


class Peer:
    """A machine that publishes."""

    def __init__(self, broker: SecuredMosquitto) -> None:
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self._client.connect("127.0.0.1", broker.port["plain"])
        self._client.loop_start()

    def send(self, topic: str, payload: object, *, retain: bool = False) -> None:
        data = payload if isinstance(payload, bytes) else json.dumps(payload)
        self._client.publish(topic, data, qos=1, retain=retain).wait_for_publish(5)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def peer(broker: SecuredMosquitto) -> Iterator[Peer]:
    machine = Peer(broker)
    yield machine
    machine.close()


async def hearing(
    broker: SecuredMosquitto,
    peer: Peer,
    send: Callable[[], object],
    *,
    listen_s: float = 0.6,
    **more: object,
) -> list[Step]:
    """Climb while something is sent again and again."""

    async def keep_sending() -> None:
        while True:
            await asyncio.to_thread(send)
            await asyncio.sleep(0.1)

    sending = asyncio.create_task(keep_sending())
    try:
        return await climbed(url_of(broker, "plain"), listen_s=listen_s, **more)
    finally:
        sending.cancel()
        with suppress(asyncio.CancelledError):
            await sending


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def test_values_arrive_and_the_clock_is_right(broker: SecuredMosquitto, peer: Peer) -> None:
    def send() -> None:
        peer.send("works/press/state", {"ts": now_ms(), "force": 1.5, "count": 3})

    steps = await hearing(broker, peer, send)
    assert all(each.verdict in (Verdict.PASSED, Verdict.NOT_NEEDED) for each in steps), steps
    assert "values came" in steps[6].said and "works/press/state" in steps[6].said
    assert "agrees with ours" in steps[7].said


async def test_a_misspelled_topic_is_found_among_those_that_come(
    broker: SecuredMosquitto, peer: Peer
) -> None:
    def send() -> None:
        peer.send("spelled/press-1/state", {"force": 1})
        peer.send("elsewhere/a/b/c/d", {"x": 1})

    steps = await hearing(broker, peer, send, topic="spelled/{unit}/sate", listen_s=0.3)
    step = steps[6]
    assert step.code == "E1752" and "but there is spelled/press-1/state" in step.said
    assert step.fix.endswith("Say topic: spelled/{unit}/state")
    steps = await hearing(broker, peer, send, topic="oven/{unit}/temperature", listen_s=0.3)
    assert steps[6].code == "E1753" and "elsewhere/a/b/c/d" in steps[6].said


async def test_nothing_at_all_is_told(broker: SecuredMosquitto) -> None:
    step = await failing(url_of(broker, "plain"))
    assert (step.rung, step.code) == (Rung.VALUES, "E1751")
    assert "nobody else at the broker sent anything" in step.said


async def test_payloads_that_cannot_be_read_say_what_they_look_like(
    broker: SecuredMosquitto, peer: Peer
) -> None:
    def send() -> None:
        peer.send("works/press/state", b"RUNNING")

    step = (await hearing(broker, peer, send))[6]
    assert step.code == "E1754" and "none can be read as json" in step.said
    assert "it looks like bare" in step.fix

    def both() -> None:
        send()
        peer.send("works/oven/state", {"temp": 200})

    step = (await hearing(broker, peer, both))[6]
    assert (step.verdict, step.code) == (Verdict.WARNING, "E1755")
    assert "the first on works/press/state: not JSON" in step.said


async def test_a_connection_that_ends_while_we_listen_is_told() -> None:
    async def script(talk: Talk, number: int) -> None:
        await talk.accept()
        await asyncio.sleep(0.1)

    async with scripted(script) as (url, _):
        steps = await climbed(url, listen_s=2)
    step = next(each for each in steps if each.code)
    assert (step.rung, step.code) == (Rung.VALUES, "E1758"), steps


async def test_what_was_only_kept_is_told(broker: SecuredMosquitto, peer: Peer) -> None:
    peer.send("kept/press/state", {"force": 2}, retain=True)
    steps = await climbed(url_of(broker, "plain"), topic="kept/{unit}/state")
    peer.send("kept/press/state", b"", retain=True)
    assert (steps[6].verdict, steps[6].code) == (Verdict.WARNING, "E1756")
    assert "no time" in steps[7].said


@pytest.mark.parametrize(
    ("time_of", "more", "code", "words"),
    [
        (lambda: now_ms() - 60_000, {}, "E1851", "60.0 s behind ours"),
        (
            lambda: (datetime.now(UTC) + timedelta(hours=5, minutes=30)).isoformat()[:19],
            {},
            "E1852",
            "say time_zone: Asia/Kolkata",
        ),
        (
            lambda: f"{(datetime.now(UTC) + timedelta(hours=1)).isoformat()[:19]}Z",
            {},
            "E1852",
            "no time_zone helps",
        ),
        (lambda: now_ms(), {"time_unit": "s"}, "E1853", "say time_unit: ms"),
        (lambda: 12_345, {}, "E1854", "it says 1970-01-01"),
        (lambda: now_ms() - 3 * 86_400_000, {}, "E1855", "3 days behind"),
    ],
)
async def test_each_way_in_which_a_clock_is_wrong(
    broker: SecuredMosquitto,
    peer: Peer,
    time_of: Callable[[], object],
    more: dict[str, object],
    code: str,
    words: str,
) -> None:
    def send() -> None:
        peer.send("works/press/state", {"ts": time_of(), "force": 1})

    step = (await hearing(broker, peer, send, listen_s=0.4, **more))[7]
    assert (step.rung, step.verdict, step.code) == (Rung.CLOCK, Verdict.WARNING, code), step
    assert words in f"{step.said} {step.fix}"


# Sparkplug


def metrics(seq: int, **values: float) -> bytes:
    message = pb.Payload(timestamp=now_ms(), seq=seq)
    for name, value in values.items():
        message.metrics.add(name=name, timestamp=now_ms(), datatype=10, double_value=value)
    return message.SerializeToString()


def birth(number: int = 1) -> bytes:
    message = pb.Payload(timestamp=now_ms(), seq=0)
    message.metrics.add(name="bdSeq", timestamp=now_ms(), datatype=8, long_value=number)
    message.metrics.add(name="Force", timestamp=now_ms(), datatype=10, double_value=1.0)
    return message.SerializeToString()


async def test_births_of_edge_nodes_are_counted(broker: SecuredMosquitto, peer: Peer) -> None:
    def send() -> None:
        peer.send("spBv1.0/Born/NBIRTH/E1", birth())
        peer.send("spBv1.0/Born/NDATA/E1", metrics(1, Force=2.0))

    steps = await hearing(broker, peer, send, kind="sparkplug", group="Born")
    assert steps[6].verdict is Verdict.PASSED, steps[6]
    assert "Born/E1 (2 metrics)" in steps[6].said or "Born/E1 (1 metrics)" in steps[6].said
    assert steps[7].verdict is Verdict.PASSED


@pytest.mark.parametrize(
    ("mode", "asked"), [("secondary-active", True), ("secondary-passive", False)]
)
async def test_a_birth_that_was_before_is_asked_for_only_where_the_mode_allows_it(
    broker: SecuredMosquitto, peer: Peer, mode: str, asked: bool
) -> None:
    group = f"Late-{mode}"
    commands: list[str] = []
    listening = paho.Client(paho.CallbackAPIVersion.VERSION2)
    listening.on_message = lambda _c, _d, message: commands.append(message.topic)
    listening.connect("127.0.0.1", broker.port["plain"])
    listening.subscribe(f"spBv1.0/{group}/NCMD/#")
    listening.loop_start()
    try:
        steps = await hearing(
            broker,
            peer,
            lambda: peer.send(f"spBv1.0/{group}/NDATA/E1", metrics(3, Force=2.0)),
            kind="sparkplug",
            group=group,
            sparkplug={"mode": mode},
        )
        if asked:
            await until(lambda: f"spBv1.0/{group}/NCMD/E1" in commands)
    finally:
        listening.disconnect()
        listening.loop_stop()
    assert bool(commands) is asked
    assert steps[6].code == "E1761" and f"{group}/E1" in steps[6].said
    assert ("asked for their births" in steps[6].fix) is asked


async def test_nodes_that_wait_for_a_host_and_nodes_that_are_gone(
    broker: SecuredMosquitto, peer: Peer
) -> None:
    peer.send("spBv1.0/STATE/plant-host", {"online": False, "timestamp": 1}, retain=True)
    step = (await climbed(url_of(broker, "plain"), kind="sparkplug", group="Waiting"))[6]
    peer.send("spBv1.0/STATE/plant-host", b"", retain=True)
    assert step.code == "E1762" and "plant-host says offline" in step.said
    assert "aurelian" in step.fix
    death = pb.Payload(timestamp=now_ms())
    death.metrics.add(name="bdSeq", timestamp=now_ms(), datatype=8, long_value=1)
    sent = False

    def send() -> None:
        nonlocal sent
        if not sent:
            peer.send("spBv1.0/Gone/NBIRTH/E1", birth())
            peer.send("spBv1.0/Gone/NDEATH/E1", death.SerializeToString())
            sent = True

    async def soon() -> None:
        await asyncio.sleep(0.4)
        await asyncio.to_thread(send)

    sending = asyncio.create_task(soon())
    step = (await climbed(url_of(broker, "plain"), kind="sparkplug", group="Gone", listen_s=1.2))[6]
    await sending
    assert step.code == "E1763" and "Gone/E1" in step.said


# What stays behind


async def test_a_gateway_that_runs_is_not_disturbed_and_nothing_stays_at_the_broker(
    broker: SecuredMosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a session under one of its names, nor a message of it: no STATE, no Will."""
    names: list[str] = []

    def noted(*given: object, **more: object) -> Wire:
        names.append(str(given[0]))
        return Wire(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("mqtt_gateway.connect.attempt.Wire", noted)
    said: list[str] = []
    listening = paho.Client(paho.CallbackAPIVersion.VERSION2)
    listening.on_message = lambda _c, _d, message: said.append(message.topic)
    listening.connect("127.0.0.1", broker.port["plain"])
    listening.subscribe("#")
    listening.loop_start()
    url = url_of(broker, "plain")
    await climbed(url, kind="sparkplug", group="Quiet")
    await climbed(url, share="g", listen_s=0.1)
    listening.disconnect()
    listening.loop_stop()
    assert not said
    assert len(set(names)) == 3
    assert all(each.startswith("aurelian-ladder-x-connect-") for each in names)
    for name in names:  # a session that were kept would be found again by its name
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, name, protocol=paho.MQTTv5)
        present: list[bool] = []
        client.on_connect = lambda _c, _d, flags, *_, p=present: p.append(flags.session_present)
        client.connect("127.0.0.1", broker.port["plain"], clean_start=False)
        client.loop_start()
        await until(lambda p=present: bool(p))  # type: ignore[misc]
        client.disconnect()
        client.loop_stop()
        assert present == [False]


async def test_nothing_but_cancellation_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("mqtt_gateway.connect.ladder.wanted_of", broken)
    [step] = [each async for each in climb(model_of("mqtt://127.0.0.1"), settings_for_tests())]
    assert (step.verdict, step.code) == (Verdict.FAILED, "E1199") and "a bug" in step.said
