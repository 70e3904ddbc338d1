"""Finding servers and brokers: real ones on loopback, and mDNS by zeroconf's own registration."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from asyncua.common.connection import TransportLimits
from asyncua.server.binary_server_asyncio import BinaryServer
from asyncua.server.internal_server import InternalServer
from zeroconf import ServiceInfo
from zeroconf.asyncio import AsyncZeroconf

from aurelian.edge import find as finding
from aurelian.edge.find import Found, Kind, find
from aurelian.edge.knock import Speaks, knock
from aurelian.local import ports
from tests.peers.secured_mosquitto import SecuredMosquitto, secured_mosquitto
from tests.waiting import until

pytestmark = pytest.mark.mosquitto


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredMosquitto]:
    with secured_mosquitto(tmp_path_factory.mktemp("broker")) as found:
        yield found


@asynccontextmanager
async def opcua_server() -> AsyncIterator[int]:
    """What asyncua says before there is a session: no address space is needed for that."""
    port = ports.any_free()
    server = BinaryServer(InternalServer(), "127.0.0.1", port, TransportLimits())
    await server.start()
    yield port
    await server.stop()


@asynccontextmanager
async def answering(said: bytes) -> AsyncIterator[int]:
    """Something that says one thing to whoever comes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(said)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def all_found(*wanted: str, mdns_s: float = 0.0) -> dict[str, Found]:
    found = find(wanted, mdns_s=mdns_s, interfaces=["127.0.0.1"], timeout_s=3.0)
    return {each.url: each async for each in found}


async def test_each_way_of_a_broker_and_an_opcua_server_are_told_by_their_answer(
    broker: SecuredMosquitto,
) -> None:
    port = broker.port
    async with (
        opcua_server() as plc,
        answering(b"HTTP/1.1 404 Not Found\r\nServer: x\r\n\r\n") as web,
    ):
        wanted = [*port.values(), plc, web, ports.any_free()]
        found = await all_found(*(f"127.0.0.1:{each}" for each in wanted))
    assert {url: each.kind for url, each in found.items()} == {
        f"mqtt://127.0.0.1:{port['plain']}": Kind.MQTT,
        f"mqtt://127.0.0.1:{port['password']}": Kind.MQTT,
        f"mqtts://127.0.0.1:{port['tls']}": Kind.MQTT,
        f"tcp://127.0.0.1:{port['mutual']}": Kind.OTHER,
        f"ws://127.0.0.1:{port['websocket']}/mqtt": Kind.MQTT,
        f"wss://127.0.0.1:{port['secure_websocket']}/mqtt": Kind.MQTT,
        f"opc.tcp://127.0.0.1:{plc}": Kind.OPCUA,
        f"tcp://127.0.0.1:{web}": Kind.OTHER,
    }
    said = {url.rpartition(":")[2].split("/")[0]: each.said for url, each in found.items()}
    assert said[str(port["plain"])] == "an MQTT broker; it lets everybody in"
    assert said[str(port["password"])] == "an MQTT broker; it wants a name and a password"
    assert "wants a certificate" in said[str(port["mutual"])]
    assert said[str(web)] == "a web server (x)"
    assert found[f"opc.tcp://127.0.0.1:{plc}"].how == f"port {plc} of 127.0.0.1"


async def test_the_usual_port_of_a_broker_that_wants_a_certificate_is_a_brokers(
    broker: SecuredMosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "MQTT_PORTS", (broker.port["plain"],))
    monkeypatch.setattr(finding, "OPCUA_PORTS", ())
    found = await all_found("127.0.0.1/31", "localhost")
    assert {each.kind for each in found.values()} == {Kind.MQTT}
    assert f"mqtt://localhost:{broker.port['plain']}" in found


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("10.0.0.0/23", "512 addresses; at most 256"),
        ("10.0.0.0/33", "no network"),
        ("a b", "no host"),
        ("host:99999", "out of range"),
    ],
)
async def test_more_than_256_addresses_are_never_searched(wanted: str, said: str) -> None:
    with pytest.raises(finding.FindError, match=said):
        await all_found(wanted)


