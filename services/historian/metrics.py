"""Metrics of the historian; counted per transaction."""

from __future__ import annotations

import time

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
SET_ASIDE = Counter(
    "historian_records_set_aside_total",
    "Whole records that failed again and again and were kept as bytes in historian.rejected. Not "
    "0: a bug, here or in the database.",
)
STOPPED = Gauge(
    "historian_partitions_stopped",
    "Partitions that wait for a person: a right or a table is missing. /readyz says which; they go "
    "on by themselves once it is there.",
)
UNKNOWN_EVENTS = Counter(
    "historian_unknown_events_total",
    "Source events of a kind that this version does not know. Update the historian; what matters "
    "of them is in historian.rejected.",
)
FOREIGN_ASSETS = Counter(
    "historian_foreign_assets_total",
    "Asset records that name another owner than the asset has, ignored. Two plant models use one "
    "id, or somebody tries.",
)
HOLES = Gauge(
    "historian_delivery_holes",
    "Batches missing although later ones of the same stream are stored. Above 0 for a minute: a "
    "gateway lost data; "
    "see historian.gap.",
)
ALARMS = Counter(
    "historian_machine_alarms_total",
    "Events and alarms of machines, stored, or duplicate: there already. Many stored in a short "
    "time are a flood: raise `min_severity` of the source, or mend the machine.",
    ["result"],
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
COMMIT_LIMIT = Gauge(
    "historian_commit_limit_samples",
    "Samples that a transaction may have now. Below AURELIAN_COMMIT_SAMPLES: the database took too "
    "long for more, or had no memory; it rises again by itself.",
)
BREAKERS = Gauge(
    "historian_breakers_open",
    "Signals and sources whose samples the database refuses again and again: they go through the "
    "late inbox, the others are not held up. Look into historian.rejected.",
)
LATE_SAMPLES = Gauge(
    "historian_late_samples",
    "Samples that came too late to be stored beside live ones, in historian.late_inbox. They are "
    "stored by themselves; staying: see the log for `late samples wait`.",
)
LATE_SECONDS = Gauge("historian_late_seconds", "Age of what waits longest in the late inbox.")
LAG_SECONDS = Gauge(
    "historian_lag_seconds",
    "Age of what waits longest in Kafka to be stored, 0 while nothing waits. Rising for minutes: "
    "add a historian or look at the database.",
)
LAG_RECORDS = Gauge(
    "historian_lag_records", "Records in Kafka that are not stored yet, in own partitions."
)
FRESHNESS_SECONDS = Gauge(
    "historian_freshness_seconds",
    "Present minus the newest receipt at a gateway that is stored, growing until newer is stored. "
    "High with no lag: the gateways are silent.",
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


MOST_LABELS = 40
_labels: set[str] = set()


def bounded(label: str) -> str:
    """The label itself, or `other` once there are many: what writers make up must not grow the
    metrics."""
    if label not in _labels and len(_labels) >= MOST_LABELS:
        return "other"
    _labels.add(label)
    return label


class Ages:
    """What the ages in the metrics count from. They are computed when they are read, so they grow
    while nothing is stored, whatever it is that fails.

    Attributes:
        newest_receipt_s: seconds since 1970 of the newest receipt stored; 0: none yet.
        waiting_since_s: nothing that waits is older than this; 0: nothing waits.
    """

    def __init__(self) -> None:
        self.newest_receipt_s = 0.0
        self.waiting_since_s = 0.0
        FRESHNESS_SECONDS.set_function(lambda: _age(self.newest_receipt_s))
        LAG_SECONDS.set_function(lambda: _age(self.waiting_since_s))

    def stored(self, newest_receipt_us: int) -> None:
        """A sample received at this time is stored."""
        self.newest_receipt_s = max(self.newest_receipt_s, newest_receipt_us / 1e6)

    def interrupted(self) -> None:
        """We cannot see any more what waits: from now on something may."""
        self.waiting_since_s = self.waiting_since_s or time.time()


def _age(since_s: float) -> float:
    return max(time.time() - since_s, 0.0) if since_s else 0.0


AGES = Ages()

PARTITION_CARE_FAILURES = Counter(
    "historian_partition_care_failures_total",
    "Times that weeks of samples could not be made or dropped. Grows: a long transaction holds "
    "locks; see pg_stat_activity.",
)
PARTITION_CARE_DONE = Gauge(
    "historian_partition_care_timestamp_seconds",
    "When the weeks of samples were last in order. Older than a day: see the log.",
)
