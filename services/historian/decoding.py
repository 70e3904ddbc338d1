"""Pure: what a Kafka record says, as far as bytes alone can tell. Called by processor.py for every
record taken."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from aurelian.backbone.topics import ASSETS, REJECTED, SAMPLES, SOURCE_EVENTS
from aurelian.model import codec
from aurelian.model.asset import Asset, decode_asset
from aurelian.model.record import Record
from aurelian.model.sample import SampleBatch
from aurelian.model.time import HOUR_US, to_nearest_datetime
from historian.delivery import BatchStream
from historian.sample_columns import SignalKeys

PAYLOAD_LIMIT = 512 * 1024
"""Bytes of a rejected record that are kept; the rest is named by size and SHA-256."""

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
        stored_to, beyond, closed: state of its stream once this record is stored (see
            `delivery.StreamProgress`).
        batch, signal_keys: samples and what their signals are here.
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
    stored_to: int = 0
    beyond: tuple[int, ...] = ()
    closed: tuple[int, ...] = ()

    def clear(self) -> None:
        """Leave nothing to store but the offset: it is stored already."""
        self.batch = self.signal_keys = self.event = self.asset = None
        self.rejections = []


def decode_record(record: Record, log_id: str) -> DecodedRecord:
    """Decode a record of any topic that the historian reads; what is unreadable becomes a rejection
    with its bytes."""
    decoded = DecodedRecord(record)
    if record.value is None:
        return decoded
    try:
        if record.topic == SAMPLES.name:
            batch = decoded.batch = codec.decode(record.value)
            decoded.sequence, decoded.owner = batch.sequence, batch.owner
            decoded.stream = BatchStream(batch.gateway, batch.boot, batch.line)
            _check_names(batch.owner, batch.gateway, batch.line)
        elif record.topic == SOURCE_EVENTS.name:
            event = decoded.event = codec.decode_event(record.value)
            decoded.owner = event.owner
            _check_names(event.owner, event.gateway, event.source, event.line)
            _number(decoded, EVENTS_STREAM)
        elif record.topic == REJECTED.name:
            rejected = codec.decode_rejected(record.value)
            decoded.owner = rejected.owner
            _check_names(rejected.owner, rejected.gateway, rejected.source)
            _number(decoded, REJECTED_STREAM)
            decoded.rejections = [_passed_on(rejected)]
        elif record.topic == ASSETS.name:
            decoded.asset = _read_asset(record)
        if decoded.stream is not None and max(decoded.stream.boot, decoded.sequence) > MAX_NUMBER:
            raise ValueError(
                f"boot {decoded.stream.boot} or sequence {decoded.sequence} is beyond {MAX_NUMBER}"
            )
    except (codec.DecodeError, ValueError) as error:
        decoded.batch = decoded.event = decoded.stream = None
        decoded.sequence, decoded.owner = 0, ""
        decoded.rejections = [reject_record(record, log_id, "unreadable", str(error))]
    return decoded


def reject_record(
    record: Record, log_id: str, error_class: str, reason: str, *, owner: str = "", samples: int = 0
) -> Rejection:
    """Refuse a whole record. Without `samples` nobody counted it, so the ledger does not either."""
    payload = record.value or b""
    return Rejection(
        owner=_text(owner.encode()) or _text(record.key).partition("/")[0],
        gateway="",
        source="",
        received_at=record.timestamp_ms * 1000,
        error_class=error_class,
        reason=_text(reason.encode())[:1000],
        origin=f"{record.topic}/{record.partition}/{record.offset} key {_text(record.key)}",
        payload=payload[:PAYLOAD_LIMIT],
        payload_size=len(payload),
        payload_sha256=hashlib.sha256(payload).hexdigest(),
        samples=samples,
        fingerprint=f"{log_id}/{record.topic}/{record.partition}/{record.offset}/{error_class}",
    )


def reject_samples(
    record: Record, log_id: str, batch: SampleBatch, error_class: str, reason: str
) -> Rejection:
    """Refuse the samples of `batch` (a whole record's, or those taken out of one), keeping them as
    a batch."""
    payload = codec.encode(batch)
    counts: dict[tuple[str, int], int] = {}
    for index, received in zip(batch.signal.tolist(), batch.gateway_time.tolist(), strict=True):
        key = (batch.signals[index].source, received - received % HOUR_US)
        counts[key] = counts.get(key, 0) + 1
    stream = f"{batch.gateway}/{batch.boot}/{batch.line}/{batch.sequence}"
    numbered = batch.sequence > 0
    return Rejection(
        owner=batch.owner,
        gateway=batch.gateway,
        source=next(iter(counts))[0] if counts else "",
        received_at=int(batch.gateway_time[0]) if len(batch) else record.timestamp_ms * 1000,
        error_class=error_class,
        reason=reason[:1000],
        origin=f"{record.topic}/{record.partition}/{record.offset} key {_text(record.key)}",
        payload=payload[:PAYLOAD_LIMIT],
        payload_size=len(payload),
        payload_sha256=hashlib.sha256(payload).hexdigest(),
        samples=len(batch),
        fingerprint=f"{stream}/{error_class}"
        if numbered
        else f"{log_id}/{record.topic}/{record.partition}/{record.offset}/{error_class}",
        counts=counts,
    )


def _passed_on(rejected: codec.Rejected) -> Rejection:
    """What a gateway rejected, as it comes."""
    content = (
        f"{rejected.gateway}/{rejected.boot}/{rejected.source}/{rejected.time}/{rejected.origin}"
    )
    digest = hashlib.sha256(content.encode() + rejected.payload_sha256.encode()).hexdigest()
    return Rejection(
        owner=rejected.owner,
        gateway=rejected.gateway,
        source=rejected.source,
        received_at=rejected.time,
        error_class=_text(rejected.error_class.encode()),
        reason=_text(rejected.reason.encode()),
        origin=_text(rejected.origin.encode()),
        payload=rejected.payload[:PAYLOAD_LIMIT],
        payload_size=min(rejected.payload_size, MAX_NUMBER) or len(rejected.payload),
        payload_sha256=_text(rejected.payload_sha256.encode())
        or hashlib.sha256(rejected.payload).hexdigest(),
        samples=min(rejected.samples, 2**31 - 1),
        fingerprint=digest,
    )


def _check_names(*names: str) -> None:
    for name in names:
        if "\0" in name:
            raise ValueError(f"a name has a null character: {name!r}")


def _number(decoded: DecodedRecord, stream: str) -> None:
    """Read the number that a gateway gave to an event or a rejection from the record's headers."""
    headers = dict(decoded.record.headers)
    if "sequence" in headers:
        decoded.stream = BatchStream(headers["gateway"].decode(), int(headers["boot"]), stream)
        decoded.sequence = int(headers["sequence"])


def _read_asset(record: Record) -> AssetChange | None:
    asset = decode_asset(record.value)
    if asset is None:
        return None
    texts = (asset.id, asset.owner, asset.level, asset.name, asset.path)
    if not all(texts):
        raise ValueError("asset: id, owner, level, name and path are never empty")
    _check_names(*texts)
    # The offset tells two changes of one millisecond apart.
    changed_us = record.timestamp_ms * 1000 + record.offset % 1000
    return AssetChange(asset, asset.signal_records(), to_nearest_datetime(changed_us))


def _text(data: bytes | None) -> str:
    return (data or b"").decode("utf-8", "backslashreplace").replace("\0", "\\0")
