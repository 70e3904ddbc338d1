"""Numbers of many declared signals as columns: what an adapter hands over instead of a `Reading`
for each value where a message carries many. Judged by `fast_lane`, called by `assembly`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aurelian.edge.contract import Reading
from aurelian.edge.names import label_fault, path_fault
from aurelian.model.plant import Unit
from aurelian.model.plant_parts import SignalModel
from aurelian.model.sample import Flag, Signal, Value, ValueType

NO_TIME = -(2**63)
"""Of a time column: the source gave none."""

_INITIAL = int(Flag.INITIAL)

NUMBER_TYPES = (ValueType.DOUBLE, ValueType.INT64, ValueType.UINT64, ValueType.BOOL)


@dataclass(frozen=True, slots=True, eq=False)
class Numbers:
    """Values of one type in a message, in its order. Arrays have one length.

    Attributes:
        type: DOUBLE, INT64, UINT64 or BOOL.
        place: position of each value in the message, from 0 (uint32): order among all of the
            message's values.
        handle: uint32, number of the signal in the adapter's `SignalTable`.
        values: float64, int64, uint64 or bool; NaN and infinity as the source gave them.
        status: uint32 OPC UA status codes, 0 where the source gave none.
        source_time, server_time: int64 microseconds since 1970; `NO_TIME` where there is none.
        flags: uint32 `Flag`s that the adapter knows; None: of no value.
    """

    type: ValueType
    place: NDArray[np.uint32]
    handle: NDArray[np.uint32]
    values: NDArray[np.float64] | NDArray[np.int64] | NDArray[np.uint64] | NDArray[np.bool_]
    status: NDArray[np.uint32]
    source_time: NDArray[np.int64]
    server_time: NDArray[np.int64]
    flags: NDArray[np.uint32] | None = None

    def __len__(self) -> int:
        return len(self.place)

    def take(self, chosen: NDArray[np.bool_]) -> Numbers:
        """Some of the values; `chosen`: (n,)."""
        return Numbers(
            self.type,
            self.place[chosen],
            self.handle[chosen],
            self.values[chosen],
            self.status[chosen],
            self.source_time[chosen],
            self.server_time[chosen],
            None if self.flags is None else self.flags[chosen],
        )

    def rows(self) -> Iterable[tuple[int, int, Value, int, int | None, int | None]]:
        """Place, handle, value, status, source and server time (None: not given) of each value."""
        columns = (self.place, self.handle, self.values, self.status)
        for (place, handle, value, status), source, server in zip(
            zip(*(column.tolist() for column in columns), strict=True),
            self.source_time.tolist(),
            self.server_time.tolist(),
            strict=True,
        ):
            yield place, handle, value, status, _given(source), _given(server)


class SignalTable:
    """The declared signals of a source by handle, and what their contracts need as arrays.

    Attributes:
        owner: of the source.
        entries: unit, model, signal and path of the line, by handle.
        plain: (n,) bool: a number type is declared, and the source may write this name at all.
        kind: (n,) uint8 declared types.
        scaled, ranged: (n,) bool: it has a scale or an offset, a range.
        scale, offset, low, high: (n,) float64.
        line, asset: (n,) index into `lines`, `assets`.
        rank: (n,) place of the signal when all are sorted by id and path.
    """

    def __init__(
        self, owner: str, entries: Sequence[tuple[Unit | None, SignalModel, Signal, str]]
    ) -> None:
        self.owner = owner
        self.entries = tuple(entries)
        models = [model for _, model, _, _ in entries]
        signals = [signal for _, _, signal, _ in entries]
        self.plain = np.array(
            [
                model.type in NUMBER_TYPES and _sound(owner, signal, line)
                for _, model, signal, line in entries
            ],
            np.bool_,
        )
        self.kind = np.array([model.type for model in models], np.uint8)
        self.scale = np.array([model.scale for model in models], np.float64)
        self.offset = np.array([model.offset for model in models], np.float64)
        self.scaled = (self.scale != 1.0) | (self.offset != 0.0)
        self.ranged = np.array([model.range is not None for model in models], np.bool_)
        ranges = [model.range or (-np.inf, np.inf) for model in models]
        self.low = np.array([low for low, _ in ranges], np.float64)
        self.high = np.array([high for _, high in ranges], np.float64)
        self.lines, self.line = _indexed([line for _, _, _, line in entries])
        self.assets, self.asset = _indexed([signal.asset for signal in signals])
        order = sorted(range(len(signals)), key=lambda n: (signals[n].id, signals[n].path))
        self.rank = np.empty(len(signals), np.int64)
        self.rank[order] = np.arange(len(signals))
        self.by_rank = tuple(signals[n] for n in order)
        self.handle_of = {signal.id: handle for handle, signal in enumerate(signals)}

    def __len__(self) -> int:
        return len(self.entries)


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """The numbers of one message. Handles beyond the table were dropped by the adapter.

    Attributes:
        table: what their handles mean; one object for all messages of a source.
        numbers: one entry a type at most.
        initial: (len(table),) bool: values of these handles are flagged INITIAL. None: of none.
    """

    table: SignalTable
    numbers: tuple[Numbers, ...]
    initial: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return sum(map(len, self.numbers))

    def readings(self, wanted: NDArray[np.bool_] | None = None) -> list[Reading]:
        """The values as readings, in the order of the message; `wanted`: (len(table),) bool, only
        those of these handles."""
        found: list[tuple[int, Reading]] = []
        for numbers in self.numbers:
            of_values = [0] * len(numbers) if numbers.flags is None else numbers.flags.tolist()
            for row, known in zip(numbers.rows(), of_values, strict=True):
                place, handle, value, status, source, server = row
                if wanted is not None and not wanted[handle]:
                    continue
                unit, model, signal, line = self.table.entries[handle]
                initial = self.initial is not None and self.initial[handle]
                reading = Reading(
                    unit,
                    model,
                    signal,
                    line,
                    value,
                    numbers.type,
                    server if source is None else source,
                    server or 0,
                    status,
                    Flag(known | (_INITIAL if initial else 0)) if known or initial else Flag.NONE,
                )
                found.append((place, reading))
        found.sort(key=lambda each: each[0])
        return [reading for _, reading in found]


def _sound(owner: str, signal: Signal, line: str) -> bool:
    """Whether the source may write this signal at all; the others are refused one by one, with the
    reason."""
    prefix = f"{owner}/"
    if not signal.path.startswith(prefix) or not line.startswith(prefix):
        return False
    faults = (path_fault(signal.path), path_fault(line), label_fault(signal.unit))
    return not any((*faults, label_fault(signal.id), label_fault(signal.asset)))


def _indexed(names: Sequence[str]) -> tuple[tuple[str, ...], NDArray[Any]]:
    index: dict[str, int] = {}
    places = np.array([index.setdefault(name, len(index)) for name in names], np.int64)
    return tuple(index), places


def _given(us: int) -> int | None:
    return None if us == NO_TIME else us
