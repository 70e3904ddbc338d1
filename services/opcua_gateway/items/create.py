"""Monitored items: created in calls as large as the server takes, without their filter where it
refuses that, replaced when they are made anew. Called by publishing.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from asyncua import ua

from opcua_gateway.failures import TooManyItems
from opcua_gateway.items.asked import Asked, Filter
from opcua_gateway.session import (
    LONGEST_INTERVAL_S,
    TOO_LARGE,
    Session,
    SessionLost,
    Terms,
    TooManyOperations,
    translated,
)

BAD_TOO_MANY_MONITORED_ITEMS = int(ua.StatusCodes.BadTooManyMonitoredItems)

_REQUEST_HEAD_BYTES, _ITEM_BYTES = 512, 112
"""Of a call that creates items, and of an item in it beside its node id as text: at most."""

_SHORTEST_SAMPLING_S = 1e-7
"""OPC UA's own times have no digit below."""

_FILTER_REFUSED = frozenset(
    {
        ua.StatusCodes.BadMonitoredItemFilterUnsupported,
        ua.StatusCodes.BadMonitoredItemFilterInvalid,
        ua.StatusCodes.BadFilterNotAllowed,
        ua.StatusCodes.BadDeadbandFilterInvalid,
    }
)


@dataclass(frozen=True, slots=True)
class Item:
    """A monitored item as it is asked for; times in seconds."""

    handle: int
    node: str
    sampling_s: float
    queue_size: int
    keeps_newest: bool = True
    filter: Filter = field(default_factory=Filter)


@dataclass(frozen=True, slots=True)
class Made:
    """What the server made of an item.

    Attributes:
        status: of the item.
        sampling_s, queue_size: as revised; what was asked where the server does not say.
        filter_refused: why it is made without its filter; 0: it has it.
    """

    status: int
    sampling_s: float = 0.0
    queue_size: int = 0
    filter_refused: int = 0

    @property
    def is_there(self) -> bool:
        """Whether the node is watched."""
        return not self.status & 0x80000000


def items_for(
    nodes: Sequence[tuple[int, str]],
    asked: Sequence[Asked],
    terms: Terms,
    outage_s: float,
    has_range: Callable[[int], bool],
) -> list[Item]:
    """The items of nodes, given as (handle, node id), in a subscription.

    Args:
        asked: by handle.
        outage_s: that the queues shall bridge.
        has_range: whether a node has a range that a percentage can be taken of; where it has none
            its item has no deadband.
    """
    interval_s = terms.publishing_interval_s
    items = []
    for handle, node in nodes:
        wanted = asked[handle]
        filter = wanted.filter
        if filter.is_percent and not has_range(handle):
            filter = replace(filter, deadband=0.0, is_percent=False)
        items.append(
            Item(
                handle,
                node,
                wanted.sampling_s(interval_s),
                wanted.queue(interval_s, outage_s),
                wanted.keeps_newest,
                filter,
            )
        )
    return items


def with_wider_queues(
    items: Sequence[Item],
    made: Mapping[int, Made],
    asked: Sequence[Asked],
    terms: Terms,
    outage_s: float,
) -> list[Item]:
    """Those items that the server samples faster than was asked, and whose queue is as long as was
    asked, with the queue that this needs. It costs a second call, and saves what an outage loses.
    """
    wider = []
    for item in items:
        found = made.get(item.handle)
        if found is None or not found.is_there or found.sampling_s >= item.sampling_s:
            continue
        needed = replace(asked[item.handle], sampling_ms=found.sampling_s * 1000)
        queue_size = needed.queue(terms.publishing_interval_s, outage_s)
        if found.queue_size == item.queue_size < queue_size:
            wider.append(replace(item, queue_size=queue_size))
    return wider


