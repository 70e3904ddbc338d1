"""Contract and ordinals of many numbers at once, and their batches; called by `assembly`. Pure.

Only what is ordinary is taken: a sound number of a type that the signal's keeps as it is, with a
plausible time of its own, newer than all of that signal before. All values of a signal with
anything else in the message are left to `contract.apply` and `Ordinals`, one by one, so that the
order of each signal's values stays. Both ways give the same samples (test_fast_lane.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aurelian.edge.columns import NO_TIME, Columns, Numbers, SignalTable
from aurelian.edge.contract import MAX_AHEAD, MAX_SKEW, Reading
from aurelian.edge.ordinals import Ordinals
from aurelian.model.evidence import vouching
from aurelian.model.sample import (
    MAX_EXACT_INT,
    Flag,
    Sample,
    SampleBatch,
    Signal,
    ValueType,
)

_DOUBLE, _INT, _UINT, _BOOL = map(
    int, (ValueType.DOUBLE, ValueType.INT64, ValueType.UINT64, ValueType.BOOL)
)
_TYPES = 8
_NEVER = NO_TIME
_INITIAL = np.uint32(Flag.INITIAL)

assert MAX_SKEW <= MAX_AHEAD  # a time that is not uncertain is none that is replaced


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Judged values of one message, in its order; arrays of one length.

    Attributes:
        handle: int64.
        bits: uint64, the value: a float64's or int64's bits, the uint64 itself, 0 or 1.
        kind: uint8 value types.
        source_time, server_time, gateway_time: int64 microseconds since 1970; server 0: none.
        status, flags: uint32.
    """

    handle: NDArray[np.int64]
    bits: NDArray[np.uint64]
    kind: NDArray[np.uint8]
    source_time: NDArray[np.int64]
    server_time: NDArray[np.int64]
    gateway_time: NDArray[np.int64]
    status: NDArray[np.uint32]
    flags: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.handle)

    def take(self, chosen: NDArray[Any] | slice) -> Part:
        """Some of the values."""
        return Part(
            self.handle[chosen],
            self.bits[chosen],
            self.kind[chosen],
            self.source_time[chosen],
            self.server_time[chosen],
            self.gateway_time[chosen],
            self.status[chosen],
            self.flags[chosen],
        )


_FIELDS = (
    "handle",
    "bits",
    "kind",
    "source_time",
    "server_time",
    "gateway_time",
    "status",
    "flags",
)


