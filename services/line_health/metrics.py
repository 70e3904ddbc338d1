"""What line_health counts. Labels have bounded values: no line or asset ids."""

from prometheus_client import Counter

BATCHES = Counter(
    "line_health_batches_total",
    "Batches by what became of them. unknown_line rising: is the line's plant model published? "
    "seen: sent again.",
    ["outcome"],
)
STATES = Counter(
    "line_health_state_changes_total",
    "State changes by the state entered. Much no_data: look at gateways and networks.",
    ["state"],
)
ALARMS = Counter(
    "line_health_alarms_total",
    "Alarms raised, by priority. Over ten in ten minutes is a flood: revise the limits.",
    ["priority"],
)
LATE = Counter(
    "line_health_late_values_total",
    "Values with limits that came after a newer one and changed nothing. Rising: which source "
    "sends out of order?",
)
