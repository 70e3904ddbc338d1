"""What stands behind a port that does not answer as an OPC UA server does; asked only after an
attempt ran into its time-out, by endpoints.py, connection.py and `aurelian browse`."""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress
from urllib.parse import urlsplit

from opcua_gateway.failures import SessionLost
from opcua_gateway.no_connection import joined

_KNOCK_S = 1.0
_SAID_BY_UA = (b"ACKF", b"ERRF")
_SILENT = (
    "something takes connections there and says nothing: does the OPC UA server hang, or is the "
    "port that of something else?"
)


async def explained(error: SessionLost, url: str) -> SessionLost:
    """The same error; where it is a time-out and something is there all the same, with what it
    is."""
    if type(error) is not SessionLost or not isinstance(error.__cause__, TimeoutError):
        return error
    answer = await _answer(url)
    if answer is None or answer.startswith(_SAID_BY_UA):
        return error
    step = _SILENT
    if answer:
        what = "an HTTP server" if answer.startswith(b"HTTP") else f"it begins {answer[:12]!r}"
        step = (
            f"something answers there that does not speak OPC UA ({what}): is the port in the url "
            "that of the OPC UA server (often 4840)?"
        )
    made = SessionLost(joined(error.reason, ": ", step), step)
    made.__cause__ = error.__cause__
    return made


async def _answer(url: str) -> bytes | None:
    """The first bytes that come from an address after a Hello, and after an empty line for those
    that read lines; None: nobody takes the connection."""
    try:
        parts = urlsplit(url)
        async with asyncio.timeout(_KNOCK_S):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 4840)
    except (OSError, TimeoutError, ValueError):
        return None
    try:
        writer.write(_hello(url) + b"\r\n\r\n")
        async with asyncio.timeout(_KNOCK_S):
            return await reader.read(64)
    except (OSError, TimeoutError):
        return b""
    finally:
        writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_KNOCK_S):
                await writer.wait_closed()


def _hello(url: str) -> bytes:
    """Part 6, 7.1.2.3."""
    address = url.encode()[:4096]
    body = struct.pack("<IIIIIi", 0, 65536, 65536, 0, 0, len(address)) + address
    return b"HELF" + struct.pack("<I", 8 + len(body)) + body
