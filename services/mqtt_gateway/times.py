"""Times as payloads write them, to microseconds since 1970. Called by json_payload.py, json_lane.py
and the decoders of `payloads`.

What cannot be a time of now (1601, 1970, 2000, days ahead, one that stands still) is judged by the
contract (`aurelian.edge.contract`, `aurelian.edge.ordinals`): here it is only read.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, tzinfo

from aurelian.model.mqtt_payloads import TimeUnit
from aurelian.model.sample import Flag
from aurelian.model.time import SECOND_US
from mqtt_gateway.local_time import LocalClock

_MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}
_NEAR_US = 86_400 * SECOND_US
_STREAMS = 100_000
_MOST_DIGITS = 40


class Times:
    """The times of one source's payloads, with what is known of its clocks.

    A number is seconds, milliseconds, microseconds or nanoseconds: as `unit` says, else by its
    size. A device that counts from its own start until its clock is set sends small numbers for a
    while: milliseconds since last month look like seconds of last year. So a stream whose numbers
    were of today in one unit is read in that unit wherever their size says something else that is
    not of today.

    Attributes:
        clock: reads times without a zone, in order of arrival.
    """

    def __init__(self, zone: tzinfo = UTC, unit: TimeUnit = "auto") -> None:
        self.clock = LocalClock(zone)
        self._unit = unit
        self._known: dict[str, str] = {}

    def read(
        self, found: object, stream: str = "", received_at: int | None = None
    ) -> tuple[int | None, Flag]:
        """A time: a number, such a number as text, or ISO 8601; None: it cannot be read.

        Args:
            stream: what belongs to one clock, say the topic.
            received_at: microseconds since 1970.
        """
        if isinstance(found, str):
            try:
                if len(found) > _MOST_DIGITS:
                    return None, Flag.NONE
                number = float(found) if "." in found else int(found)
            except ValueError:
                return self.local(found, stream, received_at)
            return self.number(number, stream, received_at), Flag.NONE
        if isinstance(found, bool) or not isinstance(found, (int, float)):
            return None, Flag.NONE
        return self.number(found, stream, received_at), Flag.NONE

    def number(self, found: float, stream: str = "", received_at: int | None = None) -> int | None:
        """A time that is a number; None: none that can be."""
        if self._unit != "auto":
            return _in_unit(found, self._unit)
        size = abs(found)
        unit = "s" if size < 1e11 else "ms" if size < 1e14 else "us" if size < 1e17 else "ns"
        # Nearly all are whole milliseconds: no call for those.
        us = found * 1_000 if unit == "ms" and type(found) is int else _in_unit(found, unit)
        if received_at is None or us is None:
            return us
        if -_NEAR_US < us - received_at < _NEAR_US:
            if self._known.get(stream) != unit:
                self._note(stream, unit)
            return us
        return _in_unit(found, self._known.get(stream, unit))

    def local(
        self, text: str, stream: str = "", received_at: int | None = None
    ) -> tuple[int | None, Flag]:
        """ISO 8601; without a zone a time of the source's own, flagged where two may be meant."""
        try:
            found = self.clock.resolve(datetime.fromisoformat(text), stream, received_at)
        except (ValueError, OverflowError):
            return None, Flag.NONE
        return found.us, Flag.TIME_AMBIGUOUS if found.ambiguous else Flag.NONE

    def _note(self, stream: str, unit: str) -> None:
        if stream not in self._known and len(self._known) >= _STREAMS:
            del self._known[next(iter(self._known))]
        self._known[stream] = unit


def to_time(found: object, zone: tzinfo = UTC) -> int | None:
    """A time as microseconds since 1970, or None where it cannot be read.

    Numbers are seconds, milliseconds, microseconds or nanoseconds by their magnitude (below 1e11,
    1e14, 1e17, above); texts are such numbers, or ISO 8601, in `zone` where they name none.
    """
    return Times(zone).read(found)[0]


def _in_unit(found: float, unit: str) -> int | None:
    if type(found) is int:
        scale = _MICROSECONDS.get(unit)
        return found // 1_000 if scale is None else found * scale
    if not math.isfinite(found):
        return None
    return round(found * _MICROSECONDS.get(unit, 1e-3))
