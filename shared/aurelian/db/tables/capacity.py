"""Schema `capacity`: estimates and commitments."""

from __future__ import annotations

from sqlalchemy import Column, Date, Double, Index, Integer, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB, UUID

from aurelian.db.tables.columns import metadata, time_column

estimate = Table(
    "estimate",
    metadata,
    Column("line", Text, primary_key=True),
    Column("week", Date, primary_key=True),  # its Monday, in the site's zone
    Column("revision", Integer, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("total", Double, nullable=False),  # = available + committed + unattainable
    Column("available", Double, nullable=False),  # p50
    Column("committed", Double, nullable=False),
    Column("unattainable", Double, nullable=False),
    Column("available_p10", Double),
    Column("available_p90", Double),
    Column("unit", Text, nullable=False),
    Column("reasons", JSONB, nullable=False),  # [{"reason", "quantity"}] of unattainable
    Column("method", Text, nullable=False),
    Column("inputs", JSONB, nullable=False),
    time_column("data_time", nullable=True),  # newest measurement used
    time_column("computed_at"),
    schema="capacity",
)

commitment = Table(
    "commitment",
    metadata,
    Column("id", UUID(as_uuid=False), primary_key=True),
    Column("line", Text, nullable=False),
    Column("week", Date, nullable=False),
    Column("owner", Text, nullable=False),
    Column("quantity", Double, nullable=False),
    Column("reference", Text, nullable=False),
    time_column("recorded_at"),
    time_column("changed_at", nullable=True),
    time_column("withdrawn_at", nullable=True),
    Index(
        "commitment_reference",
        "owner",
        "reference",
        unique=True,
        postgresql_where=text("withdrawn_at IS NULL"),
    ),
    schema="capacity",
)

commitment_request = Table(
    "commitment_request",
    metadata,
    Column("owner", Text, primary_key=True),  # of the key that asked
    Column("key", Text, primary_key=True),  # its Idempotency-Key
    Column("request", Text, nullable=False),  # SHA-256 of what was asked
    Column("commitment", UUID(as_uuid=False), nullable=False),
    time_column("recorded_at"),
    schema="capacity",
)
