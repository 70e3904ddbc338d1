"""Cells of a Parquet file as texts, whatever stands in them. Called by parquet_rows.py and
chunks.py."""

from __future__ import annotations

import pyarrow as pa


def cell_texts(column: pa.Array | pa.ChunkedArray) -> list[str | None]:
    """The text of each cell; None: it is null."""
    try:
        return [None if each is None else str(each) for each in column.to_pylist()]
    except (ValueError, OverflowError):
        # A time with nanoseconds, or of a year that Python's dates do not know.
        pass
    try:
        found: list[str | None] = column.cast(pa.string()).to_pylist()
        return found
    except pa.ArrowException:
        return [None if each is None else str(each) for each in column.cast(pa.int64()).to_pylist()]
