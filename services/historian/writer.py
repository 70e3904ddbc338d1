"""Stores decoded records and moves their offsets in one transaction (D7). Called by processor.py,
one call at a time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg.rows import TupleRow

from aurelian.db import offsets
from aurelian.db.errors import Failure, classify
from aurelian.db.offsets import Fenced, fingerprint
from aurelian.model.record import Partition
from aurelian.model.sample import SampleBatch, ValueType
from historian import metrics, sample_sql
from historian.asset_sql import upsert_assets
from historian.batch_limit import BatchLimit
from historian.catalog import Catalog
from historian.columns import Columns, SignalKeys
from historian.decoding import DecodedRecord, Rejection, reject_record, reject_samples
from historian.delivery import BatchStream, Settled
from historian.delivery_sql import save_streams
from historian.ledger import add_to_ledger
from historian.ledger_entries import LedgerEntries
from historian.prepared import Prepared, prepare, prepare_batches
from historian.rejected_sql import insert_rejections
from historian.rollup_sql import merge_rollups
from historian.rollups import by_hour, by_minute
from historian.source_sql import apply_events

log = logging.getLogger(__name__)

SERVICE = "historian"

_TRIED_LATER = (Failure.AWAY, Failure.TOO_MUCH)
"""Nothing is wrong with the rows."""


@dataclass(slots=True)
class Owned:
    """A partition that is ours: the offset that the database has, the proof of ownership, and the
    time of the newest record stored (milliseconds since 1970, 0: none yet)."""

    committed: int
    epoch: int
    stored_ms: int = 0


@dataclass(slots=True)
class Stored:
    """What transactions did.

    Attributes:
        streams: how far each stream is settled now, to be announced.
        newest_receipt: microseconds since 1970, 0: no samples.
        assets_changed: what was looked up of signals and owners may be outdated.
        stopped: partitions of which nothing more can be stored until a person mends what is said.
    """

    streams: dict[BatchStream, Settled] = field(default_factory=dict)
    rows: int = 0
    duplicates: int = 0
    newest_receipt: int = 0
    assets_changed: bool = False
    stopped: dict[Partition, str] = field(default_factory=dict)

    def add(self, other: Stored) -> None:
        """Take in what a later transaction did."""
        self.streams.update(other.streams)
        self.rows += other.rows
        self.duplicates += other.duplicates
        self.newest_receipt = max(self.newest_receipt, other.newest_receipt)
        self.assets_changed |= other.assets_changed
        self.stopped.update(other.stopped)


class Writer:
    """Owns the connection that writes."""

    def __init__(
        self,
        conn: psycopg.AsyncConnection[TupleRow],
        catalog: Catalog,
        log_id: str,
        limit: BatchLimit,
        transaction_limit_s: float,
    ) -> None:
        self._conn, self._catalog, self._log_id = conn, catalog, log_id
        self._limit, self._transaction_limit_s = limit, transaction_limit_s
        self._expect_known = False

    async def store(
        self,
        decoded_records: Sequence[DecodedRecord],
        owned: Mapping[Partition, Owned],
        prepared: Awaitable[Prepared] | None = None,
    ) -> Stored:
        """Store records, in order within each partition. A record that cannot be stored is found by
        halving, and a sample in it as well: what is at fault is rejected with its bytes.

        Args:
            decoded_records: what to store.
            owned: the partitions of the records.
            prepared: what `prepare` makes of them, where it was begun already.

        Returns:
            What was stored, and the partitions that stop: rights or schema are missing.

        Raises:
            Fenced: a partition has another owner; nothing of the failed transaction is stored.
            psycopg.Error: the database is away; whether the last transaction counts is for it to
            say.
        """
        stored = Stored()
        pending = [list(decoded_records)]
        while pending:
            records = [d for d in pending.pop() if _partition(d) not in stored.stopped]
            samples, began = _count_samples(records), time.monotonic()
            try:
                made = await (prepared or prepare(records))
                stored.add(await self._transact(records, owned, made))
            except Exception as error:
                failure = _failure(error)
                # The server that ends a transaction ends the session, and does not always get to
                # say why.
                took_long = time.monotonic() - began > 0.9 * self._transaction_limit_s
                if failure is Failure.TOO_MUCH or (failure is Failure.AWAY and took_long):
                    self._limit.failed(samples)
                if failure is Failure.AWAY or (
                    failure is Failure.TOO_MUCH and (self._conn.closed or len(records) == 1)
                ):
                    raise
                if len(records) > 1:
                    half = len(records) // 2
                    pending += [records[half:], records[:half]]
                else:
                    stored.add(await self._store_faulty(records[0], owned, error))
            else:
                self._limit.stored(samples)
            prepared = None
        return stored

    async def _store_faulty(
        self, decoded: DecodedRecord, owned: Mapping[Partition, Owned], error: Exception
    ) -> Stored:
        """Store a record that failed alone: again, then without what is at fault in it, then as
        nothing but its bytes."""
        attempts = (
            self._store_alone,
            self._store_alone,
            self._store_without,
            self._set_aside,
            self._set_bytes_aside,
        )
        for number, attempt in enumerate(attempts):
            failure = _failure(error)
            if failure is Failure.SETUP:
                break
            if failure is Failure.DATA and attempt == self._store_alone:
                continue  # it would fail in the same way
            if attempt == self._store_alone:
                await asyncio.sleep(0.1 * (number + 1))
            try:
                return await attempt(decoded, owned, error)
            except Exception as another:
                if _failure(another) in _TRIED_LATER:
                    raise
                error = another
        reason = _sentence(error)
        log.error(
            "partition stopped",
            extra={"fields": {"partition": str(_partition(decoded)), "reason": reason}},
        )
        return Stored(stopped={_partition(decoded): reason})

    async def _store_alone(
        self, decoded: DecodedRecord, owned: Mapping[Partition, Owned], error: Exception
    ) -> Stored:
        return await self._transact([decoded], owned, await prepare([decoded]))

    async def _store_without(
        self, decoded: DecodedRecord, owned: Mapping[Partition, Owned], error: Exception
    ) -> Stored:
        """Store a record without those of its samples that cannot be stored, which are rejected."""
        batch = decoded.batch
        if batch is None or decoded.signal_keys is None:
            raise error
        bad, reason = await self._find_bad_samples(batch, decoded.signal_keys)
        if reason is None:
            raise error  # it is not in the samples
        log.warning(
            "samples rejected", extra={"fields": {"samples": int(bad.sum()), "reason": reason}}
        )
        rejections = decoded.rejections
        decoded.batch = batch.take(~bad)
        decoded.rejections = [
            *rejections,
            reject_samples(decoded.record, self._log_id, batch.take(bad), "database", reason),
        ]
        try:
            return await self._store_alone(decoded, owned, error)
        except Exception:
            decoded.batch, decoded.rejections = batch, rejections
            raise

    async def _find_bad_samples(
        self, batch: SampleBatch, signal_keys: SignalKeys
    ) -> tuple[NDArray[np.bool_], str | None]:
        """(n,) the samples that cannot be stored, found by halving in a transaction that is rolled
        back, and why the first of them cannot."""
        bad = np.zeros(len(batch), np.bool_)
        reason = None
        async with self._conn.transaction(force_rollback=True):
            pending = [np.arange(len(batch))]
            while pending:
                part = pending.pop()
                chosen = np.zeros(len(batch), np.bool_)
                chosen[part] = True
                try:
                    made = await prepare_batches([(batch.take(chosen), signal_keys)])
                    async with self._conn.transaction():
                        await self._write_samples(made)
                except Exception as error:
                    if _failure(error) in (*_TRIED_LATER, Failure.SETUP):
                        raise
                    if len(part) > 1:
                        half = len(part) // 2
                        pending += [part[half:], part[:half]]
                    elif len(part):
                        bad |= chosen
                        reason = reason or _sentence(error)
        return bad, reason

    async def _set_aside(
        self, decoded: DecodedRecord, owned: Mapping[Partition, Owned], error: Exception
    ) -> Stored:
        """Keep nothing of a record but its bytes and why; its number counts as settled."""
        rejection = self._reject_whole(decoded, error)
        log.error("record set aside", extra={"fields": {"reason": rejection.reason}})
        decoded.refuse(rejection)
        stored = await self._store_alone(decoded, owned, error)
        metrics.SET_ASIDE.inc()
        return stored

    def _reject_whole(self, decoded: DecodedRecord, error: Exception) -> Rejection:
        error_class = "database" if isinstance(error, psycopg.Error) else "failed"
        reason, record = _sentence(error), decoded.record
        if decoded.batch is not None:
            return reject_samples(record, self._log_id, decoded.batch, error_class, reason)
        return reject_record(record, self._log_id, error_class, reason, owner=decoded.owner)

    async def _set_bytes_aside(
        self, decoded: DecodedRecord, owned: Mapping[Partition, Owned], error: Exception
    ) -> Stored:
        """As `_set_aside`, with nothing of what was read from it: not its number either."""
        decoded.changed, decoded.closed = {}, []
        record = decoded.record
        decoded.refuse(reject_record(record, self._log_id, "failed", _sentence(error), owner="-"))
        stored = await self._store_alone(decoded, owned, error)
        metrics.SET_ASIDE.inc()
        return stored

    async def _transact(
        self,
        decoded_records: Sequence[DecodedRecord],
        owned: Mapping[Partition, Owned],
        prepared: Prepared,
    ) -> Stored:
        started = time.perf_counter()
        moved = _last_of_each(decoded_records)
        async with self._conn.transaction():
            stored, ledger = await self._write_samples(prepared)
            rejections = await insert_rejections(self._conn, decoded_records, self._log_id)
            ledger.count_rejections(rejections)
            await add_to_ledger(self._conn, ledger)
            changes = [decoded.asset for decoded in decoded_records if decoded.asset is not None]
            await upsert_assets(self._conn, changes)
            stored.assets_changed = bool(changes)
            await apply_events(
                self._conn, [p.event for p in decoded_records if p.event is not None]
            )
            stored.streams = await save_streams(self._conn, decoded_records)
            # Last, as it locks the rows of our offsets: whoever claims a partition waits for us,
            # and finds either all of this or nothing. With a newer owner epoch this raises Fenced.
            for partition, decoded in moved.items():
                mine = owned[partition]
                await offsets.advance(
                    self._conn,
                    SERVICE,
                    SERVICE,
                    self._log_id,
                    partition,
                    mine.committed,
                    decoded.record.offset + 1,
                    mine.epoch,
                    fingerprint(decoded.record),
                )
        for partition, decoded in moved.items():
            owned[partition].committed = decoded.record.offset + 1
            owned[partition].stored_ms = decoded.record.timestamp_ms
        _measure(stored, rejections, time.perf_counter() - started)
        return stored

    async def _write_samples(self, prepared: Prepared) -> tuple[Stored, LedgerEntries]:
        rows = prepared.columns
        numbers = await sample_sql.insert_rows(
            self._conn,
            "sample_number",
            rows.numbers,
            rows.shared_numbers,
            prepared.numbers,
            expect_known=self._expect_known,
        )
        new = numbers.new
        # Where keys are known already more will be: a replay goes the longer way at once.
        self._expect_known = new is not None and not new.all()
        if new is None or new.all():
            minutes, hours = prepared.minutes, prepared.hours
        else:
            minutes = by_minute(rows.numbers.pick(new))
            hours = by_hour(minutes)
        await merge_rollups(self._conn, minutes, hours)
        await self._merge(numbers.moved)
        texts = await sample_sql.insert_rows(
            self._conn, "sample_text", rows.texts, rows.shared_texts
        )
        others = await sample_sql.insert_rows(
            self._conn, "sample_other", rows.others, rows.shared_others
        )
        # Integers beyond 2^53 count in the rollups like other numbers, as doubles.
        await self._merge(rows.others if others.new is None else rows.others.pick(others.new))
        await self._merge(others.moved)
        stored = Stored(duplicates=sum(rows.repeated.values()))
        ledger = LedgerEntries(self._catalog.sources)
        for columns, shared, inserted in (
            (rows.numbers, rows.shared_numbers, numbers),
            (rows.texts, rows.shared_texts, texts),
            (rows.others, rows.shared_others, others),
        ):
            count = len(columns) if inserted.new is None else int(inserted.new.sum())
            count += len(inserted.moved)
            stored.rows += count
            stored.duplicates += len(columns) + len(shared) - count
            if len(columns):
                stored.newest_receipt = max(stored.newest_receipt, int(columns.gateway_time.max()))
            ledger.count_inserted(columns, shared, inserted.new, inserted.moved)
        ledger.count_arrived(rows)
        return stored, ledger

    async def _merge(self, rows: Columns) -> None:
        """Add rows that have a number to the rollups, nulls of numbers as well."""
        counted = ~np.isnan(rows.value) | (rows.type == ValueType.NULL)
        if counted.any():
            minutes = by_minute(rows.pick(counted))
            await merge_rollups(self._conn, minutes, by_hour(minutes))


def _failure(error: Exception) -> Failure:
    """What a failed transaction means; a lost partition ends the round like a lost database."""
    return Failure.AWAY if isinstance(error, Fenced) else classify(error)


def _sentence(error: Exception) -> str:
    if isinstance(error, psycopg.Error):
        return f"{error.sqlstate}: {error.diag.message_primary or error}"
    return repr(error)


def _count_samples(decoded_records: Sequence[DecodedRecord]) -> int:
    return sum(len(each.batch) for each in decoded_records if each.batch is not None)


def _partition(decoded: DecodedRecord) -> Partition:
    return Partition(decoded.record.topic, decoded.record.partition)


def _last_of_each(decoded_records: Sequence[DecodedRecord]) -> dict[Partition, DecodedRecord]:
    last = {(p.record.topic, p.record.partition): p for p in decoded_records}
    return {Partition(*key): last[key] for key in sorted(last)}


def _measure(stored: Stored, rejections: Sequence[Rejection], seconds: float) -> None:
    metrics.STORED.inc(stored.rows)
    metrics.DUPLICATES.inc(stored.duplicates)
    for rejection in rejections:
        label = metrics.bounded(rejection.error_class)
        metrics.REJECTED.labels(label).inc(max(rejection.samples, 1))
    metrics.COMMIT_SECONDS.observe(seconds)
    metrics.COMMIT_SAMPLES.observe(stored.rows + stored.duplicates)
