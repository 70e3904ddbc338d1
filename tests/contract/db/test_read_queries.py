"""The history API's queries give the same answers on plain PostgreSQL and on TimescaleDB."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from aurelian.access.keys import Principal
from aurelian.db.engine import make_engine
from aurelian.db.migrate import upgrade
from aurelian.model.sample import ValueType
from aurelian.model.time import to_us
from history import queries, records
from history.buckets import cut
from tests.contract.db.timescale_server import Timescale, timescale_server

START = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
ACME = Principal("acme")


@pytest.fixture(scope="module")
def timescale() -> Iterator[Timescale]:
    """A migrated TimescaleDB with some samples, half of them in compressed chunks."""
    with timescale_server() as server:
        upgrade(server.url)
        _fill(server.url)
        with psycopg.connect(server.url, autocommit=True) as conn:
            chunks = (
                "SELECT compress_chunk(c) FROM show_chunks('historian.{}', older_than => "
                "INTERVAL '0 days') c LIMIT 1"
            )
            for table in ("sample_number", "sample_text", "sample_other"):
                conn.execute(chunks.format(table))  # type: ignore[arg-type]
            stats = conn.execute(
                "SELECT sum(number_compressed_chunks) FROM "
                "hypertable_compression_stats('historian.sample_number')"
            ).fetchone()
        assert stats == (1,)
        yield server


def test_every_read_query_answers_on_plain_postgresql(database_url: str) -> None:
    _fill(database_url)
    answers = asyncio.run(_ask_everything(database_url))
    assert answers["signals"] == ["power", "state"]
    assert answers["latest"] == [("power", 2879.0), ("state", "word 4")]
    assert answers["raw"] == [float(n) for n in range(60)]
    assert answers["big"] == "18446744073709551615"
    minutes = answers["minutes"]
    assert isinstance(minutes, list) and sum(row[1] for row in minutes) == 2880
    assert answers["ledger"] == [("src", 10, 3)]


@pytest.mark.timescale
def test_every_read_query_answers_the_same_on_timescale(
    timescale: Timescale, database_url: str
) -> None:
    _fill(database_url)
    assert asyncio.run(_ask_everything(timescale.url)) == asyncio.run(_ask_everything(database_url))


async def _ask_everything(url: str) -> dict[str, object]:
    engine = make_engine(url, pool_size=1)
    answers: dict[str, object] = {}
    end = START + timedelta(days=2)
    async with engine.connect() as conn:
        answers["assets"] = [
            each.path for each in await queries.find_assets(conn, ACME, "acme/site")
        ]
        signals = await queries.find_signals(conn, ACME, path="acme")
        answers["signals"] = [each.name for each in signals.values()]
        latest = await queries.read_latest(conn, signals)
        answers["latest"] = [
            (each.signal.name, each.latest and each.latest.value) for each in latest
        ]
        key = next(key for key, each in signals.items() if each.name == "power")
        raw = await queries.read_samples(conn, key, START, START + timedelta(hours=1), 100)
        answers["raw"] = [each.value for each in raw]
        other = next(key for key, each in signals.items() if each.name == "state")
        answers["big"] = (await queries.read_samples(conn, other, START, end, 100))[1].value
        answers["has"] = await queries.has_numbers(conn, key, START, end)
        for name, points, until in (
            ("minutes", 500, end),
            ("hours", 20, end),
            ("raw buckets", 50, START + timedelta(minutes=30)),
        ):
            wanted = cut(to_us(START), to_us(until), points)
            answers[name] = [
                tuple(each.model_dump().values())
                for each in await queries.read_buckets(conn, key, wanted)
            ]
        ledger = await records.read_ledger(conn, ACME, START, end, None)
        answers["ledger"] = [(row.source, row.received, row.in_flight) for row in ledger]
        gaps = await records.read_gaps(conn, ACME, START, end, "src", "line", 10)
        answers["gaps"] = [each.reason for each in gaps]
        answers["rejected"] = [
            each.payload for each in await records.read_rejected(conn, ACME, None, None, 10)
        ]
    await engine.dispose()
    return answers


def _fill(url: str) -> None:
    """Two signals over two days, without COPY: the WebAssembly build has none."""
    columns = "signal, time, sub, gateway_time, status, flags, type"
    with psycopg.connect(url) as conn:
        conn.execute(
            "INSERT INTO historian.asset VALUES ('saw', 'acme', NULL, 'unit', 'saw', "
            "'acme/site/saw', '{}', now())"
        )
        conn.execute(
            "INSERT INTO historian.signal (id, owner, asset, path, name, type, unit, role, "
            "source, discovered, limits, "
            "changed_at) SELECT n, 'acme', 'saw', 'acme/site/saw/' || n, n, %s, '', 'other', "
            "'src', false, '{}', now() "
            "FROM unnest(ARRAY['power', 'state']) AS n",
            (int(ValueType.DOUBLE),),
        )
        keys = dict(conn.execute("SELECT id, key FROM historian.signal").fetchall())
        conn.execute(
            f"INSERT INTO historian.sample_number ({columns}, value) SELECT %s, %s + n * interval "
            "'1 minute', 0, %s, 0, 0, 1, n "
            "FROM generate_series(0, 2879) AS n",
            (keys["power"], START, START),
        )
        conn.execute(
            f"INSERT INTO historian.sample_text ({columns}, value) SELECT %s, %s + n * interval "
            "'9 hours', 0, %s, 0, 0, 5, "
            "'word ' || n FROM generate_series(0, 4) AS n",
            (keys["state"], START, START),
        )
        conn.execute(
            f"INSERT INTO historian.sample_other ({columns}, integer) VALUES (%s, %s, 1, %s, 0, "
            "0, 3, 18446744073709551615)",
            (keys["state"], START - timedelta(minutes=0), START),
        )
        for table, unit in (("rollup_minute", "minute"), ("rollup_hour", "hour")):
            conn.execute(
                f"INSERT INTO historian.{table} (signal, bucket, count, bad, sum, min, max, "
                "first, first_time, last, last_time) "  # type: ignore[arg-type]
                "SELECT signal, date_trunc(%s, time), count(*), 0, sum(value), min(value), "
                "max(value), min(value), min(time), "
                "max(value), max(time) FROM historian.sample_number GROUP BY 1, 2",
                (unit,),
            )
        conn.execute(
            "INSERT INTO historian.ledger_received VALUES ('g', 1, 'src', %s, 'acme', 10, 0, 0, 0)",
            (START,),
        )
        conn.execute(
            "INSERT INTO historian.ledger_stored VALUES ('src', %s, 'acme', 5, 1, 1)", (START,)
        )
        conn.execute(
            "INSERT INTO historian.gap VALUES (gen_random_uuid(), 'acme', 'src', 'line', %s, %s, "
            "1, 'why', false, now())",
            (START, START),
        )
        conn.execute(
            "INSERT INTO historian.rejected (owner, gateway, source, received_at, error_class, "
            "reason, origin, payload, "
            'payload_size, payload_sha256, samples, log_id, topic, partition, "offset", '
            "fingerprint) VALUES "
            "('acme', 'g', 'src', now(), 'type', 'why', 'o', 'x', 1, 'h', 1, 'l', 't', 0, 0, 'f')"
        )
