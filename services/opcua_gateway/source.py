"""One OPC UA server as a source of readings: connects, resumes, maps; called by
`aurelian.edge.gateway.run_gateway`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import assert_never
from urllib.parse import SplitResult, urlsplit

from aurelian.edge.gateway import Delivery, Reading, Reject
from aurelian.model import codec
from aurelian.model.plant import Plant
from aurelian.model.plant_file import PlantError
from aurelian.model.plant_parts import SourceModel
from aurelian.model.time import now_us
from aurelian.runtime.retry import Backoff
from opcua_gateway import metrics
from opcua_gateway.mapping import (
    AddressError,
    Tag,
    UnitsHeard,
    refused_reading,
    tags_of,
    to_reading,
)
from opcua_gateway.resume import Resume, load, save
from opcua_gateway.session import Limits, Session, SessionLost, Terms, opened
from opcua_gateway.settings import OpcuaGatewaySettings
from opcua_gateway.subscription import (
    Acknowledgements,
    Connected,
    Happening,
    Lost,
    Message,
    Refused,
    Subscription,
)

log = logging.getLogger(__name__)

STEADY_AFTER_S = 30.0
"""A session that lasted so long was a good one: the next attempt follows at once."""

_HEARTBEAT_US = 1_000_000
_SAVE_US = 5_000_000


def make_sources(settings: OpcuaGatewaySettings, plants: Sequence[Plant]) -> list[OpcuaSource]:
    """Make a source for each OPC UA server of the plants.

    Raises:
        PlantError: an address is no node id, or a server would be spoken to without security beyond
        loopback.
    """
    sources = []
    for plant in plants:
        for model in plant.sources:
            if model.kind == "opcua":
                _refuse_insecure(model, settings.opcua_insecure_hosts)
                try:
                    tags = tags_of(plant, model)
                except AddressError as error:
                    raise PlantError(str(error)) from error
                sources.append(OpcuaSource(model, plant.owner, tags, settings))
    return sources


class OpcuaSource:
    """One server. `deliveries` may run once at a time."""

    def __init__(
        self, model: SourceModel, owner: str, tags: Sequence[Tag], settings: OpcuaGatewaySettings
    ) -> None:
        self.model, self.owner = model, owner
        self._tags, self._settings = tags, settings
        self._addresses = tuple(tag.model.address for tag in tags)
        self._assets = list(dict.fromkeys(tag.unit.id for tag in tags))
        self._file = settings.state / f"opcua-{model.id}.json"
        self._resume: Resume | None = None
        self._live: tuple[Session, Subscription] | None = None
        self._acknowledgements: Acknowledgements | None = None
        self._expected: int | None = None
        self._out: asyncio.Queue[Happening] = asyncio.Queue(maxsize=32)
        # What `_map` remembers.
        self._units = UnitsHeard(tags)
        self._initial: set[int] = set()
        self._last_time: dict[int, int] = {}
        self._heard_at = 0
        self._beat_at = 0
        self._saved_at = 0

    async def deliveries(self) -> AsyncGenerator[Delivery, None]:
        """Yield what the server sends, until cancelled. A cancelled source leaves its session to be
        resumed."""
        self._load()
        # Not a TaskGroup: a group may not span the yields of a generator.
        keeper = asyncio.create_task(self._keep_connected(), name=f"opcua {self.model.id}")
        try:
            while True:
                yield self._map(await _next(keeper, self._out))
        finally:
            keeper.cancel()
            await asyncio.wait({keeper})
            self._save()

    async def _keep_connected(self) -> None:
        backoff = Backoff()
        logged = ""
        while True:
            began = time.monotonic()
            try:
                await self._connect_and_run()
            except* SessionLost as group:
                reason = str(_first(group))
                if self._live is not None or reason != logged:
                    logged = reason
                    log.warning(
                        "no session",
                        extra={
                            "fields": {
                                "source": self.model.id,
                                "url": self.model.url,
                                "reason": reason,
                            }
                        },
                    )
                if self._live is not None:
                    self._expected = self._live[1].expected
                    self._live = None
                    metrics.CONNECTED.labels(self.model.id).set(0)
                    metrics.LOST.labels(self.model.id).inc()
                    await self._out.put(Lost(reason, now_us()))
            if time.monotonic() - began > STEADY_AFTER_S:
                backoff.reset()
            await backoff.wait()

    async def _connect_and_run(self) -> None:
        """Open a session and take its messages until it is lost."""
        resume = self._resume if self._resume is not None and self._resume.token else None
        async with opened(
            self.model.url,
            timeout_s=self._settings.opcua_timeout_s,
            session_timeout_s=self._settings.opcua_session_timeout_s,
            name=f"aurelian {self._settings.gateway} {self.model.id}",
            token=resume.token if resume is not None else None,
        ) as session:
            limits = await session.read_limits()
            if resume is not None and session.resumed and limits == resume.limits:
                self._forget_token()  # until a message shows that the subscription still lives
                subscription = self._subscription(session, limits, resume.terms, self._expected)
                await self._out.put(Connected(True, now_us()))
            else:
                self._forget_token()
                subscription = await self._subscribe(session, limits)
            self._live = session, subscription
            metrics.CONNECTED.labels(self.model.id).set(1)
            metrics.OPENED.labels(self.model.id, "yes" if session.resumed else "no").inc()
            log.info(
                "session is up",
                extra={
                    "fields": {
                        "source": self.model.id,
                        "resumed": session.resumed,
                        "nodes": len(self._tags),
                    }
                },
            )
            await subscription.run()

    async def _subscribe(self, session: Session, limits: Limits) -> Subscription:
        terms = await session.create_subscription(
            self.model.publishing_interval_ms / 1000,
            self._settings.opcua_keep_alive_s,
            self._settings.opcua_session_timeout_s,
        )
        self._acknowledgements = None
        subscription = self._subscription(session, limits, terms, 1)
        await self._out.put(Connected(False, now_us()))
        await subscription.create_items(range(len(self._tags)))
        return subscription

    def _subscription(
        self, session: Session, limits: Limits, terms: Terms, expected: int | None
    ) -> Subscription:
        if self._acknowledgements is None:
            self._acknowledgements = Acknowledgements(
                terms.subscription, self._settings.opcua_unacknowledged
            )
        nodes = [tag.address.node_id(limits.namespaces) for tag in self._tags]
        return Subscription(
            session,
            limits,
            terms,
            nodes,
            self._settings,
            self._out,
            self._acknowledgements,
            expected,
        )

    def _map(self, happening: Happening) -> Delivery:
        match happening:
            case Message():
                return self._map_message(happening)
            case Refused(statuses, at):
                readings = [
                    refused_reading(self._tags[handle], status, at)
                    for handle, status in statuses.items()
                ]
                log.warning(
                    "nodes are refused",
                    extra={
                        "fields": {
                            "source": self.model.id,
                            "count": len(readings),
                            "first": readings[0].signal.path,
                        }
                    },
                )
                metrics.REFUSED.labels(self.model.id).inc(len(readings))
                return self._delivery(at, readings=readings)
            case Connected(resumed, at):
                self._initial = set() if resumed else set(range(len(self._tags)))
                events = (
                    []
                    if resumed or not self._heard_at
                    else [self._gap(at, "no session with the server")]
                )
                born = codec.Birth(
                    assets=self._assets, detail="resumed" if resumed else "connected"
                )
                self._beat_at = at
                return self._delivery(at, events=[*events, self._event(at, birth=born)])
            case Lost(reason, at):
                return self._delivery(
                    at, events=[self._event(at, death=codec.Death(reason=reason))]
                )
        assert_never(happening)

    def _map_message(self, message: Message) -> Delivery:
        published, at = message.published, message.received_at
        found = [each for each in published.notifications if each.handle < len(self._tags)]
        readings = [
            to_reading(self._tags[each.handle], each, initial=each.handle in self._initial)
            for each in found
        ]
        self._initial.difference_update(each.handle for each in found)
        events = list(self._losses(message))
        fell, back = self._units.update(found)
        if fell:
            reason = "the server has no communication with it"
            events.append(self._event(at, death=codec.Death(assets=fell, reason=reason)))
        if back:
            events.append(
                self._event(at, birth=codec.Birth(assets=back, detail="communication is back"))
            )
        if at - self._beat_at >= _HEARTBEAT_US and self._units.heard:
            self._beat_at = at
            assets = [] if self._units.all_heard else self._units.heard
            events.append(self._event(at, heartbeat=codec.Heartbeat(heard_at=at, assets=assets)))
        rejects = []
        if published.unreadable:
            rejects.append(
                Reject(
                    published.why,
                    "unreadable",
                    f"{self.model.url} message {published.sequence}",
                    published.unreadable,
                )
            )
        for each in found:
            if each.source_time is not None:
                self._last_time[each.handle] = each.source_time
        self._heard_at = at
        self._remember(message)
        metrics.NOTIFICATIONS.labels(self.model.id).inc(len(found))
        return self._delivery(
            at, readings=readings, rejects=rejects, events=events, ack=_ack(message)
        )

    def _losses(self, message: Message) -> Iterable[codec.SourceEvent]:
        """Gap events for what the server could not keep for us."""
        at = message.received_at
        if message.lost:
            metrics.LOST_MESSAGES.labels(self.model.id).inc(message.lost)
            yield self._gap(at, f"{message.lost} messages were lost on the way")
        if message.published.unreadable:
            yield self._gap(at, message.published.why)
        full = [
            each
            for each in message.published.notifications
            if each.overflow and each.handle < len(self._tags)
        ]
        if full:
            metrics.OVERFLOWS.labels(self.model.id).inc(len(full))
            starts = [self._last_time.get(each.handle, self._heard_at or at) for each in full]
            ends = [each.source_time or at for each in full]
            first = self._tags[full[0].handle].signal.path
            reason = f"the server's queue was too small for {len(full)} nodes, first {first}"
            gap = codec.Gap(from_time=min(starts), to_time=max(ends), reason=reason)
            yield self._event(at, gap=gap)

    def _delivery(
        self,
        at: int,
        *,
        readings: Sequence[Reading] = (),
        rejects: Sequence[Reject] = (),
        events: Sequence[codec.SourceEvent] = (),
        ack: Callable[[], None] | None = None,
    ) -> Delivery:
        return Delivery(
            source=self.model,
            owner=self.owner,
            received_at=at,
            readings=readings,
            rejects=rejects,
            events=events,
            ack=ack,
        )

    def _gap(self, to: int, reason: str) -> codec.SourceEvent:
        metrics.GAPS.labels(self.model.id).inc()
        return self._event(
            to, gap=codec.Gap(from_time=self._heard_at or to, to_time=to, reason=reason)
        )

    def _event(self, at: int, **kind: object) -> codec.SourceEvent:
        return codec.SourceEvent(owner=self.owner, source=self.model.id, time=at, **kind)  # type: ignore[arg-type]

    def _remember(self, message: Message) -> None:
        """A message came, so its subscription lives and can be resumed."""
        at = message.received_at
        if self._live is not None:
            session, subscription = self._live
            if subscription.terms.subscription == message.published.subscription:
                self._resume = Resume(
                    session.token, subscription.terms, subscription.limits, self._addresses, at
                )
        if at - self._saved_at >= _SAVE_US:
            self._save()

    def _forget_token(self) -> None:
        """Resume only once: what cannot be resumed must not be tried again and again."""
        if self._resume is not None:
            self._resume = replace(self._resume, token="")

    def _load(self) -> None:
        """Read what the run before this one left."""
        if self._resume is None and (found := load(self._file)) is not None:
            self._heard_at = found.heard_at
            if found.addresses == self._addresses:
                self._resume = found

    def _save(self) -> None:
        if self._resume is not None:
            self._saved_at = self._heard_at
            save(self._file, self._resume)


def _ack(message: Message) -> Callable[[], None] | None:
    book, number = message.acknowledgements, message.published.sequence
    return None if book is None else lambda: book.stored(number)


def _refuse_insecure(model: SourceModel, allowed: Sequence[str]) -> None:
    parts = urlsplit(model.url)
    if parts.scheme != "opc.tcp" or not parts.hostname or not _port(parts):
        raise PlantError(
            f"source {model.id!r}: url {model.url!r} is no OPC UA address; say opc.tcp://host:4840"
        )
    if parts.username is not None:
        raise PlantError(
            f"source {model.id!r}: signing in by user name is not there yet; take it out of the url"
        )
    if parts.hostname not in allowed and not _is_loopback(parts.hostname):
        raise PlantError(
            f"source {model.id!r}: {parts.hostname} is not this machine, and secured connections "
            "are not there yet; "
            f"set AURELIAN_OPCUA_INSECURE_HOSTS='[\"{parts.hostname}\"]' if the network between "
            "is closed"
        )


def _port(parts: SplitResult) -> int | None:
    try:
        return parts.port
    except ValueError:  # no number, or above 65535
        return None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


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
