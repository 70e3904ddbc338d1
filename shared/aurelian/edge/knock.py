"""What answers at a port: a first packet of each protocol, and what comes back. Used by find.py and
by the gateways' ladders. Nothing secret is sent, nobody signs in, and no session stays behind."""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum


class Speaks(StrEnum):
    """A protocol that something answers in."""

    OPCUA = "opcua"
    MQTT = "mqtt"
    WEBSOCKET = "websocket"  # with MQTT in it
    HTTP = "http"
    TLS = "tls"  # with nothing in it that is known here
    OTHER = "other"


class Knock(StrEnum):
    """A first packet."""

    OPCUA = "opcua"
    MQTT = "mqtt"
    HTTP = "http"
    SECURE_MQTT = "secure_mqtt"
    SECURE_HTTP = "secure_http"


@dataclass(frozen=True, slots=True)
class Answer:
    """What something said.

    Attributes:
        secure: within TLS.
        said: for people.
        version: of MQTT, `5` or `3.1.1`; empty: another protocol.
        path: of a WebSocket.
    """

    speaks: Speaks
    secure: bool
    said: str
    version: str = ""
    path: str = ""


ALL = (Knock.MQTT, Knock.OPCUA, Knock.HTTP, Knock.SECURE_MQTT, Knock.SECURE_HTTP)
_MOST_BYTES = 512
_VAGUE = (Speaks.OTHER, Speaks.TLS, Speaks.HTTP)
"""Answers after which somebody else may still be understood; the later one says more."""

_WEBSOCKET_PATHS = ("/mqtt", "/")
_UNSUPPORTED_VERSION = {1, 132}
_REASONS = {
    0: "lets everybody in",
    4: "wants a name and a password",
    5: "wants a name and a password",
    134: "wants a name and a password",
    135: "wants a name and a password",
    136: "is not available just now",
    137: "is busy",
    138: "has locked this machine out",
}
"""Codes of a CONNACK, of MQTT 3.1.1 and 5, to somebody without a name."""


async def knock(
    host: str, port: int, timeout_s: float = 1.0, knocks: Sequence[Knock] = ALL
) -> Answer | None:
    """Ask in one protocol after the other until one is understood; what comes nearest, where none
    is. None: nobody takes the connection, or nobody says a word.

    Takes at most twice `timeout_s` for each knock.
    """
    best: Answer | None = None
    for each in knocks:
        answer = await _ask(host, port, timeout_s, each)
        if answer is None:
            continue
        if answer.speaks not in _VAGUE:
            return answer
        if best is None or _VAGUE.index(answer.speaks) >= _VAGUE.index(best.speaks):
            best = answer
    return best


async def _ask(host: str, port: int, timeout_s: float, how: Knock) -> Answer | None:
    try:
        match how:
            case Knock.OPCUA:
                return await _opcua(host, port, timeout_s)
            case Knock.MQTT:
                return await _mqtt(host, port, timeout_s, None)
            case Knock.HTTP:
                return await _http(host, port, timeout_s, None)
            case Knock.SECURE_MQTT:
                return await _in_tls(_mqtt, host, port, timeout_s)
            case Knock.SECURE_HTTP:
                return await _in_tls(_http, host, port, timeout_s)
    except (OSError, TimeoutError, ValueError):
        return None


def hello(url: str) -> bytes:
    """A Hello message of OPC UA (part 6, 7.1.2.3)."""
    address = url.encode()[:4096]
    body = struct.pack("<IIIIIi", 0, 65536, 65536, 0, 0, len(address)) + address
    return b"HELF" + struct.pack("<I", 8 + len(body)) + body


async def _opcua(host: str, port: int, timeout_s: float) -> Answer | None:
    """Part 6, 7.1.2: Hello, and Acknowledge or Error."""
    async with _connection(host, port, timeout_s, None) as (reader, writer):
        writer.write(hello(f"opc.tcp://{host}:{port}"))
        said = await _first_bytes(reader, timeout_s)
    if said[:4] == b"ACKF":
        return Answer(Speaks.OPCUA, False, "an OPC UA server")
    if said[:4] == b"ERRF" and len(said) >= 16:
        code, size = struct.unpack_from("<Ii", said, 8)
        reason = said[16 : 16 + max(0, size)].decode(errors="replace")[:200]
        return Answer(
            Speaks.OPCUA, False, f"an OPC UA server; it says 0x{code:08X} {reason}".strip()
        )
    return _other(said, secure=False)


