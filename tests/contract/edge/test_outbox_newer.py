"""Files of a newer version: an older one leaves them as they are, says so, and goes on; the newer
one finds all of its rows when it is back."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from aurelian.edge.outbox import compact, file_format, tables
from aurelian.edge.outbox.limits import Limits
from aurelian.edge.outbox.outbox import Outbox
from aurelian.edge.outbox.reports import confirm_reported
from aurelian.edge.outbox.rows import EVENTS, START, OutboxEntry, OutboxRow, RecordKind
from tests import servers

ROOMY = Limits(min_free=0.0)


@pytest.fixture
def folder() -> Iterator[Path]:
    with servers.server_folder() as path:
        yield path / "outbox"


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch, folder: Path) -> pytest.MonkeyPatch:
    """An outbox that format 2 wrote, two commits of a batch and an event each."""
    monkeypatch.setattr(file_format, "FORMAT", 2)
    with Outbox.open(folder, 1, ROOMY) as outbox:
        outbox.append([batch(b"newer 1"), event(b"alarm 1")], bookmarks={"s": "here"})
        outbox.append([batch(b"newer 2"), event(b"alarm 2")])
    monkeypatch.setattr(file_format, "FORMAT", 1)
    return monkeypatch


def batch(data: bytes) -> OutboxEntry:
    return OutboxEntry(RecordKind.SAMPLES, "line", "line", 1, lambda _: data)


def event(data: bytes) -> OutboxEntry:
    return OutboxEntry(RecordKind.EVENTS, EVENTS, "s", 0, lambda _: data)


def rows_of(outbox: Outbox) -> list[tuple[int, str, int, bytes]]:
    found: list[OutboxRow] = []
    rows, position = outbox.unsent(START, 1000)
    while rows:
        found += rows
        rows, position = outbox.unsent(position, 1000)
    return sorted((row.boot, row.stream, row.sequence, row.data) for row in found)


NEWER_ROWS = [
    (1, EVENTS, 1, b"alarm 1"),
    (1, EVENTS, 2, b"alarm 2"),
    (1, "line", 1, b"newer 1"),
    (1, "line", 2, b"newer 2"),
]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.db*")}


def test_an_older_version_leaves_them_as_they_are_says_so_and_starts_with_new_ones(
    folder: Path, newer: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = contents(folder)
    with Outbox.open(folder, 2, ROOMY) as outbox:
        assert rows_of(outbox) == [] and outbox.bookmark("s") == ""
        outbox.append([batch(b"older 1"), event(b"alarm 3")])
        found = outbox.unreported()
        assert [each.path.name for each in found] == [each.name for each in outbox.newer_files()]
        assert len(found) == 2
        for each in found:
            assert "is of a newer version (format 2, this one reads 1)" in each.reason
            assert "Run the newer version again to send what is in it" in each.reason
            cause = each.reason.split(". ")[0]
            assert cause in str([getattr(told, "fields", "") for told in caplog.records])
            confirm_reported(each)
        assert outbox.unreported() == [] and len(outbox.newer_files()) == 2
    with Outbox.open(folder, 3, ROOMY) as outbox:
        assert rows_of(outbox) == [(2, EVENTS, 1, b"alarm 3"), (2, "line", 1, b"older 1")]
        assert outbox.unreported() == []
    for name, content in before.items():
        assert (folder / name).with_suffix(".newer").read_bytes() == content


@pytest.mark.parametrize("to_and_fro", [1, 2])
def test_the_newer_version_finds_all_of_its_rows_when_it_is_back(
    folder: Path, newer: pytest.MonkeyPatch, to_and_fro: int
) -> None:
    expected = list(NEWER_ROWS)
    boot = 1
    for _ in range(to_and_fro):
        newer.setattr(file_format, "FORMAT", 1)
        boot += 1
        with Outbox.open(folder, boot, ROOMY) as outbox:
            assert not set(rows_of(outbox)) & set(NEWER_ROWS)
            outbox.append([batch(b"older"), event(b"between")])
        expected += [(boot, EVENTS, 1, b"between"), (boot, "line", 1, b"older")]
        newer.setattr(file_format, "FORMAT", 2)
        boot += 1
        with Outbox.open(folder, boot, ROOMY) as outbox:
            assert rows_of(outbox) == sorted(expected)
            outbox.append([batch(b"again"), event(b"back")])
            assert outbox.newer_files() == [] and outbox.unreported() == []
        expected += [(boot, EVENTS, 1, b"back"), (boot, "line", 1, b"again")]
    with Outbox.open(folder, boot + 1, ROOMY) as outbox:
        assert rows_of(outbox) == sorted(expected)


@pytest.mark.parametrize("name", ["records", "samples"])
def test_a_rename_that_a_power_cut_ended_is_finished(
    folder: Path, newer: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    newer.setattr(file_format, "FORMAT", 2)
    with Outbox.open(folder, 2, ROOMY) as outbox:
        outbox.append([batch(b"newer 3"), event(b"alarm 3")])
        # As a kill leaves it: the newest commits stand in the log.
        killed = tmp_path / "outbox"
        shutil.copytree(folder, killed)
    (path,) = killed.glob(f"{name}*.db")
    assert path.with_name(f"{path.name}-wal").stat().st_size
    path.rename(path.with_suffix(".newer"))
    newer.setattr(file_format, "FORMAT", 1)
    with Outbox.open(killed, 3, ROOMY) as outbox:
        assert rows_of(outbox) == []
    newer.setattr(file_format, "FORMAT", 2)
    with Outbox.open(killed, 4, ROOMY) as outbox:
        added = [(2, EVENTS, 1, b"alarm 3"), (2, "line", 1, b"newer 3")]
        assert rows_of(outbox) == sorted([*NEWER_ROWS, *added])


def test_records_that_are_there_twice_are_added_once(
    folder: Path, newer: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A process may end between adding them and deleting the file that they came from."""
    with Outbox.open(folder, 2, ROOMY):
        pass
    shutil.copy(folder / "records.newer", tmp_path)
    newer.setattr(file_format, "FORMAT", 2)
    for boot in (3, 4):
        with Outbox.open(folder, boot, ROOMY) as outbox:
            assert rows_of(outbox) == NEWER_ROWS
        shutil.copy(tmp_path / "records.newer", folder)


