"""Stores decoded records, whatever is wrong with them: finds what cannot be stored by halving and
rejects it. Called by processor.py, one call at a time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Mapping, Sequence
from math import inf

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg.rows import TupleRow

from aurelian.db.errors import Failure, classify
from aurelian.db.offsets import Fenced
from aurelian.model.record import Partition
from aurelian.model.sample import SampleBatch
from aurelian.model.time import HOUR_US
from historian import metrics
from historian.batch_limit import BatchLimit
from historian.breakers import Breakers
from historian.catalog import Catalog
from historian.columns import SignalKeys
from historian.decoding import DecodedRecord, Rejection, reject_record, reject_samples
from historian.late_sql import MergedMeanwhile
from historian.prepared import Prepared, prepare, prepare_batches
from historian.transaction import Owned, Stored, Transactions, partition_of

log = logging.getLogger(__name__)

_LATE_US = 24 * HOUR_US
"""What is younger lies in no chunk that is compressed."""

_TRIED_LATER = (Failure.AWAY, Failure.TOO_MUCH, Failure.LATE)
"""Nothing is wrong with the rows."""


class Writer:
    """Owns the connection that writes.

    Attributes:
        breakers: of signals and sources whose samples the database refuses.
    """

    def __init__(
        self,
        conn: psycopg.AsyncConnection[TupleRow],
        catalog: Catalog,
        log_id: str,
        limit: BatchLimit,
        transaction_limit_s: float = inf,
        *,
        takes_late: bool = True,
    ) -> None:
        """`limit`: of a transaction in samples, `transaction_limit_s` in seconds; `takes_late`:
        what the database cannot take beside live samples goes into the late inbox."""
        self._conn, self._log_id, self._takes_late = conn, log_id, takes_late
        self._limit, self._transaction_limit_s = limit, transaction_limit_s
        self._transactions = Transactions(conn, catalog, log_id)
        self.breakers = Breakers()

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
            records = [d for d in pending.pop() if partition_of(d) not in stored.stopped]
            samples, began = _count_samples(records), time.monotonic()
            if len(records) > 1 and self._limit.is_exceeded(samples):
                if prepared is not None:
                    with contextlib.suppress(Exception):  # each part finds its own fault
                        await prepared  # of all: it is of no use now
                    prepared = None
                half = len(records) // 2
                pending += [records[half:], records[:half]]
                continue
            try:
                made = await (prepared or prepare(records))
                stored.add(await self._transactions.run(records, owned, made))
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
                if failure is Failure.LATE and self._takes_late:
                    return await self._store_late(decoded, owned, error)
                return await attempt(decoded, owned, error)
            except Exception as another:
                is_late = _failure(another) is Failure.LATE and self._takes_late
                if _failure(another) in _TRIED_LATER and not is_late:
                    raise
                error = another
        reason = _sentence(error)
        log.error(
            "partition stopped",
            extra={"fields": {"partition": str(partition_of(decoded)), "reason": reason}},
        )
        return Stored(stopped={partition_of(decoded): reason})

    async def _store_late(
        self, decoded: DecodedRecord, owned: Mapping[Partition, Owned], error: Exception
    ) -> Stored:
        """Store what is of the last day, and leave the rest to the late inbox; all of it where that
        is refused too."""
        batch, before = decoded.batch, decoded.late
        if batch is None:
            raise error
        is_late = batch.source_time < batch.gateway_time.max(initial=0) - _LATE_US
        for late in (is_late, np.ones(len(batch), np.bool_)):
            if not late.any():
                continue
            decoded.batch = batch.take(~late)
            decoded.late = [*before, (batch.take(late), _sentence(error))]
            try:
                return await self._store_alone(decoded, owned, error)
            except Exception as another:
                decoded.batch, decoded.late = batch, before
                if _failure(another) in (Failure.AWAY, Failure.TOO_MUCH, Failure.SETUP):
                    raise
        raise error

    async def _store_alone(
        self, decoded: DecodedRecord, owned: Mapping[Partition, Owned], error: Exception
    ) -> Stored:
        return await self._transactions.run([decoded], owned, await prepare([decoded]))

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
        signals = batch.signal[bad]
        self.breakers.failed(
            decoded.signal_keys.keys[signals].tolist(),
            decoded.signal_keys.sources[signals].tolist(),
            time.monotonic(),
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
                        await self._transactions.write_samples(made)
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


def _failure(error: Exception) -> Failure:
    """What a failed transaction means; a lost partition ends the round like a lost database."""
    return Failure.AWAY if isinstance(error, Fenced | MergedMeanwhile) else classify(error)


def _sentence(error: Exception) -> str:
    if isinstance(error, psycopg.Error):
        return f"{error.sqlstate}: {error.diag.message_primary or error}"
    return repr(error)


def _count_samples(decoded_records: Sequence[DecodedRecord]) -> int:
    return sum(len(each.batch) for each in decoded_records if each.batch is not None)
