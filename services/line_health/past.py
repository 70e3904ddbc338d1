"""Reads from the store what a line's running shift was before it was watched, and hands it to the
fold. Called by writer.py.

After a first start on a store with history, a lost state or a changed calendar the fold knows only
a part of the shift; without this its figures would count from there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from itertools import pairwise

import psycopg
from psycopg import AsyncConnection

from aurelian.db.engine import connect
from aurelian.model.plant_parts import LineState
from aurelian.model.sample import BAD
from aurelian.model.time import now_us, to_datetime, to_us
from aurelian.runtime.retry import Backoff
from line_health.processor import Lines
from line_health.settings import LineHealthSettings
from line_health.shift_past import Gap, Past, PastSpan, count_past

log = logging.getLogger(__name__)

EVERY_S = 1.0
MOST = 100
"""Lines of one round: each is three short reads."""


async def fill_pasts(settings: LineHealthSettings, lines: Lines) -> None:
    """Answer what the lines ask the store for, until cancelled."""
    url, backoff = settings.database_url.get_secret_value(), Backoff(EVERY_S)
    while True:
        try:
            async with await connect(
                url, autocommit=True, name="aurelian line_health past"
            ) as conn:
                while True:
                    for gap in lines.gaps(now_us())[:MOST]:
                        lines.pasts[gap.path] = await read_past(conn, gap)
                    backoff.reset()
                    await asyncio.sleep(EVERY_S)
        except psycopg.OperationalError as error:
            log.info("what was before waits", extra={"fields": {"because": str(error)}})
            await backoff.wait()


async def read_past(conn: AsyncConnection, gap: Gap) -> Past:
    """Read the states and totals of a gap.

    Raises:
        psycopg.OperationalError: the database is away.
    """
    spans = await _read_spans(conn, gap)
    if gap.watched_from > gap.start and not spans:
        # Totals alone may be a part of what is still being written, or the line's own first ones.
        return Past(gap)
    silences = [(s.start, s.end) for s in spans if s.state == LineState.NO_DATA]
    silences += [(a.end, b.start) for a, b in pairwise(spans) if b.start > a.end]
    if spans and spans[-1].end < gap.watched_from:
        silences.append((spans[-1].end, gap.watched_from))
    try:
        totals, products = await _read_totals(conn, gap), await _read_products(conn, gap)
    except psycopg.errors.InsufficientPrivilege as error:
        _warn(str(error))
        totals, products = {}, []
    past = count_past(gap, totals, products, silences)
    past.spans = spans
    return past


async def _read_spans(conn: AsyncConnection, gap: Gap) -> list[PastSpan]:
    if gap.watched_from <= gap.start:
        return []
    start, until = to_datetime(gap.start), to_datetime(gap.watched_from)
    cursor = await conn.execute(_SPANS, {"line": gap.line, "start": start, "until": until})
    rows = await cursor.fetchall()
    # A line whose state was lost has left its last interval open: it ends where the next begins.
    nexts = [*(to_us(began) for began, *_ in rows), gap.watched_from][1:]
    return [
        PastSpan(
            max(to_us(began), gap.start),
            following if ended is None else min(to_us(ended), following),
            state,
            state == LineState.PLANNED and unit is not None,
        )
        for (began, ended, state, unit), following in zip(rows, nexts, strict=True)
    ]


async def _read_totals(conn: AsyncConnection, gap: Gap) -> dict[str, list[tuple[int, float]]]:
    totals: dict[str, list[tuple[int, float]]] = {}
    for id, (_, until) in gap.firsts.items():
        parameters = {
            "signal": id,
            "start": to_datetime(gap.start),
            "until": to_datetime(int(until)),
            "bad": BAD,
        }
        cursor = await conn.execute(_TOTALS, parameters)
        totals[id] = [(to_us(at), value) for at, value in await cursor.fetchall()]
    return totals


async def _read_products(conn: AsyncConnection, gap: Gap) -> list[tuple[int, str]]:
    if not gap.product or not gap.firsts:
        return []
    until = max(int(at) for _, at in gap.firsts.values())
    parameters = {
        "signal": gap.product,
        "start": to_datetime(gap.start),
        "until": to_datetime(until),
        "bad": BAD,
    }
    cursor = await conn.execute(_PRODUCTS, parameters)
    return [(to_us(at), value) for at, value in await cursor.fetchall()]


_warned: list[float] = []


def _warn(text: str) -> None:
    """Say once an hour that the store may not be read."""
    if not _warned or time.monotonic() - _warned[-1] > 3600:
        _warned[:] = [time.monotonic()]
        log.error("figures count from the start only", extra={"fields": {"because": text}})


_SPANS = """
SELECT started_at, ended_at, state, unit FROM line_health.line_state
WHERE line = %(line)s AND started_at < %(until)s AND coalesce(ended_at, %(until)s) > %(start)s
ORDER BY started_at"""

_VALUES = """
(SELECT least(v.time, v.gateway_time) AS at, v.value
 FROM historian.{table} v JOIN historian.signal s ON s.key = v.signal
 WHERE s.id = %(signal)s AND v.time < %(start)s AND v.time >= %(start)s - interval '1 day'
   AND v.status & %(bad)s = 0 AND v.value IS NOT NULL
 ORDER BY v.time DESC, v.sub DESC LIMIT 1)
UNION ALL
(SELECT least(v.time, v.gateway_time), v.value
 FROM historian.{table} v JOIN historian.signal s ON s.key = v.signal
 WHERE s.id = %(signal)s AND v.time >= %(start)s AND v.time < %(until)s
   AND v.status & %(bad)s = 0 AND v.value IS NOT NULL
 ORDER BY v.time, v.sub)"""

_TOTALS = _VALUES.format(table="sample_number")
_PRODUCTS = _VALUES.format(table="sample_text")
