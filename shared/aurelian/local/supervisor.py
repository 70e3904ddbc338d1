"""Keep processes alive and end them in order; called by `stack.py`."""

import asyncio
import contextlib
import enum
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from aurelian.local.processes import Program, start, tail_of

log = logging.getLogger(__name__)

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
    """A process ended, or its first steps failed, before it was up; the message has the end of its log."""


@dataclass
class Kept:
    """A process that is started again whenever it ends, until `stop` is asked for.

    `before` runs before each start, `after` once the process runs and must return when it is up; where either fails
    or takes over `after_limit_s`, the process is ended and tried again.
    """

    program: Program
    ops_port: int | None = None
    before: Callable[[], Awaitable[None]] = _nothing
    after: Callable[[], Awaitable[None]] = _nothing
    after_limit_s: float = 30.0
    on_end: Callable[[str, int, float], None] = lambda name, code, pause_s: None
    """Told (name, exit code, seconds until the next start) whenever the process ends by itself."""

    state: State = State.STOPPED
    starts: int = 0
    process: asyncio.subprocess.Process | None = None
    up: asyncio.Event = field(default_factory=asyncio.Event)
    """Set from the first time that the process was up."""
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def pid(self) -> int | None:
        """Process id, while there is one."""
        return self.process.pid if self.process and self.process.returncode is None else None

    async def keep(self) -> None:
        """Start and restart the process until `stop`."""
        pause_s = FIRST_PAUSE_S
        try:
            while not self._stopping.is_set():
                began = time.monotonic()
                code = await self._run_once()
                if self._stopping.is_set():
                    return
                if time.monotonic() - began > STEADY_AFTER_S:
                    pause_s = FIRST_PAUSE_S
                self.state = State.PAUSED
                log.warning("%s ended", self.program.name, extra={"fields": {"code": code, "pause_s": pause_s}})
                self.on_end(self.program.name, code, pause_s)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        finally:
            self._kill()
            self.state = State.STOPPED
            self._ended.set()

    async def stop(self, limit_s: float) -> bool:
        """Ask the process to end; kill it after `limit_s`. Returns False when it had to be killed."""
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

    async def _run_once(self) -> int:
        """Start the process and wait for its end; return its exit code."""
        self.state = State.STARTING
        try:
            await self.before()
            self.process = process = await start(self.program)
        except (OSError, NotStartedError) as error:
            log.warning("%s cannot be started: %s", self.program.name, error)
            return -1
        self.starts += 1
        self.state = State.RUNNING
        ended = asyncio.create_task(process.wait(), name=f"{self.program.name} ends")
        rising = asyncio.create_task(self._rise(), name=f"{self.program.name} rises")
        try:
            await asyncio.wait({ended, rising}, return_when=asyncio.FIRST_COMPLETED)
            if rising.done() and rising.exception() is None:
                self.up.set()
            elif not ended.done() and not self._stopping.is_set():
                log.warning("%s did not come up: %s", self.program.name, rising.exception())
                self._kill()
            return await ended
        finally:
            rising.cancel()
            await asyncio.gather(rising, return_exceptions=True)

    async def _rise(self) -> None:
        async with asyncio.timeout(self.after_limit_s):
            await self.after()

    def _kill(self) -> None:
        if self.pid is not None and self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGKILL)


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
        raise NotStartedError(f"{kept.program.name} did not start within {limit_s:.0f} s: {reason}") from None


async def stop_all(kept: Iterable[Kept], limit_s: float) -> list[str]:
    """Stop processes side by side; return the names of those that had to be killed."""
    chosen = list(kept)
    in_order = await asyncio.gather(*(each.stop(limit_s) for each in chosen))
    return [each.program.name for each, clean in zip(chosen, in_order, strict=True) if not clean]
