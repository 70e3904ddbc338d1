"""Pure: count samples by source and hour of receipt, as the ledger has them. Used by
sample_columns.py and ledger_entries.py."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aurelian.model.sample import SampleBatch
from aurelian.model.time import HOUR_US
from historian.columns import Arrived, Columns, Counts, SignalKeys


def count_arrived(
    batches: Sequence[tuple[SampleBatch, SignalKeys]], columns: Columns
) -> tuple[list[tuple[str, int]], Arrived]:
    """Count what came by gateway and boot: most transactions have one of them."""
    index: dict[tuple[str, int], int] = {}
    of_batch = [index.setdefault((b.gateway, b.boot), len(index)) for b, _ in batches]
    if len(index) <= 1:
        counts = _count(columns.source, columns.gateway_time)
        return list(index), {(0, *key): count for key, count in counts.items()}
    origin = np.repeat(np.array(of_batch, np.int32), [len(batch) for batch, _ in batches])
    sources = int(columns.source.max(initial=0)) + 1
    counts = _count(columns.source + origin * np.int32(sources), columns.gateway_time)
    return list(index), {
        (key // sources, key % sources, hour): count for (key, hour), count in counts.items()
    }


def count_by_hour(
    columns: Columns, chosen: NDArray[np.bool_] | NDArray[np.intp] | None = None
) -> Counts:
    """Count rows by source and hour of receipt; a mask or an index array limits them."""
    source, received = columns.source, columns.gateway_time
    if chosen is not None:
        source, received = source[chosen], received[chosen]
    return _count(source, received)


def _count(source: NDArray[np.int32], received: NDArray[np.int64]) -> Counts:
    if not len(source):
        return {}
    hours = received // HOUR_US
    first = int(hours.min())
    span = int(hours.max()) - first + 1
    if span * (int(source.max()) + 1) < 1_000_000:
        found = np.bincount(source.astype(np.int64) * span + (hours - first))
        keys = np.flatnonzero(found)
        return {
            (key // span, (key % span + first) * HOUR_US): count
            for key, count in zip(keys.tolist(), found[keys].tolist(), strict=True)
        }
    pairs, counts = np.unique(
        np.stack([source.astype(np.int64), hours]), axis=1, return_counts=True
    )
    return {
        (s, h * HOUR_US): c
        for s, h, c in zip(pairs[0].tolist(), pairs[1].tolist(), counts.tolist(), strict=True)
    }
