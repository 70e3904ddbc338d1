"""Schema `partner_events`: the event log, endpoints, deliveries."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import UUID

from aurelian.db.tables.columns import metadata, time_column

event_log = Table(
    "event_log",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),  # single writer, no holes
    Column("id", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("owner", Text, nullable=False),
    time_column("time"),
    time_column("recorded_at"),
    Column("body", Text, nullable=False),  # the CloudEvent as JSON, byte for byte
    UniqueConstraint("source", "id"),
    schema="partner_events",
)

endpoint = Table(
    "endpoint",
    metadata,
    Column("id", UUID(as_uuid=False), primary_key=True),
    Column("subscriber", Text, nullable=False),  # company
    Column("url", Text, nullable=False),
    Column("secret", Text, nullable=False),
    Column("event_types", ARRAY(Text), nullable=False),  # empty: all
    Column("state", Text, nullable=False),  # active disabled
    Column("disabled_reason", Text, nullable=False),
    time_column("failing_since", nullable=True),
    Column("next_number", BigInteger, nullable=False),  # first event of the log not yet queued
    time_column("created_at"),
    schema="partner_events",
)

pending = Table(
    "pending",
    metadata,
    Column(
        "endpoint", UUID(as_uuid=False), ForeignKey("partner_events.endpoint.id"), primary_key=True
    ),
    Column("number", BigInteger, primary_key=True),
    Column("attempt", Integer, nullable=False),  # made so far
    time_column("due_at"),
    schema="partner_events",
)

attempt = Table(
    "attempt",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("endpoint", UUID(as_uuid=False), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    time_column("sent_at"),
    Column("duration_ms", Double, nullable=False),
    Column("status", Integer),  # HTTP; null: no answer
    Column("outcome", Text, nullable=False),  # delivered failed, or why no answer came, in words
    Column("response", Text, nullable=False),  # its first 4 kB
    time_column("next_at", nullable=True),
    Column("replay", Boolean, nullable=False),
    Index("attempt_endpoint_number", "endpoint", "number"),
    schema="partner_events",
)
