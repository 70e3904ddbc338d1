"""Rows of a table as values of signals, by a plan: times, cells, qualities, and what of it cannot
be read. Pure; called by processor.py in a thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aurelian.edge.contract import MAX_AHEAD
from aurelian.model.sample import Flag, ValueType
from aurelian.model.time import HOUR_US
from importer.bad_lines import BadLine
from importer.cell_texts import cell_texts
from importer.cell_words import quality_reader
from importer.cells import Cells, read_cells
from importer.csv_rows import Table
from importer.local_times import LocalTimes, wall_text
from importer.matching import Target
from importer.plan import Plan, ValueColumn
from importer.time_cells import read_times

_FIRST_US = 24 * HOUR_US
"""The store takes no time up to 1970; a day is left for every zone."""

_UNKNOWN_QUALITY = np.uint32(0xFFFFFFFF)


@dataclass(frozen=True, slots=True, eq=False)
class SignalCells:
    """Cells of one signal, none of them empty, in the order of the file. Arrays have one length.

    Attributes:
        rows: index of the row in its table.
        time: int64 microseconds since 1970.
        quality: uint32 OPC UA status codes.
        flags: uint32.
    """

    target: Target
    title: str
    cells: Cells
    rows: NDArray[np.int64]
    time: NDArray[np.int64]
    quality: NDArray[np.uint32]
    flags: NDArray[np.uint32]


@dataclass(slots=True)
class Chunk:
    """What a table has. `empty`: cells without a value. `first`, `last`: times, 0: none."""

    rows: int = 0
    empty: int = 0
    open_times: int = 0
    first: int = 0
    last: int = 0
    signals: list[SignalCells] = field(default_factory=list)
    bad: list[BadLine] = field(default_factory=list)


def make_chunk(table: Table, plan: Plan, clocks: LocalTimes, now: int) -> Chunk:
    """Read a table. `clocks` remembers the line before; `now`: microseconds since 1970."""
    chunk = Chunk(bad=list(table.bad))
    if not table.n:
        return chunk
    reader = _Reader(table, plan, chunk, now)
    time, fine, flags = reader.times(clocks)
    reader.values(time, fine, flags)
    chunk.bad.sort(key=lambda each: each.line)
    return chunk


class _Reader:
    """Reads one table into one chunk."""

    def __init__(self, table: Table, plan: Plan, chunk: Chunk, now: int) -> None:
        self.table, self.plan, self.chunk, self._now = table, plan, chunk, now

    def times(
        self, clocks: LocalTimes
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.uint32]]:
        """Times in UTC, which of them count, and flags."""
        column = self._time_column()
        read = read_times(column, self.plan.time_format)
        fine = read.usable & (read.us > _FIRST_US) & (read.us <= self._now + 2 * _FIRST_US)
        out_of_bounds = read.usable & ~fine
        time, flags = read.us, np.zeros(self.table.n, np.uint32)
        missing = np.zeros(self.table.n, np.bool_)
        local = fine & read.is_local
        if local.any():
            resolved = clocks.resolve(read.us, local, self._streams())
            time = np.where(local, resolved.utc, read.us)
            missing = resolved.missing
            flags[resolved.open & local] |= np.uint32(Flag.TIME_AMBIGUOUS)
            self.chunk.open_times = int((resolved.open & local).sum())
        ahead = fine & (time > self._now + MAX_AHEAD)
        good = fine & ~missing & ~ahead
        blank = ~read.present & self._is_blank()
        ignored = blank | self._is_no_data(column, read.present)
        self.chunk.rows = self.table.n - int(ignored.sum()) + len(self.table.bad)
        unreadable = ~good & ~ignored
        if unreadable.any():
            self._report_times(column, read.us, unreadable, missing, out_of_bounds | ahead)
        if good.any():
            self.chunk.first, self.chunk.last = int(time[good].min()), int(time[good].max())
        return time, good, flags

    def values(
        self,
        time: NDArray[np.int64],
        fine: NDArray[np.bool_],
        flags: NDArray[np.uint32],
    ) -> None:
        """Cells of all signals, of rows with a time that counts."""
        qualities: dict[int, NDArray[np.uint32]] = {}
        for value in self.plan.values:
            cells = read_cells(self.table.columns[value.index], value.marks)
            quality = self._quality(value, fine, qualities)
            taken = fine & (quality != _UNKNOWN_QUALITY)
            if value.target is None:
                self._add_tags(cells, taken, time, quality, flags)
            else:
                rows = np.flatnonzero(taken)
                self._add(value.target, value.title, cells, rows, time, quality, flags)

    def _add_tags(
        self,
        cells: Cells,
        taken: NDArray[np.bool_],
        time: NDArray[np.int64],
        quality: NDArray[np.uint32],
        flags: NDArray[np.uint32],
    ) -> None:
        """Sort the lines of a long table by their signals."""
        codes, names = self._tags()
        targets = [self.plan.tags.get(name.strip()) for name in names]
        known = np.array([target is not None for target in targets], np.bool_)[codes]
        named = np.array([name.strip() in self.plan.tags for name in names], np.bool_)[codes]
        nameless = np.flatnonzero(taken & ~named)
        self._report(nameless, "its tag is none of those that the file had before", "tag")
        rows = np.flatnonzero(taken & known)
        rows = rows[np.argsort(codes[rows], kind="stable")]
        bounds = np.searchsorted(codes[rows], np.arange(len(names) + 1))
        for code, target in enumerate(targets):
            of_it = rows[bounds[code] : bounds[code + 1]]
            if target is not None:
                self._add(target, names[code], cells, of_it, time, quality, flags)

    def _add(
        self,
        target: Target,
        title: str,
        cells: Cells,
        rows: NDArray[np.int64],
        time: NDArray[np.int64],
        quality: NDArray[np.uint32],
        flags: NDArray[np.uint32],
    ) -> None:
        is_text = target.signal.type is ValueType.TEXT
        there = (cells.has_text() if is_text else cells.present)[rows]
        self.chunk.empty += len(rows) - int(there.sum())
        rows = rows[there]
        if not len(rows):
            return
        whole = len(rows) == len(cells)
        self.chunk.signals.append(
            SignalCells(
                target,
                title,
                cells if whole and (np.diff(rows) == 1).all() else cells.take(rows),
                rows,
                time[rows],
                quality[rows],
                flags[rows],
            )
        )

    def _time_column(self) -> pa.Array:
        columns = [self.table.columns[n] for n in self.plan.time_columns]
        if len(columns) == 1:
            return columns[0]
        return pc.binary_join_element_wise(*[pc.cast(c, pa.string()) for c in columns], " ")

    def _streams(self) -> NDArray[np.int64]:
        if self.plan.tag_column is None:
            return np.zeros(self.table.n, np.int64)
        codes, names = self._tags()
        order = {name: number for number, name in enumerate(self.plan.tags)}
        numbers = np.array([order.get(name.strip(), -1) for name in names], np.int64)
        return numbers[codes]

    def _tags(self) -> tuple[NDArray[np.int64], list[str]]:
        assert self.plan.tag_column is not None
        column = self.table.columns[self.plan.tag_column]
        if not pa.types.is_dictionary(column.type):
            column = pc.cast(column, pa.string()).fill_null("").dictionary_encode()
        codes = column.indices.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        return codes, ["" if name is None else name for name in column.dictionary.to_pylist()]

    def _quality(
        self, value: ValueColumn, fine: NDArray[np.bool_], known: dict[int, NDArray[np.uint32]]
    ) -> NDArray[np.uint32]:
        if value.quality is None:
            return np.zeros(self.table.n, np.uint32)
        if value.quality not in known:
            column = pc.cast(self.table.columns[value.quality], pa.string()).fill_null("")
            coded = column.dictionary_encode()
            read = quality_reader(classic=self.plan.classic)
            words = coded.dictionary.to_pylist()
            codes = [read(word) for word in words]
            status = np.array(
                [_UNKNOWN_QUALITY if code is None else code for code in codes], np.uint32
            )[coded.indices.to_numpy(zero_copy_only=False)]
            known[value.quality] = status
            unknown = np.flatnonzero(fine & (status == _UNKNOWN_QUALITY))
            title = self.plan.table.titles[value.quality]
            self._report(unknown, f"column {title!r}: this quality is not known", "quality")
        return known[value.quality]

    def _is_blank(self) -> NDArray[np.bool_]:
        blank = np.ones(self.table.n, np.bool_)
        for column in self.table.columns.values():
            texts = pc.cast(column, pa.string()).fill_null("") if not _is_text(column) else column
            blank &= _mask(pc.equal(pc.utf8_trim_whitespace(texts.fill_null("")), ""))
            if not blank.any():
                break
        return blank

    def _is_no_data(self, column: pa.Array, present: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Comment lines, and a header that comes again (InfluxDB writes one above each table)."""
        none = np.zeros(self.table.n, np.bool_)
        if not _is_text(column):
            return none
        title = " ".join(self.plan.table.titles[n] for n in self.plan.time_columns)
        again = _mask(pc.equal(pc.utf8_trim_whitespace(column.fill_null("")), title))
        first = min(self.table.columns)
        if _is_text(self.table.columns[first]):
            again |= _mask(pc.starts_with(self.table.columns[first].fill_null(""), "#"))
        return again & present | (again & ~present)

    def _report_times(
        self,
        column: pa.Array,
        us: NDArray[np.int64],
        unreadable: NDArray[np.bool_],
        missing: NDArray[np.bool_],
        out_of_bounds: NDArray[np.bool_],
    ) -> None:
        rows = np.flatnonzero(unreadable).tolist()
        for row, (line, text) in zip(rows, self.table.origins(rows), strict=True):
            shown = (cell_texts(column[row : row + 1])[0] or "")[:60]
            if missing[row]:
                reason = (
                    f"{wall_text(int(us[row]))} did not exist in {self.plan.zone}: clocks were "
                    "put forward"
                )
                kind = "missing_hour"
            elif out_of_bounds[row]:
                where = "in the future" if us[row] > _FIRST_US else "before 1970-01-02"
                reason, kind = f"the time {shown!r} lies {where}", "time"
            elif not shown.strip():
                reason, kind = "it has no time", "time"
            else:
                name = self.plan.time_format.name
                reason, kind = f"the time {shown!r} is none of the format {name}", "time"
            self.chunk.bad.append(BadLine(line, reason, kind, text))

    def _report(self, rows: NDArray[Any], reason: str, kind: str) -> None:
        found = rows.tolist()
        for line, text in self.table.origins(found) if found else ():
            self.chunk.bad.append(BadLine(line, reason, kind, text))


def report_cells(chunk: Chunk, table: Table, faults: Sequence[tuple[int, str, str, int]]) -> None:
    """Add bad cells to a chunk's bad lines: row, reason, class and values of each; several of one
    line are one of it."""
    rows = sorted({fault[0] for fault in faults})
    by_row: dict[int, list[tuple[str, str, int]]] = {}
    for row, reason, kind, values in faults:
        by_row.setdefault(row, []).append((reason, kind, values))
    for row, (line, text) in zip(rows, table.origins(rows), strict=True):
        found = by_row[row]
        reason = "; ".join(each[0] for each in found)
        chunk.bad.append(BadLine(line, reason, found[0][1], text, sum(each[2] for each in found)))
    chunk.bad.sort(key=lambda each: each.line)


def _is_text(column: pa.Array) -> bool:
    return bool(pa.types.is_string(column.type))


def _mask(mask: pa.Array) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = mask.to_numpy(zero_copy_only=False).astype(np.bool_, copy=False)
    return found
