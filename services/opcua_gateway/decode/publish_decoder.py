"""The items of DataChangeNotifications: numbers to columns, all else to Notifications. Pure; called
by notifications.py, once per block of a message.

Python only finds where each number begins: one look into a table an item, and none an item in runs
of one layout. The fields of all numbers are then read by numpy, as columns; where a message has
few, one by one, which costs less than making the columns.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from aurelian.edge.columns import Numbers
from aurelian.model.sample import Value, ValueType
from opcua_gateway.data_types.structures import Types
from opcua_gateway.decode.item_layouts import (
    HEAD,
    LARGEST,
    NUMBERS,
    PLAIN_NUMBERS,
    SERVER_AT,
    SIZES,
    SOURCE_AT,
    STATUS_AT,
    TAILS,
    VALUE,
    read_at,
    read_where,
    to_us,
    to_us_column,
)
from opcua_gateway.decode.values import to_text, to_value
from opcua_gateway.decode.variants import UNREADABLE, Reader, read_variant
from opcua_gateway.mapping import Notification

_COLUMNS: dict[ValueType, DTypeLike] = {
    ValueType.DOUBLE: np.float64,
    ValueType.INT64: np.int64,
    ValueType.UINT64: np.uint64,
    ValueType.BOOL: np.bool_,
}

_STRING, _BYTE_STRING = 12, 15
_INT32 = struct.Struct("<i").unpack_from
_UINT32 = struct.Struct("<I").unpack_from

_PATIENCE = 16
"""Items of one layout after which a run is looked for, at first."""

_SHORTEST_RUN = 64
"""Items of a run that is read by itself; a shorter one costs less with the others."""

FEWEST_IN_COLUMNS = 32
"""Numbers in a message from which columns cost less, from here to the outbox."""


class Damage(ValueError):
    """An item that cannot be read; where the next one begins is not known.

    Attributes:
        position: where the item begins.
    """

    def __init__(self, position: int, why: str) -> None:
        super().__init__(why)
        self.position = position


class Items:
    """The items of a message, block after block; structures of `types` to their fields.

    Attributes:
        count: items so far.
    """

    def __init__(self, data: bytes, types: Types) -> None:
        self.count = 0
        self._data, self._types = data, types
        self._others: list[Notification] = []
        self._other_places: list[int] = []
        self._starts: list[int] = []
        self._runs: list[_Run] = []

    def read(self, position: int, end: int, count: int) -> None:
        """Take `count` items from a position on.

        Raises:
            Damage: not all of them are there; those before it were taken.
        """
        data, sizes, add = self._data, SIZES, self._starts.append
        safe = end - LARGEST
        place, last = self.count, self.count + count
        previous, same, patience = -1, 0, _PATIENCE
        try:
            while place < last:
                key = -1
                if position <= safe:
                    key = data[position + 4] << 8 | data[position + 5]
                    size = sizes[key]
                else:
                    size = _size_near_end(data, position, end)
                if not size:
                    position = self._read_other(place, position, end)
                    place += 1
                    continue
                if key != previous:
                    previous, same = key, 0
                elif (same := same + 1) >= patience:
                    length = self._read_run(place, position, end, last - place, key)
                    place += length
                    position += size * length
                    same = 0
                    if length < _SHORTEST_RUN:
                        patience *= 2  # or types that change often cost more than they bring
                    continue
                add(position)
                position += size
                place += 1
        except UNREADABLE as error:
            raise Damage(position, repr(error)) from error
        finally:
            self.count = place

    def values(self) -> tuple[tuple[Numbers, ...], tuple[Notification, ...], tuple[int, ...]]:
        """The numbers so far as columns, by type, and all else with its places; where they are few,
        the numbers are among the others."""
        if not self._runs and len(self._starts) < FEWEST_IN_COLUMNS:
            return (), tuple(self._one_by_one()), tuple(range(self.count))
        parts: dict[ValueType, list[Numbers]] = {}
        for part in self._scattered():
            parts.setdefault(part.type, []).append(part)
        for run in self._runs:
            part = run.numbers(self._data)
            parts.setdefault(part.type, []).append(part)
        numbers = tuple(_joined(parts[kind]) for kind in _COLUMNS if kind in parts)
        return numbers, tuple(self._others), tuple(self._other_places)

    def _one_by_one(self) -> Iterable[Notification]:
        """All items, in order; there are no runs."""
        data = self._data
        if not self._others:
            return [_number_at(data, start) for start in self._starts]
        starts, others = (
            iter(self._starts),
            dict(zip(self._other_places, self._others, strict=True)),
        )
        return [
            others[place] if place in others else _number_at(data, next(starts))
            for place in range(self.count)
        ]

    def _read_run(self, place: int, position: int, end: int, most: int, key: int) -> int:
        """Take the items of one layout that follow each other; return how many."""
        size = SIZES[key]
        most = min(most, (end - position) // size)
        layout = key >> 8 | (key & 0xFF) << 8  # as the two bytes stand on the wire
        found = np.ndarray((most,), "<u2", self._data, position + 4, (size,))
        length, window = 0, 4 * _SHORTEST_RUN
        while length < most:
            differs = found[length : length + window] != layout
            first = int(differs.argmax())
            if differs[first]:
                length += first
                break
            length += len(differs)
            window *= 2  # never look at much more than is taken
        if length < _SHORTEST_RUN:
            self._starts.extend(range(position, position + length * size, size))
        else:
            self._runs.append(_Run(place, position, length, key))
        return length

    def _read_other(self, place: int, position: int, end: int) -> int:
        """Take an item that is no number; return where the next one begins."""
        data = self._data
        if position + 5 > end:
            raise ValueError("the end in the middle of an item")
        mask = data[position + 4]
        at = position + 5
        value: Value = None
        kind = ValueType.NULL
        if mask & VALUE:
            wire = data[at] if at < end else -1
            if wire in (_STRING, _BYTE_STRING):
                if at + 5 > end:
                    raise ValueError("the end in the middle of an item")
                (length,) = _INT32(data, at + 1)
                at += 5
                if length >= 0:
                    if length > end - at:
                        raise ValueError(f"a length of {length}, {end - at} bytes are left")
                    value, kind = data[at : at + length], ValueType.BYTES
                    if wire == _STRING:
                        value, kind = to_text(value)
                    at += length
                elif length < -1:
                    raise ValueError(f"a length of {length}")
            elif wire == 0:
                at += 1
            else:
                reader = Reader(data, at, end, self._types)
                content = read_variant(reader)
                try:
                    value, kind = to_value(*content)
                except UNREADABLE:  # nested deeper than JSON can be made: it ends where it ends
                    value, kind = data[at : reader.position], ValueType.BYTES
                at = reader.position
        unpack, size, status, source, server = TAILS[mask >> 1 & 0x1F]
        if at + size > end:
            raise ValueError("the end in the middle of an item")
        tail = (*unpack(data, at), 0)
        (handle,) = _UINT32(data, position)
        found = Notification(
            handle, value, kind, tail[status], to_us(tail[source]), to_us(tail[server])
        )
        self._others.append(found)
        self._other_places.append(place)
        return at + size

    def _scattered(self) -> Iterable[Numbers]:
        """The numbers beside the runs, in order of type."""
        if not self._starts:
            return
        data = self._data
        starts = np.array(self._starts, np.int64)
        keys = read_at(data, starts + 4, ">u2")
        places = self._places()
        handle = read_at(data, starts, "<u4")
        status = read_where(data, starts, STATUS_AT[keys], "<u4")
        source = to_us_column(read_where(data, starts, SOURCE_AT[keys], "<i8"))
        server = to_us_column(read_where(data, starts, SERVER_AT[keys], "<i8"))
        wire = keys & 0xFF
        order = np.argsort(wire.astype(np.uint8), kind="stable")
        counts = np.bincount(wire, minlength=20).tolist()
        end = 0
        for number, (letter, kind) in NUMBERS.items():
            begin, end = end, end + counts[number]
            if begin == end:
                continue
            index = order[begin:end]
            yield Numbers(
                kind,
                places[index],
                handle[index],
                _cast(read_at(data, starts[index] + HEAD, letter), kind),
                status[index],
                source[index],
                server[index],
            )

    def _places(self) -> NDArray[np.uint32]:
        """Places of the numbers beside the runs: those that nothing else has."""
        free = np.ones(self.count, np.bool_)
        free[self._other_places] = False
        for run in self._runs:
            free[run.place : run.place + run.length] = False
        return np.flatnonzero(free).astype(np.uint32)


@dataclass(frozen=True, slots=True)
class _Run:
    """Items of one layout that follow each other."""

    place: int
    start: int
    length: int
    key: int

    def numbers(self, data: bytes) -> Numbers:
        letter, kind = NUMBERS[self.key & 0xFF]
        size = SIZES[self.key]

        def column(offset: int, letter: str) -> NDArray[Any]:
            return np.ndarray((self.length,), letter, data, self.start + offset, (size,))

        def optional(offset: int, letter: str) -> NDArray[Any]:
            return column(offset, letter) if offset > 0 else np.zeros(self.length, letter)

        return Numbers(
            kind,
            np.arange(self.place, self.place + self.length, dtype=np.uint32),
            column(0, "<u4").astype(np.uint32),
            _cast(column(HEAD, letter), kind),
            optional(int(STATUS_AT[self.key]), "<u4").astype(np.uint32),
            to_us_column(optional(int(SOURCE_AT[self.key]), "<i8")),
            to_us_column(optional(int(SERVER_AT[self.key]), "<i8")),
        )


def _number_at(data: bytes, start: int) -> Notification:
    """The number that begins at a position; all of it is there."""
    unpack, size, kind = PLAIN_NUMBERS[data[start + 5]]
    (value,) = unpack(data, start + HEAD)
    unpack_tail, _, status, source, server = TAILS[data[start + 4] >> 1 & 0x1F]
    tail = (*unpack_tail(data, start + HEAD + size), 0)
    (handle,) = _UINT32(data, start)
    return Notification(handle, value, kind, tail[status], to_us(tail[source]), to_us(tail[server]))


def _size_near_end(data: bytes, position: int, end: int) -> int:
    """Size of an item where the table may lead beyond the end; 0: it is no number."""
    if position + HEAD > end:
        return 0
    size = SIZES[data[position + 4] << 8 | data[position + 5]]
    if position + size > end:
        raise ValueError("the end in the middle of an item")
    return size


def _joined(parts: list[Numbers]) -> Numbers:
    """Parts of one type as one, in order of their places."""
    if len(parts) == 1:
        return parts[0]
    order = np.argsort(np.concatenate([part.place for part in parts]), kind="stable")
    return Numbers(
        parts[0].type,
        *(
            np.concatenate([getattr(part, name) for part in parts])[order]
            for name in ("place", "handle", "values", "status", "source_time", "server_time")
        ),
    )


def _cast(values: NDArray[Any], kind: ValueType) -> NDArray[Any]:
    if kind is ValueType.BOOL:
        return values.astype(np.bool_)  # any byte but 0 is true
    with np.errstate(invalid="ignore"):  # a signalling NaN of a Float
        return values.astype(_COLUMNS[kind])
