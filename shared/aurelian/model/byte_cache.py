"""A cache bounded by bytes, so that many signals cannot fill a process's memory. Used by `codec.py`.
Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class ByteCache(Generic[K, V]):
    """Keeps the newest entries, up to `max_bytes` by `size_of(key, value)`; the oldest leave first.

    Reads go straight to `entries` and change nothing: an entry in use leaves once a turn of the
    cache and is made again, which costs less than noting each use.
    """

    def __init__(self, max_bytes: int, size_of: Callable[[K, V], int]) -> None:
        self.max_bytes, self._size_of = max_bytes, size_of
        self.bytes = 0
        self.entries: OrderedDict[K, V] = OrderedDict()

    def put(self, key: K, value: V) -> None:
        """Add an entry. One that is there stays, so that its users go on sharing one object."""
        size = self._size_of(key, value)
        if key in self.entries or size > self.max_bytes:
            return
        self.entries[key] = value
        self.bytes += size
        while self.bytes > self.max_bytes:
            self.bytes -= self._size_of(*self.entries.popitem(last=False))
