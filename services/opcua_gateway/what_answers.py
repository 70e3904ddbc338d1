"""What stands behind a port that does not answer as an OPC UA server does; asked by endpoints.py,
connection.py and `aurelian browse` after an attempt ran into its time-out, and by the connection
ladder."""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit

from aurelian.edge.knock import hello
from opcua_gateway.failures import SessionLost
from opcua_gateway.no_connection import joined

_KNOCK_S = 1.0
_MOST_REASON = 300
_MQTT_CONNECT = bytes.fromhex("101000044d5154540402003c000461757265")
"""CONNECT of MQTT 3.1.1 with the client id `aure`, which brokers answer with CONNACK."""

_SILENT = (
    "something takes connections there and says nothing: does the OPC UA server hang, or is the "
    "port that of something else?"
)


class Answer(Enum):
    """Who answers to an OPC UA Hello."""

    NOBODY = "nobody"  # takes the connection
    OPCUA = "an OPC UA server"
    REFUSING = "an OPC UA server that refuses"  # with a status
    HTTP = "an HTTP server"
    MQTT = "an MQTT broker"
    TLS = "something that speaks TLS"
    SSH = "an SSH server"
    OTHER = "something else"
    SILENT = "something silent"
    HANGS_UP = "something that hangs up"


@dataclass(frozen=True, slots=True)
class Answered:
    """Who answers at a port.

    Attributes:
        first: the first bytes.
        status, reason: of a server that refuses.
    """

    who: Answer
    first: bytes = b""
    status: int = 0
    reason: str = ""

    @property
    def shown(self) -> str:
        """Who it is, in a sentence."""
        if self.who is Answer.OTHER:
            return f"it begins {self.first[:12]!r}"
        return str(self.who.value)


async def explained(error: SessionLost, url: str) -> SessionLost:
    """The same error; where it is a time-out and something is there all the same, with what it
    is."""
    if type(error) is not SessionLost or not isinstance(error.__cause__, TimeoutError):
        return error
    answered = await who_answers(url)
    if answered.who in (Answer.NOBODY, Answer.OPCUA, Answer.REFUSING):
        return error
    step = _SILENT
    if answered.who not in (Answer.SILENT, Answer.HANGS_UP):
        step = (
            f"something answers there that does not speak OPC UA ({answered.shown}): is the port "
            "in the url that of the OPC UA server (often 4840)?"
        )
    made = SessionLost(joined(error.reason, ": ", step), step)
    made.__cause__ = error.__cause__
    return made


async def who_answers(url: str) -> Answered:
    """Knock with a Hello, and see who is there; takes 4 s at most."""
    # The empty line is for those that read lines.
    found = await _knock(url, hello(url) + b"\r\n\r\n")
    if found is None:
        return Answered(Answer.NOBODY)
    first, has_hung_up = found
    if first.startswith(b"ACKF"):
        return Answered(Answer.OPCUA, first)
    if first.startswith(b"ERRF"):
        return Answered(Answer.REFUSING, first, *_error_of(first))
    if first.startswith(b"HTTP") or first[:1] == b"<":
        return Answered(Answer.HTTP, first)
    if first[:2] == b"\x15\x03":
        return Answered(Answer.TLS, first)
    if first.startswith(b"SSH-"):
        return Answered(Answer.SSH, first)
    if first:
        return Answered(Answer.OTHER, first)
    # A broker says nothing to who does not speak as its clients do.
    again = await _knock(url, _MQTT_CONNECT)
    if again is not None and again[0][:1] == b"\x20":
        return Answered(Answer.MQTT, again[0])
    return Answered(Answer.HANGS_UP if has_hung_up else Answer.SILENT)


async def _knock(url: str, said: bytes) -> tuple[bytes, bool] | None:
    """The first bytes that come after some of ours, and whether the other side ended the
    connection; None: nobody takes it."""
    try:
        parts = urlsplit(url)
        async with asyncio.timeout(_KNOCK_S):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 4840)
    except (OSError, TimeoutError, ValueError):
        return None
    try:
        writer.write(said)
        async with asyncio.timeout(_KNOCK_S):
            first = await reader.read(1024)
            return first, not first
    except TimeoutError:
        return b"", False
    except OSError:
        return b"", True
    finally:
        writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_KNOCK_S):
                await writer.wait_closed()


def _error_of(message: bytes) -> tuple[int, str]:
    """Status and reason of an Error message (part 6, 7.1.2.5)."""
    if len(message) < 12:
        return 0, ""
    (status,) = struct.unpack_from("<I", message, 8)
    length = struct.unpack_from("<i", message, 12)[0] if len(message) >= 16 else 0
    return status, message[16 : 16 + max(0, length)].decode("utf-8", "replace")[:_MOST_REASON]
