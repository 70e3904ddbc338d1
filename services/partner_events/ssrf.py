"""The guard of outgoing webhooks: which URLs may be called, and a transport that calls the checked
address only.

Used by `sender.py` at every attempt and by the API when an endpoint is registered. https to public
addresses on ports 443 and 8443, unless the setting AURELIAN_WEBHOOK_ALLOW names the target.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import httpx

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PORTS = (443, 8443)

# One strict form, so that no two parsers can read a URL differently: no user, no fragment, no
# escapes in the host.
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?(?:[/?][!-~]*)?",
    re.IGNORECASE,
)

# What `is_global` lets through in some Python versions, and ways to say an IPv4 address in IPv6.
_NOT_PUBLIC = [
    ip_network(each)
    for each in (
        *(
            "0.0.0.0/8",
            "100.64.0.0/10",
            "169.254.0.0/16",
            "192.0.0.0/24",
            "192.88.99.0/24",
            "198.18.0.0/15",
        ),
        *(
            "::/96",
            "64:ff9b::/96",
            "64:ff9b:1::/48",
            "100::/64",
            "2001::/23",
            "2002::/16",
            "3fff::/20",
        ),
        *("5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "2001:db8::/32"),
    )
]


class Refused(ValueError):
    """The URL may not be called; the text says why and what to change."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads: host name or address in lower case without brackets."""

    host: str
    port: int
    tls: bool


@dataclass(frozen=True, slots=True)
class Allowed:
    """Targets that an administrator allows by name, over http too.

    Attributes:
        names: (host, port); port None: every port.
        networks: addresses, on every port.
    """

    names: frozenset[tuple[str, int | None]] = frozenset()
    networks: tuple[Network, ...] = ()

    def names_target(self, target: Target) -> bool:
        """True where host and port are allowed whatever the address is."""
        return (target.host, target.port) in self.names or (target.host, None) in self.names

    def has_address(self, address: Address) -> bool:
        """True where an allowed network holds the address."""
        return any(address.version == n.version and address in n for n in self.networks)


def parse_allowed(text: str) -> Allowed:
    """Read AURELIAN_WEBHOOK_ALLOW: comma separated `host`, `host:port`, `[v6]:port`, address or
    CIDR.

    Raises:
        ValueError: an entry is none of these.
    """
    names: set[tuple[str, int | None]] = set()
    networks: list[Network] = []
    for entry in (part.strip().lower() for part in text.split(",")):
        if not entry:
            continue
        try:
            networks.append(ip_network(entry))
            continue
        except ValueError:
            found = re.fullmatch(r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?", entry)
        if found is None:
            raise ValueError(f"{entry!r} is neither host, host:port nor CIDR")
        names.add((found[1].strip("[]"), int(found[2]) if found[2] else None))
    return Allowed(frozenset(names), tuple(networks))


def check_url(url: str, allowed: Allowed) -> Target:
    """Check the form of a URL and return its target. Its addresses are checked by `choose_address`.

    Raises:
        Refused: it may not be called.
    """
    found = _URL.fullmatch(url) if len(url) <= 2000 else None
    if found is None:
        raise Refused(
            "no plain URL: want https://host/path in ASCII, without user, password, fragment or "
            "escapes"
        )
    host = found["host"].lower().strip("[]").rstrip(".")
    tls = found["scheme"].lower() == "https"
    target = Target(host, int(found["port"] or (443 if tls else 80)), tls)
    _check_host(found["host"], host)
    if not 1 <= target.port <= 65535:
        raise Refused(f"port {target.port} does not exist")
    literal = _literal(host)
    relaxed = allowed.names_target(target) or (literal is not None and allowed.has_address(literal))
    if literal is not None and not relaxed and not is_public(literal):
        raise Refused(f"{host} is no public address")
    # A name may lead into an allowed network, which is known after it is resolved.
    if not relaxed and (literal is not None or not allowed.networks):
        if not tls:
            raise Refused("http is refused: use https")
        if target.port not in PORTS:
            raise Refused(f"port {target.port} is refused: use {' or '.join(map(str, PORTS))}")
    return target


def choose_address(target: Target, addresses: list[str], allowed: Allowed) -> str:
    """Return the first of the resolved addresses that may be called for this target.

    Raises:
        Refused: none may.
    """
    for text in addresses:
        address = ip_address(text.partition("%")[0])
        if allowed.names_target(target) or allowed.has_address(address):
            return str(address)
        if target.tls and target.port in PORTS and is_public(address):
            return str(address)
    if not target.tls:
        raise Refused("http is refused: use https")
    if target.port not in PORTS:
        raise Refused(f"port {target.port} is refused: use {' or '.join(map(str, PORTS))}")
    raise Refused(f"{target.host} resolves to no public address")


def is_public(address: Address) -> bool:
    """True for an address of the public internet, whatever form it is written in."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return False
    if any(address.version == n.version and address in n for n in _NOT_PUBLIC):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


async def resolve(target: Target) -> list[str]:
    """Ask for the addresses of a target, in the order of preference.

    Raises:
        OSError: the name has none.
    """
    found = await asyncio.get_running_loop().getaddrinfo(
        target.host, target.port, type=socket.SOCK_STREAM
    )
    return [str(each[4][0]) for each in found]


class GuardedTransport(httpx.AsyncBaseTransport):
    """Resolves once, checks, and connects to the checked address; the certificate is checked for
    the host's name.

    Nothing is kept between requests, so that every attempt is checked anew.
    """

    def __init__(self, allowed: Allowed, context: ssl.SSLContext | None = None) -> None:
        self._allowed = allowed
        self._inner = httpx.AsyncHTTPTransport(
            verify=context or ssl.create_default_context(),
            http1=True,
            http2=False,
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request.

        Raises:
            Refused: the target may not be called.
            httpx.ConnectError: the name does not resolve, or nobody answers.
        """
        target = check_url(str(request.url), self._allowed)
        try:
            addresses = await resolve(target)
        except (OSError, UnicodeError) as error:
            raise httpx.ConnectError(f"{target.host} does not resolve: {error}") from error
        address = choose_address(target, addresses, self._allowed)
        pinned = httpx.Request(
            request.method,
            request.url.copy_with(host=address),
            headers=request.headers,
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": target.host},
        )
        pinned.headers["Host"] = request.headers["Host"]
        return await self._inner.handle_async_request(pinned)

    async def aclose(self) -> None:
        """Close what is open."""
        await self._inner.aclose()


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _check_host(written: str, host: str) -> None:
    """Refuse hosts that a resolver reads otherwise than we do: `127.1`, `0177.0.0.1`, `2130706433`,
    `0x7f.1`."""
    if not host or ".." in host or host.startswith((".", "-")) or len(host) > 253:
        raise Refused(f"{written!r} is no host name")
    if written.startswith("["):
        if not isinstance(_literal(host), IPv6Address):
            raise Refused(f"{written!r} is no IPv6 address")
    elif re.fullmatch(r"[0-9]+|0x[0-9a-f]*", host.rpartition(".")[2]) and (
        written != host or not isinstance(_literal(host), IPv4Address)
    ):
        raise Refused(f"{written!r} is no IPv4 address as four plain numbers")
