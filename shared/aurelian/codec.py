"""Batches and events to and from the bytes of `proto/aurelian/v1`; the only importer of the generated code.

Called by gateways (encode) and by every reader of Kafka (decode). Pure; no I/O.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

import numpy as np
from google.protobuf.message import DecodeError as ProtobufError
from numpy.typing import NDArray

from aurelian.pb import telemetry_pb2 as pb
from aurelian.sample import SampleBatch, Signal, ValueType

SCHEMA_VERSION = 1

N = TypeVar("N", bound=np.generic)

SourceEvent = pb.SourceEvent
Rejected = pb.Rejected
Birth = pb.Birth
Death = pb.Death
Heartbeat = pb.Heartbeat
Gap = pb.Gap
Received = pb.Received
MachineAlarm = pb.MachineAlarm

_FIELD = {name: field.number for name, field in pb.SampleBatch.DESCRIPTOR.fields_by_name.items()}


class DecodeError(ValueError):
    """The bytes are no readable message of the contract; the text says why."""


@lru_cache(maxsize=4096)
def encode_dictionary(signals: tuple[Signal, ...]) -> bytes:
    """Serialise a dictionary; repeated calls with the same signals cost a look-up."""
    return pb.Dictionary(
        signals=[
            pb.Signal(
                id=s.id,
                asset=s.asset,
                path=s.path,
                type=int(s.type),  # type: ignore[arg-type]
                unit=s.unit,
                source=s.source,
                discovered=s.discovered,
            )
            for s in signals
        ]
    ).SerializeToString()


def encode(batch: SampleBatch) -> bytes:
    """Serialise a batch.

    Columns whose entries are all zero are left out. Fixed-width columns are written from the arrays'
    memory: a packed field is its tag, its length and the little-endian values.
    """
    n = len(batch)
    head = pb.SampleBatch(
        schema_version=SCHEMA_VERSION,
        owner=batch.owner,
        gateway=batch.gateway,
        boot=batch.boot,
        sequence=batch.sequence,
        line=batch.line,
        dictionary=encode_dictionary(batch.signals),
        count=n,
        type=_encode_types(batch.type),
        texts=batch.texts,
        blobs=batch.blobs,
        jsons=batch.jsons,
    ).SerializeToString()
    parts = [head]
    for name, column in (
        ("signal", batch.signal),
        ("source_time", batch.source_time),
        ("server_time", batch.server_time),
        ("gateway_time", batch.gateway_time),
        ("status", batch.status),
        ("flags", batch.flags),
        ("sub", batch.sub),
    ):
        if column.any():
            parts += _packed(name, column)
    for name, values in (
        ("doubles", batch.doubles),
        ("ints", batch.ints),
        ("uints", batch.uints),
        ("bools", batch.bools),
    ):
        if len(values):
            parts += _packed(name, values)
    return b"".join(parts)


def decode(data: bytes) -> SampleBatch:
    """Read a batch.

    Raises:
        DecodeError: not a SampleBatch, a newer schema, or columns that contradict each other.
    """
    try:
        message = pb.SampleBatch.FromString(data)
    except ProtobufError as error:
        raise DecodeError(f"not a SampleBatch: {error}") from error
    if message.schema_version != SCHEMA_VERSION:
        raise DecodeError(f"schema version {message.schema_version}, this reader knows {SCHEMA_VERSION}")
    n = message.count
    types = _decode_types(message.type, n)
    signals = _decode_dictionary(message.dictionary)
    batch = SampleBatch(
        owner=message.owner,
        gateway=message.gateway,
        boot=message.boot,
        sequence=message.sequence,
        line=message.line,
        signals=signals,
        signal=_column(message.signal, n, np.uint32, "signal"),
        type=types,
        source_time=_column(message.source_time, n, np.int64, "source_time"),
        server_time=_column(message.server_time, n, np.int64, "server_time"),
        gateway_time=_column(message.gateway_time, n, np.int64, "gateway_time"),
        status=_column(message.status, n, np.uint32, "status"),
        flags=_column(message.flags, n, np.uint32, "flags"),
        sub=_column(message.sub, n, np.uint32, "sub"),
        doubles=np.array(message.doubles, np.float64),
        ints=np.array(message.ints, np.int64),
        uints=np.array(message.uints, np.uint64),
        bools=np.array(message.bools, np.bool_),
        texts=tuple(message.texts),
        blobs=tuple(message.blobs),
        jsons=tuple(message.jsons),
    )
    if n and batch.signal.max() >= len(signals):
        raise DecodeError(f"signal index {batch.signal.max()} in a dictionary of {len(signals)}")
    _check_values(batch)
    return batch


def encode_event(event: SourceEvent) -> bytes:
    """Serialise a SourceEvent, stamping the schema version."""
    event.schema_version = SCHEMA_VERSION
    return event.SerializeToString()


def decode_event(data: bytes) -> SourceEvent:
    """Read a SourceEvent.

    Raises:
        DecodeError: not a SourceEvent, or a newer schema.
    """
    try:
        event = pb.SourceEvent.FromString(data)
    except ProtobufError as error:
        raise DecodeError(f"not a SourceEvent: {error}") from error
    if event.schema_version != SCHEMA_VERSION or event.WhichOneof("kind") is None:
        raise DecodeError(f"SourceEvent of schema version {event.schema_version} without a known kind")
    return event


def encode_rejected(rejected: Rejected) -> bytes:
    """Serialise a Rejected, stamping the schema version."""
    rejected.schema_version = SCHEMA_VERSION
    return rejected.SerializeToString()


def decode_rejected(data: bytes) -> Rejected:
    """Read a Rejected.

    Raises:
        DecodeError: not a Rejected, or a newer schema.
    """
    try:
        rejected = pb.Rejected.FromString(data)
    except ProtobufError as error:
        raise DecodeError(f"not a Rejected: {error}") from error
    if rejected.schema_version != SCHEMA_VERSION:
        raise DecodeError(f"Rejected of schema version {rejected.schema_version}")
    return rejected


def _encode_types(types: NDArray[np.uint8]) -> bytes:
    if len(types) and (types == types[0]).all():
        return types[:1].tobytes()
    return types.tobytes()


def _decode_types(data: bytes, n: int) -> NDArray[np.uint8]:
    types = np.frombuffer(data, np.uint8)
    if len(types) == 1 and n > 1:
        types = np.full(n, types[0], np.uint8)
    if len(types) != n:
        raise DecodeError(f"column type has {len(types)} entries, count says {n}")
    if n and types.max() > max(ValueType):
        raise DecodeError(f"unknown value type {types.max()}")
    return types


@lru_cache(maxsize=4096)
def _decode_dictionary(data: bytes) -> tuple[Signal, ...]:
    try:
        message = pb.Dictionary.FromString(data)
    except ProtobufError as error:
        raise DecodeError(f"not a Dictionary: {error}") from error
    return tuple(
        Signal(s.id, s.asset, s.path, ValueType(s.type), s.unit, s.source, s.discovered)
        for s in message.signals
    )


def _column(values: object, n: int, kind: type[N], name: str) -> NDArray[N]:
    column: NDArray[N] = np.array(values, kind)
    if len(column) == n:
        return column
    if len(column) == 0:
        return np.zeros(n, kind)
    raise DecodeError(f"column {name} has {len(column)} entries, count says {n}")


def _check_values(batch: SampleBatch) -> None:
    counts = np.bincount(batch.type, minlength=len(ValueType)).tolist()
    for kind, values in (
        (ValueType.DOUBLE, batch.doubles),
        (ValueType.INT64, batch.ints),
        (ValueType.UINT64, batch.uints),
        (ValueType.BOOL, batch.bools),
        (ValueType.TEXT, batch.texts),
        (ValueType.BYTES, batch.blobs),
        (ValueType.JSON, batch.jsons),
    ):
        if counts[kind] != len(values):
            raise DecodeError(f"{counts[kind]} samples of type {kind.name}, {len(values)} values")


def _packed(name: str, column: NDArray[np.generic]) -> tuple[bytes, bytes]:
    data = np.ascontiguousarray(column).tobytes()
    return _varint(_FIELD[name] << 3 | 2) + _varint(len(data)), data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
