"""What stands behind a port that is none of an OPC UA server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aurelian.edge.trust_store import TrustStore
from aurelian.model.source_model import SourceModel
from opcua_gateway.browse.server_list import find_offers
from opcua_gateway.connection import opened
from opcua_gateway.security.endpoints import Endpoints, Way
from opcua_gateway.session import SessionLost

HTTP = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"


@contextlib.asynccontextmanager
async def answering(says: bytes) -> AsyncIterator[str]:
    """A server that answers a line with `says`, and keeps the connection."""

    served: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        served.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\n")
            writer.write(says)
            await reader.read()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"opc.tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await asyncio.wait_for(asyncio.gather(*served), 5)


async def ask_offers(url: str, folder: Path) -> None:
    await find_offers(url, 0.5)


async def ask_endpoints(url: str, folder: Path) -> None:
    model = SourceModel.model_validate(
        {"id": "x", "kind": "opcua", "url": url, "security": {"policy": "best"}}
    )
    await Endpoints(model, (), TrustStore(folder), "gateway").find_way(0.5)


async def ask_session(url: str, folder: Path) -> None:
    async with opened(url, Way(), timeout_s=0.5, session_timeout_s=10, name="test", secret=None):
        pass


@pytest.mark.parametrize("ask", [ask_offers, ask_endpoints, ask_session])
@pytest.mark.parametrize(
    ("says", "step"),
    [
        (HTTP, "does not speak OPC UA (an HTTP server): is the port"),
        (b"SSH-2.0-OpenSSH_9.7\r\n", "does not speak OPC UA (an SSH server)"),
        (b"", "something takes connections there and says nothing"),
    ],
)
async def test_something_else_at_the_port_is_no_cable_that_is_out(
    ask: object, says: bytes, step: str, tmp_path: Path
) -> None:
    async with answering(says) as url:
        with pytest.raises(SessionLost) as lost:
            await ask(url, tmp_path)  # type: ignore[operator]
    assert step in lost.value.step and str(lost.value).endswith(lost.value.step)
    assert "cable" not in str(lost.value)
