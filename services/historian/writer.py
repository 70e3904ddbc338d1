"""Stores pieces and moves their offsets in one transaction (D7). Called by processor.py, one call
at a time."""

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
from aurelian.db.offsets import fingerprint
from aurelian.model.record import Partition
from aurelian.model.time import HOUR_US, LAST_US, now_us
from historian import metrics, records, samples
from historian.asset_sql import upsert_assets
from historian.catalog import Catalog
from historian.delivery import Lane
from historian.pieces import Piece, Refusal, refuse_record, refuse_samples
from historian.rollups import by_hour, by_minute
from historian.rows import Columns, count_by_hour, make_rows

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
        lanes: how far each lane is stored now, to be announced.
        newest_receipt: microseconds since 1970, 0: no samples.
        assets_changed: what was looked up of signals and owners may be outdated.
    """

    lanes: dict[Lane, int] = field(default_factory=dict)
    rows: int = 0
    duplicates: int = 0
    newest_receipt: int = 0
    assets_changed: bool = False

    def add(self, other: Stored) -> None:
        """Take in what a later transaction did."""
        self.lanes.update(other.lanes)
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
        pieces: Sequence[Piece],
        owned: Mapping[Partition, Owned],
        prepared: Awaitable[samples.Prepared] | None = None,
    ) -> Stored:
        """Store pieces, in order within each partition. What the database refuses as data is found
        by halving and rejected.

        Args:
            pieces: what to store.
            owned: the partitions of the pieces.
            prepared: what `prepare` makes of the pieces, where it was begun already.

        Raises:
            Fenced: a partition has another owner; nothing of the failed transaction is stored.
            psycopg.OperationalError: the database is away; whether the last transaction counts is
            for it to say.
        """
        try:
            return await self._transact(pieces, owned, await (prepared or prepare(pieces)))
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            if len(pieces) == 1:
                log.warning("record rejected", extra={"fields": {"class": error.sqlstate}})
                rejected = [self._refuse(pieces[0], error)]
                return await self._transact(rejected, owned, await prepare(rejected))
        half = len(pieces) // 2
        stored = await self.store(pieces[:half], owned)
        stored.add(await self.store(pieces[half:], owned))
        return stored

    async def _transact(
        self,
        pieces: Sequence[Piece],
        owned: Mapping[Partition, Owned],
        prepared: samples.Prepared,
    ) -> Stored:
        started = time.perf_counter()
        moved = _last_of_each(pieces)
        async with self._conn.transaction():
            stored, ledger = await self._write_samples(prepared)
            refusals = await records.insert_refusals(self._conn, pieces, self._log_id)
            _count_refusals(ledger, refusals)
            await samples.count_in_ledger(self._conn, ledger)
            changes = [piece.asset for piece in pieces if piece.asset is not None]
            await upsert_assets(self._conn, changes)
            stored.assets_changed = bool(changes)
            await records.apply_events(self._conn, [p.event for p in pieces if p.event is not None])
            stored.lanes = await records.save_lanes(self._conn, pieces)
            for partition, piece in moved.items():
                mine = owned[partition]
                await offsets.advance(
                    self._conn,
                    SERVICE,
                    SERVICE,
                    self._log_id,
                    partition,
                    mine.committed,
                    piece.record.offset + 1,
                    mine.epoch,
                    fingerprint(piece.record),
                )
        for partition, piece in moved.items():
            owned[partition].committed = piece.record.offset + 1
        _measure(stored, refusals, time.perf_counter() - started)
        return stored

    async def _write_samples(self, prepared: samples.Prepared) -> tuple[Stored, samples.Ledger]:
        rows = prepared.rows
        new = await samples.insert_numbers(self._conn, prepared, expect_known=self._expect_known)
        # Where keys are known already more will be: a replay goes the longer way at once.
        self._expect_known = new is not None and not new.all()
        if new is None or new.all():
            minutes, hours = prepared.minutes, prepared.hours
        else:
            minutes = by_minute(rows.numbers.pick(new))
            hours = by_hour(minutes)
        await samples.merge_rollups(self._conn, minutes, hours)
        new_texts = await samples.insert_objects(self._conn, "sample_text", rows.texts)
        new_others = await samples.insert_objects(self._conn, "sample_other", rows.others)
        await self._merge_integers(rows.others, new_others)
        ledger: samples.Ledger = {}
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
            await samples.merge_rollups(self._conn, minutes, by_hour(minutes))

    def _count(
        self, ledger: samples.Ledger, counts: Mapping[tuple[int, int], int], column: int
    ) -> None:
        for (source, hour), count in counts.items():
            key = (*self._catalog.sources[source], hour)
            ledger.setdefault(key, [0, 0, 0])[column] += count

    def _refuse(self, piece: Piece, error: psycopg.Error) -> Piece:
        """The piece with nothing to store but its bytes and the database's reason."""
        reason = f"{error.sqlstate}: {error.diag.message_primary or error}"
        if piece.batch is not None:
            refusal = refuse_samples(piece.record, self._log_id, piece.batch, "database", reason)
        else:
            refusal = refuse_record(
                piece.record, self._log_id, "database", reason, owner=piece.owner
            )
        piece.clear()
        piece.refusals = [refusal]
        return piece


async def prepare(pieces: Sequence[Piece]) -> samples.Prepared:
    """Make the rows and rollups of pieces, in a thread: the transaction before them may be on its
    way meanwhile."""
    batches = [(p.batch, p.plan) for p in pieces if p.batch is not None and p.plan is not None]
    return await asyncio.to_thread(lambda: samples.prepare(make_rows(batches, now_us())))


def _last_of_each(pieces: Sequence[Piece]) -> dict[Partition, Piece]:
    last = {(p.record.topic, p.record.partition): p for p in pieces}
    return {Partition(*key): last[key] for key in sorted(last)}


def _count_refusals(ledger: samples.Ledger, refusals: Sequence[Refusal]) -> None:
    for refusal in refusals:
        counts = refusal.counts
        if counts is None:
            hour = refusal.received_at - refusal.received_at % HOUR_US
            counts = {(refusal.source, hour): refusal.samples}
        for (source, hour), count in counts.items():
            if count:
                shown = min(max(hour, 0), LAST_US - LAST_US % HOUR_US)
                ledger.setdefault((source, refusal.owner, shown), [0, 0, 0])[2] += count


def _measure(stored: Stored, refusals: Sequence[Refusal], seconds: float) -> None:
    metrics.STORED.inc(stored.rows)
    metrics.DUPLICATES.inc(stored.duplicates)
    for refusal in refusals:
        metrics.REJECTED.labels(refusal.error_class).inc(max(refusal.samples, 1))
    metrics.COMMIT_SECONDS.observe(seconds)
    metrics.COMMIT_SAMPLES.observe(stored.rows + stored.duplicates)
