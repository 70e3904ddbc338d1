"""Servers and brokers on the network: at addresses that somebody names, and by mDNS. Called by
`aurelian connect`.

Nothing is looked at that nobody asked for: no network of this machine is searched by itself, and at
most 256 addresses are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from aurelian.backbone.cancellation import next_of
from aurelian.edge import mdns
from aurelian.edge.knock import ALL, Answer, Knock, Speaks, knock

OPCUA_PORTS = (4840, 4841, 48010, 48020, 48030, 49320, 53530, 62541)
MQTT_PORTS = (1883, 8883, 9001)
MOST_ADDRESSES = 256
AT_ONCE = 64
"""Connections that are tried at a time."""

_FIRST = {
    1883: Knock.MQTT,
    8883: Knock.SECURE_MQTT,
    9001: Knock.HTTP,
    **dict.fromkeys(OPCUA_PORTS, Knock.OPCUA),
}
_SCHEMES = {
    (Speaks.MQTT, False): "mqtt",
    (Speaks.MQTT, True): "mqtts",
    (Speaks.WEBSOCKET, False): "ws",
    (Speaks.WEBSOCKET, True): "wss",
}


class FindError(ValueError):
    """What was asked for cannot be searched; the text says why and what to write."""


class Kind(StrEnum):
    """What was found."""

    OPCUA = "opcua"
    MQTT = "mqtt"
    OTHER = "other"  # somebody else has the port


@dataclass(frozen=True, slots=True)
class Found:
    """A server or broker.

    Attributes:
        url: for a source of the plant file; of kind `other`: `tcp://host:port`.
        name: that it has on the network, else its host.
        how: it was found, for people.
        said: what it is by its own answer; empty: it was announced and does not answer.
    """

    url: str
    kind: Kind
    name: str
    how: str
    said: str


@dataclass(frozen=True, slots=True)
class _Place:
    """A port to knock at; `first`: how, before all others; None: as its number says."""

    host: str
    port: int
    name: str
    how: str
    path: str = ""
    first: Knock | None = None


def places_of(wanted: Iterable[str]) -> list[tuple[str, int]]:
    """Hosts and ports to knock at: of a name or address the usual ports, of `host:port` or a url
    that one, of a network as `192.168.1.0/28` the usual ports of each address.

    Raises:
        FindError: it is none of these, or more than 256 addresses.
    """
    hosts: dict[str, tuple[int, ...]] = {}
    for text in wanted:
        for host, ports in _read(text.strip()):
            hosts[host] = tuple(dict.fromkeys((*hosts.get(host, ()), *ports)))
            if len(hosts) > MOST_ADDRESSES:
                raise FindError(
                    f"more than {MOST_ADDRESSES} addresses: name fewer, or a smaller network "
                    "(192.168.1.0/24 has 256)"
                )
    # Port by port: so no machine is knocked at at all its ports at once.
    most = max(map(len, hosts.values()), default=0)
    return [
        (host, ports[n]) for n in range(most) for host, ports in hosts.items() if n < len(ports)
    ]


def _read(text: str) -> list[tuple[str, tuple[int, ...]]]:
    usual = (*OPCUA_PORTS, *MQTT_PORTS)
    if "://" not in text and "/" in text:
        try:
            network = ip_network(text, strict=False)
        except ValueError as error:
            raise FindError(f"{text[:80]!r} is no network; say 192.168.1.0/28") from error
        if network.num_addresses > MOST_ADDRESSES:
            raise FindError(
                f"{network} has {network.num_addresses} addresses; at most {MOST_ADDRESSES} are "
                "searched: say a smaller one"
            )
        return [(str(each), usual) for each in network.hosts()]
    with suppress(ValueError):
        return [(str(ip_address(text)), usual)]  # IPv6 has colons too
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise FindError(f"{text[:80]!r}: {error}") from error
    if not host or any(each.isspace() for each in host):
        raise FindError(f"{text[:80]!r} is no host; say its name or its IP address")
    return [(host, usual if port is None else (port,))]


async def find(
    wanted: Sequence[str] = (),
    *,
    mdns_s: float = 0.0,
    interfaces: Sequence[str] = (),
    timeout_s: float = 1.0,
    at_once: int = AT_ONCE,
) -> AsyncIterator[Found]:
    """Yield what answers, each url once, as it comes.

    Args:
        wanted: hosts, addresses, `host:port`, networks; see `places_of`.
        mdns_s: listen for announcements for so long; 0: not at all.
        interfaces: see `mdns.announced`.
        timeout_s: of each connection and each answer.
        at_once: connections at a time, at most 64.

    Raises:
        FindError: as `places_of`.
    """
    places = [
        _Place(host, port, host, f"port {port} of {host}") for host, port in places_of(wanted)
    ]
    found: asyncio.Queue[Found | None] = asyncio.Queue()
    doors = asyncio.Semaphore(max(1, min(at_once, AT_ONCE)))
    # Not a TaskGroup: a group may not span the yields of a generator.
    search = _search(places, mdns_s, interfaces, timeout_s, doors, found)
    searching = asyncio.create_task(search, name="find servers and brokers")
    urls: set[str] = set()
    try:
        while (each := await next_of(searching, found)) is not None:
            if each.url not in urls:
                urls.add(each.url)
                yield each
    finally:
        searching.cancel()
        await asyncio.wait({searching})


async def _search(
    places: Sequence[_Place],
    mdns_s: float,
    interfaces: Sequence[str],
    timeout_s: float,
    doors: asyncio.Semaphore,
    found: asyncio.Queue[Found | None],
) -> None:
    waiting = iter(places)

    async def walk() -> None:
        for place in waiting:
            await _look(place, timeout_s, doors, found)

    async with asyncio.TaskGroup() as tasks:
        if mdns_s > 0:
            listening = _listen(mdns_s, interfaces, timeout_s, doors, found)
            tasks.create_task(listening, name="find by mDNS")
        for _ in range(min(AT_ONCE, len(places))):
            tasks.create_task(walk(), name="find by knocking")
    await found.put(None)
    await asyncio.Event().wait()  # until the caller has taken all of it


async def _listen(
    seconds: float,
    interfaces: Sequence[str],
    timeout_s: float,
    doors: asyncio.Semaphore,
    found: asyncio.Queue[Found | None],
) -> None:
    try:
        async for each in mdns.announced(seconds, interfaces):
            kind = Kind.OPCUA if each.type == mdns.OPCUA else Kind.MQTT
            host = next(iter(each.addresses), each.host)
            first = {mdns.OPCUA: Knock.OPCUA, mdns.MQTT: Knock.MQTT}.get(
                each.type, Knock.SECURE_MQTT
            )
            how = f"announced by mDNS as {each.name!r} on {each.host}"
            place = _Place(host, each.port, each.name, how, each.path, first)
            if not await _look(place, timeout_s, doors, found):
                scheme = "opc.tcp" if kind is Kind.OPCUA else "mqtt"
                scheme = "mqtts" if first is Knock.SECURE_MQTT else scheme
                url = f"{scheme}://{_bracketed(host)}:{each.port}{each.path}"
                await found.put(Found(url, kind, each.name, how, ""))
    except OSError:
        return  # no network to ask on: what was named is looked at all the same


async def _look(
    place: _Place, timeout_s: float, doors: asyncio.Semaphore, found: asyncio.Queue[Found | None]
) -> bool:
    """Knock at one port; whether something answers."""
    async with doors:
        if not await _takes_connections(place, timeout_s):
            return False
        first = place.first or _FIRST.get(place.port)
        knocks = ALL if first is None else (first, *(each for each in ALL if each is not first))
        answer = await knock(place.host, place.port, timeout_s, knocks)
    if answer is not None:
        await found.put(_found(place, answer))
    return answer is not None


async def _takes_connections(place: _Place, timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(place.host, place.port)
    except (OSError, TimeoutError, UnicodeError):
        return False
    writer.close()
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(timeout_s):
            await writer.wait_closed()
    return True


def _found(place: _Place, answer: Answer) -> Found:
    where = f"{_bracketed(place.host)}:{place.port}"
    scheme = _SCHEMES.get((answer.speaks, answer.secure))
    if answer.speaks is Speaks.OPCUA:
        return Found(
            f"opc.tcp://{where}{place.path}", Kind.OPCUA, place.name, place.how, answer.said
        )
    if scheme is not None:
        url = f"{scheme}://{where}{answer.path}"
        return Found(url, Kind.MQTT, place.name, place.how, answer.said)
    # The usual port of a broker that shows itself to nobody without a certificate.
    if answer.speaks is Speaks.TLS and (place.port == 8883 or place.first is Knock.SECURE_MQTT):
        return Found(f"mqtts://{where}", Kind.MQTT, place.name, place.how, answer.said)
    return Found(f"tcp://{where}", Kind.OTHER, place.name, place.how, answer.said)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
