"""Local times without a zone to UTC, in order of arrival. Pure; called by json_payload.py.

In the night that ends summer time an hour comes twice: which one is meant, the time does not say.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from aurelian.model.time import SECOND_US, to_us

_AHEAD_US = 300 * SECOND_US
"""A reading of a time that lies further in the future than this is not the one that is meant."""

_DISORDER_US = 600 * SECOND_US
"""A smaller step back is a value that came out of order, not the second pass of the hour."""

_SILENT_US = 1800 * SECOND_US
"""After a longer silence a whole pass of the hour may have gone by unseen."""

_STREAMS = 100_000


@dataclass(frozen=True, slots=True)
class LocalTime:
    """A local time in UTC; `ambiguous`: it may have been another one."""

    us: int
    ambiguous: bool


@dataclass(frozen=True, slots=True)
class _Last:
    us: int
    second: bool  # it stood in the second pass of a repeated hour
    skipped: bool  # it stood in an hour that the zone leaves out


class LocalClock:
    """The clocks of one source's machines, one for each stream of times that come in order.

    Args:
        zone: of times without a zone.
    """

    def __init__(self, zone: tzinfo = UTC) -> None:
        self.zone = zone
        self._last: dict[str, _Last] = {}

    def resolve(
        self, when: datetime, stream: str = "", received_at: int | None = None
    ) -> LocalTime:
        """Read a time of a stream. `received_at`: microseconds since 1970.

        - The hour that comes twice: the first pass, until a time steps back by ten minutes or
          more; from there on the second. A pass that lies in the future is not meant. Open, and
          taken as the pass that fits best: the first time of a stream, one after half an hour of
          silence, one that comes late.
        - The hour that is left out: the clock was not set yet; open.

        Raises:
            OverflowError: beyond the calendar.
        """
        if when.tzinfo is not None:
            return LocalTime(to_us(when), ambiguous=False)
        first = to_us(when.replace(tzinfo=self.zone, fold=0))
        second = to_us(when.replace(tzinfo=self.zone, fold=1))
        last = self._last.get(stream)
        if first == second:
            # Before a clock that is set late reaches the hour that its zone has already.
            late = last is not None and last.skipped and first < last.us
            if not late:
                self._note(stream, _Last(first, second=False, skipped=False))
            return LocalTime(first, ambiguous=late)
        if first > second:
            self._note(stream, _Last(first, second=False, skipped=True))
            return LocalTime(first, ambiguous=True)
        is_second, ambiguous = _pass(first, second, last, received_at)
        us = second if is_second else first
        if last is None or us >= last.us:
            self._note(stream, _Last(us, second=is_second, skipped=False))
        return LocalTime(us, ambiguous)

    def _note(self, stream: str, last: _Last) -> None:
        if stream not in self._last and len(self._last) >= _STREAMS:
            del self._last[next(iter(self._last))]
        self._last[stream] = last


def _pass(
    first: int, second: int, last: _Last | None, received_at: int | None
) -> tuple[bool, bool]:
    """Whether a time of the repeated hour is of its second pass, and whether that stays open."""
    if received_at is not None and first <= received_at + _AHEAD_US < second:
        return False, False  # the second pass has not come yet
    if last is None:
        return False, True
    if second < last.us:
        late_in_second = last.second and last.us - second < _DISORDER_US
        return True, not late_in_second
    if last.second or first <= last.us - _DISORDER_US:
        return True, False
    if first < last.us:
        return False, True  # out of order, or a very short way back
    if first == last.us:
        return False, False  # the same time again: another value of it, or the same message
    return False, first - last.us > _SILENT_US
