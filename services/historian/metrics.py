"""Metrics of the historian; counted per transaction."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

STORED = Counter(
    "historian_rows_inserted_total",
    "Samples written. Standing still while gateways send: see the lag.",
)
DUPLICATES = Counter(
    "historian_rows_duplicate_total",
    "Samples that were there already. Grows after a restart or a replay; steadily: two gateways "
    "read one source.",
)
REJECTED = Counter(
    "historian_rejected_total",
    "Samples or records that could not be stored, kept in historian.rejected. Look there for "
    "bytes and reason.",
    ["reason"],
)
REDELIVERED = Counter(
    "historian_batches_redelivered_total",
    "Whole batches that came again and were skipped. Harmless.",
)
HOLES = Gauge(
    "historian_delivery_holes",
    "Batches missing although later ones of the same stream are stored. Above 0 for a minute: a "
    "gateway lost data; "
    "see historian.gap.",
)
GAPS = Counter(
    "historian_gaps_total", "Gap records written. Each is data that is missing.", ["origin"]
)
LOST_RECORDS = Counter(
    "historian_lost_records_total",
    "Records that Kafka deleted before they were stored. Lengthen the topic's retention; see "
    "historian.gap.",
)
HALTED = Gauge(
    "historian_partitions_halted",
    "Partitions whose log is not the one that was read before. Declare the new log, or restore "
    "the old.",
)
FENCED = Counter(
    "historian_zombie_writes_rejected_total",
    "Transactions refused because another historian owns the partition now. Grows when processes "
    "are paused.",
)
COMMIT_SECONDS = Histogram(
    "historian_commit_seconds",
    "Time of one transaction. Rising: the database or its disk is too slow.",
)
COMMIT_SAMPLES = Histogram(
    "historian_commit_samples",
    "Samples in one transaction. At the limit all the time: the historian does not keep up.",
    buckets=(1, 10, 100, 1_000, 10_000, 100_000, 1_000_000),
)
LAG_SECONDS = Gauge(
    "historian_lag_seconds",
    "Age of the newest record stored while more wait. Rising for minutes: add a historian or "
    "look at the database.",
)
LAG_RECORDS = Gauge(
    "historian_lag_records", "Records in Kafka that are not stored yet, in own partitions."
)
FRESHNESS_SECONDS = Gauge(
    "historian_freshness_seconds",
    "Present minus the newest receipt at a gateway that is stored. High with no lag: the "
    "gateways are silent.",
)
UNBALANCED = Gauge(
    "historian_ledger_surplus",
    "Samples of closed hours stored, duplicate, rejected, dropped or skipped beyond those "
    "received. Not 0: a bug.",
)
IN_FLIGHT = Gauge(
    "historian_ledger_in_flight",
    "Samples of closed hours that gateways received and nobody accounted for yet. Not 0 an hour "
    "later: a loss.",
)
REBALANCES = Counter(
    "historian_assignments_total",
    "Times that partitions were assigned. Over 5 in 10 minutes: processes die.",
)
ANNOUNCE_FAILURES = Counter(
    "historian_announce_failures_total",
    "Times that Kafka did not take what is stored; gateways keep more meanwhile.",
)
