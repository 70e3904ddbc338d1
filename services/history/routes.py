"""The history API's routes. A key sees only what its owner has; the platform's own key sees all."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import AfterValidator, AwareDatetime, BaseModel
from sqlalchemy.ext.asyncio import AsyncConnection

from aurelian.access.keys import Principal, require
from aurelian.model.time import to_iso, to_us
from aurelian.runtime.problems import Problem, invalid
from history import metrics, queries, records
from history.alarms import EventPlace, Which, read_alarm_events, read_alarms
from history.buckets import cut
from history.schemas import (
    AlarmEvents,
    Alarms,
    Assets,
    BucketOut,
    Gaps,
    Latest,
    LatestOut,
    Ledger,
    RejectedPage,
    SampleOut,
    Samples,
    SignalOut,
)

router = APIRouter(prefix="/history/v1", tags=["history"])

DEFAULT_POINTS = 500
MAX_POINTS = 10_000
MAX_SKIP = 10_000_000


def _without_null(text: str) -> str:
    if "\0" in text:
        raise ValueError("a null character is in no name")
    return text


Text = Annotated[str, AfterValidator(_without_null)]
Who = Annotated[Principal, Depends(require("history:read"))]
Format = Annotated[
    Literal["json", "csv"] | None,
    Query(alias="format", description="else what `Accept` prefers, else JSON"),
]


async def _connection(request: Request) -> AsyncIterator[AsyncConnection]:
    with metrics.QUERY_SECONDS.labels(request.url.path.rpartition("/")[2]).time():
        async with request.app.state.engine.connect() as conn:
            yield conn


Connection = Annotated[AsyncConnection, Depends(_connection)]


class TimeRange(BaseModel):
    """The query parameters `from` (default: an hour before `to`) and `to` (default: now)."""

    start: datetime
    end: datetime


def _range(
    from_: Annotated[AwareDatetime | None, Query(alias="from")] = None,
    to: Annotated[AwareDatetime | None, Query()] = None,
) -> TimeRange:
    try:
        end = (to or datetime.now(UTC)).astimezone(UTC)
        start = from_.astimezone(UTC) if from_ is not None else end - timedelta(hours=1)
    except OverflowError as error:
        raise invalid("from" if to is None else "to", "lies outside the years 1 to 9999") from error
    if start >= end:
        raise invalid("to", f"{end.isoformat()} is not after from {start.isoformat()}")
    return TimeRange(start=start, end=end)


Range = Annotated[TimeRange, Depends(_range)]


@router.get("/assets")
async def assets(who: Who, conn: Connection, path: Text = "") -> Assets:
    """The plant's tree below a path, parents first."""
    return Assets(assets=await queries.find_assets(conn, who, path))


@router.get("/latest", response_model=Latest)
async def latest(
    who: Who,
    conn: Connection,
    path: Text | None = None,
    signal: Annotated[list[Text] | None, Query(max_length=queries.SIGNALS_AT_ONCE)] = None,
    limit: Annotated[int, Query(ge=1, le=queries.SIGNALS_AT_ONCE)] = queries.SIGNALS_AT_ONCE,
    after: Annotated[Text | None, Query(description="`next` of the page before")] = None,
    format: Format = None,
    accept: Annotated[str, Header()] = "",
) -> Latest | Response:
    """The newest value of each signal below a path, a whole line in one answer, or of the signals
    named."""
    if (path is None) == (signal is None):
        raise invalid("path", "name either a path or signals")
    found = await queries.find_signals(
        conn, who, path=path, ids=signal or (), after=_place(after), limit=limit + 1
    )
    more: dict[str, str] = {}
    if len(found) > limit:
        found.popitem()
        key, last = next(reversed(found.items()))
        more = {"next": f"{key}:{last.path}"}
    values = await queries.read_latest(conn, found)
    metrics.POINTS.labels("latest").inc(len(values))
    if _is_csv(format, accept):
        return _csv(["path", *_SAMPLE_COLUMNS], (_latest_row(each) for each in values), more)
    return Latest(values=values, **more)


@router.get("/samples", response_model=Samples, response_model_exclude_unset=True)
async def samples(
    who: Who,
    conn: Connection,
    range_: Range,
    signal: Text,
    points: Annotated[int, Query(ge=2, le=MAX_POINTS)] = DEFAULT_POINTS,
    skip: Annotated[
        int, Query(ge=0, le=MAX_SKIP, description="`skip` of the page before, beside its `next`")
    ] = 0,
    format: Format = None,
    accept: Annotated[str, Header()] = "",
) -> Samples | Response:
    """History of a signal, named by id or path, in at most `points` points.

    The samples themselves where they are few enough; else buckets with min, max, mean, count, first
    and last. What is
    no number has no buckets: the oldest `points` samples come, and `next` says where to go on.
    """
    key, described = await _find(conn, who, signal)
    start, end = range_.start, range_.end
    found = await queries.read_samples(conn, key, start, end, points + 1, skip)
    fields = {"signal": described, "from_": start, "to": end}
    if skip or len(found) <= points or not await queries.has_numbers(conn, key, start, end):
        shown = found[:points]
        more: dict[str, object] = {}
        if len(found) > points:
            more = {"next": found[points].time}
            if shown[-1].time == found[points].time:
                # The next answer begins at a time, so samples of one time stay together where they
                # fit; a time with more than `points` is read in pieces.
                whole = [each for each in shown if each.time < found[points].time]
                if not whole:
                    more["skip"] = len(shown) + (skip if shown[0].time == start else 0)
                shown = whole or shown
        metrics.POINTS.labels("raw").inc(len(shown))
        if _is_csv(format, accept):
            return _csv(_SAMPLE_COLUMNS, (_sample_row(each) for each in shown), more)
        return Samples(**fields, samples=shown, read_from="raw", **more)
    wanted = cut(to_us(start), to_us(end), points)
    buckets = await queries.read_buckets(conn, key, wanted)
    metrics.POINTS.labels(wanted.read_from.value).inc(len(buckets))
    if _is_csv(format, accept):
        return _csv(list(BucketOut.model_fields), (_bucket_row(each) for each in buckets))
    return Samples(
        **fields, buckets=buckets, bucket_s=wanted.width_us / 1e6, read_from=wanted.read_from.value
    )


