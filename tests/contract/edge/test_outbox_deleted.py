"""Files of the outbox that somebody deletes, moves or replaces while it runs: it makes them new and
goes on; what it had open is not lost, what is lost is told with its number, and no hole stays."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aurelian.edge.outbox.limits import Limits, OutboxFull, OutboxNotWritable
from aurelian.edge.outbox.outbox import Outbox
from aurelian.edge.outbox.reports import confirm_reported
from aurelian.edge.outbox.rows import (
    EVENTS,
    START,
    HourCount,
    OutboxEntry,
    OutboxRow,
    Position,
    RecordKind,
)
from tests import servers

ROOMY = Limits(min_free=0.0)
SMALL_FILES = Limits(min_free=0.0, segment_bytes=1)
LOST = b"\x07"


@pytest.fixture
def folder() -> Iterator[Path]:
    with servers.server_folder() as path:
        yield path / "state" / "outbox"


def batch(number: int) -> OutboxEntry:
    return OutboxEntry(RecordKind.SAMPLES, "line", "line", 1, lambda _: b"batch %d" % number)


def event(number: int) -> OutboxEntry:
    return OutboxEntry(RecordKind.EVENTS, EVENTS, "s", 0, lambda _: b"event %d" % number)


def read(outbox: Outbox, position: Position = START) -> tuple[list[OutboxRow], Position]:
    found: list[OutboxRow] = []
    rows, position = outbox.unsent(position, 1000)
    while rows:
        found += rows
        rows, position = outbox.unsent(position, 1000)
    return found, position


def rows_of(outbox: Outbox) -> list[tuple[str, int, bytes]]:
    return sorted((row.stream, row.sequence, row.data) for row in read(outbox)[0])


def expected(first: int, last: int) -> list[tuple[str, int, bytes]]:
    numbers = range(first, last + 1)
    return [(EVENTS, n, b"event %d" % n) for n in numbers] + [
        ("line", n, b"batch %d" % n) for n in numbers
    ]


def whole_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def whole_state(folder: Path) -> None:
    shutil.rmtree(folder.parent)


def all_files(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def only_logs(folder: Path) -> None:
    for path in folder.glob("*-wal"):
        path.unlink()


def only_batches(folder: Path) -> None:
    for path in folder.glob("samples*"):
        path.unlink()


def only_records(folder: Path) -> None:
    for path in folder.glob("records*"):
        path.unlink()


def replaced(folder: Path) -> None:
    folder.rename(folder.with_name("old"))
    folder.mkdir()


def copied_over(folder: Path) -> None:
    folder.rename(folder.with_name("old"))
    shutil.copytree(folder.with_name("old"), folder)


@pytest.mark.parametrize(
    "delete",
    [
        whole_folder,
        whole_state,
        all_files,
        only_logs,
        only_batches,
        only_records,
        replaced,
        copied_over,
    ],
)
def test_what_it_has_open_is_there_again_with_the_next_append(
    folder: Path, tmp_path: Path, delete: Callable[[Path], None]
) -> None:
    count = HourCount("s", 0, "o", received=1)
    with Outbox.open(folder, 1, ROOMY) as outbox:
        for number in range(1, 6):
            outbox.append([batch(number), event(number)], [count], {"s": f"mark {number}"})
        outbox.release(1, "line", 2)
        outbox.release(1, EVENTS, 2)
        _, position = read(outbox)
        delete(folder)
        outbox.append([batch(6), event(6)], [count], {"s": "mark 6"})
        # Who has read all gets what is new, once.
        assert [row.sequence for row in read(outbox, position)[0]] == [6, 6]
        assert rows_of(outbox) == expected(3, 6)
        assert outbox.unreported() == []
        shutil.copytree(folder, tmp_path / "killed")
    for place in (tmp_path / "killed", folder):  # as a kill and as an orderly end leave it
        with Outbox.open(place, 2, ROOMY) as outbox:
            assert rows_of(outbox) == expected(3, 6)
            assert outbox.bookmark("s") == "mark 6"
            assert outbox.counts()[0].received == 6
            assert outbox.unreported() == []


def test_an_outbox_to_which_nothing_comes_notices_too(folder: Path, tmp_path: Path) -> None:
    with Outbox.open(folder, 1, ROOMY) as outbox:
        outbox.append([batch(1), event(1)])
        shutil.rmtree(folder)
        outbox.look_after_files()
        shutil.copytree(folder, tmp_path / "killed")
    with Outbox.open(tmp_path / "killed", 2, ROOMY) as outbox:
        assert rows_of(outbox) == expected(1, 1)


@pytest.mark.parametrize("notice", ["append", "look", "read"])
def test_closed_files_lose_their_rows_which_is_told_with_their_number_and_leaves_no_hole(
    folder: Path, notice: str
) -> None:
    with Outbox.open(folder, 1, SMALL_FILES) as outbox:
        for number in range(1, 7):
            outbox.append([batch(number), event(number)])
        outbox.release(1, "line", 1)
        closed = sorted(folder.glob("samples-*.db"))[:-1]
        assert len(closed) == 4
        if notice == "read":
            closed[0].unlink()
        else:
            whole_folder(folder)
            if notice == "append":
                outbox.append([batch(7), event(7)])
            outbox.look_after_files()
        last = 7 if notice == "append" else 6
        rows = rows_of(outbox)
        assert [each[:2] for each in rows] == [
            *((EVENTS, n) for n in range(1, last + 1)),
            *(("line", n) for n in range(2, last + 1)),
        ]
        lost = [row for row in rows if row[2][:1] == LOST]
        kept = set(rows) - set(lost)
        assert kept <= set(expected(1, last)) and {row[0] for row in lost} == {"line"}
        # Batch 6 stood in the newest file, and those that were released before are no loss.
        assert [row[1] for row in lost] == ([2] if notice == "read" else [2, 3, 4, 5])
        assert all(b"deleted while the gateway ran" in row[2] for row in lost)
        reports = outbox.unreported()
        assert sum(each.rows for each in reports) == len(lost) == len(reports)
        for each in reports:
            assert (
                "deleted while the gateway ran" in each.reason
                and "not known to be stored: 1" in each.reason
            )
            assert 0 < each.from_time <= each.to_time
            confirm_reported(each)
        assert outbox.unreported() == []
        outbox.release(1, "line", last)
        outbox.release(1, EVENTS, last)
        assert outbox.level().rows == 0
    with Outbox.open(folder, 2, SMALL_FILES) as outbox:
        assert rows_of(outbox) == [] and outbox.unreported() == []


def test_the_report_of_a_loss_outlives_the_process(folder: Path) -> None:
    with Outbox.open(folder, 1, SMALL_FILES) as outbox:
        for number in range(1, 4):
            outbox.append([batch(number)])
        whole_folder(folder)
        outbox.append([batch(4)])
        before = outbox.unreported()
        assert len(before) == 2
    with Outbox.open(folder, 2, SMALL_FILES) as outbox:
        assert outbox.unreported() == before


def test_a_folder_that_is_only_moved_is_waited_for(folder: Path) -> None:
    with Outbox.open(folder, 1, ROOMY) as outbox:
        outbox.append([batch(1), event(1)])
        folder.rename(folder.with_name("away"))
        with pytest.raises(OutboxNotWritable, match="No such file or directory"):
            outbox.append([batch(2)])
        with pytest.raises(OutboxFull):
            outbox.look_after_files()
        folder.with_name("away").rename(folder)
        outbox.append([batch(2), event(2)])
        assert rows_of(outbox) == expected(1, 2)


def test_nothing_is_lost_where_the_disk_refuses_to_have_them_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Outbox.open(folder, 1, ROOMY) as outbox:
        outbox.append([batch(1), event(1)])
        shutil.rmtree(folder)
        folder.parent.rename(folder.parent.with_name("away"))
        folder.parent.write_text("a file, where a folder should be")
        for _ in range(3):
            with pytest.raises(OutboxNotWritable):
                outbox.append([batch(2), event(2)])
        folder.parent.unlink()
        outbox.append([batch(2), event(2)])
        assert rows_of(outbox) == expected(1, 2)


def test_another_process_that_took_the_folder_meanwhile_keeps_it(folder: Path) -> None:
    with Outbox.open(folder, 1, ROOMY) as outbox:
        outbox.append([batch(1)])
        folder.rename(folder.with_name("old"))
        with Outbox.open(folder, 2, ROOMY) as other:
            other.append([batch(9)])
            with pytest.raises(OutboxFull, match="another process"):
                outbox.append([batch(2)])
            assert rows_of(other) == [("line", 1, b"batch 9")]
