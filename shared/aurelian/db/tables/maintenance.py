"""Schema `maintenance`: health and cases."""

from __future__ import annotations

from sqlalchemy import Column, Double, Table, Text
from sqlalchemy.dialects.postgresql import JSONB, UUID

from aurelian.db.tables.columns import metadata, time_column

health = Table(
    "health",
    metadata,
    Column("asset", Text, primary_key=True),
    time_column("time", primary_key=True),  # one row a minute
    Column("owner", Text, nullable=False),
    Column("index", Double, nullable=False),  # 1 as new, 0 failed
    Column("score", Double, nullable=False),  # anomaly score, 1 is the alarm threshold
    Column("drivers", JSONB, nullable=False),  # [{"signal", "share", "value", "baseline"}]
    schema="maintenance",
)

case = Table(
    "case",
    metadata,
    Column("id", UUID(as_uuid=False), primary_key=True),
    Column("asset", Text, nullable=False),
    Column("owner", Text, nullable=False),
    time_column("opened_at"),
    time_column("closed_at", nullable=True),
    Column("severity", Text, nullable=False),  # medium high
    Column("score", Double, nullable=False),
    Column("index", Double, nullable=False),
    Column("drivers", JSONB, nullable=False),
    Column("expected_down_s", Double, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    schema="maintenance",
)
