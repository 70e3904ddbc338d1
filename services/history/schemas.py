"""What the history API answers. Times are ISO 8601 in UTC; integers beyond 2^53 and bytes (base64)
are strings."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

Quality = Literal["good", "uncertain", "bad"]
ValueTypeName = Literal["null", "double", "int64", "uint64", "bool", "text", "bytes", "json"]
JsonValue = bool | int | float | str | None


class AssetOut(BaseModel):
    """A node of the plant's tree."""

    id: str
    owner: str
    parent: str | None
    level: str
    name: str
    path: str
    meaning: dict[str, object]
    changed_at: datetime


class Assets(BaseModel):
    """Assets by path, parents before their children."""

    assets: list[AssetOut]


class SignalOut(BaseModel):
    """A signal."""

    id: str
    asset: str
    path: str
    name: str
    type: ValueTypeName
    unit: str
    role: str
    source: str
    discovered: bool


class SampleOut(BaseModel):
    """One sample. `status` is the OPC UA status code, `flags` the bits of the wire contract."""

    time: datetime
    value: JsonValue
    type: ValueTypeName
    quality: Quality
    status: int
    flags: int
    source_time: datetime | None = Field(description="of the source; null: it gave none")
    server_time: datetime | None
    gateway_time: datetime
    stored_time: datetime


class LatestOut(BaseModel):
    """A signal and its newest sample; null: none was stored yet."""

    signal: SignalOut
    latest: SampleOut | None


class Latest(BaseModel):
    """Newest samples by path."""

    values: list[LatestOut]
    next: str | None = Field(
        None, description="there are more signals: ask again with `after` set to this"
    )


class BucketOut(BaseModel):
    """Samples of one bucket. `count` have a value and are not Bad, `bad` are the others."""

    time: datetime = Field(description="start of the bucket")
    count: int
    bad: int
    min: float | None
    max: float | None
    mean: float | None
    first: float | None
    last: float | None


class Samples(BaseModel):
    """History of one signal: `samples` where they are few enough, else `buckets` of `bucket_s`
    seconds."""

    signal: SignalOut
    from_: datetime = Field(serialization_alias="from")
    to: datetime
    samples: list[SampleOut] | None = None
    next: datetime | None = Field(None, description="there is more: ask again from here")
    skip: int | None = Field(
        None,
        description="with `next`: samples of that time that you have already; ask with `skip` too",
    )
    buckets: list[BucketOut] | None = None
    bucket_s: float | None = None
    read_from: str


class LedgerRow(BaseModel):
    """One source and hour of receipt. `in_flight` = received - stored - duplicate - rejected -
    dropped - skipped."""

    source: str
    owner: str
    hour: datetime
    received: int
    stored: int
    duplicate: int
    rejected: int
    dropped: int
    skipped: int
    in_flight: int


class Ledger(BaseModel):
    """The ledger by hour and source."""

    rows: list[LedgerRow]


class GapOut(BaseModel):
    """Samples that were lost, or may have been; `count` 0: nobody knows how many."""

    id: str
    owner: str
    source: str
    line: str
    from_: datetime = Field(serialization_alias="from")
    to: datetime
    count: int
    reason: str
    recovered: bool
    recorded_at: datetime


class Gaps(BaseModel):
    """Gaps, newest first."""

    gaps: list[GapOut]


class RejectedOut(BaseModel):
    """What could not be stored. `payload`: its first kilobyte, base64."""

    id: int
    owner: str
    gateway: str
    source: str
    received_at: datetime
    error_class: str
    reason: str
    origin: str
    payload: str
    payload_size: int
    payload_sha256: str
    samples: int
    replayed_at: datetime | None


class RejectedPage(BaseModel):
    """Rejected records, newest first; `next` is the id to ask `before`."""

    rejected: list[RejectedOut]
    next: int | None


class AlarmOut(BaseModel):
    """An event of a machine; names are those of OPC UA part 9. `acked` and the like are null where
    the condition does not have them."""

    owner: str
    source: str
    condition: str = Field(description="ConditionId; empty: the event is no condition")
    branch: str = Field(description="BranchId; empty: the condition itself")
    asset: str = Field(description="id of the unit; empty: it is of the source")
    line: str
    code: str
    message: str
    severity: int = Field(description="1 to 1000")
    active: bool
    retain: bool = Field(description="of interest: active, or not acknowledged yet")
    enabled: bool | None
    acked: bool | None
    confirmed: bool | None
    suppressed: bool | None
    out_of_service: bool | None
    shelved: bool | None
    quality: int | None
    comment: str
    event_id: str = Field(description="hexadecimal digits")
    event_type: str
    source_node: str
    source_name: str
    fields: dict[str, object] = Field(description="what else the machine says")
    reason: str = Field(description="why it is so, where the machine did not say it; else empty")
    time: datetime = Field(description="of the machine's clock")
    received_at: datetime


class AlarmStateOut(AlarmOut):
    """The state of a condition: what its newest event says, and whether that is of now."""

    active_since: datetime | None
    not_known_since: datetime | None = Field(
        description="the source is silent since then: nobody knows whether it is still so"
    )


class Alarms(BaseModel):
    """Conditions, the most severe first."""

    alarms: list[AlarmStateOut]


class AlarmEvents(BaseModel):
    """Events, newest first; `next` is the `before` of the following page."""

    events: list[AlarmOut]
    next: str | None
