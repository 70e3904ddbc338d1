"""What an outbox has counted for the ledger, by boot, source and hour. For `outbox.py`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from aurelian.edge.outbox.rows import HourCount, count_key

CountKey = tuple[int, str, int]
"""Boot, source, start of the hour."""


class HourCounts:
    """The counts of this boot, and those of the boots before it that are still here."""

    def __init__(self, boot: int) -> None:
        self._boot = boot
        self._counts: dict[CountKey, HourCount] = {}

    def all(self) -> list[HourCount]:
        """Every count."""
        return list(self._counts.values())

    def plus(self, counts: Iterable[HourCount]) -> dict[CountKey, HourCount]:
        """The totals that these counts of this boot would make; `keep` takes them over."""
        totals: dict[CountKey, HourCount] = {}
        for each in counts:
            count = replace(each, boot=self._boot)
            key = count_key(count)
            before = totals.get(key) or self._counts.get(key)
            totals[key] = count if before is None else before.plus(count)
        return totals

    def keep(self, totals: Mapping[CountKey, HourCount]) -> None:
        """Take over totals that are on the disk."""
        self._counts |= totals

    def forget(self, before_hour: int) -> None:
        """Forget the counts of older boots before an hour (microseconds)."""
        for key in [key for key in self._counts if key[0] != self._boot and key[2] < before_hour]:
            del self._counts[key]
