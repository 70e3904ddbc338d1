"""A column of times as int64 microseconds, by a format that is decided. Pure; called by
chunks.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aurelian.model.time import SECOND_US
from importer.time_formats import NUMERIC, TimeFormat

_US = {"epoch_s": 1e6, "epoch_ms": 1e3, "epoch_us": 1.0, "epoch_ns": 1e-3}
_EXCEL_EPOCH_DAYS = 25_569
"""1970-01-01 as a day of Excel."""

_MONTHS = {
    1: ("jan",),
    2: ("feb", "fév", "fev"),
    3: ("mar", "mär", "mrz", "maa"),
    4: ("apr", "avr"),
    5: ("may", "mai", "maj", "mei"),
    6: ("jun", "juin"),
    7: ("jul", "juil"),
    8: ("aug", "aoû", "aou"),
    9: ("sep",),
    10: ("oct", "okt"),
    11: ("nov",),
    12: ("dec", "dez", "des", "déc"),
}
_MONTH_OF = {name: number for number, names in _MONTHS.items() for name in names}
_DAYS = np.array([0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Times:
    """Times of some lines; arrays have one length.

    Attributes:
        us: int64 microseconds since 1970, of the wall clock where `is_local`.
        usable: it is a time that can be.
        is_local: it came without a zone.
        present: something stands there.
    """

    us: NDArray[np.int64]
    usable: NDArray[np.bool_]
    is_local: NDArray[np.bool_]
    present: NDArray[np.bool_]


def read_times(column: pa.Array, form: TimeFormat) -> Times:
    """Read texts, numbers or timestamps."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return read_times(column.dictionary_decode(), form)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _of_timestamps(column)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        present = column.is_valid().to_numpy(zero_copy_only=False)
        if pa.types.is_integer(kind):
            whole = pc.cast(column, pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
            return _of_whole(whole, present, form)
        return _of_numbers(pc.cast(column, pa.float64()), present, form)
    texts = pc.utf8_trim_whitespace(pc.cast(column, pa.string()).fill_null(""))
    if form.name in NUMERIC:
        return _of_number_texts(texts, form)
    return _of_texts(texts, form)


def _of_timestamps(column: pa.Array) -> Times:
    kind = column.type
    zoned = pa.types.is_timestamp(kind) and kind.tz is not None
    to = pa.timestamp("us", kind.tz if zoned else None)
    micro = pc.cast(column, to, safe=False)
    us = pc.cast(micro, pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        # Arrow cuts towards zero; before 1970 that would be the next microsecond.
        ns = pc.cast(column, pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
        us = ns // 1000
    present = column.is_valid().to_numpy(zero_copy_only=False)
    return Times(us, present, np.full(len(us), not zoned), present)


def _of_whole(whole: NDArray[np.int64], present: NDArray[np.bool_], form: TimeFormat) -> Times:
    local = np.zeros(len(whole), np.bool_)
    match form.name:
        case "epoch_ns":
            us = whole // 1000
        case "epoch_us":
            us = whole
        case "epoch_ms" | "epoch_s":
            factor = int(_US[form.name])
            fits = np.abs(whole) < 2**62 // factor
            us, present = np.where(fits, whole, 0) * factor, present & fits
        case _:
            return _of_numbers(pa.array(whole), present, form)
    return Times(us, present, local, present)


def _of_numbers(column: pa.Array, present: NDArray[np.bool_], form: TimeFormat) -> Times:
    number = pc.cast(column, pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False)
    is_excel = form.name == "excel"
    with np.errstate(all="ignore"):
        if is_excel:
            # As Excel shows it: a double of 44,561 days is exact to a microsecond, not more.
            us = np.round((number - _EXCEL_EPOCH_DAYS) * 86_400_000.0) * 1000.0
        else:
            us = np.round(number * _US[form.name])
    usable = present & np.isfinite(us) & (np.abs(us) < 2.0**62)
    whole = np.where(usable, us, 0.0).astype(np.int64)
    return Times(whole, usable, np.full(len(whole), is_excel), present)


def _of_number_texts(texts: pa.Array, form: TimeFormat) -> Times:
    present = _mask(pc.not_equal(texts, ""))
    texts = pc.replace_substring(texts, ",", ".")
    whole = _mask(pc.match_substring_regex(texts, r"^(?:\d{1,18}|[1-8]\d{18})$"))
    if form.name != "excel" and (whole | ~present).all():
        # Exact: a double has no room for nanoseconds.
        found = pc.cast(pc.if_else(pa.array(whole), texts, "0"), pa.int64())
        read = _of_whole(found.to_numpy(zero_copy_only=False), whole, form)
        return Times(read.us, read.usable, read.is_local, present)
    is_number = _mask(pc.match_substring_regex(texts, r"^\d+(\.\d*)?([eE][+-]?\d+)?$"))
    numbers = pc.cast(pc.if_else(pa.array(is_number), texts, None), pa.float64())
    read = _of_numbers(numbers, is_number, form)
    return Times(read.us, read.usable, read.is_local, present)


def _of_texts(texts: pa.Array, form: TimeFormat) -> Times:
    found = pc.extract_regex(texts, form.pattern)
    matched = _mask(found.is_valid())
    n = len(texts)
    fields = {found.type.field(i).name: found.field(i) for i in range(found.type.num_fields)}

    def whole(name: str) -> NDArray[np.int64]:
        if name not in fields:
            return np.zeros(n, np.int64)
        column = pc.if_else(pc.equal(fields[name], ""), "0", fields[name])
        column = pc.if_else(pa.array(matched), column.fill_null("0"), "0")
        read: NDArray[np.int64] = pc.cast(column, pa.int64()).to_numpy(zero_copy_only=False)
        return read

    year, day = whole("y"), whole("d")
    if "y" in fields:
        short = _mask(pc.equal(pc.utf8_length(fields["y"]), 2).fill_null(False))
        year = np.where(short, year + np.where(year < 70, 2000, 1900), year)
    month = whole("m") if "m" in fields else _month_names(fields["b"], n)
    hour, minute, second = whole("H"), whole("M"), whole("S")
    if "p" in fields:
        hour, half_ok = _of_half(hour, fields["p"])
        matched = matched & half_ok
    usable = matched & _can_be(year, month, day, hour, minute, second)
    safe_year, safe_month = np.where(usable, year, 1970), np.where(usable, month, 1)
    months = ((safe_year - 1970) * 12 + safe_month - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]").astype(np.int64) + np.where(usable, day, 1) - 1
    seconds = days * 86_400 + hour * 3600 + minute * 60 + second
    us = np.where(usable, seconds, 0) * SECOND_US
    if "f" in fields:
        us = us + np.where(usable, _fraction(fields["f"], n), 0)
    local = np.ones(n, np.bool_)
    if "z" in fields:
        offset, local = _zones(fields["z"], n)
        us = us - offset
    return Times(us, usable, local, _mask(pc.not_equal(texts, "")))


def _can_be(*parts: NDArray[np.int64]) -> NDArray[np.bool_]:
    year, month, day, hour, minute, second = parts
    good: NDArray[np.bool_] = (year >= 1) & (year <= 9999) & (month >= 1) & (month <= 12)
    days = _DAYS[np.where(good, month, 0)]
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    days = np.where((month == 2) & ~leap, 28, days)
    good = good & (day >= 1) & (day <= days) & (minute < 60) & (second < 60)
    # 24:00:00 is the end of a day (ISO 8601).
    good &= (hour < 24) | ((hour == 24) & (minute == 0) & (second == 0))
    return good


def _of_half(
    hour: NDArray[np.int64], column: pa.Array
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    letter = pc.utf8_lower(pc.utf8_slice_codeunits(column, 0, 1)).fill_null("")
    given = _mask(pc.not_equal(letter, ""))
    afternoon = _mask(pc.equal(letter, "p"))
    fine = ~given | ((hour >= 1) & (hour <= 12))
    return np.where(given, hour % 12 + 12 * afternoon, hour), fine


def _fraction(column: pa.Array, n: int) -> NDArray[np.int64]:
    digits = pc.utf8_rpad(column.fill_null(""), 6, padding="0")
    us: NDArray[np.int64] = pc.cast(pc.utf8_slice_codeunits(digits, 0, 6), pa.int64()).to_numpy(
        zero_copy_only=False
    )
    return us


def _zones(column: pa.Array, n: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Offset from UTC in microseconds, and where none is given."""
    coded = column.fill_null("").dictionary_encode()
    words = coded.dictionary.to_pylist()
    codes = coded.indices.to_numpy(zero_copy_only=False)
    offsets = np.array([_offset(word) for word in words], np.int64)
    return offsets[codes], np.array([not word for word in words], np.bool_)[codes]


def _offset(zone: str) -> int:
    if not zone or zone[0] not in "+-":
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    minutes = int(digits[:2]) * 60 + int(digits[2:])
    return (-minutes if zone[0] == "-" else minutes) * 60 * SECOND_US


def _month_names(column: pa.Array, n: int) -> NDArray[np.int64]:
    coded = column.fill_null("").dictionary_encode()
    months: list[Any] = []
    for word in coded.dictionary.to_pylist():
        short = word.lower()
        months.append(_MONTH_OF.get(short[:4]) or _MONTH_OF.get(short[:3]) or 0)
    found: NDArray[np.int64] = np.array(months, np.int64)[coded.indices.to_numpy()]
    return found


def _mask(mask: pa.Array) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = mask.to_numpy(zero_copy_only=False).astype(np.bool_, copy=False)
    return found
