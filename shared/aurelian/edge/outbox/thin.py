"""Fewer values in old batches, where the outbox is full and its owner said that it may: of each
signal the least, the greatest and the last number of each minute stay. Called by `outbox.py`. Pure.

Only good numbers with a fraction are thinned, the telemetry. Texts, truth values and integers stay
(states, counters), and so does every value that is not good, that has a flag, or is no number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aurelian.edge.outbox.rows import OutboxRow, RecordKind
from aurelian.model import codec
from aurelian.model.sample import CHOSEN_TIME, SampleBatch, ValueType

_MINUTE = 60_000_000
_HOUR = 3_600_000_000
_ORDINARY = np.uint32(CHOSEN_TIME)


@dataclass(frozen=True, slots=True)
class Loss:
    """Values of one source that were left out, of one hour of receipt. Times in microseconds."""

    source: str
    owner: str
    hour: int
    from_time: int
    to_time: int
    count: int


def thin(rows: Sequence[OutboxRow]) -> tuple[list[OutboxRow], list[Loss]]:
    """The rows with fewer values, under their numbers, and what was left out of them; a row that
    cannot be decoded stays as it is."""
    batches: list[SampleBatch | None] = [_decoded(row) for row in rows]
    keep = _choose([batch for batch in batches if batch is not None])
    thinned: list[OutboxRow] = []
    losses: dict[tuple[str, str, int], Loss] = {}
    for row, batch in zip(rows, batches, strict=True):
        if batch is not None:
            kept = keep.pop(0)
            if not kept.all():
                _add_losses(losses, batch, ~kept)
                data = codec.encode(batch.take(kept))
                row = replace(row, data=data, samples=int(kept.sum()))
        thinned.append(row)
    return thinned, sorted(losses.values(), key=lambda each: (each.source, each.hour))


def _decoded(row: OutboxRow) -> SampleBatch | None:
    if row.kind is not RecordKind.SAMPLES:
        return None
    try:
        return codec.decode(row.data)
    except codec.DecodeError:
        return None


def _choose(batches: Sequence[SampleBatch]) -> list[NDArray[np.bool_]]:
    """For each batch which of its samples stay."""
    lengths = [len(batch) for batch in batches]
    if not sum(lengths):
        return [np.ones(length, np.bool_) for length in lengths]
    numbers: dict[str, int] = {}
    signal = np.concatenate([_numbered(batch, numbers) for batch in batches])
    time = np.concatenate([batch.time for batch in batches])
    value = np.concatenate([_doubles(batch) for batch in batches])
    ordinary = [(batch.status == 0) & ((batch.flags & ~_ORDINARY) == 0) for batch in batches]
    thinnable = np.concatenate(ordinary) & np.isfinite(value)
    keep = ~thinnable
    (place,) = np.nonzero(thinnable)
    signal, time, value = signal[place], time[place], value[place]
    minute = time // _MINUTE
    by_value = np.lexsort((value, minute, signal))
    by_time = np.lexsort((time, minute, signal))
    ends = np.ones(len(place), np.bool_)
    ends[:-1] = (np.diff(signal[by_value]) != 0) | (np.diff(minute[by_value]) != 0)
    begins = np.roll(ends, 1)
    # Both orders have the same groups.
    for order, chosen in ((by_value, begins), (by_value, ends), (by_time, ends)):
        keep[place[order[chosen]]] = True
    return np.split(keep, np.cumsum(lengths)[:-1])


def _numbered(batch: SampleBatch, numbers: dict[str, int]) -> NDArray[np.int64]:
    here = [numbers.setdefault(signal.id, len(numbers)) for signal in batch.signals]
    chosen: NDArray[np.int64] = np.array(here, np.int64)[batch.signal]
    return chosen


def _doubles(batch: SampleBatch) -> NDArray[np.float64]:
    out = np.full(len(batch), np.nan)
    out[batch.type == ValueType.DOUBLE] = batch.doubles
    return out


def _add_losses(
    losses: dict[tuple[str, str, int], Loss], batch: SampleBatch, left_out: NDArray[np.bool_]
) -> None:
    hours = batch.gateway_time // _HOUR * _HOUR
    sources = np.array([signal.source for signal in batch.signals], object)[batch.signal]
    for source in set(sources[left_out].tolist()):
        for hour in np.unique(hours[left_out]).tolist():
            times = batch.time[left_out & (sources == source) & (hours == hour)]
            if not len(times):
                continue
            key = source, batch.owner, hour
            before = losses.get(key, Loss(*key, int(times.min()), int(times.max()), 0))
            losses[key] = replace(
                before,
                from_time=min(before.from_time, int(times.min())),
                to_time=max(before.to_time, int(times.max())),
                count=before.count + len(times),
            )
