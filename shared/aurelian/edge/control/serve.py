"""The control API beside the other work of a gateway: it is served where it may be, and what is
wrong with it never ends the gateway. Run by `gateway.run_gateway`."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from aurelian.edge.control.connector import Connector
from aurelian.edge.control.key import KeyFileError, read_or_make_key
from aurelian.model.plant import Plant
from aurelian.model.source_model import is_loopback
from aurelian.runtime.health import Health
from aurelian.runtime.service import make_server

log = logging.getLogger(__name__)

AGAIN_S = 10.0
_GOODBYE_S = 2.0


class ControlSettings(Protocol):
    """What it reads of a gateway's settings (`edge.gateway.GatewaySettings`)."""

    @property
    def api_host(self) -> str: ...
    @property
    def api_port(self) -> int: ...
    @property
    def state(self) -> Path: ...
    @property
    def plant(self) -> Path: ...
    @property
    def control_key_file(self) -> Path | None: ...
    @property
    def control_allow_remote(self) -> bool: ...
    @property
    def secrets(self) -> Path | None: ...


async def keep_serving(
    settings: ControlSettings,
    health: Health,
    connector: Connector,
    plants: Callable[[], Sequence[Plant]],
) -> None:
    """Serve the control API until cancelled; where it cannot be served, say so in the log and at
    `/sources`, and try again. `plants`: those that the gateway runs by."""
    said = ""
    while True:
        if not (settings.control_allow_remote or is_loopback(settings.api_host)):
            why = (
                f"AURELIAN_API_HOST is {settings.api_host}, and the control API listens on "
                "loopback only, unless AURELIAN_CONTROL_ALLOW_REMOTE is 1"
            )
            log.warning("no control API", extra={"fields": {"reason": why}})
            health.control = {"url": None, "refused": why}
            return
        try:
            await _serve(settings, health, connector, plants)
            why = "it ended by itself; the log says why"
        except (OSError, KeyFileError) as error:
            why = str(error)
        except Exception as error:
            why = f"it crashed: {type(error).__name__}; the log says why"
            if why != said:
                log.exception("the control API crashed")
        health.control = {"url": None, "refused": why}
        if why != said:
            said = why
            log.error("no control API", extra={"fields": {"reason": why}})
        await asyncio.sleep(AGAIN_S)


async def _serve(
    settings: ControlSettings,
    health: Health,
    connector: Connector,
    plants: Callable[[], Sequence[Plant]],
) -> None:
    # FastAPI costs memory, which a gateway without a control API need not have.
    from aurelian.edge.control.app import PREFIX, Control, Surroundings

    key_file = settings.control_key_file or settings.state / "control.key"
    key = await asyncio.to_thread(read_or_make_key, key_file)
    secrets = settings.secrets or settings.state / "secrets"
    around = Surroundings(
        health, settings.plant, secrets, (settings.state / "held").absolute(), plants
    )
    listening = _listen(settings.api_host, settings.api_port)
    control = Control(connector, around, key)
    server = make_server(control.app, settings.api_host, settings.api_port)
    serving = asyncio.create_task(server.serve([listening]), name="serve control API")
    host, port = listening.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}{PREFIX}"
    health.control = {"url": url, "refused": None}
    log.info("control API", extra={"fields": {"url": url, "key_file": str(key_file)}})
    try:
        await asyncio.shield(serving)
    finally:
        health.control = {"url": None, "refused": "it ends"}
        control.close()
        server.should_exit = True
        await asyncio.wait({serving}, timeout=_GOODBYE_S)
        if not serving.done():
            serving.cancel()
            await asyncio.wait({serving})
        control.close()
        listening.close()


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens; uvicorn would end the process where that cannot be."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise OSError(
            f"nothing can listen at AURELIAN_API_HOST {host}, AURELIAN_API_PORT {port}: {why}; "
            "choose another port (0: any free one)"
        ) from error
