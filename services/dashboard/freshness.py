"""How old is what we show? Pure; the same rules run in the browser (static/js/freshness.js). Called
by live.py and pages.py.

Freshness comes from what is heard of the source, never from values that change, and is apart from
quality.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Freshness(StrEnum):
    """How far a value may be trusted to be of now. `offline` exists in the browser only: it lost
    the server."""

    LIVE = "live"
    LATE = "late"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Limits:
    """Ages in milliseconds: up to `live_ms` live, up to `late_ms` late, beyond that stale."""

    live_ms: int = 10_000
    late_ms: int = 30_000


def freshness_of(heard_ms: int, dead: str | None, now_ms: int, limits: Limits) -> Freshness:
    """Judge a source last heard at `heard_ms` (0: never); a source that is declared dead is stale
    at once."""
    if dead is not None or heard_ms == 0:
        return Freshness.STALE
    age_ms = now_ms - heard_ms
    if age_ms <= limits.live_ms:
        return Freshness.LIVE
    return Freshness.LATE if age_ms <= limits.late_ms else Freshness.STALE
