"""A gateway on a disk that fills to the last byte, and on one that the kernel makes read-only after
an error: it acknowledges nothing, lives, says so, and nothing that was acknowledged is lost."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from aurelian.edge.gateway import GatewaySettings
from aurelian.edge.outbox.limits import Limits
from aurelian.edge.outbox.outbox import Outbox
from aurelian.edge.outbox.rows import START
from aurelian.runtime.health import Health
from tests import servers
from tests.integration.edge.lively_source import LivelySource, running
from tests.waiting import until


def run(*command: str | Path) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, check=False)
    if done.returncode:
        servers.cannot_run(f"{command[0]} is not possible: {done.stderr.decode().strip()}")
    return done.stdout.decode().strip()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB in memory."""
    disk = tmp_path / "small"
    disk.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@dataclass
class FaultyDisk:
    """A file system that becomes read-only at its first error."""

    folder: Path
    image: Path

    def fail(self) -> None:
        """Let the kernel find an error in it."""
        device = Path(run("findmnt", "-n", "-o", "SOURCE", self.folder)).name
        try:
            Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("a test")
        except OSError as error:
            servers.cannot_run(f"no file system can be made to fail here: {error}")

    def mend(self) -> None:
        """What its owner does: check it and mount it again."""
        run("umount", self.folder)
        command = ["e2fsck", "-p", "-f", str(self.image)]
        subprocess.run(command, check=False, capture_output=True)
        run("mount", "-o", "loop", self.image, self.folder)


@pytest.fixture
def faulty_disk(tmp_path: Path) -> Iterator[FaultyDisk]:
    disk = FaultyDisk(tmp_path / "faulty", tmp_path / "image")
    disk.folder.mkdir()
    with disk.image.open("wb") as file:
        file.truncate(32 * 2**20)
    run("mkfs.ext4", "-q", "-F", disk.image)
    run("mount", "-o", "loop,errors=remount-ro", disk.image, disk.folder)
    try:
        yield disk
    finally:
        command = ["umount", "-l", str(disk.folder)]
        subprocess.run(command, check=False, capture_output=True)


async def stopped(health: Health, source: LivelySource, words: str) -> int:
    """Wait until it says so; how much is acknowledged then, and no more."""
    await until(lambda: words in (health.ready or ""), lambda: f"{words!r} in {health.ready!r}")
    await until(lambda: "wait and are not stored" in str(health.sources and health.sources()))
    acked = source.acked
    for _ in range(10):
        assert source.acked == acked and health.stalled_s() < 5
        await asyncio.sleep(0.1)
    return acked


def values(folder: Path) -> int:
    with Outbox.open(folder, 9, Limits(min_free=0.0)) as outbox:
        assert outbox.unreported() == []
        rows, _ = outbox.unsent(START, 2**26)
    return sum(row.samples for row in rows)


async def test_on_a_full_disk_it_waits_for_room_and_goes_on_by_itself(
    alone: GatewaySettings, small_disk: Path
) -> None:
    settings = alone.model_copy(update={"state": small_disk / "state"})
    async with running(settings) as (health, source):
        ballast = small_disk / "ballast"
        with ballast.open("ab", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while file.write(bytes(512)):
                pass
        acked = await stopped(health, source, "Free space on its disk")
        ballast.unlink()
        await until(lambda: health.ready is None and source.acked > acked + 3)
        acked = source.acked
    assert values(settings.state / "outbox") >= acked


async def test_on_a_disk_that_became_read_only_it_says_so_and_what_was_acknowledged_is_there(
    alone: GatewaySettings, faulty_disk: FaultyDisk
) -> None:
    settings = alone.model_copy(update={"state": faulty_disk.folder / "state"})
    async with running(settings) as (health, source):
        await asyncio.to_thread(faulty_disk.fail)
        acked = await stopped(health, source, "Read-only file system")
        assert "Mount it to be written" in (health.ready or "")
    await asyncio.to_thread(faulty_disk.mend)
    assert values(settings.state / "outbox") >= acked > 3
    async with running(settings) as (health, source):
        assert health.ready is None
