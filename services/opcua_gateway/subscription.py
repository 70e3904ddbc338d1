"""A live subscription: Publish requests, message numbers, acknowledgements, refused nodes, silence;
run by source.py."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence as Items
from dataclasses import dataclass

from aurelian.model.time import now_us
from opcua_gateway.mapping import BAD_NODE_ID_UNKNOWN
from opcua_gateway.notifications import Published, Undecodable, decode_publish
from opcua_gateway.session import Limits, Session, SessionLost, Terms, TooManyPublishRequests
from opcua_gateway.settings import OpcuaGatewaySettings

LAST = 2**32 - 1
"""The highest number; the one after it is 1, never 0 (part 4, 7.26)."""

ASKED_FOR = 1000
"""At most this many missing messages are asked for again; servers keep far fewer."""


class Acknowledgements:
    """What of one subscription is still to be acknowledged, and room for more; outlives a break of
    the connection."""

    def __init__(self, subscription: int, limit: int) -> None:
        self.subscription = subscription
        self.room = asyncio.Event()
        self.room.set()
        self._limit = limit
        self._waiting: set[int] = set()
        self._ready: deque[int] = deque()

    def delivered(self, number: int) -> None:
        """A message went on its way to the disk."""
        self._waiting.add(number)
        if len(self._waiting) >= self._limit:
            self.room.clear()

    def stored(self, number: int) -> None:
        """A message is on our disk: the next Publish request may say so."""
        self._waiting.discard(number)
        self._ready.append(number)
        if len(self._waiting) < self._limit:
            self.room.set()

    def repeated(self, number: int) -> None:
        """A message came again: acknowledge it, unless it is still on its way to the disk."""
        if number not in self._waiting:
            self._ready.append(number)

    def take(self) -> list[int]:
        """The numbers to send with the next Publish request."""
        ready = list(self._ready)
        self._ready.clear()
        return ready

    def put_back(self, numbers: list[int]) -> None:
        """The request that carried them failed."""
        self._ready.extendleft(reversed(numbers))


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the server, in order, or a sign of life.

    Attributes:
        published: with notifications or without (keep-alive).
        acknowledgements: of its subscription; its number goes there when the outbox has it. None
            for a keep-alive.
        lost: messages before this one that the server could not send again.
        received_at: microseconds since 1970.
    """

    published: Published
    acknowledgements: Acknowledgements | None
    lost: int
    received_at: int


@dataclass(frozen=True, slots=True)
class Refused:
    """Nodes that the server does not give, by handle with its status; told once for each node until
    it changes."""

    statuses: dict[int, int]
    received_at: int


@dataclass(frozen=True, slots=True)
class Connected:
    """A session is up. `resumed`: with the subscription of before, so that nothing was missed."""

    resumed: bool
    at: int


@dataclass(frozen=True, slots=True)
class Lost:
    """The session is gone; `reason` says what happened."""

    reason: str
    at: int


Happening = Message | Refused | Connected | Lost


