"""Files through the importer, Kafka and the historian into the tables: each value once, whatever
happens on the way."""

from __future__ import annotations

import csv
import json
import random
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from aurelian.local import ports
from aurelian.model.sample import Flag
from tests import import_files, oracle
from tests.import_files import Value
from tests.integration.importer.conftest import ImportStack
from tests.long_tests import LONG_TESTS

LINE = "pilot-x/north/forming/line-1"


def test_a_spreadsheets_export_is_stored_to_the_last_value_and_its_bad_lines_are_listed(
    stack: ImportStack, tmp_path: Path
) -> None:
    rows = 6_000
    file = tmp_path / "export.csv"
    import_files.write_export(file, rows)
    import_files.write_plant(tmp_path / "plant", "press-1")
    code, said, words = stack.run(tmp_path, file, "press-1", import_block_bytes=100_000)
    assert code == 0, words
    expected = _expected(rows)
    assert _stored(stack, "press-1") == expected
    summary = _of(said, "summary")
    bad = import_files.bad_lines(rows)
    assert summary["rows"] == rows and summary["values"] == len(expected)
    assert summary["stored"] == len(expected) and summary["duplicate"] == 0
    assert summary["bad_lines"] == summary["rejected"] == bad
    assert summary["ambiguous_times"] == 0
    assert oracle.imbalance(stack.database_url) == {}
    with (tmp_path / "export.bad.csv").open(encoding="utf-8", newline="") as listed:
        found = list(csv.DictReader(listed))
    assert len(found) == bad
    assert found[0]["line"] == "9" and "'defekt' is no number" in found[0]["reason"]
    assert found[1]["line"] == "1001" and found[1]["reason"] == "3 cells, the header has 9"
    assert found[1]["text"].endswith(";1,0;abgebrochen")
    with psycopg.connect(stack.database_url) as conn:
        row = conn.execute(
            "SELECT min(flags & 1), max(flags | 1) FROM historian.sample_number s "
            "JOIN historian.signal g ON g.key = s.signal WHERE starts_with(g.path, %s)",
            (f"{LINE}/press-1/",),
        ).fetchone()
        rejected = conn.execute(
            "SELECT sum(samples) FROM historian.rejected WHERE source = %s", (summary["source"],)
        ).fetchone()
    assert row == (int(Flag.HISTORICAL), int(Flag.HISTORICAL))
    assert rejected == (bad,)


def test_the_same_file_stores_nothing_twice_and_a_changed_one_is_said_and_read_anew(
    stack: ImportStack, tmp_path: Path
) -> None:
    file = tmp_path / "growing.csv"
    import_files.write_export(file, 500, bad=False)
    import_files.write_plant(tmp_path / "plant", "press-2")
    stack.run(tmp_path, file, "press-2")
    first = _expected(500, bad=False)
    assert _stored(stack, "press-2") == first
    code, said, _ = stack.run(tmp_path, file, "press-2")
    assert code == 0
    assert "was imported before" in _of(said, "note")["text"]
    import_files.write_export(file, 600, bad=False)
    code, said, _ = stack.run(tmp_path, file, "press-2")
    assert code == 0
    assert "has changed" in _of(said, "note")["text"]
    assert _of(said, "summary")["duplicate"] == len(first)
    assert _stored(stack, "press-2") == _expected(600, bad=False)


def test_killed_at_any_moment_the_same_command_goes_on_and_each_value_is_there_once(
    stack: ImportStack, tmp_path: Path
) -> None:
    rows, kills = (60_000, 12) if LONG_TESTS else (16_000, 3)
    file = tmp_path / "killed.csv"
    import_files.write_export(file, rows)
    import_files.write_plant(tmp_path / "plant", "press-4")
    settings = {"import_block_bytes": 30_000, "import_waiting_batches": 10}
    chance = random.Random(7)
    for _ in range(kills):
        process = stack.start(tmp_path, file, "press-4", **settings)
        _await_rows(process, tmp_path, chance.uniform(0.05, 0.9))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    with (tmp_path / "killed.bad.csv").open("ab") as listed_last:
        listed_last.write(b"1,written and not committed when it was killed,\r\n")
    code, said, words = stack.run(tmp_path, file, "press-4", **settings)
    assert code == 0, words
    assert "goes on at line" in _of(said, "note")["text"]
    expected = _expected(rows)
    assert _stored(stack, "press-4") == expected
    summary = _of(said, "summary")
    assert (summary["rows"], summary["values"]) == (rows, len(expected))
    assert summary["bad_lines"] == import_files.bad_lines(rows)
    with (tmp_path / "killed.bad.csv").open(encoding="utf-8", newline="") as listed:
        numbers = [int(row["line"]) for row in csv.DictReader(listed)]
    assert 1 not in numbers
    assert len(numbers) == len(set(numbers)) == import_files.bad_lines(rows)
    assert oracle.imbalance(stack.database_url) == {}


