"""A day of history for the pilot plant, so that the first page has trends: `python -m
pilot_factory.seed`, run once by the launcher.

The only program that writes the store without Kafka, as the database's owner; real plants never
need it. Seeded samples carry the flag HISTORICAL and have ledger rows of their own source
`seed-<company>`: the ledger still balances.
"""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Sequence
from datetime import datetime

import psycopg
from psycopg.types.json import Jsonb
from pydantic import ValidationError

from aurelian.model.plant import Plant
from aurelian.model.plant_file import PlantError, load_plants
from aurelian.model.plant_parts import NAMESPACE
from aurelian.model.sample import Flag, ValueType
from aurelian.model.time import now_us, to_datetime
from aurelian.runtime.settings import StoreSettings
from pilot_factory.past import LineSpan, Shift, SignalPast, live_through
from pilot_factory.rollup import HOUR_US, MINUTE_US, copy_block, number_rows, rollup_rows

HOURS = 24
LEAD_US = 40_000_000
"""How long before now the history ends: what comes after is live."""

_SAMPLES = (
    "COPY historian.sample_number (signal, time, sub, gateway_time, status, flags, type, value) "
    "FROM STDIN (FORMAT binary)"
)
_ROLLUP = (
    "signal, bucket, count, bad, sum, min, max, first, first_time, first_sub, last, "
    "last_time, last_sub"
)


def seed_history(
    database_url: str,
    plants: Sequence[Plant],
    *,
    seed: str = "pilot",
    now: int | None = None,
    hours: int = HOURS,
) -> int:
    """Write the last `hours` of the simulated lines as history and return the number of samples; 0
    where it was there already.

    Args:
        database_url: as the database's owner.
        plants: whose simulated units are seeded.
        seed: of the simulation.
        now: microseconds since 1970; the history ends 40 s before it.

    Raises:
        psycopg.Error: the database is away or not migrated.
    """
    end = ((now or now_us()) - LEAD_US) // 10_000_000 * 10_000_000
    start = end - hours * HOUR_US
    with psycopg.connect(database_url, autocommit=True) as conn:
        wanted = [plant for plant in plants if not _is_seeded(conn, plant)]
        signals, lines = live_through(wanted, f"{seed}/past", start, end)
        if not signals:
            return 0
        keys = _register(conn, signals)
        # Hours that are over are nobody else's. The running hour is shared with the historian,
        # which must not wait for us: it has a short transaction of its own, and merges.
        running = end // HOUR_US * HOUR_US
        with conn.transaction():
            over = _write_samples(conn, signals, keys, start, running)
        with conn.transaction():
            rest = _write_samples(conn, signals, keys, running, end)
            for line in lines:
                _write_line(conn, line)
        return over + rest


def _is_seeded(conn: psycopg.Connection, plant: Plant) -> bool:
    found = conn.execute(
        "SELECT 1 FROM historian.ledger_stored WHERE source = %s LIMIT 1", (_source(plant.owner),)
    )
    return found.fetchone() is not None


def _register(conn: psycopg.Connection, signals: Sequence[SignalPast]) -> dict[str, int]:
    """Register the signals as the historian does, and return their keys by id."""
    with conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO historian.signal "
            "(id, owner, asset, path, name, type, unit, role, source, discovered, limits, "
            "changed_at) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, false, %s, now()) ON CONFLICT (id) DO "
            "NOTHING",
            [
                (
                    s.signal.id,
                    s.owner,
                    s.signal.asset,
                    s.signal.path,
                    s.model.name,
                    int(s.model.type),
                    s.model.unit,
                    s.model.role.value,
                    s.signal.source,
                    Jsonb(s.model.limits.model_dump(mode="json") if s.model.limits else {}),
                )
                for s in signals
            ],
        )
        found = cursor.execute(
            "SELECT id, key FROM historian.signal WHERE id = ANY(%s)",
            ([s.signal.id for s in signals],),
        )
        return dict(found.fetchall())


def _write_samples(
    conn: psycopg.Connection,
    signals: Sequence[SignalPast],
    keys: dict[str, int],
    start: int,
    end: int,
) -> int:
    """Samples, rollups and ledger rows of [start, end), signal by signal in the order of their
    keys."""
    ordered = sorted(signals, key=lambda s: keys[s.signal.id])
    numbers = [s for s in ordered if s.model.type is not ValueType.TEXT]
    stored: dict[tuple[str, int], int] = {}
    parts = [(keys[s.signal.id], int(s.model.type), *s.between(start, end)) for s in numbers]
    parts = [part for part in parts if len(part[2])]
    with conn.cursor().copy(_SAMPLES) as copy:
        copy.write(copy_block([number_rows(*part, int(Flag.HISTORICAL)) for part in parts]))
    for table, width in (("rollup_minute", MINUTE_US), ("rollup_hour", HOUR_US)):
        rows = [rollup_rows(key, times, values, width) for key, _, times, values in parts]
        _merge_rollup(conn, table, copy_block(rows))
    texts = [s for s in ordered if s.model.type is ValueType.TEXT]
    with conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO historian.sample_text (signal, time, sub, gateway_time, status, flags, "
            "type, value) "
            "VALUES (%s, %s, 0, %s, 0, %s, %s, %s)",
            [
                (
                    keys[s.signal.id],
                    _instant(t),
                    _instant(t),
                    int(Flag.HISTORICAL),
                    int(ValueType.TEXT),
                    value,
                )
                for s in texts
                for t, value in s.texts_between(start, end)
            ],
        )
        for s in ordered:
            for t in s.times_between(start, end):
                hour = t // HOUR_US * HOUR_US
                stored[s.owner, hour] = stored.get((s.owner, hour), 0) + 1
        cursor.executemany(
            "INSERT INTO historian.ledger_stored (source, hour, owner, stored, duplicate, "
            "rejected) "
            "VALUES (%s, %s, %s, %s, 0, 0)",
            [
                (_source(owner), _instant(hour), owner, count)
                for (owner, hour), count in sorted(stored.items())
            ],
        )
        cursor.executemany(
            "INSERT INTO historian.ledger_received "
            "(gateway, boot, source, hour, owner, received, dropped, skipped, rejected) "
            "VALUES ('seed', 0, %s, %s, %s, %s, 0, 0, 0)",
            [
                (_source(owner), _instant(hour), owner, count)
                for (owner, hour), count in sorted(stored.items())
            ],
        )
    return sum(stored.values())


