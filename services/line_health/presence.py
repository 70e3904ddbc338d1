"""When the machines of a source were heard: from heartbeats, births and data, never from values
that change. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

SILENCE_US = 30_000_000
"""A machine that is not heard for longer is silent, and its line has no data."""

_MOST_SPANS = 64


@dataclass(slots=True)
class Presence:
    """What one source said of its assets. Times in microseconds; keys: an asset's id, "" for the
    whole source.

    Attributes:
        spans: [first heard, last heard] without a silence between, ascending, more than
            `SILENCE_US` or a death apart.
        died: when it was last declared dead.
        refused: signal -> when a value of it was last refused, and why.
    """

    spans: dict[str, list[list[int]]] = field(default_factory=dict)
    died: dict[str, int] = field(default_factory=dict)
    refused: dict[str, tuple[int, str]] = field(default_factory=dict)

    def refuse(self, signal: str, at: int, reason: str) -> None:
        """Note that a value of a signal was refused at the gateway at `at`."""
        if at >= self.refused.get(signal, (0, ""))[0]:
            self.refused[signal] = at, reason

    def hear(self, at: int, assets: Iterable[str] = ()) -> None:
        """Note that the source spoke at `at` for some of its assets (none: for all of them)."""
        for key in list(assets) or [""]:
            cut = max(self.died.get(key, -1), self.died.get("", -1))
            self.spans[key] = _join(sorted([*self.spans.get(key, []), [at, at]]), cut)

    def die(self, at: int, assets: Iterable[str] = ()) -> None:
        """Note that assets (none: all of the source) are silent from `at` on; not where they were
        heard later."""
        self.died |= {key: max(at, self.died.get(key, 0)) for key in list(assets) or [""]}

    def dead_since(self, asset: str, own: int) -> int | None:
        """When `asset` was declared dead, if it was not heard since. A death that named the asset
        ends with a sign of life that names it, or with its own data.

        `own`: when data of the asset itself were last received; 0: never.
        """
        named, whole = self.died.get(asset, 0), self.died.get("", 0)
        heard = max(own, self._last(asset))
        deaths = ((named, heard), (whole, max(heard, self._last(""))))
        return max((at for at, last in deaths if at > 0 and at >= last), default=None)

    def silent_since(self, asset: str, own: int, now: int) -> int | None:
        """Since when `asset` has been silent as seen at `now`; None while it is heard. `own` as in
        `dead_since`."""
        dead = self.dead_since(asset, own)
        if dead is not None:
            return dead
        last = self.last_heard(asset, own)
        return last if now - last > SILENCE_US else None

    def last_heard(self, asset: str, own: int) -> int:
        """When `asset` was last heard in any way. `own` as in `dead_since`."""
        return max(own, self._last(asset), self._last(""))

    def heard_again(self, asset: str, after: int) -> int | None:
        """The first time that `asset` was heard after a silence that began at `after`; None when
        there was none."""
        return min((first for first, _ in self._spans_of(asset) if first > after), default=None)

    def silences(self, asset: str, start: int, end: int) -> list[tuple[int, int]]:
        """The silences between two times at which `asset` was heard in another way than noted
        here."""
        spans = self._spans_of(asset)
        points = sorted([start, *(t for span in spans for t in span if start < t < end), end])
        return [
            (a, b)
            for a, b in pairwise(points)
            if b - a > SILENCE_US and not any(first <= a and b <= last for first, last in spans)
        ]

    def _spans_of(self, asset: str) -> list[list[int]]:
        return self.spans.get(asset, []) + self.spans.get("", [])

    def _last(self, key: str) -> int:
        spans = self.spans.get(key)
        return spans[-1][1] if spans else 0

    def snapshot(self) -> dict[str, object]:
        """JSON-ready form."""
        return {
            "spans": {key: [*map(list, spans)] for key, spans in self.spans.items()},
            "died": dict(self.died),
            "refused": {signal: [*each] for signal, each in self.refused.items()},
        }


def _join(spans: list[list[int]], cut: int) -> list[list[int]]:
    """Make one of each two of the ascending `spans` that have neither a silence nor the death at
    `cut` between them."""
    joined: list[list[int]] = []
    for first, last in spans:
        if joined and first - joined[-1][1] <= SILENCE_US and not joined[-1][1] <= cut < first:
            joined[-1][1] = max(joined[-1][1], last)
        else:
            joined.append([first, last])
    return joined[-_MOST_SPANS:]
