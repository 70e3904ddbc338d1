"""The outbox in a thread of its own, so that the disk never holds up the event loop. Used by
`gateway.py` and `drain.py`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import TypeVar

from aurelian.edge.outbox.limits import OutboxFull
from aurelian.edge.outbox.outbox import Outbox
from aurelian.edge.outbox.rows import HourCount, OutboxEntry, RecordKind

T = TypeVar("T")

_Waiting = tuple[
    Sequence[OutboxEntry], Sequence[HourCount], Mapping[str, str], "asyncio.Future[None]"
]

WORTH_A_COMMIT = 1000
"""So many samples do not wait for more: under overload a pause would make them older."""


class OutboxThread:
    """Group commit: whatever is handed over while a commit runs, or less than `pause_s` after one
    began, goes into the next one. Async context manager.

    So whoever comes rarely, an event, and who brings much get a commit at once, many share one,
    and a slow disk makes larger groups by itself. A pause is for machines that send on while they
    wait for their acknowledgement; a commit costs as much as some hundred values (threads, the
    log's sync).
    """

    def __init__(self, outbox: Outbox, pause_s: float = 0.0) -> None:
        self.outbox = outbox
        self._pause_s = pause_s
        self._next_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.appended = asyncio.Event()
        """Set after each commit; the drain clears it."""
        self.refusal: OutboxFull | None = None
        """Why the disk took the last append not; None: it did."""
        self._refused_since = 0.0
        self._executor = ThreadPoolExecutor(1, "outbox")
        self._waiting: list[_Waiting] = []
        self._samples = 0  # of those
        self._busy = False

    async def __aenter__(self) -> OutboxThread:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Whoever waits still was cancelled: what it brought was not promised to be on the disk.
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
        await self.call(self.outbox.close)
        self._executor.shutdown()

    async def append(
        self,
        entries: Sequence[OutboxEntry],
        counts: Sequence[HourCount] = (),
        bookmarks: Mapping[str, str] | None = None,
        *,
        urgent: bool = False,
    ) -> None:
        """Return when all of it is on the disk, see `Outbox.append`. If cancelled it may or may not
        be appended. `urgent`: without a pause.

        Raises:
            OutboxFull: as `Outbox.append`.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((entries, counts, bookmarks or {}, done))
        self._samples += sum(entry.samples for entry in entries)
        is_event = any(entry.kind is RecordKind.EVENTS for entry in entries)
        self._start(at_once=urgent or is_event or self._samples >= WORTH_A_COMMIT)
        await done

    def hurry(self) -> None:
        """Commit what waits for the end of a pause."""
        self._start(at_once=True)

    def refused_s(self) -> float:
        """For how long appends have been refused, all of them; 0: they are not."""
        return time.monotonic() - self._refused_since if self.refusal is not None else 0.0

    async def call(self, function: Callable[..., T], *args: object) -> T:
        """Run one of the outbox's methods in its thread."""
        return await asyncio.get_running_loop().run_in_executor(
            self._executor, partial(function, *args)
        )

    def _start(self, *, at_once: bool = False) -> None:
        if at_once:
            self._next_at = 0.0
        if self._busy or not self._waiting:
            return
        loop = asyncio.get_running_loop()
        if loop.time() >= self._next_at:
            self._begin()
        elif self._timer is None:
            self._timer = loop.call_at(self._next_at, self._begin)

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._busy = None, True
        loop = asyncio.get_running_loop()
        self._next_at = loop.time() + self._pause_s
        group, self._waiting, self._samples = self._waiting, [], 0
        committed = loop.run_in_executor(self._executor, self._commit, group)
        committed.add_done_callback(partial(self._finish, group))

    def _commit(self, group: list[_Waiting]) -> list[Exception | None]:
        try:
            self.outbox.append(
                [entry for entries, _, _, _ in group for entry in entries],
                [count for _, counts, _, _ in group for count in counts],
                {source: text for _, _, marks, _ in group for source, text in marks.items()},
            )
            return [None] * len(group)
        except Exception as error:  # noqa: BLE001 - also a bug in one caller's entries costs it alone
            if len(group) == 1:
                return [error]
        # One refusal refuses the whole commit, but alarms may use a reserve that samples may not:
        # try each caller alone, in order, so that sequences stay in the order of the calls.
        return [refused for each in group for refused in self._commit([each])]

    def _finish(
        self, group: list[_Waiting], committed: asyncio.Future[list[Exception | None]]
    ) -> None:
        self._busy = False
        bug = committed.exception()
        results: list[BaseException | None] = (
            [bug] * len(group) if bug is not None else [*committed.result()]
        )
        refused = [each for each in results if isinstance(each, OutboxFull)]
        if not refused or None in results:
            self.refusal = None
        elif self.refusal is None:
            self.refusal, self._refused_since = refused[0], time.monotonic()
        else:
            self.refusal = refused[0]
        # A caller that was cancelled has its rows on the disk all the same.
        for (_, _, _, done), error in zip(group, results, strict=True):
            if done.cancelled():
                continue
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)
        self.appended.set()
        self._start()
