"""SQL of the events and alarms of machines: each event once, the newest state of each condition.
Called by source_sql.py, inside the writer's transaction."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import psycopg
from psycopg.rows import TupleRow

from aurelian.model.codec import SourceEvent
from aurelian.model.plant_parts import NAMESPACE
from aurelian.model.time import to_nearest_datetime
from historian import metrics

Connection = psycopg.AsyncConnection[TupleRow]

_KEY = ("owner", "source", "condition", "branch")
_TEXTS = ("code", "message", "comment", "event_type", "source_node", "source_name", "fields")
_FLAGS = ("enabled", "acked", "confirmed", "suppressed", "out_of_service", "shelved")
_COMMON = (
    *_KEY,
    "gateway",
    "asset",
    "line",
    *_TEXTS,
    "reason",
    *_FLAGS,
    "event_id",
    "severity",
    "active",
    "retain",
    "quality",
    "time",
    "received_at",
)


def _values(names: Sequence[str]) -> str:
    return ", ".join(f"%({name})s" for name in names)


_INSERT_EVENT = (
    f"INSERT INTO historian.machine_alarm_event (id, {', '.join(_COMMON)}) "
    f"VALUES (%(id)s, {_values(_COMMON)}) ON CONFLICT (id) DO NOTHING"
)

# By receipt, not by the machine's clock: what is sent again comes in its order, so that the state
# ends as it was.
_SET_STATE = (
    f"INSERT INTO historian.machine_alarm AS a ({', '.join(_COMMON)}, active_since) "
    f"VALUES ({_values(_COMMON)}, CASE WHEN %(active)s THEN %(time)s END) "
    f"ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _COMMON if name not in _KEY)
    + ", active_since = CASE WHEN NOT excluded.active THEN NULL "
    "WHEN a.active THEN least(a.active_since, excluded.time) ELSE excluded.time END "
    "WHERE a.received_at <= excluded.received_at"
)


async def store_alarms(conn: Connection, events: Sequence[SourceEvent]) -> None:
    """Store events of machines, in order; one that is there already changes nothing but the state,
    which follows the order of receipt."""
    rows = [_row(event) for event in events]
    if not rows:
        return
    async with conn.cursor() as cursor:
        await cursor.executemany(_INSERT_EVENT, rows)
        new = max(cursor.rowcount, 0)
        await cursor.executemany(_SET_STATE, [row for row in rows if row["condition"]])
    metrics.ALARMS.labels("stored").inc(new)
    metrics.ALARMS.labels("duplicate").inc(len(rows) - new)


async def forget_alarms(conn: Connection, keep_days: int) -> None:
    """Delete events, and conditions that are of no interest any more, older than `keep_days`."""
    for table, which in (("machine_alarm_event", "true"), ("machine_alarm", "NOT retain")):
        await conn.execute(
            f"DELETE FROM historian.{table} WHERE {which} "
            "AND received_at < now() - make_interval(days => %s)",
            (keep_days,),
        )


def _row(event: SourceEvent) -> dict[str, object]:
    alarm = event.alarm
    at = alarm.source_time or event.time
    key = {
        "owner": event.owner,
        "source": event.source,
        "condition": _text(alarm.condition),
        "branch": _text(alarm.branch),
    }
    name = "|".join(("alarm", *key.values(), str(at), alarm.event_id.hex()))
    return {
        "id": str(uuid.uuid5(NAMESPACE, name)),
        **key,
        "gateway": event.gateway,
        "asset": _text(alarm.asset),
        "line": event.line,
        **{each: _text(getattr(alarm, each)) for each in (*_TEXTS, "reason")},
        **{each: getattr(alarm, each) if alarm.HasField(each) else None for each in _FLAGS},
        "event_id": alarm.event_id,
        "severity": min(alarm.severity, 1000),
        "active": alarm.active,
        "retain": alarm.retain,
        "quality": alarm.quality if alarm.HasField("quality") else None,
        "time": to_nearest_datetime(at),
        "received_at": to_nearest_datetime(event.time),
    }


def _text(text: str) -> str:
    return text.replace("\0", "")
