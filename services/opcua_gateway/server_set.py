"""Which further servers a server names as redundant to it, and how they are to be used (part 5,
6.3.7 to 6.3.9); called by source.py in a session."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit

from asyncua import Client, ua

from aurelian.model.opcua_model import Redundancy
from opcua_gateway.address_space import content
from opcua_gateway.in_parts import read_in_parts
from opcua_gateway.session import Session, translated
from opcua_gateway.transport_limits import keep_limits

MOST_SERVERS = 8
"""That are taken from a server's list."""

_PORT = 4840
"""Of OPC UA, where an address names none."""

_MODES: dict[int, Redundancy] = {
    ua.RedundancySupport.Cold: "cold",
    ua.RedundancySupport.Warm: "warm",
    ua.RedundancySupport.Hot: "hot",
    ua.RedundancySupport.HotAndMirrored: "hot",
}
"""Nothing is to be done where it is transparent, or there is none."""

_WANTED = (
    ua.ObjectIds.Server_ServerRedundancy_RedundancySupport,
    ua.ObjectIds.Server_ServerRedundancy_ServerUriArray,
    ua.ObjectIds.Server_ServerRedundancy_RedundantServerArray,
    ua.ObjectIds.Server_ServerArray,
)


async def read_redundancy(session: Session) -> tuple[Redundancy | None, list[str]]:
    """The mode, None: no redundancy that concerns a client; and the ApplicationUris of the others.

    Raises:
        SessionLost: the server does not answer.
    """
    wanted = [(ua.NodeId(number), ua.AttributeIds.Value) for number in _WANTED]
    found = await read_in_parts(session, wanted, len(wanted))
    support, uris, servers, own = (content(each) for each in found)
    mode = _MODES.get(support) if isinstance(support, int) else None
    if mode is None:
        return None, []
    named = [each for each in uris if isinstance(each, str)] if isinstance(uris, list) else []
    for each in servers if isinstance(servers, list) else ():
        if isinstance(server_id := getattr(each, "ServerId", None), str):
            named.append(server_id)
    ours = own[0] if isinstance(own, list) and own else ""
    return mode, [each for each in dict.fromkeys(named) if each and each != ours][:MOST_SERVERS]


async def find_addresses(url: str, uris: list[str], timeout_s: float) -> list[tuple[str, str]]:
    """Ask a server where the servers of these ApplicationUris are: url and uri of each that it
    knows; the host that was asked in place of one that nobody knows.

    Raises:
        SessionLost: it does not answer.
    """
    asking = Client(url, timeout=timeout_s)
    keep_limits(asking)
    with translated(f"ask {url} for the servers beside it"):
        servers = await asking.connect_and_find_servers()
    told = {}
    for each in servers:
        addresses = [at for at in each.DiscoveryUrls or () if at and at.startswith("opc.tcp://")]
        if each.ApplicationUri in uris and addresses:
            told[each.ApplicationUri] = addresses[0]
    return [(await _known(address, url), uri) for uri, address in told.items()]


async def _known(address: str, asked: str) -> str:
    """The address, with the host of the server that was asked where nobody knows its own: servers
    often name a host that only they know. One that is away now keeps its own."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port or _PORT
        await asyncio.get_running_loop().getaddrinfo(host, port)
    except (ValueError, OSError, UnicodeError):
        host = urlsplit(asked).hostname or ""
        shown = f"[{host}]" if ":" in host else host
        with suppress(ValueError):
            parts = urlsplit(address)
            return urlunsplit(parts._replace(netloc=f"{shown}:{parts.port or _PORT}"))
    return address
