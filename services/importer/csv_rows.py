"""A text file as a table, block by block: arrays of texts, and the lines that are none. Called by
plan.py and processor.py."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from importer.bad_lines import BadLine
from importer.csv_layout import Layout, find_layout, parse_rows
from importer.text_blocks import (
    Block,
    detect_encoding,
    named_encoding,
    read_blocks,
    read_head,
)

_HEAD_BYTES = 2**18


@dataclass(frozen=True, slots=True)
class Place:
    """How far a file is read: `offset` in bytes (Parquet: rows), `line` of what comes next."""

    offset: int
    line: int


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Some rows.

    Attributes:
        columns: (n,) cells by index of the column, those that were asked for.
        bad: lines that are no rows.
        then: where the next ones begin.
        origins: line number and text of rows, by index.
    """

    columns: dict[int, pa.Array]
    n: int
    bad: list[BadLine]
    then: Place
    origins: Callable[[Sequence[int]], list[tuple[int, str]]]


class CsvFile:
    """A text file with a table. `encoding`, `delimiter`: where somebody said it.

    Raises:
        UnreadableFile: there is no table in it.
        ValueError: no text can be read by that encoding.
        OSError: it cannot be read.
    """

    kind = "CSV"

    def __init__(self, path: Path, encoding: str = "", delimiter: str = "") -> None:
        self.path = path
        with path.open("rb") as file:
            found = detect_encoding(file.read(_HEAD_BYTES))
        if encoding:
            found = named_encoding(encoding, found)
        self.encoding = found
        self.layout: Layout = find_layout(read_head(path, self.encoding), delimiter)
        self.titles = self.layout.titles

    @property
    def types(self) -> list[str]:
        """What the columns are declared as: texts all."""
        return ["text"] * len(self.titles)

    @property
    def size(self) -> int:
        """Bytes: what `Place.offset` ends at."""
        return self.path.stat().st_size

    def column(self, index: int) -> list[str]:
        """First cells of a column, as texts."""
        return self.layout.column(index)

    def start(self) -> Place:
        """Where the data begins."""
        skip = self.layout.first_line - 1
        for block in read_blocks(self.path, self.encoding, 0, _HEAD_BYTES, b'"'):
            ends = _line_starts(block.data)
            head = block.data[: ends[skip] if skip < len(ends) else len(block.data)]
            if self.encoding.is_wide:
                size = len(head.decode().encode(self.encoding.name))
            else:  # not by encoding it again: not each text is written in one way alone
                size = _raw_size(self.path, block, skip)
            return Place(block.offset + size, skip + 1)
        return Place(self.encoding.bom_bytes, 1)

    def tables(self, at: Place, wanted: Sequence[int], block_bytes: int) -> Iterator[Table]:
        """Yield the rows from a place on, about `block_bytes` of the file at once."""
        line = at.line
        for block in read_blocks(self.path, self.encoding, at.offset, block_bytes, b'"'):
            table = _parse(block, self.layout, line, wanted)
            line = table.then.line
            yield table


