"""A cache bounded by bytes, so that many signals cannot fill a process's memory. Used by
`codec.py`. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class ByteCache(Generic[K, V]):
    """Keeps the newest entries, up to `max_bytes` by `size_of(key, value)`; the oldest leave first.

    Reads go straight to `entries` and change nothing: an entry in use leaves once a turn of the
    cache and is made again, which costs less than noting each use. Threads may share one.
    """

    def __init__(self, max_bytes: int, size_of: Callable[[K, V], int]) -> None:
        self.max_bytes, self._size_of = max_bytes, size_of
        self.bytes = 0
        self.entries: OrderedDict[K, V] = OrderedDict()
        self._lock = Lock()

    def put(self, key: K, value: V) -> None:
        """Add an entry. One that is there stays, so that its users go on sharing one object."""
        size = self._size_of(key, value)
        with self._lock:
            if key in self.entries or size > self.max_bytes:
                return
            self.entries[key] = value
            self.bytes += size
            self._added(key, value)
            while self.bytes > self.max_bytes:
                oldest, dropped = self.entries.popitem(last=False)
                self.bytes -= self._size_of(oldest, dropped)
                self._dropped(oldest)

    def clear(self) -> None:
        """Forget all entries."""
        with self._lock:
            for key in self.entries:
                self._dropped(key)
            self.entries.clear()
            self.bytes = 0

    def _added(self, key: K, value: V) -> None:
        """For caches that have each entry in a second place too; called under the lock."""

    def _dropped(self, key: K) -> None:
        """As `_added`."""
