"""The compact form in which the outbox stores an encoded batch, and the way back to the same bytes.
Used by `segment.py` and `salvage.py`. Pure.

A batch repeats its signals' ids and paths (150 bytes each) and has columns of slowly changing
numbers. The compact form names each signal by its number in the file's `SignalTable`, turns times
into differences, sorts the bytes of a column by their place in the number (so that equal ones stand
side by side) and compresses the whole with LZ4: about 17 bytes a sample instead of 200. Of a small
batch only the signals are named, and the rest is compressed as it is: the light form.
"""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import cramjam
import numpy as np
from numpy.typing import NDArray

from aurelian.edge.outbox import light
from aurelian.edge.outbox.signal_table import SignalTable
from aurelian.model.codec import COLUMNS, REPEATED
from aurelian.model.wire import LENGTH_DELIMITED, fields, read_varint, skipped

_MARK = b"\x07"
"""First byte of what `pack` changed: no protobuf message begins with it (there is no wire type 7),
so rows of before the compact form read as they are. The second byte says how it was changed."""

_AS_IS, _COMPACT, _LIGHT = b"\0", b"\1", b"\2"

_LIGHT_SAMPLES = 24
"""Batches of no more samples are stored in the light form: numpy's calls for each column would cost
more than what they save (431 against 122 us for ten samples, which take 25 or 27 bytes each)."""

_REPEATED = "repeated"
_HEAD = struct.Struct("<II")
_PLAIN, _ZIGZAG, _PREVIOUS, _SOURCE_TIME = range(4)
"""How a column's numbers are written: as they are; signed as unsigned; less the number before; less
the sample's source time."""

_TIMES = {
    "source_time": (_PREVIOUS,),
    "server_time": (_SOURCE_TIME, _PREVIOUS),
    "gateway_time": (_SOURCE_TIME, _PREVIOUS),
}
"""The codings that are tried for a column of times; the one with the smaller numbers is taken."""


class CompactError(ValueError):
    """The stored bytes or the signals they name are damaged."""


def pack(data: bytes, signals: SignalTable, samples: int) -> bytes:
    """Return what is stored of a batch's bytes: the compact form, of few `samples` the light one,
    or the bytes as they are where they are no batch with keys or would not come back."""
    is_small = samples <= _LIGHT_SAMPLES
    packed = light.packed(data, signals) if is_small else _packed(data, signals)
    if packed is not None:
        form = _LIGHT if is_small else _COMPACT
        compressed = bytes(cramjam.lz4.compress_block(packed))
        stored = _MARK + form + struct.pack("<I", zlib.crc32(data)) + compressed
        # Read back before the machine is acknowledged: after that it would be too late to find
        # that a batch does not come out as it went in.
        with contextlib.suppress(CompactError):
            if unpack(stored, signals) == data:
                return stored
    return _MARK + _AS_IS + data if data[:1] == _MARK else data


def unpack(stored: bytes, signals: SignalTable) -> bytes:
    """Return the bytes that `pack` was given.

    Raises:
        CompactError: they cannot be had again, since the stored bytes or the table are damaged.
    """
    if stored[:1] != _MARK:
        return stored
    if stored[1:2] == _AS_IS:
        return stored[2:]
    restored = light.restored if stored[1:2] == _LIGHT else _restored
    try:
        data = restored(bytes(cramjam.lz4.decompress_block(stored[6:])), signals)
    except (ValueError, KeyError, IndexError, struct.error, cramjam.DecompressionError) as error:
        raise CompactError(f"a compact row is damaged: {error}") from error
    if struct.pack("<I", zlib.crc32(data)) != stored[2:6]:
        raise CompactError("a compact row does not give the bytes that were stored")
    return data


def _packed(data: bytes, signals: SignalTable) -> bytes | None:
    outline: list[bytes] = []
    repeated: list[bytes] = []
    columns: dict[str, tuple[int, bytes]] = {}
    at = 0
    try:
        for key, _, first, end in fields(data):
            if key in REPEATED:
                repeated.append(data[first:end])
                outline.append(data[at:first])
                at = end
            elif key in COLUMNS:
                name, width = COLUMNS[key]
                if name in columns or (width and (end - first) % width):
                    return None
                columns[name] = (width, data[first:end])
                outline.append(data[at:first])
                at = end
    except IndexError:
        return None
    outline.append(data[at:])
    _, dictionary = columns.pop("dictionary", (0, b""))
    _, keys = columns.pop("dictionary_keys", (0, b""))
    numbers = signals.numbers_of(dictionary, keys)
    if not numbers:
        return None
    numbers.append(signals.number_of_text(b"".join(repeated)))
    frame = b"".join(outline)
    parts = [_HEAD.pack(len(frame), len(numbers)), frame, _pack_numbers(numbers)]
    source = _NONE
    for name, (width, content) in columns.items():
        if width == 1:
            parts.append(content)
            continue
        column = np.frombuffer(content, f"<u{width}")
        coding, coded = _PLAIN, column
        if name in _TIMES or name == "ints":
            coding, coded = _smallest(column, source, _TIMES.get(name, (_ZIGZAG,)))
        if name == "source_time":
            source = column
        parts += (bytes([coding]), _by_place(coded))
    return b"".join(parts)