@router.get("/ledger")
async def ledger(who: Who, conn: Connection, range_: Range, source: Text | None = None) -> Ledger:
    """What became of the samples received, by source and hour of receipt, newest first."""
    hour = range_.start.replace(minute=0, second=0, microsecond=0)
    return Ledger(rows=await records.read_ledger(conn, who, hour, range_.end, source))


@router.get("/gaps")
async def gaps(
    who: Who,
    conn: Connection,
    range_: Range,
    source: Text | None = None,
    line: Text | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
) -> Gaps:
    """What was lost or may have been, newest first."""
    found = await records.read_gaps(conn, who, range_.start, range_.end, source, line, limit)
    return Gaps(gaps=found)


@router.get("/alarms")
async def alarms(
    who: Who,
    conn: Connection,
    path: Text = "",
    source: Text | None = None,
    which: Annotated[
        Which, Query(description="standing: active, or not acknowledged yet")
    ] = "standing",
    limit: Annotated[int, Query(ge=1, le=5000)] = 1000,
) -> Alarms:
    """What machines' alarms and conditions are, the most severe first; `not_known_since` says that
    the source is silent, so that it may be otherwise by now."""
    return Alarms(alarms=await read_alarms(conn, who, path, source, which, limit))


@router.get("/alarm-events")
async def alarm_events(
    who: Who,
    conn: Connection,
    range_: Range,
    path: Text = "",
    source: Text | None = None,
    condition: Text | None = None,
    min_severity: Annotated[int, Query(ge=0, le=1000)] = 0,
    before: Annotated[Text | None, Query(description="`next` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 500,
) -> AlarmEvents:
    """The events of machines that were received in a time, newest first."""
    found = await read_alarm_events(
        conn,
        who,
        range_.start,
        range_.end,
        path,
        source,
        condition,
        min_severity,
        _event_place(before),
        limit,
    )
    more = None
    if len(found) == limit:
        id, last = found[-1]
        more = f"{to_iso(last.received_at)}/{to_iso(last.time)}/{id}"
    return AlarmEvents(events=[event for _, event in found], next=more)


@router.get("/rejected")
async def rejected(
    who: Who,
    conn: Connection,
    source: Text | None = None,
    before: Annotated[int | None, Query(ge=0, lt=2**63)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> RejectedPage:
    """What could not be stored, newest first, with reason and the beginning of the bytes."""
    found = await records.read_rejected(conn, who, source, before, limit)
    return RejectedPage(rejected=found, next=found[-1].id if len(found) == limit else None)


async def _find(conn: AsyncConnection, who: Principal, signal: str) -> tuple[int, SignalOut]:
    found = await queries.find_signals(conn, who, ids=[signal])
    if not found:
        raise Problem(
            404, f"no signal {signal!r} that this key may see; /history/v1/latest?path= lists them"
        )
    return next(iter(found.items()))


_SAMPLE_COLUMNS = list(SampleOut.model_fields)


def _is_csv(format: str | None, accept: str) -> bool:
    return format == "csv" or (format is None and accept.strip().startswith("text/csv"))


def _csv(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    more: Mapping[str, object] | None = None,
) -> Response:
    """RFC 4180 with a header line; where to go on is in the headers Aurelian-Next and -Skip."""
    headers = {
        f"Aurelian-{name.title()}": quote(str(_cell(value)), safe="/:+-")
        for name, value in (more or {}).items()
    }
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(rows)
    return Response(text.getvalue(), media_type="text/csv", headers=headers)


def _place(after: str | None) -> tuple[str, int] | None:
    """Path and key of the last signal of the page before."""
    if after is None:
        return None
    key, _, path = after.partition(":")
    if not (key.isascii() and key.isdigit() and len(key) < 10):
        raise invalid("after", "is not the `next` of a page")
    return path, int(key)


def _event_place(before: str | None) -> EventPlace | None:
    if before is None:
        return None
    try:
        received, time, id = before.split("/")
        at = [datetime.fromisoformat(each) for each in (received, time)]
        if not all(each.tzinfo for each in at):
            raise ValueError("a time without a zone")
        return at[0], at[1], str(UUID(id))
    except ValueError as error:
        raise invalid("before", "is not the `next` of a page") from error


def _latest_row(value: LatestOut) -> list[object]:
    empty: list[object] = [""] * len(_SAMPLE_COLUMNS)
    return [value.signal.path, *(_sample_row(value.latest) if value.latest is not None else empty)]


def _sample_row(sample: SampleOut) -> list[object]:
    return [_cell(getattr(sample, name)) for name in _SAMPLE_COLUMNS]


def _bucket_row(bucket: BucketOut) -> list[object]:
    return [_cell(getattr(bucket, name)) for name in BucketOut.model_fields]


def _cell(value: object) -> object:
    match value:
        case datetime():
            return to_iso(value)
        case bool():
            return "true" if value else "false"
        case float():
            return repr(value)
        case None:
            return ""
        case _:
            return value
