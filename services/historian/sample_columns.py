"""Pure: turn batches of samples into sorted columns of the three sample tables. Called by
writer.py, in a thread.

Arrays all the way: what is done per sample here is done by numpy, except for texts, bytes, JSON and
huge integers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from aurelian.model.sample import (
    AT_GATEWAY_TIME,
    BAD,
    MAX_EXACT_INT,
    Flag,
    SampleBatch,
    ValueType,
)
from aurelian.model.time import FIRST_US, HOUR_US, LAST_US

T = TypeVar("T", bound=np.generic)

STATUS_BITS = 16
"""Bits of a status below its code: limits, history, overflow. The same value read back from a
server's history has others (OPC UA part 4, 7.39)."""

MOST_SUB = 2**30
"""The largest `sub` that is taken from a batch: room for those that the store gives."""

FUTURE_LIMIT_US = HOUR_US
"""A source time further ahead of its receipt than this is unusable (D8)."""


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


def make_columns(batches: Sequence[tuple[SampleBatch, SignalKeys]], now_us: int) -> TableColumns:
    """Make the rows of all batches.

    A time that no source can mean (before 1970, or more than an hour after its receipt) is replaced
    by the gateway's and flagged, unless the gateway did so. A double that is no number becomes a
    null with a Bad status. A repeat (HEARTBEAT) is no row: its value came before it.
    """
    everything, is_number, is_text = _join(batches, now_us)
    origins, arrived = _count_arrived(batches, everything)
    beats = (everything.flags & np.int32(Flag.HEARTBEAT)) != 0
    repeats: Counts = {}
    if beats.any():
        repeats = count_by_hour(everything, beats)
        everything = everything.pick(~beats)
        is_number, is_text = is_number[~beats], is_text[~beats]
    everything, shared, repeated = _sort(
        everything, np.where(is_number, 0, np.where(is_text, 1, 2)).astype(np.int8)
    )
    none = everything.pick(np.zeros(0, np.intp))
    if is_number.all():
        rows, shared_rows = (everything, none, none), (shared, none, none)
    else:
        rows, shared_rows = _by_table(everything), _by_table(shared)
    for key, count in repeats.items():
        repeated[key] = repeated.get(key, 0) + count
    return TableColumns(*rows, *shared_rows, repeated, origins, arrived)


def _by_table(columns: Columns) -> tuple[Columns, Columns, Columns]:
    kind = columns.type
    texts = kind == ValueType.TEXT
    others = (kind == ValueType.BYTES) | (kind == ValueType.JSON)
    if len(columns.objects):
        others |= ((kind == ValueType.INT64) | (kind == ValueType.UINT64)) & _filled(
            columns.objects
        )
    numbers = columns.pick(~(texts | others))
    return _without_objects(numbers), columns.pick(texts), columns.pick(others)


