"""Cells of signals as batches for the outbox: declared type, scale, range and the order of values
at one time, a column at a time. Pure; called by processor.py in a thread.

What is ordinary is judged by numpy; every other cell by `contract.apply`, as a gateway does, one by
one. Both ways give the same samples (tests/unit/importer/test_judging.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from aurelian.edge.contract import Reading, Reject, apply
from aurelian.edge.fast_lane import to_bits
from aurelian.model.sample import (
    BAD,
    MAX_EXACT_INT,
    Flag,
    Sample,
    SampleBatch,
    Signal,
    ValueType,
    make_batch,
)
from importer.cells import Cells
from importer.chunks import SignalCells

MOST_SAMPLES = 5_000
"""Of a batch: about 150 kB in Kafka."""

_SEVERITY = np.uint32(0xC0000000)
_HISTORICAL = np.uint32(Flag.HISTORICAL)
_LONGEST_TEXT = 100_000
_LONG = re.compile(r"[+-]?\d{16,}")

Fault = tuple[int, str, str, int]
"""Row, sentence, error class and number of values of a cell that is not stored."""


@dataclass(frozen=True, slots=True)
class LastValue:
    """The newest value of a signal: what the next one at its time is numbered after (D6)."""

    time: int
    sub: int
    bits: int


@dataclass(slots=True)
class Judged:
    """What a chunk becomes. `values`: samples in the batches."""

    batches: list[SampleBatch] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    values: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Column:
    """Ordinary samples of one signal; arrays have one length. `texts`: those of TEXT, in order."""

    signal: Signal
    line: str
    time: NDArray[np.int64]
    kind: NDArray[np.uint8]
    bits: NDArray[np.uint64]
    status: NDArray[np.uint32]
    flags: NDArray[np.uint32]
    sub: NDArray[np.uint32]
    texts: list[str]


class Judge:
    """Judges the chunks of one file in order. `last`: by signal id, what a resumed import begins
    with."""

    def __init__(self, gateway: str, boot: int, last: dict[str, LastValue] | None = None) -> None:
        self._gateway, self._boot = gateway, boot
        self.last = last if last is not None else {}

    def judge(self, signals: Sequence[SignalCells], received_at: int) -> Judged:
        """Make batches of cells; `received_at`: microseconds since 1970."""
        out = Judged()
        by_line: dict[str, list[_Column]] = {}
        odd_by_line: dict[str, list[Sample]] = {}
        for cells in signals:
            column, odd = self._judge(cells, received_at, out.faults)
            if len(column.time):
                by_line.setdefault(column.line, []).append(column)
            if odd:
                odd_by_line.setdefault(column.line, []).extend(odd)
        for line, columns in by_line.items():
            out.batches += self._batches(line, columns, received_at)
        for line, samples in odd_by_line.items():
            for start in range(0, len(samples), MOST_SAMPLES):
                out.batches.append(self._batch_of(line, samples[start : start + MOST_SAMPLES]))
        out.values = sum(map(len, out.batches))
        return out

    def _judge(
        self, given: SignalCells, received_at: int, faults: list[Fault]
    ) -> tuple[_Column, list[Sample]]:
        cells, model, signal = given.cells, given.target.model, given.target.signal
        n = len(cells)
        declared = model.type if model is not None else signal.type
        kind = np.full(n, int(declared), np.uint8)
        flags = given.flags | _HISTORICAL
        status = given.quality.copy()
        nothing = cells.status != 0
        # The word says that there is no value: at least as bad as the quality beside it.
        status = np.where(nothing & (status & _SEVERITY != np.uint32(BAD)), cells.status, status)
        texts: list[str] = []
        scaled = model is not None and (model.scale != 1.0 or model.offset != 0.0)
        match declared:
            case ValueType.DOUBLE:
                fine = cells.is_number | cells.is_bool
                value = np.where(fine, cells.number, 0.0)
                # Whole numbers beyond 2^53 stay whole; a scale may leave the doubles.
                fine &= _exact(cells, value)
                if scaled and model is not None:
                    with np.errstate(all="ignore"):
                        value = value * model.scale + model.offset
                    fine &= np.isfinite(value) & ~cells.is_bool
                bits = to_bits(value)
            case ValueType.INT64 | ValueType.UINT64:
                fine = cells.is_integer & (not scaled)
                if declared is ValueType.UINT64:
                    fine = fine & (cells.integer >= 0)
                value, bits = cells.number, to_bits(cells.integer)
                fine = fine & (np.abs(cells.number) < MAX_EXACT_INT)
            case ValueType.BOOL:
                fine = cells.is_bool | (cells.is_integer & (cells.integer >> 1 == 0))
                value = np.where(fine, cells.number, 0.0)
                bits = value.astype(np.uint64)
            case ValueType.NULL:  # discovered, of no type
                fine = (cells.is_number & _exact(cells, cells.number)) | cells.is_bool
                kind = np.where(cells.is_bool, np.uint8(ValueType.BOOL), np.uint8(ValueType.DOUBLE))
                value = np.where(fine, cells.number, 0.0)
                bits = np.where(cells.is_bool, value.astype(np.uint64), to_bits(value))
            case ValueType.TEXT if cells.texts is not None:
                texts = cells.texts.to_pylist()
                fine = np.fromiter(
                    ("\0" not in text and len(text) < _LONGEST_TEXT for text in texts), np.bool_, n
                )
                value, bits = np.zeros(n), _text_bits(texts)
                nothing = np.zeros(n, np.bool_)
                status = given.quality.copy()
            case _:
                fine, value, bits = np.zeros(n, np.bool_), np.zeros(n), np.zeros(n, np.uint64)
        if declared is not ValueType.TEXT and model is not None and model.range is not None:
            low, high = model.range
            outside = fine & ~((low <= value) & (value <= high))
            if declared in (ValueType.BOOL, ValueType.NULL):
                fine = np.zeros(n, np.bool_)  # as `contract.apply` compares them
            elif model.closed:
                fine &= ~outside
            else:
                flags = np.where(outside, flags | np.uint32(Flag.OUT_OF_RANGE), flags)
        kind = np.where(nothing, np.uint8(ValueType.NULL), kind)
        bits = np.where(nothing, np.uint64(0), bits)
        fine = fine | nothing
        odd = self._odd(given, np.flatnonzero(~fine), flags, received_at, faults)
        if not fine.all():
            chosen = np.flatnonzero(fine)
            kind, bits, status, flags = kind[chosen], bits[chosen], status[chosen], flags[chosen]
            time = given.time[chosen]
            texts = [texts[n] for n in chosen.tolist()] if texts else texts
        else:
            time = given.time
        sub = self._number(signal.id, time, kind, bits, status)
        if sub is None:
            sub = np.zeros(len(time), np.uint32)
        line = given.target.line
        return _Column(signal, line, time, kind, bits, status, flags, sub, texts), odd

    def _odd(
        self,
        given: SignalCells,
        places: NDArray[np.intp],
        flags: NDArray[np.uint32],
        received_at: int,
        faults: list[Fault],
    ) -> list[Sample]:
        """One by one what is not ordinary: as a sample, or as a fault."""
        samples = []
        for place in places.tolist():
            value, kind = _value_of(given, place)
            target = given.target
            reading = Reading(
                target.unit,
                target.model,
                target.signal,
                target.line,
                value,
                kind,
                int(given.time[place]),
                0,
                int(given.quality[place]),
                Flag(int(given.flags[place]) | Flag.HISTORICAL),
            )
            made = apply(reading, received_at)
            if isinstance(made, Sample):
                samples.append(made)
                continue
            row = int(given.rows[place])
            faults.append((row, _sentence(given, place, kind, made), made.error_class, 1))
        return samples

    def _number(
        self,
        signal: str,
        time: NDArray[np.int64],
        kind: NDArray[np.uint8],
        bits: NDArray[np.uint64],
        status: NDArray[np.uint32],
    ) -> NDArray[np.uint32] | None:
        """Number the values of each time in order of arrival; one that is equal to that before it
        is the same again. None: each has a time of its own."""
        if not len(time):
            return None
        content = (
            bits
            ^ (kind.astype(np.uint64) << np.uint64(60))
            ^ ((status >> np.uint32(16)).astype(np.uint64) << np.uint64(32))
        )
        last = self.last.get(signal)
        steps = np.diff(time)
        if (steps > 0).all() and (last is None or last.time != int(time[0])):
            self.last[signal] = LastValue(int(time[-1]), 0, int(content[-1]))
            return None
        order = np.argsort(time, kind="stable")
        times, contents = time[order], content[order]
        new_time = np.concatenate([[True], times[1:] != times[:-1]])
        changed = np.concatenate([[False], contents[1:] != contents[:-1]]) & ~new_time
        counted = np.cumsum(changed)
        starts = np.maximum.accumulate(np.where(new_time, np.arange(len(times)), 0))
        sub = counted - counted[starts]
        if last is not None:
            # The time that the part before ended in goes on here.
            of_last = times == last.time
            if of_last.any():
                first = int(np.flatnonzero(of_last)[0])
                sub[of_last] += last.sub + (int(contents[first]) != last.bits)
        end = int(np.flatnonzero(order == len(time) - 1)[0])
        self.last[signal] = LastValue(int(times[end]), int(sub[end]), int(contents[end]))
        out = np.empty(len(time), np.uint32)
        out[order] = sub
        return out

    def _batches(
        self, line: str, columns: Sequence[_Column], received_at: int
    ) -> list[SampleBatch]:
        """Ordinary samples as batches, signal after signal."""
        lengths = [len(column.time) for column in columns]
        index = np.repeat(np.arange(len(columns), dtype=np.int64), lengths)
        whole = {
            name: np.concatenate([getattr(column, name) for column in columns])
            for name in ("time", "kind", "bits", "status", "flags", "sub")
        }
        texts = [text for column in columns for text in column.texts]
        is_text = whole["kind"] == ValueType.TEXT
        text_ends = np.cumsum(is_text) if texts else np.zeros(len(index), np.int64)
        batches = []
        for start in range(0, len(index), MOST_SAMPLES):
            part = slice(start, start + MOST_SAMPLES)
            kind, bits = whole["kind"][part], whole["bits"][part]
            used = np.unique(index[part])
            signals = sorted(
                (columns[n].signal for n in used.tolist()), key=lambda s: (s.id, s.path)
            )
            place = {signal.id: number for number, signal in enumerate(signals)}
            of_column = np.array([place.get(c.signal.id, 0) for c in columns], np.uint32)
            begin = int(text_ends[start - 1]) if start else 0
            end = int(text_ends[min(start + MOST_SAMPLES, len(index)) - 1])
            n = len(kind)
            batches.append(
                SampleBatch(
                    owner=line.partition("/")[0],
                    gateway=self._gateway,
                    boot=self._boot,
                    sequence=0,
                    line=line,
                    signals=tuple(signals),
                    signal=of_column[index[part]],
                    type=kind,
                    source_time=whole["time"][part],
                    server_time=np.zeros(n, np.int64),
                    gateway_time=np.full(n, received_at, np.int64),
                    status=whole["status"][part],
                    flags=whole["flags"][part],
                    sub=whole["sub"][part],
                    doubles=bits[kind == ValueType.DOUBLE].view(np.float64),
                    ints=bits[kind == ValueType.INT64].view(np.int64),
                    uints=bits[kind == ValueType.UINT64],
                    bools=bits[kind == ValueType.BOOL].astype(np.bool_),
                    texts=tuple(texts[begin:end]),
                )
            )
        return batches

    def _batch_of(self, line: str, samples: Sequence[Sample]) -> SampleBatch:
        return make_batch(
            samples,
            owner=line.partition("/")[0],
            gateway=self._gateway,
            boot=self._boot,
            sequence=0,
            line=line,
        )


def _value_of(given: SignalCells, place: int) -> tuple[float | int | bool | str, ValueType]:
    """A cell as the type that it looks like."""
    cells = given.cells
    model = given.target.model
    wanted = model.type if model is not None else given.target.signal.type
    if cells.is_bool[place] and wanted is not ValueType.JSON:
        return bool(cells.number[place]), ValueType.BOOL
    if cells.texts is not None:
        text = cells.text(place)
        if wanted is ValueType.JSON:
            try:
                json.loads(text)
            except ValueError:
                return text, ValueType.TEXT
            return text, ValueType.JSON
        if wanted is ValueType.TEXT or not cells.is_number[place]:
            return text, ValueType.TEXT
        if _is_long(text):
            return int(text), ValueType.INT64
    if cells.is_integer[place]:
        return int(cells.integer[place]), ValueType.INT64
    return float(cells.number[place]), ValueType.DOUBLE


def _is_long(text: str) -> bool:
    """Whole numbers that a double may have no room for."""
    return _LONG.fullmatch(text) is not None


def _exact(cells: Cells, value: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(n,) False for whole numbers beyond 2^53: as doubles they would be others."""
    exact = np.ones(len(value), np.bool_)
    for place in np.flatnonzero(np.abs(value) >= MAX_EXACT_INT).tolist():
        is_text = cells.texts is not None
        exact[place] = not (cells.is_integer[place] or (is_text and _is_long(cells.text(place))))
    return exact


def _text_bits(texts: Sequence[str]) -> NDArray[np.uint64]:
    known = {
        text: int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")
        for text in set(texts)
    }
    return np.array([known[text] for text in texts], np.uint64)


def _sentence(given: SignalCells, place: int, kind: ValueType, made: Reject) -> str:
    if kind is ValueType.TEXT and made.error_class == "type":
        return f"column {given.title!r}: {given.cells.text(place)[:60]!r} is no number"
    return f"column {given.title!r}: {made.reason.removeprefix(given.target.signal.path + ': ')}"
