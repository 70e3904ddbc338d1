"""The history API's reads. Rows of other owners never leave the database."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, get_args

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Double,
    Integer,
    Select,
    and_,
    cast,
    func,
    literal_column,
    or_,
    select,
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.selectable import FromClause

from aurelian.access.keys import Principal
from aurelian.db import tables
from aurelian.model.sample import (
    MAX_EXACT_INT,
    NOT_AT_SOURCE_TIME,
    Flag,
    ValueType,
    raw_status,
)
from aurelian.model.time import to_datetime
from history.buckets import Cut, ReadFrom
from history.schemas import (
    AssetOut,
    BucketOut,
    JsonValue,
    LatestOut,
    Quality,
    SampleOut,
    SignalOut,
    ValueTypeName,
)

FIRST_US, LAST_US = -62_135_596_800_000_000, 253_402_300_799_000_000
"""First and last second that a `datetime` can hold, in microseconds since 1970."""

SAMPLE_TABLES = (tables.sample_number, tables.sample_text, tables.sample_other)

_TYPE_NAMES: tuple[ValueTypeName, ...] = get_args(ValueTypeName)

SIGNALS_AT_ONCE = 5_000
"""Signals that one question for the latest values may name."""


def to_time(us: int) -> datetime:
    """Aware UTC; what lies outside the years 1 to 9999 is the nearest time inside."""
    return to_datetime(min(max(us, FIRST_US), LAST_US))


async def find_assets(conn: AsyncConnection, who: Principal, path: str) -> list[AssetOut]:
    """The asset at `path` and all below it; all that the key may see when `path` is empty."""
    table = tables.asset
    query = (
        select(table)
        .where(_mine(table.c.owner, who), _below(table.c.path, path))
        .order_by(table.c.path)
    )
    rows = await conn.execute(query)
    return [AssetOut.model_validate(dict(row)) for row in rows.mappings()]


async def find_signals(
    conn: AsyncConnection,
    who: Principal,
    *,
    path: str | None = None,
    ids: Iterable[str] = (),
    after: tuple[str, int] | None = None,
    limit: int = SIGNALS_AT_ONCE,
) -> dict[int, SignalOut]:
    """Signals by their key in the store, ordered by path and key: those below `path`, or those that
    `ids` names by id or path; at most `limit`, after the (path, key) given."""
    table = tables.signal
    wanted = list(ids)
    which = (
        _below(table.c.path, path)
        if path is not None
        else or_(table.c.id.in_(wanted), table.c.path.in_(wanted))
    )
    query = (
        select(table)
        .where(_mine(table.c.owner, who), which)
        .order_by(table.c.path, table.c.key)
        .limit(limit)
    )
    if after is not None:
        query = query.where(tuple_(table.c.path, table.c.key) > tuple_(*after))
    rows = await conn.execute(query)
    return {row["key"]: _signal(row) for row in rows.mappings()}


async def read_latest(conn: AsyncConnection, signals: Mapping[int, SignalOut]) -> list[LatestOut]:
    """The newest sample of each signal, historical ones aside: an index look-up per signal and
    table."""
    newest: dict[int, tuple[tuple[datetime, int], SampleOut]] = {}
    keys = (
        func.unnest(cast(list(signals), ARRAY(Integer)))
        .table_valued("key", name="wanted")
        .render_derived()
    )
    for table in SAMPLE_TABLES:
        one = (
            select(table)
            .where(table.c.signal == keys.c.key, table.c.flags.op("&")(int(Flag.HISTORICAL)) == 0)
            .order_by(table.c.time.desc(), table.c.sub.desc())
            .limit(1)
            .lateral("newest")
        )
        for row in (await conn.execute(select(one).select_from(keys.join(one, true())))).mappings():
            at = (row["time"], row["sub"])
            if row["signal"] not in newest or at > newest[row["signal"]][0]:
                newest[row["signal"]] = (at, _sample(row))
    return [
        LatestOut(signal=signal, latest=newest[key][1] if key in newest else None)
        for key, signal in signals.items()
    ]


async def read_samples(
    conn: AsyncConnection,
    key: int,
    start: datetime,
    end: datetime,
    limit: int,
    skip: int = 0,
) -> list[SampleOut]:
    """At most `limit` samples in [start, end), oldest first, after the first `skip` of them."""
    found: list[tuple[datetime, int, SampleOut]] = []
    for table in SAMPLE_TABLES:
        query = (
            select(table)
            .where(table.c.signal == key, table.c.time >= start, table.c.time < end)
            .order_by(table.c.time, table.c.sub)
            .limit(skip + limit)
        )
        rows = (await conn.execute(query)).mappings()
        found += [(row["time"], row["sub"], _sample(row)) for row in rows]
    found.sort(key=lambda each: each[:2])
    return [sample for _, _, sample in found[skip : skip + limit]]


async def has_numbers(conn: AsyncConnection, key: int, start: datetime, end: datetime) -> bool:
    """Whether there is a number in [start, end), so that buckets say anything."""
    number = tables.sample_number
    inside = and_(number.c.signal == key, number.c.time >= start, number.c.time < end)
    found = await conn.execute(
        select(number.c.signal).where(inside, number.c.value.is_not(None)).limit(1)
    )
    return found.first() is not None


async def read_buckets(conn: AsyncConnection, key: int, wanted: Cut) -> list[BucketOut]:
    """Buckets of a signal that have samples, oldest first."""
    query = (
        _raw_buckets(key, wanted)
        if wanted.read_from is ReadFrom.RAW
        else _rolled_buckets(key, wanted)
    )
    rows = (await conn.execute(query)).mappings()
    return [
        BucketOut(
            time=to_time(int(row["bucket"]) * wanted.width_us),
            count=row["count"],
            bad=row["bad"],
            min=row["min"],
            max=row["max"],
            mean=_finite(row["sum"] / row["count"]) if row["count"] else None,
            first=row["first"],
            last=row["last"],
        )
        for row in rows
    ]


def _mine(owner: ColumnElement[str], who: Principal) -> ColumnElement[bool]:
    return true() if who.is_platform else owner == who.owner


def _below(column: ColumnElement[str], path: str) -> ColumnElement[bool]:
    if not path.strip("/"):
        return true()
    prefix = path.strip("/")
    return or_(column == prefix, func.starts_with(column, prefix + "/"))


def _us(column: ColumnElement[Any]) -> ColumnElement[int]:
    return cast(func.extract("epoch", column) * 1_000_000, BigInteger)


def _raw_buckets(key: int, wanted: Cut) -> Select[Any]:
    start, end = to_time(wanted.first_us), to_time(wanted.end_us)

    def part(table: FromClause, value: ColumnElement[float]) -> Select[Any]:
        return select(table.c.time, table.c.sub, table.c.status, value.label("value")).where(
            table.c.signal == key, table.c.time >= start, table.c.time < end
        )

    number, other = tables.sample_number, tables.sample_other
    integers = part(other, cast(other.c.integer, Double)).where(other.c.integer.is_not(None))
    raw = part(number, number.c.value).union_all(integers).subquery("raw")
    good = and_(raw.c.value.is_not(None), raw.c.status < 0x80000000)
    # A sum beyond the range of a double would end the statement; such a mean is null.
    tame = func.least(func.greatest(raw.c.value, -1e300), 1e300)
    bucket = func.floor(_us(raw.c.time) / literal_column(f"{wanted.width_us}::numeric")).label(
        "bucket"
    )
    return (
        select(
            bucket,
            func.count().filter(good).label("count"),
            func.count().filter(~good).label("bad"),
            func.sum(tame).filter(good).label("sum"),
            func.min(raw.c.value).filter(good).label("min"),
            func.max(raw.c.value).filter(good).label("max"),
            _ordered(raw.c.value, good, raw.c.time.asc(), raw.c.sub.asc()).label("first"),
            _ordered(raw.c.value, good, raw.c.time.desc(), raw.c.sub.desc()).label("last"),
        )
        .group_by(bucket)
        .order_by(bucket)
    )


def _rolled_buckets(key: int, wanted: Cut) -> Select[Any]:
    table = tables.rollup_minute if wanted.read_from is ReadFrom.MINUTES else tables.rollup_hour
    some = table.c.count > 0
    bucket = func.floor(_us(table.c.bucket) / literal_column(f"{wanted.width_us}::numeric")).label(
        "bucket"
    )
    tame = func.least(func.greatest(table.c.sum, -1e300), 1e300)
    return (
        select(
            bucket,
            cast(func.sum(table.c.count), BigInteger).label("count"),
            cast(func.sum(table.c.bad), BigInteger).label("bad"),
            func.sum(tame).label("sum"),
            func.min(table.c.min).label("min"),
            func.max(table.c.max).label("max"),
            _ordered(table.c.first, some, table.c.first_time.asc()).label("first"),
            _ordered(table.c.last, some, table.c.last_time.desc()).label("last"),
        )
        .where(
            table.c.signal == key,
            table.c.bucket >= to_time(wanted.first_us),
            table.c.bucket < to_time(wanted.end_us),
        )
        .group_by(bucket)
        .order_by(bucket)
    )


def _ordered(
    column: ColumnElement[Any], chosen: ColumnElement[bool], *order: ColumnElement[Any]
) -> ColumnElement[Any]:
    """The first value in an order."""
    return func.array_agg(aggregate_order_by(column, *order), type_=ARRAY(Double)).filter(chosen)[1]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _signal(row: RowMapping) -> SignalOut:
    names = {name: row[name] for name in SignalOut.model_fields if name != "type"}
    return SignalOut.model_validate({**names, "type": ValueType(row["type"]).name.lower()})


def _sample(row: RowMapping) -> SampleOut:
    moved = row["flags"] & NOT_AT_SOURCE_TIME
    return SampleOut.model_construct(
        time=row["time"],
        value=shown_value(row),
        type=_TYPE_NAMES[row["type"]],
        quality=quality(row["status"]),
        status=raw_status(row["status"], row["flags"]),
        flags=row["flags"],
        source_time=row["source_time"] if moved else row["time"],
        server_time=row["server_time"],
        gateway_time=row["gateway_time"],
        stored_time=row["stored_time"],
    )


def quality(status: int) -> Quality:
    """The quality that the top two bits of an OPC UA status code say."""
    severities: tuple[Quality, ...] = ("good", "uncertain", "bad", "bad")
    return severities[status >> 30 & 3]


def shown_value(row: RowMapping | Mapping[str, Any]) -> JsonValue:
    """A stored value as JSON can carry it without loss: a row of any sample table."""
    kind = ValueType(row["type"])
    if "integer" in row:
        if row["integer"] is not None:
            return str(int(row["integer"]))
        if row["bytes"] is not None:
            return base64.b64encode(row["bytes"]).decode()
        return row["json"]  # type: ignore[no-any-return]
    value = row["value"]
    match kind:
        case ValueType.BOOL:
            return None if value is None else bool(value)
        case ValueType.INT64 | ValueType.UINT64 if value is not None:
            whole = int(value)
            return whole if abs(whole) <= MAX_EXACT_INT else str(whole)
        case _:
            return value  # type: ignore[no-any-return]
