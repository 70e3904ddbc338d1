"""Pure: how a time range is cut into at most N buckets. Called by routes.py."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US


class ReadFrom(StrEnum):
    """Where the parts of a bucket are read."""

    RAW = "raw"
    MINUTES = "minutes"
    HOURS = "hours"


@dataclass(frozen=True, slots=True)
class Cut:
    """Buckets of `width_us`, beginning at multiples of it since 1970, from `first_us` up to before
    `end_us`.

    Where rollups are read, the ends are those of whole minutes or hours, so that no sample of the
    range is missing.
    """

    width_us: int
    first_us: int
    end_us: int
    read_from: ReadFrom


def cut(from_us: int, to_us: int, points: int) -> Cut:
    """Cut [from_us, to_us) into at most `points` buckets as narrow as they can be.

    Raises:
        ValueError: the range is empty, or `points` is below 2.
    """
    if to_us <= from_us or points < 2:
        raise ValueError("a range that is not empty and 2 points or more")
    for unit, read_from in (
        (1, ReadFrom.RAW),
        (MINUTE_US, ReadFrom.MINUTES),
        (HOUR_US, ReadFrom.HOURS),
    ):
        width = _narrowest(from_us, to_us, points, unit)
        if read_from is ReadFrom.HOURS or width < (
            MINUTE_US if read_from is ReadFrom.RAW else HOUR_US
        ):
            break
    if read_from is ReadFrom.RAW:
        return Cut(width, from_us, to_us, read_from)
    return Cut(width, from_us - from_us % unit, to_us + -to_us % unit, read_from)


def _narrowest(from_us: int, to_us: int, points: int, unit: int) -> int:
    """The smallest multiple of `unit` whose aligned buckets over the range are at most `points`."""
    width = max(unit, -(-(to_us - from_us) // (points * unit)) * unit)
    while (to_us - 1) // width - from_us // width + 1 > points:
        width += max(unit, width // (points * unit) * unit)
    return width