def _merge_rollup(conn: psycopg.Connection, table: str, block: bytes) -> None:
    """Add rollup rows to what the historian may have for the same bucket; ours are always the
    earlier samples."""
    conn.execute(f"CREATE TEMP TABLE seeded (LIKE historian.{table}) ON COMMIT DROP")
    with conn.cursor().copy(f"COPY seeded ({_ROLLUP}) FROM STDIN (FORMAT binary)") as copy:
        copy.write(block)
    conn.execute(
        f"INSERT INTO historian.{table} AS r ({_ROLLUP}) SELECT {_ROLLUP} FROM seeded ORDER BY "
        "signal, bucket "
        "ON CONFLICT (signal, bucket) DO UPDATE SET count = r.count + excluded.count, bad = r.bad "
        "+ excluded.bad, "
        "sum = r.sum + excluded.sum, min = least(r.min, excluded.min), max = greatest(r.max, "
        "excluded.max), "
        "first = excluded.first, first_time = excluded.first_time, first_sub = excluded.first_sub, "
        "last = coalesce(r.last, excluded.last), last_time = coalesce(r.last_time, "
        "excluded.last_time), "
        "last_sub = coalesce(r.last_sub, excluded.last_sub)"
    )
    conn.execute("DROP TABLE seeded")


def _write_line(conn: psycopg.Connection, line: LineSpan) -> None:
    """States, stops and finished shifts of a line as line_health would have found them."""
    with conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO line_health.line_state (line, started_at, ended_at, owner, state, unit, "
            "reason) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            [
                (
                    line.id,
                    _instant(s.start),
                    _instant(s.end),
                    line.owner,
                    s.state.value,
                    line.unit if s.own else None,
                    s.reason,
                )
                for s in line.spans
            ],
        )
        cursor.executemany(
            "INSERT INTO line_health.stop "
            "(id, line, owner, unit, started_at, ended_at, state, reason_code, reason) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            [
                (
                    str(uuid.uuid5(NAMESPACE, f"{line.id}|stop|{s.start}")),
                    line.id,
                    line.owner,
                    line.unit,
                    _instant(s.start),
                    _instant(s.end),
                    s.state.value,
                    s.code or None,
                    s.reason,
                )
                for s in line.stops
            ],
        )
        cursor.executemany(
            "INSERT INTO line_health.kpi (line, shift_start, shift_end, owner, shift, "
            "planned_busy_s, production_s, "
            "no_data_s, good, scrap, target, availability, effectiveness, quality, oee, "
            "computed_at, counts_from) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, 0, %s, %s, %s, %s, %s, %s, %s, now(), %s) ON "
            "CONFLICT DO NOTHING",
            [_kpi(line, shift) for shift in line.shifts],
        )


def _kpi(line: LineSpan, shift: Shift) -> tuple[object, ...]:
    """OEE of a shift (ISO 22400-2): availability APT/PBT, effectiveness PRI*PQ/APT, quality
    GQ/PQ."""
    made = shift.good + shift.scrap
    availability = shift.running_s / shift.planned_s if shift.planned_s else None
    effectiveness = shift.ideal_s / shift.running_s if shift.running_s else None
    quality = shift.good / made if made else None
    oee = None
    if availability is not None and effectiveness is not None and quality is not None:
        oee = availability * effectiveness * quality
    return (
        *(line.id, _instant(shift.start), _instant(shift.end), line.owner, shift.name),
        *(shift.planned_s, shift.running_s, float(shift.good), float(shift.scrap)),
        *(shift.planned_s / line.ideal_cycle_s, availability, effectiveness, quality, oee),
        _instant(shift.start),
    )


def _source(owner: str) -> str:
    return f"seed-{owner}"


def _instant(microseconds: int) -> datetime:
    return to_datetime(microseconds)


def main() -> None:
    """Seed the pilot plants of the settings' plant model; exit code 0: it is there."""
    try:
        settings = StoreSettings()
        began = time.monotonic()
        samples = seed_history(
            settings.database_url.get_secret_value(), load_plants(settings.plant)
        )
    except (ValidationError, PlantError, psycopg.Error) as error:
        sys.exit(f"seed: {error}")
    print(f"seeded {samples} samples in {time.monotonic() - began:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
