"""The outbox's promise: what was acknowledged is on the disk, whenever and however the process or
its power ends."""

import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from aurelian.edge.outbox.limits import Limits, OutboxFull, ReachedLimit
from aurelian.edge.outbox.outbox import Outbox
from aurelian.edge.outbox.reports import confirm_reported
from aurelian.edge.outbox.rows import (
    EVENTS,
    REJECTED,
    START,
    HourCount,
    OutboxEntry,
    OutboxRow,
    RecordKind,
)
from aurelian.model import codec
from aurelian.model.sample import SampleBatch
from tests import servers
from tests.bench.telemetry import report_by_exception

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
HOUR = 3_600_000_000
ROOMY = Limits(min_free=0.0)
CHILD = """
import os, sys
from pathlib import Path
from aurelian.edge.outbox.outbox import Outbox
from aurelian.edge.outbox.rows import EVENTS, OutboxEntry
from aurelian.edge.outbox.limits import Limits
from aurelian.edge.outbox.rows import HourCount, RecordKind

outbox = Outbox.open(Path(sys.argv[1]), 1, Limits(min_free=0.0, segment_bytes=200_000))
for n in range(1, int(sys.argv[2]) + 1):
    def payload(number: int) -> bytes:
        return b"PAYLOAD%06d:" % number * 3 + b"x" * (number * 37 % 3000)

    entries = [OutboxEntry(RecordKind.SAMPLES, "line", "line", 1, payload)]
    if n % 5 == 0:
        entries.append(
            OutboxEntry(RecordKind.EVENTS, EVENTS, "source", 0, lambda s: b"EVENT%06d:" % s)
        )
    outbox.append(entries, [HourCount("source", 0, "owner", received=1)])
    os.write(1, b"ack %06d\\n" % n)
"""


class Ticks:
    """A clock that the test moves; microseconds."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000_000

    def __call__(self) -> int:
        self.now += 1
        return self.now


@pytest.fixture
def folder() -> Iterator[Path]:
    with servers.server_folder() as path:
        yield path / "outbox"


def batch(payload: bytes = b"data", stream: str = "line") -> OutboxEntry:
    return OutboxEntry(
        RecordKind.SAMPLES, stream, stream, 1, lambda sequence: payload + b" %d" % sequence
    )


def encoded_batch(samples: SampleBatch) -> OutboxEntry:
    data = codec.encode(samples)
    return OutboxEntry(RecordKind.SAMPLES, samples.line, samples.line, len(samples), lambda _: data)


def event(payload: bytes = b"birth") -> OutboxEntry:
    return OutboxEntry(RecordKind.EVENTS, EVENTS, "source", 0, lambda _: payload)


def reject(payload: bytes = b"bytes") -> OutboxEntry:
    return OutboxEntry(RecordKind.REJECTED, REJECTED, "source", 1, lambda _: payload)


def everything(outbox: Outbox) -> list[OutboxRow]:
    rows, position = outbox.unsent(START, 1)
    while True:
        more, position = outbox.unsent(position, 100_000)
        if not more:
            return rows
        rows += more


def sequences(rows: list[OutboxRow], stream: str = "line") -> list[tuple[int, int]]:
    """Of the sound rows; what stands for a damaged one has no record's bytes."""
    sound = [row for row in rows if row.data[:1] != b"\x07"]
    return [(row.boot, row.sequence) for row in sound if row.stream == stream]


def test_each_acknowledgement_comes_after_a_sync_of_the_log_that_holds_its_data(
    folder: Path, tmp_path: Path
) -> None:
    strace = servers.require_program("strace", "strace")
    trace = tmp_path / "trace"
    command = [strace, "-f", "-s", "100000", "-y", "-o", str(trace), "-e"]
    command += [
        "trace=write,pwrite64,writev,sendto,fsync,fdatasync",
        sys.executable,
        "-c",
        CHILD,
        str(folder),
        "60",
    ]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    if b"ptrace" in done.stderr and b"not permitted" in done.stderr:
        servers.cannot_run("strace may not trace here")
    assert done.returncode == 0, done.stderr.decode()

    written: dict[str, set[str]] = {}  # what each file was given and has not synced
    synced: set[str] = set()
    acks = 0
    for line in trace.read_text(errors="replace").splitlines():
        call = re.match(r"\d+ +(\w+)\((\d+)<([^>]*)>", line)
        if call is None:
            continue
        name, descriptor, path = call[1], call[2], call[3]
        if name in ("fsync", "fdatasync"):
            assert line.endswith("= 0")
            synced |= written.pop(path, set())
        elif descriptor == "1":
            number = int(re.search(r"ack (\d{6})", line)[1])  # type: ignore[index]
            # Three copies: the end of a page of 512 bytes may cut one in two.
            assert f"PAYLOAD{number:06d}:" in synced
            assert not any(f"PAYLOAD{number:06d}:" in waiting for waiting in written.values())
            if number % 5 == 0:
                assert f"EVENT{number // 5:06d}:" in synced
            acks += 1
        elif path.endswith("-wal"):
            written.setdefault(path, set()).update(re.findall(r"(?:PAYLOAD|EVENT)\d{6}:", line))
    assert acks == 60


