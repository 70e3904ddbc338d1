"""From a source to the outbox: deliveries are taken, made into groups, committed and acknowledged.
Run by `gateway.run_gateway`, one for each source."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Protocol

from prometheus_client import Counter, Histogram, Summary

from aurelian.backbone.cancellation import in_own_task
from aurelian.edge.assembly import Assembly, Delivery, Group, LastSeen
from aurelian.edge.ordinals import Ordinals
from aurelian.edge.outbox.limits import OutboxFull, OutboxNotWritable
from aurelian.edge.outbox.rows import RecordKind
from aurelian.edge.outbox.thread import OutboxThread
from aurelian.edge.pace import Pace
from aurelian.model.source_model import SourceModel
from aurelian.model.time import to_us
from aurelian.runtime.retry import Backoff

log = logging.getLogger(__name__)

_FULL_WAIT_S = 1.0
_STEADY_AFTER_S = 60.0
_INLINE_READINGS = 500
"""Groups from this size on are made in a thread: the loop would stand still for some
milliseconds."""

_INBOX_BYTES = 4 * 2**20
_INBOX_S = 0.2
_READING_BYTES = 200

RECEIVED = Counter(
    "gateway_received_values_total",
    "Values that a source delivered, rejected ones included; flat while the machine runs: is it "
    "still connected?",
    ["source"],
)
REJECTED = Counter(
    "gateway_rejected_values_total",
    "Values that broke the contract; see the rejected table for bytes and reasons, then mend the "
    "plant model or the machine.",
    ["source"],
)
DROPPED = Counter(
    "gateway_dropped_values_total",
    "Values known to be lost before the gateway; larger queues at the source, or slower sampling, "
    "help.",
    ["source"],
)
SKIPPED = Counter(
    "gateway_skipped_values_total",
    "Values left out by a rule; expected, see the source's README.",
    ["source"],
)
COMMIT_SECONDS = Histogram(
    "gateway_commit_seconds",
    "From a group of values to its sync on the disk, waiting for the commit before included; "
    "long: the disk is slow or full.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
TO_OUTBOX = Summary(
    "gateway_source_to_outbox_seconds",
    "From the receipt of a source's values to the sync on our disk, the oldest of each commit; "
    "rising for one source: it brings too much, for all: the disk is slow.",
    ["source"],
)
SOURCE_RESTARTS = Counter(
    "gateway_source_restarts_total",
    "Times that a source failed in a way that nobody expected and began anew; see the log.",
    ["source"],
)


class Source(Protocol):
    """An adapter: one connection to one machine, server or broker.

    Attributes:
        model: its part of the plant model.
        owner: company of its plant.
    """

    model: SourceModel
    owner: str

    def deliveries(self, bookmark: str = "") -> AsyncGenerator[Delivery, None]:
        """Yield what arrives, until cancelled; reconnects by itself. Waiting for the next
        `__anext__` is backpressure. `bookmark`: of the last delivery with one that is on the disk,
        also of a process before this one."""


async def keep_forwarding(
    source: Source,
    outbox: OutboxThread,
    gateway: str,
    last_seen: LastSeen,
    ordinals: Ordinals,
    not_before: int,
    pace: Pace,
) -> None:
    """Forward a source; a bug in its adapter begins it anew, with pauses, and costs no other."""
    backoff = Backoff()
    while True:
        began = time.monotonic()
        try:
            await in_own_task(
                forward(source, outbox, gateway, last_seen, ordinals, not_before, pace)
            )
            return
        except Exception:
            SOURCE_RESTARTS.labels(source.model.key).inc()
            log.exception(
                "source failed, it begins anew", extra={"fields": {"source": source.model.key}}
            )
        if time.monotonic() - began > _STEADY_AFTER_S:
            backoff.reset()
        await backoff.wait()


async def forward(
    source: Source,
    outbox: OutboxThread,
    gateway: str,
    last_seen: LastSeen | None = None,
    ordinals: Ordinals | None = None,
    not_before: int = 0,
    pace: Pace | None = None,
) -> None:
    """Move what a source delivers into the outbox and acknowledge it then; ends when the source
    does.

    While a commit runs deliveries collect, up to a bound, and go into the next one; beyond it the
    source waits.
    """
    inbox = _Inbox()
    pace = pace or Pace()
    oldest = source.model.oldest
    if oldest is not None:
        not_before = to_us(datetime.combine(oldest, datetime.min.time(), UTC))
    assembly = Assembly(gateway, outbox.outbox.boot, ordinals or Ordinals(), not_before)
    async with asyncio.TaskGroup() as tasks:
        bookmark = outbox.outbox.bookmark(source.model.key)
        read = _read(source, bookmark, inbox, pace, outbox)
        tasks.create_task(read, name=f"read {source.model.key}")
        while deliveries := await inbox.take():
            if sum(delivery.values for delivery in deliveries) < _INLINE_READINGS:
                group = assembly.assemble(deliveries)
            else:
                group = await asyncio.to_thread(assembly.assemble, deliveries)
            if last_seen is not None:
                for delivery, heard in zip(deliveries, group.heard, strict=True):
                    last_seen.note(delivery, heard)
            marks = [each.bookmark for each in deliveries if each.bookmark]
            bookmarks = {source.model.key: marks[-1]} if marks else {}
            urgent = any(each.urgent for each in deliveries)
            await _append(outbox, source.model.key, group, bookmarks, urgent=urgent)
            pace.appended(sum(entry.samples for entry in group.entries))
            TO_OUTBOX.labels(source.model.key).observe(
                max(0.0, time.time() - deliveries[0].received_at / 1e6)
            )
            for delivery in deliveries:
                if delivery.ack is not None:
                    delivery.ack()


async def _read(
    source: Source, bookmark: str, inbox: _Inbox, pace: Pace, outbox: OutboxThread
) -> None:
    try:
        # Closed here and now: a cancelled source must end its connections before the outbox goes.
        async with contextlib.aclosing(source.deliveries(bookmark)) as deliveries:
            async for delivery in deliveries:
                await inbox.put(delivery)
                if delivery.urgent:
                    outbox.hurry()  # what came before it waits for a pause, maybe
                await pace.wait()
    finally:
        inbox.close()


async def _append(
    outbox: OutboxThread,
    source: str,
    group: Group,
    bookmarks: Mapping[str, str],
    *,
    urgent: bool,
) -> None:
    """Append a group; while the outbox takes nothing, wait: nothing is acknowledged, so the source
    keeps it."""
    refused = ""
    started = time.perf_counter()
    records = list(group.entries)
    while True:
        try:
            await outbox.append(records, group.counts, bookmarks, urgent=urgent)
            break
        except OutboxFull as error:
            message = (
                "outbox cannot be written"
                if isinstance(error, OutboxNotWritable)
                else "outbox is full"
            )
            if refused != message:
                log.warning(message, extra={"fields": {"source": source, "error": str(error)}})
            if not refused:
                events = [entry for entry in records if entry.kind is RecordKind.EVENTS]
                records = [entry for entry in records if entry.kind is not RecordKind.EVENTS]
                with suppress(OutboxFull):
                    await outbox.append(events)
                    events = []
                records += events
            refused = message
            await asyncio.sleep(_FULL_WAIT_S)
    if refused:
        log.info("outbox takes samples again", extra={"fields": {"source": source}})
    COMMIT_SECONDS.observe(time.perf_counter() - started)
    for count in group.counts:
        RECEIVED.labels(source).inc(count.received)
        REJECTED.labels(source).inc(count.rejected)
        DROPPED.labels(source).inc(count.dropped)
        SKIPPED.labels(source).inc(count.skipped)


class _Inbox:
    """Deliveries between a source and its next commit, bounded by what they hold."""

    def __init__(self) -> None:
        self._deliveries: list[Delivery] = []
        self._bytes = 0
        self._some, self._room = asyncio.Event(), asyncio.Event()
        self._room.set()
        self._closed = False
        self._since = 0.0

    async def put(self, delivery: Delivery) -> None:
        """Hand over a delivery; waits while there is no room."""
        await self._room.wait()
        # What waits here grows old, also where it is small: the machine shall keep it instead.
        while self._deliveries and time.monotonic() - self._since > _INBOX_S:  # noqa: ASYNC110
            await asyncio.sleep(_INBOX_S / 10)
        if not self._deliveries:
            self._since = time.monotonic()
        self._deliveries.append(delivery)
        self._bytes += _size(delivery)
        self._some.set()
        if self._bytes >= _INBOX_BYTES:
            self._room.clear()

    async def take(self) -> list[Delivery]:
        """All that is there, at least one; empty only when no more will come."""
        await self._some.wait()
        taken, self._deliveries, self._bytes = self._deliveries, [], 0
        self._room.set()
        if not self._closed:
            self._some.clear()
        return taken

    def close(self) -> None:
        """Say that no more will come."""
        self._closed = True
        self._some.set()


def _size(delivery: Delivery) -> int:
    return (
        delivery.values * _READING_BYTES
        + sum(len(each.value) for each in delivery.readings if isinstance(each.value, (str, bytes)))
        + sum(len(reject.payload) + _READING_BYTES for reject in delivery.rejects)
    )
