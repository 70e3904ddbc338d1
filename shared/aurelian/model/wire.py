"""Protobuf's wire format, as far as batches are read and written without its objects. Used by
`codec.py` and by the outbox. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

LENGTH_DELIMITED = 2
"""Wire type of strings, bytes, messages and packed columns."""

_FEW_FIELDS = 40
"""Beyond this many fields (each text is one) walking them in Python costs more than protobuf."""


@lru_cache(maxsize=1024)
def varint(value: int) -> bytes:
    """Return an unsigned integer in protobuf's variable length."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def tag(number: int) -> bytes:
    """Return what stands before each value of a field."""
    return varint(number << 3 | LENGTH_DELIMITED)


def read_varint(data: bytes, pos: int) -> tuple[int, int]:
    """Return the integer at a position and the position after it.

    Raises:
        IndexError: the bytes end within it, or it is longer than 64 bits.
    """
    value = data[pos]
    pos += 1
    if value < 128:
        return value, pos
    value &= 127
    shift = 7
    while (more := data[pos]) > 127:
        value |= (more & 127) << shift
        shift += 7
        pos += 1
        if shift > 63:
            raise IndexError(f"number at byte {pos} has no end")
    return value | more << shift, pos + 1


def skipped(data: bytes, pos: int, key: int) -> int:
    """The position after a field's number; `key`: its tag, not of a length-delimited one."""
    match key & 7:
        case 0:
            return read_varint(data, pos)[1]
        case 1:
            return pos + 8
        case _:
            return pos + 4


def fields(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Walk the fields of a message: tag, position of the tag, of the value, and of what follows.

    Raises:
        IndexError: the bytes end within a field, or are no protobuf.
    """
    pos, end = 0, len(data)
    while pos < end:
        start = pos
        key, pos = read_varint(data, pos)
        first = pos
        match key & 7:
            case 0:
                _, pos = read_varint(data, pos)
            case 1:
                pos += 8
            case 2:
                length, first = read_varint(data, pos)
                pos = first + length
            case 5:
                pos += 4
            case _:
                raise IndexError(f"wire type {key & 7} at byte {start}")
        if pos > end:
            raise IndexError(f"field at byte {start} ends beyond the message")
        yield key, start, first, pos


def split(
    data: bytes, columns: Mapping[int, tuple[str, int]]
) -> tuple[bytes, dict[str, bytes]] | None:
    """Take packed columns out of a message as they stand, little-endian; the rest is for protobuf.

    `columns`: name and bytes an entry by tag; a field of width 0 is left out of both parts.

    None where protobuf must read it all: columns unpacked or in pieces, many texts, or something
    broken. Does what `fields` does, inlined: this loop is a third of the cost of a small batch.
    """
    found: dict[str, bytes] = {}
    rest: list[bytes] = []
    pos, end = 0, len(data)
    try:
        for _ in range(_FEW_FIELDS):
            if pos == end:
                return b"".join(rest), found
            start = pos
            key = data[pos]
            pos += 1
            if key > 127:
                if data[pos] > 127:
                    return None
                key = key & 127 | data[pos] << 7
                pos += 1
            wire_type = key & 7
            if wire_type == LENGTH_DELIMITED:
                length = data[pos]
                pos += 1
                if length > 127:
                    length, pos = read_varint(data, pos - 1)
                first, pos = pos, pos + length
                column = columns.get(key)
                if column is not None:
                    name, width = column
                    if pos > end or name in found:
                        return None
                    if not width:
                        continue
                    values = data[first:pos]
                    # A packed bool may be written as any varint that is not zero.
                    if length % width or (width == 1 and values.translate(None, b"\0\1")):
                        return None
                    found[name] = values
                    continue
            elif wire_type == 1:
                pos += 8
            elif wire_type == 0:
                _, pos = read_varint(data, pos)
            elif wire_type == 5:
                pos += 4
            packed = key & ~7 | LENGTH_DELIMITED
            if pos > end or packed in columns or 2 < wire_type < 5 or wire_type > 5:
                return None
            rest.append(data[start:pos])
    except IndexError:
        return None
    return None