def _parse(block: Block, layout: Layout, line: int, wanted: Sequence[int]) -> Table:
    data = block.data
    lines = _count_lines(data)
    then = Place(block.end, line + lines)
    if not data.strip():
        return Table({n: pa.array([], pa.string()) for n in wanted}, 0, [], then, lambda _: [])
    invalid: list[pa.csv.InvalidRow] = []
    names = [str(n) for n in range(layout.width)]

    def take_invalid(row: pa.csv.InvalidRow) -> str:
        invalid.append(row)
        return "skip"

    try:
        found = pa.csv.read_csv(
            pa.BufferReader(data),
            pa.csv.ReadOptions(
                use_threads=False, column_names=names, block_size=max(len(data) + 1, 1024)
            ),
            pa.csv.ParseOptions(
                delimiter=layout.delimiter,
                newlines_in_values=True,
                invalid_row_handler=take_invalid,
            ),
            pa.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                include_columns=[str(n) for n in wanted],
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid:
        return _parse_slowly(block, layout, line, wanted, then)
    if any(_needs_care(row, layout) for row in invalid):
        return _parse_slowly(block, layout, line, wanted, then)
    columns = {n: _one_chunk(found.column(str(n))) for n in wanted}
    n = found.num_rows
    is_plain = n + len(invalid) == lines

    def origins(rows: Sequence[int]) -> list[tuple[int, str]]:
        texts = data.decode("utf-8", errors="replace")
        if not is_plain:
            return _origins_slowly(texts, layout, line, invalid, rows)
        split = _split_lines(texts)
        taken = {row.number - 1 for row in invalid}
        places = [place for place in range(lines) if place not in taken] if taken else range(lines)
        return [(line + places[row], split[places[row]]) for row in rows]

    bad = _wrong_widths(data, layout, line, invalid, is_plain=is_plain)
    return Table(columns, n, bad, then, origins)


def _needs_care(row: pa.csv.InvalidRow, layout: Layout) -> bool:
    """A row that the quick parser does not judge rightly: separators at the end, an open quote."""
    text = row.text.rstrip("\r\n")
    if "\n" in text or "\r" in text or '"' in text:
        return True
    if row.actual_columns == len(layout.titles):
        return True
    return bool(row.actual_columns > row.expected_columns and text.endswith(layout.delimiter))


def _wrong_widths(
    data: bytes,
    layout: Layout,
    line: int,
    invalid: Sequence[pa.csv.InvalidRow],
    *,
    is_plain: bool,
) -> list[BadLine]:
    if not invalid:
        return []
    numbers = [row.number for row in invalid]
    if not is_plain:
        ends = [end for _, end in parse_rows(data.decode(errors="replace"), layout.delimiter)]
        numbers = [ends[number - 1] if number <= len(ends) else number for number in numbers]
    return [
        _wrong_width(line + number - 1, row.text, row.actual_columns, len(layout.titles))
        for number, row in zip(numbers, invalid, strict=True)
        if not row.text.lstrip().startswith("#")
    ]


def _wrong_width(line: int, text: str, actual: int, expected: int) -> BadLine:
    cells = "1 cell" if actual == 1 else f"{actual} cells"
    return BadLine(line, f"{cells}, the header has {expected}", "cells", text.rstrip("\r\n"))


def _parse_slowly(
    block: Block, layout: Layout, line: int, wanted: Sequence[int], then: Place
) -> Table:
    """Row by row: separators at the end of a line are taken, and of a quote that is never closed
    only its own line is lost."""
    text = block.data.decode("utf-8", errors="replace")
    split = _split_lines(text)
    width = len(layout.titles)
    rows: list[list[str]] = []
    places: list[tuple[int, str]] = []
    bad: list[BadLine] = []

    def take(cells: list[str], number: int, original: str) -> None:
        if len(cells) > width and not any(cell.strip() for cell in cells[width:]):
            cells = cells[:width]
        if len(cells) == width:
            rows.append(cells)
            places.append((number, original))
        elif cells and not cells[0].lstrip().startswith("#"):
            bad.append(_wrong_width(number, original, len(cells), width))

    before = 0
    parsed = parse_rows(text, layout.delimiter)
    if not parsed or parsed[-1][1] < len(split):
        parsed = [*parsed, ([], len(split))]
    for cells, end in parsed:
        own = split[before:end]
        fits = len(cells) == width or (
            len(cells) > width and not any(cell.strip() for cell in cells[width:])
        )
        if fits or end - before == 1:
            take(cells, line + end - 1 if len(own) < 2 else line + before, "\n".join(own))
        else:
            for n, single in enumerate(own, start=before):
                again = parse_rows(single, layout.delimiter)
                take(again[0][0] if again else [], line + n, single)
        before = end
    columns = {n: pa.array([row[n] for row in rows], pa.string()) for n in wanted}
    return Table(columns, len(rows), bad, then, lambda chosen: [places[row] for row in chosen])


def _origins_slowly(
    text: str,
    layout: Layout,
    line: int,
    invalid: Sequence[pa.csv.InvalidRow],
    rows: Sequence[int],
) -> list[tuple[int, str]]:
    split = _split_lines(text)
    taken = {row.number - 1 for row in invalid}
    ends = [end for _, end in parse_rows(text, layout.delimiter)]
    spans = []
    before = 0
    for n, end in enumerate(ends):
        while before < end - 1 and not split[before].strip():
            before += 1  # empty lines before it
        if n not in taken:
            spans.append((before, end))
        before = end
    return [
        (line + spans[row][0], "\n".join(split[slice(*spans[row])]))
        if row < len(spans)
        else (line, "")
        for row in rows
    ]


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _count_lines(data: bytes) -> int:
    end = b"\n" if b"\n" in data else b"\r"
    return data.count(end) + (not data.endswith(end))


def _split_lines(text: str) -> list[str]:
    """Lines as they are counted; `splitlines` would also split at what stands inside of texts."""
    if "\n" in text:
        lines = [each.removesuffix("\r") for each in text.split("\n")]
    else:
        lines = text.split("\r")
    if lines and not lines[-1]:
        lines.pop()
    return lines


def _line_starts(data: bytes) -> list[int]:
    end = b"\n" if b"\n" in data else b"\r"
    starts, place = [0], data.find(end)
    while place >= 0:
        starts.append(place + 1)
        place = data.find(end, place + 1)
    return starts


def _raw_size(path: Path, block: Block, skip: int) -> int:
    """Bytes of the first lines as they stand in the file."""
    with path.open("rb") as file:
        file.seek(block.offset)
        starts = _line_starts(file.read(block.end - block.offset))
    return starts[skip] if skip < len(starts) else block.end - block.offset


_WHOLE_BYTES = 256 * 2**20
_PIECES, _PIECE_BYTES = 64, 2**20


def fingerprint(path: Path) -> str:
    """Identity of a file's content: size and SHA-256, of a file over 256 MB that of 64 pieces of a
    megabyte spread over it, first and last among them.

    Raises:
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        if size <= _WHOLE_BYTES:
            while piece := file.read(_PIECE_BYTES):
                digest.update(piece)
        else:
            for n in range(_PIECES):
                file.seek((size - _PIECE_BYTES) * n // (_PIECES - 1))
                digest.update(file.read(_PIECE_BYTES))
    return digest.hexdigest()
