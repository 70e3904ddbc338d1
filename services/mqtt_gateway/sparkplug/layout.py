"""Where the numbers lie in messages of one shape, so that all of a message are read at once.

An edge node sends the same metrics again and again: only the bytes of values and times change, and
where they lie stays as long as no varint grows. A layout is learned from a message that `lane` has
read; another message has it if every byte beside values and times is the same. Both ways give the
same columns (test_layout.py). Pure; used by lane.py.

Wire format: protobuf.dev/programming-guides/encoding; field numbers: proto/sparkplug_b.proto.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_TIMESTAMP, _METRICS, _SEQ = 1, 2, 3
_NAME, _ALIAS, _METRIC_TIME, _DATATYPE, _HISTORICAL, _TRANSIENT, _NULL = 1, 2, 3, 4, 5, 6, 7
INT, LONG, _FLOAT, _DOUBLE, BOOLEAN = 10, 11, 12, 13, 14
"""Fields of a metric that have its value."""

_WIRE_TYPES = {
    _NAME: _BYTES,
    **dict.fromkeys((_ALIAS, _METRIC_TIME, _DATATYPE, _HISTORICAL, _TRANSIENT, _NULL), _VARINT),
    **dict.fromkeys((INT, LONG, BOOLEAN), _VARINT),
    _FLOAT: _FIXED32,
    _DOUBLE: _FIXED64,
}
_VALUES = (INT, LONG, _FLOAT, _DOUBLE, BOOLEAN)
_VALUE = 0  # whichever of these


class _Unusual(Exception):
    """A message that has no layout."""


class _Field(NamedTuple):
    """Of a message: its number, wire type, and where its content begins and ends."""

    number: int
    wire: int
    begin: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class Gather:
    """Numbers of one field and one length: (n,) places of the metrics in the message, ascending,
    and (n, length) of the bytes of each."""

    field: int
    place: NDArray[np.intp]
    at: NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Of messages of one length.

    Attributes:
        values: by their field; times: of those metrics that have one.
    """

    values: tuple[Gather, ...]
    times: tuple[Gather, ...]
    _mask: NDArray[np.uint8]
    _same: NDArray[np.uint8]

    @classmethod
    def of(cls, data: bytes, metrics: int) -> Layout | None:
        """Learn it; None: a field that no ordinary number has, or one twice.

        `metrics`: how many the message has.
        """
        mask = np.full(len(data), 0xFF, np.uint8)
        values: dict[tuple[int, int], list[tuple[int, int]]] = {}
        times: dict[tuple[int, int], list[tuple[int, int]]] = {}
        place = 0
        try:
            for outer in _fields(data, 0, len(data)):
                if outer.number == _METRICS and outer.wire == _BYTES:
                    seen: set[int] = set()
                    for field in _fields(data, outer.begin, outer.end):
                        once = _VALUE if field.number in _VALUES else field.number
                        if _WIRE_TYPES.get(field.number) != field.wire or once in seen:
                            return None
                        seen.add(once)
                        number, length = field.number, field.end - field.begin
                        if number == BOOLEAN and length > 1:
                            return None
                        if number in _VALUES or number == _METRIC_TIME:
                            mask[field.begin : field.end] = 0x80 if field.wire == _VARINT else 0
                            into = times if number == _METRIC_TIME else values
                            into.setdefault((number, length), []).append((place, field.begin))
                    if _VALUE not in seen:
                        return None
                    place += 1
                elif outer.number in (_TIMESTAMP, _SEQ) and outer.wire == _VARINT:
                    mask[outer.begin : outer.end] = 0x80
                else:
                    return None
        except _Unusual:
            return None
        if place != metrics:
            return None
        same = np.frombuffer(data, np.uint8) & mask
        return cls(_gathers(values), _gathers(times), mask, same)

    def bytes_of(self, data: bytes) -> NDArray[np.uint8] | None:
        """(n,) the bytes of a message of this length; None: its layout is another."""
        found = np.frombuffer(data, np.uint8)
        return found if np.array_equal(found & self._mask, self._same) else None


def read(data: NDArray[np.uint8], gather: Gather) -> NDArray[Any]:
    """(n,) numbers of a message that has the layout: uint64 as they stand there, float64 or
    bool."""
    found = data[gather.at]
    if gather.field == _DOUBLE:
        doubles: NDArray[np.float64] = found.view("<f8").ravel()
        return doubles
    if gather.field == _FLOAT:
        floats: NDArray[np.float64] = found.view("<f4").ravel().astype(np.float64)
        return floats
    if gather.field == BOOLEAN:
        truths: NDArray[np.bool_] = found.ravel() != 0
        return truths
    bits = found.astype(np.uint64) & np.uint64(0x7F)
    number: NDArray[np.uint64] = bits[:, 0].copy()
    for n in range(1, bits.shape[1]):
        number |= bits[:, n] << np.uint64(7 * n)  # of a tenth byte what does not fit goes
    # As protobuf reads a uint32 that some encoders write with all bits of a negative number.
    return number & np.uint64(0xFFFF_FFFF) if gather.field == INT else number


def _gathers(
    found: dict[tuple[int, int], list[tuple[int, int]]],
) -> tuple[Gather, ...]:
    gathers = []
    for (field, length), each in found.items():
        place, begin = np.array(each).T
        at = (begin[:, None] + np.arange(length)).astype(np.int32)
        gathers.append(Gather(field, place.astype(np.intp), at))
    return tuple(gathers)


def _fields(data: Sequence[int], at: int, end: int) -> Iterator[_Field]:
    """The fields of a message that lies in `data`.

    Raises:
        _Unusual: a wire type of which no field that is wanted is, or it ends within a field.
    """
    while at < end:
        tag, at = _varint(data, at, end)
        begin, wire = at, tag & 7
        match wire:
            case 0:
                _, at = _varint(data, at, end)
            case 1:
                at += 8
            case 2:
                length, begin = _varint(data, at, end)
                at = begin + length
            case 5:
                at += 4
            case _:
                raise _Unusual
        if at > end:
            raise _Unusual
        yield _Field(tag >> 3, wire, begin, at)


def _varint(data: Sequence[int], at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _Unusual
