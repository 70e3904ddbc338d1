"""The order of values of one signal that share one time (`Sample.sub`, D6), and times that stand
still. Used by `assembly`. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from aurelian.model.sample import AT_GATEWAY_TIME, Flag, Sample, time_of

MOST_AT_ONE_TIME = 8
"""So many different live values in a row may have one time; beyond, the source's clock stands."""

_TIME_REPLACED = int(Flag.TIME_REPLACED)
_OLD = int(Flag.HISTORICAL | Flag.RETAINED)

_Content = tuple[object, ...]


@dataclass(slots=True)
class _Shared:
    """What came at one time of one signal: newest value, its ordinal, and all values by theirs."""

    newest: _Content
    ordinal: int
    known: dict[_Content, int]


class Ordinals:
    """Gives the values of a signal that share one time their order of arrival, from 0.

    A value equal to the one directly before it at that time has the same ordinal: it came twice,
    and the store takes it once. Any other is a new one, also if it was there before (9, 4, 9). At
    the gateway's time (TIME_REPLACED) every value is a new one: rows of an old recording that
    arrive together have that time in common and nothing else.

    Remembers the last `times` times of at most `signals` signals. A time that comes again after
    that begins at 0; the historian compares what it has and keeps both where they differ.
    """

    def __init__(self, signals: int = 100_000, times: int = 8) -> None:
        self._signals, self.times = signals, times
        self._recent: dict[str, dict[int, _Content | _Shared]] = {}

    def place(self, sample: Sample, *, repeated: bool = False) -> Sample:
        """The sample with its ordinal; at the gateway's time where its own stands still.

        `repeated`: its transport said that it may have come before, so a value that is known at
        that time is taken for it.
        """
        ordinal = self.ordinal(sample, repeated=repeated)
        if not ordinal:
            return sample
        flags = int(sample.flags)
        if ordinal >= MOST_AT_ONE_TIME and not flags & (AT_GATEWAY_TIME | _OLD) and not repeated:
            sample = replace(sample, flags=Flag(flags | _TIME_REPLACED))
            ordinal = self.ordinal(sample)
        return replace(sample, sub=ordinal)

    def ordinal(self, sample: Sample, *, repeated: bool = False) -> int:
        """The ordinal of a sample at its time, see `place`."""
        recent, time = self._of(sample)
        content = _content(sample)
        before = recent.get(time)
        if before is None:
            if len(recent) >= self.times:
                del recent[next(iter(recent))]
            recent[time] = content
            return 0
        may_repeat = repeated or not int.__and__(sample.flags, AT_GATEWAY_TIME)
        if isinstance(before, tuple):
            if before == content and may_repeat:
                return 0
            before = _Shared(before, 0, {before: 0})
        elif before.newest == content and may_repeat:
            return before.ordinal
        elif repeated and content in before.known:
            return before.known[content]
        # Moved to the end: a time that is still in use must not be forgotten for others.
        recent.pop(time)
        recent[time] = before
        before.ordinal += 1
        before.newest = content
        if len(before.known) > 2 * MOST_AT_ONE_TIME:
            del before.known[next(iter(before.known))]
        before.known[content] = before.ordinal
        return before.ordinal

    def remember(self, sample: Sample) -> None:
        """Take over the ordinal that a sample has already, say, after a restart."""
        recent, time = self._of(sample)
        content = _content(sample)
        before = recent.get(time)
        if before is None and len(recent) >= self.times:
            del recent[next(iter(recent))]
        if isinstance(before, _Shared):
            before.known[content] = sample.sub
            if sample.sub >= before.ordinal:
                before.newest, before.ordinal = content, sample.sub
        else:
            known = {} if before is None else {before: 0}
            recent[time] = _Shared(content, sample.sub, known | {content: sample.sub})

    def newest(self) -> Iterator[tuple[str, int]]:
        """Id and newest remembered time of each signal, microseconds since 1970."""
        return ((signal, max(recent)) for signal, recent in self._recent.items() if recent)

    def _of(self, sample: Sample) -> tuple[dict[int, _Content | _Shared], int]:
        recent = self._recent.get(sample.signal.id)
        if recent is None:
            if len(self._recent) >= self._signals:
                del self._recent[next(iter(self._recent))]
            recent = self._recent[sample.signal.id] = {}
        flags, source_time = sample.flags, sample.source_time
        return recent, time_of(flags, source_time, sample.server_time, sample.gateway_time)


def _content(sample: Sample) -> _Content:
    value = sample.value
    if isinstance(value, (str, bytes)) and len(value) > 64:
        value = hashlib.sha256(value.encode() if isinstance(value, str) else value).digest()
    # -0.0 and 0.0, 1 and True are equal in Python and not the same value.
    if value == 0:
        value = str(value)
    if int.__and__(sample.flags, AT_GATEWAY_TIME) and sample.source_time:
        # Only the time that it came with tells a repeated one from another.
        return (int(sample.type), value, sample.status, sample.source_time)
    return (int(sample.type), value, sample.status)
