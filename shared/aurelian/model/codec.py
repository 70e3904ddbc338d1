"""Batches and events to and from the bytes of `proto/aurelian/v1`; the only importer of the
generated code. Called by gateways (encode) and every reader of Kafka (decode). Pure; no I/O."""

from __future__ import annotations

from collections.abc import Collection
from hashlib import blake2b
from operator import attrgetter
from sys import intern
from typing import Any, TypeVar

import numpy as np
from google.protobuf.message import DecodeError as ProtobufError
from numpy.typing import NDArray

from aurelian.model.byte_cache import ByteCache
from aurelian.model.decode_errors import DecodeError as DecodeError
from aurelian.model.decode_errors import NewerSchema, UnknownKind
from aurelian.model.sample import SampleBatch, Signal, ValueType
from aurelian.model.signal_cache import SIGNAL_BYTES, SignalCache
from aurelian.model.wire import LENGTH_DELIMITED, fields, split, tag, varint
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
Refused = pb.Refused
Connection = pb.Connection
CommandResult = pb.CommandResult
ServerAway = pb.ServerAway
Certificate = pb.Certificate


def encode(batch: SampleBatch, sequence: int | None = None) -> bytes:
    """Serialise a batch, under another `sequence` where one is given: the outbox numbers late.

    Columns whose entries are all zero are left out. Fixed-width columns are written from the
    arrays' memory: a packed field is its tag, its length and the little-endian values.
    """
    types = batch.type.tobytes()
    if types and types.count(types[0]) == len(types):
        types = types[:1]
    dictionary, keys = _encode_dictionary(batch.signals)
    head = pb.SampleBatch(
        schema_version=SCHEMA_VERSION,
        owner=batch.owner,
        gateway=batch.gateway,
        boot=batch.boot,
        sequence=batch.sequence if sequence is None else sequence,
        line=batch.line,
        dictionary=dictionary,
        count=len(batch),
        type=types,
        texts=batch.texts,
        blobs=batch.blobs,
        jsons=batch.jsons,
    ).SerializeToString()
    parts = [head]
    if keys:
        parts += (_TAG["dictionary_keys"], varint(len(keys)), keys)
    for field, column in (
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
            parts += (field, varint(len(data)), data)
    for field, values in (
        (_TAG["doubles"], batch.doubles),
        (_TAG["ints"], batch.ints),
        (_TAG["uints"], batch.uints),
        (_TAG["bools"], batch.bools),
    ):
        if len(values):
            data = values.tobytes()
            parts += (field, varint(len(data)), data)
    return b"".join(parts)


def decode(data: bytes, *, any_version: bool = False) -> SampleBatch:
    """Read a batch; with `any_version` one of a newer schema as if it were of ours.

    Raises:
        DecodeError: not a SampleBatch, a newer schema, or columns that contradict each other.
    """
    rest, columns = split(data, COLUMNS) or _split_any(data)
    try:
        message = pb.SampleBatch.FromString(rest)
    except ProtobufError as error:
        raise DecodeError(f"not a SampleBatch: {error}") from error
    if not any_version:
        _check_version("SampleBatch", message.schema_version)
    n = message.count
    if n > MAX_SAMPLES:
        raise DecodeError(f"{n} samples in one batch, at most {MAX_SAMPLES} may be")
    signals = _signals_of(data, columns)
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


def dictionary_entries(dictionary: bytes) -> list[tuple[bytes, bytes]]:
    """Cut a serialised dictionary into its entries, each with its key; joined they are the bytes.

    Raises:
        DecodeError: not a Dictionary.
    """
    try:
        return [
            (dictionary[start:end], _key(dictionary[first:end]).to_bytes(_KEY_BYTES, "little"))
            for _, start, first, end in fields(dictionary)
        ]
    except IndexError as error:
        raise DecodeError(f"not a Dictionary: {error}") from error


def decode_event(data: bytes) -> SourceEvent:
    """Read a SourceEvent.

    Raises:
        DecodeError: not a SourceEvent; NewerSchema, UnknownKind: not one that we know.
    """
    try:
        event = pb.SourceEvent.FromString(data)
    except ProtobufError as error:
        raise DecodeError(f"not a SourceEvent: {error}") from error
    _check_version("SourceEvent", event.schema_version)
    if event.WhichOneof("kind") is None:
        raise UnknownKind("SourceEvent without a known kind")
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
    _check_version("Rejected", rejected.schema_version)
    return rejected


def _check_version(message: str, version: int) -> None:
    if version != SCHEMA_VERSION:
        error = NewerSchema if version > SCHEMA_VERSION else DecodeError
        raise error(f"{message} of schema version {version}, this reader knows {SCHEMA_VERSION}")


def _encode_dictionary(signals: tuple[Signal, ...]) -> tuple[bytes, bytes]:
    """Serialise a dictionary: its bytes and its keys."""
    if not signals:
        return b"", b""
    try:
        entries, keys = zip(*map(_encoded, signals), strict=True)
    except TypeError:  # some signal has not been encoded before
        entries, keys = zip(*map(_encode_signal, signals), strict=True)
    return b"".join(entries), b"".join(keys)


def _encode_signal(signal: Signal) -> tuple[bytes, bytes]:
    if signal.encoded is None:
        data = pb.Signal(
            id=signal.id,
            asset=signal.asset,
            path=signal.path,
            type=int(signal.type),  # type: ignore[arg-type]
            unit=signal.unit,
            source=signal.source,
            discovered=signal.discovered,
        ).SerializeToString()
        entry = varint(_ENTRY) + varint(len(data)) + data
        object.__setattr__(signal, "encoded", (entry, _key(data).to_bytes(_KEY_BYTES, "little")))
        assert signal.encoded is not None
    return signal.encoded


def _key(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=_KEY_BYTES).digest(), "little")