async def _mqtt(
    host: str, port: int, timeout_s: float, tls: ssl.SSLContext | None
) -> Answer | None:
    """A CONNECT of MQTT 5, of 3.1.1 where that is not understood, without a name."""
    said = b""
    for level, version in ((5, "5"), (4, "3.1.1")):
        async with _connection(host, port, timeout_s, tls) as (reader, writer):
            writer.write(_connect_packet(level))
            with suppress(ConnectionError, TimeoutError):
                said = await _first_bytes(reader, timeout_s)
            if said[:1] == b"\x20" and len(said) >= 4 and said[1] < 0x80:
                code = said[3]
                if code in _UNSUPPORTED_VERSION and level == 5:
                    continue
                if not code:
                    writer.write(b"\xe0\x00")  # DISCONNECT
                what = _REASONS.get(code, f"does not let everybody in (code {code})")
                return Answer(Speaks.MQTT, tls is not None, f"an MQTT broker; it {what}", version)
        if said:
            break
    return _other(said, secure=tls is not None)


def _connect_packet(level: int) -> bytes:
    """MQTT 5 and 3.1.1, section 3.1: a clean session, forgotten at its end."""
    name = f"knock-{os.urandom(4).hex()}".encode()
    body = b"\x00\x04MQTT" + bytes((level, 2, 0, 10)) + (b"\x00" if level == 5 else b"")
    body += len(name).to_bytes(2) + name
    return bytes((0x10, len(body))) + body


async def _http(
    host: str, port: int, timeout_s: float, tls: ssl.SSLContext | None
) -> Answer | None:
    """A request for a WebSocket of MQTT (RFC 6455, 4.1)."""
    found: Answer | None = None
    for path in _WEBSOCKET_PATHS:
        async with _connection(host, port, timeout_s, tls) as (reader, writer):
            key = base64.b64encode(os.urandom(16)).decode()
            request = (
                f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
                f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
            )
            writer.write(request.encode())
            said = await _first_bytes(reader, timeout_s)
        head = said.decode("latin-1").lower()
        if head.startswith("http/1.1 101") and "mqtt" in head:
            text = f"an MQTT broker behind a WebSocket, path {path}"
            return Answer(Speaks.WEBSOCKET, tls is not None, text, path=path)
        if not head.startswith("http/"):
            return found or _other(said, secure=tls is not None)
        server = next((x[7:].strip() for x in head.split("\r\n") if x.startswith("server:")), "")
        text = f"a web server{f' ({server[:60]})' if server else ''}"
        found = Answer(Speaks.HTTP, tls is not None, text)
    return found


async def _in_tls(
    ask: Callable[[str, int, float, ssl.SSLContext | None], Awaitable[Answer | None]],
    host: str,
    port: int,
    timeout_s: float,
) -> Answer | None:
    """The same within TLS; whose certificate it is is not looked at: nothing secret is said."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with _connection(host, port, timeout_s, context):
        pass
    secured = Answer(Speaks.TLS, True, "something that speaks TLS")
    try:
        if (answer := await ask(host, port, timeout_s, context)) is not None:
            return answer
    except (OSError, TimeoutError):
        pass  # an SSLError is an OSError too
    # In TLS 1.3 the words that it wants one come after the handshake, and get lost with the
    # connection at times; in 1.2 the handshake itself ends.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    try:
        async with _connection(host, port, timeout_s, context):
            return secured
    except ssl.SSLError as error:
        if "HANDSHAKE_FAILURE" in str(error).upper() or "CERTIFICATE" in str(error).upper():
            said = "something that speaks TLS and wants a certificate of who connects"
            return Answer(Speaks.TLS, True, said)
        return secured
    except (OSError, TimeoutError):
        return secured


def _other(said: bytes, *, secure: bool) -> Answer | None:
    if not said:
        return None
    if said.startswith(b"HTTP/"):
        return Answer(Speaks.HTTP, secure, "a web server")
    if said[:3] in (b"\x15\x03\x01", b"\x15\x03\x03"):  # an alert of TLS
        return Answer(Speaks.TLS, True, "something that speaks TLS")
    return Answer(Speaks.OTHER, secure, f"something that begins {said[:12]!r}")


async def _first_bytes(reader: asyncio.StreamReader, timeout_s: float) -> bytes:
    """Empty: it hung up. Raises TimeoutError: it says nothing."""
    async with asyncio.timeout(timeout_s):
        return await reader.read(_MOST_BYTES)


@asynccontextmanager
async def _connection(
    host: str, port: int, timeout_s: float, tls: ssl.SSLContext | None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with asyncio.timeout(timeout_s):
        reader, writer = await asyncio.open_connection(
            host, port, ssl=tls, server_hostname=None if tls is None else host
        )
    try:
        yield reader, writer
    finally:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(timeout_s):
                with suppress(OSError):
                    await writer.drain()
                writer.close()
                await writer.wait_closed()
