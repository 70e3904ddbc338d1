"""One OPC UA server as a source of readings: connects, resumes, maps; called by
`aurelian.edge.gateway.run_gateway`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import replace

from asyncua import ua

from aurelian.backbone.cancellation import in_own_task
from aurelian.edge.gateway import Delivery
from aurelian.edge.names import readable
from aurelian.edge.trust_store import TrustStore
from aurelian.model.addresses import AddressError
from aurelian.model.plant import Plant, Unit
from aurelian.model.plant_file import PlantError
from aurelian.model.sample import ValueType
from aurelian.model.source_model import SourceModel
from aurelian.model.time import SECOND_US, now_us
from aurelian.runtime.retry import Backoff
from opcua_gateway import metrics
from opcua_gateway.alarms.deliveries import make_alarms
from opcua_gateway.alarms.fields import EventTerms
from opcua_gateway.alarms.places import Places
from opcua_gateway.alarms.watch import make_watch
from opcua_gateway.clock import watch_clock
from opcua_gateway.connection import NotResumed, opened
from opcua_gateway.data_types.type_definitions import TypeDefinitions
from opcua_gateway.deliveries import Deliveries
from opcua_gateway.happenings import Connected, Happening, Lost, Message, RefreshRefused
from opcua_gateway.history.holes import Holes
from opcua_gateway.history.read_back import HistoryReader
from opcua_gateway.mapping import (
    Tag,
    tags_of,
)
from opcua_gateway.message_numbers import Acknowledgements, Window
from opcua_gateway.publishing import Publishing, Standing
from opcua_gateway.resume import Resume, load, save
from opcua_gateway.security.endpoints import Endpoints, announce_certificate
from opcua_gateway.security.policies import Unacceptable
from opcua_gateway.session import Limits, ResponseTooLarge, Session, SessionLost
from opcua_gateway.settings import OpcuaGatewaySettings

log = logging.getLogger(__name__)

STEADY_AFTER_S = 30.0
"""A session that lasted so long was a good one, as is one that brought messages: the next attempt
follows soon."""

_MOST_RESUMPTIONS = 4
"""Of one session without a message between, or attempts at it: then it is given up."""

_SAVE_US = 5_000_000


def make_sources(settings: OpcuaGatewaySettings, plants: Sequence[Plant]) -> list[OpcuaSource]:
    """Make a source for each OPC UA server of the plants.

    Raises:
        PlantError: an address is no node id.
    """
    sources = []
    for plant in plants:
        for model in plant.sources:
            if model.kind == "opcua":
                try:
                    tags = tags_of(plant, model)
                except AddressError as error:
                    raise PlantError(str(error)) from error
                units = [each for each in plant.units() if each.model.source == model.id]
                sources.append(OpcuaSource(model, plant.owner, tags, settings, units))
    if sources:
        announce_certificate(settings)
    return sources


class OpcuaSource:
    """One server. `deliveries` may run once at a time."""

    def __init__(
        self,
        model: SourceModel,
        owner: str,
        tags: Sequence[Tag],
        settings: OpcuaGatewaySettings,
        units: Sequence[Unit] = (),
    ) -> None:
        self.model, self.owner = model, owner
        self._tags, self._settings, self._units = tags, settings, units
        self._addresses = tuple(tag.model.address for tag in tags)
        if model.alarms is not None:  # another item of events needs other subscriptions
            self._addresses += (f"alarms {model.alarms.model_dump_json()}",)
        self._endpoints = Endpoints(
            model,
            settings.opcua_insecure_hosts,
            TrustStore(settings.state / "pki"),
            settings.gateway,
        )
        self._file = settings.state / f"opcua-{model.slug}.json"
        self._resume: Resume | None = None
        self._live: tuple[Session, Publishing] | None = None
        self._types: TypeDefinitions | None = None
        # Of the session before, in this process.
        self._standings: list[Standing] = []
        self._refused: dict[int, int] = {}
        self._most_notifications = 0
        self._silent_ends = 0
        self._resumptions = 0  # in a row, without a message
        self._not_resumed = 0  # in a row
        self._make_parts()
        self._saved_at = 0

    async def deliveries(self) -> AsyncGenerator[Delivery, None]:
        """Yield what the server sends, until cancelled. A cancelled source leaves its session to be
        resumed."""
        self._begin_anew()
        self._load()
        # Not a TaskGroup: a group may not span the yields of a generator.
        keeper = asyncio.create_task(self._keep_connected(), name=f"opcua {self.model.key}")
        try:
            while True:
                happening = await _next(keeper, self._out)
                delivery = self._deliveries.of(happening)
                if isinstance(happening, Message):
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

    def _make_parts(self) -> None:
        """What takes values from a session to the outbox, and remembers how far it is."""
        settings = self._settings
        self._window = Window(settings.opcua_unacknowledged)
        self._out: asyncio.Queue[Happening] = asyncio.Queue(maxsize=32)
        self._holes = Holes(
            len(self._tags),
            is_on=settings.opcua_read_back,
            longest_us=int(settings.opcua_read_back_s * SECOND_US),
        )
        self._reader = HistoryReader(
            self.model,
            self._tags,
            settings.opcua_read_back_values,
            self._holes,
            self._out,
            self._window,
        )
        self._alarms = make_alarms(self.model, self._units, settings.state)
        self._deliveries = Deliveries(self.model, self.owner, self._tags, self._holes, self._alarms)

    def _begin_anew(self) -> None:
        """What was on its way when this ended before was not stored, and nobody will acknowledge
        it: the server has it still, as it has for a process that was killed."""
        stored_at, unread = self._deliveries.stored_at, self._holes.unread
        self._live = None
        self._standings = []
        self._refused = {}
        self._make_parts()
        self._deliveries.heard_at = self._deliveries.stored_at = stored_at
        if unread is not None:
            self._holes.reopen(*unread)

    async def _keep_connected(self) -> None:
        backoff = Backoff()
        logged = ""
        while True:
            began = time.monotonic()
            asks_for_fewer = delivered = False
            try:
                await in_own_task(self._connect_and_run())
            except* SessionLost as group:
                asks_for_fewer = self._asks_for_fewer(group)
                reason = readable(str(_first(group)))  # it may quote what the server sent
                # What waits for a person is told on the pages too, once.
                needs_somebody = isinstance(_first(group), Unacceptable) and reason != logged
                if self._live is not None or reason != logged:
                    logged = reason
                    log.warning(
                        "no session",
                        extra={
                            "fields": {
                                "source": self.model.key,
                                "url": self.model.url,
                                "reason": reason,
                            }
                        },
                    )
                not_resumed = isinstance(_first(group), NotResumed)
                self._not_resumed = self._not_resumed + 1 if not_resumed else 0
                in_vain = max(self._resumptions, self._not_resumed)
                if in_vain >= _MOST_RESUMPTIONS or self._is_refused(group):
                    self._forget_secret()
                if self._live is not None:
                    delivered = self._live[1].has_delivered
                    self._standings = self._live[1].standings
                    self._refused = self._live[1].refused
                    if self._resume is not None:
                        # Those that were opened since the last message too.
                        terms = tuple(each.terms for each in self._standings)
                        self._resume = replace(self._resume, terms=terms)
                    self._live = None
                    metrics.CONNECTED.labels(self.model.key).set(0)
                    metrics.LOST.labels(self.model.key).inc()
                    await self._out.put(Lost(reason, now_us()))
                elif needs_somebody:
                    await self._out.put(Lost(reason, now_us()))
            if delivered or asks_for_fewer or time.monotonic() - began > STEADY_AFTER_S:
                backoff.reset()
            if not asks_for_fewer:
                await backoff.wait()

    def _is_refused(self, group: BaseExceptionGroup[SessionLost]) -> bool:
        """Whether the server itself says of a session that was resumed, and had no message yet,
        that it cannot go on."""
        return self._resumptions > 0 and isinstance(_first(group).__cause__, ua.UaStatusCodeError)

    def _asks_for_fewer(self, group: BaseExceptionGroup[SessionLost]) -> bool:
        """Whether the session ended since its messages were too large, and the next one shall ask
        for fewer notifications at a time.

        Some servers say so, others end the connection: a new subscription that ended twice before
        its first message is taken for one of those, and one that was resumed and ended three times.
        A network that goes away again and again looks alike, but not before any message each time.
        """
        if self._live is None:
            return False
        said = group.subgroup(ResponseTooLarge) is not None
        self._silent_ends = 0 if self._live[1].has_delivered else self._silent_ends + 1
        before = self._most_notifications or len(self._tags)
        enough = 3 if self._resumptions else 2
        if before <= 1 or not (said or self._silent_ends >= enough):
            return False
        self._silent_ends = 0
        self._most_notifications = max(1, before // 2)
        self._forget_secret()
        log.warning(
            "messages are too large, asking for fewer notifications in one",
            extra={"fields": {"source": self.model.id, "most": self._most_notifications}},
        )
        return True

    async def _connect_and_run(self) -> None:
        """Open a session and take its messages until it is lost."""
        resume = self._resume if self._resume is not None and self._resume.secret else None
        way = await self._endpoints.find_way(self._settings.opcua_timeout_s)
        async with opened(
            self.model.url,
            way,
            timeout_s=self._settings.opcua_timeout_s,
            session_timeout_s=self._settings.opcua_session_timeout_s,
            name=f"aurelian {self._settings.gateway} {self.model.key}",
            secret=resume.secret if resume is not None else None,
        ) as session:
            limits = await session.read_limits()
            nodes = [tag.address.node_id(limits.namespaces) for tag in self._tags]
            goes_on = resume is not None and session.resumed and limits == resume.limits
            publishing = self._publishing(
                session, limits, nodes, resume.events if resume and goes_on else None, goes_on
            )
            if resume is not None and goes_on:
                # What we sign next time is for what the server gave us just now.
                self._resume = replace(resume, secret=session.secret)
                self._save()
                self._resumptions += 1
                publishing.resume(*self._left_of(resume))
                await self._out.put(Connected(True, now_us()))
            else:
                self._types = None
                self._forget_secret()
                self._saved_at = 0  # the first message saves what brings us back here
                await self._out.put(Connected(False, now_us()))
                await publishing.watch_all()
            if self.model.alarms is None and self._alarms is not None:
                await self._out.put(RefreshRefused(True, now_us()))
            types = await self._read_types(session, limits)
            self._live = session, publishing
            metrics.CONNECTED.labels(self.model.key).set(1)
            metrics.OPENED.labels(self.model.key, "yes" if session.resumed else "no").inc()
            log.info(
                "session is up",
                extra={
                    "fields": {
                        "source": self.model.key,
                        "resumed": session.resumed,
                        "nodes": len(self._tags),
                        "subscriptions": len(publishing.subscriptions),
                    }
                },
            )
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(types.keep_reading(session), name="read unknown types")
                    tasks.create_task(watch_clock(session, self.model.key), name="watch its clock")
                    await publishing.run(lambda: self._reader.run(session, limits, nodes))
            except* ResponseTooLarge:
                with suppress(SessionLost):
                    await publishing.delete_subscriptions()
                raise

    async def _read_types(self, session: Session, limits: Limits) -> TypeDefinitions:
        """Read what the values of the session are decoded by, while they wait at the server. Only
        a signal that is text or JSON can be a structure or the name of a number."""
        if self._types is None:
            nodes = [
                (handle, node)
                for handle, tag in enumerate(self._tags)
                if tag.model.type in (ValueType.TEXT, ValueType.JSON, ValueType.NULL)
                and (node := tag.address.node_id(limits.namespaces)) is not None
            ]
            self._types = TypeDefinitions(self.model.key, nodes, self._settings.opcua_retry_s)
        await self._types.read(session, 2 * self._settings.opcua_timeout_s)
        self._deliveries.names = self._types.names
        return self._types

    def _publishing(
        self,
        session: Session,
        limits: Limits,
        nodes: Sequence[str | None],
        terms: EventTerms | None,
        goes_on: bool,
    ) -> Publishing:
        """`terms`: of the events of the session that this one goes on with."""
        events = make_watch(
            session,
            self.model,
            Places(self.model.key, self._tags, self._units),
            limits.namespaces,
            len(nodes) + 1,  # behind that of the server's state
            self._settings,
            terms,
            missed=not goes_on,
        )
        return Publishing(
            session,
            limits,
            [tag.address for tag in self._tags],
            self._settings,
            self.model.publishing_interval_ms / 1000,
            self._most_notifications,
            self._window,
            self._out,
            events,
        )

    def _left_of(self, resume: Resume) -> tuple[list[Standing], dict[int, int]]:
        """How far the subscriptions of the session before are, and the nodes that it refused: as
        this process knows it, else as the one before left it."""
        known = {each.terms: each for each in self._standings}
        standings = [
            known.get(terms) or Standing(terms, Acknowledgements(self._window), None)
            for terms in resume.terms
        ]
        return standings, self._refused or dict.fromkeys(resume.refused, 0)

    def _remember(self, message: Message) -> None:
        """A message came, so its subscription lives and can be resumed."""
        at = message.received_at
        if self._live is not None:
            session, publishing = self._live
            if message.published.subscription in publishing.subscriptions:
                self._resumptions = 0
                self._resume = Resume(
                    session.secret,
                    tuple(each.terms for each in publishing.subscriptions.values()),
                    publishing.limits,
                    self._addresses,
                    tuple(publishing.refused),
                    at,
                    events=publishing.events.terms if publishing.events is not None else None,
                )
        if at - self._saved_at >= _SAVE_US:
            self._save()

    def _forget_secret(self) -> None:
        """What cannot be resumed must not be tried again and again."""
        self._resumptions = self._not_resumed = 0
        if self._resume is not None:
            self._resume = replace(self._resume, secret="")

    def _load(self) -> None:
        """Read what the run before this one left."""
        if self._resume is None and (found := load(self._file)) is not None:
            self._deliveries.heard_at = self._deliveries.stored_at = found.heard_at
            if found.unread is not None:
                self._holes.reopen(*found.unread)
            if found.addresses == self._addresses:
                self._resume = found

    def _save(self) -> None:
        if self._resume is not None:
            self._saved_at = self._deliveries.heard_at
            resume = replace(
                self._resume, heard_at=self._deliveries.stored_at, unread=self._holes.unread
            )
            save(self._file, resume)


async def _next(keeper: asyncio.Task[None], out: asyncio.Queue[Happening]) -> Happening:
    """The next of `out`. Raises what ended `keeper`."""
    if not out.empty():
        return out.get_nowait()
    getting = asyncio.ensure_future(out.get())
    try:
        await asyncio.wait({keeper, getting}, return_when=asyncio.FIRST_COMPLETED)
        if not getting.done():
            keeper.result()
        return await getting
    finally:
        getting.cancel()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
