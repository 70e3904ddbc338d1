"""How a text file is a table: cell separator, header, where the data begins. Pure; called by
csv_rows.py with the first lines of the file."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

DELIMITERS = "\t;|,"
"""In the order in which they are believed: a comma may be a decimal mark."""

_SAMPLE_ROWS = 400
_DIGITS = re.compile(r"\d")


class UnreadableFile(ValueError):
    """The file is no table that can be read; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A text table.

    Attributes:
        delimiter: between cells.
        titles: of the columns; columns that no title stands over, but cells, are called `column 5`.
        header_line: where the titles stand, from 1.
        first_line: where the data begins, from 1.
        skipped: lines between header and data (units, comments).
        width: cells of most lines, with empty ones at the end that have no title.
        sample: first rows of data.
    """

    delimiter: str
    titles: tuple[str, ...]
    header_line: int
    first_line: int
    skipped: int
    width: int
    sample: tuple[tuple[str, ...], ...]

    def column(self, index: int) -> list[str]:
        """Cells of a column of the sample."""
        return [row[index] if index < len(row) else "" for row in self.sample]


def find_layout(text: str, delimiter: str = "") -> Layout:
    """Find the table in the first lines of a file. `delimiter`: where somebody said it.

    Raises:
        UnreadableFile: there is none.
    """
    if not text.strip():
        raise UnreadableFile("the file is empty")
    delimiter = delimiter or _find_delimiter(text)
    rows = _rows(text, delimiter)
    width = _usual_width([cells for cells, _ in rows])
    if width < 2:
        raise UnreadableFile(
            "no separator of cells is found; say it, as --delimiter ';' (tab: --delimiter '\\t')"
        )
    table = [n for n, (cells, _) in enumerate(rows) if len(cells) >= width - 1 and _is_data(cells)]
    above = [n for n in range(table[0] if table else len(rows)) if not _is_comment(rows[n][0])]
    if table and not above:
        raise UnreadableFile(
            f"line {_line_of(rows, table[0])} has values and no line above it names the columns; "
            "put a line with their names there"
        )
    # Titles stand over all columns; a name and a date above them, or units below, over some.
    place = max(above, key=lambda n: (_filled(rows[n][0]), -n), default=0)
    header, header_end = rows[place]
    first = place + 1
    while first < len(rows) and not _is_data(rows[first][0]):
        first += 1
    if first == len(rows):
        if any(_filled(cells) for cells, _ in rows[place + 1 :]):
            raise UnreadableFile("below the header stands no line with a time and a value")
        first = place + 1
    titles = _titles(header, [cells for cells, _ in rows[first:]])
    header_line = _line_of(rows, place)
    first_line = header_end + 1 if first == place + 1 else rows[first - 1][1] + 1
    return Layout(
        delimiter,
        titles,
        header_line,
        first_line,
        first - place - 1,
        max(len(titles), _usual_width([cells for cells, _ in rows[first:]])),
        tuple(
            tuple(cells)
            for cells, _ in rows[first:]
            if _filled(cells) and not _is_comment(cells) and cells != header
        ),
    )


def parse_rows(text: str, delimiter: str) -> list[tuple[list[str], int]]:
    """All rows of a text with the number of the line that each ends on, from 1; empty lines are
    left out."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    found: list[tuple[list[str], int]] = []
    try:
        for cells in reader:
            if cells:
                found.append((cells, reader.line_num))
    except csv.Error:
        pass  # what comes after a NUL or an endless cell is judged line by line
    return found


def _rows(text: str, delimiter: str) -> list[tuple[list[str], int]]:
    return parse_rows(text, delimiter)[:_SAMPLE_ROWS]


def _find_delimiter(text: str) -> str:
    best, best_share = ",", 0.0
    for delimiter in DELIMITERS:
        widths = [len(cells) for cells, _ in _rows(text, delimiter)]
        usual = _usual_width_of(widths)
        if usual < 2:
            continue
        share = sum(max(0.0, 1 - abs(width - usual) / 2) for width in widths) / len(widths)
        if share > best_share + 0.1:
            best, best_share = delimiter, share
    return best


def _usual_width(rows: Sequence[Sequence[str]]) -> int:
    return _usual_width_of([len(cells) for cells in rows])


def _usual_width_of(widths: Sequence[int]) -> int:
    """Of the second half: what stands above a table is short."""
    counts = Counter(widths[len(widths) // 2 :])
    return max(counts, key=lambda width: (counts[width], width)) if counts else 0


def _filled(cells: Sequence[str]) -> int:
    return sum(bool(cell.strip()) for cell in cells)


def _is_comment(cells: Sequence[str]) -> bool:
    return cells[0].lstrip().startswith("#")


def _is_data(cells: Sequence[str]) -> bool:
    """At least two cells, or half of those that are filled, begin as numbers or times do."""
    filled = [cell.strip() for cell in cells if cell.strip()]
    digits = sum(bool(_DIGITS.match(cell.lstrip("+-.,"))) and len(cell) < 64 for cell in filled)
    dated = any(re.match(r"^\d{1,4}[-./]\d{1,2}[-./]\d", cell) for cell in filled)
    dated = dated or any(re.match(r"^\d{1,2}[-. ][^\W\d]{3,10}[-. ]\d", cell) for cell in filled)
    return bool(filled) and (dated or digits >= max(1, len(filled) / 2)) and not _is_comment(cells)


def _titles(header: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """One a column; empty columns at the end, from separators there, are left out."""
    width = max((len(row) for row in rows if _filled(row)), default=len(header))
    usual = _usual_width(list(rows)) if rows else len(header)
    width = max(len(header), min(width, usual))
    titles = [" ".join(header[n].split()) if n < len(header) else "" for n in range(width)]
    used = [any(n < len(row) and row[n].strip() for row in rows) for n in range(width)]
    while titles and not titles[-1] and not used[-1]:
        titles.pop()
        used.pop()
    seen: Counter[str] = Counter()
    out = []
    for n, title in enumerate(titles):
        title = title or (f"column {n + 1}" if n else "")
        seen[title] += 1
        out.append(title if seen[title] == 1 else f"{title} ({seen[title]})")
    return tuple(out)


def _line_of(rows: Sequence[tuple[list[str], int]], place: int) -> int:
    """Line that a row begins on, where it has no line ends in cells."""
    return rows[place][1]
