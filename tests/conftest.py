"""Fixtures of real servers, and the closing section that says what could not run and why."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import settings

from aurelian.runtime.service import TextFormatter
from tests import servers
from tests.long_tests import LONG_TESTS

# How long an example takes depends on what else the machine does. The rest as it was (on CI other).
settings.register_profile("no deadline", settings(), deadline=None)
settings.load_profile("no deadline")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Show a record's fields in the report of a failed test too: the reason stands there."""
    plugin = config.pluginmanager.get_plugin("logging-plugin")
    for handler in (plugin.caplog_handler, plugin.report_handler):
        handler.setFormatter(TextFormatter("%(name)s:"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave those marked `long` to the long run (tests/README.md)."""
    left = [] if LONG_TESTS else [item for item in items if item.get_closest_marker("long")]
    if left:
        items[:] = [item for item in items if item not in left]
        config.hook.pytest_deselected(items=left)


@pytest.fixture(scope="session", autouse=True)
def _state_of_nobody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where programs and sources keep files whose test names no folder: not in this one."""
    os.environ["AURELIAN_STATE"] = str(tmp_path_factory.mktemp("state"))
    yield
    del os.environ["AURELIAN_STATE"]


@pytest.fixture(scope="session")
def postgres() -> Iterator[servers.PostgresServer]:
    """One PostgreSQL server for the run; tests take `database_url`, or `postgres.create_database()`
    for more."""
    with servers.postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_template(postgres: servers.PostgresServer) -> str:
    """Name of a database with all migrations, to copy from."""
    from aurelian.db.migrate import upgrade

    url = postgres.create_database()
    upgrade(url)
    return url.partition("@/")[2].partition("?")[0]


@pytest.fixture(scope="session")
def next_database(
    postgres: servers.PostgresServer, migrated_template: str
) -> Iterator[Callable[[], str]]:
    """Gives a fresh migrated database; the server copies the next one while the test waits for
    other things."""
    with ThreadPoolExecutor(1) as one:
        copies = [one.submit(postgres.create_database, migrated_template)]

        def take() -> str:
            copies.append(one.submit(postgres.create_database, migrated_template))
            return copies.pop(0).result()

        yield take


@pytest.fixture
def database_url(
    postgres: servers.PostgresServer, next_database: Callable[[], str]
) -> Iterator[str]:
    """URL (as the owner) of a fresh migrated database, dropped after the test."""
    url = next_database()
    yield url
    postgres.drop_database(url)


@pytest.fixture
def empty_database_url(postgres: servers.PostgresServer) -> Iterator[str]:
    """URL of a fresh database without any table, dropped after the test."""
    url = postgres.create_database()
    yield url
    postgres.drop_database(url)


@pytest.fixture
def quick_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of which nothing depends on how long a fold in this process waits between its
    steps."""
    monkeypatch.setattr("aurelian.fold.session.TICK_EVERY_S", 0.1)
    monkeypatch.setattr("aurelian.fold.run.AGAIN_AFTER_S", 0.1)


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """Bootstrap address of an Apache Kafka, one for the run, without topics."""
    with servers.kafka_broker() as server:
        yield server.bootstrap


@pytest.fixture(scope="session")
def mosquitto() -> Iterator[str]:
    """URL of a real Mosquitto, one for the run. Mark the test with `mosquitto`."""
    with servers.mosquitto_broker() as server:
        yield server.url


@pytest.fixture(scope="session")
def mqtt_broker() -> Iterator[str]:
    """URL of Mosquitto, or of Artemis where that is not installed; one for the run."""
    with servers.any_mqtt_broker() as server:
        yield server.url


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print each reason for which tests could not run, with their number."""
    reasons: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = _reason(report)
        reasons[reason] = reasons.get(reason, 0) + 1
    if reasons:
        terminalreporter.section("could not run")
        for reason, count in sorted(reasons.items()):
            tests = "1 test" if count == 1 else f"{count} tests"
            terminalreporter.write_line(f"{tests}: {reason.removeprefix(servers.CANNOT_RUN)}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With CI=true a test may be skipped only because this machine cannot run it."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if (
        os.environ.get("CI") != "true"
        or reporter is None
        or session.exitstatus != pytest.ExitCode.OK
    ):
        return
    unexplained = [
        each
        for each in reporter.stats.get("skipped", [])
        if not _reason(each).startswith(servers.CANNOT_RUN)
    ]
    if unexplained:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line("")
        reporter.write_line(
            "with CI=true these may not be skipped (tests/servers.py: cannot_run):", red=True
        )
        for report in unexplained:
            reporter.write_line(f"  {report.nodeid}: {_reason(report)}", red=True)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")