class Subscription:
    """Takes the messages of one subscription to `out`, in order and each once, until the session is
    lost.

    `out` is bounded: while it is full, or `opcua_unacknowledged` messages wait for the outbox, no
    Publish request is sent and the values wait in the server's queues.
    """

    def __init__(
        self,
        session: Session,
        limits: Limits,
        terms: Terms,
        nodes: Items[str | None],
        settings: OpcuaGatewaySettings,
        out: asyncio.Queue[Happening],
        acknowledgements: Acknowledgements,
        expected: int | None,
    ) -> None:
        self.terms = terms
        self.limits = limits
        self._session, self._nodes = session, nodes
        self._settings, self._out = settings, out
        self._sequence = Sequence(expected)
        self._replay_from_list = expected is None
        self._refused: dict[int, int] = {}
        self._acknowledgements = acknowledgements
        self._order = asyncio.Lock()
        self._requests = 0
        self._heard = time.monotonic()

    @property
    def expected(self) -> int | None:
        """Number of the next message; what a resumed subscription goes on with."""
        return self._sequence.expected

    async def create_items(self, handles: Items[int]) -> None:
        """Watch the nodes of `handles`; those that are refused are told once and tried again
        later."""
        known = [(handle, node) for handle in handles if (node := self._nodes[handle]) is not None]
        statuses: dict[int, int] = {
            handle: BAD_NODE_ID_UNKNOWN for handle in handles if self._nodes[handle] is None
        }
        sampling_s = self.terms.publishing_interval_s
        queue_size = min(10_000, max(10, int(self._settings.opcua_queue_s / sampling_s) + 1))
        statuses |= await self._session.create_items(
            self.terms, known, queue_size=queue_size, per_call=self.limits.items_per_call
        )
        news = {}
        for handle, status in statuses.items():
            if not status & 0x80000000:
                self._refused.pop(handle, None)
            elif self._refused.get(handle) != status:
                self._refused[handle] = news[handle] = status
        if news:
            await self._out.put(Refused(news, now_us()))

    async def run(self) -> None:
        """Work until cancelled.

        Raises:
            ExceptionGroup of SessionLost: the subscription cannot go on.
        """
        self._heard = time.monotonic()
        if self._sequence.expected is not None:
            await self._replay(self._sequence.expected)
        async with asyncio.TaskGroup() as tasks:
            for number in range(self._settings.opcua_publish_requests):
                self._requests += 1
                tasks.create_task(self._pump(), name=f"publish {number}")
            tasks.create_task(self._watch(), name="watch for silence")
            tasks.create_task(self._renew(), name="renew the channel")
            tasks.create_task(self._retry(), name="retry refused nodes")

    async def _pump(self) -> None:
        while True:
            await self._acknowledgements.room.wait()
            stored = self._acknowledgements.take()
            try:
                body = await self._session.publish(self.terms.subscription, stored)
            except TooManyPublishRequests:
                self._acknowledgements.put_back(stored)
                if self._requests > 1:
                    self._requests -= 1
                    return
                await asyncio.sleep(self.terms.publishing_interval_s)
                continue
            except SessionLost:
                self._acknowledgements.put_back(stored)
                raise
            try:
                published = decode_publish(body)
            except Undecodable as error:
                raise SessionLost(str(error)) from error
            async with self._order:
                await self._accept(published)

    async def _accept(self, published: Published) -> None:
        self._heard = time.monotonic()
        if published.subscription != self.terms.subscription:
            return
        if published.ended is not None:
            raise SessionLost(f"the server ended the subscription (0x{published.ended:08X})")
        if self._replay_from_list:
            self._replay_from_list = False
            before = [number for number in published.available if number != published.sequence]
            await self._ask_again(before)
        seen = self._sequence.observe(published.sequence, keep_alive=published.keep_alive)
        lost = seen.skipped - len(seen.missing) + await self._ask_again(seen.missing)
        await self._tell(published, seen, lost)

    async def _replay(self, expected: int) -> None:
        """After a break: fetch what the server had sent and we did not get, before any new
        message."""
        while (
            published := await self._session.republish(self.terms.subscription, expected)
        ) is not None:
            await self._tell(published, self._sequence.observe(expected, keep_alive=False), 0)
            expected = self._sequence.expected or 1

    async def _ask_again(self, numbers: Items[int]) -> int:
        """Fetch messages that were sent before; return how many the server does not have any
        more."""
        lost = 0
        for number in numbers:
            published = await self._session.republish(self.terms.subscription, number)
            if published is None:
                lost += 1
            else:
                await self._tell(published, Observation(fresh=True), 0)
        return lost

    async def _tell(self, published: Published, seen: Observation, lost: int) -> None:
        if published.keep_alive:
            await self._out.put(Message(published, None, lost, now_us()))
        elif seen.fresh:
            self._acknowledgements.delivered(published.sequence)
            await self._out.put(Message(published, self._acknowledgements, lost, now_us()))
        else:
            self._acknowledgements.repeated(published.sequence)

    async def _watch(self) -> None:
        limit_s = 2 * max(self.terms.keep_alive_s, self.terms.publishing_interval_s)
        while True:
            await asyncio.sleep(limit_s / 8)
            if self._order.locked() or not self._acknowledgements.room.is_set():
                self._heard = time.monotonic()  # it is we who make it wait
            if (silent_s := time.monotonic() - self._heard) > limit_s:
                raise SessionLost(f"no Publish response for {silent_s:.1f} s")

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._session.channel_lifetime_s * 0.75)
            await self._session.renew_channel()

    async def _retry(self) -> None:
        while True:
            await asyncio.sleep(self._settings.opcua_retry_s)
            if self._refused:
                await self.create_items(sorted(self._refused))


@dataclass(frozen=True, slots=True)
class Observation:
    """What a message's number says.

    Attributes:
        fresh: carries notifications that were not seen yet.
        missing: numbers to ask for before it, oldest first; at most the newest ASKED_FOR.
        skipped: how many numbers were skipped in all.
    """

    fresh: bool
    missing: tuple[int, ...] = ()
    skipped: int = 0


class Sequence:
    """Follows the numbers of a subscription. `expected` None: the first message sets it."""

    def __init__(self, expected: int | None = 1) -> None:
        self.expected = expected

    def observe(self, number: int, *, keep_alive: bool) -> Observation:
        """Take the number of a message. A keep-alive carries the number that the next message will
        have."""
        if self.expected is None:
            self.expected = number
        ahead = (number - self.expected) % LAST
        if ahead > LAST // 2:
            return Observation(fresh=False)
        missing = tuple(advance(number, -back) for back in range(min(ahead, ASKED_FOR), 0, -1))
        self.expected = number if keep_alive else advance(number, 1)
        return Observation(not keep_alive, missing, ahead)


def advance(number: int, by: int) -> int:
    """The number `by` messages later (earlier when negative)."""
    return (number - 1 + by) % LAST + 1
