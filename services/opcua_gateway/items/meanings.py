"""Which nodes have a range to take a percentage of, and which mean something else since. Called by
publishing.py; one for each session."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from opcua_gateway import metrics
from opcua_gateway.decode.notifications import Published
from opcua_gateway.items.properties import (
    SEMANTICS_CHANGED,
    Meaning,
    changed_handles,
    read_meanings,
)
from opcua_gateway.items.revised import Revisions
from opcua_gateway.session import Session

log = logging.getLogger(__name__)

_MOST_AT_ONCE = 1000
_PAUSE_S = 0.2
"""For the bits of one change, which come with several messages."""


class Meanings:
    """EURange and unit of a session's nodes: of those with a deadband in percent read at the
    beginning, of others when the server says that they changed.

    Args:
        percent: handles of the nodes with a deadband in percent.
    """

    def __init__(self, session: Session, revisions: Revisions, percent: Sequence[int]) -> None:
        self._session, self._revisions = session, revisions
        self._percent = frozenset(percent)
        self._known: dict[int, Meaning] = {}
        self._waiting: set[int] = set()
        self._read_at: dict[int, float] = {}
        self._news = asyncio.Event()

    def has_range(self, handle: int) -> bool:
        """Whether the node has a range that a percentage can be taken of."""
        return handle in self._known and self._known[handle].has_range

    async def know(
        self, handles: Sequence[int], nodes: Sequence[str | None], per_call: int
    ) -> None:
        """Read what those of some nodes mean that have a deadband in percent, once in a session.

        Args:
            nodes: ids by handle; None: the server does not have it.
        """
        wanted = [each for each in handles if each in self._percent and each not in self._known]
        if wanted:
            await self._read(wanted, nodes, per_call)

    def note(self, published: Published) -> None:
        """Look at a message for the bit that says so."""
        found = [
            (int(handle), SEMANTICS_CHANGED)
            for numbers in published.numbers
            if (bits := numbers.status & SEMANTICS_CHANGED).any()
            for handle in numbers.handle[bits != 0].tolist()
        ]
        found += [(each.handle, each.status) for each in published.others]
        if handles := changed_handles(found):
            self._waiting |= handles
            self._news.set()

    async def changed(
        self, nodes: Sequence[str | None], per_call: int, again_after_s: float
    ) -> list[int]:
        """Wait until nodes with a deadband in percent have another range; return their handles.

        A server may say of each value that its meaning changed: a node is read again after
        `again_after_s` at the earliest.
        """
        while True:
            await self._news.wait()
            await asyncio.sleep(_PAUSE_S)
            self._news.clear()
            now = time.monotonic()
            ready = [
                handle
                for handle in sorted(self._waiting)
                if handle >= len(nodes)
                or now - self._read_at.get(handle, -again_after_s) >= again_after_s
            ][:_MOST_AT_ONCE]
            self._waiting.difference_update(ready)
            if self._waiting:
                # Not forgotten: what came too soon is read when it may be.
                asyncio.get_running_loop().call_later(min(again_after_s, 1.0), self._news.set)
            self._read_at |= dict.fromkeys(ready, now)
            before = {handle: self._known.get(handle) for handle in ready}
            await self._read([handle for handle in ready if handle < len(nodes)], nodes, per_call)
            different = [h for h in ready if h in self._known and self._known[h] != before[h]]
            self._tell(different)
            if again := [handle for handle in different if handle in self._percent]:
                return again

    async def _read(
        self, handles: Sequence[int], nodes: Sequence[str | None], per_call: int
    ) -> None:
        wanted = {handle: node for handle in handles if (node := nodes[handle]) is not None}
        if wanted:
            self._known |= await read_meanings(self._session, wanted, per_call)
        self._revisions.without_range(
            [handle for handle in wanted if handle in self._percent and not self.has_range(handle)]
        )

    def _tell(self, handles: Sequence[int]) -> None:
        if not handles:
            return
        metrics.SEMANTICS_CHANGED.labels(self._revisions.source).inc(len(handles))
        first = self._known[handles[0]]
        fields = {
            "source": self._revisions.source,
            "count": len(handles),
            "first": self._revisions.name(handles[0]),
            "range": [first.low, first.high],
            "server_unit": first.unit,
            "next": "compare `unit` and `range` of the plant file",
        }
        log.warning("a node means something else", extra={"fields": fields})
