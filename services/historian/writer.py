"""Stores decoded records and moves their offsets in one transaction (D7). Called by processor.py,
one call at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg.rows import TupleRow

from aurelian.db import offsets
from aurelian.db.offsets import fingerprint
from aurelian.model.record import Partition
from aurelian.model.time import HOUR_US, LAST_US
from historian import metrics, sample_sql
from historian.asset_sql import upsert_assets
from historian.catalog import Catalog
from historian.decoding import DecodedRecord, Rejection, reject_record, reject_samples
from historian.delivery import BatchStream
from historian.delivery_sql import save_streams
from historian.prepared import Prepared, prepare
from historian.rejected_sql import insert_rejections
from historian.rollups import by_hour, by_minute
from historian.sample_columns import Columns, count_by_hour
from historian.source_sql import apply_events

log = logging.getLogger(__name__)

SERVICE = "historian"


@dataclass(slots=True)
class Owned:
    """A partition that is ours: the offset that the database has, and the proof of ownership."""

    committed: int
    epoch: int


@dataclass(slots=True)
class Stored:
    """What a transaction did.

    Attributes:
        streams: how far each stream is stored now, to be announced.
        newest_receipt: microseconds since 1970, 0: no samples.
        assets_changed: what was looked up of signals and owners may be outdated.
    """

    streams: dict[BatchStream, int] = field(default_factory=dict)
    rows: int = 0
    duplicates: int = 0
    newest_receipt: int = 0
    assets_changed: bool = False

    def add(self, other: Stored) -> None:
        """Take in what a later transaction did."""
        self.streams.update(other.streams)
        self.rows += other.rows
        self.duplicates += other.duplicates
        self.newest_receipt = max(self.newest_receipt, other.newest_receipt)
        self.assets_changed |= other.assets_changed


class Writer:
    """Owns the connection that writes."""

    def __init__(
        self, conn: psycopg.AsyncConnection[TupleRow], catalog: Catalog, log_id: str
    ) -> None:
        self._conn, self._catalog, self._log_id = conn, catalog, log_id
        self._expect_known = False

    async def store(
        self,
        decoded_records: Sequence[DecodedRecord],
        owned: Mapping[Partition, Owned],
        prepared: Awaitable[Prepared] | None = None,
    ) -> Stored:
        """Store records, in order within each partition. What the database refuses as data is found
        by halving and rejected.

        Args:
            decoded_records: what to store.
            owned: the partitions of the records.
            prepared: what `prepare` makes of them, where it was begun already.

        Raises:
            Fenced: a partition has another owner; nothing of the failed transaction is stored.
            psycopg.OperationalError: the database is away; whether the last transaction counts is
            for it to say.
        """
        try:
            return await self._transact(
                decoded_records, owned, await (prepared or prepare(decoded_records))
            )
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            if len(decoded_records) == 1:
                log.warning("record rejected", extra={"fields": {"class": error.sqlstate}})
                rejected = [self._reject(decoded_records[0], error)]
                return await self._transact(rejected, owned, await prepare(rejected))
        half = len(decoded_records) // 2
        stored = await self.store(decoded_records[:half], owned)
        stored.add(await self.store(decoded_records[half:], owned))
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
            _count_rejections(ledger, rejections)
            await sample_sql.count_in_ledger(self._conn, ledger)
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
        _measure(stored, rejections, time.perf_counter() - started)
        return stored

    async def _write_samples(self, prepared: Prepared) -> tuple[Stored, sample_sql.Ledger]:
        rows = prepared.columns
        new = await sample_sql.insert_numbers(self._conn, prepared, expect_known=self._expect_known)
        # Where keys are known already more will be: a replay goes the longer way at once.
        self._expect_known = new is not None and not new.all()
        if new is None or new.all():
            minutes, hours = prepared.minutes, prepared.hours
        else:
            minutes = by_minute(rows.numbers.pick(new))
            hours = by_hour(minutes)
        await sample_sql.merge_rollups(self._conn, minutes, hours)
        new_texts = await sample_sql.insert_objects(self._conn, "sample_text", rows.texts)
        new_others = await sample_sql.insert_objects(self._conn, "sample_other", rows.others)
        await self._merge_integers(rows.others, new_others)
        ledger: sample_sql.Ledger = {}
        stored = Stored()
        for columns, mask in (
            (rows.numbers, new),
            (rows.texts, new_texts),
            (rows.others, new_others),
        ):
            inserted = len(columns) if mask is None else int(mask.sum())
            stored.rows += inserted
            stored.duplicates += len(columns) - inserted
            if len(columns):
                stored.newest_receipt = max(stored.newest_receipt, int(columns.gateway_time.max()))
            self._count(ledger, count_by_hour(columns, mask), 0)
            if mask is not None:
                self._count(ledger, count_by_hour(columns, ~mask), 1)
        self._count(ledger, rows.repeated, 1)
        stored.duplicates += sum(rows.repeated.values())
        return stored, ledger

    async def _merge_integers(self, others: Columns, new: NDArray[np.bool_] | None) -> None:
        """Integers beyond 2^53 count in the rollups like other numbers, as doubles."""
        chosen = ~np.isnan(others.value) if new is None else ~np.isnan(others.value) & new
        if chosen.any():
            minutes = by_minute(others.pick(chosen))
            await sample_sql.merge_rollups(self._conn, minutes, by_hour(minutes))

    def _count(
        self, ledger: sample_sql.Ledger, counts: Mapping[tuple[int, int], int], column: int
    ) -> None:
        for (source, hour), count in counts.items():
            key = (*self._catalog.sources[source], hour)
            ledger.setdefault(key, [0, 0, 0])[column] += count

    def _reject(self, decoded: DecodedRecord, error: psycopg.Error) -> DecodedRecord:
        """The record with nothing to store but its bytes and the database's reason."""
        reason = f"{error.sqlstate}: {error.diag.message_primary or error}"
        if decoded.batch is not None:
            rejection = reject_samples(
                decoded.record, self._log_id, decoded.batch, "database", reason
            )
        else:
            rejection = reject_record(
                decoded.record, self._log_id, "database", reason, owner=decoded.owner
            )
        decoded.clear()
        decoded.rejections = [rejection]
        return decoded


def _last_of_each(decoded_records: Sequence[DecodedRecord]) -> dict[Partition, DecodedRecord]:
    last = {(p.record.topic, p.record.partition): p for p in decoded_records}
    return {Partition(*key): last[key] for key in sorted(last)}


def _count_rejections(ledger: sample_sql.Ledger, rejections: Sequence[Rejection]) -> None:
    for rejection in rejections:
        counts = rejection.counts
        if counts is None:
            hour = rejection.received_at - rejection.received_at % HOUR_US
            counts = {(rejection.source, hour): rejection.samples}
        for (source, hour), count in counts.items():
            if count:
                shown = min(max(hour, 0), LAST_US - LAST_US % HOUR_US)
                ledger.setdefault((source, rejection.owner, shown), [0, 0, 0])[2] += count


def _measure(stored: Stored, rejections: Sequence[Rejection], seconds: float) -> None:
    metrics.STORED.inc(stored.rows)
    metrics.DUPLICATES.inc(stored.duplicates)
    for rejection in rejections:
        metrics.REJECTED.labels(rejection.error_class).inc(max(rejection.samples, 1))
    metrics.COMMIT_SECONDS.observe(seconds)
    metrics.COMMIT_SAMPLES.observe(stored.rows + stored.duplicates)
