"""Makes weeks of samples ahead and drops old ones: a task with a connection of its own, beside the
main loop. Called by rounds.py.

A week's partition needs locks that a long read transaction (a backup) can hold off. Failing is
counted and tried again; weeks are made four ahead, and rows of a week that is missing go to the
default partition, so storing never waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import time

import psycopg

from aurelian.backbone.cancellation import raise_if_cancelled
from aurelian.db.engine import connect
from historian import metrics
from historian.alarm_sql import forget_alarms

log = logging.getLogger(__name__)

EVERY_S = 3600.0
AGAIN_S = 60.0
LOCK_TIMEOUT = "500ms"
"""While a lock is waited for, readers and writers queue behind it: so not long."""


async def care_for_partitions(
    url: str, retention_days: int, *, every_s: float = EVERY_S, again_s: float = AGAIN_S
) -> None:
    """Keep the partitions in order until cancelled; whatever fails is counted, logged once and
    tried again after `again_s`."""
    failing = False
    while True:
        raise_if_cancelled()
        try:
            await _care(url, retention_days)
        except (psycopg.Error, OSError) as error:
            metrics.PARTITION_CARE_FAILURES.inc()
            if not failing:
                log.warning(
                    "partitions wait", extra={"fields": {"because": str(error).strip()[:500]}}
                )
            failing = True
        else:
            if failing:
                log.info("partitions are in order again")
            failing = False
            metrics.PARTITION_CARE_DONE.set(time.time())
        await asyncio.sleep(again_s if failing else every_s)


async def _care(url: str, retention_days: int) -> None:
    async with await connect(url, autocommit=True, name="historian partitions") as conn:
        await conn.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        await conn.execute("SELECT historian.maintain_samples(%s)", (retention_days,))
        await forget_alarms(conn, retention_days)