class ItemMaker:
    """Makes the items of one session; knows which item each handle has.

    Args:
        asked: what is asked for each node, by handle.
        outage_s: that the queues shall bridge.
    """

    def __init__(self, session: Session, asked: Sequence[Asked], outage_s: float) -> None:
        self._session, self._asked, self._outage_s = session, asked, outage_s
        self._item_of: dict[int, tuple[int, int]] = {}  # subscription and item, by handle
        self._handle_of: dict[tuple[int, int], int] = {}

    async def watch(
        self,
        terms: Terms,
        nodes: Sequence[tuple[int, str]],
        per_call: int,
        has_range: Callable[[int], bool],
        mode: ua.MonitoringMode = ua.MonitoringMode.Reporting,
    ) -> tuple[list[Item], dict[int, Made]]:
        """Create the items of nodes, given as (handle, node id), as `create` does; return what was
        asked and what became of it. `has_range`: see `items_for`."""
        items = items_for(nodes, self._asked, terms, self._outage_s, has_range)
        made = await self.create(terms, items, per_call, mode)
        wider = with_wider_queues(items, made, self._asked, terms, self._outage_s)
        if wider:
            again = await self.create(terms, wider, per_call, mode)
            # Who has no room for a second one keeps the first.
            better = {handle: each for handle, each in again.items() if each.is_there}
            made |= better
            wanted = {item.handle: item for item in wider if item.handle in better}
            items = [wanted.get(item.handle, item) for item in items]
        return items, made

    async def create(
        self,
        terms: Terms,
        items: Sequence[Item],
        per_call: int,
        mode: ua.MonitoringMode = ua.MonitoringMode.Reporting,
    ) -> dict[int, Made]:
        """Create items; return what became of each, by handle. A refused node costs no other, a
        refused filter costs the filter; those that the subscription has no room for are
        BadTooManyMonitoredItems. An item that a handle had before is deleted."""
        made: dict[int, Made] = {}
        start = 0
        while start < len(items):
            part = self._fitting(items[start : start + per_call])
            try:
                answers = await self._create_part(terms, part, mode, with_filter=True)
            except TooManyOperations as error:
                if per_call == 1:
                    raise SessionLost(
                        f"the server refuses to create even one item in a call: {error.__cause__}"
                    ) from error
                per_call = max(1, min(per_call, len(part)) // 2)
                continue
            except TooManyItems:
                # A server that says so of the whole call: some of it may still fit.
                if len(part) > 1:
                    per_call = len(part) // 2
                    continue
                full = Made(BAD_TOO_MANY_MONITORED_ITEMS)
                return made | {item.handle: full for item in items[start:]}
            refused = [item for item in part if answers[item.handle].status in _FILTER_REFUSED]
            if refused:
                why = {item.handle: answers[item.handle].status for item in refused}
                for handle, each in (await self._create_unfiltered(terms, refused, mode)).items():
                    answers[handle] = Made(
                        each.status, each.sampling_s, each.queue_size, why[handle]
                    )
            made.update(answers)
            start += len(part)
        return made

    async def set_mode(
        self, handles: Sequence[int], mode: ua.MonitoringMode, per_call: int
    ) -> dict[int, int]:
        """Let items report, or sample only, or neither; handles without an item are left out. The
        status of those that are refused."""
        items: dict[int, list[tuple[int, int]]] = {}
        refused: dict[int, int] = {}
        for handle in handles:
            if handle in self._item_of:
                subscription, item = self._item_of[handle]
                items.setdefault(subscription, []).append((handle, item))
        for subscription, known in items.items():
            for start in range(0, len(known), per_call):
                part = known[start : start + per_call]
                ids = [item for _, item in part]
                request = ua.SetMonitoringModeParameters(subscription, mode, ids)
                with translated("set the monitoring mode"):
                    statuses = await self._session.services.set_monitoring_mode(request)
                    for (handle, _), status in zip(part, statuses, strict=True):
                        if not status.is_good():
                            refused[handle] = int(status.value)
        return refused

    async def _create_unfiltered(
        self, terms: Terms, items: Sequence[Item], mode: ua.MonitoringMode
    ) -> dict[int, Made]:
        """Items whose filter the server does not have; there are few, so one by one where it does
        not take them in one call."""
        try:
            return await self._create_part(terms, items, mode, with_filter=False)
        except (TooManyOperations, TooManyItems):
            made: dict[int, Made] = {}
            for item in items:
                try:
                    made |= await self._create_part(terms, [item], mode, with_filter=False)
                except (TooManyOperations, TooManyItems):
                    made[item.handle] = Made(BAD_TOO_MANY_MONITORED_ITEMS)
            return made

    def _fitting(self, items: Sequence[Item]) -> Sequence[Item]:
        """The first of `items`, at least one, that a request has room for."""
        room = self._session.request_bytes
        if not room:
            return items
        room -= _REQUEST_HEAD_BYTES
        for count, item in enumerate(items):
            room -= _ITEM_BYTES + len(item.node.encode())
            if room < 0:
                return items[: max(count, 1)]
        return items

    async def _create_part(
        self, terms: Terms, items: Sequence[Item], mode: ua.MonitoringMode, *, with_filter: bool
    ) -> dict[int, Made]:
        request = ua.CreateMonitoredItemsParameters()
        request.SubscriptionId = terms.subscription
        request.TimestampsToReturn = ua.TimestampsToReturn.Both
        request.ItemsToCreate = [_request(item, mode, with_filter) for item in items]
        with translated("create monitored items"):
            try:
                answers = await self._session.services.create_monitored_items(request)
            except (ua.uaerrors.BadTooManyOperations, *TOO_LARGE) as error:
                raise TooManyOperations from error
            except ua.uaerrors.BadTooManyMonitoredItems as error:
                raise TooManyItems from error
            made = {
                item.handle: _made(item, answer)
                for item, answer in zip(items, answers, strict=True)
            }
            ids = [(terms.subscription, int(answer.MonitoredItemId)) for answer in answers]
            there = [
                (item.handle, number)
                for item, number in zip(items, ids, strict=True)
                if made[item.handle].is_there
            ]
            for subscription, gone in self._replace(there).items():
                await self._session.services.delete_monitored_items(
                    ua.DeleteMonitoredItemsParameters(subscription, gone)
                )
        return made

    def _replace(self, made: Sequence[tuple[int, tuple[int, int]]]) -> dict[int, list[int]]:
        """Note the items that handles have now; those that they had before, by subscription.

        A server may give the number of an item that went with its node to another one, or the same
        item again: such a number is not that of what was before.
        """
        before = [item for handle, _ in made if (item := self._item_of.get(handle)) is not None]
        for handle, item in made:
            if (other := self._handle_of.get(item, handle)) != handle:
                self._item_of.pop(other, None)
            self._item_of[handle] = item
            self._handle_of[item] = handle
        taken = {item for _, item in made}
        gone: dict[int, list[int]] = {}
        for item in before:
            if item not in taken:
                self._handle_of.pop(item, None)
                gone.setdefault(item[0], []).append(item[1])
        return gone


def _made(item: Item, answer: ua.MonitoredItemCreateResult) -> Made:
    status = int(answer.StatusCode.value)
    revised = float(answer.RevisedSamplingInterval) / 1000
    # A server that says 0 for a slower one asked does not mean it, nor one that says no number, or
    # one that no clock has.
    if revised == 0:
        means_it = not item.sampling_s
    else:
        means_it = _SHORTEST_SAMPLING_S <= revised <= LONGEST_INTERVAL_S
    sampling_s = revised if means_it else item.sampling_s
    return Made(status, sampling_s, int(answer.RevisedQueueSize) or item.queue_size)


def _request(
    item: Item, mode: ua.MonitoringMode, with_filter: bool
) -> ua.MonitoredItemCreateRequest:
    wanted = ua.MonitoringParameters()
    wanted.ClientHandle = item.handle
    wanted.SamplingInterval = item.sampling_s * 1000
    wanted.QueueSize = item.queue_size
    wanted.DiscardOldest = item.keeps_newest
    wanted.Filter = _filter(item.filter) if with_filter else None
    request = ua.MonitoredItemCreateRequest()
    request.ItemToMonitor = ua.ReadValueId(
        NodeId=ua.NodeId.from_string(item.node), AttributeId=ua.AttributeIds.Value
    )
    request.MonitoringMode = mode
    request.RequestedParameters = wanted
    return request


def _filter(wanted: Filter) -> ua.DataChangeFilter:
    kind = ua.DeadbandType.Percent if wanted.is_percent else ua.DeadbandType.Absolute
    return ua.DataChangeFilter(
        Trigger=ua.DataChangeTrigger(int(wanted.trigger)),
        DeadbandType=int(kind if wanted.deadband else ua.DeadbandType.None_),
        DeadbandValue=wanted.deadband,
    )
