"""The connection ladder: the steps from a name to values, one after another, each with what was
found and what to do. Climbed by the gateways' own `ladder.py`; the first two rungs, which every
protocol has, are here."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address


class Rung(StrEnum):
    """A step of the ladder, in the order in which they are climbed."""

    DNS = "dns"  # the name is known here
    TCP = "tcp"  # something listens at the port
    ENDPOINT = "endpoint"  # it speaks the protocol, and offers what we want of security
    CERTIFICATE = "certificate"  # each side trusts the other's certificate
    SIGN_IN = "sign_in"  # it lets us in
    SUBSCRIBE = "subscribe"  # it gives us what we ask for
    VALUES = "values"  # values arrive
    CLOCK = "clock"  # their times agree with ours


class Verdict(StrEnum):
    """How a step went."""

    PASSED = "passed"
    WARNING = "warning"  # goes on, and somebody should know
    FAILED = "failed"  # the ladder ends here
    NOT_REACHED = "not_reached"  # one below it failed
    NOT_NEEDED = "not_needed"  # this source has no such step


CODES: Mapping[Rung, str] = {rung: f"E1{n}" for n, rung in enumerate(Rung, start=1)}
"""First three characters of the error codes of a rung; `E1` is "connect", two digits follow."""


@dataclass(frozen=True, slots=True)
class Step:
    """What was found at one rung.

    Attributes:
        rung: which.
        verdict: how it went.
        said: what was found, one plain sentence; never a secret.
        fix: what to do about it, with the command where there is one; empty where nothing is to
            be done.
        code: of the sentence, say `E1201`, for documentation and search; empty when it passed.
        seconds: that it took.
        facts: what a person compares or a program reads, say both fingerprints; JSON-ready texts.
    """

    rung: Rung
    verdict: Verdict
    said: str
    fix: str = ""
    code: str = ""
    seconds: float = 0.0
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def ends(self) -> bool:
        """Whether nothing above it can be tried."""
        return self.verdict is Verdict.FAILED


async def whole(steps: AsyncIterator[Step]) -> AsyncIterator[Step]:
    """The steps as they come, and after a failed one each rung above it as not reached."""
    last: Step | None = None
    async for step in steps:
        last = step
        yield step
    if last is None or not last.ends:
        return
    for rung in list(Rung)[list(Rung).index(last.rung) + 1 :]:
        yield Step(rung, Verdict.NOT_REACHED, "not tried: a step before it failed")


async def name_and_port(host: str, port: int, timeout_s: float) -> AsyncIterator[Step]:
    """Climb the first two rungs; ends after a failed one. `host`: as urlsplit gives it."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(timeout_s):
            found = await asyncio.get_running_loop().getaddrinfo(
                host, port, type=socket.SOCK_STREAM
            )
    except (OSError, TimeoutError, UnicodeError) as error:
        yield _unknown_name(host, error, time.monotonic() - began)
        return
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    yield Step(
        Rung.DNS,
        Verdict.PASSED,
        f"{host} is an address" if _is_address(host) else f"{host} is {', '.join(addresses[:4])}",
        seconds=time.monotonic() - began,
        facts={"addresses": " ".join(addresses)},
    )
    began = time.monotonic()
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError) as error:
        yield _no_port(host, port, error, time.monotonic() - began)
        return
    writer.close()
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(1):
            await writer.wait_closed()
    said = f"something listens at port {port}"
    yield Step(Rung.TCP, Verdict.PASSED, said, seconds=time.monotonic() - began)


def _is_address(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _unknown_name(host: str, error: BaseException, seconds: float) -> Step:
    if isinstance(error, TimeoutError):
        said, code = f"the name server does not answer when asked for {host}", "E1102"
        fix = (
            "is this machine in the right network? The machine's IP address in the url does without"
        )
    elif isinstance(error, UnicodeError):
        said, code = f"{host[:80]!r} can be no host name", "E1103"
        fix = "write the machine's name or its IP address into the url"
    else:
        said, code = f"nobody here knows a machine named {host}", "E1101"
        fix = (
            "is it spelled right? Ask who runs the network, or write the machine's IP address into "
            "the url; it stands on the machine's network page"
        )
    return Step(Rung.DNS, Verdict.FAILED, said, fix, code, seconds)


_NO_WAY = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN})


def _no_port(host: str, port: int, error: BaseException, seconds: float) -> Step:
    # Several addresses were tried: the library raises one error that quotes all.
    number = getattr(error, "errno", None)
    if isinstance(error, ConnectionRefusedError) or "refused" in str(error).lower():
        said, code = f"{host} is there, and nothing listens at port {port}", "E1201"
        fix = "is the server switched on in the machine, and is the port right?"
    elif isinstance(error, TimeoutError) or number == errno.ETIMEDOUT:
        said, code = f"{host} does not answer at port {port}", "E1202"
        fix = "is it switched on, is its cable in, does a firewall stand between?"
    elif number in _NO_WAY or "unreachable" in str(error).lower():
        said, code = f"no way leads from here to {host}", "E1203"
        fix = "is this machine in the machine's network, and is the cable in?"
    else:
        said, code = f"no connection to {host}, port {port}: {error}", "E1204"
        fix = "look at the address, the port and the network between"
    return Step(Rung.TCP, Verdict.FAILED, said, fix, code, seconds)
