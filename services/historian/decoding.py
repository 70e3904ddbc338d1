"""Pure: what a Kafka record says, as far as bytes alone can tell. Called by processor.py for every
record taken."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np

from aurelian.backbone.topics import ASSETS, REJECTED, SAMPLES, SOURCE_EVENTS
from aurelian.model import codec
from aurelian.model.asset import Asset, decode_asset
from aurelian.model.decode_errors import NewerSchema, UnknownKind
from aurelian.model.names import NameFault, check_paths, path_fault, text_fault
from aurelian.model.record import Record
from aurelian.model.sample import SampleBatch, ValueType
from aurelian.model.time import HOUR_US, to_nearest_datetime
from historian.columns import SignalKeys
from historian.delivery import BatchStream, StreamProgress
from historian.metrics import UNKNOWN_EVENTS

PAYLOAD_LIMIT = 512 * 1024
"""Bytes of a rejected record that are kept; the rest is named by size and SHA-256. What a later
version can read is kept whole."""

MAX_NUMBER = 2**63 - 1
"""The largest boot and sequence that the store can hold."""

EVENTS_STREAM = "@events"
REJECTED_STREAM = "@rejected"


@dataclass(frozen=True, slots=True)
class Rejection:
    """What could not be stored, with its bytes: a row of `historian.rejected`.

    Attributes:
        received_at: microseconds since 1970; its hour is where the ledger counts it.
        samples: what it stands for in the ledger.
        counts: samples by source where there are several; None: all are `source`'s.
        fingerprint: the same for the same rejection when its record comes again.
        boot: of the gateway, for the ledger; 0: not known.
    """

    owner: str
    gateway: str
    source: str
    received_at: int
    error_class: str
    reason: str
    origin: str
    payload: bytes
    payload_size: int
    payload_sha256: str
    samples: int
    fingerprint: str
    counts: dict[tuple[str, int], int] | None = None
    boot: int = 0


@dataclass(frozen=True, slots=True)
class AssetChange:
    """An asset's record, its signals (`Asset.signal_records`), and when it came to count."""

    asset: Asset
    signals: Sequence[Mapping[str, Any]]
    changed_at: datetime


@dataclass(slots=True, eq=False)
class DecodedRecord:
    """One record on its way into the store: exactly one of batch, event, asset, rejections, or
    nothing (it only moves the offset).

    Attributes:
        stream, sequence: its number at the gateway; sequence 0: not numbered.
        lost: sequences of streams that its gateway lost, first and last of each.
        changed: copies of the streams that this record changes, as they are once it is stored.
        closed: ids of gap records whose hole it fills.
        batch, signal_keys: samples and what their signals are here.
        late: samples that go into the late inbox, with why; `late_id`: the batch comes out of it.
    """

    record: Record
    stream: BatchStream | None = None
    sequence: int = 0
    batch: SampleBatch | None = None
    signal_keys: SignalKeys | None = None
    event: codec.SourceEvent | None = None
    asset: AssetChange | None = None
    rejections: list[Rejection] = field(default_factory=list)
    owner: str = ""
    lost: tuple[tuple[BatchStream, int, int], ...] = ()
    changed: dict[BatchStream, StreamProgress] = field(default_factory=dict)
    closed: list[str] = field(default_factory=list)
    late: list[tuple[SampleBatch, str]] = field(default_factory=list)
    late_id: int = 0

    def clear(self) -> None:
        """Leave nothing to store but the offset: it is stored already."""
        self.batch = self.signal_keys = self.event = self.asset = None
        self.rejections, self.late = [], []

    def refuse(self, rejection: Rejection) -> None:
        """Leave nothing to store but a rejection, and the number: refused counts as settled."""
        self.clear()
        self.rejections = [rejection]


