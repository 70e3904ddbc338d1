"""Metrics of the dashboard; updated by hub.py, feed.py and forward.py."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

CLIENTS = Gauge(
    "dashboard_stream_clients",
    "Browsers on the stream. Falls to 0 while people work: look at the proxy.",
)
EVENTS = Counter(
    "dashboard_events_total",
    "Events given to the stream by kind. Stands still: look at the feed.",
    ["kind"],
)
CONFLATED = Counter(
    "dashboard_conflated_frames_total",
    "Value frames merged because a browser was slow. Grows steadily: a screen has a bad network.",
)
RESETS = Counter(
    "dashboard_resets_total",
    "Browsers that had to start over by cause. `overflow` grows: a screen is too slow for its "
    "events.",
    ["cause"],
)
RECORDS = Counter(
    "dashboard_records_total", "Kafka records folded into the live picture by topic.", ["topic"]
)
UNREADABLE = Counter(
    "dashboard_unreadable_records_total",
    "Records that could not be read and were passed over. The historian keeps such bytes: see "
    "/history/v1/rejected.",
    ["topic"],
)
FOLLOWING = Gauge(
    "dashboard_following",
    "1 while records arrive from Kafka. 0: pages show old values; look at Kafka.",
)
FORWARDED = Counter(
    "dashboard_forwarded_total",
    "Requests passed on to an API by outcome. `away` grows: that API is down.",
    ["api", "outcome"],
)
FOREIGN_ASSETS = Counter(
    "dashboard_foreign_assets_total",
    "Asset records whose id another company has; passed over. Somebody's plant model claims an id "
    "that is not its own.",
)
