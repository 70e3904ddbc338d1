"""The records of a SQLite file, read page by page without SQLite, so that a damaged schema or tree
does not hide the pages that are good. Used by `salvage.py`. Pure.

Only live cells of the newest version of each page are read. Nothing here is checked: whoever reads
the records knows their checksums. Format: https://www.sqlite.org/fileformat2.html
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from aurelian.edge.outbox.write_ahead_log import WriteAheadLog

Value = int | float | str | bytes | None

_TABLE_LEAF, _INDEX_LEAF, _INDEX_INTERIOR = 13, 10, 2
_INTEGER_BYTES = (0, 1, 2, 3, 4, 6, 8)


@dataclass(frozen=True, slots=True)
class Record:
    """One record. `row_id`: 0 in an index and in a table without row ids."""

    row_id: int
    values: tuple[Value, ...]


def read_records(content: bytes, log: WriteAheadLog, page_size: int) -> list[Record]:
    """All records of a file and its log that can be made out, in no order."""
    pages = {
        number + 1: content[at : at + page_size]
        for number, at in enumerate(range(0, len(content), page_size))
    }
    damaged: dict[int, bytes] = {}
    if log.page_size == page_size:
        for frame in log.frames:
            if frame.whole:
                pages[frame.page] = frame.data
                damaged.pop(frame.page, None)
            else:  # its page number may be wrong: it must not hide another page
                damaged[frame.page] = frame.data
    records = [each for number, page in pages.items() for each in _of_page(number, page, pages)]
    for number, page in damaged.items():
        records += _of_page(number, page, pages)
    return records


def _of_page(number: int, page: bytes, pages: Mapping[int, bytes]) -> Iterator[Record]:
    start = 100 if number == 1 else 0
    if len(page) < start + 12 or page[start] not in (_TABLE_LEAF, _INDEX_LEAF, _INDEX_INTERIOR):
        return
    kind = page[start]
    first = start + (12 if kind == _INDEX_INTERIOR else 8)
    for place in range(first, first + 2 * int.from_bytes(page[start + 3 : start + 5], "big"), 2):
        try:
            at = int.from_bytes(page[place : place + 2], "big")
            yield _cell(kind, page, at, pages)
        except (IndexError, KeyError, ValueError, struct.error):
            continue


def _cell(kind: int, page: bytes, at: int, pages: Mapping[int, bytes]) -> Record:
    at += 4 if kind == _INDEX_INTERIOR else 0
    size, at = _varint(page, at)
    row_id = 0
    if kind == _TABLE_LEAF:
        row_id, at = _varint(page, at)
    if size > len(page) * len(pages):
        raise ValueError("larger than the file")
    usable = len(page)
    least = (usable - 12) * 32 // 255 - 23
    most = usable - 35 if kind == _TABLE_LEAF else (usable - 12) * 64 // 255 - 23
    local = size
    if size > most:
        local = least + (size - least) % (usable - 4)
        local = local if local <= most else least
    payload = [page[at : at + local]]
    left, after = size - local, int.from_bytes(page[at + local : at + local + 4], "big")
    while left > 0:
        following = pages[after]
        payload.append(following[4 : 4 + left])
        left, after = left - (usable - 4), int.from_bytes(following[:4], "big")
    return Record(row_id, _values(b"".join(payload)))


def _values(payload: bytes) -> tuple[Value, ...]:
    head, at = _varint(payload, 0)
    place, values = head, []
    while at < head:
        kind, at = _varint(payload, at)
        value, size = _value(payload, place, kind)
        values.append(value)
        place += size
    if place != len(payload):
        raise ValueError("its columns do not fill it")
    return tuple(values)


def _value(payload: bytes, at: int, kind: int) -> tuple[Value, int]:
    if kind < len(_INTEGER_BYTES):
        size = _INTEGER_BYTES[kind]
        value = int.from_bytes(payload[at : at + size], "big", signed=True)
        return (value if kind else None), size
    if kind == 7:
        return struct.unpack_from(">d", payload, at)[0], 8
    if kind in (8, 9):
        return kind - 8, 0
    if kind < 12:
        raise ValueError("no such kind of value")
    size = (kind - 12) // 2
    data = payload[at : at + size]
    return (data if kind % 2 == 0 else data.decode(errors="replace")), size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(8):
        byte = data[at + place]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + place + 1
    value = value << 8 | data[at + 8]
    return (value - 2**64 if value >= 2**63 else value), at + 9
