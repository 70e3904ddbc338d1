"""What the times in payloads say of a machine's clock. Pure; used by the ladder and by the
proposals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from statistics import median
from zoneinfo import ZoneInfo

from aurelian.edge.ladder import Rung, Step, Verdict
from aurelian.model.mqtt_payloads import TimeUnit
from aurelian.model.sample import Flag
from aurelian.model.source_model import SourceModel
from aurelian.model.time import to_datetime
from mqtt_gateway.connect.causes import passed, step_of
from mqtt_gateway.times import Times

_SECOND, _MINUTE, _HOUR, _DAY = 1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000
_NEAR = 10 * _SECOND
"""A clock that is so near is right: payloads travel."""

_QUARTER = 15 * _MINUTE
_ZONE_SLACK = 3 * _MINUTE
_FARTHEST_ZONE = 14 * _HOUR + _ZONE_SLACK
_YEAR = 366 * _DAY
_MOST_STAMPS = 2000
_MOST_ZONES = 4
_FACTORS = {"s": 1_000_000.0, "ms": 1_000.0, "us": 1.0, "ns": 0.001}
_WORDS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}


@dataclass(frozen=True, slots=True)
class Stamp:
    """A time that a payload said.

    Attributes:
        raw: as it stands there: a number, or a text.
        read: microseconds since 1970; None: nobody could read it.
        at: when it came, microseconds since 1970.
    """

    raw: object
    read: int | None
    at: int

    @property
    def is_local(self) -> bool:
        """Whether it is a text that names no zone."""
        if not isinstance(self.raw, str):
            return False
        try:
            return datetime.fromisoformat(self.raw).tzinfo is None
        except ValueError:
            return False


class NotedTimes(Times):
    """Times that remember what they read. `stamps`: the last of them."""

    def __init__(self, zone: tzinfo, unit: TimeUnit) -> None:
        super().__init__(zone, unit)
        self.stamps: list[Stamp] = []

    def read(
        self, found: object, stream: str = "", received_at: int | None = None
    ) -> tuple[int | None, Flag]:
        """As `Times.read`."""
        us, flags = super().read(found, stream, received_at)
        if received_at is not None and len(self.stamps) < _MOST_STAMPS:
            self.stamps.append(Stamp(found, us, received_at))
        return us, flags


def judge_clock(
    stamps: Sequence[Stamp], model: SourceModel, zones: Iterable[str] = (), seconds: float = 0.0
) -> Step:
    """The step of rung CLOCK.

    Args:
        stamps: of messages that were new when they came, not kept ones.
        zones: names of time zones to prefer: the site's, this machine's.
    """
    if not stamps:
        said = "the payloads say no time: values count at the moment in which they are received"
        return passed(Rung.CLOCK, said, seconds)
    read = [each for each in stamps if each.read is not None]
    if not read:
        said = (
            f"no time that the payloads say can be read, as {str(stamps[0].raw)[:40]!r}: values "
            "count at their receipt"
        )
        return passed(Rung.CLOCK, said, seconds)
    off = round(median(each.read - each.at for each in read if each.read is not None))
    facts = {"offset_s": f"{off / _SECOND:.3f}", "times": str(len(read))}
    if abs(off) <= _NEAR:
        said = f"the machine's clock agrees with ours ({_span(off)} {_way(off)})"
        return passed(Rung.CLOCK, said, seconds, facts)
    step = _of_unit(off, read, model) or _of_zone(off, read, model, zones) or _of_clock(off, read)
    return Step(
        step.rung, Verdict.WARNING, step.said, step.fix, step.code, seconds, {**facts, **step.facts}
    )


def _of_unit(off: int, read: Sequence[Stamp], model: SourceModel) -> Step | None:
    """Numbers that are of now in another unit."""
    if abs(off) < 30 * _DAY:
        return None
    numbers = [each for each in read if _number(each.raw) is not None]
    if len(numbers) * 2 <= len(read):
        return None
    for unit, factor in _FACTORS.items():
        if unit == model.time_unit:
            continue
        other = median((_number(each.raw) or 0.0) * factor - each.at for each in numbers)
        if abs(other) < _DAY:
            as_now = "what they look like" if model.time_unit == "auto" else _WORDS[model.time_unit]
            return step_of(
                "E1853",
                read=as_now,
                meant=_WORDS[unit],
                meant_unit=unit,
                facts={"time_unit": unit},
            )
    return None


def _of_zone(
    off: int, read: Sequence[Stamp], model: SourceModel, zones: Iterable[str]
) -> Step | None:
    """A whole number of quarters of an hour, up to 14 hours: a local time taken for another."""
    near = round(off / _QUARTER) * _QUARTER
    if not near or abs(off - near) > _ZONE_SLACK or abs(off) > _FARTHEST_ZONE:
        return None
    now = to_datetime(read[-1].at)
    wanted = _offset(model.time_zone, now) + near
    fitting = zones_at(wanted, now, zones)
    is_local = sum(each.is_local for each in read) * 2 > len(read)
    if is_local and fitting:
        fix = f"say time_zone: {fitting[0]} for this source"
        if len(fitting) > 1:
            fix += f" (or {', '.join(fitting[1:])}, whichever the machine stands in)"
        facts = {"time_zone": fitting[0], "time_zones": " ".join(fitting)}
    else:
        fix = (
            "it says that they are UTC (or numbers since 1970), so that no time_zone helps: let "
            "the machine send UTC, or set its clock and its zone right"
        )
        facts = {}
    return step_of("E1852", off=_span(off), way=_way(off), step=fix, facts=facts)


def _of_clock(off: int, read: Sequence[Stamp]) -> Step:
    said = sorted(each.read for each in read if each.read is not None)[len(read) // 2]
    if off < -5 * _YEAR:
        return step_of("E1854", when=f"{to_datetime(max(said, 0)):%Y-%m-%d %H:%M}")
    code = "E1855" if abs(off) >= _DAY else "E1851"
    return step_of(code, off=_span(off), way=_way(off))


def zones_at(offset_us: int, now: datetime, first: Iterable[str] = ()) -> list[str]:
    """Names of time zones that are so far before UTC now: of those in `first`, else large ones."""
    found = [each for each in dict.fromkeys(first) if _offset(each, now) == offset_us]
    found += [each for each in _LARGE if each not in found and _offset(each, now) == offset_us]
    return found[:_MOST_ZONES]


_LARGE = (
    "UTC",
    "Europe/Oslo",
    "Europe/Berlin",
    "Europe/London",
    "Europe/Helsinki",
    "Europe/Istanbul",
    "America/New_York",
    "America/Chicago",
    "America/Denver",
    "America/Los_Angeles",
    "America/Mexico_City",
    "America/Sao_Paulo",
    "Asia/Dubai",
    "Asia/Karachi",
    "Asia/Kolkata",
    "Asia/Dhaka",
    "Asia/Bangkok",
    "Asia/Shanghai",
    "Asia/Tokyo",
    "Australia/Adelaide",
    "Australia/Sydney",
    "Pacific/Auckland",
)
"""One of each offset that many people live at."""


def _offset(zone: str, now: datetime) -> int:
    offset = now.astimezone(ZoneInfo(zone)).utcoffset() if zone else None
    return 0 if offset is None else round(offset.total_seconds()) * _SECOND


def _number(raw: object) -> float | None:
    if isinstance(raw, bool):
        return None
    if isinstance(raw, int | float):
        return float(raw) if abs(raw) < 1e25 else None
    if isinstance(raw, str) and len(raw) < 26:
        try:
            return float(raw)
        except ValueError:
            return None
    return None


def _way(off: int) -> str:
    return "ahead of" if off > 0 else "behind"


def _span(off: int) -> str:
    us = abs(off)
    if us < 2 * _MINUTE:
        return f"{us / _SECOND:.1f} s"
    if us < 2 * _HOUR and us % _HOUR > _ZONE_SLACK:
        return f"{us / _MINUTE:.0f} minutes"
    if us < 2 * _DAY:
        hours = round(us / _QUARTER) / 4
        return f"{hours:g} hour{'' if hours == 1 else 's'}"
    return f"{us / _DAY:.0f} days"
