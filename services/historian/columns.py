"""What rows of the sample tables are in memory: columns, one array each. Made by
sample_columns.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class SignalKeys:
    """What the signals of one dictionary are in this store; entries in the dictionary's order.

    Attributes:
        keys: `historian.signal.key`.
        sources: index into the catalog's list of sources, for the ledger.
        numeric: the plant model declares a number.
        refused: class and reason by index of the signals of which nothing may be stored.
    """

    keys: NDArray[np.int32]
    sources: NDArray[np.int32]
    numeric: NDArray[np.bool_]
    refused: Mapping[int, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Rows of one sample table, sorted by (signal, time, sub), no key twice. Times: int64
    microseconds since 1970.

    Attributes:
        source_time, server_time: 0 stands for null.
        value: doubles, NaN for null; for other tables the number that the rollups see, NaN for
            none.
        objects: per row the text, bytes, JSON or integer; empty for numbers.
        source: index of the source, for the ledger.
    """

    signal: NDArray[np.int32]
    time: NDArray[np.int64]
    sub: NDArray[np.int32]
    source_time: NDArray[np.int64]
    server_time: NDArray[np.int64]
    gateway_time: NDArray[np.int64]
    status: NDArray[np.uint32]
    flags: NDArray[np.int32]
    type: NDArray[np.uint8]
    value: NDArray[np.float64]
    source: NDArray[np.int32]
    objects: Sequence[object] = ()

    def __len__(self) -> int:
        return len(self.signal)

    def pick(self, chosen: NDArray[np.intp] | NDArray[np.bool_]) -> Columns:
        """The rows that an index array or a mask names, in that order."""
        where = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen
        return Columns(
            self.signal[chosen],
            self.time[chosen],
            self.sub[chosen],
            self.source_time[chosen],
            self.server_time[chosen],
            self.gateway_time[chosen],
            self.status[chosen],
            self.flags[chosen],
            self.type[chosen],
            self.value[chosen],
            self.source[chosen],
            [self.objects[i] for i in where.tolist()] if len(self.objects) else (),
        )


Counts = dict[tuple[int, int], int]
"""Samples by (source index, start of the hour of receipt in microseconds)."""


Arrived = dict[tuple[int, int, int], int]
"""Samples by (origin, source index, start of the hour of receipt)."""


@dataclass(frozen=True, slots=True)
class TableColumns:
    """What a transaction writes into the sample tables.

    Attributes:
        shared_numbers, shared_texts, shared_others: samples whose key comes earlier among the same
            rows with another content, in order of arrival: the store finds them a free `sub`.
        repeated: counts samples whose key came earlier with the same content, and repeats.
        origins: the (gateway, boot) that the samples came from; `arrived` counts by their index.
    """

    numbers: Columns
    texts: Columns
    others: Columns
    shared_numbers: Columns
    shared_texts: Columns
    shared_others: Columns
    repeated: Counts
    origins: Sequence[tuple[str, int]]
    arrived: Arrived