def test_an_unknown_column_becomes_a_signal_of_its_own_where_that_is_wanted(
    stack: ImportStack, tmp_path: Path
) -> None:
    file = tmp_path / "unknown.csv"
    file.write_text("time,temperature-0,pressure\n2024-01-01T00:00:00Z,1.5,2.5\n")
    import_files.write_plant(tmp_path / "plant", "press-5", signals=2)
    code, _, words = stack.run(tmp_path, file, "press-5", "--discover")
    assert code == 0, words
    assert {row[0] for row in _stored(stack, "press-5")} == {"temperature-0", "pressure"}
    with psycopg.connect(stack.database_url) as conn:
        found = conn.execute(
            "SELECT s.name, s.discovered, a.path FROM historian.signal s JOIN historian.asset a "
            "ON a.id = s.asset WHERE starts_with(s.path, %s) ORDER BY s.name",
            (f"{LINE}/press-5/",),
        ).fetchall()
    unit = f"{LINE}/press-5"
    assert ("pressure", True, unit) in found and ("temperature-0", False, unit) in found


@pytest.mark.long
@pytest.mark.parametrize("away", ["kafka", "disk"])
def test_while_kafka_or_the_disk_takes_nothing_nothing_is_lost(
    stack: ImportStack, tmp_path: Path, away: str
) -> None:
    file, unit = tmp_path / "away.csv", f"press-6-{away}"
    import_files.write_export(file, 1_000, bad=False)
    import_files.write_plant(tmp_path / "plant", unit)
    if away == "kafka":
        nowhere = f"127.0.0.1:{ports.any_free()}"
        process = stack.start(tmp_path, file, unit, "--bootstrap", nowhere)
        said, share = "Kafka is away", 1
    else:
        process = stack.start(tmp_path, file, unit, outbox_min_free=1.0)
        said, share = "Free space on the disk", 0
    assert process.stdout is not None
    for line in process.stdout:
        found = json.loads(line)
        if found["kind"] == "progress":
            assert found["share"] == pytest.approx(share, abs=0.01) and said in found["trouble"]
            break
    process.kill()
    process.communicate()
    code, _, words = stack.run(tmp_path, file, unit)
    assert code == 0, words
    assert _stored(stack, unit) == _expected(1_000, bad=False)


def test_memory_stays_below_250_mb_and_without_waiting_it_ends_when_kafka_has_it(
    stack: ImportStack, tmp_path: Path
) -> None:
    rows = 125_000 if LONG_TESTS else 12_000
    file = tmp_path / "large.csv"
    import_files.write_export(file, rows, bad=False, step_s=60)
    import_files.write_plant(tmp_path / "plant", "press-7")
    stack.historian.pause()
    try:
        process = stack.start(tmp_path, file, "press-7", "--no-wait", import_waiting_batches=10)
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, _peak_mb(process.pid))
            time.sleep(0.05)
        out, err = process.communicate()
    finally:
        stack.historian.resume()
    assert process.returncode == 0, err.decode()
    assert json.loads(out.splitlines()[-1])["waited"] is False
    assert 50 < peak < 250
    expected = _expected(rows, bad=False, step_s=60)
    deadline = time.monotonic() + 60
    while (found := _count(stack, "press-7")) < len(expected):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    assert _stored(stack, "press-7") == expected


def _expected(rows: int, *, bad: bool = True, step_s: int = 1) -> list[Value]:
    made = import_files.lines(rows, bad=bad, step_s=step_s)
    return sorted(value for _, values in made for value in values)


def _stored(stack: ImportStack, unit: str) -> list[Value]:
    with psycopg.connect(stack.database_url) as conn:
        rows = conn.execute(
            "SELECT g.name, (extract(epoch FROM s.time) * 1000000)::bigint, s.value "
            "FROM historian.sample_number s JOIN historian.signal g ON g.key = s.signal "
            "WHERE starts_with(g.path, %s)",
            (f"{LINE}/{unit}/",),
        ).fetchall()
    return sorted((str(row[0]), int(row[1]), float(row[2])) for row in rows)


def _count(stack: ImportStack, unit: str) -> int:
    with psycopg.connect(stack.database_url) as conn:
        row = conn.execute(
            "SELECT count(*) FROM historian.sample_number s JOIN historian.signal g "
            "ON g.key = s.signal WHERE starts_with(g.path, %s)",
            (f"{LINE}/{unit}/",),
        ).fetchone()
    assert row is not None
    return int(row[0])


def _of(said: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    return next(each for each in said if each["kind"] == kind)


def _await_rows(process: subprocess.Popen[bytes], folder: Path, share: float) -> None:
    """Wait until a share of the usual size of the outbox is written, or the import ends."""
    files = folder / "state" / "outbox"
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if files.exists() and any(files.glob("samples-*.db")):
            time.sleep(share)
            return
        time.sleep(0.02)


def _peak_mb(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"VmHWM:\s+(\d+)", status)
    return int(found[1]) / 1024 if found else 0.0


pytestmark = pytest.mark.timeout(170)
