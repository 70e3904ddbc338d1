"""The supervisor restarts what ends, gives up on nothing, and ends what does not listen."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from aurelian.local.options import Options
from aurelian.local.processes import Program, start_time
from aurelian.local.stack import _Launch
from aurelian.local.supervisor import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    Kept,
    NotStartedError,
    State,
    stop_all,
)


async def test_a_killed_process_is_started_again(tmp_path: Path) -> None:
    kept = Kept(_program(tmp_path, "import time; time.sleep(60)"))

    async def check() -> None:
        await _until(lambda: kept.pid is not None)
        first = kept.pid
        os.kill(first or 0, signal.SIGKILL)
        await _until(lambda: kept.pid not in (None, first))
        assert kept.starts == 2

    await _while_kept(kept, check)


async def test_the_pause_between_starts_grows(tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    kept = Kept(_program(tmp_path, "raise SystemExit(7)"))
    kept.on_end = lambda name, reason, pause_s: told.append((reason, pause_s))

    async def check() -> None:
        await _until(lambda: len(told) == 2)

    await _while_kept(kept, check)
    assert told == [("ended with exit code 7", 0.5), ("ended with exit code 7", 1.0)]


async def test_a_process_whose_first_steps_fail_is_ended_and_tried_again(tmp_path: Path) -> None:
    told: list[str] = []
    tries = 0

    async def fail_once() -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise NotStartedError("no topics yet")

    kept = Kept(_program(tmp_path, "import time; time.sleep(60)"), after=fail_once)
    kept.on_end = lambda name, reason, pause_s: told.append(reason)

    async def check() -> None:
        await _until(kept.up.is_set)

    await _while_kept(kept, check)
    assert told == ["was ended by signal 9 (no topics yet)"]


async def test_a_program_that_is_not_there_is_tried_again_and_said(tmp_path: Path) -> None:
    told: list[str] = []
    kept = Kept(Program("ghost", ("/nowhere/ghost",), tmp_path / "log"))
    kept.on_end = lambda name, reason, pause_s: told.append(reason)

    async def check() -> None:
        await _until(lambda: bool(told))

    await _while_kept(kept, check)
    assert "cannot be started" in told[0]
    assert "/nowhere/ghost" in told[0]


async def test_a_process_that_does_not_listen_is_killed_at_the_limit(tmp_path: Path) -> None:
    code = (
        "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); "
        "time.sleep(60)"
    )
    kept = Kept(_program(tmp_path, code))
    async with asyncio.TaskGroup() as group:
        group.create_task(kept.keep())
        await _until(lambda: kept.program.log.exists() and kept.program.log.stat().st_size > 0)
        pid = kept.pid or 0
        began = time.monotonic()
        assert await stop_all([kept], 0.3) == ["child"]
        assert time.monotonic() - began < 3
    assert start_time(pid) is None
    assert kept.state is State.STOPPED


async def test_stopping_while_it_waits_to_start_again_ends_at_once(tmp_path: Path) -> None:
    kept = Kept(_program(tmp_path, "raise SystemExit(1)"))
    async with asyncio.TaskGroup() as group:
        group.create_task(kept.keep())
        await _until(lambda: kept.state is State.PAUSED)
        assert await stop_all([kept], 5) == []
    assert kept.starts == 1


async def test_stopping_what_was_never_started_does_nothing(tmp_path: Path) -> None:
    assert await stop_all([Kept(_program(tmp_path, ""))], 1) == []


def _program(folder: Path, code: str) -> Program:
    return Program("child", (sys.executable, "-c", code), folder / "child.log")


async def _while_kept(kept: Kept, check: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(kept.keep())
        await check()
        await kept.stop(5)


async def _until(condition: Callable[[], bool], limit_s: float = 10) -> None:
    async with asyncio.timeout(limit_s):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


def test_a_process_that_keeps_ending_is_said_once_and_again_after_it_ran_well(
    tmp_path: Path,
) -> None:
    said: list[str] = []
    launch = _Launch(Options(home=tmp_path, fixed_ports=False, tell=said.append), None)
    for pause_s in (FIRST_PAUSE_S, 1.0, 2.0, LONGEST_PAUSE_S, LONGEST_PAUSE_S, LONGEST_PAUSE_S):
        launch.tell_end("historian", "ended with exit code 2", pause_s)
    assert len(said) == 2
    launch.tell_end("historian", "ended with exit code 3", LONGEST_PAUSE_S)
    assert len(said) == 3
    launch.tell_end("historian", "ended with exit code 2", FIRST_PAUSE_S)
    launch.tell_end("historian", "ended with exit code 2", LONGEST_PAUSE_S)
    assert len(said) == 5
