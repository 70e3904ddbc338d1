"""Metrics of the history API."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

QUERY_SECONDS = Histogram(
    "history_query_seconds",
    "Time of one answer by route. Rising: ask for fewer signals or a shorter time, or look at "
    "the database.",
    ["route"],
)
POINTS = Counter(
    "history_points_total",
    "Points answered, by where they were read. Mostly raw: pages zoom in a lot.",
    ["read_from"],
)
