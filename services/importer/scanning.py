"""Looks through a whole column before anything is decided: which tags there are, which day comes
first. Called by plan.py."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from importer.column_roles import is_time_title
from importer.csv_rows import CsvFile
from importer.parquet_rows import ParquetFile

_SCAN_BYTES = 2**22


def distinct(table: CsvFile | ParquetFile, column: int) -> Iterator[list[str]]:
    """The distinct texts of a column, block by block, without those of comment lines; of times the
    part before the clock."""
    is_text = table.types[0] == "text"
    wanted = (column, 0) if is_text and column else (column,)
    for part in table.tables(table.start(), wanted, _SCAN_BYTES):
        texts = pc.cast(part.columns[column], pa.string()).fill_null("")
        if is_text:
            first = pc.cast(part.columns[0], pa.string()).fill_null("")
            texts = texts.filter(pc.invert(pc.starts_with(first, "#")))
        if is_time_title(table.titles[column]):
            texts = pc.replace_substring_regex(texts, r"^\s*(\S+)[\sT].*$", r"\1")
        yield pc.unique(texts).to_pylist()