class FastLane:
    """Judges the columns of one source; remembers the newest value of each signal.

    Beside it stands `Ordinals`, which has what went value by value: `before` and `after` tell each
    of what the other did.
    """

    def __init__(self, table: SignalTable, ordinals: Ordinals) -> None:
        self.table = table
        self._ordinals = ordinals
        n, times = len(table), ordinals.times
        self._newest = np.full(n, _NEVER, np.int64)
        # What `Ordinals` has not heard of: the last values of each signal, in a ring.
        self._times = np.full((times, n), _NEVER, np.int64)
        self._bits = np.zeros((times, n), np.uint64)
        self._status = np.zeros((times, n), np.uint32)
        self._next = np.zeros(n, np.int64)
        self._untold = np.zeros(n, np.bool_)
        for signal_id, newest in ordinals.newest():
            if (handle := table.handle_of.get(signal_id)) is not None:
                self._newest[handle] = newest

    def judge(
        self, columns: Columns, received_at: int, not_before: int
    ) -> tuple[Part, list[Reading]]:
        """What is ordinary as a part, and the rest as readings for the other way."""
        part, fine = _by_contract(columns, received_at, not_before)
        fine &= self._is_newer(part)
        rest: list[Reading] = []
        if not fine.all():
            odd = np.zeros(len(self.table), np.bool_)
            odd[part.handle[~fine]] = True
            rest = columns.readings(odd)
            part = part.take(~odd[part.handle])
        self._remember(part)
        return part, rest

    def heard(self, part: Part) -> dict[str, int]:
        """Until when each asset is vouched for (`evidence.vouches`), microseconds since 1970."""
        vouches = vouching(part)
        newest = np.zeros(len(self.table.assets), np.int64)
        np.maximum.at(newest, self.table.asset[part.handle[vouches]], part.source_time[vouches])
        latest = int(part.gateway_time[0]) if len(part) else 0
        return {
            self.table.assets[asset]: min(int(newest[asset]), latest)
            for asset in np.flatnonzero(newest).tolist()
        }

    def accepted(self, part: Part, signals: Mapping[str, int]) -> list[str]:
        """Those of some signals, by id, that have a value in a part which vouches."""
        wanted = {
            handle: signal
            for signal in signals
            if (handle := self.table.handle_of.get(signal)) is not None
        }
        handles = np.unique(part.handle[vouching(part)]).tolist()
        return [wanted[handle] for handle in handles if handle in wanted]

    def before(self, signal: Signal) -> None:
        """A value of the signal goes value by value now: `Ordinals` hears of those before it."""
        handle = self.table.handle_of.get(signal.id)
        if handle is None or not self._untold[handle]:
            return
        kind = ValueType(int(self.table.kind[handle]))
        times = self._times[:, handle]
        for slot in np.argsort(times).tolist():
            if times[slot] != _NEVER:
                at, status = int(times[slot]), int(self._status[slot, handle])
                value = from_bits(self._bits[slot, handle], kind)
                self._ordinals.remember(Sample(signal, value, kind, at, at, 0, status))
        self._times[:, handle] = _NEVER
        self._untold[handle] = False

    def after(self, sample: Sample) -> None:
        """A value went value by value."""
        handle = self.table.handle_of.get(sample.signal.id)
        if handle is not None:
            self._newest[handle] = max(sample.time, int(self._newest[handle]))

    def split(self, part: Part) -> list[tuple[str, Part]]:
        """The part by line."""
        lines = self.table.line[part.handle]
        if not len(part):
            return []
        if (lines == lines[0]).all():
            return [(self.table.lines[int(lines[0])], part)]
        # Sorted once, each line is a slice: a mask for each would be eight copies a line.
        order = np.argsort(lines, kind="stable")
        part, lines = part.take(order), lines[order]
        bounds = [0, *(np.flatnonzero(lines[1:] != lines[:-1]) + 1).tolist(), len(lines)]
        return [
            (self.table.lines[int(lines[begin])], part.take(slice(begin, end)))
            for begin, end in pairwise(bounds)
        ]

    def batch(self, parts: Sequence[Part], *, gateway: str, boot: int, line: str) -> SampleBatch:
        """Parts of one line as one batch; its dictionary as `sample.make_batch` orders it."""
        whole = parts[0] if len(parts) == 1 else _concatenated(parts)
        rank = self.table.rank[whole.handle]
        used = _distinct(rank)
        by_rank = self.table.by_rank
        bits, kind = whole.bits, whole.kind
        first = int(kind[0]) if (kind == kind[0]).all() else None

        def of(wanted: int) -> NDArray[np.uint64]:
            if first is not None:
                return bits if first == wanted else bits[:0]
            chosen: NDArray[np.uint64] = bits[kind == wanted]
            return chosen

        return SampleBatch(
            owner=line.partition("/")[0],
            gateway=gateway,
            boot=boot,
            sequence=0,
            line=line,
            signals=tuple([by_rank[n] for n in used.tolist()]),
            signal=np.searchsorted(used, rank).astype(np.uint32),
            type=kind,
            source_time=whole.source_time,
            server_time=whole.server_time,
            gateway_time=whole.gateway_time,
            status=whole.status,
            flags=whole.flags,
            sub=np.zeros(len(whole), np.uint32),
            doubles=of(_DOUBLE).view(np.float64),
            ints=of(_INT).view(np.int64),
            uints=of(_UINT),
            bools=of(_BOOL).astype(np.bool_),
        )

    def _is_newer(self, part: Part) -> NDArray[np.bool_]:
        """Which values are newer than all of their signal before, in this message too."""
        handles, times = part.handle, part.source_time
        newer: NDArray[np.bool_] = times > self._newest[handles]
        if _repeats(handles):
            order = np.argsort(handles, kind="stable")
            follows = handles[order][1:] == handles[order][:-1]
            newer[order[1:]] &= ~follows | (times[order][1:] > times[order][:-1])
        return newer

    def _remember(self, part: Part) -> None:
        handles = part.handle
        slots = self._next[handles]
        if _repeats(handles):
            order = np.argsort(handles, kind="stable")
            by_handle = handles[order]
            first = np.searchsorted(by_handle, by_handle)
            slots[order] += np.arange(len(order)) - first
        slots %= len(self._times)
        # Of an index that is there more than once the last value is kept, which is the newest.
        self._newest[handles] = part.source_time
        self._times[slots, handles] = part.source_time
        self._bits[slots, handles] = part.bits
        self._status[slots, handles] = part.status
        self._next[handles] = slots + 1
        self._untold[handles] = True


