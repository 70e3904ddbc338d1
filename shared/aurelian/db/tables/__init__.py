"""Every table as SQLAlchemy describes it: the read contract between services. Migrations make them;
queries use them.

A schema belongs to one service, and only that service's database role writes it; every role may
read all. Times are `timestamptz`; durations are seconds; `owner` is a company's id.
"""

from aurelian.db.tables.capacity import commitment, commitment_request, estimate
from aurelian.db.tables.columns import metadata
from aurelian.db.tables.consumers import event_outbox, fold_part, fold_state, inbox, kafka_offset
from aurelian.db.tables.historian import (
    asset,
    asset_path,
    delivery,
    gap,
    late_inbox,
    ledger_received,
    ledger_stored,
    rejected,
    rollup_hour,
    rollup_minute,
    sample_number,
    sample_other,
    sample_text,
    signal,
    source,
)
from aurelian.db.tables.line_health import alarm, kpi, line_state, stop
from aurelian.db.tables.machine_alarms import machine_alarm, machine_alarm_event
from aurelian.db.tables.maintenance import case, health
from aurelian.db.tables.partner_events import attempt, endpoint, event_log, pending
from aurelian.db.tables.platform import api_key, company, grant, kafka_log

__all__ = [
    "alarm",
    "api_key",
    "asset",
    "asset_path",
    "attempt",
    "case",
    "commitment",
    "commitment_request",
    "company",
    "delivery",
    "endpoint",
    "estimate",
    "event_log",
    "event_outbox",
    "fold_part",
    "fold_state",
    "gap",
    "grant",
    "health",
    "inbox",
    "kafka_log",
    "kafka_offset",
    "kpi",
    "late_inbox",
    "ledger_received",
    "ledger_stored",
    "line_state",
    "machine_alarm",
    "machine_alarm_event",
    "metadata",
    "pending",
    "rejected",
    "rollup_hour",
    "rollup_minute",
    "sample_number",
    "sample_other",
    "sample_text",
    "signal",
    "source",
    "stop",
]
