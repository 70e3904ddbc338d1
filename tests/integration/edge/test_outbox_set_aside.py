"""A gateway whose outbox was written by a newer version, is deleted while it runs, or is full: it
goes on by itself, and says so in its log, at `/sources` and as gap records."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from aurelian.edge import gateway
from aurelian.edge.gateway import GatewaySettings
from aurelian.edge.outbox import file_format
from aurelian.edge.outbox.limits import Limits
from aurelian.edge.outbox.outbox import Outbox
from aurelian.edge.outbox.rows import EVENTS, START, OutboxEntry, RecordKind
from aurelian.model import codec
from aurelian.model.codec import Gap, decode_event
from tests.bench.telemetry import report_by_exception
from tests.contract.edge.test_outbox_thinned import batch as thousand_values
from tests.integration.edge.lively_source import running
from tests.waiting import until

ROOMY = Limits(min_free=0.0)


def gaps(folder: Path) -> list[Gap]:
    """The gap records that wait in an outbox."""
    with Outbox.open(folder, 9, ROOMY) as outbox:
        rows, _ = outbox.unsent(START, 2**24)
    events = [decode_event(row.data) for row in rows if row.kind is RecordKind.EVENTS]
    return [event.gap for event in events if event.HasField("gap")]


async def test_files_of_a_newer_version_are_named_with_what_to_do(
    alone: GatewaySettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = alone.state / "outbox"
    monkeypatch.setattr(file_format, "FORMAT", 2)
    with Outbox.open(folder, 1, ROOMY) as outbox:
        outbox.append([OutboxEntry(RecordKind.EVENTS, EVENTS, "s", 0, lambda _: b"alarm")])
    monkeypatch.setattr(file_format, "FORMAT", 1)
    async with running(alone) as (health, _):
        await until(lambda: bool(health.outbox.get("newer_files")))
        found: Any = health.outbox["newer_files"]
        shown = found[0]
        assert shown["file"] == str(folder / "records.newer")
        assert "newer version (format 2, this one reads 1)" in shown["cause"]
        assert "Run the newer version again" in shown["step"]
        assert "newer version" in written(caplog)
        await until((folder / "records.newer-reported").exists)
    gap = gaps(folder)[0]
    assert "records.newer is of a newer version" in gap.reason
    assert "Run the newer version again to send what is in it" in gap.reason


def all_files(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.parametrize("delete", [shutil.rmtree, all_files])
async def test_what_is_deleted_while_it_runs_is_there_again_and_told(
    alone: GatewaySettings, caplog: pytest.LogCaptureFixture, delete: Callable[[Path], None]
) -> None:
    folder = alone.state / "outbox"
    async with running(alone) as (health, source):
        delete(folder)
        acked = source.acked
        await until(lambda: source.acked > acked + 5 and bool(list(folder.glob("samples-*.db"))))
        await until(lambda: "Leave the outbox's files alone" in written(caplog))
        assert health.ready is None
        total = source.acked
    with Outbox.open(folder, 9, ROOMY) as outbox:
        rows, _ = outbox.unsent(START, 2**24)
    assert sum(row.samples for row in rows) >= total
    assert gaps(folder) == []


async def test_what_is_lost_of_closed_files_is_a_gap_record(
    alone: GatewaySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = alone.state / "outbox"
    with Outbox.open(folder, 1, Limits(min_free=0.0, segment_bytes=1)) as outbox:
        for samples in report_by_exception(4, 12, pool=20):
            encode = partial(codec.encode, samples)
            outbox.append([OutboxEntry(RecordKind.SAMPLES, "line", "line", 12, encode)])
    # What is read at the start stays open until something is sent: it would not be lost.
    monkeypatch.setattr(gateway, "_REMEMBERED_ROWS", 1)
    async with running(alone):
        shutil.rmtree(folder)
        await until(lambda: bool(list(folder.glob("samples-*.db"))))
        await until(lambda: not list(folder.glob("*.lost*")) and len(list(folder.iterdir())) > 4)
    found = gaps(folder)
    assert len(found) == 3  # the fourth is the newest, and open
    for gap in found:
        assert "deleted while the gateway ran" in gap.reason
        assert "not known to be stored: 1" in gap.reason


@pytest.mark.parametrize("thin_after_s", [0.3, 0.0])
async def test_a_full_outbox_is_thinned_only_where_its_owner_allows_it(
    alone: GatewaySettings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    thin_after_s: float,
) -> None:
    settings = alone.model_copy(update={"outbox_thin_after_s": thin_after_s})
    folder = alone.state / "outbox"
    with Outbox.open(folder, 1, Limits(min_free=0.0, segment_bytes=40_000)) as outbox:
        for number in range(20):
            outbox.append([thousand_values(number)])
        full = Limits(max_bytes=outbox.level().bytes + 4096, min_free=0.0)
    monkeypatch.setattr(gateway, "Limits", lambda **_: full)
    if not thin_after_s:
        with pytest.raises(AssertionError, match="in vain"):
            async with running(settings, timeout_s=1.5):
                pass
        assert gaps(folder) == []
        return
    async with running(settings) as (health, source):
        acked = source.acked
        await until(lambda: source.acked > acked + 3 and health.ready is None)
        assert "left_out" in written(caplog)
    found = gaps(folder)
    assert found and all("outbox full" in gap.reason and gap.count > 0 for gap in found)
    assert all(0 < gap.from_time < gap.to_time for gap in found)
    with Outbox.open(folder, 10, ROOMY) as outbox:
        rows, _ = outbox.unsent(START, 2**26)
    left = sum(row.samples for row in rows if row.boot == 1)
    assert left == 20_000 - sum(gap.count for gap in found)


def written(caplog: pytest.LogCaptureFixture) -> str:
    assert caplog.handler.level <= logging.ERROR
    return str([getattr(each, "fields", "") for each in caplog.records])
