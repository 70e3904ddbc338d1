"""A Parquet file as a table, some rows at a time, a row group after the other. Called by plan.py
and processor.py."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from importer.cell_texts import cell_texts
from importer.csv_layout import UnreadableFile
from importer.csv_rows import Place, Table

_SAMPLE_ROWS = 400
_ROW_BYTES = 64
"""About what a row is in memory: how many rows are read at once follows from it."""


class ParquetFile:
    """A Parquet file with columns that are no lists and no structures.

    Raises:
        UnreadableFile: it is none.
        OSError: it cannot be read.
    """

    kind = "Parquet"

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = pa.parquet.ParquetFile(path, pre_buffer=False, buffer_size=2**20)
        except pa.ArrowInvalid as error:
            raise UnreadableFile(f"it is no Parquet file: {error}") from error
        except OSError as error:
            raise _damaged(error) from error
        schema = self._file.schema_arrow
        self.titles = tuple(schema.names)
        self.types = [_type_name(schema.field(n).type) for n in range(len(schema.names))]
        nested = [
            title for n, title in enumerate(self.titles) if pa.types.is_nested(schema.field(n).type)
        ]
        if nested:
            raise UnreadableFile(
                f"the columns {', '.join(nested)} have lists or structures in their cells; leave "
                "them out where the file is made"
            )
        twice = sorted({title for title in self.titles if self.titles.count(title) > 1})
        if twice:
            raise UnreadableFile(
                f"several columns are called {', '.join(map(repr, twice))}; give each a name of "
                "its own where the file is made"
            )
        self._sample: pa.Table | None = None

    @property
    def size(self) -> int:
        """Rows: what `Place.offset` ends at."""
        return int(self._file.metadata.num_rows)

    def start(self) -> Place:
        """Where the data begins."""
        return Place(0, 1)

    def column(self, index: int) -> list[str]:
        """First cells of a column, as texts."""
        if self._sample is None:
            try:
                batches = list(islice(self._file.iter_batches(_SAMPLE_ROWS), 1))
            except OSError as error:
                raise _damaged(error) from error
            self._sample = pa.Table.from_batches(batches, self._file.schema_arrow)
        return [text or "" for text in cell_texts(self._sample.column(index))]

    def tables(self, at: Place, wanted: Sequence[int], block_bytes: int) -> Iterator[Table]:
        """Yield the rows from a place on."""
        groups, first = self._groups_from(at.offset)
        rows = max(256, block_bytes // _ROW_BYTES)
        skip = at.offset - first
        names = [self.titles[n] for n in wanted]
        offset = first
        for batch in self._file.iter_batches(rows, row_groups=groups, columns=names):
            if skip >= batch.num_rows:
                skip -= batch.num_rows
                offset += batch.num_rows
                continue
            part = batch.slice(skip)
            offset += skip
            skip = 0
            yield _table(part, names, wanted, offset)
            offset += part.num_rows

    def _groups_from(self, row: int) -> tuple[list[int], int]:
        """The row groups that have a row or come after it, and the first row of the first."""
        first = 0
        for group in range(self._file.num_row_groups):
            here = self._file.metadata.row_group(group).num_rows
            if row < first + here:
                return list(range(group, self._file.num_row_groups)), first
            first += here
        return [], first


def _table(part: pa.RecordBatch, names: Sequence[str], wanted: Sequence[int], at: int) -> Table:
    columns = {n: part.column(name) for n, name in zip(wanted, names, strict=True)}

    def origins(rows: Sequence[int]) -> list[tuple[int, str]]:
        taken = part.take(pa.array(rows, pa.int64()))
        cells = {name: cell_texts(taken.column(name)) for name in names}
        return [
            (at + row + 1, ", ".join(f"{k}={v[n]}" for k, v in cells.items() if v[n] is not None))
            for n, row in enumerate(rows)
        ]

    end = at + part.num_rows
    return Table(columns, part.num_rows, [], Place(end, end + 1), origins)


def _damaged(error: OSError) -> Exception:
    """What is said of an error: of the disk that itself, of the library that the file is none."""
    if error.errno is not None:
        return error
    return UnreadableFile(f"the file is damaged: {error}; have it made anew")


def _type_name(kind: pa.DataType) -> str:
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return "time"
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    return "text"
