"""One subscription: its messages in order and each once, those that are missing asked for again;
used by publishing.py."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from collections.abc import Sequence as Items
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from aurelian.model.time import now_us
from opcua_gateway.alarms.watch import EventWatch
from opcua_gateway.decode.notifications import Published
from opcua_gateway.happenings import Happening, Message
from opcua_gateway.message_numbers import (
    Acknowledgements,
    Observation,
    Sequence,
    advance,
    to_ask_for,
)
from opcua_gateway.session import Session, SessionLost, Terms, status_name

log = logging.getLogger(__name__)


class Outlet(Protocol):
    """Where a session's happenings go: the source's queue, or what a standby makes of them."""

    async def put(self, happening: Happening) -> None:
        """Take one; waits while there is no room."""
        ...


@dataclass(slots=True)
class Standing:
    """How far a subscription is; what the next session goes on with.

    Attributes:
        terms: as the server revised them.
        acknowledgements: of its messages.
        expected: number of the next message. None: it is not known.
        seen: PublishTime by number of the messages that came.
    """

    terms: Terms
    acknowledgements: Acknowledgements
    expected: int | None = 1
    seen: dict[int, int] = field(default_factory=dict)


class Subscription:
    """Takes the messages of one subscription to `out`, in order and each once."""

    def __init__(
        self,
        session: Session,
        standing: Standing,
        out: Outlet,
        events: EventWatch | None = None,
    ) -> None:
        self.terms = standing.terms
        self.acknowledgements = standing.acknowledgements
        self.has_delivered = False
        """Whether a message came yet; keep-alives count."""
        self.heard = time.monotonic()
        self.has_items = False
        self.left_behind = 0
        """Publish requests that the server may still have from the connection before. Eclipse Milo
        answers them first, one in each keep-alive, to nobody."""
        self._session, self._out, self._events = session, out, events
        self._sequence = Sequence(standing.expected, standing.seen)
        self._replay_from_list = standing.expected is None
        self._is_first = True
        self._untold = standing.expected  # first number that was not told, while some are missing

    @property
    def standing(self) -> Standing:
        """How far it is now."""
        numbers = self._sequence
        return Standing(self.terms, self.acknowledgements, numbers.expected, numbers.seen)

    @property
    def silence_limit_s(self) -> float:
        """After so long without a Publish response something is wrong."""
        return (2 + self.left_behind) * max(
            self.terms.keep_alive_s, self.terms.publishing_interval_s
        )

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
            self._untold = expected
            seen = self._sequence.observe(
                expected, keep_alive=False, published_at=published.published_at
            )
            expected = self._sequence.expected or 1
            with self._going_back():
                await self._tell(published, seen, 0, expected)

    async def accept(self, published: Published) -> None:
        """Take a message, asking for those that are missing before it.

        Raises:
            SessionLost: the server ended the subscription.
        """
        self.heard = time.monotonic()
        self.has_delivered, self.left_behind = True, 0
        if published.ended is not None:
            raise SessionLost(
                "the server ended the subscription: "
                f"{status_name(published.ended)} (0x{published.ended:08X})"
            )
        lost = 0
        if self._is_first:
            self._is_first = False
            self._acknowledge_older(published)
        if self._replay_from_list:
            self._replay_from_list = False
            before = [number for number in published.available if number != published.sequence]
            lost = await self._ask_again(before, 0)
        restarts, self._untold = self._sequence.restarts, self._sequence.expected
        seen = self._sequence.observe(
            published.sequence,
            keep_alive=published.keep_alive,
            published_at=published.published_at,
        )
        if not restarts and self._sequence.restarts:
            log.warning(
                "the server numbers its messages anew; its values are taken, what it may have lost "
                "between cannot be seen",
                extra={"fields": {"number": published.sequence}},
            )
        numbers = to_ask_for(seen.missing, published.available)
        lost += seen.skipped - len(numbers)
        expected = self._sequence.expected or 1
        with self._going_back():
            lost = await self._ask_again(numbers, lost)
            await self._tell(published, seen, lost, expected)

    @contextmanager
    def _going_back(self) -> Iterator[None]:
        """Where telling a message does not come to its end, what was not told is missing still: the
        server has it."""
        try:
            yield
        except (SessionLost, asyncio.CancelledError):
            # Cancelled too: the session ends by what another of its tasks found, at any moment.
            self._sequence.go_back(self._untold)
            raise

    def _acknowledge_older(self, published: Published) -> None:
        """Of the messages that a server keeps, those before the first one that we miss are on our
        disk: the process before this one ended before it said so."""
        behind = self._sequence.behind([published.sequence, *published.available])
        if published.sequence not in behind:  # else it numbers anew
            for number in behind:
                self.acknowledgements.repeated(number)

    async def _ask_again(self, numbers: Items[int], lost: int) -> int:
        """Fetch messages that were sent before; return how many the server does not have any more
        since the last one that it had: each gap is told before what came after it. `lost`: before
        all of them."""
        for number in numbers:
            published = await self._session.republish(self.terms.subscription, number)
            if published is None:
                lost += 1
            else:
                self._sequence.note(number, published.published_at)
                following = advance(number, 1)
                await self._tell(published, Observation(fresh=True), lost, following)
                self._untold, lost = following, 0
        return lost

    async def _tell(
        self, published: Published, seen: Observation, lost: int, expected: int
    ) -> None:
        if published.keep_alive:
            await self._out.put(Message(published, None, lost, now_us(), (), expected))
        elif seen.fresh:
            at = now_us()
            said = await self._events.read(published, lost) if self._events is not None else ()
            book = self.acknowledgements
            book.delivered(published.sequence, len(published))
            try:
                await self._out.put(Message(published, book, lost, at, said, expected))
            except asyncio.CancelledError:
                book.withdrawn(published.sequence)
                raise
        else:
            self.acknowledgements.repeated(published.sequence)
