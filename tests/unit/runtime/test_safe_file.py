"""A file is replaced whole, as its owner has it, or left alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from aurelian.runtime import safe_file
from aurelian.runtime.safe_file import ChangedMeanwhileError, replace_file


def test_mode_and_links_stay_and_nothing_is_left_beside(tmp_path: Path) -> None:
    real = tmp_path / "real" / "site.yaml"
    real.parent.mkdir()
    real.write_bytes(b"old")
    real.chmod(0o640)
    link = tmp_path / "plant" / "site.yaml"
    link.parent.mkdir()
    link.symlink_to("../real/site.yaml")
    before = os.umask(0o077)
    try:
        replace_file(link, b"new\r\n", b"old")
    finally:
        os.umask(before)
    assert link.is_symlink() and real.read_bytes() == b"new\r\n"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert [each.name for each in real.parent.iterdir()] == ["site.yaml"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_the_owner_stays(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_bytes(b"old")
    os.chown(file, 1234, 2345)
    replace_file(file, b"new", b"old")
    assert (file.stat().st_uid, file.stat().st_gid) == (1234, 2345)


def test_what_was_changed_meanwhile_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "site.yaml"
    file.write_bytes(b"a person's")
    with pytest.raises(ChangedMeanwhileError, match="was changed since it was read"):
        replace_file(file, b"new", b"old")
    with pytest.raises(ChangedMeanwhileError, match="is there already"):
        replace_file(file, b"new", None)
    with pytest.raises(ChangedMeanwhileError, match="is gone"):
        replace_file(tmp_path / "other.yaml", b"new", b"old")
    # In the last moment, while the new one is synced.
    real = os.fsync

    def changes(descriptor: int) -> None:
        real(descriptor)
        file.write_bytes(b"in the last moment")

    monkeypatch.setattr(safe_file.os, "fsync", changes)
    with pytest.raises(ChangedMeanwhileError, match="was changed"):
        replace_file(file, b"new", b"a person's")
    assert file.read_bytes() == b"in the last moment"
    assert [each.name for each in tmp_path.iterdir()] == ["site.yaml"]


def test_a_new_file_is_written_and_a_full_disk_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "site.yaml"
    replace_file(file, b"first", None)
    assert file.read_bytes() == b"first"

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safe_file.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace_file(file, b"second", b"first")
    assert file.read_bytes() == b"first"
    assert [each.name for each in tmp_path.iterdir()] == ["site.yaml"]


def test_the_new_one_is_synced_before_it_takes_the_place_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "site.yaml"
    file.write_bytes(b"old")
    order: list[str] = []
    monkeypatch.setattr(
        safe_file.os,
        "fsync",
        lambda d: order.append("folder" if stat.S_ISDIR(os.fstat(d).st_mode) else "file"),
    )
    real = Path.replace
    monkeypatch.setattr(Path, "replace", lambda a, b: (order.append("rename"), real(a, b))[1])
    replace_file(file, b"new", b"old")
    assert order == ["file", "rename", "folder"]