def _distinct(ranks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each once, ascending; `np.unique` takes three times as long for a few."""
    ordered = np.sort(ranks)
    is_first = np.empty(len(ordered), np.bool_)
    is_first[:1] = True
    np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
    distinct: NDArray[np.int64] = ordered[is_first]
    return distinct


def _repeats(handles: NDArray[np.int64]) -> bool:
    return bool(len(handles)) and int(np.bincount(handles).max()) > 1


def _by_contract(
    columns: Columns, received_at: int, not_before: int
) -> tuple[Part, NDArray[np.bool_]]:
    """The values with their contracts applied, and which of them `contract.apply` would give just
    so."""
    table = columns.table
    numbers = columns.numbers
    order: slice | NDArray[np.intp] = slice(None)
    if len(numbers) > 1:
        order = np.argsort(_column(numbers, "place"), kind="stable")
    handle = _column(numbers, "handle")[order].astype(np.int64)
    came = np.repeat(
        np.array([each.type for each in numbers], np.uint8), [len(each) for each in numbers]
    )[order]
    bits = np.concatenate([to_bits(each.values) for each in numbers])[order]
    server = _column(numbers, "server_time")[order]
    time = _column(numbers, "source_time")[order]
    time = np.where(time == NO_TIME, server, time)
    initial = (
        np.zeros(len(handle), np.bool_) if columns.initial is None else columns.initial[handle]
    )
    fine = table.plain[handle] & (time > 0) & (time <= received_at + MAX_SKEW)
    fine &= initial | ((time >= received_at - MAX_SKEW) & (time >= not_before))
    declared = table.kind[handle]
    pairs = came * np.uint8(_TYPES) + declared
    stored = bits.copy()
    for pair in np.flatnonzero(np.bincount(pairs)).tolist():
        at = np.flatnonzero(pairs == pair)
        stored[at], good = _as_declared(pair // _TYPES, pair % _TYPES, bits[at], handle[at], table)
        fine[at] &= good
    part = Part(
        handle,
        stored,
        declared,
        time,
        np.maximum(server, 0),
        np.full(len(handle), received_at, np.int64),
        _column(numbers, "status")[order],
        _flags(numbers, order) | initial * _INITIAL,
    )
    return part, fine


def _as_declared(
    came: int,
    declared: int,
    bits: NDArray[np.uint64],
    handle: NDArray[np.int64],
    table: SignalTable,
) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Values of one type as the type that their signals declare; which of them need no closer
    look."""
    scaled, ranged = table.scaled[handle], table.ranged[handle]
    if came == _DOUBLE and declared == _DOUBLE:
        value = bits.view(np.float64)
        good = np.isfinite(value)
        if scaled.any():
            with np.errstate(all="ignore"):
                changed = value * table.scale[handle] + table.offset[handle]
            value = np.where(scaled, changed, value)
            good &= np.isfinite(value)
        return value.view(np.uint64), good & _in_range(value, handle, ranged, table)
    if came == _BOOL and declared == _BOOL:
        return bits, ~ranged
    if came not in (_INT, _UINT) or declared not in (_DOUBLE, _INT, _UINT):
        return bits, np.zeros(len(bits), np.bool_)
    # As int64; what is beyond it is no ordinary number.
    whole = bits.view(np.int64)
    good = ~scaled
    if came == _UINT or declared == _UINT:
        good &= whole >= 0
    exact = (whole >= -MAX_EXACT_INT) & (whole <= MAX_EXACT_INT)
    value = whole.astype(np.float64)
    good &= ~ranged | (exact & _in_range(value, handle, ranged, table))
    return (value.view(np.uint64), good & exact) if declared == _DOUBLE else (bits, good)


def _in_range(
    value: NDArray[np.float64],
    handle: NDArray[np.int64],
    ranged: NDArray[np.bool_],
    table: SignalTable,
) -> NDArray[np.bool_]:
    if not ranged.any():
        return np.ones(len(value), np.bool_)
    return ~ranged | ((table.low[handle] <= value) & (value <= table.high[handle]))


def _column(numbers: Sequence[Numbers], name: str) -> NDArray[Any]:
    if len(numbers) == 1:
        only: NDArray[Any] = getattr(numbers[0], name)
        return only
    return np.concatenate([getattr(each, name) for each in numbers])


def _flags(
    numbers: Sequence[Numbers], order: slice | NDArray[np.intp]
) -> NDArray[np.uint32] | np.uint32:
    """(n,) what the adapter knows of each value, or 0 for all."""
    if all(each.flags is None for each in numbers):
        return np.uint32(0)
    parts = [np.zeros(len(n), np.uint32) if n.flags is None else n.flags for n in numbers]
    return np.concatenate(parts)[order]


def to_bits(values: NDArray[Any]) -> NDArray[np.uint64]:
    """(n,) the bits of numbers of a column; 0 or 1 of bools."""
    if values.dtype == np.bool_:
        return values.astype(np.uint64)
    return np.ascontiguousarray(values).view(np.uint64)


def from_bits(bits: np.uint64, kind: ValueType) -> float | int | bool:
    """The number that `to_bits` made bits of."""
    one = np.array([bits], np.uint64)
    match kind:
        case ValueType.DOUBLE:
            return float(one.view(np.float64)[0])
        case ValueType.INT64:
            return int(one.view(np.int64)[0])
        case ValueType.BOOL:
            return bool(bits)
    return int(bits)


def _concatenated(parts: Sequence[Part]) -> Part:
    return Part(*(np.concatenate([getattr(part, name) for part in parts]) for name in _FIELDS))
