"""The file that brings a gateway back to its session: whatever stands in it, the source goes on."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from opcua_gateway.resume import SAVE_US, Resume, ResumeFile
from opcua_gateway.session import Limits, Terms
from tests.waiting import until

WRITTEN_AT = 1_790_000_000
KEPT = Resume(
    "nobody\ni=5\n00",
    (Terms(7, 0.25, 2.0), Terms(8, 1.0, 3.0)),
    Limits(("urn:a", ""), 500),
    ("ns=2;s=a",),
    (0,),
    WRITTEN_AT * 1_000_000,
    (-11_644_473_600_000_000, 5),
    (4, 9),
    "opc.tcp://127.0.0.1:4840",
    (("opc.tcp://127.0.0.1:4841", "urn:b"),),
    "0123abcd",
)

GARBLED: list[Any] = [
    lambda text: text[:100],
    lambda text: "",
    lambda text: "[]",
    lambda text: "null",
    lambda text: 100_000 * "[",
    lambda text: text.replace("nobody", "\udcff"),
    *(
        lambda text, name=name, value=value: json.dumps(json.loads(text) | {name: value})
        for name, value in [
            ("heard_at", "x"),
            ("heard_at", None),
            ("heard_at", True),
            ("heard_at", 10**30),
            ("heard_at", -1),
            ("secret", 5),
            ("terms", [{"subscription": "a", "publishing_interval_s": 1.0, "keep_alive_s": 1.0}]),
            ("terms", [{"subscription": 1, "publishing_interval_s": 0, "keep_alive_s": 1.0}]),
            ("terms", [{"subscription": 1, "publishing_interval_s": "b", "keep_alive_s": None}]),
            ("terms", [5]),
            ("terms", {}),
            ("refused", ["a"]),
            ("refused", [[1]]),
            ("limits", {"namespaces": 5, "items_per_call": 1}),
            ("limits", {"namespaces": [], "items_per_call": "x"}),
            ("limits", None),
            ("addresses", "ab"),
            ("unread", [1]),
            ("unread", ["a", "b"]),
            ("unread", [0, 10**30]),
            ("unread", {}),
        ]
    ),
]


def test_what_was_saved_is_read(tmp_path: Path) -> None:
    file = ResumeFile(tmp_path / "opcua-x.json", "x")
    assert file.load() is None
    file.save(KEPT)
    assert file.load() == KEPT
    assert (tmp_path / "opcua-x.json").stat().st_mode & 0o777 == 0o600


def test_a_file_of_before_that_names_no_server_is_read(tmp_path: Path) -> None:
    path = tmp_path / "opcua-x.json"
    old = asdict(KEPT)
    del old["url"], old["unread"]
    path.write_text(json.dumps(old))
    found = ResumeFile(path, "x").load()
    assert found is not None and (found.secret, found.url, found.unread) == (KEPT.secret, "", None)


@pytest.mark.parametrize("garble", GARBLED)
def test_of_a_garbled_file_its_time_is_left_so_that_the_gap_is_told(
    tmp_path: Path, garble: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "opcua-x.json"
    text = garble(json.dumps(asdict(KEPT)))
    path.write_bytes(text.encode(errors="surrogateescape"))
    os.utime(path, (WRITTEN_AT, WRITTEN_AT))
    found = ResumeFile(path, "x").load()
    assert found is not None
    assert (found.secret, found.terms, found.addresses) == ("", (), ())
    assert found.heard_at == WRITTEN_AT * 1_000_000 - SAVE_US
    assert len(caplog.messages) == 1 and "cannot be used" in caplog.messages[0]


@pytest.mark.parametrize("name", ["opcua-x.json", "opcua-x.new"])
def test_a_file_that_cannot_be_written_is_said_once_and_stops_nothing(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / name).mkdir()
    file = ResumeFile(tmp_path / "opcua-x.json", "x")
    file.load()
    caplog.clear()
    for _ in range(3):
        file.save(KEPT)
    assert len(caplog.messages) == 1 and "a restart of this gateway" in caplog.messages[0]
    (tmp_path / name).rmdir()
    file.save(KEPT)
    assert file.load() == KEPT


async def test_a_disk_that_hangs_holds_up_nobody_and_gets_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, writes = ResumeFile(tmp_path / "opcua-x.json", "x"), threading.Semaphore(0)
    found: list[int] = []
    original = Path.write_text

    def write_text(path: Path, text: str, encoding: str) -> int:
        found.append(json.loads(text)["heard_at"])
        assert writes.acquire(timeout=10)
        return original(path, text, encoding)

    monkeypatch.setattr(Path, "write_text", write_text)
    file.save_soon(replace(KEPT, heard_at=1))
    await until(lambda: found == [1], "the write that hangs")
    for at in (2, 3, 4):
        file.save_soon(replace(KEPT, heard_at=at))
    writes.release(2)
    await until(lambda: found == [1, 4], "the newest")
    await until(lambda: not file._writing.locked(), "the disk")
    writes.release(2)
    # What waits is older than what is saved now.
    file.save_soon(replace(KEPT, heard_at=5))
    file.save(replace(KEPT, heard_at=6))
    await asyncio.get_running_loop().shutdown_default_executor()
    kept = file.load()
    assert kept is not None and kept.heard_at == 6
