"""No row that nobody can store holds others back: ranges are released, holes are closed, and a
full disk ends nothing."""

from __future__ import annotations

import itertools
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurelian.edge.outbox.limits import Limits, OutboxFull
from aurelian.edge.outbox.outbox import Outbox
from aurelian.edge.outbox.rows import EVENTS, REJECTED, OutboxEntry, RecordKind, is_within, joined
from tests import servers
from tests.contract.edge.test_outbox import ROOMY, Ticks, batch, event, everything, reject


@pytest.fixture
def folder() -> Iterator[Path]:
    with servers.server_folder() as path:
        yield path / "outbox"


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30))), st.integers(0, 30))
def test_joined_ranges_hold_what_they_held(ranges: list[tuple[int, int]], up_to: int) -> None:
    found = joined(ranges, up_to)
    for n in range(1, 32):
        assert is_within(n, found) == (n > up_to and is_within(n, ranges))
    assert all(before[1] + 1 < after[0] for before, after in itertools.pairwise(found))


@pytest.mark.parametrize("stream", ["line", EVENTS, REJECTED])
def test_what_is_stored_beyond_a_hole_is_released(folder: Path, stream: str) -> None:
    make = {"line": batch, EVENTS: event, REJECTED: reject}[stream]
    with Outbox.open(folder, 1, ROOMY) as outbox:
        for _ in range(20):
            outbox.append([make()])
        outbox.release(1, stream, 3, [(5, 10), (12, 20)])
        assert [row.sequence for row in everything(outbox)] == [4, 11]
        assert outbox.level().rows == 2
        outbox.release(1, stream, 4)
        assert [row.sequence for row in everything(outbox)] == [11]
        outbox.release(1, stream, 11)
        assert outbox.level().rows == 0 and everything(outbox) == []


def test_the_age_of_what_is_stored_beyond_a_hole_does_not_count(folder: Path) -> None:
    clock = Ticks()
    limits = Limits(min_free=0.0, max_age_s=100.0)
    with Outbox.open(folder, 1, limits, clock) as outbox:
        outbox.append([batch()])
        clock.now += 90_000_000
        outbox.append([batch()])
        clock.now += 20_000_000
        with pytest.raises(OutboxFull, match="age"):
            outbox.append([batch()])
        outbox.release(1, "line", 0, [(1, 1)])
        outbox.append([batch()])
        assert outbox.level().accepting


@pytest.mark.parametrize("stream", ["line", EVENTS, REJECTED])
@pytest.mark.parametrize("number", [0, 7, 19])
@pytest.mark.parametrize("restart", [False, True])
def test_a_flipped_byte_costs_one_row_and_leaves_no_hole(
    folder: Path, stream: str, number: int, restart: bool
) -> None:
    make = {"line": batch, EVENTS: event, REJECTED: reject}[stream]
    outbox = Outbox.open(folder, 1, ROOMY)
    for n in range(20):
        outbox.append([make(b"PAYLOAD%02d" % n)])
    everything(outbox)  # from here on they are read from the disk
    if restart:
        outbox.close()
    name = "samples-*.db" if stream == "line" else "records.db"
    flip(outbox, next(folder.glob(name)), number, restart)
    if restart:
        outbox = Outbox.open(folder, 2, ROOMY)
    with outbox:
        rows = {row.sequence: row for row in everything(outbox)}
        assert sorted(rows) == list(range(1, 21))
        substitutes = [n for n, row in rows.items() if row.data[:1] == b"\x07"]
        assert substitutes == [number + 1]
        assert rows[number + 1].stream == stream
        assert b"PAYLOAE" in rows[number + 1].data
        assert len(outbox.unreported()) == 1
        outbox.release(1, stream, 20)
        assert outbox.level().rows == 0


def flip(outbox: Outbox, path: Path, number: int, closed: bool) -> None:
    """Change a byte of a row's data as a bad disk would: SQLite sees nothing wrong with it."""
    open_files = {segment.path: segment for segment in outbox._files.all()}
    db = sqlite3.connect(path) if closed else open_files[path]._connect()
    (data,) = db.execute("SELECT data FROM row WHERE sequence = ?", (number + 1,)).fetchone()
    changed = bytes(data).replace(b"PAYLOAD", b"PAYLOAE")
    assert changed != data
    db.execute("UPDATE row SET data = ? WHERE sequence = ?", (changed, number + 1))
    if closed:
        db.commit()
        db.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"no mount here: {done.stderr.decode().strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file:
        try:
            while file.write(b"\0" * 512):
                pass
        except OSError:
            return ballast
    raise AssertionError("the disk has no end")


@pytest.mark.parametrize("roll_over", [False, True])
def test_a_disk_full_to_the_last_byte_refuses_and_takes_again(
    small_disk: Path, roll_over: bool
) -> None:
    size = 20_000 if roll_over else 2**25
    limits = Limits(min_free=0.0, segment_bytes=size)
    acknowledged = 0
    entry = OutboxEntry(RecordKind.SAMPLES, "line", "line", 1, lambda n: os.urandom(3000))
    with Outbox.open(small_disk / "outbox", 1, limits) as outbox:
        for _ in range(5):
            outbox.append([entry])
            acknowledged += 1
        ballast = fill(small_disk)
        refused = 0
        while refused < 20:
            try:
                outbox.append([entry, event()])
                acknowledged += 1
            except OutboxFull:
                refused += 1
            outbox.level()
        outbox.release(1, "line", 1)
        ballast.unlink()
        outbox.append([entry])
        acknowledged += 1
        rows = [row.sequence for row in everything(outbox) if row.stream == "line"]
        assert rows == list(range(2, acknowledged + 1))
        assert outbox.unreported() == []


def test_an_outbox_on_a_full_disk_says_so(small_disk: Path) -> None:
    ballast = fill(small_disk)
    with pytest.raises(OutboxFull):
        Outbox.open(small_disk / "outbox", 1, ROOMY)
    ballast.unlink()
    with Outbox.open(small_disk / "outbox", 1, ROOMY) as outbox:
        outbox.append([batch()])
