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
UNKNOWN_STATES = Counter(
    "line_health_unknown_states_total",
    "State values that the unit's vocabulary lacks; the line shows the value. Rising: correct "
    "`states` of the unit in the plant model.",
)
HELD_TOTALS = Counter(
    "line_health_held_totals_total",
    "Counter values that the time since the last one does not make possible, or that begin anew: "
    "held until the next value. Rising: which counter jumps, and is its ideal cycle right?",
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
