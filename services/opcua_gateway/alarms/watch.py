"""The item of events of a session: how it is asked for, what its events say, when conditions are
listed again. Run by publishing.py."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from asyncua import ua

from aurelian.edge.names import readable
from aurelian.model.addresses import parse_address
from aurelian.model.alarms_model import AlarmsModel
from aurelian.model.source_model import SourceModel
from aurelian.model.time import now_us
from opcua_gateway import metrics
from opcua_gateway.alarms import event as events
from opcua_gateway.alarms.event_types import read_own_fields
from opcua_gateway.alarms.fields import BASIC, EventField, EventTerms, event_filter, standard
from opcua_gateway.alarms.places import Places
from opcua_gateway.alarms.statuses import FILTER_REFUSED, SESSION_IS_GONE, UNLISTED, UNLISTED_STEP
from opcua_gateway.alarms.where import Proof, Where, export
from opcua_gateway.decode.events import EventFields
from opcua_gateway.decode.notifications import Published
from opcua_gateway.decode.variants import UNREADABLE
from opcua_gateway.happenings import Happening, RefreshAsked, RefreshRefused
from opcua_gateway.session import Session, SessionLost, translated
from opcua_gateway.settings import OpcuaGatewaySettings

log = logging.getLogger(__name__)

_CONDITION_TYPE = ua.NodeId(ua.ObjectIds.ConditionType)
_CONDITION_REFRESH = ua.NodeId(ua.ObjectIds.ConditionType_ConditionRefresh)
_MOST_ATTEMPTS = 8
_REFUSALS_THAT_COUNT = 2
"""Of the item in a row: the first may be of a server that is still setting up."""

_REFRESHES_AGAIN = frozenset({int(ua.StatusCodes.BadRefreshInProgress)})


def make_watch(
    session: Session,
    model: SourceModel,
    where: Where | None,
    places: Places,
    namespaces: Sequence[str],
    handle: int,
    settings: OpcuaGatewaySettings,
) -> EventWatch | None:
    """The watch of a source's events, as `EventWatch`; None: they are not taken."""
    if model.alarms is None or where is None:
        return None
    return EventWatch(
        session,
        model.alarms,
        where,
        places,
        namespaces,
        handle,
        settings.opcua_event_queue,
        settings.opcua_retry_s,
    )


class Outlet(Protocol):
    """Where happenings go, as in subscription.py, which is built upon this."""

    async def put(self, happening: Happening) -> None:
        """Take one; waits while there is no room."""
        ...


