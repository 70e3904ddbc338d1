"""The vocabulary of telemetry: signals, samples and columnar batches of them. Used by every
service; does no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum, IntFlag
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Value = float | int | bool | str | bytes | None
"""A sample's value. JSON values (arrays, structures) are their JSON text."""

T = TypeVar("T")

MAX_EXACT_INT = 2**53
"""Integers up to this size, either sign, are exact as a double."""

GOOD = 0
"""OPC UA status code Good."""

BAD = 0x80000000
"""OPC UA status code Bad; the severity is the top two bits."""


class ValueType(IntEnum):
    """What a value is; the numbers are those of the wire contract and of the store."""

    NULL = 0
    DOUBLE = 1
    INT64 = 2
    UINT64 = 3
    BOOL = 4
    TEXT = 5
    BYTES = 6
    JSON = 7

    @property
    def is_number(self) -> bool:
        """True for the types that have a place on a numeric axis (bool counts as 0 and 1)."""
        return ValueType.DOUBLE <= self <= ValueType.BOOL


class Flag(IntFlag):
    """What else is known of a sample; the bits of the wire contract and of the store."""

    NONE = 0
    HISTORICAL = 1
    TRANSIENT = 2
    RETAINED = 4
    INITIAL = 8
    HEARTBEAT = 16
    TIME_REPLACED = 32
    TIME_UNCERTAIN = 64
    OUT_OF_RANGE = 128
    TIME_SHARED = 256
    TIME_AMBIGUOUS = 512
    WAS_UNCERTAIN = 1024
    WAS_BAD = 2048
    AT_SERVER_TIME = 4096
    AT_GATEWAY_TIME = 8192


AT_GATEWAY_TIME = int(Flag.TIME_REPLACED | Flag.AT_GATEWAY_TIME)
"""Flags of a sample that counts at its receipt."""

NOT_AT_SOURCE_TIME = AT_GATEWAY_TIME | int(Flag.AT_SERVER_TIME)
"""Flags of a sample that counts at another time than its source's."""

CHOSEN_TIME = int(Flag.AT_SERVER_TIME | Flag.AT_GATEWAY_TIME)
"""Flags of a sample whose time the plant model chose: the source's says nothing of its machine."""

_AT_SERVER_TIME = int(Flag.AT_SERVER_TIME)
_SEVERITY = 0xC0000000


def time_of(flags: int, source_time: int, server_time: int, gateway_time: int) -> int:
    """The one of its times that a sample counts at."""
    # `int.__and__`: an enum's own `&` would cost more than all else here, for each value.
    other = int.__and__(flags, NOT_AT_SOURCE_TIME)
    if not other:
        return source_time
    return server_time if other == _AT_SERVER_TIME else gateway_time


def raw_status(status: int, flags: int) -> int:
    """The status code as the source gave it; the plant model may count its severity as good."""
    return status | (flags << 20 & _SEVERITY)


