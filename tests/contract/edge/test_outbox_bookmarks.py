"""How far a source is stands with its rows in the outbox: never ahead of them, never behind."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from aurelian.edge.outbox.limits import Limits, OutboxFull
from aurelian.edge.outbox.outbox import Outbox
from aurelian.edge.outbox.rows import EVENTS, OutboxEntry, RecordKind
from tests import servers

ROOMY = Limits(min_free=0.0)


@pytest.fixture
def folder() -> Iterator[Path]:
    with servers.server_folder() as path:
        yield path / "outbox"


def batch(size: int = 100) -> OutboxEntry:
    return OutboxEntry(RecordKind.SAMPLES, "line", "line", 1, lambda _: b"x" * size)


def event() -> OutboxEntry:
    return OutboxEntry(RecordKind.EVENTS, EVENTS, "source", 0, lambda _: b"gap")


def test_the_newest_of_each_source_outlives_restarts_and_files(folder: Path) -> None:
    limits = Limits(min_free=0.0, segment_bytes=20_000)
    with Outbox.open(folder, 1, limits) as outbox:
        assert outbox.bookmark("a") == ""
        outbox.append([batch()], bookmarks={"quiet": "early"})
        for n in range(20):
            outbox.append([batch(5000)], bookmarks={"a": f"a {n}", "b": f"b {n}"})
            outbox.release(1, "line", n)
        assert len(list(folder.glob("samples*.db"))) > 1
        assert outbox.bookmark("a") == "a 19"
    with Outbox.open(folder, 2, limits) as outbox:
        found = [outbox.bookmark(each) for each in ("a", "b", "quiet", "nobody")]
        assert found == ["a 19", "b 19", "early", ""]


def test_one_of_a_commit_that_failed_is_not_there(folder: Path) -> None:
    with Outbox.open(folder, 1, ROOMY) as outbox:
        outbox.append([batch()], bookmarks={"a": "before"})
        outbox._files.segments[-1]._connect().execute("PRAGMA query_only = ON")
        with pytest.raises(OutboxFull):
            outbox.append([batch()], bookmarks={"a": "after"})
        assert outbox.bookmark("a") == "before"
        outbox._files.segments[-1]._connect().execute("PRAGMA query_only = OFF")
    with Outbox.open(folder, 2, ROOMY) as outbox:
        assert outbox.bookmark("a") == "before"


def test_records_that_came_with_one_are_there_only_with_it(folder: Path) -> None:
    """Records stand in another file: a crash between the two writes leaves neither."""
    with Outbox.open(folder, 1, ROOMY) as outbox:
        outbox.append([batch()], bookmarks={"a": "before"})
        outbox._files.segments[-1]._connect().execute("PRAGMA query_only = ON")
        with pytest.raises(OutboxFull):
            outbox.append([event()], bookmarks={"a": "after"})
    with Outbox.open(folder, 2, ROOMY) as outbox:
        assert outbox.bookmark("a") == "before"
        assert [row.kind for row in outbox.unsent()[0]] == [RecordKind.SAMPLES]


def test_a_file_of_the_version_before_is_opened_and_goes_on(folder: Path) -> None:
    with Outbox.open(folder, 1, ROOMY) as outbox:
        outbox.append([batch(), event()])
    for path in folder.glob("*.db"):
        with sqlite3.connect(path) as db:
            db.execute("DROP TABLE bookmark")
        db.close()
    with Outbox.open(folder, 2, ROOMY) as outbox:
        assert not outbox.unreported()
        assert len(outbox.unsent()[0]) == 2
        outbox.append([batch()], bookmarks={"a": "now"})
    with Outbox.open(folder, 3, ROOMY) as outbox:
        assert (outbox.bookmark("a"), len(outbox.unsent()[0])) == ("now", 3)


@pytest.mark.parametrize("damage", ["text = 'b'", "checksum = checksum + 1"])
def test_a_damaged_one_is_not_known_and_costs_no_row(folder: Path, damage: str) -> None:
    with Outbox.open(folder, 1, ROOMY) as outbox:
        outbox.append([batch()], bookmarks={"a": "a", "b": "fine"})
    path = next(folder.glob("samples*.db"))
    with sqlite3.connect(path) as db:
        db.execute(f"UPDATE bookmark SET {damage} WHERE source = 'a'")
    db.close()
    with Outbox.open(folder, 2, ROOMY) as outbox:
        assert (outbox.bookmark("a"), outbox.bookmark("b")) == ("", "fine")
        assert len(outbox.unsent()[0]) == 1


def test_a_damaged_file_keeps_its_rows_and_forgets_how_far_it_was(folder: Path) -> None:
    """Its rows may be gone, so that what it says of them means nothing; a gap is told for it."""
    with Outbox.open(folder, 1, ROOMY) as outbox:
        outbox.append([batch()], bookmarks={"a": "old"})
        outbox._roll_over()
        outbox.append([batch(3000)], bookmarks={"a": "new"})
    newest = sorted(folder.glob("samples*.db"))[-1]
    content = bytearray(newest.read_bytes())
    content[600:1000] = b"\xa5" * 400
    newest.write_bytes(content)
    with Outbox.open(folder, 2, ROOMY) as outbox:
        assert outbox.unreported()
        assert outbox.bookmark("a") == ""
