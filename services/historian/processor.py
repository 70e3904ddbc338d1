"""The historian's main loop: take, decode, reject, store, tick. Called by `__main__.py`.

Two things overlap: while one transaction is on its way, the next records are taken and decoded.
Whatever goes wrong with Kafka, the database or the ownership ends the round; the next one begins at
what the database says is stored.
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

from aurelian.backbone.client import Unavailable
from aurelian.backbone.position import Decision
from aurelian.db import offsets
from aurelian.db.engine import connect
from aurelian.db.logs import current_log
from aurelian.db.offsets import Claim, Fenced
from aurelian.model.record import Partition, Record
from aurelian.model.sample import SampleBatch
from aurelian.runtime.health import Health
from aurelian.runtime.retry import Backoff
from historian import delivery_sql, metrics, sample_sql
from historian.announce import Announcer
from historian.catalog import Catalog
from historian.decoding import DecodedRecord, decode_record, reject_samples
from historian.delivery import BatchStream, StreamProgress
from historian.ledger import measure_ledger
from historian.prepared import Prepared, prepare
from historian.sample_columns import text_mask
from historian.settings import HistorianSettings
from historian.source import Source
from historian.writer import SERVICE, Owned, Stored, Writer

log = logging.getLogger(__name__)

TAKE_RECORDS = 1000
DECODE_STEP = 100
"""Records decoded before others get the event loop."""

AWAY = (
    psycopg.OperationalError,
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.TransactionTimeout,
    psycopg.errors.InFailedSqlTransaction,
)
"""The database is away, or ended our session because we were: begin anew."""

PREPARE_AHEAD = 0.25
"""Part of `commit_samples` from which a batch is prepared before the one before it is stored: small
transactions cost more, as each merges its rollups."""

LOG_POLL_S = 1.0
SLOW_TICK_S = 5.0
MAINTAIN_S = 3600.0


class LogChanged(Exception):
    """Another log was declared: begin at its start."""


async def main(settings: HistorianSettings, health: Health) -> None:
    """Store what Kafka has until cancelled; outages are waited out."""
    backoff = Backoff()
    while True:
        began = time.monotonic()
        try:
            await run_log(settings, health)
        except* LogChanged:
            log.info("another log was declared")
            backoff.reset()
        except* Fenced as group:
            metrics.FENCED.inc()
            log.warning("fenced", extra={"fields": {"reason": str(group.exceptions[0])}})
            backoff.reset()
        except* (Unavailable, *AWAY) as group:
            if health.ready is None or time.monotonic() - began > 10:
                log.warning(
                    "interrupted", extra={"fields": {"reason": str(group.exceptions[0]).strip()}}
                )
                backoff.reset()
            health.ready = "Kafka and the database"
        await backoff.wait()


async def run_log(settings: HistorianSettings, health: Health) -> None:
    """Store what the current log has until something interrupts.

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
            settings, health, side, catalog, Writer(conn, catalog, log_id), announcer, log_id
        )
        group.create_task(announcer.run(), name="announce")
        async with historian.reading() as source:
            health.ready = None
            while True:
                taken = await historian.take(source)
                decoded_records = await historian.decode(source, taken)
                decoded_records = historian.reject(source, decoded_records)
                await historian.store(source, decoded_records)
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
    ) -> None:
        self._settings, self._health, self._side = settings, health, side
        self._catalog, self._writer, self._announcer, self._log_id = (
            catalog,
            writer,
            announcer,
            log_id,
        )
        self._progress: dict[BatchStream, StreamProgress] = {}
        self._generation = 0
        self._open: list[DecodedRecord] = []
        self._open_samples = 0
        self._handed_over_at = 0.0
        self._next: _Batch | None = None
        self._committing: asyncio.Task[Stored] | None = None
        self._polled_at = self._slow_at = time.monotonic()
        self._maintained_at = float("-inf")

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[Source]:
        """Read from Kafka; at the end nothing of ours is left running."""
        try:
            async with Source(
                self._settings, self._log_id, self._claim, self._halt, self._record_loss
            ) as source:
                yield source
        finally:
            running: list[asyncio.Task[Any]] = []
            if self._next is not None:
                running.append(self._next[2])
            if self._committing is not None:
                running.append(self._committing)
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
        records = await source.take(min(TAKE_RECORDS, self._settings.commit_samples), wait_s)
        if source.generation != self._generation:
            self._begin_anew(source)
        return records

    async def decode(self, source: Source, taken: Sequence[Record]) -> list[DecodedRecord]:
        """Read the records; look up signals and streams that are new to us."""
        decoded_records: list[DecodedRecord] = []
        for start in range(0, len(taken), DECODE_STEP):
            decoded_records += [
                decode_record(record, self._log_id) for record in taken[start : start + DECODE_STEP]
            ]
            await asyncio.sleep(0)
        if any(decoded.asset is not None for decoded in decoded_records):
            self._catalog.forget()
        with_batch = [
            (decoded, decoded.batch) for decoded in decoded_records if decoded.batch is not None
        ]
        found = await self._catalog.signal_keys(self._side, [batch for _, batch in with_batch])
        for (decoded, _), signal_keys in zip(with_batch, found, strict=True):
            decoded.signal_keys = signal_keys
        new = {p.stream for p in decoded_records if p.stream is not None} - self._progress.keys()
        self._progress |= await delivery_sql.load_progress(self._side, new)
        return decoded_records if source.generation == self._generation else []

    def reject(self, source: Source, decoded_records: list[DecodedRecord]) -> list[DecodedRecord]:
        """Set aside what is stored already, and refuse what may not be stored."""
        for decoded in decoded_records:
            if decoded.stream is not None and decoded.sequence > 0:
                progress = self._progress.setdefault(decoded.stream, StreamProgress(decoded.owner))
                if decoded.batch is not None and progress.owner != decoded.owner:
                    self._reject_owner(
                        decoded,
                        decoded.batch,
                        f"line {decoded.batch.line!r} belongs to another owner",
                    )
                    decoded.stream = None
                    continue
                if not progress.accept(decoded.sequence):
                    metrics.REDELIVERED.inc()
                    decoded.clear()
                decoded.stored_to, decoded.beyond = progress.stored_to, tuple(progress.beyond)
                if progress.closed:
                    decoded.closed = tuple(progress.take_closed())
            if decoded.batch is not None:
                self._judge(decoded, decoded.batch)
        return decoded_records

    async def store(self, source: Source, decoded_records: Sequence[DecodedRecord]) -> None:
        """Add to the open batch; hand it over when it is due and the transaction before it is done.

        Under load the next batch is prepared while the transaction before it is on its way, so that
        the database does not wait for us.
        """
        self._open += decoded_records
        self._open_samples += sum(
            len(decoded.batch) for decoded in decoded_records if decoded.batch is not None
        )
        settings = self._settings
        full = self._open_samples >= settings.commit_samples or len(self._open) >= 50_000
        if self._committing is not None and (
            self._committing.done() or (full and self._next is not None)
        ):
            await self._finish(source)
        if source.generation != self._generation:
            self._begin_anew(source)
        due = time.monotonic() - self._handed_over_at >= settings.commit_interval_s
        idle = self._committing is None
        many = self._open_samples >= settings.commit_samples * PREPARE_AHEAD
        if self._open and self._next is None and (full or (due and (idle or many))):
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
        if now - self._polled_at >= LOG_POLL_S:
            self._polled_at = now
            if await current_log(self._side) != self._log_id:
                raise LogChanged
        if now - self._slow_at >= SLOW_TICK_S:
            self._slow_at = now
            await source.check_ends()
            metrics.HOLES.set(sum(progress.missing() for progress in self._progress.values()))
            await delivery_sql.insert_hole_gaps(self._side, self._settings.hole_limit_s)
            await measure_ledger(self._side)
        if now - self._maintained_at >= MAINTAIN_S:
            self._maintained_at = now
            await self._side.execute(
                "SELECT historian.maintain_samples(%s)", (self._settings.retention_days,)
            )

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
        if stored.newest_receipt:
            metrics.FRESHNESS_SECONDS.set(time.time() - stored.newest_receipt / 1e6)

    def _begin_anew(self, source: Source) -> None:
        """Partitions were assigned anew: what is not stored yet will be read again."""
        self._generation = source.generation
        if self._next is not None:
            self._next[2].cancel()
            self._next = None
        self._open, self._open_samples = [], 0
        self._progress.clear()
        self._catalog.forget()

    def _judge(self, decoded: DecodedRecord, batch: SampleBatch) -> None:
        """Refuse what may not be stored: another owner's signals, or text where a number is
        declared."""
        signal_keys = decoded.signal_keys
        assert signal_keys is not None, "decode looks up the keys of every batch"
        if signal_keys.reject_reason is not None:
            self._reject_owner(decoded, batch, signal_keys.reject_reason)
            return
        wrong = text_mask(batch, signal_keys)
        if wrong is not None:
            reason = "text, bytes or JSON where the plant model declares a number"
            decoded.rejections = [
                reject_samples(decoded.record, self._log_id, batch.take(wrong), "type", reason)
            ]
            decoded.batch = batch.take(~wrong)

    def _reject_owner(self, decoded: DecodedRecord, batch: SampleBatch, reason: str) -> None:
        decoded.batch = None
        decoded.rejections = [reject_samples(decoded.record, self._log_id, batch, "owner", reason)]

    async def _claim(self, partitions: list[Partition]) -> dict[Partition, Claim]:
        """Claim in a session of its own, again and again: a paused zombie may hold the rows for
        some seconds."""
        url = self._settings.database_url.get_secret_value()
        while True:
            try:
                async with await connect(url, autocommit=True, name="historian claim") as conn:
                    return await offsets.claim(conn, SERVICE, SERVICE, self._log_id, partitions)
            except AWAY as error:
                log.warning("claim failed", extra={"fields": {"reason": str(error).strip()}})
                await asyncio.sleep(0.5)

    async def _halt(self, partition: Partition, epoch: int, reason: str) -> None:
        async with self._side.transaction():
            await offsets.halt(self._side, SERVICE, SERVICE, self._log_id, partition, epoch, reason)
            await delivery_sql.insert_log_gap(self._side, self._log_id, partition, "halt", reason)

    async def _record_loss(self, partition: Partition, position: int, decision: Decision) -> None:
        await delivery_sql.insert_log_gap(
            self._side,
            self._log_id,
            partition,
            f"trimmed from {position}",
            decision.reason,
            decision.lost,
        )


def _halt_sentence(source: Source) -> str | None:
    """What `/readyz` says of partitions that do not go on; None: all do."""
    if not source.halted:
        return None
    partition, reason = min(source.halted.items())
    return (
        f"{len(source.halted)} partitions halt until a new log is declared, first "
        f"{partition.topic}/{partition.number}: {reason}"
    )


async def _await_log(conn: psycopg.AsyncConnection[TupleRow], health: Health) -> str:
    """Wait until a log is declared."""
    while True:
        log_id = await current_log(conn)
        if log_id is not None:
            return log_id
        health.ready = "a declared log (`aurelian db upgrade --log NAME`)"
        await asyncio.sleep(LOG_POLL_S)
