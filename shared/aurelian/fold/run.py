"""The stateful consumer (D7): offset, state, rows and outgoing events of the records taken commit
in one transaction.

Used by line_health, maintenance, capacity and partner_events. A service brings a `Fold`, which is
pure, and a function that writes its rows; `run_fold` does everything else: partitions, restart,
fencing, log changes, the event relay.

    async def main(settings: MaintenanceSettings, health: Health) -> None:
        await run_fold(settings, health, service="maintenance", fold=Machines(), write=insert_rows,
                       owned=[SAMPLES], shared=[ASSETS])

Two kinds of topics:

- `owned`: each record is folded once, effectively, by the one instance that owns its partition;
  what it changes is committed with its offset. Instances share the partitions as a Kafka consumer
  group, which allows one owned topic only, whose record key is the key of the state. With
  `exclusive=True` one instance owns all partitions of all owned topics, any state may follow from
  any of them, and further instances stand by.
- `shared`: each instance learns all of it, from the start where the topic is compacted, else from
  where the memory (`Fold.memory`) was last saved. It is read to its end before the first owned
  record is folded. Learning has no effects.

What happens when: the process dies -> the next one begins at the committed offset with the
committed state. Partitions move -> the state is loaded anew, and what the old owner still commits
is refused (`Fenced`). Kafka or the database is away -> retried with backoff from the committed
state. A new log that the administrator declared (`platform.kafka_log`) -> read from its start, with
the state as it is: records may come again, so a fold must know them (`sequences.py`, newest times,
the inbox). Retention deleted records before they were folded -> counted, logged, and the rest is
folded. A log that changed undeclared -> its partitions halt and the process is not ready
(backbone/position.py has the rule).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import psycopg
from prometheus_client import Counter

from aurelian.backbone.cancellation import raise_if_cancelled
from aurelian.backbone.client import Unavailable
from aurelian.backbone.topics import Topic
from aurelian.db.errors import Failure, classify, is_away
from aurelian.db.offsets import Fenced
from aurelian.events.outbox import relay
from aurelian.fold.contract import Clock, Fold, FoldSettings, RowT, Write
from aurelian.fold.session import LogChanged, Session
from aurelian.fold.suspects import Suspects
from aurelian.fold.task import FoldTask
from aurelian.model.time import now_us
from aurelian.runtime.health import Health
from aurelian.runtime.retry import Backoff

log = logging.getLogger(__name__)


async def run_fold(
    settings: FoldSettings,
    health: Health,
    *,
    service: str,
    fold: Fold[RowT],
    write: Write[RowT],
    owned: Sequence[Topic],
    shared: Sequence[Topic] = (),
    exclusive: bool = False,
    consumer: str = "fold",
    clock: Clock = now_us,
) -> None:
    """Fold until cancelled: take, fold, write, commit, tick; and relay the service's events to
    Kafka beside it.

    Args:
        settings: of the service.
        health: `ready` is set when the folding goes on, and says what is waited for when not.
        service: its schema, one of `services.FOLD_SERVICES`.
        fold: the pure state.
        write: writes its rows.
        owned: topics folded once.
        shared: topics that every instance learns in full.
        exclusive: one instance at a time owns everything; as the setting `fold_exclusive`.
        consumer: name under which offsets and snapshots are kept; a service with two folds gives
            each its own.
        clock: for tests.

    Raises:
        ValueError: several owned topics without `exclusive`.
    """
    if len(owned) != 1 and not exclusive:
        raise ValueError(f"{service}: {len(owned)} owned topics need exclusive=True")
    url = settings.database_url.get_secret_value()
    alone = exclusive or settings.fold_exclusive
    task = FoldTask(
        settings,
        url,
        health,
        service,
        consumer,
        fold,
        write,
        tuple(owned),
        tuple(shared),
        alone,
        clock,
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(relay(settings, url, service), name=f"{service} relay")
        group.create_task(_fold_forever(task), name=f"{service} fold")


async def _fold_forever(task: FoldTask[RowT]) -> None:
    """Session after session: each ends when Kafka or the database goes away, the log changes, or we
    are fenced."""
    backoff, away = Backoff(AGAIN_AFTER_S), False
    suspects = Suspects()
    while True:
        raise_if_cancelled()
        session = Session(task, suspects)
        try:
            await session.run()
        except (LogChanged, Fenced) as error:
            log.info("folding begins anew", extra={"fields": {"because": str(error)}})
            backoff.reset()
        except Exception as error:  # noqa: BLE001  any cause: three times, then it is passed over
            if not isinstance(error, Unavailable) and not is_away(error):
                # Not a bug of the loop itself as long as a record is to blame; else it is raised.
                _blame(task, suspects, error)
                continue
            if session.caught_up:
                backoff.reset()
                away = False
            if not away:
                log.warning("folding waits", extra={"fields": {"because": str(error)}})
            away = True
        task.health.ready = "waiting for Kafka, the database or a declared log"
        await backoff.wait()


def _blame(task: FoldTask[RowT], suspects: Suspects, error: Exception) -> None:
    if isinstance(error, psycopg.Error) and classify(error) is not Failure.DATA:
        raise error  # rights, schema: no record is to blame for that
    try:
        refused = suspects.blame()
    except LookupError:
        raise error from None
    if refused is None:
        log.warning("a record fails, looking for it", extra={"fields": {"because": str(error)}})
        return
    REFUSED.labels(task.service).inc()
    partition, offset = refused
    log.error(
        "a record that fails is passed over",
        extra={
            "fields": {
                "topic": partition.topic,
                "partition": partition.number,
                "offset": offset,
                "because": str(error),
            }
        },
    )


REFUSED = Counter(
    "fold_refused_records_total",
    "Records that failed three times and were passed over. Over 0: see the log for topic, "
    "partition and offset; the historian has the bytes among the rejected.",
    ["service"],
)

AGAIN_AFTER_S = 0.5
"""The first pause between two sessions; doubled while Kafka or the database stays away."""
