"""The migrations make what tables.py says, on plain PostgreSQL and on TimescaleDB; roles keep to
their rooms."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, make_url
from sqlalchemy.pool import NullPool

from aurelian.db.engine import as_role
from aurelian.db.logs import declare_log
from aurelian.db.migrate import upgrade
from aurelian.db.services import SCHEMA_OWNERS, SERVICES
from aurelian.db.tables import metadata
from tests.contract.db.timescale_server import Timescale, timescale_server


@pytest.fixture(scope="module")
def timescale() -> Iterator[Timescale]:
    """A migrated TimescaleDB."""
    with timescale_server() as server:
        upgrade(server.url)
        yield server


def test_the_migrated_database_is_what_tables_py_says(database_url: str) -> None:
    assert _differences(database_url) == []


@pytest.mark.timescale
def test_the_migrated_timescale_database_is_what_tables_py_says(timescale: Timescale) -> None:
    assert _differences(timescale.url) == []


@pytest.mark.timescale
def test_samples_are_compressed_hypertables_with_policies(timescale: Timescale) -> None:
    with psycopg.connect(timescale.url) as conn:
        tables = conn.execute(
            "SELECT hypertable_name, compression_enabled FROM timescaledb_information.hypertables "
            "ORDER BY 1"
        ).fetchall()
        assert tables == [("sample_number", True), ("sample_other", True), ("sample_text", True)]
        jobs = conn.execute(
            "SELECT hypertable_name, proc_name, config ->> 'drop_after', config ->> "
            "'compress_after' "
            "FROM timescaledb_information.jobs WHERE hypertable_schema = 'historian' ORDER BY 1, 2"
        ).fetchall()
        assert len(jobs) == 6
        assert {job[2:] for job in jobs} == {("400 days", None), (None, "14 days")}
        conn.execute("SELECT historian.maintain_samples(30)")
        kept = conn.execute(
            "SELECT config ->> 'drop_after' FROM timescaledb_information.jobs WHERE proc_name = "
            "'policy_retention'"
        ).fetchall()
        assert kept == [("30 days",)] * 3


def test_a_second_upgrade_and_a_concurrent_one_change_nothing(empty_database_url: str) -> None:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            upgrade(empty_database_url)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    upgrade(empty_database_url)
    assert _differences(empty_database_url) == []


NEEDS = {
    "historian": {"platform", "historian"},
    "history": {"platform", "historian"},
    "line_health": {"platform", "historian", "line_health"},
    "maintenance": {"platform", "historian", "maintenance"},
    "capacity": {"platform", "historian", "capacity"},
    "partner_events": {"platform", "partner_events"},
    "dashboard": {"platform", "historian", "line_health", "maintenance", "capacity"},
}
"""Written by hand from what each service's SQL reads."""


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_reads_the_schemas_that_it_needs_and_writes_its_own_only(
    database_url: str, service: str
) -> None:
    with psycopg.connect(as_role(database_url, service), autocommit=True) as conn:
        for table in metadata.sorted_tables:
            name = f'"{table.schema}"."{table.name}"'
            if table.schema not in NEEDS[service]:
                for statement in ("SELECT count(*) FROM", "DELETE FROM", "TABLE"):
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        conn.execute(f"{statement} {name}")  # type: ignore[arg-type]
                continue
            conn.execute(f"SELECT count(*) FROM {name}")  # type: ignore[arg-type]
            delete = f"DELETE FROM {name}"
            insert = f"INSERT INTO {name} DEFAULT VALUES"
            if table.schema == service:
                conn.execute(delete)  # type: ignore[arg-type]
                continue
            # partner_events gives and revokes a company's grants.
            may_insert = service == "partner_events" and table.fullname == "platform.grant"
            for statement in (delete,) if may_insert else (delete, insert):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    conn.execute(statement)  # type: ignore[arg-type]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(
                f'CREATE TABLE "{service if service in SCHEMA_OWNERS else "platform"}".mine (id '
                "int)"
            )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("column", "table", "readers"),
    [
        ("secret", "partner_events.endpoint", {"partner_events"}),
        (
            "secret_hash",
            "platform.api_key",
            {"history", "maintenance", "capacity", "partner_events", "dashboard"},
        ),
    ],
)
def test_a_secret_is_read_by_those_alone_that_need_it(
    database_url: str, column: str, table: str, readers: set[str]
) -> None:
    upgrade(database_url)  # a second time: what is taken back stays so
    able = set()
    for service in SERVICES:
        if table.partition(".")[0] not in NEEDS[service]:
            continue
        with psycopg.connect(as_role(database_url, service), autocommit=True) as conn:
            conn.execute(f"SELECT id FROM {table}")  # type: ignore[arg-type]
            for columns in (column, "*", f"max({column}::text)"):
                with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
                    conn.execute(f"SELECT {columns} FROM {table}")  # type: ignore[arg-type]
                    able.add(service)
    assert able == readers


