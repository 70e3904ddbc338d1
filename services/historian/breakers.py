"""Circuit breakers: signals and sources whose samples the database refuses again and again go
through the late inbox for a while, where finding what is wrong holds up nobody. Pure; asked by
processor.py, told by writer.py."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from historian import metrics

OF_A_SIGNAL, OF_A_SOURCE = 5, 20
"""Failures within `WINDOW_S` that open the breaker: records in which a sample of it was found."""

WINDOW_S = 60.0
OPEN_S = 60.0
"""After so long its samples are tried beside the others again."""

MOST_KEPT = 10_000


class Breakers:
    """By signal key and by index of the source. Times: seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._failures: dict[tuple[str, int], deque[float]] = {}
        self._open_until: dict[tuple[str, int], float] = {}

    def failed(self, signals: Iterable[int], sources: Iterable[int], now: float) -> None:
        """The database refused samples of these in one record."""
        for kind, keys, most in (
            ("signal", signals, OF_A_SIGNAL),
            ("source", sources, OF_A_SOURCE),
        ):
            for key in set(keys):
                self._count((kind, key), most, now)

    def are_open(self, now: float) -> bool:
        """Whether one is open at all."""
        if self._open_until:
            for key in [each for each, until in self._open_until.items() if until <= now]:
                del self._open_until[key]
            metrics.BREAKERS.set(len(self._open_until))
        return bool(self._open_until)

    def signals(self) -> list[int]:
        """Keys of the signals whose breaker is open."""
        return [key for kind, key in self._open_until if kind == "signal"]

    def sources(self) -> list[int]:
        """Indices of the sources whose breaker is open."""
        return [key for kind, key in self._open_until if kind == "source"]

    def _count(self, key: tuple[str, int], most: int, now: float) -> None:
        if len(self._failures) > MOST_KEPT:
            self._failures.clear()
        failures = self._failures.setdefault(key, deque(maxlen=most))
        failures.append(now)
        if len(failures) == most and now - failures[0] <= WINDOW_S:
            self._open_until[key] = now + OPEN_S
            del self._failures[key]
            metrics.BREAKERS.set(len(self._open_until))
