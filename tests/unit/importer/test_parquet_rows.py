"""Parquet files: times with and without a zone, dictionaries, nulls, decimals, row groups."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from importer.csv_layout import UnreadableFile
from importer.parquet_rows import ParquetFile
from tests.unit.importer.files import plan_of, plant, read, values

PRESS = plant(
    force={}, parts={"type": "uint64"}, note={"type": "text"}, running={"type": "bool"}, weight={}
)
FIXTURES = Path(__file__).parents[2] / "fixtures"
NOON = datetime(2024, 7, 1, 12, 0, tzinfo=UTC)


def _write(file: Path, time: pa.Array, **options: object) -> Path:
    table = pa.table(
        {
            "time": time,
            "force": pa.array([1.5, None, float("nan")], pa.float32()),
            "parts": pa.array([1, 2**64 - 1, None], pa.uint64()),
            "note": pa.array(["a", None, "a"]).dictionary_encode(),
            "running": pa.array([True, False, None]),
            "weight": pa.array([Decimal("1.25"), None, Decimal("-3.50")], pa.decimal128(9, 2)),
        }
    )
    pq.write_table(table, file, **options)
    return file


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", ["UTC", "America/New_York", None])
def test_every_type_is_read_and_a_time_without_a_zone_is_the_sites(
    tmp_path: Path, unit: str, zone: str | None
) -> None:
    at = [NOON.replace(second=n) for n in range(3)]
    at = at if zone else [each.replace(tzinfo=None) for each in at]
    file = _write(tmp_path / "a.parquet", pa.array(at, pa.timestamp(unit, zone)))
    samples, bad = read(plan_of(file, PRESS))
    assert bad == []
    assert values(samples) == {
        "force": [1.5, None],
        "parts": [1, 2**64 - 1],
        "note": ["a", "a"],
        "running": [True, False],
        "weight": [1.25, -3.5],
    }
    local = 0 if zone else 2 * 3_600_000_000
    first = int(NOON.timestamp()) * 1_000_000 - local
    assert min(s.time for s in samples) == first


def test_rows_are_read_from_any_place_on(tmp_path: Path) -> None:
    n = 1000
    times = pa.array([1_700_000_000_000 + n for n in range(n)], pa.int64())
    table = pa.table({"time": times, "force": pa.array([float(n) for n in range(n)])})
    pq.write_table(table, tmp_path / "b.parquet", row_group_size=300)
    plan = plan_of(tmp_path / "b.parquet", PRESS)
    assert plan.time_format.name == "epoch_ms"
    file = ParquetFile(tmp_path / "b.parquet")
    places = [table.then for table in file.tables(file.start(), (0, 1), 64 * 64)]
    assert places[-1].offset == n and len(places) > 3
    for place in places:
        rest = [
            value
            for table in file.tables(place, (0, 1), 64 * 64)
            for value in table.columns[1].to_pylist()
        ]
        assert rest == [float(value) for value in range(place.offset, n)]


def test_a_long_table_with_tags_in_a_dictionary_is_read(tmp_path: Path) -> None:
    table = pa.table(
        {
            "timestamp": pa.array([NOON] * 2, pa.timestamp("us", "UTC")),
            "tag": pa.array(["force", "parts"]).dictionary_encode(),
            "value": pa.array([1.5, 7.0]),
        }
    )
    pq.write_table(table, tmp_path / "c.parquet")
    samples, bad = read(plan_of(tmp_path / "c.parquet", PRESS))
    assert bad == [] and values(samples) == {"force": [1.5], "parts": [7]}


def test_a_cell_that_cannot_be_is_named_with_its_row(tmp_path: Path) -> None:
    table = pa.table(
        {"time": pa.array([NOON] * 2, pa.timestamp("us", "UTC")), "parts": pa.array([1.0, 1.5])}
    )
    pq.write_table(table, tmp_path / "d.parquet")
    samples, bad = read(plan_of(tmp_path / "d.parquet", PRESS))
    assert values(samples) == {"parts": [1]}
    assert [(each.line, each.error_class) for each in bad] == [(2, "type")]


def test_what_is_no_table_is_said(tmp_path: Path) -> None:
    (tmp_path / "e.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UnreadableFile, match="no Parquet file"):
        ParquetFile(tmp_path / "e.parquet")
    pq.write_table(pa.table({"time": [1], "force": [[1.5]]}), tmp_path / "f.parquet")
    with pytest.raises(UnreadableFile, match="force have lists"):
        ParquetFile(tmp_path / "f.parquet")


@pytest.mark.parametrize("name", ["import_duckdb", "import_polars"])
def test_files_of_other_writers_are_read(name: str) -> None:
    """Written by DuckDB 2.0 (a time with a zone, decimals, ZSTD) and by Polars 2.1 (a local time
    in nanoseconds, categories)."""
    samples, bad = read(plan_of(FIXTURES / f"{name}.parquet", PRESS))
    assert bad == []
    assert values(samples) == {
        "force": [0.0, 2.5],
        "parts": [0, 1, 2],
        "note": ["a", "b", "a"],
        "running": [True, False, True],
    }
    assert min(s.time for s in samples) == int(NOON.timestamp()) * 1_000_000


def test_times_with_nanoseconds_and_of_any_year_cost_no_more_than_their_line(
    tmp_path: Path,
) -> None:
    first = int(NOON.timestamp()) * 10**9
    file = tmp_path / "a.parquet"
    time = pa.array([first + 1, first + 1_000_001, 4 * 10**18 + 7], pa.timestamp("ns", "UTC"))
    pq.write_table(pa.table({"time": time, "force": [1.0, 2.0, 3.0]}), file)
    samples, bad = read(plan_of(file, PRESS))
    assert [s.time for s in samples] == [first // 1000, first // 1000 + 1000]
    assert [each.line for each in bad] == [3] and "2096-10-02" in bad[0].reason

    time = pa.array([2**62, first // 1000, -(2**62)], pa.timestamp("us", "Europe/Oslo"))
    pq.write_table(pa.table({"time": time, "force": [1.0, 2.0, 3.0]}), file)
    samples, bad = read(plan_of(file, PRESS))
    assert [s.value for s in samples] == [2.0]
    assert [each.line for each in bad] == [1, 3] and all("force=" in each.text for each in bad)


def test_a_damaged_file_is_said_to_be_one(tmp_path: Path) -> None:
    file = _write(tmp_path / "a.parquet", pa.array([NOON] * 3))
    whole = file.read_bytes()
    for damaged in (
        b"PAR1" + bytes(100) + b"PAR1",
        whole[:20] + bytes([255]) * 300 + whole[320:],
    ):
        file.write_bytes(damaged)
        with pytest.raises(UnreadableFile):
            plan_of(file, PRESS)


def test_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    time, force = pa.array([NOON]), pa.array([1.0])
    table = pa.Table.from_arrays([time, force, force], names=["time", "force", "force"])
    pq.write_table(table, file)
    with pytest.raises(UnreadableFile, match="'force'"):
        plan_of(file, PRESS)
