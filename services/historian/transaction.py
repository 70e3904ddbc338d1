"""One transaction of the historian: rows, rejected records, rollups, ledger, streams and offsets
(D7). Run by writer.py, which knows what to do when it fails."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import psycopg
from psycopg.rows import TupleRow

from aurelian.db import offsets
from aurelian.db.offsets import fingerprint
from aurelian.model.record import Partition
from aurelian.model.sample import ValueType
from historian import metrics, sample_sql
from historian.asset_sql import upsert_assets
from historian.catalog import Catalog
from historian.columns import Columns
from historian.decoding import DecodedRecord, Rejection
from historian.delivery import BatchStream, Settled
from historian.delivery_sql import save_streams
from historian.late_sql import insert_late, take_out
from historian.ledger import add_to_ledger
from historian.ledger_entries import LedgerEntries
from historian.prepared import Prepared
from historian.rejected_sql import insert_rejections
from historian.rollup_sql import merge_rollups
from historian.rollups import by_hour, by_minute
from historian.source_sql import apply_events

SERVICE = "historian"


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


class Transactions:
    """Those of one connection."""

    def __init__(
        self, conn: psycopg.AsyncConnection[TupleRow], catalog: Catalog, log_id: str
    ) -> None:
        self._conn, self._catalog, self._log_id = conn, catalog, log_id
        self._expect_known = False

    async def run(
        self,
        decoded_records: Sequence[DecodedRecord],
        owned: Mapping[Partition, Owned],
        prepared: Prepared,
    ) -> Stored:
        """Store records and move the offsets of their partitions, all of it or nothing.

        Raises:
            Fenced: a partition has another owner.
            MergedMeanwhile: a batch of the late inbox is there no more.
            psycopg.Error: it was not stored, or with a lost connection nobody knows.
        """
        started = time.perf_counter()
        moved = _last_of_each([d for d in decoded_records if not d.late_id])
        async with self._conn.transaction():
            stored, ledger = await self.write_samples(prepared)
            rejections = await insert_rejections(self._conn, decoded_records, self._log_id)
            await insert_late(self._conn, decoded_records, self._log_id)
            await take_out(self._conn, decoded_records)
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

    async def write_samples(self, prepared: Prepared) -> tuple[Stored, LedgerEntries]:
        """Write rows and rollups inside a transaction; return what was done and what the ledger
        gets of it."""
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


def partition_of(decoded: DecodedRecord) -> Partition:
    """Where a record was read."""
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
