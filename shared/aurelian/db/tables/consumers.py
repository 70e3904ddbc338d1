"""The tables that every schema has whose service consumes Kafka: offsets, and for folds snapshots,
inbox, outbox."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Identity, Integer, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from aurelian.db.services import FOLD_SERVICES, SCHEMA_OWNERS
from aurelian.db.tables.columns import metadata, time_column

kafka_offset: dict[str, Table] = {}
fold_state: dict[str, Table] = {}
fold_part: dict[str, Table] = {}
event_outbox: dict[str, Table] = {}
inbox: dict[str, Table] = {}

for _service in SCHEMA_OWNERS:
    kafka_offset[_service] = Table(
        "kafka_offset",
        metadata,
        Column("consumer", Text, primary_key=True),
        Column("log_id", Text, primary_key=True),
        Column("topic", Text, primary_key=True),
        Column("partition", Integer, primary_key=True),
        Column("topic_id", Text),  # Kafka's own; null: not known yet
        Column("next_offset", BigInteger, nullable=False),
        Column("owner_epoch", BigInteger, nullable=False),
        Column(
            "last_timestamp_ms", BigInteger
        ),  # with last_hash: fingerprint of the record before next_offset
        Column("last_hash", BigInteger),
        Column("halted", Text),  # why this partition may not go on; null: it may
        time_column("changed_at"),
        schema=_service,
    )

for _service in FOLD_SERVICES:
    fold_state[_service] = Table(
        "fold_state",
        metadata,
        Column("consumer", Text, primary_key=True),
        Column("key", Text, primary_key=True),
        Column("state", JSONB, nullable=False),
        time_column("changed_at"),
        schema=_service,
    )  # of the version before fold_part, which takes its rows over; to be dropped
    fold_part[_service] = Table(
        "fold_part",
        metadata,
        Column("consumer", Text, primary_key=True),
        Column("key", Text, primary_key=True),
        Column("part", Text, primary_key=True),
        Column("partition", Integer),  # that the key's records come from; null: from several
        Column("content", Text, nullable=False),  # JSON, compact
        time_column("changed_at"),
        schema=_service,
        postgresql_with={"fillfactor": "60"},
    )
    event_outbox[_service] = Table(
        "event_outbox",
        metadata,
        Column("number", BigInteger, Identity(), primary_key=True),
        Column("id", Text, nullable=False, unique=True),
        Column("topic", Text, nullable=False),
        Column("key", Text, nullable=False),
        Column("body", Text, nullable=False),
        time_column("recorded_at"),
        Column("published_log", Text),  # log_id under which Kafka has it
        schema=_service,
    )
    inbox[_service] = Table(
        "inbox",
        metadata,
        Column("source", Text, primary_key=True),
        Column("id", Text, primary_key=True),
        time_column("recorded_at"),
        schema=_service,
    )
