"""Pure: turn batches of samples into sorted columns of the three sample tables. Called by
prepared.py, in a thread.

Arrays all the way: what is done per sample here is done by numpy, except for texts, bytes, JSON and
huge integers.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from historian.columns import Columns, Counts, SignalKeys, TableColumns
from historian.hour_counts import count_arrived, count_by_hour

T = TypeVar("T", bound=np.generic)

STATUS_BITS = 16
"""Bits of a status below its code: limits, history, overflow. The same value read back from a
server's history has others (OPC UA part 4, 7.39)."""

MOST_SUB = 2**30
"""The largest `sub` that is taken from a batch: room for those that the store gives."""

FUTURE_LIMIT_US = HOUR_US
"""A source time further ahead of its receipt than this is unusable (D8)."""


def make_columns(batches: Sequence[tuple[SampleBatch, SignalKeys]], now_us: int) -> TableColumns:
    """Make the rows of all batches.

    A time that no source can mean (before 1970, or more than an hour after its receipt) is replaced
    by the gateway's and flagged, unless the gateway did so. A double that is no number becomes a
    null with a Bad status. A repeat (HEARTBEAT) is no row: its value came before it.
    """
    everything, is_number, is_text = _join(batches, now_us)
    origins, arrived = count_arrived(batches, everything)
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
    counts = count_by_hour(ordered, repeated)
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