def _signals_of(data: bytes, columns: dict[str, bytes]) -> tuple[Signal, ...]:
    """Read the dictionary of a batch.

    A batch repeats it whole, so that reading may begin at any record; what makes it cheap is that
    its keys name signals read before, and then its bytes are not looked at.
    """
    keys = columns.get("dictionary_keys", b"")
    # In one cache a dictionary's bytes could be the keys of another: it would take its place.
    cache = _DICTIONARIES if keys else _UNKEYED_DICTIONARIES
    name = keys or _dictionary_of(data, columns)
    found = cache.entries.get(name)
    if found is not None:
        return found
    known = _SIGNALS.find(np.frombuffer(keys, "<u8")) if keys else None
    signals = tuple(known or _decode_dictionary(_dictionary_of(data, columns), keys))
    cache.put(name, signals)
    return signals


def _dictionary_of(data: bytes, columns: dict[str, bytes]) -> bytes:
    if "dictionary" in columns:
        return columns["dictionary"]
    found = [data[first:end] for field, _, first, end in fields(data) if field == _DICTIONARY]
    return found[-1] if found else b""


def _decode_dictionary(dictionary: bytes, keys: bytes) -> tuple[Signal, ...]:
    try:
        entries = [
            dictionary[first:end] for field, _, first, end in fields(dictionary) if field == _ENTRY
        ]
    except IndexError as error:
        raise DecodeError(f"not a Dictionary: {error}") from error
    if keys and len(keys) != len(entries) * _KEY_BYTES:
        raise DecodeError(f"{len(keys) // _KEY_BYTES} keys in a dictionary of {len(entries)}")
    if keys:
        numbers = np.frombuffer(keys, "<u8").tolist()
    else:  # of a gateway before there were keys, or of another writer
        numbers = [_KEYS.entries.get(entry) or _make_key(entry) for entry in entries]
    return tuple(
        _SIGNALS.entries.get(number) or _decode_signal(entry, number)
        for entry, number in zip(entries, numbers, strict=True)
    )


def _make_key(entry: bytes) -> int:
    number = _key(entry)
    _KEYS.put(entry, number)
    return number


def _decode_signal(data: bytes, number: int) -> Signal:
    if number != _key(data):
        raise DecodeError(f"key {number} is not that of its dictionary entry")
    try:
        s = pb.Signal.FromString(data)
        # Thousands of signals share few assets, units and sources.
        asset, unit, source = intern(s.asset), intern(s.unit), intern(s.source)
        signal = Signal(s.id, asset, s.path, ValueType(s.type), unit, source, s.discovered)
    except (ProtobufError, ValueError) as error:
        raise DecodeError(f"not a Dictionary: {error}") from error
    _SIGNALS.put(number, signal)
    return signal


def _split_any(data: bytes) -> tuple[bytes, dict[str, bytes]]:
    """As `wire.split`, for every way in which protobuf allows columns to be written."""
    try:
        message = pb.SampleBatch.FromString(data)
    except ProtobufError as error:
        raise DecodeError(f"not a SampleBatch: {error}") from error
    columns = {
        name: np.array(getattr(message, name), kind).tobytes() for name, kind in _KIND.items()
    }
    return data, columns | {"dictionary": message.dictionary}


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


_KIND: dict[str, np.dtype[Any]] = {
    "dictionary_keys": np.dtype("<u8"),
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

_NUMBER = {
    name: pb.SampleBatch.DESCRIPTOR.fields_by_name[name].number for name in (*_KIND, "dictionary")
}
_TAG = {name: tag(number) for name, number in _NUMBER.items()}
COLUMNS = {
    number << 3 | LENGTH_DELIMITED: (name, _KIND[name].itemsize if name in _KIND else 0)
    for name, number in _NUMBER.items()
}
"""Name and bytes an entry of each column by its tag; width 0: the dictionary."""

REPEATED = frozenset(
    tag(pb.SampleBatch.DESCRIPTOR.fields_by_name[name].number)[0]
    for name in ("owner", "gateway", "line")
)
"""Tags of the texts that all batches of a line have in common."""

_TYPE_CODES = bytes(ValueType)

_KEY_BYTES = 8
_ENTRY = pb.Dictionary.DESCRIPTOR.fields_by_name["signals"].number << 3 | LENGTH_DELIMITED
_DICTIONARY = _NUMBER["dictionary"] << 3 | LENGTH_DELIMITED
_encoded = attrgetter("encoded")


def _dictionary_bytes(name: bytes, signals: tuple[Signal, ...]) -> int:
    # As if no other dictionary had these signals: it may be what keeps them in memory.
    return len(name) + len(signals) * 2 * SIGNAL_BYTES


_SIGNALS = SignalCache(16 * 2**20)
"""Decoded signals by key: lines report by exception, dictionaries differ and signals do not."""

_DICTIONARIES = ByteCache[bytes, tuple[Signal, ...]](8 * 2**20, _dictionary_bytes)
"""Decoded dictionaries by their keys: readers keep what they derive of one by identity."""

_UNKEYED_DICTIONARIES = ByteCache[bytes, tuple[Signal, ...]](2 * 2**20, _dictionary_bytes)
"""The same for dictionaries without keys, by their bytes."""

_KEYS: ByteCache[bytes, int] = ByteCache(8 * 2**20, lambda entry, _: len(entry) + 200)
"""Keys by entry, for dictionaries that come without them."""
