"""What a source does about its further servers while a session stands: finds them, keeps standbys,
and moves where another one is better; run by source.py beside the session."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable

from opcua_gateway import metrics
from opcua_gateway.dialling import Dialler
from opcua_gateway.redundancy import Server, Servers, class_of
from opcua_gateway.server_set import find_addresses, read_redundancy
from opcua_gateway.server_status import ServerStatus
from opcua_gateway.session import Session, SessionLost
from opcua_gateway.standby import Standbys

log = logging.getLogger(__name__)

_LOOK_S = 0.25


class MovesOn(SessionLost):
    """The session is well, and another server is better.

    Attributes:
        to: that server.
    """

    def __init__(self, reason: str, to: Server) -> None:
        super().__init__(reason)
        self.to = to


async def attend(
    session: Session,
    servers: Servers,
    standbys: Standbys,
    dialler: Dialler,
    status: Callable[[], ServerStatus | None],
    found: Callable[[Iterable[tuple[str, str]]], None],
) -> None:
    """Work until cancelled.

    Args:
        status: what the active server says of itself; None: nothing yet.
        found: called with the servers that it names as redundant, by url and ApplicationUri.

    Raises:
        MovesOn: another server is better.
    """
    if dialler.model.redundancy != "none":
        await _find(session, servers, dialler, found)
    standbys.attend()
    while True:
        if (said := status()) is not None:
            servers.active.note(said)
        measure(dialler.model.key, servers)
        if (better := servers.better(time.monotonic())) is not None:
            active = servers.active
            raise MovesOn(
                f"{active.url} is at service level {_level(active)}, {better.url} at "
                f"{_level(better)}: moving there",
                better,
            )
        await asyncio.sleep(_LOOK_S)


async def _find(
    session: Session,
    servers: Servers,
    dialler: Dialler,
    found: Callable[[Iterable[tuple[str, str]]], None],
) -> None:
    """Ask the active server for the others, and how to use them."""
    model, active = dialler.model, servers.active
    fields: dict[str, object] = {"source": model.key, "server": active.url}
    try:
        mode, uris = await read_redundancy(session)
        # Lists have the server itself, and not all say in ServerArray which one that is; and those
        # of the plant file, whose addresses are as it says.
        named = [each for each in servers.all if each is active or not each.uri]
        known = {dialler.application_uri(each) for each in named}
        uris = [each for each in uris if each not in known]
        if mode is not None and model.redundancy is None:
            servers.mode = mode
        if mode is None or not uris:
            return
        if model.security is not None and model.security.server_sha256:
            return  # no other certificate is accepted
        if not dialler.is_secured(active):
            # Nobody signs what it says, and nobody would look at the certificates there.
            if len(servers.all) == 1:
                reason = "the channel is not secured: name them under `redundant`"
                log.info(
                    "its redundant servers are not taken",
                    extra={"fields": fields | {"uris": uris, "reason": reason}},
                )
            return
        others = await find_addresses(active.url, uris, dialler.settings.opcua_timeout_s)
    except SessionLost as error:
        log.info("no list of redundant servers", extra={"fields": fields | {"reason": str(error)}})
        return
    if new := servers.add(others):
        found((each.url, each.uri) for each in servers.all if each.uri)
        urls = [each.url for each in new]
        extra = {"fields": fields | {"found": urls, "mode": servers.mode}}
        log.info("redundant servers are found", extra=extra)


def measure(source: str, servers: Servers, *, connected: bool = True) -> None:
    """Export where a source's values come from, and what its servers say of themselves; NaN for
    one that nobody hears.

    Args:
        connected: whether there is a session with the active one.
    """
    for each in servers.all:
        is_active = each is servers.active
        metrics.ACTIVE.labels(source, each.url).set(is_active and connected)
        level = math.nan if each.level is None or (is_active and not connected) else each.level
        metrics.SERVICE_LEVEL.labels(source, each.url).set(level)


def _level(server: Server) -> str:
    level = server.level or 0
    return f"{level} ({class_of(level).name.lower().replace('_', ' ')})"
