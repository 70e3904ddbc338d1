"""Stores what lies in the late inbox: a task with connections of its own, beside the main loop.
Called by rounds.py.

A batch whose time lies in compressed chunks may need more of them decompressed than the server lets
one statement have (TimescaleDB, SQLSTATE 53400). Live values do not wait for that: such a batch
goes into `historian.late_inbox` in the transaction that moves its offset, and from there, alone and
without that limit, to its own time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace

import psycopg
from psycopg.rows import TupleRow

from aurelian.db.engine import connect
from aurelian.model import codec
from historian import sample_sql
from historian.batch_limit import BatchLimit
from historian.catalog import Catalog
from historian.decoding import DecodedRecord
from historian.late_sql import Late, MergedMeanwhile, measure_late, oldest_late
from historian.settings import HistorianSettings
from historian.writer import Writer

log = logging.getLogger(__name__)

EVERY_S = 5.0
AT_A_TIME = 20
_NO_LIMIT = "SET timescaledb.max_tuples_decompressed_per_dml_transaction = 0"


async def merge_late(settings: HistorianSettings) -> None:
    """Empty the inbox again and again until cancelled; whatever fails is logged and tried again."""
    while True:
        try:
            await _merge_all(settings)
        except Exception as error:  # noqa: BLE001 - the live samples go on beside it
            because = str(error).strip() or repr(error)
            log.warning("late samples wait", extra={"fields": {"because": because}})
        await asyncio.sleep(EVERY_S)


async def _merge_all(settings: HistorianSettings) -> None:
    """Store what lies there now."""
    url = settings.database_url.get_secret_value()
    async with await connect(url, autocommit=True, name="historian late look") as side:
        await measure_late(side)
        found = await oldest_late(side, 0, AT_A_TIME)
        if not found:
            return
        async with await connect(url, autocommit=True, name="historian late") as conn:
            # As long as it takes: nobody waits for it, and it holds no offset.
            await sample_sql.open_session(conn, transaction_limit_s=0)
            with contextlib.suppress(psycopg.Error):  # a version that has no such limit
                await conn.execute(_NO_LIMIT)
            catalog = Catalog()
            while found:
                for late in found:
                    try:
                        await _merge(side, conn, catalog, late)
                    except Exception as error:
                        if conn.closed or side.closed:
                            raise
                        # One that cannot be stored, or read, holds up no other.
                        fields = {"id": late.id, "because": str(error).strip() or repr(error)}
                        log.warning("a late batch waits", extra={"fields": fields})
                found = await oldest_late(side, found[-1].id, AT_A_TIME)
        await measure_late(side)


async def _merge(
    side: psycopg.AsyncConnection[TupleRow],
    conn: psycopg.AsyncConnection[TupleRow],
    catalog: Catalog,
    late: Late,
) -> None:
    """Store one batch; what cannot be stored of it is rejected."""
    # Its number was settled when it came.
    batch = replace(codec.decode(late.record.value or b""), sequence=0)
    (keys,) = await catalog.signal_keys(side, [batch])
    decoded = DecodedRecord(late.record, batch=batch, signal_keys=keys, owner=batch.owner)
    decoded.late_id = late.id
    writer = Writer(conn, catalog, late.log_id, BatchLimit(len(batch)), takes_late=False)
    try:
        stored = await writer.store([decoded], {})
    except MergedMeanwhile:
        return
    if stored.stopped:
        return  # the writer has said why
    fields = {"rows": stored.rows, "duplicates": stored.duplicates}
    log.info("late samples stored", extra={"fields": fields})
