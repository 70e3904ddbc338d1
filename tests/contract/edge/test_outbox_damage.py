"""One damaged bit in any byte of the outbox: each acknowledged row is there, or a damaged file is
reported; and it takes new values."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aurelian.edge.outbox import salvage as salvage_module
from aurelian.edge.outbox.limits import Limits, OutboxFull
from aurelian.edge.outbox.outbox import Outbox
from aurelian.edge.outbox.reports import confirm_reported
from aurelian.edge.outbox.rows import EVENTS, START, HourCount, OutboxEntry, OutboxRow, RecordKind
from aurelian.edge.outbox.write_ahead_log import read_log
from aurelian.model import codec
from tests import servers
from tests.bench.telemetry import report_by_exception

ROOMY = Limits(min_free=0.0)
FLIPS = 80
BATCHES = [codec.encode(each) for each in report_by_exception(8, 12, pool=20)]


@pytest.fixture
def folder() -> Iterator[Path]:
    with servers.server_folder() as path:
        yield path / "outbox"


def fill(outbox: Outbox) -> None:
    """Eight commits of a batch and an event each; two batches are released."""
    for number, data in enumerate(BATCHES):
        outbox.append([batch(data), event(number)], [HourCount("s", 0, "o", received=12)])
        outbox.release(1, "line", number - 5)


def batch(data: bytes) -> OutboxEntry:
    return OutboxEntry(RecordKind.SAMPLES, "line", "line", 12, lambda _: data)


def event(number: int) -> OutboxEntry:
    return OutboxEntry(RecordKind.EVENTS, EVENTS, "s", 0, lambda _: b"event %d" % number)


def rows_of(outbox: Outbox) -> set[tuple[int, str, int, bytes]]:
    found: list[OutboxRow] = []
    rows, position = outbox.unsent(START, 1000)
    while rows:
        found += rows
        rows, position = outbox.unsent(position, 1000)
    # A row that begins with 0x07 stands for one that was lost.
    return {
        (row.boot, row.stream, row.sequence, row.data) for row in found if row.data[:1] != b"\x07"
    }


EXPECTED = {(1, "line", n + 1, data) for n, data in enumerate(BATCHES) if n >= 2} | {
    (1, EVENTS, n + 1, b"event %d" % n) for n in range(8)
}


@pytest.mark.parametrize("kind", ["closed", "killed"])
@pytest.mark.parametrize("name", ["samples", "records"])
def test_one_damaged_bit_loses_nothing_without_a_report(
    folder: Path, tmp_path: Path, kind: str, name: str
) -> None:
    outbox = Outbox.open(folder, 1, ROOMY)
    fill(outbox)
    if kind == "closed":
        outbox.close()
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    outbox.close()
    suffix = ".db" if kind == "closed" else "-wal"
    damaged = next(each for each in files if each.startswith(name) and each.endswith(suffix))
    copy = tmp_path / "copy"
    failed = []
    bits = len(files[damaged]) * 8
    # An odd step: bits at other places of each page, and all eight of a byte.
    for bit in range(3, bits, bits // FLIPS | 1):
        copy.mkdir()
        for each, content in files.items():
            (copy / each).write_bytes(content)
        flipped = bytearray(files[damaged])
        flipped[bit // 8] ^= 1 << bit % 8
        (copy / damaged).write_bytes(flipped)
        failed += [f"bit {bit}: {each}" for each in open_damaged(copy)]
        shutil.rmtree(copy)
    assert not failed


def open_damaged(folder: Path) -> Iterator[str]:
    """What is wrong with how a damaged outbox opens and goes on."""
    with Outbox.open(folder, 2, ROOMY) as outbox:
        before = rows_of(outbox)
        outbox.append([batch(BATCHES[0]), event(0)])
        after = rows_of(outbox)
        if not after >= EXPECTED and not outbox.unreported():
            yield f"{len(EXPECTED - after)} rows are gone without a report"
        if not {row for row in before if row[0] == 1} <= EXPECTED | {
            (1, "line", n + 1, data) for n, data in enumerate(BATCHES)
        }:
            yield "rows that were never appended"
        if not {(2, "line", 1, BATCHES[0]), (2, EVENTS, 1, b"event 0")} <= after:
            yield "the new rows are not there"
        for each in outbox.unreported():
            confirm_reported(each)
    with Outbox.open(folder, 3, ROOMY) as outbox:
        if rows_of(outbox) != after or outbox.unreported():
            yield "another start finds something else"


def test_a_frame_in_the_middle_of_the_log_costs_only_its_own_rows_and_is_reported(
    folder: Path, tmp_path: Path
) -> None:
    """SQLite alone would drop all commits behind it."""
    with Outbox.open(folder, 1, ROOMY) as outbox:
        fill(outbox)
        shutil.copytree(folder, tmp_path / "copy")
    log = next((tmp_path / "copy").glob("samples*-wal"))
    content = bytearray(log.read_bytes())
    frames = len(read_log(bytes(content)).frames)
    assert read_log(bytes(content)).taken == frames > 20
    content[32 + (frames // 2) * 536 + 300] ^= 255
    assert read_log(bytes(content)).taken < frames
    log.write_bytes(content)
    with Outbox.open(tmp_path / "copy", 2, ROOMY) as outbox:
        assert len(EXPECTED - rows_of(outbox)) <= 2
        assert len(outbox.unreported()) == 1


def change_up_to(db: sqlite3.Connection) -> None:
    db.execute("UPDATE released SET up_to = up_to + 4")


def change_last_commit(db: sqlite3.Connection) -> None:
    db.execute("UPDATE last_commit SET number = number - 4")


def change_time(db: sqlite3.Connection) -> None:
    db.execute("UPDATE row SET appended_at = appended_at - (1 << 49) WHERE sequence = 4")


def change_commit(db: sqlite3.Connection) -> None:
    db.execute("UPDATE row SET group_number = group_number + 1024 WHERE sequence = 4")


def change_stream(db: sqlite3.Connection) -> None:
    db.execute("UPDATE row SET boot = 9 WHERE sequence = 8")


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        (change_up_to, 0),
        (change_last_commit, 0),
        (change_time, 1),
        (change_commit, 1),
        (change_stream, 1),
    ],
)
def test_a_changed_number_beside_the_data_is_damage(
    folder: Path, change: Callable[[sqlite3.Connection], None], lost: int
) -> None:
    with Outbox.open(folder, 1, ROOMY) as outbox:
        fill(outbox)
    with sqlite3.connect(next(folder.glob("samples*.db"))) as db:
        change(db)
    db.close()
    with Outbox.open(folder, 2, ROOMY) as outbox:
        assert len(EXPECTED - rows_of(outbox)) == lost
        assert len(outbox.unreported()) == 1
        outbox.append([batch(BATCHES[0])])


def test_a_salvage_that_is_cut_off_is_finished_by_the_next_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Outbox.open(folder, 1, ROOMY) as outbox:
        fill(outbox)
    path = next(folder.glob("samples*.db"))
    path.write_bytes(path.read_bytes().replace(b"group_number", b"grouq_number"))
    # Where a process would end: the damaged file is renamed, the new one not yet there.
    path.rename(path.with_suffix(".damaged"))
    path.with_suffix(".unfinished").write_bytes(b"half a file")
    with Outbox.open(folder, 2, ROOMY) as outbox:
        assert rows_of(outbox) >= EXPECTED
        assert len(outbox.unreported()) == 1
    monkeypatch.setattr(salvage_module, "_make_sound", refuse)
    path.write_bytes(path.read_bytes().replace(b"group_number", b"grouq_number"))
    with pytest.raises(OutboxFull):
        Outbox.open(folder, 3, ROOMY)
    monkeypatch.undo()
    with Outbox.open(folder, 4, ROOMY) as outbox:
        assert rows_of(outbox) >= EXPECTED


def refuse(*_: object) -> None:
    raise sqlite3.OperationalError("database or disk is full")
