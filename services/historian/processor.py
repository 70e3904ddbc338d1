"""The historian's main loop: take, decode, reject, store, tick. Called by rounds.py.

Two things overlap: while one transaction is on its way, the next records are taken and decoded.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import psycopg
from psycopg.rows import TupleRow

from aurelian.backbone.topics import ASSETS
from aurelian.db.engine import connect
from aurelian.db.errors import Failure, classify
from aurelian.db.logs import current_log
from aurelian.db.offsets import Fenced
from aurelian.model.record import Partition, Record
from aurelian.runtime.health import Health
from historian import delivery_sql, metrics, rejecting, sample_sql
from historian.announce import Announcer
from historian.batch_limit import BatchLimit
from historian.catalog import Catalog
from historian.decoding import DecodedRecord, decode_record, reject_record
from historian.delivery import BatchStream, StreamProgress
from historian.ledger import measure_ledger
from historian.metrics import AGES
from historian.ownership import Ownership
from historian.prepared import Prepared, prepare
from historian.settings import HistorianSettings
from historian.source import Source
from historian.transaction import Owned, Stored
from historian.writer import Writer

log = logging.getLogger(__name__)

TAKE_RECORDS = 1000
DECODE_STEP = 100
"""Records decoded before others get the event loop."""

PREPARE_AHEAD = 0.25
"""Part of `commit_samples` from which a batch is prepared before the one before it is stored: small
transactions cost more, as each merges its rollups."""

STOPPED_AGAIN_S = 15.0
"""After so long a partition that stopped is tried again."""

LOG_POLL_S = 1.0
SLOW_TICK_S = 5.0


class LogChanged(Exception):
    """Another log was declared: begin at its start."""


class TryAgain(Exception):
    """Begin a new round: what stopped may go now."""


async def run_log(settings: HistorianSettings, health: Health, limit: BatchLimit) -> None:
    """Store what the current log has until something interrupts. `limit`: of a transaction.

    Raises:
        ExceptionGroup: of LogChanged, Fenced, Unavailable or psycopg's errors.
    """
    url = settings.database_url.get_secret_value()
    async with (
        await connect(url, autocommit=True, name="historian") as side,
        await connect(url, autocommit=True, name="historian writer") as conn,
        asyncio.TaskGroup() as group,
    ):
        log_id = await _await_log(side, health)
        await sample_sql.open_session(conn, settings.transaction_limit_s)
        catalog = Catalog()
        announcer = Announcer(
            settings, log_id, lambda: delivery_sql.recent_streams(side, settings.announce_days)
        )
        historian = Historian(
            settings,
            health,
            side,
            catalog,
            Writer(conn, catalog, log_id, limit, settings.transaction_limit_s),
            announcer,
            log_id,
            limit,
        )
        group.create_task(announcer.run(), name="announce")
        async with historian.reading() as source:
            health.ready = None
            while True:
                await historian.process(source, await historian.take(source))
                await historian.tick(source)


_Batch = tuple[list[DecodedRecord], dict[Partition, Owned], asyncio.Task[Prepared]]
"""Records that are handed over, the partitions that were ours then, and their rows in the
making."""


class Historian:
    """What lives between two interruptions: streams, the open batch, and the transaction that is on
    its way."""

    def __init__(
        self,
        settings: HistorianSettings,
        health: Health,
        side: psycopg.AsyncConnection[TupleRow],
        catalog: Catalog,
        writer: Writer,
        announcer: Announcer,
        log_id: str,
        limit: BatchLimit,
    ) -> None:
        self._settings, self._health, self._side, self._limit = settings, health, side, limit
        self._catalog, self._writer, self._announcer, self._log_id = (
            catalog,
            writer,
            announcer,
            log_id,
        )
        self._breakers = writer.breakers
        self._progress: dict[BatchStream, StreamProgress] = {}
        self._generation = 0
        self._open: list[DecodedRecord] = []
        self._open_samples = 0
        self._handed_over_at = 0.0
        self._next: _Batch | None = None
        self._committing: asyncio.Task[Stored] | None = None
        self._checking: asyncio.Task[None] | None = None
        self._polled_at = self._slow_at = self._stopped_at = time.monotonic()

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[Source]:
        """Read from Kafka; at the end nothing of ours is left running."""
        try:
            owning = Ownership(self._settings, self._side, self._log_id)
            async with Source(
                self._settings, self._log_id, owning.claim, owning.halt, owning.record_loss
            ) as source:
                yield source
        finally:
            running: list[asyncio.Task[Any]] = []
            if self._next is not None:
                running.append(self._next[2])
            if self._committing is not None:
                running.append(self._committing)
            if self._checking is not None:
                running.append(self._checking)
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running)

    async def take(self, source: Source) -> list[Record]:
        """Take records that continue what is stored; wait no longer than the open batch may."""
        due_s = self._handed_over_at + self._settings.commit_interval_s - time.monotonic()
        wait_s = max(due_s, 0.001) if self._open else 0.5
        if self._committing is not None:
            wait_s = min(wait_s, 0.02)
        records = await source.take(min(TAKE_RECORDS, self._limit.samples), wait_s)
        if source.generation != self._generation:
            self._begin_anew(source)
        return records

    async def process(self, source: Source, taken: Sequence[Record]) -> None:
        """Decode records, refuse what may not be stored, and store the rest.

        What an asset's record says of signals holds for the records decoded after it is committed,
        so it is committed before the others are decoded.
        """
        assets = [record for record in taken if record.topic == ASSETS.name]
        if assets:
            taken = [record for record in taken if record.topic != ASSETS.name]
            generation = self._generation
            await self.store(source, self.reject(await self.decode(source, assets)))
            await self._flush(source)
            if self._generation != generation:
                return  # partitions were assigned anew: all of this is read again
        await self.store(source, self.reject(await self.decode(source, taken)))

    async def decode(self, source: Source, taken: Sequence[Record]) -> list[DecodedRecord]:
        """Read the records; look up signals and streams that are new to us."""
        decoded_records: list[DecodedRecord] = []
        for start in range(0, len(taken), DECODE_STEP):
            decoded_records += [
                decode_record(record, self._log_id) for record in taken[start : start + DECODE_STEP]
            ]
            await asyncio.sleep(0)
        await self._find_signal_keys([d for d in decoded_records if d.batch is not None])
        streams = {d.stream for d in decoded_records if d.stream is not None}
        streams |= {stream for d in decoded_records for stream, _, _ in d.lost}
        new = streams - self._progress.keys()
        self._progress |= await delivery_sql.load_progress(self._side, new)
        return decoded_records if source.generation == self._generation else []

    async def _find_signal_keys(self, with_batch: Sequence[DecodedRecord]) -> None:
        batches = [d.batch for d in with_batch if d.batch is not None]
        try:
            found = await self._catalog.signal_keys(self._side, batches)
        except Exception as error:
            failure = classify(error)
            if failure in (Failure.AWAY, Failure.LATE, Failure.SETUP):
                raise
            if failure is Failure.TOO_MUCH and len(with_batch) == 1:
                raise
            if len(with_batch) > 1:
                half = len(with_batch) // 2
                await self._find_signal_keys(with_batch[:half])
                await self._find_signal_keys(with_batch[half:])
            for decoded in with_batch[: 1 if len(with_batch) == 1 else 0]:
                log.error("record set aside", exc_info=error)
                metrics.SET_ASIDE.inc()
                decoded.refuse(
                    reject_record(
                        decoded.record, self._log_id, "failed", repr(error), owner=decoded.owner
                    )
                )
            return
        for decoded, signal_keys in zip(with_batch, found, strict=True):
            decoded.signal_keys = signal_keys

    def reject(self, decoded_records: list[DecodedRecord]) -> list[DecodedRecord]:
        """Set aside what is stored already, and refuse what may not be stored."""
        are_open = self._breakers.are_open(time.monotonic())
        for decoded in decoded_records:
            rejecting.reject(decoded, self._progress, self._log_id)
            if are_open:
                rejecting.set_breakers_aside(decoded, self._breakers)
        return decoded_records

    async def store(
        self, source: Source, decoded_records: Sequence[DecodedRecord], *, now: bool = False
    ) -> None:
        """Add to the open batch; hand it over when it is due and the transaction before it is done.

        Under load the next batch is prepared while the transaction before it is on its way, so that
        the database does not wait for us.
        """
        self._open += decoded_records
        self._open_samples += sum(
            len(decoded.batch) for decoded in decoded_records if decoded.batch is not None
        )
        settings = self._settings
        full = self._open_samples >= self._limit.samples or len(self._open) >= 50_000
        if self._committing is not None and (
            self._committing.done() or (full and self._next is not None)
        ):
            await self._finish(source)
        if source.generation != self._generation:
            self._begin_anew(source)
        due = time.monotonic() - self._handed_over_at >= settings.commit_interval_s
        idle = self._committing is None
        many = self._open_samples >= self._limit.samples * PREPARE_AHEAD
        if self._open and self._next is None and (now or full or (due and (idle or many))):
            owned = dict(source.owned)
            batch = [p for p in self._open if (p.record.topic, p.record.partition) in owned]
            self._open, self._open_samples = [], 0
            self._handed_over_at = time.monotonic()
            self._next = batch, owned, asyncio.create_task(prepare(batch), name="prepare")
        if self._next is not None and self._committing is None:
            store, self._next = self._writer.store(*self._next), None
            self._committing = asyncio.create_task(store, name="store")

    async def tick(self, source: Source) -> None:
        """Tell that we live; now and then look for a new log, lags and holes, and keep the
        partitions."""
        self._health.tick()
        self._health.ready = _halt_sentence(source)
        now = time.monotonic()
        if self._checking is not None and self._checking.done():
            checked, self._checking, self._polled_at = self._checking, None, now
            checked.result()
        if self._checking is None and now - self._polled_at >= LOG_POLL_S:
            # Beside the loop: at the broker its questions wait behind a fetch that waits for data.
            self._checking = asyncio.create_task(self._check_log(source), name="check the log")
        if source.stopped and now - self._stopped_at > STOPPED_AGAIN_S:
            raise TryAgain("stopped partitions are tried again")
        if now - self._slow_at >= SLOW_TICK_S:
            self._slow_at = now
            metrics.HOLES.set(sum(progress.missing() for progress in self._progress.values()))
            await self._keep_streams()
            await measure_ledger(self._side)

    async def _check_log(self, source: Source) -> None:
        """Look for a new log, and at the ends of this one."""
        if await current_log(self._side) != self._log_id:
            raise LogChanged
        await source.check_ends()

    async def _keep_streams(self) -> None:
        """Record holes, close what is given up, and let go of streams that are over."""
        settings = self._settings
        await delivery_sql.insert_hole_gaps(self._side, settings.hole_limit_s)
        closed = await delivery_sql.close_old_holes(
            self._side, self._progress, settings.hole_close_s
        )
        self._announcer.announce(closed)
        ended = await delivery_sql.end_streams(
            self._side, settings.stream_end_s, settings.stream_forget_s
        )
        for stream in ended:
            self._progress.pop(stream, None)
        self._announcer.announce(dict.fromkeys(ended))

    async def _flush(self, source: Source) -> None:
        """Store all that is open, and wait for it."""
        while self._open or self._next is not None or self._committing is not None:
            if self._committing is not None:
                await self._finish(source)
            await self.store(source, [], now=True)

    async def _finish(self, source: Source) -> None:
        """Wait for the transaction on its way and announce what it stored."""
        assert self._committing is not None
        task, self._committing = self._committing, None
        generation = self._generation
        try:
            stored = await task
        except Fenced:
            # Our own partitions were assigned anew in the meantime: the new claim reads these
            # records again.
            if source.generation == generation:
                raise
            return
        self._announcer.announce(stored.streams)
        if stored.assets_changed:
            self._catalog.forget()
        AGES.stored(stored.newest_receipt)
        for partition, reason in stored.stopped.items():
            source.stop(partition, reason)
            self._stopped_at = time.monotonic()

    def _begin_anew(self, source: Source) -> None:
        """Partitions were assigned anew: what is not stored yet will be read again."""
        self._generation = source.generation
        if self._next is not None:
            self._next[2].cancel()
            self._next = None
        self._open, self._open_samples = [], 0
        self._progress.clear()
        self._catalog.forget()


def _halt_sentence(source: Source) -> str | None:
    """What `/readyz` says of partitions that do not go on; None: all do."""
    for partitions, until in (
        (source.halted, "halt until a new log is declared"),
        (source.stopped, "stop until this is mended"),
    ):
        if partitions:
            partition, reason = min(partitions.items())
            return (
                f"{len(partitions)} partitions {until}, first "
                f"{partition.topic}/{partition.number}: {reason}"
            )
    return None


async def _await_log(conn: psycopg.AsyncConnection[TupleRow], health: Health) -> str:
    """Wait until a log is declared."""
    while True:
        log_id = await current_log(conn)
        if log_id is not None:
            return log_id
        health.ready = "a declared log (`aurelian db upgrade --log NAME`)"
        await asyncio.sleep(LOG_POLL_S)
