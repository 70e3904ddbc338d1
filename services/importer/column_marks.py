"""The decimal mark of each column: by its own cells, by those of the others, by the whole file.
Called by plan.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from importer.csv_rows import CsvFile
from importer.number_marks import Evidence, Marks, UndecidedMark, find_evidence
from importer.parquet_rows import ParquetFile
from importer.scanning import distinct

_MOST_CELLS = 100_000


def column_marks(
    table: CsvFile | ParquetFile, columns: Sequence[int], decimal: str
) -> Mapping[int, Marks]:
    """How the numbers of some columns are written. `decimal`: where somebody said it.

    A column whose first cells leave it open (`1.234`, or whole numbers) is written as the others
    are; where no column tells, the rest of the file is looked through.

    Raises:
        UndecidedMark: it stays open.
    """
    texts = [n for n in columns if table.types[n] == "text"]
    if decimal:
        return {n: Marks(decimal if n in texts else ".") for n in columns}
    found = {n: _evidence(table, n, table.column(n)) for n in texts}
    sure = {each.sure for each in found.values() if each.sure}
    if len(sure) != 1:
        for n in texts:
            if not found[n].sure:
                found[n] = _scan(table, n)
            if found[n].sure and not sure:
                sure = {found[n].sure}
                break
    marks = {n: Marks() for n in columns}
    for n, each in found.items():
        if each.sure or len(sure) == 1:
            marks[n] = Marks(each.sure or next(iter(sure)))
            continue
        try:
            marks[n] = Marks(each.mark or ".")
        except UndecidedMark as error:
            raise _asked(table, n, error) from error
    likely = {each.likely for each in found.values() if each.likely}
    if not sure and len(likely) > 1:
        raise UndecidedMark("columns have three digits behind commas, and behind points; " + _SAY)
    return marks


_SAY = "say --decimal , or --decimal ."


def _scan(table: CsvFile | ParquetFile, column: int) -> Evidence:
    """Look through the whole column until it tells."""
    cells: set[str] = set()
    evidence = Evidence()
    for texts in distinct(table, column):
        cells.update(texts[: _MOST_CELLS - len(cells)])
        evidence = _evidence(table, column, [*cells, *texts])
        if evidence.sure:
            break
    return evidence


def _evidence(table: CsvFile | ParquetFile, column: int, cells: Sequence[str]) -> Evidence:
    try:
        return find_evidence(cells)
    except UndecidedMark as error:
        raise _asked(table, column, error) from error


def _asked(table: CsvFile | ParquetFile, column: int, error: UndecidedMark) -> UndecidedMark:
    return UndecidedMark(f"column {table.titles[column]!r}: {error}; {_SAY}")
