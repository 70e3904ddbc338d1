"""What times of values say of the clock behind them: none, impossible, standing still, local time.
Pure; called by ladder.py."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from zoneinfo import ZoneInfo

from aurelian.edge.contract import MAX_AHEAD
from aurelian.model.sample import Value
from aurelian.model.time import SECOND_US

_QUARTER_US = 900 * SECOND_US
_EARLIEST = 946_684_800 * SECOND_US
"""The year 2000: clocks without a battery begin at 1601, 1970, 1984 or then."""

_OFF_BY_US = 60 * SECOND_US
"""A time in a zone is off by whole quarters of an hour, within so much."""

_LEAST_STUCK = 3
"""Different values at one time. Two may be a change that the server stamped only roughly."""

_FURTHEST_US = 14 * 3600 * SECOND_US
_ZONES = (
    "Europe/Oslo", "Europe/Helsinki", "Europe/London", "America/New_York", "America/Chicago",
    "America/Los_Angeles", "America/Sao_Paulo", "Asia/Kolkata", "Asia/Shanghai", "Asia/Tokyo",
    "Australia/Sydney",
)  # fmt: skip


class Fault(Enum):
    """What is wrong with the times of a node's values, the gravest first."""

    LOCAL = "local"
    IMPOSSIBLE = "impossible"
    STUCK = "stuck"
    NONE_GIVEN = "none_given"


@dataclass(slots=True)
class Times:
    """What was seen of one node: its values in order, each with its time and its receipt, all in
    microseconds since 1970."""

    seen: list[tuple[Value, int | None, int]] = field(default_factory=list)

    def add(self, value: Value, source_time: int | None, received_at: int) -> None:
        """One more; only the newest count."""
        self.seen.append((value, source_time, received_at))
        del self.seen[:-20]


def fault_of(times: Times, server_ahead: int) -> tuple[Fault, int] | None:
    """What is wrong with a node's times, and by how many microseconds (local time) or which time it
    is. None: nothing is known to be wrong.

    Args:
        server_ahead: of the server's clock, which may be wrong by itself.
    """
    if not times.seen:
        return None
    if times.seen[-1][1] is None:
        return Fault.NONE_GIVEN, 0
    timed = [(value, at, got) for value, at, got in times.seen if at is not None]
    # The first value may be from long ago: it says only what is in the future.
    quarters = [
        offset
        for n, (_, at, got) in enumerate(timed)
        if (offset := _local_offset(at - got - server_ahead)) and (n > 0 or offset > 0)
    ]
    _, at, received_at = timed[-1]
    if quarters and quarters[-1] == _local_offset(at - received_at - server_ahead):
        return Fault.LOCAL, quarters[-1]
    if at < _EARLIEST or at > received_at + MAX_AHEAD + max(server_ahead, 0):
        return Fault.IMPOSSIBLE, at
    at_last = {repr(value) for value, other, _ in timed if other == at}
    if len(at_last) >= _LEAST_STUCK:
        return Fault.STUCK, at
    return None


def faults_of(
    nodes: Mapping[int, Times], server_ahead: int
) -> dict[Fault, tuple[Sequence[int], int]]:
    """The faults of all nodes: their handles, and the amount of the first."""
    found: dict[Fault, tuple[list[int], int]] = {}
    for handle, times in nodes.items():
        fault = fault_of(times, server_ahead)
        if fault is not None:
            found.setdefault(fault[0], ([], fault[1]))[0].append(handle)
    return {each: found[each] for each in Fault if each in found}


def zone_for(offset_us: int, now: datetime, own: Iterable[str] = ()) -> str:
    """A time zone whose clocks show so much more than UTC now; `own`: zones of the site, which are
    looked at first."""
    offset = timedelta(microseconds=offset_us)
    hours, minutes = divmod(abs(offset_us) // (60 * SECOND_US), 60)
    shown = f"UTC{'-' if offset_us < 0 else '+'}{hours}" + (f":{minutes:02}" if minutes else "")
    for name in (*own, *_ZONES):
        if name != "UTC" and now.astimezone(ZoneInfo(name)).utcoffset() == offset:
            return f"{name} ({shown})"
    return shown


def shown_offset(offset_us: int) -> str:
    """How long an offset is, for people: `2 h 15 min`, `40 s`, `1.5 s`."""
    seconds = abs(offset_us) / SECOND_US
    if seconds >= 172_800:
        return f"{seconds / 86_400:.0f} days"
    if seconds >= 3600:
        hours, rest = divmod(round(seconds / 60), 60)
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    if seconds >= 120:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def shown_time(time_us: int) -> str:
    """A time, for people."""
    try:
        return f"{datetime.fromtimestamp(time_us / SECOND_US, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return "before the year 1" if time_us < 0 else "after the year 9999"


def is_whole_quarters(offset_us: int) -> bool:
    """Whether a clock that is off by so much may show the time of another zone."""
    return _local_offset(offset_us) != 0


def _local_offset(off_us: int) -> int:
    """Whole quarters of an hour that something is off by, microseconds; 0: it is not."""
    quarters = round(off_us / _QUARTER_US)
    rest = off_us - quarters * _QUARTER_US
    if quarters == 0 or abs(rest) > _OFF_BY_US or abs(off_us) > _FURTHEST_US + _OFF_BY_US:
        return 0
    return quarters * _QUARTER_US