class EventWatch:
    """Watches the events of one session.

    Attributes:
        terms: of the item; None: the server did not take it yet.
        refused, unlisted: why it does not take it, or list its conditions; empty: it does so far.

    Args:
        where: of the source.
        handle: of the item.
    """

    def __init__(
        self,
        session: Session,
        model: AlarmsModel,
        where: Where,
        places: Places,
        namespaces: Sequence[str],
        handle: int,
        queue_size: int,
        retry_s: float,
    ) -> None:
        self.terms: EventTerms | None = None
        self.refused = self.unlisted = ""
        self._session, self._source, self._model = session, where.source, model
        self._where, self._proof = where, Proof(where)
        self._places, self._namespaces = places, namespaces
        self._handle, self._queue_size, self._retry_s = handle, queue_size, retry_s
        self._missed = True  # until `go_on` says otherwise
        self._is_prepared = False
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._not_before = self._refreshed = 0.0  # by time.monotonic
        self._namespaces_not_before = 0.0
        self._said: set[tuple[str, str]] = set()

    def go_on(self, terms: EventTerms | None) -> None:
        """Go on with the item of the session before, of which nothing was missed."""
        self.terms, self._missed = terms, terms is None
        if terms is not None:
            export(self._source, filtered=terms.filtered)

    def know(self, namespaces: Sequence[str]) -> None:
        """The server has further namespaces now."""
        self._namespaces = namespaces

    async def create(self, subscription: int) -> bool:
        """Ask for the events, in a subscription; with less where the server refuses. Whether it
        took the item: where not, the log says why, once.

        Raises:
            SessionLost: the server is gone.
        """
        if self._notifier() is None:
            self._say_refused("the server does not have the namespace of the notifier")
            return False
        fields = standard()
        if self._model.fields:
            try:
                fields += await read_own_fields(self._session)
            except SessionLost as error:  # it gives nothing of its types, or the next call says so
                self._say("the event types of the server are not known", str(error))
        where = self._where.wanted
        for _ in range(_MOST_ATTEMPTS):
            status, refused, item = await self._ask(subscription, fields, where=where)
            if not status & 0x80000000:
                self.terms, self.refused = EventTerms(subscription, tuple(fields), item, where), ""
                export(self._source, filtered=where)
                return True
            if status & 0xFFFF0000 not in FILTER_REFUSED:
                break
            before = len(fields), where
            if refused and len(refused) < len(fields):
                fields = [f for n, f in enumerate(fields) if n not in refused]
            elif where:
                where = False
            else:
                fields = _fewer(fields)
            if (len(fields), where) == before or not any(f.key == "EventType" for f in fields):
                break
            name = ua.StatusCode(status).name
            said = f"{name}: asking for {len(fields)} fields" + ("" if where else ", unfiltered")
            self._say("the server refuses how events are asked for", said)
        self._say_refused(ua.StatusCode(status).name)
        return False

    async def read(self, published: Published, lost: int) -> tuple[events.EventSaid, ...]:
        """What the events of a message say, with the units that they are about. `lost`: messages
        before it that did not come."""
        if self.terms is None:
            return ()
        if lost or published.unreadable:
            self._want(missed=True)
        mine = [each for each in published.events if each.handle == self._handle]
        if not mine:
            return ()
        await self._know_all_of(mine)
        fields = self.terms.fields
        nodes = [events.source_node(fields, each) for each in mine]
        if not self._is_prepared:
            self._is_prepared = True
            await self._places.prepare(self._session, self._namespaces)
        await self._places.find(self._session, [node for node in nodes if node is not None])
        said = []
        for each, node in zip(mine, nodes, strict=True):
            kind = events.event_type(fields, each)
            self._proof.came(kind)
            if kind == events.REFRESH_REQUIRED:
                self._want()
            elif kind == events.OVERFLOW:
                self._want(missed=True)
            try:
                alarm = events.to_alarm(fields, each, self._namespaces)
            except (events.Unusable, *UNREADABLE) as error:
                said.append(events.EventSaid(kind, None, f"an event: {error}", each.data))
                continue
            if (unit := self._places.unit(node)) is not None:
                alarm.asset = unit.id
            said.append(events.EventSaid(kind, alarm, is_nameless=events.is_nameless(fields, each)))
        return tuple(said)

    async def run(self, subscription: Callable[[], int], order: asyncio.Lock, out: Outlet) -> None:
        """Ask for the item until the server takes it, and for its conditions whenever they are to
        be listed; until cancelled.

        Args:
            subscription: names one to be in.
            order: held while a message and all before it go to `out`.

        Raises:
            SessionLost: the server is gone.
        """
        refusals = 0
        while True:
            if self.terms is None and not await self.create(subscription()):
                refusals += 1
                if refusals == _REFUSALS_THAT_COUNT:
                    # No event will end what stood in the session before.
                    await out.put(RefreshRefused(self._missed, now_us()))
                await asyncio.sleep(self._retry_s)
                continue
            await self._wanted.wait()
            await asyncio.sleep(max(0.0, self._not_before - time.monotonic()))
            self._wanted.clear()
            missed, self._missed = self._missed, False
            async with order:
                await out.put(RefreshAsked(now_us()))
            result = await self._refresh()
            self._refreshed = time.monotonic()
            metrics.REFRESHES.labels(self._source, result).inc()
            if result == "refused":
                await out.put(RefreshRefused(missed, now_us()))
            elif result == "later":
                self._want(missed=missed)
                self._not_before = self._refreshed + min(1.0, self._retry_s)
            if (
                self.terms is not None
                and self.terms.filtered
                and (why := await self._proof.missing(result))
            ):
                await self._ask_unfiltered(why, list_again=result == "done")

    async def _ask_unfiltered(self, why: str, *, list_again: bool) -> None:
        """Have an item without a where clause in place of the one with it. Both are there for a
        moment: an event that comes twice is known by its id."""
        before = self.terms
        if before is None or not before.item:
            return
        status, _, item = await self._ask(before.subscription, before.fields, where=False)
        if status & 0x80000000:
            self._say("events are not given without a where clause", ua.StatusCode(status).name)
            return
        self._where.give_up(why)
        self.terms = EventTerms(before.subscription, before.fields, item, filtered=False)
        export(self._source, filtered=False)
        with translated("watch events"):
            try:
                await self._delete(before.subscription, before.item)
            except ua.UaStatusCodeError as error:
                if error.code in SESSION_IS_GONE:
                    raise
        if list_again:
            self._want()  # nothing was seen of the list before

    def _notifier(self) -> str | None:
        return parse_address(self._model.notifier).node_id(self._namespaces)

    async def _delete(self, subscription: int, item: int) -> None:
        gone = ua.DeleteMonitoredItemsParameters(subscription, [item])
        await self._session.services.delete_monitored_items(gone)

    async def _know_all_of(self, said: Sequence[EventFields]) -> None:
        """Ask for the namespaces again where events name one that is not known: a condition shall
        not have another name in the next session."""
        highest = max(
            (
                value.NamespaceIndex
                for each in said
                for value, _ in each.values
                if isinstance(value, ua.NodeId)
            ),
            default=0,
        )
        now = time.monotonic()
        if highest < len(self._namespaces) or now < self._namespaces_not_before:
            return
        self._namespaces_not_before = now + self._retry_s
        with suppress(SessionLost):  # if the session is over, others see to it
            found = (await self._session.read_limits()).namespaces
            if found[: len(self._namespaces)] == tuple(self._namespaces):
                self._namespaces = found

    async def _refresh(self) -> str:
        """Have the server list its conditions; "done", "later", or "refused": it cannot."""
        assert self.terms is not None
        method = ua.CallMethodRequest(
            _CONDITION_TYPE,
            _CONDITION_REFRESH,
            [ua.Variant(self.terms.subscription, ua.VariantType.UInt32)],
        )
        with translated("refresh conditions"):
            try:
                (answer,) = await self._session.services.call([method])
                status = answer.StatusCode
            except TimeoutError:
                self._say("conditions were not listed", "the server did not answer")
                return "later"
            except ua.UaStatusCodeError as error:
                if error.code in SESSION_IS_GONE:
                    raise
                status = ua.StatusCode(error.code)
            except UNREADABLE as error:
                return self._say_unlisted(repr(error))
        if status.is_good():
            self.unlisted = ""
            return "done"
        if status.value in _REFRESHES_AGAIN:
            return "later"
        return self._say_unlisted(status.name)

    def _say_unlisted(self, why: str) -> str:
        self.unlisted = why
        self._say(UNLISTED, why, UNLISTED_STEP)
        return "refused"

    def _want(self, *, missed: bool = False) -> None:
        """Conditions are to be listed; what was missed may be missed again at once, so not more
        often than every `retry_s`."""
        if missed:
            self._missed = True
            self._not_before = self._refreshed + self._retry_s if self._refreshed else 0.0
        self._wanted.set()

    async def _ask(
        self, subscription: int, fields: Sequence[EventField], *, where: bool
    ) -> tuple[int, frozenset[int], int]:
        """The status, which of the fields the server refuses, and the number of the item."""
        wanted = ua.MonitoringParameters()
        wanted.ClientHandle = self._handle
        wanted.SamplingInterval = 0
        wanted.QueueSize = self._queue_size
        wanted.DiscardOldest = True
        wanted.Filter = event_filter(fields, where=where)
        item = ua.MonitoredItemCreateRequest()
        item.ItemToMonitor = ua.ReadValueId(
            NodeId=ua.NodeId.from_string(self._notifier() or ""),
            AttributeId=ua.AttributeIds.EventNotifier,
        )
        item.MonitoringMode = ua.MonitoringMode.Reporting
        item.RequestedParameters = wanted
        request = ua.CreateMonitoredItemsParameters()
        request.SubscriptionId = subscription
        request.TimestampsToReturn = ua.TimestampsToReturn.Both
        request.ItemsToCreate = [item]
        with translated("watch events"):
            try:
                (answer,) = await self._session.services.create_monitored_items(request)
            except ua.UaStatusCodeError as error:
                if error.code in SESSION_IS_GONE:
                    raise
                return int(error.code), frozenset(), 0
            except TimeoutError:
                # The values shall not suffer: where it is the connection, they say so.
                return int(ua.StatusCodes.BadTimeout), frozenset(), 0
            except UNREADABLE:
                return int(ua.StatusCodes.BadDecodingError), frozenset(), 0
            status, result = int(answer.StatusCode.value), answer.FilterResult
            if not isinstance(result, ua.EventFilterResult):
                return status, frozenset(), int(answer.MonitoredItemId or 0)
            if where and not status & 0x80000000 and _refuses_where(result):
                # Taken, with a condition that it cannot judge: nobody knows what it would send.
                await self._delete(subscription, answer.MonitoredItemId)
                return int(ua.StatusCodes.BadEventFilterInvalid), frozenset(), 0
        selects = result.SelectClauseResults or ()
        bad = frozenset(n for n, each in enumerate(selects) if not each.is_good())
        return status, bad, int(answer.MonitoredItemId or 0)

    def _say(self, what: str, why: str, step: str = "") -> None:
        """Once in a session."""
        if (what, why) not in self._said:
            self._said.add((what, why))
            fields = {"source": self._source, "reason": readable(why)}
            fields |= {"next": step} if step else {}
            log.warning(what, extra={"fields": fields})

    def _say_refused(self, why: str) -> None:
        metrics.EVENTS_WATCHED.labels(self._source).set(0)
        self.refused = why
        self._say("events are refused", why)


def _refuses_where(result: ua.EventFilterResult) -> bool:
    where = result.WhereClauseResult
    elements = (where.ElementResults or ()) if where is not None else ()
    return any(not each.StatusCode.is_good() for each in elements)


def _fewer(fields: list[EventField]) -> list[EventField]:
    """Fewer fields than were refused: without the maker's, then the basic ones alone."""
    fewer = [each for each in fields if not each.own]
    if len(fewer) == len(fields):
        fewer = [each for each in fields if each.key in BASIC]
    return fewer
