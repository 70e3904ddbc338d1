"""When sources were heard: freshness comes from heartbeats, births and data, never from values that change. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

SILENCE_US = 30_000_000
"""A source that is not heard for longer is silent, and its line has no data."""

_MOST_SPANS = 64


@dataclass(slots=True)
class Presence:
    """The times at which one source was heard, as spans without a silence. Times in microseconds.

    Attributes:
        spans: [first heard, last heard], ascending, more than `SILENCE_US` apart.
        died: asset id ("" for the whole source) -> when it was declared dead, until it is heard again.
    """

    spans: list[list[int]] = field(default_factory=list)
    died: dict[str, int] = field(default_factory=dict)

    def hear(self, at: int, assets: Iterable[str] = ()) -> None:
        """Note that the source spoke at `at`, and for which of its assets (none: for the source as such)."""
        self.died = {
            asset: died
            for asset, died in self.died.items()
            if died > at or (asset != "" and asset not in assets)
        }
        place = len(self.spans)
        while place > 0 and self.spans[place - 1][0] > at + SILENCE_US:
            place -= 1
        if place > 0 and self.spans[place - 1][1] + SILENCE_US >= at:
            span = self.spans[place - 1]
            span[0], span[1] = min(span[0], at), max(span[1], at)
            if place > 1 and self.spans[place - 2][1] + SILENCE_US >= span[0]:
                self.spans[place - 2][1] = max(self.spans[place - 2][1], span[1])
                del self.spans[place - 1]
        else:
            self.spans.insert(place, [at, at])
        del self.spans[:-_MOST_SPANS]

    def die(self, at: int, assets: Iterable[str] = ()) -> None:
        """Note that assets (none: all of the source) are silent from `at` on; not where they were heard later."""
        named = list(assets) or [""]
        if named != [""] or not self.spans or self.spans[-1][1] <= at:
            self.died |= {asset: max(at, self.died.get(asset, 0)) for asset in named}

    def silent_since(self, asset: str, own: int, now: int) -> int | None:
        """Since when `asset` has been silent as seen at `now`; None while it is heard.

        `own`: when data of the asset itself were last received; 0: never.
        """
        if self.is_dead(asset, own):
            return max(self.died.get(key, 0) for key in ("", asset))
        last = max(own, self.spans[-1][1] if self.spans else 0)
        return last if now - last > SILENCE_US else None

    def is_dead(self, asset: str, own: int) -> bool:
        """Tell whether `asset` was declared dead after its last data were received at `own`, and not heard since."""
        return any(self.died.get(key, 0) > own for key in ("", asset))

    def heard_again(self, after: int) -> int | None:
        """The first time heard after a silence that began at `after`; None when there was none."""
        return next((max(first, after) for first, last in self.spans if last > after), None)

    def silences(self, start: int, end: int) -> list[tuple[int, int]]:
        """The silences between two times at which the source was heard in another way than noted here."""
        points = [start, *(t for span in self.spans for t in span if start < t < end), end]
        inside = [tuple(span) for span in self.spans]
        return [
            (a, b)
            for a, b in pairwise(points)
            if b - a > SILENCE_US and not any(first <= a and b <= last for first, last in inside)
        ]

    def snapshot(self) -> dict[str, object]:
        """JSON-ready form."""
        return {"spans": [list(span) for span in self.spans], "died": dict(self.died)}
