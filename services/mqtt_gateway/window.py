"""The window of messages that wait for their acknowledgement, in order of receipt. Pure; called by
connection.py."""

from __future__ import annotations

from collections import deque


class Window:
    """Releases acknowledgements in the order of receipt [MQTT-4.6], whatever order the messages
    were stored in."""

    def __init__(self) -> None:
        self._numbers: deque[int] = deque()
        self._first = 0
        self._stored: set[int] = set()

    def __len__(self) -> int:
        """Messages that are not yet acknowledged."""
        return len(self._numbers)

    def add(self, number: int) -> int:
        """Take the packet identifier of a received message; return its ticket."""
        self._numbers.append(number)
        return self._first + len(self._numbers) - 1

    def stored(self, ticket: int) -> list[int]:
        """The message of a ticket is on our disk; return the packet identifiers to acknowledge now,
        in order."""
        self._stored.add(ticket)
        ready = []
        while self._first in self._stored:
            self._stored.discard(self._first)
            ready.append(self._numbers.popleft())
            self._first += 1
        return ready
