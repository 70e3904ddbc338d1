"""The launcher as a person sees it: one URL on standard output, Ctrl-C, a second start, `aurelian
down`, `aurelian reset`."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import servers
from tests.integration.local.test_stack import make_options, processes_of

LAUNCHER = """
import sys
from pathlib import Path
from aurelian.local.launcher import run_stack
from tests.integration.local.test_stack import make_options
run_stack(make_options(Path(sys.argv[1])))
"""


@pytest.mark.parametrize("ending", [pytest.param(signal.SIGINT, marks=pytest.mark.long), "down"])
async def test_the_launcher_prints_one_url_and_ends_everything_when_asked(
    monkeypatch: pytest.MonkeyPatch, ending: signal.Signals | str
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))  # make_options adds to it
    with servers.server_folder() as folder:
        home = make_options(folder).home
        launcher = await _start_launcher(folder)
        assert launcher.stdout is not None
        url = (await asyncio.wait_for(launcher.stdout.readline(), 60)).decode().strip()
        assert url.startswith("http://127.0.0.1:")

        second = await _aurelian("up", "--any-ports", "--home", str(home))
        assert second == (
            0,
            f"{url}\n",
            f"already running on {home}; stop it with: aurelian down\n",
        )
        refused = await _aurelian("reset", "--yes", "--home", str(home))
        assert refused[0] == 1

        began = time.monotonic()
        if isinstance(ending, signal.Signals):
            launcher.send_signal(ending)
        else:
            assert await _aurelian("down", "--home", str(home)) == (0, "", "stopped\n")
        rest, words = await asyncio.wait_for(launcher.communicate(), 15)
        assert time.monotonic() - began < 10
        assert (launcher.returncode, rest) == (0, b""), words.decode()
        assert words.decode().endswith("stopping\nstopped\n")
        assert processes_of(home) == []
        if ending == "down":
            assert (await _aurelian("reset", "--yes", "--home", str(home)))[0] == 0
            assert [each.name for each in home.iterdir()] == ["run"]


async def _start_launcher(folder: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", LAUNCHER, str(folder)),
        cwd=servers.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


async def _aurelian(*arguments: str) -> tuple[int | None, str, str]:
    """Run the command; return exit code, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from aurelian.cli import main; main()", *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output, words = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, output.decode(), words.decode()
