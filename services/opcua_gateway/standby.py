"""Further servers of a source that are kept ready to take over; run by source.py.

Cold: looked at while the active one is not at its best. Warm: a session, and items that are
disabled. Hot: items that sample into the server's queues. One that takes over becomes the source's
session as it is: nothing is opened anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress

from asyncua import ua

from aurelian.backbone.cancellation import in_own_task
from aurelian.edge.names import readable
from aurelian.model.time import now_us
from aurelian.runtime.retry import Backoff
from opcua_gateway.dialling import Dialler
from opcua_gateway.failures import first_of
from opcua_gateway.happenings import Connected, Happening, Message, Refused
from opcua_gateway.message_numbers import Window
from opcua_gateway.publishing import Publishing
from opcua_gateway.redundancy import Server, Servers
from opcua_gateway.server_status import ServerStatus, read_status
from opcua_gateway.session import Session, SessionLost
from opcua_gateway.subscription import Outlet

log = logging.getLogger(__name__)

LOOK_S = 2.0
"""Between two looks at a cold server."""

ReadBack = Callable[[Session, Publishing], Coroutine[None, None, None]]
"""What runs beside a session once it is the source's own."""


class Standby:
    """One server that is kept ready. `run` it until it is not wanted any more; after `promote` it
    is the source's session, and `run` ends when that is lost.

    Attributes:
        session, publishing: None while there is no session.
        sampled_since: microseconds since 1970 since when the server's queues have all values; None:
            they do not.
    """

    def __init__(
        self,
        server: Server,
        servers: Servers,
        dialler: Dialler,
        window: Window,
        read_back: ReadBack,
    ) -> None:
        self.server = server
        self.session: Session | None = None
        self.publishing: Publishing | None = None
        self.sampled_since: int | None = None
        self._servers, self._dialler, self._window = servers, dialler, window
        self._read_back = read_back
        self._promoted = asyncio.Event()
        self._outlet: Outlet | None = None
        self._status = ServerStatus()
        self._refused: dict[int, int] = {}
        self._logged = ""
        self.task = asyncio.create_task(self._run(), name=f"standby {server.url}")

    @property
    def is_up(self) -> bool:
        """Whether it can take over as it is."""
        return self.publishing is not None and not self.task.done()

    async def put(self, happening: Happening) -> None:
        """Take what comes of its session: before it is promoted that concerns nobody else."""
        if self._outlet is not None:
            await self._outlet.put(happening)
        elif isinstance(happening, Message):
            if happening.acknowledgements is not None:
                happening.acknowledgements.stored(happening.published.sequence)
            if self.publishing is not None:
                self._status.take(happening.published, len(self.publishing.nodes))
                self.server.note(self._status)
        elif isinstance(happening, Refused):
            self._refused |= happening.statuses

    async def promote(self, out: Outlet, address: str, name: str) -> None:
        """Let its items report to `out`, from now on; what waits in the server's queues comes
        first. `name`: of the session, see `Bookmark`.

        Raises:
            SessionLost: it cannot.
        """
        session, publishing = self.session, self.publishing
        if session is None or publishing is None:
            raise SessionLost("the server that should take over is gone itself")
        status = await read_status(session)
        async with publishing.held():
            self._refused |= await publishing.report()
            since = self.sampled_since
            connected = Connected(False, now_us(), status, address, since, name)
            await out.put(connected)
            self._outlet = out
            await publishing.tell(self._refused)
        self._promoted.set()

    async def ended(self) -> None:
        """Wait for the end of its session, and raise what ended it."""
        await asyncio.wait({self.task})
        self.task.result()

    async def close(self) -> None:
        """End it."""
        self.task.cancel()
        await asyncio.wait({self.task})

    async def _run(self) -> None:
        backoff = Backoff()
        while True:
            try:
                if self._servers.mode == "cold":
                    await asyncio.sleep(LOOK_S)
                    if self._servers.looks_elsewhere:
                        await self._look()
                    else:
                        self.server.level = None
                    continue
                await in_own_task(self._stand_by())
            except* SessionLost as group:
                if self._promoted.is_set():
                    raise
                self._log(group)
            finally:
                self.session = self.publishing = self.sampled_since = None
                self._refused = {}
                if not self._promoted.is_set() and self._servers.mode != "cold":
                    self.server.note(None)
            await backoff.wait()

    def _log(self, group: BaseExceptionGroup[SessionLost]) -> None:
        self.server.note(None)
        reason = readable(str(first_of(group)))
        if reason == self._logged:
            return
        self._logged = reason
        fields = {
            "source": self._dialler.model.key,
            "server": self.server.url,
            "reason": reason,
        }
        log.warning("a redundant server is not ready", extra={"fields": fields})

    async def _look(self) -> None:
        async with self._dialler.opened(self.server) as session:
            self.server.note(await read_status(session))
            with suppress(SessionLost):
                await session.close()

    async def _stand_by(self) -> None:
        is_hot = self._servers.mode == "hot"
        mode = ua.MonitoringMode.Sampling if is_hot else ua.MonitoringMode.Disabled
        async with self._dialler.opened(self.server) as session:
            limits = await session.read_limits()
            self._status = await read_status(session)
            publishing = self._dialler.publishing(session, limits, self._window, self, mode)
            try:
                self._refused = await publishing.watch_all()
                self.session, self.publishing = session, publishing
                self.sampled_since = now_us() if is_hot else None
                self.server.note(self._status)
                self._logged = ""
                fields = {
                    "source": self._dialler.model.key,
                    "server": self.server.url,
                    "mode": self._servers.mode,
                    "service_level": self.server.level,
                }
                log.info("a redundant server is ready", extra={"fields": fields})
                await publishing.run(lambda: self._after_promotion(session, publishing))
            finally:
                if not self._promoted.is_set():
                    # Nobody comes back to it, and servers have room for few.
                    with suppress(SessionLost, TimeoutError):
                        async with asyncio.timeout(1):
                            await session.close()

    async def _after_promotion(self, session: Session, publishing: Publishing) -> None:
        await self._promoted.wait()
        await self._read_back(session, publishing)


class Standbys:
    """The standbys of one source: one for each server but the active one."""

    def __init__(self, servers: Servers, make: Callable[[Server], Standby]) -> None:
        self._servers, self._make = servers, make
        self._of: dict[str, Standby] = {}

    def attend(self) -> None:
        """Have one for each server that has none."""
        for each in self._servers.others:
            if each.url not in self._of or self._of[each.url].task.done():
                self._of[each.url] = self._make(each)

    def can_take_over(self) -> bool:
        """Whether any server stands by."""
        return any(each.is_up for each in self._of.values())

    async def take(self, server: Server) -> Standby | None:
        """The standby of a server, which is its caller's from now on; None: it does not stand by,
        and is to be connected to."""
        made = self._of.pop(server.url, None)
        if made is None or made.is_up:
            return made
        await made.close()
        return None

    async def close(self) -> None:
        """End all."""
        for each in self._of.values():
            await each.close()
        self._of = {}
