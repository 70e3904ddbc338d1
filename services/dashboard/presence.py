"""When was each source and machine last heard, and which are declared silent? Pure; owned by
live.py.

Times are milliseconds since 1970 unless a name says otherwise. Whatever comes twice or late changes
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from dashboard.records import Message, Silence


class Presence:
    """Signs of life and declared silences.

    Attributes:
        heard: ms of the last sign of life. Keys: an asset's id; a source's id where all of the
            source was heard; and `~` + a source's id for any sign at all, by which no single
            machine may be called live.
        silent: by asset's or source's id.
        changed: keys of `heard` that changed since the last frame of values.
    """

    def __init__(self) -> None:
        self.heard: dict[str, int] = {}
        self.silent: dict[str, Silence] = {}
        self.changed: set[str] = set()

    def heard_ms(self, asset: str, source: str) -> int:
        """When the asset, or its source as a whole, was last heard; 0: never."""
        return max(self.heard.get(asset, 0), self.heard.get(source, 0))

    def silence_of(self, asset: str, source: str) -> str | None:
        """Why the asset or its source is declared silent; None: neither is."""
        silence = self.silent.get(asset) or self.silent.get(source)
        return silence.reason if silence is not None else None

    def mark_heard(self, key: str, at_us: int, now_ms: int) -> list[Message]:
        """Note that an asset, or a source as a whole, was heard at `at_us`; never later than
        now."""
        at_ms = min(at_us // 1000, now_ms)
        if key and at_ms > self.heard.get(key, 0):
            self.heard[key] = at_ms
            self.changed.add(key)
        return self._end_silence(key, at_us)

    def mark_source_heard(
        self, source: str, assets: Iterable[str], at_us: int, now_ms: int
    ) -> list[Message]:
        """Note that a source reported for some of its assets or, where none is named, as a
        whole."""
        messages = self.mark_heard(f"~{source}", at_us, now_ms) + self._end_silence(source, at_us)
        for key in list(assets) or [source]:
            messages += self.mark_heard(key, at_us, now_ms)
        return messages

    def mark_silent(self, key: str, reason: str, at_us: int) -> list[Message]:
        """Note that a source or an asset is silent from `at_us` on, unless it was heard since."""
        known = self.silent.get(key)
        heard_ms = max(self.heard.get(key, 0), self.heard.get(f"~{key}", 0))
        if heard_ms * 1000 > at_us or (known is not None and known.at_us >= at_us):
            return []
        self.silent[key] = Silence(reason, at_us)
        return [self._message(key, reason)]

    def _end_silence(self, key: str, at_us: int) -> list[Message]:
        silence = self.silent.get(key)
        if silence is None or at_us <= silence.at_us:
            return []
        del self.silent[key]
        return [self._message(key, None)]

    def _message(self, key: str, reason: str | None) -> Message:
        return Message("source", {"key": key, "dead": reason, "heard": self.heard.get(key, 0)})
