"""The one home of time conversions: int64 microseconds in arrays, aware UTC `datetime` at the edges."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import overload

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

SECOND_US = 1_000_000
HOUR_US = 3600 * SECOND_US

FIRST_US = -62_135_596_800_000_000
"""0001-01-01, the first time that `datetime` and every reader of the store can show."""

LAST_US = 253_402_300_799_000_000
"""9999-12-31T23:59:59, the last."""

_MICROSECOND = timedelta(microseconds=1)


def now_us() -> int:
    """Return the present as microseconds since 1970 UTC."""
    return time.time_ns() // 1_000


def now_ms() -> int:
    """Return the present as milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


def to_us(at: datetime) -> int:
    """Return an aware time as microseconds since 1970 UTC, exact."""
    # `datetime.timestamp()` is a double: it loses microseconds after 2^53 of them have passed.
    return (at - EPOCH) // _MICROSECOND


def to_datetime(us: int) -> datetime:
    """Return microseconds since 1970 as aware UTC time, exact.

    Raises:
        OverflowError: before year 1 or after year 9999.
    """
    return EPOCH + timedelta(microseconds=us)


def to_nearest_datetime(us: int) -> datetime:
    """Return microseconds since 1970 as aware UTC time; the first or last one where there is
    none."""
    return to_datetime(min(max(us, FIRST_US), LAST_US))


@overload
def to_iso(at: datetime) -> str: ...
@overload
def to_iso(at: None) -> None: ...
def to_iso(at: datetime | None) -> str | None:
    """Return an aware time as ISO 8601 in UTC with `Z`; None stays None."""
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def to_iso_ms(at: datetime) -> str:
    """Return an aware time as ISO 8601 in UTC with `Z`, cut to milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def to_ms(at: datetime) -> int:
    """Return an aware time as whole milliseconds since 1970 UTC, cut."""
    return to_us(at) // 1_000


def from_ms(ms: float) -> datetime:
    """Return milliseconds since 1970 as aware UTC time.

    Raises:
        OverflowError: before year 1 or after year 9999.
    """
    return EPOCH + timedelta(milliseconds=ms)
