"""Makes loops end when they are told to, on Python 3.11 too."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def raise_if_cancelled() -> None:
    """Raise CancelledError if the current task was cancelled and something swallowed that; called
    once a round by loops that run until cancelled.

    `asyncio.wait_for` before Python 3.12 returns the result, and forgets the cancellation, when
    both come in one round of the event loop; libraries wait with it.

    Not for a task that has caught what a TaskGroup raised: before Python 3.13 the group may leave
    the task marked as cancelled, though nobody cancelled it. See `in_own_task`.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def in_own_task(work: Coroutine[Any, Any, T]) -> T:
    """Await work that uses a TaskGroup and is begun again when it fails.

    A TaskGroup whose task fails in the moment in which it is cancelled raises the failure and
    forgets the cancellation (before Python 3.13): a loop around it would go on for ever.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # seen, and of no interest any more
        raise
    return task.result()


async def next_of(keeper: asyncio.Task[None], out: asyncio.Queue[T]) -> T:
    """The next of a queue that a task fills. Raises what ended the task."""
    if not out.empty():
        return out.get_nowait()
    getting = asyncio.ensure_future(out.get())
    try:
        await asyncio.wait({keeper, getting}, return_when=asyncio.FIRST_COMPLETED)
        if not getting.done():
            keeper.result()
        return await getting
    finally:
        getting.cancel()
