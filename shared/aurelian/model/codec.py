"""Batches and events to and from the bytes of `proto/aurelian/v1`; the only importer of the
generated code.

Called by gateways (encode) and by every reader of Kafka (decode). Pure; no I/O.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from google.protobuf.message import DecodeError as ProtobufError
from numpy.typing import NDArray

from aurelian.model.sample import SampleBatch, Signal, ValueType
from aurelian.pb import telemetry_pb2 as pb

SCHEMA_VERSION = 1

MAX_SAMPLES = 1_000_000
"""The most samples that one batch may have: bounds what a few wrong bytes can make a reader
allocate."""

T = TypeVar("T")

SourceEvent = pb.SourceEvent
Rejected = pb.Rejected
Birth = pb.Birth
Death = pb.Death
Heartbeat = pb.Heartbeat
Gap = pb.Gap
Received = pb.Received
MachineAlarm = pb.MachineAlarm


class DecodeError(ValueError):
    """The bytes are no readable message of the contract; the text says why."""


@lru_cache(maxsize=4096)
def encode_dictionary(signals: tuple[Signal, ...]) -> bytes:
    """Serialise a dictionary; repeated calls with the same signals cost a look-up."""
    return b"".join(map(_encode_entry, signals))


def encode(batch: SampleBatch) -> bytes:
    """Serialise a batch.

    Columns whose entries are all zero are left out. Fixed-width columns are written from the
    arrays'
    memory: a packed field is its tag, its length and the little-endian values.
    """
    types = batch.type.tobytes()
    if types and types.count(types[0]) == len(types):
        types = types[:1]
    head = pb.SampleBatch(
        schema_version=SCHEMA_VERSION,
        owner=batch.owner,
        gateway=batch.gateway,
        boot=batch.boot,
        sequence=batch.sequence,
        line=batch.line,
        dictionary=encode_dictionary(batch.signals),
        count=len(batch),
        type=types,
        texts=batch.texts,
        blobs=batch.blobs,
        jsons=batch.jsons,
    ).SerializeToString()
    parts = [head]
    for tag, column in (
        (_TAG["signal"], batch.signal),
        (_TAG["source_time"], batch.source_time),
        (_TAG["server_time"], batch.server_time),
        (_TAG["gateway_time"], batch.gateway_time),
        (_TAG["status"], batch.status),
        (_TAG["flags"], batch.flags),
        (_TAG["sub"], batch.sub),
    ):
        data = column.tobytes()
        if data != bytes(len(data)):
            parts += (tag, _varint(len(data)), data)
    for tag, values in (
        (_TAG["doubles"], batch.doubles),
        (_TAG["ints"], batch.ints),
        (_TAG["uints"], batch.uints),
        (_TAG["bools"], batch.bools),
    ):
        if len(values):
            data = values.tobytes()
            parts += (tag, _varint(len(data)), data)
    return b"".join(parts)


def decode(data: bytes) -> SampleBatch:
    """Read a batch.

    Raises:
        DecodeError: not a SampleBatch, a newer schema, or columns that contradict each other.
    """
    rest, columns = _split(data) or _split_any(data)
    try:
        message = pb.SampleBatch.FromString(rest)
    except ProtobufError as error:
        raise DecodeError(f"not a SampleBatch: {error}") from error
    if message.schema_version != SCHEMA_VERSION:
        raise DecodeError(
            f"schema version {message.schema_version}, this reader knows {SCHEMA_VERSION}"
        )
    n = message.count
    if n > MAX_SAMPLES:
        raise DecodeError(f"{n} samples in one batch, at most {MAX_SAMPLES} may be")
    signals = _decode_dictionary(message.dictionary)
    signal = _column(columns, "signal", n)
    if n and signal.max() >= len(signals):
        raise DecodeError(f"signal index {signal.max()} in a dictionary of {len(signals)}")
    types = message.type if len(message.type) != 1 else message.type * n
    if len(types) != n:
        raise DecodeError(f"column type has {len(types)} entries, count says {n}")
    if types.translate(None, _TYPE_CODES):
        raise DecodeError(f"unknown value type {max(types)}")
    return SampleBatch(
        owner=message.owner,
        gateway=message.gateway,
        boot=message.boot,
        sequence=message.sequence,
        line=message.line,
        signals=signals,
        signal=signal,
        type=np.frombuffer(types, np.uint8),
        source_time=_column(columns, "source_time", n),
        server_time=_column(columns, "server_time", n),
        gateway_time=_column(columns, "gateway_time", n),
        status=_column(columns, "status", n),
        flags=_column(columns, "flags", n),
        sub=_column(columns, "sub", n),
        doubles=_values(columns, "doubles", types.count(ValueType.DOUBLE)),
        ints=_values(columns, "ints", types.count(ValueType.INT64)),
        uints=_values(columns, "uints", types.count(ValueType.UINT64)),
        bools=_values(columns, "bools", types.count(ValueType.BOOL)),
        texts=_objects(message.texts, types.count(ValueType.TEXT), "texts"),
        blobs=_objects(message.blobs, types.count(ValueType.BYTES), "blobs"),
        jsons=_objects(message.jsons, types.count(ValueType.JSON), "jsons"),
    )


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
        raise DecodeError(
            f"SourceEvent of schema version {event.schema_version} without a known kind"
        )
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


@lru_cache(maxsize=65_536)
def _encode_entry(signal: Signal) -> bytes:
    # A dictionary of one: entries of a repeated field stand one after the other, so they can be
    # joined.
    entry = pb.Signal(
        id=signal.id,
        asset=signal.asset,
        path=signal.path,
        type=int(signal.type),  # type: ignore[arg-type]
        unit=signal.unit,
        source=signal.source,
        discovered=signal.discovered,
    )
    return pb.Dictionary(signals=[entry]).SerializeToString()


@lru_cache(maxsize=4096)
def _decode_dictionary(data: bytes) -> tuple[Signal, ...]:
    try:
        message = pb.Dictionary.FromString(data)
        return tuple(
            _signal(s.id, s.asset, s.path, s.type, s.unit, s.source, s.discovered)
            for s in message.signals
        )
    except (ProtobufError, ValueError) as error:
        raise DecodeError(f"not a Dictionary: {error}") from error


@lru_cache(maxsize=65_536)
def _signal(
    id: str, asset: str, path: str, type: int, unit: str, source: str, discovered: bool
) -> Signal:
    return Signal(id, asset, path, ValueType(type), unit, source, discovered)


def _split(data: bytes) -> tuple[bytes, dict[str, bytes]] | None:
    """Take the packed columns out of a message as they stand, little-endian; the rest is for
    protobuf.

    None where protobuf must read it all: columns unpacked or in pieces, many texts, or something
    broken.
    """
    columns: dict[str, bytes] = {}
    rest: list[bytes] = []
    pos, end = 0, len(data)
    try:
        for _ in range(_FEW_FIELDS):
            if pos == end:
                return b"".join(rest), columns
            start = pos
            tag = data[pos]
            pos += 1
            if tag > 127:
                if data[pos] > 127:
                    return None
                tag = tag & 127 | data[pos] << 7
                pos += 1
            wire_type = tag & 7
            if wire_type == 2:
                length = data[pos]
                pos += 1
                if length > 127:
                    length, pos = _read_varint(data, pos - 1)
                first, pos = pos, pos + length
                column = _COLUMN.get(tag)
                if column is not None:
                    name, width = column
                    values = data[first:pos]
                    if name in columns or length % width or pos > end:
                        return None
                    if width == 1 and values.translate(None, b"\0\1"):
                        return None
                    columns[name] = values
                    continue
            elif wire_type == 1:
                pos += 8
            elif wire_type == 0:
                _, pos = _read_varint(data, pos)
            elif wire_type == 5:
                pos += 4
            if pos > end or tag >> 3 in _ELSEWHERE or 2 < wire_type < 5 or wire_type > 5:
                return None
            rest.append(data[start:pos])
    except IndexError:
        return None
    return None


def _split_any(data: bytes) -> tuple[bytes, dict[str, bytes]]:
    """As `_split`, for every way in which protobuf allows columns to be written."""
    try:
        message = pb.SampleBatch.FromString(data)
    except ProtobufError as error:
        raise DecodeError(f"not a SampleBatch: {error}") from error
    return data, {
        name: np.array(getattr(message, name), kind).tobytes() for name, kind in _KIND.items()
    }


def _column(columns: dict[str, bytes], name: str, n: int) -> NDArray[Any]:
    data = columns.get(name)
    kind = _KIND[name]
    if not data:
        return np.zeros(n, kind)
    column = np.frombuffer(data, kind)
    if len(column) != n:
        raise DecodeError(f"column {name} has {len(column)} entries, count says {n}")
    return column


def _values(columns: dict[str, bytes], name: str, n: int) -> NDArray[Any]:
    values = np.frombuffer(columns.get(name, b""), _KIND[name])
    if len(values) != n:
        raise DecodeError(f"{len(values)} {name}, {n} samples of that type")
    return values


def _objects(values: Collection[T], n: int, name: str) -> tuple[T, ...]:
    if len(values) != n:
        raise DecodeError(f"{len(values)} {name}, {n} samples of that type")
    return tuple(values) if n else ()


def _read_varint(data: bytes, pos: int) -> tuple[int, int]:
    value = data[pos]
    pos += 1
    if value < 128:
        return value, pos
    value &= 127
    shift = 7
    while (more := data[pos]) > 127:
        value |= (more & 127) << shift
        shift += 7
        pos += 1
    return value | more << shift, pos + 1


@lru_cache(maxsize=1024)
def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


_KIND: dict[str, np.dtype[Any]] = {
    "signal": np.dtype("<u4"),
    "source_time": np.dtype("<i8"),
    "server_time": np.dtype("<i8"),
    "gateway_time": np.dtype("<i8"),
    "status": np.dtype("<u4"),
    "flags": np.dtype("<u4"),
    "sub": np.dtype("<u4"),
    "doubles": np.dtype("<f8"),
    "ints": np.dtype("<i8"),
    "uints": np.dtype("<u8"),
    "bools": np.dtype("?"),
}
"""The packed columns and what an entry of each is in memory and on the wire."""

_NUMBER = {name: pb.SampleBatch.DESCRIPTOR.fields_by_name[name].number for name in _KIND}
_TAG = {name: _varint(number << 3 | 2) for name, number in _NUMBER.items()}
_COLUMN = {number << 3 | 2: (name, _KIND[name].itemsize) for name, number in _NUMBER.items()}
_ELSEWHERE = frozenset(_NUMBER.values())
_TYPE_CODES = bytes(ValueType)
_FEW_FIELDS = 40
"""Beyond this many fields (each text is one) walking them here costs more than protobuf's
arrays."""
