"""Messages that wait for their acknowledgement, in order of receipt, and how many of them a broker
waits for. Pure; called by connection.py."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from mqtt_gateway.packets import Arrived

_STOCK = 20
"""Messages that a stock Mosquitto sends to a client of MQTT 3.1.1 before it waits."""

_TELLING = 5
"""So many rounds of one size in a row are the broker's window."""


@dataclass(slots=True, eq=False)
class Batch:
    """Messages in order of receipt, taken together; `Connection.stored` acknowledges all of
    them."""

    messages: list[Arrived] = field(default_factory=list)
    bytes: int = 0
    ticket: int = 0


class Window:
    """Releases acknowledgements in the order of receipt [MQTT-4.6], whatever order the batches were
    stored in."""

    def __init__(self) -> None:
        self._batches: deque[Sequence[int]] = deque()
        self._first = 0
        self._stored: set[int] = set()

    def add(self, numbers: Sequence[int]) -> int:
        """Take the packet identifiers of received messages; return the ticket of them all."""
        self._batches.append(numbers)
        return self._first + len(self._batches) - 1

    def stored(self, ticket: int) -> list[int]:
        """The messages of a ticket are on our disk; return the packet identifiers to acknowledge
        now, in order."""
        self._stored.add(ticket)
        ready: list[int] = []
        while self._first in self._stored:
            self._stored.discard(self._first)
            ready += self._batches.popleft()
            self._first += 1
        return ready


class InFlight:
    """Learns how many messages a broker sends before it waits for an acknowledgement, so that they
    are stored at once when it does. The protocol does not say: Receive Maximum (MQTT 5) is the most
    that it may, 3.1.1 has nothing.

    `most`: what was asked for.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._full = min(_STOCK, most)
        self._last, self._rounds = 0, 0

    @property
    def is_small(self) -> bool:
        """Whether it is not known to send more than a stock Mosquitto does."""
        return self._full <= _STOCK

    def is_full(self, unacknowledged: int) -> bool:
        """Whether the broker seems to wait for us."""
        while unacknowledged > self._full and self._full < self._most:
            self._full = min(2 * self._full, self._most)
        return unacknowledged >= self._full

    def acknowledged(self, count: int, *, quiet: bool) -> None:
        """So many messages were acknowledged, all that there were; `quiet`: nothing came for a
        while before."""
        if not quiet or count != self._last:
            self._rounds = 0
        self._last = count
        self._rounds += 1
        if self._rounds >= _TELLING and 1 < count < self._full:
            self._full = count
