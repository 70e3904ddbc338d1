"""Which messages may have come before, also where a broker does not say so: Artemis and aedes send
again without DUP. Pure; used by source.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mqtt_gateway.packets import Arrived


class Redelivery:
    """Of one source, over its connections. What a process before this one had is not known here."""

    def __init__(self) -> None:
        self._open: dict[int, list[int]] = {}
        self._next = 0
        self._awaited: Counter[int] = Counter()
        self._patience = 0

    def connected(self, *, session_present: bool) -> None:
        """A new connection stands; with our session the broker sends first what was not
        acknowledged on the one before."""
        if session_present:
            self._awaited.update(each for message in self._open.values() for each in message)
        else:
            self._awaited.clear()
        self._open.clear()
        self._patience = 2 * self._awaited.total()

    def marked(self, messages: Sequence[Arrived]) -> list[Arrived]:
        """The messages, those that are sent again marked so."""
        awaited = self._awaited
        if not awaited:
            return list(messages)
        marked = []
        for message in messages:
            key = _key(message)
            if message.number and awaited[key]:
                awaited[key] -= 1
                message = message._replace(again=True)
            marked.append(message)
        self._patience -= len(messages)
        if self._patience <= 0 or not awaited.total():
            awaited.clear()
        return marked

    def received(self, messages: Sequence[Arrived]) -> int:
        """Note messages until they are acknowledged; return the number to say then."""
        self._next += 1
        self._open[self._next] = [_key(each) for each in messages if each.number]
        return self._next

    def acknowledged(self, number: int) -> None:
        """They are."""
        self._open.pop(number, None)


def _key(message: Arrived) -> int:
    return hash((message.topic, message.payload))
