"""Keep processes alive and end them in order; called by `stack.py`."""

import asyncio
import contextlib
import enum
import signal
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from aurelian.local.processes import Program, start, tail_of

EXIT_SETTINGS = 2
"""Exit code of a service that refuses its settings, plant model or folder
(`runtime/service.py`)."""

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0
STEADY_AFTER_S = 30.0
"""A process that ran so long is started again at once when it ends."""


class State(enum.StrEnum):
    """What a kept process is doing."""

    STARTING = "starting"
    RUNNING = "running"
    READY = "ready"
    PAUSED = "waiting to start again"
    STOPPED = "stopped"


async def _nothing() -> None:
    return


class NotStartedError(Exception):
    """A process ended, or its first steps failed, before it was up; the message has the end of its
    log."""


@dataclass
class Kept:
    """A process that is started again whenever it ends, until `stop` is asked for.

    `before` runs before each start, `after` once the process runs and must return when it is up;
    where either fails or takes over `after_limit_s`, the process is ended and tried again.
    """

    program: Program
    ops_port: int | None = None
    api_port: int | None = None
    before: Callable[[], Awaitable[None]] = _nothing
    after: Callable[[], Awaitable[None]] = _nothing
    after_limit_s: float = 30.0
    on_end: Callable[[str, str, float], None] = lambda name, reason, pause_s: None
    """Told (name, reason, seconds until the next start) whenever the process ends by itself."""

    state: State = State.STOPPED
    starts: int = 0
    process: asyncio.subprocess.Process | None = None
    up: asyncio.Event = field(default_factory=asyncio.Event)
    """Set from the first time that the process was up."""
    is_up: bool = False
    """True while the process of now is up: its first steps are done, and it has not ended."""
    last_end: str = ""
    """How it ended last, in words; forgotten once it is ready again (`status.py`)."""
    _trouble: str = ""
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _ended: asyncio.Event = field(default_factory=lambda: _set_event())

    @property
    def pid(self) -> int | None:
        """Process id, while there is one."""
        return self.process.pid if self.process and self.process.returncode is None else None

    async def keep(self) -> None:
        """Start and restart the process until `stop`."""
        self._ended.clear()
        pause_s = FIRST_PAUSE_S
        try:
            while not self._stopping.is_set():
                began = time.monotonic()
                reason = await self._run_once()
                if self._stopping.is_set():
                    return
                if time.monotonic() - began > STEADY_AFTER_S:
                    pause_s = FIRST_PAUSE_S
                self.state = State.PAUSED
                self.last_end = reason
                self.on_end(self.program.name, reason, pause_s)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        finally:
            self._kill()
            self.state = State.STOPPED
            self._ended.set()

    async def stop(self, limit_s: float) -> bool:
        """Ask the process to end; kill it after `limit_s`. Returns False when it had to be
        killed."""
        self._stopping.set()
        if self.pid is not None and self.process is not None:
            self.process.send_signal(self.program.stop_signal)
        try:
            async with asyncio.timeout(limit_s):
                await self._ended.wait()
        except TimeoutError:
            self._kill()
            await self._ended.wait()
            return False
        return True

    async def _run_once(self) -> str:
        """Start the process and wait for its end; return what became of it, in words."""
        self.state = State.STARTING
        try:
            await self.before()
            self.process = process = await start(self.program)
        except (OSError, NotStartedError) as error:
            return f"cannot be started ({error})"
        self.starts += 1
        self.is_up = False
        self.state = State.RUNNING
        self._trouble = ""
        if self._stopping.is_set():
            process.send_signal(self.program.stop_signal)
        async with asyncio.TaskGroup() as group:
            rising = group.create_task(self._rise(), name=f"{self.program.name} rises")
            code = await process.wait()
            rising.cancel()
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        if code == EXIT_SETTINGS and not self._trouble:
            # What it said is for people: its settings, plant model or folder, and what to do.
            self._trouble = tail_of(self.program.log).strip().rpartition("\n")[2]
        return f"{how} ({self._trouble})" if self._trouble else how

    async def _rise(self) -> None:
        """Wait until the process is up; end it when that fails, so that it is tried again."""
        try:
            async with asyncio.timeout(self.after_limit_s):
                await self.after()
        except (OSError, TimeoutError, NotStartedError) as error:
            self._trouble = str(error) or f"not up within {self.after_limit_s:.0f} s"
            self._kill()
        else:
            self.is_up = True
            self.up.set()

    def _kill(self) -> None:
        if self.pid is not None and self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGKILL)


def _set_event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


async def await_up(kept: Kept, limit_s: float) -> None:
    """Wait until a kept process was up once.

    Raises:
        NotStartedError: it was not within `limit_s`.
    """
    try:
        async with asyncio.timeout(limit_s):
            await kept.up.wait()
    except TimeoutError:
        reason = tail_of(kept.program.log) or "its log is empty"
        raise NotStartedError(
            f"{kept.program.name} did not start within {limit_s:.0f} s: {reason}"
        ) from None


async def stop_all(kept: Iterable[Kept], limit_s: float) -> list[str]:
    """Stop processes side by side; return the names of those that had to be killed."""
    chosen = list(kept)
    in_order = await asyncio.gather(*(each.stop(limit_s) for each in chosen))
    return [each.program.name for each, clean in zip(chosen, in_order, strict=True) if not clean]
