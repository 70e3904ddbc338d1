"""Faults made on purpose, beside a broker: what the metrics show of them (21), and that the process
goes on (1, 6)."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from aurelian.backbone.topics import SAMPLES
from aurelian.db.engine import as_role
from aurelian.db.logs import declare_log
from aurelian.local import ports
from aurelian.model.sample import Sample, Signal, ValueType
from tests import oracle, servers
from tests.integration.historian.historian_process import (
    await_offsets,
    metrics_of,
    running_historian,
    send,
    send_batches,
    wait_until,
)
from tests.integration.historian.stored_in_memory import encoded


def test_lag_and_freshness_show_a_database_that_takes_nothing(
    broker: servers.KafkaServer, database_url: str, tmp_path: Path
) -> None:
    declare_log(database_url, "log-1")
    port = ports.any_free()

    def lag() -> float:
        return _metrics(port)["historian_lag_seconds"]

    def freshness() -> float:
        return _metrics(port)["historian_freshness_seconds"]

    with running_historian(broker.bootstrap, database_url, tmp_path, ops_port=port) as historian:
        for sent in range(1, 4):
            _send_now(broker.bootstrap, sent)
        await_offsets(database_url, 3)
        wait_until(lambda: lag() == 0.0 and 0 < freshness() < 60, 60, "no lag, and fresh")
        for made in (_locked(database_url), _closed(database_url), _read_only(database_url)):
            sent += 1
            with made:
                _send_now(broker.bootstrap, sent)
                wait_until(lambda: lag() > 3 and freshness() > 3, 60, "lag and freshness grow")
                high = freshness()
                wait_until(lambda high=high: freshness() > high + 1, 30, "freshness grows on")  # type: ignore[misc]
                assert historian.process.poll() is None
            await_offsets(database_url, sent, timeout_s=90)
            sent += 1
            _send_now(broker.bootstrap, sent)
            await_offsets(database_url, sent, timeout_s=90)
            wait_until(
                lambda high=high: lag() == 0.0 and 0 < freshness() < high,  # type: ignore[misc]
                60,
                "all is stored and fresh",
            )
        assert oracle.count_rows(database_url) == sent
        # Nothing comes any more: nothing lags, and the newest grows old.
        low = freshness()
        wait_until(lambda: freshness() > low + 1, 30, "freshness grows with silence")
        assert lag() == 0.0


def test_hostile_records_beside_good_ones_end_and_stop_nothing(
    broker: servers.KafkaServer, database_url: str, tmp_path: Path
) -> None:
    declare_log(database_url, "log-1")
    port = ports.any_free()
    with running_historian(broker.bootstrap, database_url, tmp_path, ops_port=port) as historian:
        for n in range(1, 31):
            hostile = Signal("x" * 6000, "a", f"evil/{'x' * 6000}", ValueType.DOUBLE, "", "s", True)
            at = time.time_ns() // 1000
            bad = Sample(hostile, 1.0, ValueType.DOUBLE, at, at)
            send(
                broker.bootstrap,
                [
                    (SAMPLES, "evil/line", encoded(bad, owner="evil", line="evil/line")),
                    (SAMPLES, "evil/line", b"\xff" * n),
                ],
            )
            _send_now(broker.bootstrap, n)
        await_offsets(database_url, 90, timeout_s=90)
        assert oracle.count_rows(database_url) == 30
        assert historian.process.poll() is None
        with psycopg.connect(database_url) as conn:
            classes = conn.execute(
                "SELECT error_class, count(*) FROM historian.rejected GROUP BY 1 ORDER BY 1"
            ).fetchall()
        assert classes == [("name", 30), ("unreadable", 30)]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as ready:
            assert ready.status == 200


SLOW = """
CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_sleep(0.001); RETURN NEW; END $$;
CREATE TRIGGER slow BEFORE INSERT ON historian.sample_number FOR EACH ROW EXECUTE FUNCTION slow()
"""
"""A disk that takes 1,000 rows a second at most."""


def test_a_database_too_slow_for_a_whole_transaction_gets_smaller_ones(
    broker: servers.KafkaServer, database_url: str, tmp_path: Path
) -> None:
    """Else the server ends the same transaction for ever."""
    declare_log(database_url, "log-1")
    port = ports.any_free()
    with psycopg.connect(database_url) as conn:
        conn.execute(SLOW)
    samples = oracle.make_samples(seed=5, count=6000)
    batches = oracle.make_batches(samples, (200,))
    records = send_batches(broker.bootstrap, batches)
    with running_historian(
        broker.bootstrap,
        database_url,
        tmp_path,
        ops_port=port,
        transaction_limit_s=2,
        commit_interval_s=1,
    ):
        await_offsets(database_url, records, timeout_s=90)
        limit = _metrics(port)["historian_commit_limit_samples"]
    assert 1000 <= limit < 6000
    stored = oracle.read_store(database_url)
    assert oracle.differences(oracle.expect(samples), stored) == []


def _send_now(bootstrap: str, sequence: int) -> None:
    at = time.time_ns() // 1000
    signal = Signal("id-x", "id-unit", "oracle/site/area/line/unit/x", ValueType.DOUBLE, "", "src")
    sample = Sample(signal, float(sequence), ValueType.DOUBLE, at, at)
    send(bootstrap, [(SAMPLES, "oracle/site/area/line", encoded(sample, sequence=sequence))])


@contextmanager
def _locked(url: str) -> Iterator[None]:
    """Another transaction holds a table."""
    with psycopg.connect(as_role(url, "historian")) as blocker:
        blocker.execute("LOCK TABLE historian.delivery IN SHARE MODE")
        yield
        blocker.rollback()


@contextmanager
def _closed(url: str) -> Iterator[None]:
    """The database lets nobody in."""
    name = url.partition("@/")[2].partition("?")[0]
    with psycopg.connect(url.replace(f"@/{name}", "@/postgres"), autocommit=True) as conn:
        conn.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')  # type: ignore[arg-type]
        _end_sessions(conn, name)
        yield
        conn.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')  # type: ignore[arg-type]


@contextmanager
def _read_only(url: str) -> Iterator[None]:
    """As after a fail-over to a server that is still a standby: every write is a 25006."""
    name = url.partition("@/")[2].partition("?")[0]
    setting = f'ALTER DATABASE "{name}" SET default_transaction_read_only'
    with psycopg.connect(url.replace(f"@/{name}", "@/postgres"), autocommit=True) as conn:
        conn.execute(f"{setting} = on")  # type: ignore[arg-type]
        _end_sessions(conn, name)
        yield
        conn.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')  # type: ignore[arg-type]
        _end_sessions(conn, name)


def _end_sessions(conn: psycopg.Connection[tuple[object, ...]], name: str) -> None:
    conn.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
    )


def _metrics(port: int) -> dict[str, float]:
    try:
        return metrics_of(port)
    except (urllib.error.URLError, OSError):
        return {"historian_lag_seconds": -1.0, "historian_freshness_seconds": -1.0}
