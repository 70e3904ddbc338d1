"""Every table as SQLAlchemy describes it: the read contract between services. Migrations make them; queries use them.

A schema belongs to one service, and only that service's database role writes it; every role may read all.
Times are `timestamptz`; durations are seconds; `owner` is a company's id.
"""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID

from aurelian.db.rooms import FOLDERS, WRITERS

metadata = MetaData()


def _time(name: str, *, nullable: bool = False, primary_key: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable, primary_key=primary_key)


# --- platform: written by the administrator's commands and the launcher -------------------------------------------

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
    _time("declared_at"),
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
    _time("created_at"),
    _time("expires_at", nullable=True),
    _time("revoked_at", nullable=True),
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
    _time("expires_at", nullable=True),
    _time("revoked_at", nullable=True),
    _time("created_at"),
    schema="platform",
)

# --- historian ----------------------------------------------------------------------------------------------------

asset = Table(
    "asset",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("parent", Text),
    Column("level", Text, nullable=False),  # enterprise site area line unit
    Column("name", Text, nullable=False),
    Column("path", Text, nullable=False, index=True),
    Column("meaning", JSONB, nullable=False),  # the asset's part of the plant model, see assets.py
    _time("changed_at"),
    schema="historian",
)

asset_path = Table(
    "asset_path",
    metadata,
    Column("asset", Text, primary_key=True),
    _time("valid_from", primary_key=True),
    _time("valid_to", nullable=True),
    Column("path", Text, nullable=False),
    schema="historian",
)

source = Table(
    "source",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("gateway", Text, nullable=False),
    Column("state", Text, nullable=False),  # born dead
    _time("heard_at", nullable=True),
    _time("changed_at"),
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
    _time("changed_at"),
    schema="historian",
)


def _sample_columns() -> list[Column[object]]:
    """What all sample tables share. Key: (signal, time, sub)."""
    return [
        Column("signal", Integer, primary_key=True, autoincrement=False),
        _time("time", primary_key=True),
        Column("sub", Integer, primary_key=True, autoincrement=False),
        _time("source_time", nullable=True),  # only where it differs from time: the original, unusable one
        _time("server_time", nullable=True),
        _time("gateway_time"),
        Column("stored_time", DateTime(timezone=True), nullable=False, server_default=text("now()")),
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

sample_text = Table("sample_text", metadata, *_sample_columns(), Column("value", Text), schema="historian")

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
        _time("bucket", primary_key=True),
        Column("count", BigInteger, nullable=False),  # samples with a value and a status that is not Bad
        Column("bad", BigInteger, nullable=False),  # the others
        Column("sum", Double, nullable=False),
        Column("min", Double),
        Column("max", Double),
        Column("first", Double),
        _time("first_time", nullable=True),
        Column("first_sub", Integer),  # of the samples at one time the lowest `sub` is the first
        Column("last", Double),
        _time("last_time", nullable=True),
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
    _time("received_at"),
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
    Column("fingerprint", Text, nullable=False, unique=True),  # what makes a redelivered one the same
    _time("replayed_at", nullable=True),
    schema="historian",
)