def test_only_newer_files_are_set_aside_where_old_ones_stand_beside_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Outbox.open(folder, 1, Limits(min_free=0.0, segment_bytes=1)) as outbox:
        outbox.append([batch(b"old"), event(b"old alarm")])
    monkeypatch.setattr(file_format, "FORMAT", 2)
    with Outbox.open(folder, 2, Limits(min_free=0.0, segment_bytes=1)) as outbox:
        outbox.append([batch(b"new"), event(b"new alarm")])
    monkeypatch.setattr(file_format, "FORMAT", 1)
    with Outbox.open(folder, 3, ROOMY) as outbox:
        assert rows_of(outbox) == [(1, "line", 1, b"old")]  # records.db is one, of format 2 now
        assert len(outbox.newer_files()) == 2
    monkeypatch.setattr(file_format, "FORMAT", 2)
    with Outbox.open(folder, 4, ROOMY) as outbox:
        assert len(rows_of(outbox)) == 4


def test_a_damaged_number_is_not_taken_for_a_newer_version(folder: Path) -> None:
    with Outbox.open(folder, 1, ROOMY) as outbox:
        outbox.append([batch(b"data"), event(b"alarm")])
    for path in folder.glob("*.db"):
        for bit in range(32):
            content = bytearray(path.read_bytes())
            assert int.from_bytes(content[60:64], "big")
            content[60 + bit // 8] ^= 1 << bit % 8
            path.write_bytes(content)
            assert file_format.format_of(path) <= file_format.FORMAT
    with Outbox.open(folder, 2, ROOMY) as outbox:
        assert rows_of(outbox) == [(1, EVENTS, 1, b"alarm"), (1, "line", 1, b"data")]


def test_a_change_of_the_format_has_a_number_of_its_own() -> None:
    """Fails where tables or forms of rows change: raise FORMAT where the version before cannot read
    the new ones, then write the new sum here."""
    forms = (tables.TABLES, tables.INDEX, compact._MARK, compact._COMPACT, compact._LIGHT)
    found = hashlib.sha256(repr(forms).encode()).hexdigest()[:16]
    assert (file_format.FORMAT, found) == (1, "7cca2b2a234bb666")
