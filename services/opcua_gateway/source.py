"""One OPC UA source of readings: connects to one of its servers, resumes, maps; called by
`aurelian.edge.gateway.run_gateway`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import suppress

from aurelian.backbone.cancellation import in_own_task, next_of
from aurelian.edge.gateway import Delivery
from aurelian.edge.names import readable
from aurelian.edge.source_state import Condition
from aurelian.model.plant import Unit
from aurelian.model.source_model import SourceModel
from aurelian.model.time import SECOND_US, now_us
from aurelian.runtime.retry import Backoff
from opcua_gateway import metrics
from opcua_gateway.alarms.deliveries import make_alarms
from opcua_gateway.bookmark import Bookmark
from opcua_gateway.clock import watch_clock
from opcua_gateway.condition import condition_of, export_revised, with_servers
from opcua_gateway.connection import NotResumed
from opcua_gateway.data_types.type_definitions import TypeDefinitions
from opcua_gateway.deliveries import Deliveries
from opcua_gateway.dialling import Dialler
from opcua_gateway.failures import first_of, speaks_of_the_session
from opcua_gateway.happenings import Connected, Happening, Lost, Message, RefreshRefused
from opcua_gateway.history.holes import Holes
from opcua_gateway.history.read_back import HistoryReader
from opcua_gateway.items.asked import names_of_asked
from opcua_gateway.mapping import Tag, structured
from opcua_gateway.message_numbers import Window
from opcua_gateway.message_size import MessageSize
from opcua_gateway.publishing import Publishing
from opcua_gateway.redundancy import Server, Servers
from opcua_gateway.resume import Resume, ResumeFile
from opcua_gateway.resumption import Resumption
from opcua_gateway.security.policies import Unacceptable
from opcua_gateway.server_status import ServerStatus, read_status
from opcua_gateway.session import ResponseTooLarge, Session, SessionLost, TooManySubscriptions
from opcua_gateway.settings import OpcuaGatewaySettings
from opcua_gateway.standby import Standby, Standbys
from opcua_gateway.takeover import MovesOn, attend, measure
from opcua_gateway.turns import Turn, Turns

log = logging.getLogger(__name__)

STEADY_AFTER_S = 30.0
"""A session that lasted so long was a good one, as is one that brought messages: the next attempt
follows soon."""


class OpcuaSource:
    """One server, or several redundant ones. `deliveries` may run once at a time."""

    def __init__(
        self,
        model: SourceModel,
        owner: str,
        tags: Sequence[Tag],
        settings: OpcuaGatewaySettings,
        turns: Turns | None = None,
        units: Sequence[Unit] = (),
    ) -> None:
        self.model, self.owner = model, owner
        self._turns = turns or Turns()
        self._tags, self._settings, self._units = tags, settings, units
        self._servers = Servers(model.url, model.redundant, model.redundancy)
        self._dialler = Dialler(model, tags, settings, units)
        self._resumption = Resumption(
            ResumeFile(settings.state / f"opcua-{model.slug}.json", model.key),
            names_of_asked(model, tags),
            self._dialler.fingerprint,
        )
        self._live: tuple[Session, Publishing] | None = None
        self._is_told = False  # of the live session, as far as deliveries went
        self._types: TypeDefinitions | None = None
        self._message_size = MessageSize(self._dialler, len(tags))
        self._ended: SessionLost | None = None  # by what, or what kept one from beginning
        self._make_parts()

    def condition(self) -> Condition:
        """How the source is now."""
        publishing = self._live[1] if self._live is not None else None
        found = condition_of(publishing, self._ended, self._deliveries, self._holes)
        return with_servers(found, self._servers, self._dialler.own)

    async def deliveries(self, bookmark: str = "") -> AsyncGenerator[Delivery, None]:
        """Yield what the server sends, until cancelled. A cancelled source leaves its session to be
        resumed."""
        self._begin_anew(bookmark)
        # Not a TaskGroup: a group may not span the yields of a generator.
        keeper = asyncio.create_task(self._keep_connected(), name=f"opcua {self.model.key}")
        try:
            while True:
                happening = await next_of(keeper, self._out)
                delivery = self._deliveries.of(happening)
                self._remember(happening)
                if self._alarms is not None:
                    await self._alarms.write()
                yield delivery
        finally:
            keeper.cancel()
            await asyncio.wait({keeper})
            self._save()
            if self._alarms is not None:
                self._alarms.close()

    async def retire(self, *, is_replaced: bool) -> None:
        """End the session that was left to be resumed. Raises SessionLost where it cannot be."""
        url, secret = self._resumption.remove(keeps_file=is_replaced)
        for server in [each for each in self._servers.all if each.url == url]:
            await self._dialler.end_session(server, secret)

    def _make_parts(self) -> None:
        """What takes values from a session to the outbox, and remembers how far it is."""
        self._window = Window(self._settings.opcua_unacknowledged)
        self._out: asyncio.Queue[Happening] = asyncio.Queue(maxsize=32)
        self._holes = Holes(
            len(self._tags),
            is_on=self._settings.opcua_read_back,
            longest_us=int(self._settings.opcua_read_back_s * SECOND_US),
        )
        self._reader = HistoryReader(
            self.model,
            self._tags,
            self._settings.opcua_read_back_values,
            self._holes,
            self._out,
            self._window,
        )
        self._alarms = make_alarms(self.model, self._units, self._settings.state)
        self._deliveries = Deliveries(self.model, self.owner, self._tags, self._holes, self._alarms)

    def _begin_anew(self, bookmark: str) -> None:
        """What was on its way when this ended before was not stored, and nobody will acknowledge
        it: the server has it still, as it has for a process that was killed."""
        before, unread = self._deliveries, self._holes.unread
        self._live, self._is_told = None, False
        self._resumption.begin_anew(Bookmark.parse(bookmark))
        self._make_parts()
        progress = self._deliveries.progress
        progress.go_on(before.progress, Bookmark.parse(bookmark))
        self._deliveries.units.refused(before.units.silent_nodes)
        if unread is not None:
            self._holes.reopen(*unread)
        self._resumption.load(progress, self._holes, self._deliveries.units, self.model.url)
        if self.model.redundancy != "none":
            self._servers.add(self._resumption.servers)
        self._servers.begin_with(self._resumption.url)

    async def _keep_connected(self) -> None:
        backoff = Backoff()
        self._logged = ""
        standbys = Standbys(self._servers, self._stand_by)
        turn = await self._turns.take()
        try:
            while True:
                began, pauses, has_delivered = time.monotonic(), True, False
                try:
                    await in_own_task(self._connect_and_run(turn, standbys))
                except* SessionLost as group:
                    error = first_of(group)
                    assert isinstance(error, SessionLost)
                    self._ended = error
                    turn.end()
                    has_delivered = self._live is not None and self._live[1].has_delivered
                    asks_for_fewer = self._live is not None and self._message_size.is_too_large(
                        group, self._live[1], self._resumption
                    )
                    if has_delivered or asks_for_fewer:
                        backoff.reset()
                    pauses = await self._lose(error, standbys) and not asks_for_fewer
                if time.monotonic() - began > STEADY_AFTER_S:
                    backoff.reset()
                if pauses:
                    await backoff.wait()
                if has_delivered:
                    # Those that try again and again take no turns: their pauses are enough.
                    turn = await self._turns.take()
        finally:
            turn.end()
            await standbys.close()

    async def _lose(self, error: SessionLost, standbys: Standbys) -> bool:
        """A session is lost, or could not be had: tell of it, and choose where to go now. Returns
        whether it is time for a pause."""
        reason = readable(str(error))  # it may quote what the server sent
        was_live, server = self._live, self._servers.active
        is_news, self._logged = reason != self._logged, reason
        if was_live is not None or is_news:
            fields = {"source": self.model.key, "url": server.url, "reason": reason}
            log.warning("no session", extra={"fields": fields})
        self._resumption.failed(
            not_resumed=isinstance(error, NotResumed),
            refused=speaks_of_the_session(error.__cause__),
        )
        if was_live is not None:
            self._resumption.ended(was_live[1])
            self._live = None
            metrics.CONNECTED.labels(self.model.key).set(0)
            metrics.LOST.labels(self.model.key).inc()
        measure(self.model.key, self._servers, connected=False)
        # What waits for a person is told on the pages too, once.
        needs_somebody = isinstance(error, Unacceptable | TooManySubscriptions) and is_news
        if was_live is not None or needs_somebody:
            await self._out.put(Lost(reason, now_us()))
        if isinstance(error, MovesOn):
            self._resumption.forget()
            self._servers.move(error.to, time.monotonic())
            return False
        if was_live is not None:
            # Its queues have what came meanwhile; so do those of one that stands by hot.
            is_hot = self._servers.mode == "hot" and standbys.can_take_over()
            if not is_hot and self._resumption.url == server.url:
                return True
        return self._servers.failed(error)

    async def _connect_and_run(self, turn: Turn, standbys: Standbys) -> None:
        """Have a session with the active server and take its messages until it is lost."""
        server = self._servers.active
        standby = await standbys.take(server)
        if standby is not None:
            try:
                await self._take_over(standby, turn, standbys)
            finally:
                await standby.close()
            return
        resume = self._resumption.of(server.url)
        secret = resume.secret if resume is not None else None
        async with self._dialler.opened(server, secret) as session:
            try:
                await self._begin_and_run(session, server, resume, turn, standbys)
            finally:
                if not self._resumption.keeps(session):
                    # It would stand at the server until its time is over, with all it watches.
                    await session.give_back()

    async def _begin_and_run(
        self,
        session: Session,
        server: Server,
        resume: Resume | None,
        turn: Turn,
        standbys: Standbys,
    ) -> None:
        limits = await session.read_limits()
        status = await read_status(session)
        publishing = self._dialler.publishing(session, limits, self._window, self._out)
        goes_on = session.resumed and self._resumption.fits
        if resume is not None and goes_on and limits.go_on(resume.limits):
            self._resumption.resumed(resume, session)
            self._save()
            if publishing.events is not None:
                publishing.events.go_on(resume.events)
            publishing.resume(*self._resumption.left_of(resume, self._window))
            await self._out.put(self._connected(True, status, server))
            await publishing.tell({})
        else:
            self._types = None
            if resume is not None and session.resumed:
                # They would go on beside the new ones, for nobody.
                await session.delete_subscriptions([e.subscription for e in resume.terms])
            self._resumption.began()
            refused = await publishing.watch_all_or_close()
            # Only now: a server that gives no subscription was not connected to.
            await self._out.put(self._connected(False, status, server))
            await publishing.tell(refused)
        types = await self._read_types(session, publishing)
        work = publishing.run(lambda: self._read_back(session, publishing))
        await self._run(session, publishing, types, turn, standbys, work)

    async def _take_over(self, standby: Standby, turn: Turn, standbys: Standbys) -> None:
        """Make a standby's session the source's own, and take its messages until it is lost."""
        session, publishing = standby.session, standby.publishing
        if session is None or publishing is None:
            raise SessionLost(f"{standby.server.url} should take over and is gone itself")
        self._types = None
        self._resumption.began()
        types = await self._read_types(session, publishing)
        await standby.promote(self._out, self._shown(standby.server), self._resumption.session)
        await self._run(session, publishing, types, turn, standbys, standby.ended())

    async def _run(
        self,
        session: Session,
        publishing: Publishing,
        types: TypeDefinitions,
        turn: Turn,
        standbys: Standbys,
        work: Awaitable[None],
    ) -> None:
        if self.model.alarms is None and self._alarms is not None:
            await self._out.put(RefreshRefused(True, now_us()))
        self._live = session, publishing
        turn.end()
        self._servers.connected()
        export_revised(self.model.key, session, publishing)
        metrics.CONNECTED.labels(self.model.key).set(1)
        metrics.OPENED.labels(self.model.key, "yes" if session.resumed else "no").inc()
        fields = {
            "source": self.model.key,
            "url": self._servers.active.url,
            "resumed": session.resumed,
            "nodes": len(self._tags),
            "subscriptions": len(publishing.subscriptions),
        }
        log.info("session is up", extra={"fields": fields})
        servers = attend(
            session,
            self._servers,
            standbys,
            self._dialler,
            lambda: self._deliveries.status if self._is_told else None,
            self._resumption.found,
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(types.keep_reading(session), name="read unknown types")
                tasks.create_task(watch_clock(session, self.model.key), name="watch its clock")
                tasks.create_task(servers, name="watch the servers")
                tasks.create_task(self._end_given_up(), name="end the session given up")
                await work
        except* ResponseTooLarge:
            with suppress(SessionLost):
                await publishing.delete_subscriptions()
            raise
        except* MovesOn:
            with suppress(SessionLost):
                await session.close()
            raise

    async def _end_given_up(self) -> None:
        """End a session that did not go on: nobody comes back to it."""
        url, secret = self._resumption.take_given_up()
        for server in [each for each in self._servers.all if each.url == url]:
            with suppress(SessionLost):
                await self._dialler.end_session(server, secret)

    def _stand_by(self, server: Server) -> Standby:
        return Standby(server, self._servers, self._dialler, self._window, self._read_back)

    async def _read_back(self, session: Session, publishing: Publishing) -> None:
        await self._reader.run(session, publishing.limits, publishing.nodes)

    def _connected(self, resumed: bool, status: ServerStatus | None, server: Server) -> Connected:
        session = self._resumption.session
        return Connected(resumed, now_us(), status, self._shown(server), session=session)

    def _shown(self, server: Server) -> str:
        """A server's address, where there are several."""
        return server.url if len(self._servers.all) > 1 else ""

    async def _read_types(self, session: Session, publishing: Publishing) -> TypeDefinitions:
        """Read what the values of the session are decoded by, while they wait at the server."""
        if self._types is None:
            nodes = structured(self._tags, publishing.nodes)
            self._types = TypeDefinitions(self.model.key, nodes, self._settings.opcua_retry_s)
        types, within_s = self._types, 2 * self._settings.opcua_timeout_s

        async def read_more() -> None:
            types.watch(structured(self._tags, publishing.nodes))
            await types.read(session, within_s)

        publishing.on_namespaces = read_more
        await types.read(session, within_s)
        self._deliveries.values.names = types.names
        return types

    def _remember(self, happening: Happening) -> None:
        """Note what brings us back to the session that a message came of."""
        match happening:
            case Connected():
                self._is_told = True
            case Lost():
                self._is_told = False
            case Message(published=published, received_at=at):
                # Not what was before the session that lives now: its gap is not told yet.
                if self._live is not None and self._is_told:
                    session, publishing = self._live
                    if published.subscription in publishing.subscriptions:
                        url = self._servers.active.url
                        self._resumption.remember(session, publishing, url, at)
                if self._resumption.is_due(at, self._deliveries.units):
                    self._save(soon=True)

    def _save(self, *, soon: bool = False) -> None:
        parts = self._deliveries.progress, self._holes, self._deliveries.units
        self._resumption.save(*parts, soon=soon)