def test_networks_count_together() -> None:
    assert len({host for host, _ in finding.places_of(["10.0.0.0/25", "10.0.1.0/26"])}) == 188
    with pytest.raises(finding.FindError, match="more than 256"):
        finding.places_of(["10.0.0.0/24", "10.0.1.0/29"])


def test_ports_are_taken_one_after_the_other_of_all_machines() -> None:
    first = finding.places_of(["::1", "10.0.0.1", "10.0.0.2:1884", "mqtt://x:1"])[:4]
    assert first == [("::1", 4840), ("10.0.0.1", 4840), ("10.0.0.2", 1884), ("x", 1)]


async def test_no_more_than_64_connections_stand_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = most = 0

    async def takes(place: object, timeout_s: float) -> bool:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001)
        now -= 1
        return False

    monkeypatch.setattr(finding, "_takes_connections", takes)
    assert not [each async for each in find(["10.0.0.0/26"], at_once=1000)]
    assert most == 64


async def test_what_is_announced_by_mdns_is_found_and_asked(broker: SecuredMosquitto) -> None:
    async with AsyncZeroconf(interfaces=["127.0.0.1"]) as network:

        async def announce(kind: str, name: str, port: int, **said: str) -> None:
            info = ServiceInfo(
                f"{kind}._tcp.local.",
                f"{name}.{kind}._tcp.local.",
                port,
                addresses=[socket.inet_aton("127.0.0.1")],
                server="hall.local.",
                properties=said,
            )
            await network.async_register_service(info)

        silent = ports.any_free()
        async with opcua_server() as plc:
            async with asyncio.TaskGroup() as tasks:
                for said in (
                    announce("_opcua-tcp", "Press 7", plc, path="/plc", caps="LDS"),
                    announce("_mqtt", "Hall broker", broker.port["plain"]),
                    announce("_secure-mqtt", "Safe broker", broker.port["mutual"]),
                    announce("_mqtt", "Gone", silent),
                ):
                    tasks.create_task(said)
            found = await all_found(mdns_s=3.0)
    assert {url: (each.name, each.kind) for url, each in found.items()} == {
        f"opc.tcp://127.0.0.1:{plc}/plc": ("Press 7", Kind.OPCUA),
        f"mqtt://127.0.0.1:{broker.port['plain']}": ("Hall broker", Kind.MQTT),
        f"mqtts://127.0.0.1:{broker.port['mutual']}": ("Safe broker", Kind.MQTT),
        f"mqtt://127.0.0.1:{silent}": ("Gone", Kind.MQTT),
    }
    assert found[f"mqtt://127.0.0.1:{silent}"].said == ""
    assert found[f"opc.tcp://127.0.0.1:{plc}/plc"].how == (
        "announced by mDNS as 'Press 7' on hall.local"
    )


async def test_nothing_is_listened_for_where_nobody_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def must_not(*_: object) -> None:
        raise AssertionError("mDNS was asked")

    monkeypatch.setattr(finding.mdns, "announced", must_not)
    assert not await all_found()


async def test_a_knock_leaves_no_session_and_a_silent_port_is_nobody(
    broker: SecuredMosquitto,
) -> None:
    answer = await knock("127.0.0.1", broker.port["plain"])
    assert answer is not None and (answer.speaks, answer.version) == (Speaks.MQTT, "5")
    log = broker.log.read_text()
    names = set(re.findall(r" as (knock-\w+) \(p\d, c1, k\d+\)", log))
    assert names
    await until(
        lambda: all(re.search(rf"Client {n} (disc|closed)", broker.log.read_text()) for n in names),
        lambda: str(names) + broker.log.read_text()[-3000:],
        3,
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert await knock("127.0.0.1", port, 0.1) is None
