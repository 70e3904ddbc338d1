"""A relay that gives an OPC UA server a limit of its messages' size, as small controllers have it.
For connections without security."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from asyncua import ua

from tests.peers.opcua_relay import Answer, Hangup, relay


class MessageLimit:
    """The running relay.

    Attributes:
        url: of the relay.
        refused: messages that were larger than the limit.
    """

    def __init__(self, limit: int, *, says_so: bool) -> None:
        self.url = ""
        self.refused = 0
        self._limit, self._says_so = limit, says_so

    def rule(self, answer: Answer) -> Answer:
        """A too large message is refused by a ServiceFault, or ends the connection."""
        if answer.size <= self._limit:
            return answer
        self.refused += 1
        if not self._says_so:
            raise Hangup
        return answer.fault(ua.StatusCodes.BadResponseTooLarge)


@contextlib.asynccontextmanager
async def message_limit(url: str, limit: int, *, says_so: bool) -> AsyncIterator[MessageLimit]:
    """A relay in front of the server at `url` whose messages have at most `limit` bytes. A larger
    one is refused by BadResponseTooLarge where it `says_so`, else it ends the connection."""
    made = MessageLimit(limit, says_so=says_so)
    async with relay(url, made.rule) as running:
        made.url = running.url
        yield made
