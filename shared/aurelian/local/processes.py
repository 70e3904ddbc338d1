"""Describe a program and start it so that it cannot outlive whoever started it; called by the stack
and the tests.

A child gets a process group of its own (Ctrl-C reaches the launcher only, which then stops things
in order) and a parent-death signal (kill -9 of the launcher still ends it).
"""

import asyncio
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
LOG_LIMIT_BYTES = 20_000_000


@dataclass(frozen=True, slots=True)
class Account:
    """A system user that a program runs as; used only when the launcher is root."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Program:
    """What to start: command line, surroundings, and the signals that end it."""

    name: str
    argv: tuple[str, ...]
    log: Path
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables on top of the launcher's own environment; an empty value removes the variable."""
    cwd: Path | None = None
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    """Asks the program to end in good order."""
    orphan_signal: signal.Signals = signal.SIGKILL
    """What the kernel sends when the launcher is gone."""


async def start(program: Program) -> asyncio.subprocess.Process:
    """Start `program` from the running loop; its output is appended to `program.log`.

    Must be called from the main thread: the parent-death signal follows the thread that forked.

    Raises:
        OSError: the program or its log cannot be opened.
    """
    with open_log(program.log) as output:
        return await asyncio.create_subprocess_exec(
            *program.argv, **_spawn_options(program, output)
        )


def start_blocking(program: Program) -> subprocess.Popen[bytes]:
    """Start `program` without an event loop (the tests' servers)."""
    with open_log(program.log) as output:
        return subprocess.Popen(program.argv, **_spawn_options(program, output))


def run_blocking(program: Program, timeout_s: float) -> None:
    """Run `program` to its end.

    Raises:
        subprocess.CalledProcessError: it ended with another exit code than 0; `stderr` is the end
        of its log.
        subprocess.TimeoutExpired: it took longer than `timeout_s` and was ended.
    """
    process = start_blocking(program)
    try:
        code = process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
    if code != 0:
        raise subprocess.CalledProcessError(code, program.argv, stderr=tail_of(program.log))


def open_log(path: Path) -> IO[bytes]:
    """Open a log for appending; one over 20 MB is first moved aside to `<name>.1`, replacing the
    one there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > LOG_LIMIT_BYTES:
        path.replace(path.with_name(path.name + ".1"))
    return path.open("ab")


def tail_of(log: Path, lines: int = 6) -> str:
    """Return the last lines of a log, for an error message."""
    if not log.exists():
        return ""
    with log.open("rb") as stream:
        stream.seek(0, os.SEEK_END)
        stream.seek(max(0, stream.tell() - 8192))
        return "\n".join(stream.read().decode("utf-8", "replace").strip().splitlines()[-lines:])


def start_time(pid: int) -> float | None:
    """Return when process `pid` started, in clock ticks since boot, or None where there is none or
    it is a zombie.

    A pid alone can be given to another process; pid and start time together cannot.
    """
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    state, ticks = after_name[0], float(after_name[19])
    return None if state in "ZX" else ticks


def await_condition(check: Callable[[], bool], timeout_s: float, interval_s: float = 0.02) -> bool:
    """Poll `check` until it holds; return False when `timeout_s` has passed first. Blocks."""
    deadline = time.monotonic() + timeout_s
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval_s)
    return True


def _spawn_options(program: Program, output: IO[bytes]) -> dict[str, Any]:
    env = {**os.environ, **program.env}
    options: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": output,
        "stderr": subprocess.STDOUT,
        "cwd": program.cwd,
        "env": {
            name: value for name, value in env.items() if value != "" or name not in program.env
        },
        "preexec_fn": _die_with_parent(os.getpid(), program.orphan_signal),
        "process_group": 0,
    }
    if program.account is not None:
        options |= {"user": program.account.uid, "group": program.account.gid, "extra_groups": []}
    return options


def _die_with_parent(parent: int, orphan_signal: signal.Signals) -> Callable[[], None]:
    """Return what the child does between fork and exec. Runs after the change of user, which clears
    the setting."""

    def tether() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(orphan_signal), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return tether
