"""Runs the main loop again and again, with the care for partitions and the late inbox beside it.
Called by `__main__.py`.

Whatever goes wrong with Kafka, the database or the ownership ends the round; the next one begins at
what the database says is stored.
"""

from __future__ import annotations

import asyncio
import logging
import time

from aurelian.backbone.cancellation import in_own_task
from aurelian.backbone.client import Unavailable
from aurelian.db.errors import is_away
from aurelian.db.offsets import Fenced
from aurelian.runtime.health import Health
from aurelian.runtime.retry import Backoff
from historian import metrics
from historian.batch_limit import BatchLimit
from historian.late_merge import merge_late
from historian.metrics import AGES
from historian.partition_care import care_for_partitions
from historian.processor import LogChanged, TryAgain, run_log
from historian.settings import HistorianSettings

log = logging.getLogger(__name__)


async def main(settings: HistorianSettings, health: Health) -> None:
    """Store what Kafka has until cancelled, caring for partitions beside it; outages are waited
    out."""
    url = settings.database_url.get_secret_value()
    async with asyncio.TaskGroup() as group:
        care = care_for_partitions(url, settings.retention_days)
        group.create_task(care, name="partitions")
        group.create_task(merge_late(settings), name="late")
        group.create_task(_store_forever(settings, health), name="store")


async def _store_forever(settings: HistorianSettings, health: Health) -> None:
    backoff, limit = Backoff(), BatchLimit(settings.commit_samples, metrics.COMMIT_LIMIT.set)
    while True:
        began = time.monotonic()
        try:
            await in_own_task(run_log(settings, health, limit))
        except* LogChanged:
            log.info("another log was declared")
            backoff.reset()
        except* TryAgain:
            backoff.reset()
        except* Fenced as group:
            metrics.FENCED.inc()
            log.warning("fenced", extra={"fields": {"reason": str(group.exceptions[0])}})
            backoff.reset()
        except* Exception as group:
            error = _first(group)
            away = isinstance(error, Unavailable) or is_away(error)
            if not away or health.ready is None or time.monotonic() - began > 10:
                log.log(
                    logging.WARNING if away else logging.ERROR,
                    "interrupted",
                    extra={"fields": {"reason": str(error).strip() or repr(error)}},
                    exc_info=None if away else error,
                )
            if time.monotonic() - began > 10:
                backoff.reset()
            health.ready = (
                "Kafka and the database" if away else f"what failed to be mended: {error!r}"
            )
        AGES.interrupted()
        await backoff.wait()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
