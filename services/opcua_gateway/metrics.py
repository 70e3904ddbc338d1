"""What the OPC UA gateway counts beside what every gateway counts."""

from prometheus_client import Counter, Gauge

CONNECTED = Gauge(
    "opcua_gateway_connected",
    "1 while a session is up; at 0 see the log line 'no session'.",
    ["source"],
)
OPENED = Counter(
    "opcua_gateway_sessions_total",
    "Sessions opened; many with resumed=no mean that values are missed: see the gaps.",
    ["source", "resumed"],
)
LOST = Counter(
    "opcua_gateway_sessions_lost_total",
    "Sessions lost; rising: the network or the server is unsteady.",
    ["source"],
)
NOTIFICATIONS = Counter(
    "opcua_gateway_notifications_total",
    "Values received; standing still: is the machine off?",
    ["source"],
)
LOST_MESSAGES = Counter(
    "opcua_gateway_messages_lost_total",
    "Messages that the server could not send again; rising: its retransmission queue is too small.",
    ["source"],
)
OVERFLOWS = Counter(
    "opcua_gateway_queue_overflows_total",
    "Values before which the server's queue overflowed; rising: raise AURELIAN_OPCUA_QUEUE_S or "
    "the interval.",
    ["source"],
)
REVISED_LIMITS = Gauge(
    "opcua_gateway_revised_limit",
    "What the server allows or made of what was asked for, at the last session; a slower interval "
    "than the plant file's, or many calls for a few nodes: look at the server's limits.",
    ["source", "limit"],
)
UNREADABLE = Counter(
    "opcua_gateway_messages_undecoded_total",
    "Messages of which something could not be decoded; each is a gap, its bytes are in the "
    "rejected table.",
    ["source"],
)
REFUSED = Counter(
    "opcua_gateway_nodes_refused_total",
    "Nodes that a server refused to watch; not 0: an address in the plant model is wrong, or the "
    "server changed.",
    ["source"],
)
REVISED = Gauge(
    "opcua_gateway_revised",
    "Nodes (of the publishing interval: subscriptions) for which the server gives another value "
    "than was asked; see the log line 'the server revised what was asked'.",
    ["source", "what"],
)
SHORT_QUEUES = Gauge(
    "opcua_gateway_short_queues",
    "Nodes whose queue at the server cannot bridge AURELIAN_OPCUA_QUEUE_S; not 0: a break of that "
    "length loses values: a longer sampling interval, or a server with longer queues.",
    ["source"],
)
UNFILTERED = Gauge(
    "opcua_gateway_nodes_unfiltered",
    "Nodes that come without the deadband or trigger of the plant file; not 0: the server does not "
    "have it for them, see the log line 'nodes come without their filter'.",
    ["source"],
)
SEMANTICS_CHANGED = Counter(
    "opcua_gateway_semantics_changed_total",
    "Nodes whose range or unit the server changed; rising: compare the plant file's, see the log "
    "line 'a node means something else'.",
    ["source"],
)
REPEATED = Counter(
    "opcua_gateway_heartbeats_total",
    "Values repeated because nothing new came; standing still with `heartbeat_s`: the server is "
    "gone, or says so of itself.",
    ["source"],
)
UNDECODED = Counter(
    "opcua_gateway_structures_undecoded_total",
    "Structures kept as their bytes; rising: the log line 'a structure stays bytes' says which and "
    "why.",
    ["source"],
)
CLOCK_OFFSET = Gauge(
    "opcua_server_clock_offset_seconds",
    "How far a server's clock is ahead of ours, asked every minute; over 1 s: set it (NTP), or "
    "values and shifts do not meet; over 300 s sessions and certificates fail.",
    ["source"],
)
SERVICE_LEVEL = Gauge(
    "opcua_gateway_service_level",
    "What a server says that it is worth: 0 maintenance, 1 no data, 2 to 199 degraded, from 200 "
    "healthy; NaN: not connected to it now (of cold ones the rule; of warm and hot ones it cannot "
    "take over).",
    ["source", "server"],
)
ACTIVE = Gauge(
    "opcua_gateway_active_endpoint",
    "1: the server that values are taken from, 0: another one of the same source, or there is no "
    "session.",
    ["source", "server"],
)
GAPS = Counter(
    "opcua_gateway_gaps_total",
    "Gaps told to the historian; each is an interval without data.",
    ["source"],
)
READ_BACK = Counter(
    "opcua_gateway_values_read_back_total",
    "Values of gaps that came out of the server's history.",
    ["source"],
)
UNFILLED = Counter(
    "opcua_gateway_gaps_unfilled_total",
    "Gaps that history could not make whole: nodes without history, or a server that refuses it or "
    "does not have it any more; see the log lines with 'read back'.",
    ["source"],
)
CERTIFICATE_ENDS = Gauge(
    "opcua_own_certificate_ends_timestamp_seconds",
    "When our certificate ends; one that we made is made anew 30 days before, another is yours to "
    "replace.",
)
EVENTS_WATCHED = Gauge(
    "opcua_gateway_events_watched",
    "1 while a server with `alarms` in the plant file gives its events; at 0 see the log line "
    "'events are refused'.",
    ["source"],
)
EVENTS_FILTERED = Gauge(
    "opcua_gateway_events_filtered",
    "1 while the server leaves out events that are no conditions, 0 while it sends all of them and "
    "they are left out here: it takes no where clause, or does not judge it right.",
    ["source"],
)
EVENTS = Counter(
    "opcua_gateway_events_total",
    "Events and alarms received, by what became of them: sent, repeated (the same again, as in a "
    "refresh), left_out (below min_severity, or no condition), cleared (a condition that went "
    "while no session saw it), unusable (rejected, see there).",
    ["source", "became"],
)
EVENT_OVERFLOWS = Counter(
    "opcua_gateway_event_overflows_total",
    "Times that a server's queue of events was too small; rising: raise "
    "AURELIAN_OPCUA_EVENT_QUEUE, or min_severity at the server. Conditions are listed again.",
    ["source"],
)
REFRESHES = Counter(
    "opcua_gateway_condition_refreshes_total",
    "Lists of conditions asked for (ConditionRefresh): done, later (asked again), refused (the "
    "server has none, so after a new session no condition counts as known).",
    ["source", "result"],
)
