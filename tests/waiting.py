"""Waiting on a condition with a deadline: for tests whose servers and tasks take their own time."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable


async def until(
    condition: Callable[[], bool | Awaitable[bool]],
    what: str | Callable[[], str] = "the condition",
    timeout_s: float = 15.0,
) -> None:
    """Wait until `condition()` is true; fail with `what` (asked for then, where it is a function)
    after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = condition()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return
        if time.monotonic() > deadline:
            said = what if isinstance(what, str) else what()
            raise AssertionError(f"waited {timeout_s} s in vain for {said}")
        await asyncio.sleep(0.05)
