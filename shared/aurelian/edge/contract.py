"""A signal's contract (type, range, time) applied to each value before the outbox; called by
`gateway.forward`. Pure.

Every value gives a sample, flagged where it is doubtful, or a reject with its bytes and the reason
(decision 8).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from aurelian.edge.names import TEXT_ERROR, text_fault
from aurelian.model.plant import Unit
from aurelian.model.plant_parts import SignalModel
from aurelian.model.sample import BAD, MAX_EXACT_INT, Flag, Sample, Signal, Value, ValueType

MAX_AHEAD = 3_600_000_000
"""Microseconds that a source's clock may be ahead of the gateway's before its time counts as
unusable."""

MAX_SKEW = 300_000_000
"""Microseconds between source and gateway time beyond which the source's time is flagged as
uncertain."""

MAX_VALUE_BYTES = 8_000_000
"""The largest text, bytes or JSON value: with its dictionary it still fits a record of 8 MB."""

BAD_OUT_OF_RANGE = 0x803C0000
"""OPC UA status code BadOutOfRange: of a NaN or an infinity."""

_SEVERITY = 0xC0000000
_MIN_INT64, _MAX_INT64, _MAX_UINT64 = -(2**63), 2**63 - 1, 2**64 - 1
_CHOSEN = int(Flag.AT_SERVER_TIME | Flag.AT_GATEWAY_TIME)
_OLD_BY_NATURE = Flag.HISTORICAL | Flag.RETAINED | Flag.INITIAL
_CLASS = {
    ValueType.DOUBLE: float,
    ValueType.INT64: int,
    ValueType.UINT64: int,
    ValueType.BOOL: bool,
    ValueType.TEXT: str,
    ValueType.BYTES: bytes,
    ValueType.JSON: str,
}


@dataclass(frozen=True, slots=True)
class Reading:
    """One value as a source gave it, before the contract.

    Attributes:
        unit: the unit that the address belongs to; None: unknown to the plant model.
        model: the signal's model; None: discovered.
        signal: from the plant model, or discovered (id `derive_id(path)`); `signal.source` is the
            delivering source.
        line: path of the line (the record's key); the site's path when there is none.
        value, type: as the protocol typed it; None with NULL when there is no value.
        source_time: microseconds since 1970, None when the source gave none.
        server_time: microseconds since 1970, 0 when there is none.
        status: OPC UA status code.
        flags: what the adapter knows; the contract adds to it.
    """

    unit: Unit | None
    model: SignalModel | None
    signal: Signal
    line: str
    value: Value
    type: ValueType
    source_time: int | None
    server_time: int = 0
    status: int = 0
    flags: Flag = Flag.NONE


@dataclass(frozen=True, slots=True)
class Reject:
    """Bytes that could not become samples.

    Attributes:
        reason: a sentence.
        error_class: of a bounded set, for counting.
        origin: topic, node or file that the bytes came from.
        payload: the bytes; cut at 512 kB on the way out, with the SHA-256 of all of them.
        samples: how many samples it stands for in the ledger; 1 when unknown.
        signal: the declared signal whose value it was; None: of no single one, or discovered.
        source_time: microseconds since 1970 that the value came with, 0: none.
    """

    reason: str
    error_class: str
    origin: str
    payload: bytes
    samples: int = 1
    signal: Signal | None = None
    source_time: int = 0


class _ContractError(Exception):
    """A value that cannot be kept as a sample: error class and sentence."""


def apply(reading: Reading, received_at: int, not_before: int = 0) -> Sample | Reject:
    """Make a sample of a reading, or a reject. `received_at`: microseconds since 1970, receipt at
    the gateway. `not_before`: no live value of the source can be older.

    - Stored value = raw * scale + offset; a declared integer is rounded after scaling.
    - A value that is not of the declared type is converted where nothing is lost (integer to double
      and back, 0 and 1 to bool, anything to JSON, numbers to text), else rejected (`type`,
      `overflow`). An integer beyond 2^53 where a double is declared stays an integer.
    - NaN and infinity: no value, with a Bad status.
    - No time, a time up to 1970 (so also 1601), over an hour ahead, or that of a live value from
      before `not_before`: TIME_REPLACED, the original kept (0: none). Over 5 minutes from the
      gateway's: TIME_UNCERTAIN, unless it is old by nature (history, retained, initial).
    - AT_SERVER_TIME of a reading: the server's time is judged so in place of the source's, and
      where it cannot be the source's counts. AT_GATEWAY_TIME: none is judged.
    - Outside the declared range: OUT_OF_RANGE, or rejected (`range`) under a closed contract.
    """
    signal, model, status = reading.signal, reading.model, reading.status & 0xFFFFFFFF
    value, kind = reading.value, reading.type
    try:
        if kind is not ValueType.DOUBLE or type(value) is not float:
            value, kind = _checked(value, kind)
        if kind is ValueType.DOUBLE and not math.isfinite(value):  # type: ignore[arg-type]
            value, kind = None, ValueType.NULL
            if status & _SEVERITY != BAD:
                status = BAD_OUT_OF_RANGE
        if model is not None and kind is not ValueType.NULL:
            if (model.scale != 1.0 or model.offset != 0.0) and isinstance(value, (int, float)):
                value, kind = _scaled(value, kind, model)
            if kind is not model.type:
                value, kind = _converted(value, kind, model.type)
    except _ContractError as error:
        error_class, reason = error.args
        return _reject(reading, error_class, reason)
    flags = reading.flags
    if model is not None and model.range is not None and isinstance(value, (int, float)):
        low, high = model.range
        if not low <= value <= high:
            if model.closed:
                return _reject(reading, "range", f"{value!r} is outside {low}..{high}")
            flags |= Flag.OUT_OF_RANGE
    source_time = reading.source_time
    server_time = reading.server_time if 0 < reading.server_time <= _MAX_INT64 else 0
    if int.__and__(flags, _CHOSEN):
        flags = _at_chosen_time(flags, source_time, server_time, received_at, not_before)
    elif (doubt := judge_time(source_time, flags, received_at, not_before)) is not Flag.NONE:
        flags |= doubt
    source_time = 0 if source_time is None else min(max(source_time, _MIN_INT64), _MAX_INT64)
    return Sample(signal, value, kind, source_time, received_at, server_time, status, flags)


def judge_time(time: int | None, flags: Flag, received_at: int, not_before: int) -> Flag:
    """What a time says of itself: NONE, TIME_REPLACED or TIME_UNCERTAIN; see `apply`."""
    if (
        time is None
        or time <= 0
        or time > received_at + MAX_AHEAD
        or (time < not_before and not flags & _OLD_BY_NATURE)
    ):
        return Flag.TIME_REPLACED
    if time > received_at + MAX_SKEW or (
        time < received_at - MAX_SKEW and not flags & (_OLD_BY_NATURE | Flag.HEARTBEAT)
    ):
        return Flag.TIME_UNCERTAIN
    return Flag.NONE


def _at_chosen_time(
    flags: Flag, source_time: int | None, server_time: int, received_at: int, not_before: int
) -> Flag:
    """The flags of a reading whose adapter chose another time than the source's."""
    if flags & Flag.AT_GATEWAY_TIME:
        return flags & ~Flag.AT_SERVER_TIME
    of_server = judge_time(server_time or None, flags, received_at, not_before)
    if not of_server & Flag.TIME_REPLACED:
        return flags | of_server
    flags &= ~Flag.AT_SERVER_TIME
    return flags | judge_time(source_time, flags, received_at, not_before)


def _checked(value: Value, kind: ValueType) -> tuple[Value, ValueType]:
    """The value with the type that it really has; `_ContractError` where no column can hold it."""
    if value is None or kind is ValueType.NULL:
        if value is not None:
            raise _ContractError("type", f"{_short(value)} came without a type")
        return None, ValueType.NULL
    if type(value) is not _CLASS[kind]:
        if kind is not ValueType.DOUBLE or type(value) is not int:
            raise _ContractError("type", f"{_short(value)} came as {kind.name}")
        return _converted(*_checked(value, ValueType.INT64), ValueType.DOUBLE)
    if isinstance(value, (str, bytes)):
        _check_size(value)
    elif kind is ValueType.INT64 or kind is ValueType.UINT64:
        if not _MIN_INT64 <= value <= _MAX_UINT64:
            raise _ContractError("overflow", f"{_short(value)} does not fit 64 bits")
        if value > _MAX_INT64:
            return value, ValueType.UINT64
        if value < 0:
            return value, ValueType.INT64
    return value, kind


def _check_size(value: str | bytes) -> None:
    if isinstance(value, str):
        if fault := text_fault(value):
            raise _ContractError(TEXT_ERROR, fault)
        size = len(value.encode())
    else:
        size = len(value)
    if size > MAX_VALUE_BYTES:
        raise _ContractError(
            "too_large", f"{size} bytes in one value, at most {MAX_VALUE_BYTES} can be kept"
        )


def _scaled(value: float, kind: ValueType, model: SignalModel) -> tuple[Value, ValueType]:
    if kind is ValueType.BOOL:
        return value, kind
    try:
        if isinstance(value, int) and model.scale.is_integer() and model.offset.is_integer():
            exact = value * int(model.scale) + int(model.offset)
            return _checked(exact, ValueType.INT64)
        scaled = value * model.scale + model.offset
    except OverflowError:
        scaled = math.inf
    if not math.isfinite(scaled):
        raise _ContractError(
            "overflow", f"{_short(value)} * {model.scale} + {model.offset} is beyond a double"
        )
    if model.type is ValueType.INT64 or model.type is ValueType.UINT64:
        return _whole(round(scaled), model.type), model.type
    return scaled, ValueType.DOUBLE


def _converted(value: Value, kind: ValueType, declared: ValueType) -> tuple[Value, ValueType]:
    """The value as its declared type; `_ContractError` where something would be lost."""
    if isinstance(value, (bool, int, float)):
        match declared:
            case ValueType.DOUBLE:
                exact = -MAX_EXACT_INT <= value <= MAX_EXACT_INT
                return (
                    (float(value), declared) if exact or isinstance(value, float) else (value, kind)
                )
            case ValueType.INT64 | ValueType.UINT64:
                return _whole(value, declared), declared
            case ValueType.BOOL if value in (0, 1):
                return bool(value), declared
            case ValueType.TEXT | ValueType.JSON:
                return json.dumps(value), declared
    if isinstance(value, str) and declared is ValueType.JSON:
        return json.dumps(value, ensure_ascii=False), declared
    if kind is ValueType.JSON and declared is ValueType.TEXT:
        return value, declared
    if declared is ValueType.NULL:
        return value, kind
    raise _ContractError(
        "type", f"{_short(value)} came as {kind.name}, declared is {declared.name}"
    )


def _whole(value: float, declared: ValueType) -> int:
    if isinstance(value, float) and not value.is_integer():
        raise _ContractError("type", f"{value!r} is no whole number, declared is {declared.name}")
    whole = int(value)
    low, high = (_MIN_INT64, _MAX_INT64) if declared is ValueType.INT64 else (0, _MAX_UINT64)
    if not low <= whole <= high:
        raise _ContractError("overflow", f"{value!r} does not fit {declared.name}")
    return whole


def _reject(reading: Reading, error_class: str, reason: str) -> Reject:
    value = reading.value
    if isinstance(value, bytes):
        payload = value
    elif isinstance(value, str):
        payload = value.encode(errors="backslashreplace")
    else:
        payload = _short(value).encode()
    origin = (
        reading.model.address
        if reading.model is not None and reading.model.address
        else reading.signal.path
    )
    declared = reading.signal if reading.model is not None else None
    return Reject(
        f"{reading.signal.path}: {reason}",
        error_class,
        origin,
        payload,
        signal=declared,
        source_time=reading.source_time or 0,
    )


def _short(value: Value) -> str:
    if isinstance(value, int) and value.bit_length() > 10_000:
        return f"an integer of {value.bit_length()} bits"
    text = repr(value[:40]) if isinstance(value, (str, bytes)) else repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
