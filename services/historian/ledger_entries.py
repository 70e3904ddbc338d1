"""Pure: what one transaction adds to the ledger (D8). Filled by writer.py, written by ledger.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from aurelian.model.time import HOUR_US, LAST_US
from historian.columns import Columns, TableColumns
from historian.decoding import MAX_NUMBER, Rejection
from historian.hour_counts import count_by_hour

_STORED, _DUPLICATE, _REJECTED = range(3)


class LedgerEntries:
    """Counts of a transaction.

    Attributes:
        counts: by source, owner and start of the hour in microseconds: stored, duplicate, rejected.
        arrivals: samples by owner, gateway, boot, source and start of the hour in microseconds: by
            where they came from.
    """

    def __init__(self, sources: Sequence[tuple[str, str]]) -> None:
        """`sources`: source and owner by the index that columns hold."""
        self.counts: dict[tuple[str, str, int], list[int]] = {}
        self.arrivals: dict[tuple[str, str, int, str, int], int] = {}
        self._sources = sources

    def count_arrived(self, rows: TableColumns) -> None:
        """Count what came, and what of it repeats what came before it."""
        self._count(rows.repeated, _DUPLICATE)
        for (origin, index, hour), count in rows.arrived.items():
            source, owner = self._sources[index]
            gateway, boot = rows.origins[origin]
            self._count_arrival((owner, gateway, min(boot, MAX_NUMBER), source, hour), count)

    def count_inserted(
        self, columns: Columns, shared: Columns, new: NDArray[np.bool_] | None, moved: Columns
    ) -> None:
        """Count what an insert of `columns` and `shared` did (`Inserted` of sample_sql.py): what is
        neither new nor moved was there."""
        self._count(count_by_hour(columns, new), _STORED)
        if new is None and not len(shared):
            return
        self._count(count_by_hour(moved), _STORED)
        if new is not None:
            self._count(count_by_hour(columns, ~new), _DUPLICATE)
        self._count(count_by_hour(shared), _DUPLICATE)
        self._count({key: -count for key, count in count_by_hour(moved).items()}, _DUPLICATE)

    def count_rejections(self, rejections: Sequence[Rejection]) -> None:
        """Count the samples of rejected records that have sources."""
        for rejection in rejections:
            counts = rejection.counts
            if counts is None:
                hour = rejection.received_at - rejection.received_at % HOUR_US
                counts = {(rejection.source, hour): rejection.samples}
            for (source, hour), count in counts.items():
                if count:
                    shown = min(max(hour, 0), LAST_US - LAST_US % HOUR_US)
                    self._add((source, rejection.owner, shown), _REJECTED, count)
                    self._count_arrival(
                        (rejection.owner, rejection.gateway, rejection.boot, source, shown), count
                    )

    def _count(self, counts: Mapping[tuple[int, int], int], column: int) -> None:
        for (source, hour), count in counts.items():
            self._add((*self._sources[source], hour), column, count)

    def _add(self, key: tuple[str, str, int], column: int, count: int) -> None:
        self.counts.setdefault(key, [0, 0, 0])[column] += count

    def _count_arrival(self, key: tuple[str, str, int, str, int], count: int) -> None:
        self.arrivals[key] = self.arrivals.get(key, 0) + count
