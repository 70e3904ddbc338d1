"""A session at work: the nodes that are watched, in as many subscriptions as the server needs for
them, Publish requests, silence, refused nodes; run by source.py."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from collections.abc import Sequence as Items
from dataclasses import dataclass
from functools import partial

from aurelian.model.addresses import NodeAddress
from aurelian.model.time import now_us
from opcua_gateway.alarms.watch import EventWatch
from opcua_gateway.decode.notifications import Published, Undecodable, decode_publish
from opcua_gateway.happenings import Happening, Message, Refused
from opcua_gateway.mapping import BAD_NODE_ID_INVALID, BAD_NODE_ID_UNKNOWN
from opcua_gateway.message_numbers import Acknowledgements, Observation, Sequence, Window
from opcua_gateway.session import (
    BAD_TOO_MANY_MONITORED_ITEMS,
    Limits,
    PublishTimedOut,
    Session,
    SessionLost,
    Terms,
    TooManyPublishRequests,
    TooManySubscriptions,
)
from opcua_gateway.settings import OpcuaGatewaySettings

MOST_SUBSCRIPTIONS = 100
"""Of one session. A server that takes fewer nodes in each gets its other nodes as refused."""

_NODE_IS_GONE = frozenset({BAD_NODE_ID_UNKNOWN, BAD_NODE_ID_INVALID})

SERVER_STATE = "i=2259"
"""Node Server/ServerStatus/State (part 5, 12.10)."""

MOST_REQUESTS = 10
"""Publish requests that wait at one server."""


@dataclass(slots=True)
class Standing:
    """How far a subscription is; what the next session goes on with.

    Attributes:
        terms: as the server revised them.
        acknowledgements: of its messages.
        expected: number of the next message. None: it is not known, as after a restart of ours.
    """

    terms: Terms
    acknowledgements: Acknowledgements
    expected: int | None = 1


class Subscription:
    """Takes the messages of one subscription to `out`, in order and each once."""

    def __init__(
        self,
        session: Session,
        standing: Standing,
        out: asyncio.Queue[Happening],
        events: EventWatch | None = None,
    ) -> None:
        self.terms = standing.terms
        self.acknowledgements = standing.acknowledgements
        self.has_delivered = False
        """Whether a message came yet; keep-alives count."""
        self.heard = time.monotonic()
        self.has_items = False
        self._session, self._out, self._events = session, out, events
        self._sequence = Sequence(standing.expected)
        self._replay_from_list = standing.expected is None

    @property
    def standing(self) -> Standing:
        """How far it is now."""
        return Standing(self.terms, self.acknowledgements, self._sequence.expected)

    @property
    def silence_limit_s(self) -> float:
        """After so long without a Publish response something is wrong."""
        return 2 * max(self.terms.keep_alive_s, self.terms.publishing_interval_s)

    async def replay(self) -> None:
        """After a break: fetch what the server had sent and we did not get, before any new
        message."""
        expected = self._sequence.expected
        if expected is None:
            return
        while (
            published := await self._session.republish(self.terms.subscription, expected)
        ) is not None:
            self.has_delivered = True
            await self._tell(published, self._sequence.observe(expected, keep_alive=False), 0)
            expected = self._sequence.expected or 1

    async def accept(self, published: Published) -> None:
        """Take a message, asking for those that are missing before it.

        Raises:
            SessionLost: the server ended the subscription.
        """
        self.heard = time.monotonic()
        self.has_delivered = True
        if published.ended is not None:
            raise SessionLost(f"the server ended the subscription (0x{published.ended:08X})")
        lost = 0
        if self._replay_from_list:
            self._replay_from_list = False
            before = [number for number in published.available if number != published.sequence]
            lost = await self._ask_again(before, 0)
        seen = self._sequence.observe(published.sequence, keep_alive=published.keep_alive)
        lost += seen.skipped - len(seen.missing)
        await self._tell(published, seen, await self._ask_again(seen.missing, lost))

    async def _ask_again(self, numbers: Items[int], lost: int) -> int:
        """Fetch messages that were sent before; return how many the server does not have any more
        since the last one that it had: each gap is told before what came after it. `lost`: before
        all of them."""
        for number in numbers:
            published = await self._session.republish(self.terms.subscription, number)
            if published is None:
                lost += 1
            else:
                await self._tell(published, Observation(fresh=True), lost)
                lost = 0
        return lost

    async def _tell(self, published: Published, seen: Observation, lost: int) -> None:
        if published.keep_alive:
            await self._out.put(Message(published, None, lost, now_us()))
        elif seen.fresh:
            self.acknowledgements.delivered(published.sequence, len(published))
            at = now_us()
            said = await self._events.read(published, lost) if self._events is not None else ()
            await self._out.put(Message(published, self.acknowledgements, lost, at, said))
        else:
            self.acknowledgements.repeated(published.sequence)


class Publishing:
    """Takes the messages of a session's subscriptions to `out` until the session is lost.

    `out` is bounded: while it is full, or `opcua_unacknowledged` messages wait for the outbox, no
    Publish request is sent and the values wait in the server's queues.

    Args:
        addresses: of the nodes, by handle.
        most_notifications: in one message; 0: as the server likes.
        events: of the server, watched too; None: they are not.
    """

    def __init__(
        self,
        session: Session,
        limits: Limits,
        addresses: Items[NodeAddress],
        settings: OpcuaGatewaySettings,
        publishing_interval_s: float,
        most_notifications: int,
        window: Window,
        out: asyncio.Queue[Happening],
        events: EventWatch | None = None,
    ) -> None:
        self.limits = limits
        self.subscriptions: dict[int, Subscription] = {}
        self._session, self._addresses, self._settings = session, addresses, settings
        # None where the server does not have the namespace.
        self._nodes = [each.node_id(limits.namespaces) for each in addresses]
        self._interval_s, self._most = publishing_interval_s, most_notifications
        self._window, self._out = window, out
        self.events = events
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

    @property
    def _newest(self) -> Subscription:
        return list(self.subscriptions.values())[-1]

    def _newest_number(self) -> int:
        return self._newest.terms.subscription

    def resume(self, standings: Items[Standing], refused: dict[int, int]) -> None:
        """Go on with the subscriptions of the session before, and the nodes that it refused."""
        for standing in standings:
            self._add(standing).has_items = True
        self.refused = dict(refused)

    async def watch_all(self) -> None:
        """Watch all nodes in new subscriptions."""
        await self._open_subscription()
        await self._watch(range(len(self._nodes)))
        await self._watch_state()
        if self.events is not None:
            await self.events.create(self._newest.terms.subscription)

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
            tasks.create_task(self._renew(), name="renew the channel")
            tasks.create_task(self._retry(), name="retry refused nodes")
            tasks.create_task(self._after_message(read_back), name="read history back")
            if self.events is not None:
                watch = partial(self.events.run, self._newest_number, self._order, self._out)
                tasks.create_task(self._after_message(watch), name="refresh conditions")

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
        return self._add(Standing(terms, Acknowledgements(self._window)))

    async def _watch(self, handles: Items[int]) -> None:
        """Watch the nodes of `handles`; those that are refused are told once and tried again
        later."""
        known = [(handle, node) for handle in handles if (node := self._nodes[handle]) is not None]
        statuses: dict[int, int] = {
            handle: BAD_NODE_ID_UNKNOWN for handle in handles if self._nodes[handle] is None
        }
        statuses |= await self._create_items(known)
        news = {}
        for handle, status in statuses.items():
            if not status & 0x80000000:
                self.refused.pop(handle, None)
            elif self.refused.get(handle) != status:
                self.refused[handle] = news[handle] = status
        if news:
            await self._out.put(Refused(news, now_us()))

    async def _watch_state(self) -> None:
        """Watch the server's own state, under the handle after the last node's; a server that has
        no room for it is watched by its messages alone."""
        await self._session.create_items(
            self._newest.terms, [(len(self._nodes), SERVER_STATE)], queue_size=10, per_call=1
        )

    async def _create_items(self, items: Items[tuple[int, str]]) -> dict[int, int]:
        """Create items in the newest subscription, and in further ones where it is full. The status
        of each handle."""
        statuses: dict[int, int] = {}
        subscription = self._newest
        while items:
            sampling_s = subscription.terms.publishing_interval_s
            queue_size = min(10_000, max(10, int(self._settings.opcua_queue_s / sampling_s) + 1))
            made = await self._session.create_items(
                subscription.terms,
                items,
                queue_size=queue_size,
                per_call=self.limits.items_per_call,
            )
            statuses |= made
            took = any(not status & 0x80000000 for status in made.values())
            subscription.has_items |= took
            if not subscription.has_items and len(self.subscriptions) > 1:
                # It is the server that is full: one more subscription brings no room.
                await self._session.delete_subscriptions([subscription.terms.subscription])
                del self.subscriptions[subscription.terms.subscription]
                break
            items = [each for each in items if made[each[0]] == BAD_TOO_MANY_MONITORED_ITEMS]
            if not items or not subscription.has_items:
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
            try:
                published = decode_publish(body, self._session.types)
            except Undecodable as error:
                raise SessionLost(str(error)) from error
            async with self._order:
                subscription = self.subscriptions.get(published.subscription)
                if subscription is not None:
                    await subscription.accept(published)
                for each in published.others:
                    # Its item stays dead when the node is there again: a new program was loaded.
                    status = each.status & 0xFFFF0000
                    if status in _NODE_IS_GONE and each.handle < len(self._nodes):
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

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._session.channel_lifetime_s * 0.75)
            await self._session.renew_channel()

    async def _retry(self) -> None:
        while True:
            await asyncio.sleep(self._settings.opcua_retry_s)
            if any(self._nodes[handle] is None for handle in self.refused):
                await self._read_namespaces_again()
            if self.refused:
                await self._watch(sorted(self.refused))
                self._start_pumps()

    async def _read_namespaces_again(self) -> None:
        """Some servers take connections before they have all of theirs."""
        limits = await self._session.read_limits()
        known = self.limits.namespaces
        if limits.namespaces[: len(known)] != known:
            raise SessionLost("the server has numbered its namespaces anew")
        self.limits = limits
        self._nodes = [each.node_id(limits.namespaces) for each in self._addresses]
