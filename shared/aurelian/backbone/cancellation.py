"""Makes loops end when they are told to, on Python 3.11 too. Called once a round by loops that run
until cancelled."""

from __future__ import annotations

import asyncio


def raise_if_cancelled() -> None:
    """Raise CancelledError if the current task was cancelled and something swallowed that.

    `asyncio.wait_for` before Python 3.12 returns the result, and forgets the cancellation, when
    both come in one round of the event loop; libraries wait with it.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