def decode_record(record: Record, log_id: str) -> DecodedRecord:
    """Decode a record of any topic that the historian reads; what is unreadable becomes a rejection
    with its bytes, and is settled under the number that its headers say."""
    decoded = DecodedRecord(record)
    if record.value is None:
        return decoded
    try:
        _READERS[record.topic](decoded, record.value)
    except UnknownKind as error:
        UNKNOWN_EVENTS.inc()
        _number(decoded, EVENTS_STREAM)
        if decoded.sequence:  # kept in the gateway's outbox, so not just a sign of life
            decoded.refuse(reject_record(record, log_id, "schema", str(error), whole=True))
    except NewerSchema as error:
        _refuse_newer(decoded, log_id, str(error))
    except NameFault as error:
        _refuse_unreadable(decoded, log_id, "name", str(error))
    except Exception as error:  # noqa: BLE001 - whatever bytes do to a reader, it is their fault
        reason = str(error) if isinstance(error, ValueError) else repr(error)
        _refuse_unreadable(decoded, log_id, "unreadable", reason)
    return decoded


def reject_record(
    record: Record,
    log_id: str,
    error_class: str,
    reason: str,
    *,
    owner: str = "",
    whole: bool = False,
) -> Rejection:
    """Refuse a whole record, of which nobody could count samples: the ledger does not either."""
    payload = record.value or b""
    key = _text(record.key)
    return Rejection(
        owner=_text(owner.encode("utf-8", "backslashreplace")) or key.partition("/")[0][:200],
        gateway="",
        source="",
        received_at=record.timestamp_ms * 1000,
        error_class=error_class,
        reason=_text(reason.encode("utf-8", "backslashreplace"))[:1000],
        origin=_origin(record),
        payload=payload if whole else payload[:PAYLOAD_LIMIT],
        payload_size=len(payload),
        payload_sha256=hashlib.sha256(payload).hexdigest(),
        samples=0,
        fingerprint=f"{log_id}/{record.topic}/{record.partition}/{record.offset}/{error_class}",
    )


def reject_samples(
    record: Record,
    log_id: str,
    batch: SampleBatch,
    error_class: str,
    reason: str,
    payload: bytes | None = None,
) -> Rejection:
    """Refuse the samples of `batch` (a whole record's, or those taken out of one), keeping them as
    a batch with the signals that they use, or as `payload`."""
    kept = codec.encode(_with_used_signals(batch))[:PAYLOAD_LIMIT] if payload is None else payload
    whole = kept if payload is not None or len(kept) < PAYLOAD_LIMIT else codec.encode(batch)
    counts: dict[tuple[str, int], int] = {}
    for index, received in zip(batch.signal.tolist(), batch.gateway_time.tolist(), strict=True):
        source = batch.signals[index].source
        key = (source if path_fault(source) is None else "", received - received % HOUR_US)
        counts[key] = counts.get(key, 0) + 1
    stream = f"{batch.gateway}/{batch.boot}/{batch.line}/{batch.sequence}"
    return Rejection(
        owner=batch.owner,
        gateway=batch.gateway,
        source=next(iter(counts))[0] if counts else "",
        received_at=int(batch.gateway_time[0]) if len(batch) else record.timestamp_ms * 1000,
        error_class=error_class,
        reason=_text(reason.encode("utf-8", "backslashreplace"))[:1000],
        origin=_origin(record),
        payload=kept,
        payload_size=len(whole),
        payload_sha256=hashlib.sha256(whole).hexdigest(),
        samples=len(batch),
        fingerprint=f"{stream}/{error_class}"
        if batch.sequence > 0
        else f"{log_id}/{record.topic}/{record.partition}/{record.offset}/{error_class}",
        counts=counts,
        boot=min(batch.boot, MAX_NUMBER),
    )


def _with_used_signals(batch: SampleBatch) -> SampleBatch:
    """The batch with a dictionary of those signals alone that it has samples of."""
    used, places = np.unique(batch.signal, return_inverse=True)
    if len(used) == len(batch.signals):
        return batch
    signals = tuple(batch.signals[index] for index in used.tolist())
    return replace(batch, signals=signals, signal=places.astype(np.uint32))