def _count_arrived(
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


def count_by_hour(columns: Columns, chosen: NDArray[np.bool_] | None = None) -> Counts:
    """Count rows by source and hour of receipt; `chosen` (n,) limits them."""
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


def refused_masks(
    batch: SampleBatch, signal_keys: SignalKeys
) -> dict[str, tuple[NDArray[np.bool_], str]]:
    """(n,) which samples of a batch may not be stored, by error class, with the reason."""
    masks: dict[str, tuple[NDArray[np.bool_], str]] = {}
    for index, (error_class, reason) in signal_keys.refused.items():
        mask, said = masks.get(error_class, (np.zeros(len(batch), np.bool_), reason))
        masks[error_class] = mask | (batch.signal == index), said
    if batch.texts or batch.blobs or batch.jsons:
        masks["type"] = (
            (batch.type >= ValueType.TEXT) & signal_keys.numeric[batch.signal],
            "text, bytes or JSON where the plant model declares a number",
        )
        unstorable = np.zeros(len(batch), np.bool_)
        for kind, texts in ((ValueType.TEXT, batch.texts), (ValueType.JSON, batch.jsons)):
            bad = [n for n, text in enumerate(texts) if "\0" in text]
            unstorable[np.flatnonzero(batch.type == kind)[bad]] = True
        masks["encoding"] = unstorable, "a null character, which the store cannot hold in text"
    return masks


def _join(
    batches: Sequence[tuple[SampleBatch, SignalKeys]], now_us: int
) -> tuple[Columns, NDArray[np.bool_], NDArray[np.bool_]]:
    """Columns of all samples in order of arrival, and which are numbers and which texts."""
    parts = [batch for batch, _ in batches]
    lengths = np.array([len(batch) for batch in parts], np.int64)
    kind = _concat([b.type for b in parts], np.uint8)
    signal, source = _resolve(batches, lengths)
    gateway_time = _concat([b.gateway_time for b in parts], np.int64)
    source_time = _concat([b.source_time for b in parts], np.int64)
    status = _concat([b.status for b in parts], np.uint32)
    flags = _concat([b.flags for b in parts], np.uint32).astype(np.int32)
    value, objects, exact = _values(parts, kind)

    absurd = (gateway_time <= 0) | (gateway_time > LAST_US)
    if absurd.any():
        gateway_time = np.where(absurd, now_us, gateway_time)
    server_time = np.clip(_concat([b.server_time for b in parts], np.int64), FIRST_US, LAST_US)
    replaced = (flags & np.int32(AT_GATEWAY_TIME)) != 0
    at_server = ~replaced & ((flags & np.int32(Flag.AT_SERVER_TIME)) != 0)
    own_time = np.where(at_server, server_time, source_time) if at_server.any() else source_time
    unusable = ~replaced & ((own_time <= 0) | (own_time > gateway_time + FUTURE_LIMIT_US))
    if unusable.any():
        flags = np.where(unusable, flags | Flag.TIME_REPLACED, flags)
        replaced |= unusable
    none = (kind == ValueType.DOUBLE) & ~np.isfinite(value)
    if none.any():
        value = np.where(none, np.nan, value)
        kind = np.where(none, np.uint8(ValueType.NULL), kind)
        status = np.where(none & (status >> np.uint32(30) != BAD >> 30), np.uint32(BAD), status)
    moved = replaced | at_server
    if moved.any():
        time = np.where(replaced, gateway_time, own_time)
        original = np.where(moved, np.clip(source_time, FIRST_US, LAST_US), 0)
    else:
        time, original = source_time, np.zeros(len(kind), np.int64)
    columns = Columns(
        signal,
        time,
        np.minimum(_concat([b.sub for b in parts], np.uint32), np.uint32(MOST_SUB)).astype(
            np.int32
        ),
        original,
        server_time,
        gateway_time,
        status,
        flags,
        kind,
        value,
        source,
        objects,
    )
    text = kind == ValueType.TEXT
    return columns, exact & (kind <= ValueType.BOOL), text


def _resolve(
    batches: Sequence[tuple[SampleBatch, SignalKeys]], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The store's signal key and the source index of every sample."""
    index = _concat([batch.signal for batch, _ in batches], np.uint32).astype(np.int64)
    starts: dict[int, int] = {}
    dictionaries: list[SignalKeys] = []
    base = []
    size = 0
    for _, signal_keys in batches:
        start = starts.get(id(signal_keys))
        if start is None:
            start = starts[id(signal_keys)] = size
            size += len(signal_keys.keys)
            dictionaries.append(signal_keys)
        base.append(start)
    index += np.repeat(np.array(base, np.int64), lengths)
    return (
        _concat([each.keys for each in dictionaries], np.int32)[index],
        _concat([each.sources for each in dictionaries], np.int32)[index],
    )


def _values(
    parts: Sequence[SampleBatch], kind: NDArray[np.uint8]
) -> tuple[NDArray[np.float64], Sequence[object], NDArray[np.bool_]]:
    """Numbers (NaN: none), the objects of the rows that have one, and which rows are exact as a
    double."""
    n = len(kind)
    doubles = _concat([b.doubles for b in parts], np.float64)
    exact = np.ones(n, np.bool_)
    if len(doubles) == n:
        return doubles, (), exact
    value = np.full(n, np.nan)
    value[kind == ValueType.DOUBLE] = doubles
    value[kind == ValueType.BOOL] = _concat([b.bools for b in parts], np.bool_)
    objects: list[object] = []
    for code, found in (
        (ValueType.INT64, _concat([b.ints for b in parts], np.int64)),
        (ValueType.UINT64, _concat([b.uints for b in parts], np.uint64)),
    ):
        where = kind == code
        value[where] = found
        huge = (
            (found > MAX_EXACT_INT) | (found < -MAX_EXACT_INT)
            if code == ValueType.INT64
            else found > MAX_EXACT_INT
        )
        if huge.any():
            objects = objects or [None] * n
            places = np.flatnonzero(where)[huge]
            exact[places] = False
            for place, number in zip(places.tolist(), found[huge].tolist(), strict=True):
                objects[place] = number
    for code, listed in (
        (ValueType.TEXT, [text for b in parts for text in b.texts]),
        (ValueType.BYTES, [blob for b in parts for blob in b.blobs]),
        (ValueType.JSON, [json for b in parts for json in b.jsons]),
    ):
        if listed:
            objects = objects or [None] * n
            for place, each in zip(np.flatnonzero(kind == code).tolist(), listed, strict=True):
                objects[place] = each
    return value, objects, exact


def _sort(columns: Columns, table: NDArray[np.int8]) -> tuple[Columns, Columns, Counts]:
    """Sort by key; of each key and table the first, those of other content, and how many repeat."""
    keys: list[NDArray[np.generic]] = [columns.sub, columns.time, columns.signal]
    if table.any():
        keys.append(table)
    order = np.lexsort(keys)
    ordered = columns.pick(order)
    same = (
        (ordered.signal[1:] == ordered.signal[:-1])
        & (ordered.time[1:] == ordered.time[:-1])
        & (ordered.sub[1:] == ordered.sub[:-1])
    )
    if table.any():
        by_table = table[order]
        same &= by_table[1:] == by_table[:-1]
    if not same.any():
        return ordered, ordered.pick(np.zeros(0, np.intp)), {}
    keep = np.concatenate([np.ones(min(1, len(ordered)), np.bool_), ~same])
    first = np.maximum.accumulate(np.where(keep, np.arange(len(ordered)), 0))
    again = np.flatnonzero(~keep)
    alike = have_same_content(ordered, again, ordered, first[again])
    repeated, shared = again[alike], again[~alike]
    counts = _count(ordered.source[repeated], ordered.gateway_time[repeated])
    return ordered.pick(keep), ordered.pick(shared), counts


def have_same_content(
    a: Columns, left: NDArray[np.intp], b: Columns, right: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """(n,) whether rows `left` of `a` say the same as rows `right` of `b`: type, value to the last
    bit, the time that a replaced one came with, and status but for the bits that only comment on
    it."""
    same: NDArray[np.bool_] = (
        (a.type[left] == b.type[right])
        & (a.source_time[left] == b.source_time[right])
        & (a.status[left] >> np.uint32(STATUS_BITS) == b.status[right] >> np.uint32(STATUS_BITS))
        & (a.value[left].view(np.int64) == b.value[right].view(np.int64))
    )
    if len(a.objects) and len(b.objects):
        same &= np.fromiter(
            (
                a.objects[i] == b.objects[k]
                for i, k in zip(left.tolist(), right.tolist(), strict=True)
            ),
            np.bool_,
            len(left),
        )
    return same


def _filled(objects: Sequence[object]) -> NDArray[np.bool_]:
    return np.fromiter((each is not None for each in objects), np.bool_, len(objects))


def _without_objects(columns: Columns) -> Columns:
    fields = {name: getattr(columns, name) for name in Columns.__slots__}
    return Columns(**{**fields, "objects": ()})


def _concat(arrays: Sequence[NDArray[T]], kind: type[T]) -> NDArray[T]:
    return np.concatenate(arrays) if arrays else np.zeros(0, kind)
