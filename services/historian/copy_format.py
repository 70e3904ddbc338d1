"""Pure: PostgreSQL's binary COPY format from arrays. Called by writer.py.

Format: 11 bytes of signature, two empty words, then per row the number of fields and per field its
length and its big-endian bytes (length -1: null), then -1. Rows with the same nulls have the same
layout, so each such group is one numpy record array and its memory is the block to send.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from historian.columns import Columns

HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER = b"\xff\xff"

PG_EPOCH_US = 946_684_800_000_000
"""2000-01-01 in microseconds since 1970: where PostgreSQL counts from."""

KEY_COLUMNS = ("signal", "time", "sub")
SAMPLE_COLUMNS = (
    *KEY_COLUMNS,
    "source_time",
    "server_time",
    "gateway_time",
    "status",
    "flags",
    "type",
)
"""Columns that all sample tables share, in the order of the blocks; the values follow."""

_WIDTH = {
    "ordinal": ">i4",
    "signal": ">i4",
    "time": ">i8",
    "sub": ">i4",
    "source_time": ">i8",
    "server_time": ">i8",
    "gateway_time": ">i8",
    "status": ">i8",
    "flags": ">i4",
    "type": ">i2",
    "value": ">f8",
}
_TIMES = frozenset({"time", "source_time", "server_time", "gateway_time"})


def number_blocks(columns: Columns, *, ordinal: int | None = None) -> Iterator[bytes]:
    """Blocks for `sample_number`: one per combination of nulls. `ordinal`: the row's index comes
    first, counted from there."""
    nulls = (
        (columns.source_time == 0).astype(np.uint8)
        | (columns.server_time == 0).astype(np.uint8) << 1
        | np.isnan(columns.value).astype(np.uint8) << 2
    )
    names = (("ordinal",) if ordinal is not None else ()) + SAMPLE_COLUMNS + ("value",)
    for code in np.flatnonzero(np.bincount(nulls, minlength=8)).tolist():
        absent = {
            name
            for bit, name in enumerate(("source_time", "server_time", "value"))
            if code >> bit & 1
        }
        chosen = None if (nulls == code).all() else nulls == code
        yield _records(columns, names, absent, len(names), chosen, ordinal or 0).tobytes()


def object_blocks(
    columns: Columns, values: Sequence[Sequence[bytes | None]], *, ordinal: int | None = None
) -> Iterator[bytes]:
    """Blocks for a table whose values are texts, bytes or the like: `values` has a column each,
    already encoded."""
    names = (("ordinal",) if ordinal is not None else ()) + SAMPLE_COLUMNS
    nulls = (columns.source_time == 0).astype(np.uint8) | (columns.server_time == 0).astype(
        np.uint8
    ) << 1
    for code in np.flatnonzero(np.bincount(nulls, minlength=4)).tolist():
        absent = {
            name for bit, name in enumerate(("source_time", "server_time")) if code >> bit & 1
        }
        chosen = nulls == code
        records = _records(columns, names, absent, len(names) + len(values), chosen, ordinal or 0)
        fixed, width = records.tobytes(), records.itemsize
        out = bytearray()
        for k, i in enumerate(np.flatnonzero(chosen).tolist()):
            out += fixed[k * width : (k + 1) * width]
            for column in values:
                value = column[i]
                out += (
                    b"\xff\xff\xff\xff" if value is None else struct.pack(">i", len(value)) + value
                )
        yield bytes(out)


def encode_numeric(value: int) -> bytes:
    """An integer as PostgreSQL's binary numeric: base 10000, weight of the first digit, sign, scale
    0."""
    digits = []
    rest = abs(value)
    while rest:
        rest, digit = divmod(rest, 10_000)
        digits.append(digit)
    weight = len(digits) - 1
    digits.reverse()
    while digits and digits[-1] == 0:
        digits.pop()
    sign = 0x4000 if value < 0 else 0
    return struct.pack(f">hhHh{len(digits)}H", len(digits), max(weight, 0), sign, 0, *digits)


def _records(
    columns: Columns,
    names: Sequence[str],
    absent: set[str],
    fields: int,
    chosen: NDArray[np.bool_] | None,
    first_ordinal: int,
) -> NDArray[np.void]:
    """The fixed part of the chosen rows as one record array."""
    layout: list[tuple[str, str]] = [("fields", ">i2")]
    for name in names:
        layout.append((f"{name} length", ">i4"))
        if name not in absent:
            layout.append((name, _WIDTH[name]))
    dtype = np.dtype(layout)
    template = np.zeros(1, dtype)
    template["fields"] = fields
    for name in names:
        template[f"{name} length"] = -1 if name in absent else dtype[name].itemsize
    count = len(columns) if chosen is None else int(chosen.sum())
    records = np.repeat(template, count)
    for name in names:
        if name in absent:
            continue
        if name == "ordinal":
            places = np.arange(len(columns)) if chosen is None else np.flatnonzero(chosen)
            records[name] = places + first_ordinal
            continue
        column = getattr(columns, name)
        part = column if chosen is None else column[chosen]
        records[name] = part - PG_EPOCH_US if name in _TIMES else part
    return records