def _read_samples(decoded: DecodedRecord, value: bytes) -> None:
    batch = codec.decode(value)
    _take_batch_number(decoded, batch)
    check_paths(batch.owner, batch.gateway, batch.line)
    if decoded.stream is None and max(batch.boot, batch.sequence) > MAX_NUMBER:
        raise ValueError(f"boot {batch.boot} or sequence {batch.sequence} is beyond {MAX_NUMBER}")
    decoded.batch, decoded.owner = batch, batch.owner


def _read_event(decoded: DecodedRecord, value: bytes) -> None:
    event = codec.decode_event(value)
    _number(decoded, EVENTS_STREAM, event.gateway, event.boot)
    check_paths(event.owner, event.gateway, event.source, event.line)
    if event.boot > MAX_NUMBER:
        raise ValueError(f"boot {event.boot} is beyond {MAX_NUMBER}")
    decoded.event, decoded.owner = event, event.owner
    if event.WhichOneof("kind") == "gap":
        decoded.lost = _lost(decoded.record, event)


def _read_rejected(decoded: DecodedRecord, value: bytes) -> None:
    rejected = codec.decode_rejected(value)
    _number(decoded, REJECTED_STREAM, rejected.gateway, rejected.boot)
    check_paths(rejected.owner, rejected.gateway, rejected.source)
    decoded.owner = rejected.owner
    decoded.rejections = [_passed_on(rejected, decoded.sequence)]


def _read_asset(decoded: DecodedRecord, value: bytes) -> None:
    asset, record = decode_asset(value), decoded.record
    if asset is None:
        return
    texts = (asset.id, asset.owner, asset.level, asset.name, asset.path)
    if not all(texts):
        raise ValueError("asset: id, owner, level, name and path are never empty")
    check_paths(asset.owner, asset.level, asset.name, asset.path)
    signals = asset.signal_records()
    for each in signals:
        if not each["id"]:
            raise ValueError(f"asset: signal {each['name']!r} has no id")
        if each.get("type", 0) not in _TYPES:
            raise ValueError(f"asset: {each.get('type')!r} is no type of signal {each['name']!r}")
        check_paths(f"{asset.path}/{each['name']}", each.get("role", ""))
    ids = (asset.id, asset.parent or "", str(asset.meaning.get("source", "")))
    for text in (*ids, *(each["id"] for each in signals), *(e.get("unit", "") for e in signals)):
        fault = text_fault(text)
        if fault is not None:
            raise NameFault(fault)
    # The offset tells two changes of one millisecond apart.
    changed_us = record.timestamp_ms * 1000 + record.offset % 1000
    decoded.asset = AssetChange(asset, signals, to_nearest_datetime(changed_us))
    decoded.owner = asset.owner


_READERS = {
    SAMPLES.name: _read_samples,
    SOURCE_EVENTS.name: _read_event,
    REJECTED.name: _read_rejected,
    ASSETS.name: _read_asset,
}
_TYPES = frozenset(map(int, ValueType))
_STREAMS = {SOURCE_EVENTS.name: EVENTS_STREAM, REJECTED.name: REJECTED_STREAM}


def _refuse_unreadable(decoded: DecodedRecord, log_id: str, error_class: str, reason: str) -> None:
    if decoded.stream is None:
        _number(decoded, _STREAMS.get(decoded.record.topic))
    decoded.batch = decoded.event = decoded.asset = None
    decoded.refuse(reject_record(decoded.record, log_id, error_class, reason, owner=decoded.owner))


def _refuse_newer(decoded: DecodedRecord, log_id: str, reason: str) -> None:
    """Keep a record of a later version whole, and count its samples where they can be read."""
    record = decoded.record
    _number(decoded, _STREAMS.get(record.topic))
    if record.topic == SAMPLES.name:
        try:
            batch = codec.decode(record.value or b"", any_version=True)
            check_paths(batch.owner, batch.gateway, *(s.source for s in batch.signals))
        except ValueError:  # it is new in more than its number
            pass
        else:
            if decoded.stream is None:
                _take_batch_number(decoded, batch)
            decoded.owner = batch.owner
            decoded.refuse(reject_samples(record, log_id, batch, "schema", reason, record.value))
            return
    decoded.refuse(reject_record(record, log_id, "schema", reason, whole=True))


