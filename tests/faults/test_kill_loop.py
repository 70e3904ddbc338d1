"""Processes of a whole stack are killed and paused at random, while recordings are replayed:
nothing lost, nothing doubled.

AURELIAN_FAULT_SECONDS says for how long (default 60), AURELIAN_FAULT_SEED repeats a run's choices;
both are printed. AURELIAN_FAULT_EVIDENCE names a folder that gets the logs and the ledger.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pilot_factory.recording import read_recording
from tests.e2e.whole import Stack, check_store, replay, running_stack
from tests.waiting import until

SECONDS = float(os.environ.get("AURELIAN_FAULT_SECONDS", "60"))
SEED = int(os.environ.get("AURELIAN_FAULT_SEED", str(time.time_ns() % 1_000_000)))
READY_LIMIT_S = 60.0

KILLED = (
    "historian",
    "kafka",
    "opcua_gateway",
    "mqtt_gateway",
    "line_health",
    "maintenance",
    "capacity",
    "partner_events",
    "postgres",
)
PAUSED = (*KILLED, "mqtt")
"""Mosquitto writes what it has acknowledged to disk once a second: it may be paused, and promises
nothing beyond."""

FOLD_SERVICES = ("line_health", "maintenance", "capacity")
"""Whose events the log of partner_events must have."""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack of this module's own, which it may break."""
    with running_stack() as opened:
        yield opened
        _keep_evidence(opened)


@pytest.mark.timeout(SECONDS + 420)
async def test_random_kills_and_pauses_lose_nothing_double_nothing_and_leave_no_hole(
    stack: Stack, tmp_path: Path
) -> None:
    print(f"AURELIAN_FAULT_SEED={SEED} AURELIAN_FAULT_SECONDS={SECONDS:g}")
    # A value whose time cannot be is known again by nothing: those recordings are left out.
    folders = {name: tmp_path / name for name in stack.recordings if not name.endswith("-old")}
    replays = [
        asyncio.create_task(
            replay(stack, name, folder, _speed(stack.recordings[name].file), SECONDS + 150)
        )
        for name, folder in folders.items()
    ]
    try:
        await _break_things(stack, random.Random(SEED))
        await until(lambda: _all_ready(stack), lambda: f"ready: {_states(stack)}", READY_LIMIT_S)
        await asyncio.gather(*replays)
    finally:
        for each in replays:
            each.cancel()
        await asyncio.gather(*replays, return_exceptions=True)
    for name, folder in folders.items():
        await check_store(stack, name, folder, limit_s=60)
    await until(lambda: not _not_logged(stack.database_url), "every event in the log", 60)
    count, first, last = _numbers(stack.database_url)
    assert (first, last) == (1, count), "the event log has a hole"


async def _break_things(stack: Stack, choose: random.Random) -> None:
    """Kill or pause one process after the other; pauses last while others are killed."""
    end = time.monotonic() + SECONDS
    async with asyncio.TaskGroup() as pauses:
        while (left := end - time.monotonic()) > 0:
            await asyncio.sleep(min(left, choose.uniform(0.3, 3.0)))  # the fault's own rhythm
            kill = choose.random() < 0.6
            name = choose.choice(KILLED if kill else PAUSED)
            pause_s = choose.choice((0.2, 1.0, 4.0, 12.0))
            pid = stack.services[name]["pid"]
            if pid is None:
                continue
            at = SECONDS - (end - time.monotonic())
            print(
                f"{at:6.1f} s: {'kill' if kill else f'pause for {pause_s:g} s'} {name}", flush=True
            )
            if kill:
                _send(int(str(pid)), signal.SIGKILL)
            else:
                pauses.create_task(
                    _pause(int(str(pid)), min(pause_s, max(0.2, end - time.monotonic())))
                )


async def _pause(pid: int, seconds: float) -> None:
    _send(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        _send(pid, signal.SIGCONT)


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it ended by itself, or by the fault before
        os.kill(pid, number)


def _speed(file: Path) -> float:
    """So fast that the recording lasts as long as the faults."""
    rows = read_recording(file).rows
    return max(1e-6, (rows[-1].time - rows[0].time) / 1e6 / SECONDS)


def _states(stack: Stack) -> dict[str, str]:
    return {name: str(each["state"]) for name, each in stack.services.items()}


def _all_ready(stack: Stack) -> bool:
    return set(_states(stack).values()) == {"ready"}


def _not_logged(url: str) -> list[str]:
    """Events that a service has recorded and the log has not."""
    with psycopg.connect(url) as connection:
        return [
            row[0]
            for service in FOLD_SERVICES
            for row in connection.execute(
                f"SELECT o.id FROM {service}.event_outbox AS o WHERE NOT EXISTS "
                "(SELECT FROM partner_events.event_log AS l WHERE l.id = o.id)"
            ).fetchall()
        ]


def _keep_evidence(stack: Stack) -> None:
    """Copy logs and ledger into the folder AURELIAN_FAULT_EVIDENCE, where one is named."""
    folder = os.environ.get("AURELIAN_FAULT_EVIDENCE")
    if not folder:
        return
    shutil.copytree(stack.home / "log", folder, dirs_exist_ok=True)
    with (
        psycopg.connect(stack.database_url) as connection,
        (Path(folder) / "tables.txt").open("w") as out,
    ):
        for table in (
            "ledger_received",
            "ledger_stored",
            "gap",
            "kafka_offset",
            "delivery",
            "rejected",
        ):
            for row in connection.execute(
                f"SELECT to_jsonb(t) FROM historian.{table} AS t"
            ).fetchall():
                print(table, row[0], file=out)


def _numbers(url: str) -> tuple[int, int, int]:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*), min(number), max(number) FROM partner_events.event_log"
        ).fetchone()
    assert row is not None
    return row[0], row[1], row[2]
