"""Schema `platform`: written by the administrator's commands and the launcher."""

from __future__ import annotations

from sqlalchemy import ARRAY, Boolean, Column, Index, Integer, LargeBinary, Table, Text, text
from sqlalchemy.dialects.postgresql import UUID

from aurelian.db.tables.columns import metadata, time_column

company = Table(
    "company",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    schema="platform",
)

kafka_log = Table(
    "kafka_log",
    metadata,
    Column("log_id", Text, primary_key=True),
    time_column("declared_at"),
    Column("current", Boolean, nullable=False),
    Index("one_current_log", "current", unique=True, postgresql_where=text("current")),
    schema="platform",
)

api_key = Table(
    "api_key",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),  # "*" for the platform's own services
    Column("name", Text, nullable=False),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    time_column("created_at"),
    time_column("expires_at", nullable=True),
    time_column("revoked_at", nullable=True),
    schema="platform",
)

grant = Table(
    "grant",
    metadata,
    Column("id", UUID(as_uuid=False), primary_key=True),
    Column("owner", Text, nullable=False),
    Column("grantee", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("event_types", ARRAY(Text), nullable=False),
    Column("fields", ARRAY(Text)),  # null: all
    Column("resolution", Text),  # null: as it is
    Column("horizon_weeks", Integer),  # null: all
    time_column("expires_at", nullable=True),
    time_column("revoked_at", nullable=True),
    time_column("created_at"),
    schema="platform",
)
