"""Metrics of the pilot plant."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

SENT = Counter(
    "pilot_values_sent_total",
    "Values handed to the protocol. Stands still: the part's server or broker is away; see the "
    "log.",
    ["kind"],
)
DROPPED = Counter(
    "pilot_values_dropped_total",
    "Values that a machine gave up because its broker was away for too long. Moves: bring the "
    "broker back.",
    ["kind"],
)
FAULTS = Gauge(
    "pilot_faults", "Scripted faults that are on now. Not 0 and unexpected: DELETE /faults."
)