gap = Table(
    "gap",
    metadata,
    Column("id", UUID(as_uuid=False), primary_key=True),
    Column("owner", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("line", Text, nullable=False),
    _time("from_time"),
    _time("to_time"),
    Column("count", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("recovered", Boolean, nullable=False),
    _time("recorded_at"),
    schema="historian",
)

ledger_received = Table(
    "ledger_received",
    metadata,
    Column("gateway", Text, primary_key=True),
    Column("boot", BigInteger, primary_key=True),
    Column("source", Text, primary_key=True),
    _time("hour", primary_key=True),
    Column("owner", Text, nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("dropped", BigInteger, nullable=False),
    Column("skipped", BigInteger, nullable=False),
    Column("rejected", BigInteger, nullable=False),
    schema="historian",
)

ledger_stored = Table(
    "ledger_stored",
    metadata,
    Column("source", Text, primary_key=True),
    _time("hour", primary_key=True),
    Column("owner", Text, nullable=False),
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
    _time("changed_at"),
    _time("hole_since", nullable=True),
    schema="historian",
)

rollup_work = Table(
    "rollup_work",
    metadata,
    Column("signal", Integer, primary_key=True, autoincrement=False),
    _time("bucket", primary_key=True),  # minute to be recomputed; nothing writes it yet, rollups are merged
    schema="historian",
)

# --- line_health --------------------------------------------------------------------------------------------------

line_state = Table(
    "line_state",
    metadata,
    Column("line", Text, primary_key=True),  # asset id
    _time("started_at", primary_key=True),
    _time("ended_at", nullable=True),
    Column("owner", Text, nullable=False),
    Column("state", Text, nullable=False),  # see aurelian.assets.LineState
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
    _time("started_at"),
    _time("ended_at", nullable=True),
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
    _time("raised_at"),
    _time("cleared_at", nullable=True),
    schema="line_health",
)

kpi = Table(
    "kpi",
    metadata,
    Column("line", Text, primary_key=True),
    _time("shift_start", primary_key=True),
    _time("shift_end"),
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
    _time("computed_at"),
    schema="line_health",
)

# --- maintenance --------------------------------------------------------------------------------------------------

health = Table(
    "health",
    metadata,
    Column("asset", Text, primary_key=True),
    _time("time", primary_key=True),  # one row a minute
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
    _time("opened_at"),
    _time("closed_at", nullable=True),
    Column("severity", Text, nullable=False),  # medium high
    Column("score", Double, nullable=False),
    Column("index", Double, nullable=False),
    Column("drivers", JSONB, nullable=False),
    Column("expected_down_s", Double, nullable=False),
    schema="maintenance",
)

# --- capacity -----------------------------------------------------------------------------------------------------

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
    _time("data_time", nullable=True),  # newest measurement used
    _time("computed_at"),
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
    _time("recorded_at"),
    schema="capacity",
)

# --- partner_events -----------------------------------------------------------------------------------------------

event_log = Table(
    "event_log",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),  # single writer, no holes
    Column("id", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("owner", Text, nullable=False),
    _time("time"),
    _time("recorded_at"),
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
    _time("failing_since", nullable=True),
    Column("next_number", BigInteger, nullable=False),  # first event of the log not yet queued
    _time("created_at"),
    schema="partner_events",
)

pending = Table(
    "pending",
    metadata,
    Column("endpoint", UUID(as_uuid=False), ForeignKey("partner_events.endpoint.id"), primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("attempt", Integer, nullable=False),  # made so far
    _time("due_at"),
    schema="partner_events",
)

attempt = Table(
    "attempt",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("endpoint", UUID(as_uuid=False), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    _time("sent_at"),
    Column("duration_ms", Double, nullable=False),
    Column("status", Integer),  # HTTP; null: no answer
    Column("outcome", Text, nullable=False),  # delivered failed, or why no answer came, in words
    Column("response", Text, nullable=False),  # its first 4 kB
    _time("next_at", nullable=True),
    Column("replay", Boolean, nullable=False),
    Index("attempt_endpoint_number", "endpoint", "number"),
    schema="partner_events",
)

# --- the same in every schema that consumes Kafka --------------------------------------------------------------------

kafka_offset: dict[str, Table] = {}
fold_state: dict[str, Table] = {}
event_outbox: dict[str, Table] = {}
inbox: dict[str, Table] = {}

for _service in WRITERS:
    kafka_offset[_service] = Table(
        "kafka_offset",
        metadata,
        Column("consumer", Text, primary_key=True),
        Column("log_id", Text, primary_key=True),
        Column("topic", Text, primary_key=True),
        Column("partition", Integer, primary_key=True),
        Column("next_offset", BigInteger, nullable=False),
        Column("owner_epoch", BigInteger, nullable=False),
        Column(
            "last_timestamp_ms", BigInteger
        ),  # with last_hash: fingerprint of the record before next_offset
        Column("last_hash", BigInteger),
        Column("halted", Text),  # why this partition may not go on; null: it may
        _time("changed_at"),
        schema=_service,
    )

for _service in FOLDERS:
    fold_state[_service] = Table(
        "fold_state",
        metadata,
        Column("consumer", Text, primary_key=True),
        Column("key", Text, primary_key=True),
        Column("state", JSONB, nullable=False),
        _time("changed_at"),
        schema=_service,
    )
    event_outbox[_service] = Table(
        "event_outbox",
        metadata,
        Column("number", BigInteger, Identity(), primary_key=True),
        Column("id", Text, nullable=False, unique=True),
        Column("topic", Text, nullable=False),
        Column("key", Text, nullable=False),
        Column("body", Text, nullable=False),
        _time("recorded_at"),
        Column("published_log", Text),  # log_id under which Kafka has it
        schema=_service,
    )
    inbox[_service] = Table(
        "inbox",
        metadata,
        Column("source", Text, primary_key=True),
        Column("id", Text, primary_key=True),
        _time("recorded_at"),
        schema=_service,
    )
