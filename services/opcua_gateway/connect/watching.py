"""A session for a look: opened as the gateway opens it, nodes watched as the gateway watches them,
and nothing left at the server. Used by ladder.py, preview.py, dry_run.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from aurelian.backbone.cancellation import next_of
from aurelian.model.addresses import NodeAddress
from aurelian.model.source_model import SourceModel
from opcua_gateway.connection import opened
from opcua_gateway.failures import first_of
from opcua_gateway.happenings import Happening, Message
from opcua_gateway.items.asked import Asked
from opcua_gateway.items.revised import Revisions
from opcua_gateway.library_log import keep_quiet
from opcua_gateway.message_numbers import Window
from opcua_gateway.publishing import Publishing
from opcua_gateway.security.endpoints import Way
from opcua_gateway.server_status import ServerStatus, read_status
from opcua_gateway.session import Session, SessionLost
from opcua_gateway.settings import OpcuaGatewaySettings

_SESSION_S = 30.0
"""After which the server ends what is left behind where this process dies."""

_GOODBYE_S = 2.0


@dataclass(frozen=True, slots=True)
class Watch:
    """Nodes that are watched.

    Attributes:
        refused: status of the nodes that the server does not give, by handle.
        status: what the server says of itself.
    """

    publishing: Publishing
    refused: dict[int, int]
    status: ServerStatus
    work: asyncio.Task[None]
    out: asyncio.Queue[Happening]

    async def next(self) -> Happening:
        """The next that happens.

        Raises:
            SessionLost: nothing more will.
        """
        try:
            return await next_of(self.work, self.out)
        except BaseExceptionGroup as group:
            lost, rest = group.split(SessionLost)
            if rest is not None or lost is None:
                raise
            raise first_of(lost) from group


@asynccontextmanager
async def looked_into(
    model: SourceModel, way: Way, settings: OpcuaGatewaySettings
) -> AsyncIterator[Session]:
    """Open a session by a way that was found, and end it in any case.

    Raises:
        SessionLost: as `connection.opened`.
    """
    keep_quiet()
    async with opened(
        model.url,
        way,
        timeout_s=settings.opcua_timeout_s,
        session_timeout_s=_SESSION_S,
        name=f"aurelian connect {settings.gateway}",
        secret=None,
    ) as session:
        try:
            yield session
        finally:
            with suppress(SessionLost, TimeoutError):
                async with asyncio.timeout(_GOODBYE_S):
                    await session.close()


@asynccontextmanager
async def watching(
    session: Session,
    model: SourceModel,
    addresses: Sequence[NodeAddress],
    asked: Sequence[Asked],
    names: Sequence[str],
    settings: OpcuaGatewaySettings,
) -> AsyncIterator[Watch]:
    """Watch nodes in subscriptions of their own; `names`: of the nodes, by handle as the others.

    Raises:
        SessionLost: the server gives no subscription, or does not go on.
    """
    settings = settings.model_copy(update={"opcua_session_timeout_s": _SESSION_S})
    limits = await session.read_limits()
    status = await read_status(session)
    out: asyncio.Queue[Happening] = asyncio.Queue(maxsize=32)
    publishing = Publishing(
        session,
        limits,
        addresses,
        asked,
        Revisions(model.key, names, asked, settings.opcua_queue_s),
        settings,
        model.publishing_interval_ms / 1000,
        0,
        Window(settings.opcua_unacknowledged),
        out,
    )
    refused = await publishing.watch_all()
    work = asyncio.create_task(publishing.run(_nothing_to_read_back), name=f"look {model.key}")
    try:
        yield Watch(publishing, refused, status, work, out)
    finally:
        work.cancel()
        await asyncio.wait({work})
        if not work.cancelled():
            work.exception()  # seen; `next` has raised it where somebody waited


def acknowledge(message: Message) -> None:
    """Let the server forget a message that nobody stores."""
    if message.acknowledgements is not None:
        message.acknowledgements.stored(message.published.sequence)


async def _nothing_to_read_back() -> None:
    """A look is no gap."""
