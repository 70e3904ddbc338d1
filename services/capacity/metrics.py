"""Prometheus metrics of the capacity worker."""

from prometheus_client import Counter, Gauge

ESTIMATES = Counter("capacity_estimates_total", "Weeks estimated. Flat: is the worker ready?")
PUBLISHED = Counter(
    "capacity_events_total",
    "Estimates published because Available moved. Many per hour: a line that is not steady.",
)
OLDEST_DATA_S = Gauge(
    "capacity_oldest_data_seconds",
    "Age of the oldest line's newest measurement. Over 60: that line says nothing.",
)
