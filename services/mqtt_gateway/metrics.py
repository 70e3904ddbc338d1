"""What the MQTT gateway counts beside what every gateway counts."""

from prometheus_client import Counter, Gauge

CONNECTED = Gauge(
    "mqtt_gateway_connected",
    "1 while the broker is connected; at 0 see the log line 'no broker'.",
    ["source"],
)
LOST = Counter(
    "mqtt_gateway_connections_lost_total",
    "Connections lost; rising: broker or network is unsteady.",
    ["source"],
)
MESSAGES = Counter(
    "mqtt_gateway_messages_total",
    "Messages received; standing still: do the machines send?",
    ["source"],
)
QOS0 = Counter(
    "mqtt_gateway_qos0_messages_total",
    "Of the messages, those of QoS 0, which brokers and networks may lose without a word; let what "
    "counts be published with QoS 1.",
    ["source"],
)
UNREAD = Counter(
    "mqtt_gateway_unread_total",
    "Times that nothing was read for a second and more, since the outbox took nothing, and QoS 0 "
    "may be lost; not 0: look at the outbox's disk, split the source, or send with QoS 1.",
    ["source"],
)
GIVEN_UP = Counter(
    "mqtt_gateway_broker_gave_up_total",
    "Messages, ours or another client's, that the broker gave up while we were away or it waited "
    "for us; not 0: give it a longer queue (Mosquitto: max_queued_messages).",
    ["source"],
)
REBIRTHS = Counter(
    "mqtt_gateway_rebirths_total",
    "Rebirths asked of Sparkplug edge nodes; rising all the time: a node skips numbers or sends "
    "unborn metrics.",
    ["source"],
)
MISSING = Counter(
    "mqtt_gateway_sequence_gaps_total",
    "Sequence numbers of edge nodes that did not come; each is a gap.",
    ["source"],
)
IRREGULAR = Counter(
    "mqtt_gateway_sparkplug_irregular_total",
    "Messages of edge nodes that break a rule and are understood all the same, by rule; the log "
    "says of each node which, and SPARKPLUG.md what is made of it.",
    ["source", "rule"],
)
HOST_ID_TAKEN = Counter(
    "mqtt_gateway_sparkplug_host_id_taken_total",
    "Births of another host application with our id; not 0: give each its own `host_id`.",
    ["source"],
)
HOST_ONLINE = Gauge(
    "mqtt_gateway_sparkplug_host_online",
    "1 while edge nodes are told that the host is online; at 0 the outbox takes nothing or the "
    "broker is away.",
    ["source"],
)