def test_every_prefix_of_the_recorded_writes_opens_and_holds_a_prefix_of_the_rows(
    folder: Path, tmp_path: Path
) -> None:
    """The log is cut at each commit, each frame and at odd bytes: no garbage, nothing that was
    synced is missing."""
    at_commit: list[tuple[int, int]] = []
    with Outbox.open(folder, 1, ROOMY) as outbox:
        for n in range(24):
            outbox.append(
                [batch(b"x" * (n * 613 % 9000))], [HourCount("source", 0, "owner", received=1)]
            )
            at_commit.append((n + 1, wal_of(folder).stat().st_size))
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        wal = wal_of(folder).name
    page = int.from_bytes(files[wal][8:12], "big")
    frames = list(range(32, len(files[wal]) + 1, 24 + page))
    cuts = sorted(
        {
            0,
            1,
            31,
            *frames,
            *(frame + 11 for frame in frames),
            *(frame + page // 2 for frame in frames),
        }
    )
    for cut in cuts[:: max(1, len(cuts) // 100)] + [size for _, size in at_commit]:
        copy = tmp_path / "copy"
        copy.mkdir()
        for name, data in files.items():
            (copy / name).write_bytes(data[:cut] if name == wal else data)
        with Outbox.open(copy, 2, ROOMY) as outbox:
            rows = everything(outbox)
            assert not outbox.unreported()
            assert [(row.boot, row.sequence) for row in rows] == [
                (1, n + 1) for n in range(len(rows))
            ]
            assert all(
                row.data == b"x" * (n * 613 % 9000) + b" %d" % (n + 1) for n, row in enumerate(rows)
            )
            durable = max((number for number, size in at_commit if size <= cut), default=0)
            assert len(rows) >= durable
            assert sum(count.received for count in outbox.counts()) == len(rows)
            outbox.append([batch()])
            assert sequences(everything(outbox))[-1] == (2, 1)
        shutil.rmtree(copy)


@pytest.mark.parametrize("after_acks", [1, 60])
def test_all_acknowledged_rows_are_there_after_kill_9(folder: Path, after_acks: int) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), "100000"], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    acked = [child.stdout.readline() for _ in range(after_acks)]
    child.send_signal(signal.SIGKILL)
    acked += child.stdout.readlines()
    child.wait()
    child.stdout.close()
    whole = [line for line in acked if line.endswith(b"\n")]
    with Outbox.open(folder, 2, ROOMY) as outbox:
        rows = everything(outbox)
        got = sequences(rows)
        assert len(got) >= len(whole) >= after_acks
        assert got == [(1, n + 1) for n in range(len(got))]
        assert len(sequences(rows, EVENTS)) in (len(got) // 5, len(whole) // 5)
        assert sum(count.received for count in outbox.counts()) == len(got)


def test_a_restart_keeps_numbers_and_sends_only_what_is_not_released(folder: Path) -> None:
    with Outbox.open(folder, 1, ROOMY) as outbox:
        for _ in range(5):
            outbox.append([batch(), batch(stream="other"), event()])
        outbox.release(1, "line", 3)
        outbox.release(1, EVENTS, 5)
    with Outbox.open(folder, 2, ROOMY) as outbox:
        outbox.append([batch(), event()])
        rows = everything(outbox)
        assert sequences(rows) == [(1, 4), (1, 5), (2, 1)]
        assert sequences(rows, "other") == [(1, n) for n in range(1, 6)]
        assert sequences(rows, EVENTS) == [(2, 1)]
        assert everything(outbox) == rows  # from the start: all that is unreleased again
        assert outbox.level().rows == 9


def test_a_release_never_goes_back_and_unknown_streams_are_ignored(folder: Path) -> None:
    with Outbox.open(folder, 1, ROOMY) as outbox:
        outbox.append([batch(), batch(), batch()])
        outbox.release(1, "line", 2)
        outbox.release(1, "line", 1)
        outbox.release(7, "line", 9)
        outbox.release(1, "elsewhere", 9)
        assert sequences(everything(outbox)) == [(1, 3)]


def test_a_reader_that_has_everything_gets_what_comes_after_a_release(folder: Path) -> None:
    with Outbox.open(folder, 1, ROOMY) as outbox:
        position = START
        for n in range(1, 6):
            outbox.append([batch(), event(), reject()])
            rows, position = outbox.unsent(position)
            assert [row.sequence for row in rows] == [n, n, n]
            assert outbox.unsent(position)[0] == []
            for stream in ("line", EVENTS, REJECTED):
                outbox.release(1, stream, n)


def test_a_record_and_the_batch_of_the_same_commit_are_there_together_or_not_at_all(
    folder: Path, tmp_path: Path
) -> None:
    """Two files, one commit: a power cut between their syncs leaves neither."""
    with Outbox.open(folder, 1, ROOMY) as outbox:
        outbox.append(
            [batch(), reject()], [HourCount("source", 0, "owner", received=2, rejected=1)]
        )
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        outbox.append(
            [batch(), reject()], [HourCount("source", 0, "owner", received=2, rejected=1)]
        )
        after = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name in before:
        (tmp_path / name).write_bytes(after[name] if name.startswith("records") else before[name])
    with Outbox.open(tmp_path, 2, ROOMY) as outbox:
        rows = everything(outbox)
        assert (sequences(rows), sequences(rows, REJECTED)) == ([(1, 1)], [(1, 1)])
        assert [(count.received, count.rejected) for count in outbox.counts()] == [(2, 1)]


def test_disk_is_given_back_when_rows_are_released(folder: Path) -> None:
    limits = Limits(min_free=0.0, segment_bytes=100_000)
    with Outbox.open(folder, 1, limits) as outbox:
        for _ in range(60):
            outbox.append([batch(b"x" * 20_000), reject(b"y" * 20_000)])
        full = outbox.level().bytes
        assert full > 2_400_000
        outbox.release(1, REJECTED, 60)
        outbox.release(1, "line", 59)
        assert sequences(everything(outbox)) == [(1, 60)]
        assert len(list(folder.glob("samples-*.db"))) <= 2
    with Outbox.open(folder, 2, limits) as outbox:
        assert outbox.level().bytes < 600_000
        assert sequences(everything(outbox)) == [(1, 60)]


def test_a_full_outbox_refuses_samples_and_still_takes_events_until_its_reserve_is_used(
    folder: Path,
) -> None:
    limits = Limits(max_bytes=400_000, min_free=0.0, segment_bytes=50_000)
    with Outbox.open(folder, 1, limits) as outbox:
        with pytest.raises(OutboxFull, match="bytes"):
            for _ in range(100):
                outbox.append([batch(b"x" * 10_000)])
        taken = len(everything(outbox))
        assert not outbox.level().accepting
        with pytest.raises(OutboxFull):
            outbox.append([batch(), event()])
        outbox.append([event()])
        outbox.release(1, "line", taken)
        assert outbox.level().accepting
        outbox.append([batch()])
        assert sequences(everything(outbox))[-1] == (
            1,
            taken + 1,
        )  # what was refused took no number


def test_one_segment_larger_than_the_limit_does_not_hold_the_outbox_full_for_ever(
    folder: Path,
) -> None:
    with Outbox.open(folder, 1, Limits(max_bytes=400_000, min_free=0.0)) as outbox:
        outbox.append([batch(b"x" * 600_000)])
        with pytest.raises(OutboxFull):
            outbox.append([batch()])
        outbox.release(1, "line", 1)
        outbox.append([batch()])
        assert sequences(everything(outbox)) == [(1, 2)]
        assert outbox.level().accepting


def test_rows_that_nobody_stores_for_too_long_and_a_disk_without_room_stop_samples(
    folder: Path,
) -> None:
    clock = Ticks()
    with Outbox.open(folder, 1, Limits(max_age_s=60, min_free=0.0), clock) as outbox:
        outbox.append([batch()])
        clock.now += 61_000_000
        assert outbox.level().reached_limit is ReachedLimit.AGE
        with pytest.raises(OutboxFull, match="age"):
            outbox.append([batch()])
        outbox.append([event()])
    with Outbox.open(folder.with_name("other"), 1, Limits(min_free=1.1)) as outbox:
        assert outbox.level().reached_limit is ReachedLimit.DISK
        with pytest.raises(OutboxFull, match="disk"):
            outbox.append([batch()])
        outbox.append([event()])


@pytest.mark.parametrize("name", ["samples", "records"])
def test_a_damaged_file_is_set_aside_once_and_what_is_readable_stays(
    folder: Path, name: str
) -> None:
    with Outbox.open(folder, 1, ROOMY) as outbox:
        for _ in range(50):
            outbox.append([batch(b"x" * 3000), reject(b"y" * 3000)])
    path = next(folder.glob(f"{name}*.db"))
    damage(path, path.read_bytes().index(b"x" * 50 if name == "samples" else b"y" * 50) + 10)
    stream = "line" if name == "samples" else REJECTED
    with Outbox.open(folder, 2, ROOMY) as outbox:
        rows = everything(outbox)
        assert 45 <= len(sequences(rows, stream)) < 50
        damaged_files = outbox.unreported()
        assert [each.path.suffix for each in damaged_files] == [".corrupt"]
        outbox.append([batch(), event()])
        confirm_reported(damaged_files[0])
        assert not outbox.unreported()
    with Outbox.open(folder, 3, ROOMY) as outbox:
        assert not outbox.unreported()
        assert (2, 1) in sequences(everything(outbox))


@pytest.mark.parametrize(
    "content", [b"", b"no database at all" * 500, b"SQLite format 3\0" + b"\xff" * 9000]
)
@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_a_file_of_rubbish_never_stops_a_start(folder: Path, content: bytes, suffix: str) -> None:
    with Outbox.open(folder, 1, ROOMY) as outbox:
        outbox.append([batch(), reject()])
    for path in list(folder.glob("*.db")):
        path.with_name(path.name + suffix).write_bytes(content)
    with Outbox.open(folder, 2, ROOMY) as outbox:
        outbox.append([batch(), reject()])
        assert sequences(everything(outbox))[-1] == (2, 1)
        if suffix:
            assert sequences(everything(outbox)) == [(1, 1), (2, 1)]


def test_a_row_whose_bytes_changed_on_the_disk_is_never_sent(folder: Path) -> None:
    """SQLite does not check a value's bytes; the row's own checksum does."""
    with Outbox.open(folder, 1, ROOMY) as outbox:
        for n in range(3):
            outbox.append([batch(b"%d" % n * 100)])
    path = next(folder.glob("samples*.db"))
    with sqlite3.connect(path) as db:
        db.execute("UPDATE row SET data = ? WHERE sequence = 2", (b"garbage",))
    db.close()
    with Outbox.open(folder, 2, ROOMY) as outbox:
        rows = everything(outbox)
        assert sequences(rows) == [(1, 1), (1, 3)]
        assert all(zlib.crc32(row.data) for row in rows)
        assert len(outbox.unreported()) == 1


def test_an_outbox_of_the_first_release_is_read_and_goes_on(folder: Path) -> None:
    """Its rows are not compact; `tests/fixtures/outbox_of_0_1` was written by its code."""
    shutil.copytree(FIXTURES / "outbox_of_0_1", folder)
    encoded = json.loads((FIXTURES / "encoded_batches_dictionary.json").read_text())
    with Outbox.open(folder, 1_800_000_000_000_000, ROOMY) as outbox:
        old = everything(outbox)
        assert [row.data.hex() for row in old if row.kind is RecordKind.SAMPLES] == [
            *encoded.values()
        ][1:]
        assert len(sequences(old, EVENTS)) == len(sequences(old, REJECTED)) == 5
        assert sum(count.received for count in outbox.counts()) == 10
        outbox.append([encoded_batch(each) for each in report_by_exception(3, 50)])
        assert everything(outbox)[: len(old)] == old
        assert not outbox.unreported()
    with Outbox.open(folder, 1_900_000_000_000_000, ROOMY) as outbox:
        assert len(everything(outbox)) == len(old) + 3


@pytest.mark.parametrize("size", [100, 120, 150])
def test_batches_that_report_by_exception_take_at_most_24_bytes_a_sample_on_the_disk(
    folder: Path, size: int
) -> None:
    batches = list(report_by_exception(400, size))
    with Outbox.open(folder, 1, ROOMY) as outbox:
        for first in [*range(0, 400, 10)] * 3:
            outbox.append([encoded_batch(each) for each in batches[first : first + 10]])
        rows = everything(outbox)
    assert [row.data for row in rows] == [codec.encode(each) for each in batches] * 3
    assert sum(path.stat().st_size for path in folder.iterdir()) / 1200 / size <= 24


@pytest.mark.parametrize("tables", [("signals",), ("signals_copy",), ("signals", "signals_copy")])
def test_a_damaged_table_of_signals_loses_rows_only_where_both_copies_are_gone(
    folder: Path, tables: tuple[str, ...]
) -> None:
    batches = list(report_by_exception(20, 50, pool=60))
    with Outbox.open(folder, 1, ROOMY) as outbox:
        for each in batches:
            outbox.append([encoded_batch(each)])
    path = next(folder.glob("samples*.db"))
    with sqlite3.connect(path) as db:
        for table in tables:
            db.execute(f"UPDATE {table} SET data = x'00' WHERE first > 0")
    db.close()
    with Outbox.open(folder, 2, ROOMY) as outbox:
        found = [row.data for row in everything(outbox)]
        outbox.append([encoded_batch(each) for each in batches])
        if len(tables) == 1:
            assert found == [codec.encode(each) for each in batches]
            assert not outbox.unreported()
        else:
            assert 1 <= len(found) < 20
            assert len(outbox.unreported()) == 1
        assert len(everything(outbox)) == len(found) + 20
    with Outbox.open(folder, 3, ROOMY) as outbox:
        assert len(everything(outbox)) == len(found) + 20


def test_a_commit_that_failed_leaves_no_signals_behind(folder: Path) -> None:
    first, second = report_by_exception(2, 50)
    with Outbox.open(folder, 1, ROOMY) as outbox:
        path = next(folder.glob("samples*.db"))
        outbox._files.segments[-1]._connect().execute("PRAGMA query_only = ON")
        with pytest.raises(OutboxFull):
            outbox.append([encoded_batch(first)])
        outbox._files.segments[-1]._connect().execute("PRAGMA query_only = OFF")
        outbox.append([encoded_batch(second)])
        assert [row.data for row in everything(outbox)] == [codec.encode(second)]
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT first FROM signals").fetchall() == [(0,)]
    db.close()
    with Outbox.open(folder, 2, ROOMY) as outbox:
        assert [row.data for row in everything(outbox)] == [codec.encode(second)]


def test_counts_add_up_over_commits_and_outlive_restarts_and_segments(folder: Path) -> None:
    limits = Limits(min_free=0.0, segment_bytes=20_000)
    with Outbox.open(folder, 1, limits) as outbox:
        for n in range(20):
            outbox.append(
                [batch(b"x" * 5000)], [HourCount("s", n % 2 * HOUR, "o", received=3, skipped=1)]
            )
            outbox.release(1, "line", n)
    with Outbox.open(folder, 2, limits) as outbox:
        outbox.append([batch()], [HourCount("s", HOUR, "o", received=1)])
        found = {(c.boot, c.hour): (c.received, c.skipped) for c in outbox.counts()}
        assert found == {(1, 0): (30, 10), (1, HOUR): (30, 10), (2, HOUR): (1, 0)}
        outbox.forget_counts(HOUR)
        assert len(outbox.counts()) == 2


def test_a_second_process_is_refused(folder: Path) -> None:
    with Outbox.open(folder, 1, ROOMY), pytest.raises(OutboxFull, match="locked"):
        Outbox.open(folder, 2, ROOMY)


def damage(path: Path, at: int) -> None:
    """Flip bytes, as a dying disk would."""
    data = bytearray(path.read_bytes())
    data[at : at + 8] = bytes(255 - each for each in data[at : at + 8])
    path.write_bytes(bytes(data))


def wal_of(folder: Path) -> Path:
    """The log of the newest segment."""
    return sorted(folder.glob("samples-*.db-wal"))[-1]
