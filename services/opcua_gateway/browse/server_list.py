"""Which endpoints a server has and which servers it knows (GetEndpoints, FindServers), each with
the address to use for it; called by command.py."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import urlsplit, urlunsplit

from asyncua import Client, ua

from opcua_gateway.session import SessionLost, translated
from opcua_gateway.what_answers import explained

_KNOCK_S = 1.0


@dataclass(frozen=True, slots=True)
class Offer:
    """An endpoint, or a further server that this one knows (then without `policy`).

    Attributes:
        advertised: its address as the server has it.
        url: the address to use: the host that was asked, where the advertised one does not answer.
        tokens: ways to sign in.
        sha256: of its certificate, in hexadecimal digits.
    """

    advertised: str
    url: str
    application_uri: str
    policy: str = ""
    mode: str = ""
    tokens: tuple[str, ...] = ()
    sha256: str = ""


async def find_offers(url: str, timeout_s: float) -> list[Offer]:
    """Ask an address for its endpoints, then for the servers that it knows.

    Raises:
        SessionLost: nobody answers.
    """
    try:
        with translated(f"ask {url} for its endpoints"):
            endpoints = await Client(url, timeout=timeout_s).connect_and_get_server_endpoints()
    except SessionLost as error:
        raise await explained(error, url) from error.__cause__
    servers: list[ua.ApplicationDescription] = []
    with suppress(SessionLost), translated(f"ask {url} for servers"):
        servers = await Client(url, timeout=timeout_s).connect_and_find_servers()
    known = {each.EndpointUrl or "" for each in endpoints}
    further = [
        (address, each.ApplicationUri or "")
        for each in servers
        for address in each.DiscoveryUrls or ()
        if address and address not in known
    ]
    advertised = {address for address in (*known, *(address for address, _ in further)) if address}
    use = await _usable(url, advertised)
    offers = [
        Offer(
            each.EndpointUrl or "",
            use.get(each.EndpointUrl or "", url),
            each.Server.ApplicationUri or "",
            (each.SecurityPolicyUri or "None").rpartition("#")[2],
            each.SecurityMode.name.rstrip("_"),
            tuple(token.TokenType.name for token in each.UserIdentityTokens or ()),
            sha256(each.ServerCertificate).hexdigest().upper() if each.ServerCertificate else "",
        )
        for each in endpoints
    ]
    return offers + [Offer(address, use[address], name) for address, name in further]


async def _usable(asked: str, advertised: Iterable[str]) -> dict[str, str]:
    """The address to use for each that is advertised: servers often name a host that only they
    know."""
    found = {}
    answers: dict[tuple[str, int], bool] = {}
    for address in sorted(advertised):
        try:
            parts = urlsplit(address)
            place = (parts.hostname or "", parts.port or 4840)
        except ValueError:
            found[address] = asked
            continue
        if place not in answers:
            answers[place] = await _answers(*place)
        host = urlsplit(asked).hostname or ""
        if not answers[place]:
            shown = f"[{host}]" if ":" in host else host
            parts = parts._replace(netloc=f"{shown}:{place[1]}")
        found[address] = urlunsplit(parts)
    return found


async def _answers(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(_KNOCK_S):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError, UnicodeError):
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True