def _passed_on(rejected: codec.Rejected, sequence: int) -> Rejection:
    """What a gateway rejected, as it comes; `sequence`: the gateway's number of the record, 0: it
    has none."""
    # Without its number two refusals of the same bytes at one time would be one, and the ledger
    # would miss a value.
    content = (
        f"{rejected.gateway}/{rejected.boot}/{rejected.source}/{rejected.time}/{rejected.origin}"
        f"/{sequence}"
    )
    digest = hashlib.sha256(content.encode() + rejected.payload_sha256.encode()).hexdigest()
    return Rejection(
        owner=rejected.owner,
        gateway=rejected.gateway,
        source=rejected.source,
        received_at=rejected.time,
        error_class=_text(rejected.error_class.encode())[:60],
        reason=_text(rejected.reason.encode())[:4000],
        origin=_text(rejected.origin.encode())[:4000],
        payload=rejected.payload[:PAYLOAD_LIMIT],
        payload_size=min(rejected.payload_size, MAX_NUMBER) or len(rejected.payload),
        payload_sha256=_text(rejected.payload_sha256.encode())[:64]
        or hashlib.sha256(rejected.payload).hexdigest(),
        samples=min(rejected.samples, 2**31 - 1),
        fingerprint=digest,
        boot=min(rejected.boot, MAX_NUMBER),
    )


def _take_batch_number(decoded: DecodedRecord, batch: SampleBatch) -> None:
    stream = BatchStream(batch.gateway, batch.boot, batch.line)
    if batch.sequence and _is_usable(stream, batch.sequence):
        decoded.stream, decoded.sequence = stream, batch.sequence
    elif batch.sequence:
        _number(decoded, None)


def _number(decoded: DecodedRecord, stream: str | None, gateway: str = "", boot: int = 0) -> None:
    """Read the number that a gateway gave to a record from its headers; what the body says of
    `gateway` and `boot` stands. Without a stream in the headers it is `stream`, or the key."""
    headers = dict(decoded.record.headers)
    try:
        sequence = int(headers["sequence"])
        named = headers.get("stream")
        line = named.decode() if named else stream or (decoded.record.key or b"").decode()
        found = BatchStream(
            gateway or headers["gateway"].decode(), boot or int(headers["boot"]), line
        )
    except (KeyError, ValueError, TypeError, AttributeError):
        return  # no number, or none that can be read: nobody waits for it
    if _is_usable(found, sequence):
        decoded.stream, decoded.sequence = found, sequence


def _is_usable(stream: BatchStream, sequence: int) -> bool:
    return (
        0 < sequence <= MAX_NUMBER
        and 0 <= stream.boot <= MAX_NUMBER
        and bool(stream.gateway)
        and path_fault(stream.gateway) is None
        and path_fault(stream.line) is None
    )


def _lost(record: Record, event: codec.SourceEvent) -> tuple[tuple[BatchStream, int, int], ...]:
    """What the outbox of a gateway says that it lost: headers `lost`, each
    `boot/first/last/stream`."""
    found = []
    for name, value in record.headers:
        if name != "lost":
            continue
        try:
            boot, first, last, line = value.decode().split("/", 3)
            stream = BatchStream(event.gateway, int(boot), line)
            if 0 < int(first) <= int(last) and _is_usable(stream, int(last)):
                found.append((stream, int(first), int(last)))
        except ValueError:
            continue
    return tuple(found)


def _origin(record: Record) -> str:
    return f"{record.topic}/{record.partition}/{record.offset} key {_text(record.key)}"[:4000]


def _text(data: bytes | None) -> str:
    return (data or b"").decode("utf-8", "backslashreplace").replace("\0", "\\0")
