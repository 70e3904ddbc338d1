"""Prometheus metrics of the maintenance worker."""

from prometheus_client import Counter, Gauge

SAMPLES = Counter(
    "maintenance_samples_total",
    "Samples judged. Flat while machines run: look at Kafka and readiness.",
)
CASES = Counter(
    "maintenance_cases_opened_total",
    "Cases opened. A jump without work on machines: false alarms.",
    ["severity"],
)
UNTRAINED = Gauge(
    "maintenance_untrained_machines",
    "Machines without a baseline yet. Over zero for hours: do they ever execute?",
)
