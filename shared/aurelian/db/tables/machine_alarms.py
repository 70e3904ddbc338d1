"""Events and alarms that machines tell, of the schema `historian`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, Table, Text, text
from sqlalchemy.dialects.postgresql import UUID

from aurelian.db.tables.columns import metadata, time_column


def _columns() -> list[Column[Any]]:
    """What an event and the state of a condition both have; names are those of OPC UA part 9."""
    texts = (
        "gateway",
        "asset",  # empty: no unit of the plant is known for it
        "line",
        "code",
        "message",
        "comment",
        "event_type",
        "source_node",
        "source_name",
        "fields",  # a JSON object as it came; empty: none
        "reason",  # why it is so, where the source did not say it itself
    )
    flags = ("enabled", "acked", "confirmed", "suppressed", "out_of_service", "shelved")
    return [
        *(Column(name, Text, nullable=False) for name in texts),
        *(Column(name, Boolean) for name in flags),  # null: the condition does not have it
        Column("event_id", LargeBinary, nullable=False),
        Column("severity", Integer, nullable=False),
        Column("active", Boolean, nullable=False),
        Column("retain", Boolean, nullable=False),  # of interest: active or not acknowledged
        Column("quality", BigInteger),
        time_column("time"),  # as the source says, else of receipt
        time_column("received_at"),
    ]


machine_alarm_event = Table(
    "machine_alarm_event",
    metadata,
    Column("id", UUID(as_uuid=False), primary_key=True),  # made of source, EventId and time
    Column("owner", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("condition", Text, nullable=False),
    Column("branch", Text, nullable=False),
    *_columns(),
    schema="historian",
)
Index(
    "machine_alarm_event_owner_time",
    machine_alarm_event.c.owner,
    machine_alarm_event.c.received_at,
    machine_alarm_event.c.id,
)
Index(
    "machine_alarm_event_asset_time",
    machine_alarm_event.c.asset,
    machine_alarm_event.c.received_at,
)

machine_alarm = Table(
    "machine_alarm",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("condition", Text, primary_key=True),
    Column("branch", Text, primary_key=True),
    *_columns(),
    time_column("active_since", nullable=True),
    schema="historian",
)
Index(
    "machine_alarm_standing",
    machine_alarm.c.owner,
    machine_alarm.c.line,
    postgresql_where=text("retain"),
)