@dataclass(frozen=True, slots=True)
class Signal:
    """One measured or reported quantity of an asset.

    Attributes:
        id: opaque, stable over renames.
        asset: id of the asset that carries it.
        path: ISA-95 path `enterprise/site/area/line/unit/name`.
        type: declared type; NULL when nothing is declared.
        unit: UCUM code, empty when there is none.
        source: id of the source that delivers it.
        discovered: not in the plant model.
        encoded: its bytes in a dictionary and their key, kept by `codec.py` as long as the signal
            lives; no part of what the signal says.
    """

    id: str
    asset: str
    path: str
    type: ValueType
    unit: str = ""
    source: str = ""
    discovered: bool = False
    encoded: tuple[bytes, bytes] | None = field(default=None, init=False, repr=False, compare=False)

    def __hash__(self) -> int:
        # Signals are looked up once a sample: hashing all fields would cost four times as much.
        return hash(self.id)


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of one signal. Times are int64 microseconds since 1970 UTC; `server_time` 0 means
    none."""

    signal: Signal
    value: Value
    type: ValueType
    source_time: int
    gateway_time: int
    server_time: int = 0
    status: int = GOOD
    flags: Flag = Flag.NONE
    sub: int = 0

    @property
    def time(self) -> int:
        """The time that the sample counts at: the source's, or the gateway's where that was
        unusable, or the one that the plant model chose."""
        return time_of(self.flags, self.source_time, self.server_time, self.gateway_time)


@dataclass(frozen=True, slots=True, eq=False)
class SampleBatch:
    """Samples of one line as columns; n = `len(batch)`, every per-sample array has n entries.

    `type[i]` says which value column the i-th sample takes its value from, in order:
    the k-th sample of type INT64 has `ints[k]`. NULL samples take none.
    """

    owner: str
    gateway: str
    boot: int
    sequence: int
    line: str
    signals: tuple[Signal, ...]
    signal: NDArray[np.uint32]
    type: NDArray[np.uint8]
    source_time: NDArray[np.int64]
    server_time: NDArray[np.int64]
    gateway_time: NDArray[np.int64]
    status: NDArray[np.uint32]
    flags: NDArray[np.uint32]
    sub: NDArray[np.uint32]
    doubles: NDArray[np.float64]
    ints: NDArray[np.int64]
    uints: NDArray[np.uint64]
    bools: NDArray[np.bool_]
    texts: tuple[str, ...] = ()
    blobs: tuple[bytes, ...] = ()
    jsons: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.signal)

    @property
    def time(self) -> NDArray[np.int64]:
        """(n,) microseconds: the time that each sample counts at."""
        other = self.flags & np.uint32(NOT_AT_SOURCE_TIME)
        if not other.any():
            return self.source_time
        of_server = other == np.uint32(Flag.AT_SERVER_TIME)
        changed = np.where(of_server, self.server_time, self.gateway_time)
        return np.where(other != 0, changed, self.source_time)

    def values(self) -> list[Value]:
        """The n values in order, as Python objects. For tests, pages and single values: not for the
        hot path."""
        if len(self.doubles) == len(self):
            doubles: list[Value] = self.doubles.tolist()
            return doubles
        columns: dict[int, Iterator[Value]] = {
            ValueType.DOUBLE: iter(self.doubles.tolist()),
            ValueType.INT64: iter(self.ints.tolist()),
            ValueType.UINT64: iter(self.uints.tolist()),
            ValueType.BOOL: iter(self.bools.tolist()),
            ValueType.TEXT: iter(self.texts),
            ValueType.BYTES: iter(self.blobs),
            ValueType.JSON: iter(self.jsons),
        }
        return [None if code == 0 else next(columns[code]) for code in self.type.tolist()]

    def numbers(self) -> NDArray[np.float64]:
        """(n,) the values as doubles; NaN where a sample is no number. Integers beyond 2^53 lose
        digits here."""
        if len(self.doubles) == len(self):
            return self.doubles
        out = np.full(len(self), np.nan)
        out[self.type == ValueType.DOUBLE] = self.doubles
        out[self.type == ValueType.INT64] = self.ints
        out[self.type == ValueType.UINT64] = self.uints
        out[self.type == ValueType.BOOL] = self.bools
        return out

    def samples(self) -> list[Sample]:
        """The n samples as rows. For tests and single values: not for the hot path."""
        return [
            Sample(self.signals[s], value, ValueType(t), src, gw, srv, st, Flag(fl), sub)
            for s, value, t, src, gw, srv, st, fl, sub in zip(
                self.signal.tolist(),
                self.values(),
                self.type.tolist(),
                self.source_time.tolist(),
                self.gateway_time.tolist(),
                self.server_time.tolist(),
                self.status.tolist(),
                self.flags.tolist(),
                self.sub.tolist(),
                strict=True,
            )
        ]

    def take(self, keep: NDArray[np.bool_]) -> SampleBatch:
        """The batch with only the samples where `keep` (n,) is true; dictionary and identity
        stay."""

        def of(kind: ValueType) -> NDArray[np.bool_]:
            chosen: NDArray[np.bool_] = keep[self.type == kind]
            return chosen

        return replace(
            self,
            signal=self.signal[keep],
            type=self.type[keep],
            source_time=self.source_time[keep],
            server_time=self.server_time[keep],
            gateway_time=self.gateway_time[keep],
            status=self.status[keep],
            flags=self.flags[keep],
            sub=self.sub[keep],
            doubles=self.doubles[of(ValueType.DOUBLE)],
            ints=self.ints[of(ValueType.INT64)],
            uints=self.uints[of(ValueType.UINT64)],
            bools=self.bools[of(ValueType.BOOL)],
            texts=tuple(t for t, k in zip(self.texts, of(ValueType.TEXT), strict=True) if k),
            blobs=tuple(b for b, k in zip(self.blobs, of(ValueType.BYTES), strict=True) if k),
            jsons=tuple(j for j, k in zip(self.jsons, of(ValueType.JSON), strict=True) if k),
        )


_KINDS = len(ValueType)


def make_batch(
    samples: Sequence[Sample], *, owner: str, gateway: str, boot: int, sequence: int, line: str
) -> SampleBatch:
    """Turn rows into columns. The dictionary lists each signal once, sorted by id, so that batches
    of the same signals share one.

    Raises:
        ValueError: a value does not fit its type (say, text with type INT64, or an integer beyond
        64 bits).
    """
    index: dict[Signal, int] = {}
    first_use = [index.setdefault(s.signal, len(index)) for s in samples]
    signals = sorted(index, key=_id_and_path)
    place = np.empty(len(index), np.uint32)
    place[[index[signal] for signal in signals]] = np.arange(len(index), dtype=np.uint32)

    values: list[list[Value]] = [[] for _ in range(_KINDS)]
    for each in samples:
        values[each.type].append(each.value)
    try:
        return SampleBatch(
            owner=owner,
            gateway=gateway,
            boot=boot,
            sequence=sequence,
            line=line,
            signals=tuple(signals),
            signal=place[first_use],
            type=np.array([s.type for s in samples], np.uint8),
            source_time=np.array([s.source_time for s in samples], np.int64),
            server_time=np.array([s.server_time for s in samples], np.int64),
            gateway_time=np.array([s.gateway_time for s in samples], np.int64),
            status=np.array([s.status for s in samples], np.uint32),
            flags=np.array([s.flags for s in samples], np.uint32),
            sub=np.array([s.sub for s in samples], np.uint32),
            doubles=np.array(values[ValueType.DOUBLE], np.float64),
            ints=np.array(values[ValueType.INT64], np.int64),
            uints=np.array(values[ValueType.UINT64], np.uint64),
            bools=np.array(values[ValueType.BOOL], np.bool_),
            texts=_of(str, values[ValueType.TEXT]),
            blobs=_of(bytes, values[ValueType.BYTES]),
            jsons=_of(str, values[ValueType.JSON]),
        )
    except (TypeError, OverflowError) as error:
        raise ValueError(f"a sample of line {line!r} does not fit its type: {error}") from error


def _id_and_path(signal: Signal) -> tuple[str, str]:
    return signal.id, signal.path


def _of(kind: type[T], values: Iterable[Value]) -> tuple[T, ...]:
    out = []
    for value in values:
        if not isinstance(value, kind):
            raise ValueError(f"expected {kind.__name__}, got {value!r}")
        out.append(value)
    return tuple(out)
