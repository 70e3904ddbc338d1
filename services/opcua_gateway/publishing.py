"""A session at work: the nodes that are watched, in as many subscriptions as the server needs for
them, Publish requests, silence, refused nodes; run by source.py."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from collections.abc import Sequence as Items
from contextlib import suppress
from functools import partial

from asyncua import ua

from aurelian.model.addresses import NodeAddress
from aurelian.model.time import now_us
from opcua_gateway.alarms.watch import EventWatch
from opcua_gateway.decode.notifications import decode_publish
from opcua_gateway.happenings import Refused, Unfiltered
from opcua_gateway.items.asked import Asked
from opcua_gateway.items.create import BAD_TOO_MANY_MONITORED_ITEMS, Item, ItemMaker
from opcua_gateway.items.meanings import Meanings
from opcua_gateway.items.revised import Revisions
from opcua_gateway.mapping import BAD_NODE_ID_INVALID, BAD_NODE_ID_UNKNOWN
from opcua_gateway.message_numbers import Acknowledgements, Window
from opcua_gateway.server_status import WATCHED, read_status
from opcua_gateway.session import (
    Limits,
    PublishTimedOut,
    Session,
    SessionLost,
    TooManyPublishRequests,
    TooManySubscriptions,
    translated,
)
from opcua_gateway.settings import OpcuaGatewaySettings
from opcua_gateway.subscription import Outlet, Standing, Subscription

MOST_SUBSCRIPTIONS = 100
"""Of one session. A server that takes fewer nodes in each gets its other nodes as refused."""

_NODE_IS_GONE = frozenset({BAD_NODE_ID_UNKNOWN, BAD_NODE_ID_INVALID})

MOST_REQUESTS = 10
"""Publish requests that wait at one server."""


class Publishing:
    """Takes the messages of a session's subscriptions to `out` until the session is lost.

    `out` is bounded: while it is full, or `opcua_unacknowledged` messages wait for the outbox, no
    Publish request is sent and the values wait in the server's queues.

    Args:
        addresses, asked: of the nodes, and what is asked for each, by handle.
        revisions: told what the server gives; of the source.
        most_notifications: in one message; 0: as the server likes.
        mode: of the nodes' items; a standby's do not report until `report`.
        events: of the server, watched too once the items report; None: they are not.
    """

    def __init__(
        self,
        session: Session,
        limits: Limits,
        addresses: Items[NodeAddress],
        asked: Items[Asked],
        revisions: Revisions,
        settings: OpcuaGatewaySettings,
        publishing_interval_s: float,
        most_notifications: int,
        window: Window,
        out: Outlet,
        mode: ua.MonitoringMode = ua.MonitoringMode.Reporting,
        events: EventWatch | None = None,
    ) -> None:
        self.limits = limits
        self.subscriptions: dict[int, Subscription] = {}
        self._session, self._addresses, self._settings = session, addresses, settings
        # None where the server does not have the namespace.
        self.nodes = [each.node_id(limits.namespaces) for each in addresses]
        """Node id by handle; namespaces that come later change it in place."""
        self.on_namespaces: Callable[[], Awaitable[None]] | None = None
        """Awaited when it changed, before values of the new ones come."""
        self._revisions = revisions
        self._items = ItemMaker(session, asked, settings.opcua_queue_s)
        percent = [handle for handle, each in enumerate(asked) if each.filter.is_percent]
        self._meanings = Meanings(session, revisions, percent)
        self._interval_s, self._most = publishing_interval_s, most_notifications
        self._window, self._out, self._mode = window, out, mode
        self.events = events
        self._reports = asyncio.Event()
        if mode is ua.MonitoringMode.Reporting:
            self._reports.set()
        self.refused: dict[int, int] = {}
        """Nodes that the server does not give, by handle with the status that was told."""
        self._order = asyncio.Lock()
        self._tasks: asyncio.TaskGroup | None = None
        self._requests, self._most_requests = 0, MOST_REQUESTS

    @property
    def standings(self) -> list[Standing]:
        """How far each subscription is; what a resumed session goes on with."""
        return [each.standing for each in self.subscriptions.values()]

    @property
    def has_delivered(self) -> bool:
        """Whether any message came yet; keep-alives count."""
        return any(each.has_delivered for each in self.subscriptions.values())

    def resume(self, standings: Items[Standing], refused: dict[int, int]) -> None:
        """Go on with the subscriptions of the session before, and the nodes that it refused."""
        for standing in standings:
            subscription = self._add(standing)
            subscription.has_items = True
            subscription.left_behind = self._settings.opcua_publish_requests
        self.refused = dict(refused)
        self._revisions.resumed()

    async def watch_all(self) -> dict[int, int]:
        """Watch all nodes in new subscriptions; the status of those that are refused, by handle:
        `tell` it once the session is told."""
        self._revisions.begin()
        await self._open_subscription()
        news = await self._watch(range(len(self.nodes)))
        await self._watch_server()
        if self.events is not None and self._reports.is_set():
            await self.events.create(self._newest_number())
        return news

    async def watch_all_or_close(self) -> dict[int, int]:
        """`watch_all`; where the server does not take them the session is ended: nobody comes back
        to it, and servers have room for few."""
        try:
            return await self.watch_all()
        except SessionLost:
            with suppress(SessionLost):
                await self._session.close()
            raise

    def _newest_number(self) -> int:
        return list(self.subscriptions.values())[-1].terms.subscription

    async def _watch_events(self, events: EventWatch) -> None:
        await self._reports.wait()
        await events.run(self._newest_number, self._order, self._out)

    async def run(self, read_back: Callable[[], Coroutine[None, None, None]]) -> None:
        """Work until cancelled; `read_back` runs beside, once a message came.

        Raises:
            ExceptionGroup of SessionLost: the session cannot go on.
        """
        for subscription in self.subscriptions.values():
            subscription.heard = time.monotonic()
            await subscription.replay()
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._start_pumps()
            tasks.create_task(self._watch_silence(), name="watch for silence")
            tasks.create_task(self._ask_whether_it_lives(), name="ask for a sign of life")
            tasks.create_task(self._renew(), name="renew the channel")
            tasks.create_task(self._retry(), name="retry refused nodes")
            tasks.create_task(self._follow_meanings(), name="read what nodes mean")
            tasks.create_task(self._after_message(read_back), name="read history back")
            if self.events is not None:
                watch = partial(self._watch_events, self.events)
                tasks.create_task(self._after_message(watch), name="refresh conditions")

    def held(self) -> asyncio.Lock:
        """While it is held no message goes on."""
        return self._order

    async def report(self) -> dict[int, int]:
        """Let all items report from now on, beginning with what their queues have. The status of
        those that are refused, by handle; they are made anew later."""
        self._mode = ua.MonitoringMode.Reporting
        self._reports.set()
        handles = range(len(self.nodes))
        refused = await self._items.set_mode(handles, self._mode, self.limits.items_per_call)
        self.refused |= refused
        return refused

    async def delete_subscriptions(self) -> None:
        """Tell the server that they are not wanted any more."""
        await self._session.delete_subscriptions(list(self.subscriptions))

    def _add(self, standing: Standing) -> Subscription:
        made = Subscription(self._session, standing, self._out, self.events)
        self.subscriptions[standing.terms.subscription] = made
        return made

    async def _open_subscription(self) -> Subscription:
        terms = await self._session.create_subscription(
            self._interval_s,
            self._settings.opcua_keep_alive_s,
            self._settings.opcua_session_timeout_s,
            self._most,
        )
        self._revisions.subscribed(self._interval_s, terms)
        return self._add(Standing(terms, Acknowledgements(self._window)))

    async def _watch(self, handles: Items[int]) -> dict[int, int]:
        """Watch the nodes of `handles`; those that are refused are tried again later. Returns the
        statuses that were not told yet."""
        known = [(handle, node) for handle in handles if (node := self.nodes[handle]) is not None]
        statuses: dict[int, int] = {
            handle: BAD_NODE_ID_UNKNOWN for handle in handles if self.nodes[handle] is None
        }
        await self._meanings.know(handles, self.nodes, self.limits.nodes_per_read)
        statuses |= await self._create_items(known)
        news = {}
        for handle, status in statuses.items():
            if not status & 0x80000000:
                self.refused.pop(handle, None)
            elif self.refused.get(handle) != status:
                self.refused[handle] = news[handle] = status
        return news

    async def tell(self, news: dict[int, int]) -> None:
        """Say which nodes are refused, and what the server gives instead of what was asked."""
        if news:
            await self._out.put(Refused(news, now_us()))
        if told := self._revisions.tell():
            await self._out.put(Unfiltered(told, now_us()))

    async def _watch_server(self) -> None:
        """Watch what the server says of itself, under the handles after the last node's; a server
        that has no room for it is watched by its messages alone."""
        subscription = list(self.subscriptions.values())[-1]
        interval_s = subscription.terms.publishing_interval_s
        items = [
            Item(len(self.nodes) + n, node, interval_s, queue_size=10)
            for n, node in enumerate(WATCHED)
        ]
        await self._items.create(subscription.terms, items, self.limits.items_per_call)

    async def _create_items(self, nodes: Items[tuple[int, str]]) -> dict[int, int]:
        """Create items in the newest subscription, and in further ones where it is full. The status
        of each handle."""
        statuses: dict[int, int] = {}
        subscription = list(self.subscriptions.values())[-1]
        while nodes:
            items, made = await self._items.watch(
                subscription.terms,
                nodes,
                self.limits.items_per_call,
                self._meanings.has_range,
                self._mode,
            )
            self._revisions.made(subscription.terms, items, made)
            statuses |= {handle: each.status for handle, each in made.items()}
            subscription.has_items |= any(each.is_there for each in made.values())
            if not subscription.has_items and len(self.subscriptions) > 1:
                # It is the server that is full: one more subscription brings no room.
                await self._session.delete_subscriptions([subscription.terms.subscription])
                del self.subscriptions[subscription.terms.subscription]
                break
            nodes = [each for each in nodes if statuses[each[0]] == BAD_TOO_MANY_MONITORED_ITEMS]
            if not nodes or not subscription.has_items:
                break
            if len(self.subscriptions) >= MOST_SUBSCRIPTIONS:
                break
            try:
                subscription = await self._open_subscription()
            except TooManySubscriptions:
                break
        return statuses

    def _start_pumps(self) -> None:
        """Keep one Publish request more at the server than it has subscriptions to answer for: one
        that is busy would take them all."""
        if self._tasks is None:
            return
        wanted = max(self._settings.opcua_publish_requests, len(self.subscriptions) + 1)
        while self._requests < min(wanted, self._most_requests):
            self._requests += 1
            self._tasks.create_task(self._pump(), name=f"publish {self._requests}")

    async def _pump(self) -> None:
        while True:
            await self._window.room.wait()
            stored = {n: each.acknowledgements.take() for n, each in self.subscriptions.items()}
            try:
                body = await self._session.publish(
                    [
                        (subscription, number)
                        for subscription in stored
                        for number in stored[subscription]
                    ]
                )
            except TooManyPublishRequests:
                self._put_back(stored)
                if self._requests > 1:
                    self._requests -= 1
                    self._most_requests = self._requests
                    return
                await asyncio.sleep(self._interval_s)
                continue
            except PublishTimedOut:
                self._put_back(stored)
                await asyncio.sleep(self._interval_s)
                continue
            except (SessionLost, asyncio.CancelledError):
                self._put_back(stored)
                raise
            with translated("publish"):
                published = decode_publish(body, self._session.types)
            async with self._order:
                subscription = self.subscriptions.get(published.subscription)
                if subscription is not None:
                    await subscription.accept(published)
                self._meanings.note(published)
                for each in published.others:
                    # Its item stays dead when the node is there again: a new program was loaded.
                    status = each.status & 0xFFFF0000
                    if status in _NODE_IS_GONE and each.handle < len(self.nodes):
                        self.refused[each.handle] = status

    async def _after_message(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Work begins when live values can come, and what it does to the session is not taken for
        a message that was too large."""
        while not self.has_delivered:  # noqa: ASYNC110 - of many subscriptions, some of them new
            await asyncio.sleep(self._interval_s)
        await work()

    def _put_back(self, stored: dict[int, list[int]]) -> None:
        for number, numbers in stored.items():
            if (subscription := self.subscriptions.get(number)) is not None:
                subscription.acknowledgements.put_back(numbers)

    async def _watch_silence(self) -> None:
        while True:
            limits = [each.silence_limit_s for each in self.subscriptions.values()]
            await asyncio.sleep(min(limits) / 8)
            now = time.monotonic()
            waits_for_us = self._order.locked() or not self._window.room.is_set()
            for each in self.subscriptions.values():
                if waits_for_us:
                    each.heard = now
                elif now - each.heard > each.silence_limit_s:
                    raise SessionLost(f"no Publish response for {now - each.heard:.1f} s")

    async def _ask_whether_it_lives(self) -> None:
        """A server that takes longer to its keep-alives than was asked for, up to the 34 years that
        fit into its answer, is asked instead; one that does not answer is lost."""
        pause_s = 2 * self._settings.opcua_keep_alive_s
        while True:
            await asyncio.sleep(pause_s)
            quiet_since = time.monotonic() - pause_s
            waits_for_us = self._order.locked() or not self._window.room.is_set()
            if not waits_for_us and any(
                each.terms.keep_alive_s > pause_s and each.heard < quiet_since
                for each in self.subscriptions.values()
            ):
                await read_status(self._session)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._session.channel_lifetime_s * 0.75)
            await self._session.renew_channel()

    async def _retry(self) -> None:
        while True:
            await asyncio.sleep(self._settings.opcua_retry_s)
            if any(self.nodes[handle] is None for handle in self.refused):
                await self._read_namespaces_again()
            if self.refused:
                await self.tell(await self._watch(sorted(self.refused)))
                self._start_pumps()

    async def _follow_meanings(self) -> None:
        """A filter in percent of a range that is another one now is made anew."""
        while True:
            changed = await self._meanings.changed(
                self.nodes, self.limits.nodes_per_read, self._settings.opcua_retry_s
            )
            if again := [handle for handle in changed if handle not in self.refused]:
                await self.tell(await self._watch(again))

    async def _read_namespaces_again(self) -> None:
        """Some servers take connections before they have all of theirs."""
        limits = await self._session.read_limits()
        known = self.limits.namespaces
        if limits.namespaces[: len(known)] != known:
            raise SessionLost("the server has numbered its namespaces anew")
        self.limits = limits
        if self.events is not None:
            self.events.know(limits.namespaces)
        self.nodes[:] = [each.node_id(limits.namespaces) for each in self._addresses]
        if limits.namespaces != known and self.on_namespaces is not None:
            await self.on_namespaces()