def _restored(payload: bytes, signals: SignalTable) -> bytes:
    length, count = _HEAD.unpack_from(payload)
    at = _HEAD.size + length
    frame = payload[_HEAD.size : at]
    numbers, at = _unpack_numbers(payload, at, count)
    dictionary, keys = signals.entries_of(numbers[:-1])
    repeated, text = signals.text_of(numbers[-1]), 0
    given = {"dictionary": dictionary, "dictionary_keys": keys}
    out: list[bytes] = []
    source = _NONE
    for head, name, width, size in _outline(frame):
        out.append(head)
        if name in given:
            out.append(given[name])
            continue
        if name == _REPEATED:
            out.append(repeated[text : text + size])
            text += size
            continue
        if width == 1:
            out.append(payload[at : at + size])
            at += size
            continue
        column = _of_places(payload[at + 1 : at + 1 + size], width)
        column = _decode(column, payload[at], source)
        at += 1 + size
        if name == "source_time":
            source = column
        out.append(column.tobytes())
    return b"".join(out)


def _outline(frame: bytes) -> Iterator[tuple[bytes, str, int, int]]:
    """Walk a message without the contents that stand elsewhere: the bytes up to a content, its
    name, width and size; at last what follows them all, without a name."""
    at = pos = 0
    while pos < len(frame):
        key, pos = read_varint(frame, pos)
        if key in COLUMNS or key in REPEATED:
            size, pos = read_varint(frame, pos)
            name, width = COLUMNS.get(key, (_REPEATED, 0))
            yield frame[at:pos], name, width, size
            at = pos
            continue
        if key & 7 == LENGTH_DELIMITED:
            size, pos = read_varint(frame, pos)
            pos += size
        else:
            pos = skipped(frame, pos, key)
    yield frame[at:], "", 1, 0


def _smallest(
    column: NDArray[Any], source: NDArray[Any], codings: Sequence[int]
) -> tuple[int, NDArray[Any]]:
    tried = [
        (coding, _code(column, coding, source))
        for coding in codings
        if coding != _SOURCE_TIME or len(source) == len(column)
    ]
    if len(tried) == 1:
        return tried[0]
    return min(tried, key=lambda each: int(each[1].max(initial=0)))


def _code(column: NDArray[Any], coding: int, source: NDArray[Any]) -> NDArray[Any]:
    """(n,) unsigned to (n,) unsigned; differences wrap around, so that every number comes back."""
    signed = column.view(f"<i{column.itemsize}")
    if coding == _PREVIOUS:
        signed = signed.copy()
        signed[1:] -= column.view(signed.dtype)[:-1]
    elif coding == _SOURCE_TIME:
        signed = (column - source).view(signed.dtype)
    coded: NDArray[Any] = ((signed << 1) ^ (signed >> (8 * column.itemsize - 1))).view(column.dtype)
    return coded


def _decode(coded: NDArray[Any], coding: int, source: NDArray[Any]) -> NDArray[Any]:
    if coding == _PLAIN:
        return coded
    one = coded.dtype.type(1)
    column: NDArray[Any] = (coded >> one) ^ np.negative(coded & one)
    if coding == _PREVIOUS:
        return np.cumsum(column, dtype=coded.dtype)
    return column + source if coding == _SOURCE_TIME else column


def _by_place(column: NDArray[Any]) -> bytes:
    """All lowest bytes first, then all second ones, and so on."""
    return column.view(np.uint8).reshape(-1, column.itemsize).T.tobytes()


def _of_places(data: bytes, width: int) -> NDArray[Any]:
    turned = np.frombuffer(data, np.uint8).reshape(width, -1).T
    column: NDArray[Any] = np.ascontiguousarray(turned).view(f"<u{width}").reshape(-1)
    return column


def _pack_numbers(numbers: list[int]) -> bytes:
    return _by_place(_code(np.array(numbers, "<u4"), _PREVIOUS, _NONE))


def _unpack_numbers(data: bytes, at: int, count: int) -> tuple[list[int], int]:
    end = at + 4 * count
    return _decode(_of_places(data[at:end], 4), _PREVIOUS, _NONE).tolist(), end


_NONE: NDArray[Any] = np.zeros(0, "<u8")
