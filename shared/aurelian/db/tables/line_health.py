"""Schema `line_health`: states, stops, alarms, figures of shifts."""

from __future__ import annotations

from sqlalchemy import Column, Double, Index, Integer, Table, Text
from sqlalchemy.dialects.postgresql import UUID

from aurelian.db.tables.columns import metadata, time_column

line_state = Table(
    "line_state",
    metadata,
    Column("line", Text, primary_key=True),  # asset id
    time_column("started_at", primary_key=True),
    time_column("ended_at", nullable=True),
    Column("owner", Text, nullable=False),
    Column("state", Text, nullable=False),  # see aurelian.model.plant.LineState
    Column("unit", Text),  # asset id of the unit that caused it
    Column("reason", Text, nullable=False),
    schema="line_health",
)

stop = Table(
    "stop",
    metadata,
    Column("id", UUID(as_uuid=False), primary_key=True),
    Column("line", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("unit", Text),
    time_column("started_at"),
    time_column("ended_at", nullable=True),
    Column("state", Text, nullable=False),
    Column("reason_code", Integer),
    Column("reason", Text, nullable=False),
    Index("stop_line_started", "line", "started_at"),
    schema="line_health",
)

alarm = Table(
    "alarm",
    metadata,
    Column("id", UUID(as_uuid=False), primary_key=True),
    Column("owner", Text, nullable=False),
    Column("line", Text, nullable=False),
    Column("asset", Text, nullable=False),
    Column("signal", Text, nullable=False),
    Column("priority", Text, nullable=False),  # high medium low
    Column("message", Text, nullable=False),
    Column("action", Text, nullable=False),  # what the operator shall do
    Column("value", Double),
    Column("limit", Double),
    time_column("raised_at"),
    time_column("cleared_at", nullable=True),
    schema="line_health",
)

kpi = Table(
    "kpi",
    metadata,
    Column("line", Text, primary_key=True),
    time_column("shift_start", primary_key=True),
    time_column("shift_end"),
    Column("owner", Text, nullable=False),
    Column("shift", Text, nullable=False),
    Column("planned_busy_s", Double, nullable=False),  # PBT so far
    Column("production_s", Double, nullable=False),  # APT
    Column("no_data_s", Double, nullable=False),
    Column("good", Double, nullable=False),
    Column("scrap", Double, nullable=False),
    Column("target", Double, nullable=False),  # good pieces that the shift so far should have given
    Column("availability", Double),  # null: the denominator is zero
    Column("effectiveness", Double),
    Column("quality", Double),
    Column("oee", Double),
    time_column("computed_at"),
    time_column("counts_from", nullable=True),  # since when the figures count; null: not known
    Column("bridged", Double, nullable=False, server_default="0"),
    Column("note", Text, nullable=False, server_default=""),
    schema="line_health",
)
