"""A gateway whose disk refuses to be written says so, in its log, its readiness and of its sources;
and goes on by itself."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from aurelian.edge import gateway
from aurelian.edge.gateway import GatewaySettings, run_gateway
from aurelian.local.ports import any_free
from aurelian.local.processes import Program
from aurelian.local.supervisor import Kept
from aurelian.model.plant import Plant
from aurelian.runtime.health import Health, UnusableError
from tests import servers
from tests.integration.edge.conftest import PLANT
from tests.integration.edge.lively_source import LivelySource
from tests.waiting import until


@pytest.fixture
def immutable() -> Iterator[Callable[[Path, bool], None]]:
    """Makes a folder and its files so that not even their owner may write, and back."""
    changed: set[Path] = set()

    def change(folder: Path, on: bool) -> None:
        flag = "+i" if on else "-i"
        done = subprocess.run(["chattr", "-R", flag, folder], capture_output=True, check=False)
        if done.returncode:
            servers.cannot_run(f"chattr is not possible: {done.stderr.decode()}")
        changed.add(folder)

    yield change
    for folder in changed:
        subprocess.run(["chattr", "-R", "-i", folder], capture_output=True, check=False)


@pytest.mark.parametrize(
    ("fault", "reason"), [("immutable", "ermi"), ("moved", "No such file or directory")]
)
async def test_it_is_not_ready_and_says_what_refuses_and_what_to_do_until_it_is_mended(
    alone: GatewaySettings,
    immutable: Callable[[Path, bool], None],
    caplog: pytest.LogCaptureFixture,
    fault: str,
    reason: str,
) -> None:
    caplog.set_level(logging.INFO)
    made: list[LivelySource] = []

    def make_sources(_: GatewaySettings, plants: Sequence[Plant], __: object) -> Sequence[Any]:
        made.append(LivelySource(plants[0]))
        return made

    health = Health("opcua_gateway")
    folder = alone.state / "outbox"
    running = asyncio.create_task(run_gateway(alone, health, make_sources))
    try:
        await until(lambda: bool(made) and made[0].acked > 3 and health.ready is None)
        if fault == "immutable":
            immutable(folder, True)
        else:
            folder.rename(folder.with_name("away"))
        await until(lambda: health.ready is not None)
        await until(lambda: shown(health)["state"] == "DEGRADED")
        acked = made[0].acked
        for said in (health.ready or "", str(shown(health)["reason"]), written(caplog)):
            assert f"outbox {folder} cannot be written: " in said
            assert reason in said and "full" not in said and "I/O" not in said
            assert ". Let " in said or ". Make " in said
        assert "wait and are not stored" in str(shown(health)["reason"])
        assert made[0].acked == acked
        if fault == "immutable":
            immutable(folder, False)
        else:
            folder.with_name("away").rename(folder)
        await until(lambda: health.ready is None and made[0].acked > acked)
        assert shown(health)["state"] == "LIVE" and not shown(health)["reason"]
    finally:
        running.cancel()
        await asyncio.wait({running})


@pytest.mark.parametrize("where", ["state", "state/outbox"])
async def test_a_start_in_a_folder_that_is_not_writable_ends_with_one_sentence(
    alone: GatewaySettings, immutable: Callable[[Path, bool], None], tmp_path: Path, where: str
) -> None:
    folder = tmp_path / where
    folder.mkdir(parents=True)
    immutable(folder, True)
    with pytest.raises(UnusableError) as found:
        async with asyncio.timeout(20):
            await run_gateway(alone, Health("opcua_gateway"), lambda *_: [])
    (line,) = str(found.value).splitlines()
    assert str(folder) in line and "cannot be written: " in line and "Let the user of" in line


async def test_the_launchers_line_says_why_a_gateway_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "plant.yaml").write_text(PLANT)
    (tmp_path / "state").write_text("a file, where a folder should be")
    told: list[str] = []
    kept = Kept(
        Program(
            "opcua_gateway",
            (sys.executable, "-m", "opcua_gateway"),
            tmp_path / "log",
            {
                "AURELIAN_HOME": str(tmp_path),
                "AURELIAN_PLANT": str(tmp_path / "plant.yaml"),
                "AURELIAN_STATE": str(tmp_path / "state"),
                "AURELIAN_OPS_PORT": str(any_free()),
                "AURELIAN_KAFKA_BOOTSTRAP": f"127.0.0.1:{any_free()}",
                "PYTHONPATH": os.pathsep.join(sys.path),
            },
        ),
        on_end=lambda name, reason, pause_s: told.append(reason),
    )
    keeping = asyncio.create_task(kept.keep())
    await until(lambda: bool(told))
    await kept.stop(5)
    await keeping
    assert told[0].startswith("ended with exit code 2 (opcua_gateway: state folder")
    assert f"{tmp_path / 'state'} cannot be written: " in told[0] and "Make it a folder" in told[0]
    assert kept.last_end == told[-1]
    assert "Traceback" not in (tmp_path / "log").read_text()


def shown(health: Health) -> Any:
    assert health.sources is not None
    (found,) = health.sources()
    return found


def written(caplog: pytest.LogCaptureFixture) -> str:
    """What the log says of the outbox when it refuses for the first time."""
    found = [each for each in caplog.records if each.message == "outbox cannot be written"]
    assert len(found) == 1 and found[0].name != gateway.__name__
    return str(getattr(found[0], "fields", {})["error"])
