"""Metrics of partner_events; each help text says what to do when it moves."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

logged = Counter(
    "partner_events_logged_total",
    "Events that got a number. Stands still while lines run: look at the topics.",
)
repeated = Counter(
    "partner_events_repeated_total",
    "Events that came again and got no second number. Jumps after a new Kafka log; steady "
    "growth: a relay repeats.",
)
unreadable = Counter(
    "partner_events_unreadable_total",
    "Records that are no CloudEvent. Not 0: the log names topic, partition and offset; the "
    "record stays in Kafka.",
)
attempts = Counter(
    "partner_events_webhook_attempts_total",
    "Webhook attempts by result. Many `failed`: GET /events/v1/endpoints/{id}/attempts says why.",
    ["result"],
)
duration_s = Histogram(
    "partner_events_webhook_duration_seconds",
    "Time of one webhook attempt. Near 15: receivers do not answer in time.",
    buckets=(0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 20),
)
oldest_pending_s = Gauge(
    "partner_events_webhook_oldest_pending_seconds",
    "How long the event that is due for the longest waits. Over 600: an endpoint fails or the "
    "worker is stuck.",
)
disabled = Counter(
    "partner_events_endpoints_disabled_total",
    "Endpoints disabled after failing or 410. Tell their owners; they enable them again.",
)
streams = Gauge(
    "partner_events_streams", "SSE streams that are open. At the limit new ones get 503."
)
