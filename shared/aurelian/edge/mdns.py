"""Servers and brokers that announce themselves on the network by mDNS (RFC 6762, DNS-SD); the only
importer of zeroconf. Called by find.py, when somebody asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from zeroconf import InterfaceChoice, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

OPCUA, MQTT, SECURE_MQTT = (
    f"{each}._tcp.local." for each in ("_opcua-tcp", "_mqtt", "_secure-mqtt")
)
TYPES = (OPCUA, MQTT, SECURE_MQTT)
_ANSWERS_WITHIN_MS = 1500
_MOST = 256


@dataclass(frozen=True, slots=True)
class Announced:
    """What somebody says of a server of its.

    Attributes:
        type: one of `TYPES`.
        name: that people gave it.
        host: the machine's name, as `press.local`.
        addresses: of the machine.
        path: OPC UA: of its url (TXT record `path`), with its slash; empty: none.
    """

    type: str
    name: str
    host: str
    addresses: tuple[str, ...]
    port: int
    path: str = ""


async def announced(seconds: float, interfaces: Sequence[str] = ()) -> AsyncIterator[Announced]:
    """Ask once and listen for so long. `interfaces`: addresses of this machine to ask from; none:
    all of them.

    Raises:
        OSError: no network to ask on.
    """
    choice = list(interfaces) if interfaces else InterfaceChoice.Default
    heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue(_MOST)

    def note(
        zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
    ) -> None:
        if state_change is ServiceStateChange.Added and not heard.full():
            heard.put_nowait((service_type, name))

    async with AsyncZeroconf(interfaces=choice) as network:
        browser = AsyncServiceBrowser(network.zeroconf, list(TYPES), handlers=[note])
        try:
            loop = asyncio.get_running_loop()
            ends = loop.time() + seconds
            while (left := ends - loop.time()) > 0:
                try:
                    async with asyncio.timeout(left):
                        kind, name = await heard.get()
                except TimeoutError:
                    return
                found = AsyncServiceInfo(kind, name)
                if await found.async_request(network.zeroconf, _ANSWERS_WITHIN_MS):
                    yield _announced(found)
        finally:
            await browser.async_cancel()


def _announced(found: AsyncServiceInfo) -> Announced:
    path = ""
    said = found.properties.get(b"path")
    if found.type == OPCUA and said:
        path = said.decode(errors="replace")[:500]
        path = path if path.startswith("/") else f"/{path}"
    return Announced(
        type=found.type,
        name=found.name.removesuffix(f".{found.type}"),
        host=(found.server or "").rstrip("."),
        addresses=tuple(found.parsed_scoped_addresses()),
        port=found.port or 0,
        path="" if path == "/" else path,
    )
