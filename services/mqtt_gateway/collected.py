"""Numbers of many messages, on their way to columns; used by json_lane.py and
sparkplug/mapping.py. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from aurelian.edge.columns import NO_TIME, Columns, Numbers, SignalTable
from aurelian.model.sample import ValueType

_DTYPES = {
    ValueType.DOUBLE: np.float64,
    ValueType.INT64: np.int64,
    ValueType.UINT64: np.uint64,
    ValueType.BOOL: np.bool_,
}


Each = tuple[Sequence[int], Sequence[int], Sequence[object], Sequence[int]]
"""Place, handle, value and time of each of some values."""


@dataclass(slots=True)
class _Column:
    """Values of one type: runs of values with one time, and the place of the first of each."""

    places: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    handles: list[int] = field(default_factory=list)
    values: list[object] = field(default_factory=list)


@dataclass(slots=True)
class Collected:
    """Values of messages, in order, by type: doubles, integers, large integers and truths.
    `handles`: of which signals."""

    place: int = 0
    columns: dict[ValueType, _Column] = field(default_factory=dict)
    handles: set[int] = field(default_factory=set)

    def add(
        self, kind: ValueType, handles: Sequence[int], values: Iterable[object], at: int
    ) -> None:
        """Take values of one type; `at`: microseconds since 1970 or `NO_TIME`."""
        column = self.columns.get(kind)
        if column is None:
            column = self.columns[kind] = _Column()
        count = len(handles)
        column.places.append(self.place)
        column.counts.append(count)
        column.times.append(at)
        column.handles.extend(handles)
        column.values.extend(values)
        self.place += count
        self.handles.update(handles)

    def add_each(
        self,
        columns: Mapping[
            ValueType, tuple[Sequence[int], Sequence[int], Sequence[object], Sequence[int]]
        ],
    ) -> None:
        """Take values with a time each: by type the place among all of them from 0, handle, value,
        and time as `add` has it."""
        begin = self.place
        for kind, (places, handles, values, times) in columns.items():
            column = self.columns.get(kind)
            if column is None:
                column = self.columns[kind] = _Column()
            column.places.extend([begin + place for place in places] if begin else places)
            column.counts.extend([1] * len(places))
            column.times.extend(times)
            column.handles.extend(handles)
            column.values.extend(values)
            self.place += len(places)
            self.handles.update(handles)

    def finish(self, table: SignalTable) -> Columns | None:
        """All of it; None: there is nothing."""
        if not self.place:
            return None
        numbers = []
        for kind, column in self.columns.items():
            counts = np.array(column.counts)
            n = len(column.values)
            # Where each run begins in the whole, less where it begins in this column.
            ahead = np.array(column.places) - np.cumsum(counts) + counts
            numbers.append(
                Numbers(
                    kind,
                    (np.arange(n) + np.repeat(ahead, counts)).astype(np.uint32),
                    np.array(column.handles, np.uint32),
                    np.array(column.values, _DTYPES[kind]),
                    np.zeros(n, np.uint32),
                    np.repeat(np.array(column.times, np.int64), counts),
                    np.full(n, NO_TIME, np.int64),
                )
            )
        return Columns(table, tuple(numbers))
