"""Claims partitions in the database (`aurelian.db.offsets`), and writes down there which of them
halt and what was lost. Called by source.py, given to it by processor.py."""

from __future__ import annotations

import asyncio
import logging

import psycopg
from psycopg.rows import TupleRow

from aurelian.backbone.position import Decision
from aurelian.db import offsets
from aurelian.db.engine import connect
from aurelian.db.errors import is_away
from aurelian.db.offsets import Claim
from aurelian.model.record import Partition
from historian import delivery_sql
from historian.settings import HistorianSettings
from historian.transaction import SERVICE

log = logging.getLogger(__name__)


class Ownership:
    """Our part in one log."""

    def __init__(
        self,
        settings: HistorianSettings,
        conn: psycopg.AsyncConnection[TupleRow],
        log_id: str,
    ) -> None:
        self._url = settings.database_url.get_secret_value()
        self._conn, self._log_id = conn, log_id

    async def claim(
        self, partitions: list[Partition], topic_ids: dict[str, str]
    ) -> dict[Partition, Claim]:
        """Claim in a session of its own, again and again: a paused zombie may hold the rows for
        some seconds."""
        while True:
            try:
                async with await connect(
                    self._url, autocommit=True, name="historian claim"
                ) as conn:
                    return await offsets.claim(
                        conn, SERVICE, SERVICE, self._log_id, partitions, topic_ids
                    )
            except psycopg.Error as error:
                if not is_away(error):
                    raise
                log.warning("claim failed", extra={"fields": {"reason": str(error).strip()}})
                await asyncio.sleep(0.5)

    async def halt(self, partition: Partition, epoch: int, reason: str) -> None:
        """Write down that a partition goes on no more in this log, and the gap."""
        async with self._conn.transaction():
            await offsets.halt(self._conn, SERVICE, SERVICE, self._log_id, partition, epoch, reason)
            await delivery_sql.insert_log_gap(self._conn, self._log_id, partition, "halt", reason)

    async def record_loss(self, partition: Partition, position: int, decision: Decision) -> None:
        """Write down that records were deleted before they were stored."""
        await delivery_sql.insert_log_gap(
            self._conn,
            self._log_id,
            partition,
            f"trimmed from {position}",
            decision.reason,
            decision.lost,
        )