def test_weeks_are_made_ahead_and_old_ones_dropped(database_url: str) -> None:
    row = (
        "INSERT INTO historian.sample_number VALUES (1, %s, 0, NULL, NULL, now(), now(), 0, 0, "
        "1, 1.0)"
    )
    with psycopg.connect(database_url, autocommit=True) as conn:
        old = row.replace("now(), now()", "now(), '2020-01-02Z'")
        for time in ("2020-01-01Z", "2001-01-01Z"):
            conn.execute(old, (time,))
        # An old recording that was stored just now stays as long as anything else.
        conn.execute(row, ("2004-02-12Z",))
        conn.execute(row.replace("%s", "now()"))
        # A week that is missing is made even when rows of it wait in the default partition.
        newest = conn.execute(_PARTITIONS + " ORDER BY 1 DESC LIMIT 1").fetchone()
        assert newest is not None
        conn.execute(f"DROP TABLE historian.{newest[0]}")  # type: ignore[arg-type]
        conn.execute(row.replace("%s", "now() + interval '28 days'"))
        conn.execute(
            "CREATE TABLE historian.sample_number_2019w40 PARTITION OF historian.sample_number "
            "FOR VALUES FROM ('2019-09-30Z') TO ('2019-10-07Z')"
        )
    with psycopg.connect(as_role(database_url, "historian"), autocommit=True) as conn:
        conn.execute("SELECT historian.maintain_samples(400)")
        where = conn.execute(
            "SELECT tableoid::regclass::text FROM historian.sample_number"
        ).fetchall()
        assert sorted("default" in name for (name,) in where) == [False, False, True]
        names = [name for (name,) in conn.execute(_PARTITIONS).fetchall()]
        assert "sample_number_2019w40" not in names and newest[0] in names
        assert conn.execute("SELECT historian.maintain_samples(400)").fetchone() == (0,)


def test_one_log_is_current(database_url: str) -> None:
    for log_id in ("first", "second", "first"):
        declare_log(database_url, log_id)
        with psycopg.connect(database_url) as conn:
            current = conn.execute("SELECT log_id FROM platform.kafka_log WHERE current").fetchall()
        assert current == [(log_id,)]


_PARTITIONS = """
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'historian.sample_number'::regclass AND c.relname NOT LIKE '%default'
"""


def _differences(url: str) -> list[object]:
    """What Alembic would change to reach tables.py; partitions and the extension's own tables
    aside."""

    def ours(name: str | None, kind: str, parents: dict[str, str | None]) -> bool:
        if kind == "schema":
            return name in {table.schema for table in metadata.sorted_tables}
        if kind == "table":
            return f"{parents['schema_name']}.{name}" in metadata.tables
        return True

    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), poolclass=NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_schemas": True, "include_name": ours, "compare_type": True}
        )
        found = compare_metadata(context, metadata)
    engine.dispose()
    return found
