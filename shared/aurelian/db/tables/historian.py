"""Schema `historian`: assets, signals, samples, rollups, rejected records, the ledger."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    Identity,
    Integer,
    LargeBinary,
    Numeric,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID

from aurelian.db.tables.columns import metadata, time_column

asset = Table(
    "asset",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("parent", Text),
    Column("level", Text, nullable=False),  # enterprise site area line unit
    Column("name", Text, nullable=False),
    Column("path", Text, nullable=False, index=True),
    Column(
        "meaning", JSONB, nullable=False
    ),  # the asset's part of the plant model, see model/asset.py
    time_column("changed_at"),
    schema="historian",
)

asset_path = Table(
    "asset_path",
    metadata,
    Column("asset", Text, primary_key=True),
    time_column("valid_from", primary_key=True),
    time_column("valid_to", nullable=True),
    Column("path", Text, nullable=False),
    schema="historian",
)

source = Table(
    "source",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("gateway", Text, nullable=False),
    Column("state", Text, nullable=False),  # born dead
    time_column("heard_at", nullable=True),
    time_column("changed_at"),
    Column("detail", Text, nullable=False),
    schema="historian",
)

signal = Table(
    "signal",
    metadata,
    Column("key", Integer, Identity(), primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("owner", Text, nullable=False),
    Column("asset", Text, nullable=False, index=True),
    Column("path", Text, nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("type", SmallInteger, nullable=False),
    Column("unit", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("discovered", Boolean, nullable=False),
    Column("limits", JSONB, nullable=False),
    time_column("changed_at"),
    schema="historian",
)


def _sample_columns() -> list[Column[object]]:
    """What all sample tables share. Key: (signal, time, sub)."""
    return [
        Column("signal", Integer, primary_key=True, autoincrement=False),
        time_column("time", primary_key=True),
        Column("sub", Integer, primary_key=True, autoincrement=False),
        time_column(
            "source_time", nullable=True
        ),  # only where it differs from time: the original, unusable one
        time_column("server_time", nullable=True),
        time_column("gateway_time"),
        Column(
            "stored_time", DateTime(timezone=True), nullable=False, server_default=text("now()")
        ),
        Column("status", BigInteger, nullable=False),
        Column("flags", Integer, nullable=False),
        Column("type", SmallInteger, nullable=False),
    ]


sample_number = Table(
    "sample_number",
    metadata,
    *_sample_columns(),
    Column("value", Double),  # double, bool as 0/1, integers up to 2^53; null: no value
    schema="historian",
)

sample_text = Table(
    "sample_text", metadata, *_sample_columns(), Column("value", Text), schema="historian"
)

sample_other = Table(
    "sample_other",
    metadata,
    *_sample_columns(),
    Column("integer", Numeric(20, 0)),  # INT64 and UINT64 beyond 2^53
    Column("bytes", LargeBinary),
    Column("json", Text),  # as it came: jsonb would reorder and round
    schema="historian",
)


def _rollup_columns() -> list[Column[object]]:
    return [
        Column("signal", Integer, primary_key=True, autoincrement=False),
        time_column("bucket", primary_key=True),
        Column(
            "count", BigInteger, nullable=False
        ),  # samples with a value and a status that is not Bad
        Column("bad", BigInteger, nullable=False),  # the others
        Column("sum", Double, nullable=False),
        Column("min", Double),
        Column("max", Double),
        Column("first", Double),
        time_column("first_time", nullable=True),
        Column("first_sub", Integer),  # of the samples at one time the lowest `sub` is the first
        Column("last", Double),
        time_column("last_time", nullable=True),
        Column("last_sub", Integer),  # and the highest the last
    ]


rollup_minute = Table("rollup_minute", metadata, *_rollup_columns(), schema="historian")
rollup_hour = Table("rollup_hour", metadata, *_rollup_columns(), schema="historian")

rejected = Table(
    "rejected",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("owner", Text, nullable=False),
    Column("gateway", Text, nullable=False),
    Column("source", Text, nullable=False),
    time_column("received_at"),
    Column("error_class", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("payload_size", BigInteger, nullable=False),
    Column("payload_sha256", Text, nullable=False),
    Column("samples", Integer, nullable=False),
    Column("log_id", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column(
        "fingerprint", Text, nullable=False, unique=True
    ),  # what makes a redelivered one the same
    time_column("replayed_at", nullable=True),
    Column("replayed_by", Text),
    schema="historian",
)

late_inbox = Table(
    "late_inbox",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("owner", Text, nullable=False),
    Column("samples", Integer, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("reason", Text, nullable=False),
    Column("log_id", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("kafka_time", BigInteger, nullable=False),  # milliseconds since 1970
    time_column("recorded_at"),
    schema="historian",
)

gap = Table(
    "gap",
    metadata,
    Column("id", UUID(as_uuid=False), primary_key=True),
    Column("owner", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("line", Text, nullable=False),
    time_column("from_time"),
    time_column("to_time"),
    Column("count", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("recovered", Boolean, nullable=False),
    time_column("recorded_at"),
    schema="historian",
)

ledger_received = Table(
    "ledger_received",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("gateway", Text, primary_key=True),
    Column("boot", BigInteger, primary_key=True),
    Column("source", Text, primary_key=True),
    time_column("hour", primary_key=True),
    # The gateway's count runs seconds behind its samples, and a power cut may lose it. So this is
    # the larger of `reported` and `arrived` + `dropped` + `skipped`: never less than is accounted.
    Column("received", BigInteger, nullable=False),
    Column("dropped", BigInteger, nullable=False),
    Column("skipped", BigInteger, nullable=False),
    Column("rejected", BigInteger, nullable=False),
    Column("reported", BigInteger, nullable=False, server_default="0"),  # as the gateway said
    Column("arrived", BigInteger, nullable=False, server_default="0"),  # in `ledger_stored`
    schema="historian",
)

ledger_stored = Table(
    "ledger_stored",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    time_column("hour", primary_key=True),
    Column("stored", BigInteger, nullable=False),
    Column("duplicate", BigInteger, nullable=False),
    Column("rejected", BigInteger, nullable=False),
    schema="historian",
)

delivery = Table(
    "delivery",
    metadata,
    Column("gateway", Text, primary_key=True),
    Column("boot", BigInteger, primary_key=True),
    Column("line", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("stored_to", BigInteger, nullable=False),  # every sequence up to here is stored
    Column(
        "beyond", ARRAY(BigInteger), nullable=False
    ),  # stored ranges above a hole: first, last, first, last …
    time_column("changed_at"),
    time_column("hole_since", nullable=True),
    # Ranges that count as settled though they never came: first, last, ...
    Column("given_up", ARRAY(BigInteger), nullable=False, server_default="{}"),
    Column("gap_after", BigInteger),  # the `stored_to` whose hole has its gap record
    time_column("ended_at", nullable=True),  # its tombstone is on `aurelian.stored.v1`
    schema="historian",
)
