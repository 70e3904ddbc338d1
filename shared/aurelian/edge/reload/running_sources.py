"""The sources that a gateway runs now, each in a task of its own; started and ended by
`reload.py`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Iterator
from typing import Any, Protocol, runtime_checkable

from aurelian.edge.forward import Source

log = logging.getLogger(__name__)

_RETIRE_S = 10.0


@runtime_checkable
class Retiring(Protocol):
    """A source that leaves something at its machine, server or broker to come back to."""

    async def retire(self, *, is_replaced: bool) -> None:
        """End that too: it was taken out of the plant, or (`is_replaced`) one of its key is at
        another address now and has the files of both. Called once its `deliveries` have ended; what
        cannot be reached is left."""


class RunningSources:
    """Sources by their key. `forward` makes the work of one; it is run in `group`."""

    def __init__(
        self, group: asyncio.TaskGroup, forward: Callable[[Source], Coroutine[Any, Any, None]]
    ) -> None:
        self._group, self._forward = group, forward
        self._sources: dict[str, tuple[Source, asyncio.Task[None]]] = {}
        self._retiring: dict[str, asyncio.Task[None]] = {}

    def __iter__(self) -> Iterator[Source]:
        return iter([source for source, _ in self._sources.values()])

    def __contains__(self, key: str) -> bool:
        return key in self._sources

    def get(self, key: str) -> Source | None:
        """The source of a key, where one runs."""
        found = self._sources.get(key)
        return found[0] if found else None

    def start(self, source: Source) -> None:
        """Run a source of which none with its key runs."""
        key = source.model.key
        assert key not in self._sources
        task = self._group.create_task(self._run(source), name=f"source {key}")
        self._sources[key] = source, task

    async def stop(self, keys: Collection[str], retired: Collection[str] = ()) -> None:
        """End those of `keys` that run, all at once; `retired`: which of them do not come back.
        They count as running until all have ended, so that one that is replaced is never gone."""
        ending = {key: self._sources[key] for key in keys if key in self._sources}
        for _, task in ending.values():
            task.cancel()
        if not ending:
            return
        # Whatever it ends with: a source that failed has said so, and is not to stop the others.
        await asyncio.wait([task for _, task in ending.values()])
        for key, (source, _) in ending.items():
            del self._sources[key]
            if key in retired and (leaving := self.retire(source, is_replaced=False)) is not None:
                self._retiring[key] = leaving

    def retire(self, source: Source, *, is_replaced: bool) -> asyncio.Task[None] | None:
        """Let a source that ended give up what it left at its server; None: it leaves nothing."""
        if not isinstance(source, Retiring):
            return None
        key = source.model.key
        return self._group.create_task(_retire(source, key, is_replaced), name=f"retire {key}")

    async def _run(self, source: Source) -> None:
        leaving = self._retiring.pop(source.model.key, None)
        if leaving is not None:
            # Both speak under one name to one server.
            await asyncio.wait([leaving])
        await self._forward(source)


async def _retire(source: Retiring, key: str, is_replaced: bool) -> None:
    fields = {"source": key}
    try:
        async with asyncio.timeout(_RETIRE_S):
            await source.retire(is_replaced=is_replaced)
    except (OSError, TimeoutError) as error:
        # It ends by itself there, when the session's time is over.
        fields["error"] = str(error) or type(error).__name__
        log.warning("what a source left at its server stays for now", extra={"fields": fields})
