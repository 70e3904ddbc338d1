"""Where the fields of a monitored item stand on the wire: tables by mask and type, and what numpy
reads by them. Pure; for publish_decoder.py.

An item is a handle (u32), the DataValue's mask (u8) and what the mask announces, in the order of
part 6, 5.2.2.17: value, status, source time, source picoseconds, server time, server picoseconds.
A value begins with the Variant's byte: type, array bit, dimensions bit.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aurelian.edge.columns import NO_TIME
from aurelian.model.sample import ValueType

_TICKS_OF_1602 = 315_360_000_000_000
_TICKS_OF_9999 = 2_650_152_384_000_000_000
_US_OF_1601 = -11_644_473_600_000_000

# Bits of a DataValue's mask (part 6, 5.2.2.17).
VALUE, _STATUS, _SOURCE, _SERVER, _SOURCE_PICO, _SERVER_PICO = 1, 2, 4, 8, 16, 32

HEAD = 6
"""Bytes before an item's value: handle, mask, the Variant's byte."""

NUMBERS: dict[int, tuple[str, ValueType]] = {
    1: ("u1", ValueType.BOOL),
    2: ("i1", ValueType.INT64),
    3: ("u1", ValueType.INT64),
    4: ("<i2", ValueType.INT64),
    5: ("<u2", ValueType.INT64),
    6: ("<i4", ValueType.INT64),
    7: ("<u4", ValueType.INT64),
    8: ("<i8", ValueType.INT64),
    9: ("<u8", ValueType.UINT64),
    10: ("<f4", ValueType.DOUBLE),
    11: ("<f8", ValueType.DOUBLE),
    19: ("<u4", ValueType.INT64),  # StatusCode
}
"""Types of the wire that become columns."""

_CODES = {"u1": "B", "i1": "b", "<i2": "<h", "<u2": "<H", "<i4": "<i", "<u4": "<I"}
_CODES |= {"<i8": "<q", "<u8": "<Q", "<f4": "<f", "<f8": "<d"}

PLAIN_NUMBERS = {
    number: (form.unpack_from, form.size, kind)
    for number, (letter, kind) in NUMBERS.items()
    # Any byte but 0 is true.
    for form in [struct.Struct("?" if kind is ValueType.BOOL else _CODES[letter])]
}
"""The same, to be read one by one: how to unpack, size, type."""


def read_at(data: bytes, positions: NDArray[np.int64], letter: str) -> NDArray[Any]:
    """What stands at each position."""
    width = np.dtype(letter).itemsize
    return np.ndarray((len(data) - width + 1,), letter, data, 0, (1,))[positions]


def read_where(
    data: bytes, starts: NDArray[np.int64], offsets: NDArray[np.int16], letter: str
) -> NDArray[Any]:
    """What stands at an offset in each item; 0 where the offset is `_ABSENT`."""
    found = read_at(data, starts + offsets, letter)
    found[offsets == _ABSENT] = 0
    return found


def to_us_column(ticks: NDArray[Any]) -> NDArray[np.int64]:
    """Ticks of 100 ns since 1601 as microseconds since 1970, cut; as `to_us`."""
    found = ticks.astype(np.int64)
    none = (found < _TICKS_OF_1602) | (found >= _TICKS_OF_9999)
    found //= 10
    found += _US_OF_1601
    found[none] = NO_TIME
    return found


def to_us(ticks: int) -> int | None:
    """Ticks as microseconds; None for the first and the last year that the wire can have, which say
    that there is no time (part 6, 5.2.2.5)."""
    if _TICKS_OF_1602 <= ticks < _TICKS_OF_9999:
        return ticks // 10 + _US_OF_1601
    return None


_ABSENT = -8
"""Offset of a field that an item does not have: some bytes that are there and are not used, as a
message has a longer head."""


def _layout(mask: int) -> tuple[int, int, int, int]:
    """Offsets of status, source and server time behind an item's value, and the size of all."""
    offset, found = 0, dict.fromkeys((_STATUS, _SOURCE, _SERVER), _ABSENT)
    for bit, width in (
        (_STATUS, 4),
        (_SOURCE, 8),
        (_SOURCE_PICO, 2),
        (_SERVER, 8),
        (_SERVER_PICO, 2),
    ):
        if mask & bit:
            if bit in found:
                found[bit] = offset
            offset += width
    return found[_STATUS], found[_SOURCE], found[_SERVER], offset


def _tail(mask: int) -> tuple[Callable[[bytes, int], tuple[int, ...]], int, int, int, int]:
    """How to unpack what stands behind a value: the function, the size, and the index of status,
    source and server time; the index of what is absent is that of a 0 put behind."""
    letters = "<"
    index: dict[int, int] = {}
    for bit, letter in (
        (_STATUS, "I"),
        (_SOURCE, "q"),
        (_SOURCE_PICO, "2x"),
        (_SERVER, "q"),
        (_SERVER_PICO, "2x"),
    ):
        if mask & bit:
            letters += letter
            if letter != "2x":
                index[bit] = len(index)
    form = struct.Struct(letters)
    return (
        form.unpack_from,
        form.size,
        index.get(_STATUS, -1),
        index.get(_SOURCE, -1),
        index.get(_SERVER, -1),
    )


TAILS = [_tail(bits << 1) for bits in range(32)]
"""By mask >> 1."""


def _tables() -> tuple[bytes, NDArray[np.int16], NDArray[np.int16], NDArray[np.int16]]:
    """By mask << 8 | the Variant's byte: size of an item (0: no number), offsets of its fields."""
    sizes = bytearray(1 << 16)
    offsets = np.full((3, 1 << 14), _ABSENT, np.int16)
    for mask in range(VALUE, 1 << 6, 2):
        *fields, size = _layout(mask)
        for number, (letter, _) in NUMBERS.items():
            key, value_end = mask << 8 | number, HEAD + np.dtype(letter).itemsize
            sizes[key] = value_end + size
            for row, offset in enumerate(fields):
                if offset != _ABSENT:
                    offsets[row, key] = value_end + offset
    return bytes(sizes), offsets[0], offsets[1], offsets[2]


SIZES, STATUS_AT, SOURCE_AT, SERVER_AT = _tables()
LARGEST = max(SIZES)
