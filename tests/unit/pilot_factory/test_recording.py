"""Recordings: separators, times, types and statuses are read as the file has them; what is wrong is
named with its line."""

from pathlib import Path

import pytest

from aurelian.model.sample import ValueType
from pilot_factory.recording import Recording, RecordingError, parse_time, read_recording

DATA = Path(__file__).parents[4] / "shared" / "data"


def read(folder: Path, text: str, **options: str) -> Recording:
    file = folder / "my file.csv"
    file.write_text(text, encoding="utf-8")
    return read_recording(file, **options)


@pytest.mark.parametrize(
    ("cell", "microseconds"),
    [
        ("2020-03-01 15:44:06", 1_583_077_446_000_000),
        ("2020-03-01T15:44:06.000123Z", 1_583_077_446_000_123),
        ("2020-03-01T15:44:06+01:00", 1_583_073_846_000_000),
        ("1583077446", 1_583_077_446_000_000),
        ("1583077446.25", 1_583_077_446_250_000),
        ("1583077446001", 1_583_077_446_001_000),
        ("1583077446001002", 1_583_077_446_001_002),
        ("yesterday", None),
        ("", None),
    ],
)
def test_times_are_iso_or_numbers_by_magnitude(cell: str, microseconds: int | None) -> None:
    assert parse_time(cell) == microseconds


def test_types_are_the_narrowest_that_all_cells_fit(tmp_path: Path) -> None:
    recording = read(
        tmp_path,
        "time;a b [x];n;huge;flag;word;a.b;a b (x)\n"
        "2020-01-01 00:00:00;1.5;1;9223372036854775807;true;1;;5\n"
        "2020-01-01 00:00:01;2;-2;-9223372036854775808;FALSE;x;;6\n",
    )
    assert recording.name == "my_file"
    assert [(c.name, c.type) for c in recording.columns] == [
        ("a_b_x", ValueType.DOUBLE),
        ("n", ValueType.INT64),
        ("huge", ValueType.INT64),
        ("flag", ValueType.BOOL),
        ("word", ValueType.TEXT),
        ("a.b", ValueType.TEXT),
        ("a_b_x_2", ValueType.INT64),
    ]
    assert [value for _, value, _ in recording.rows[1].values] == [2.0, -2, -(2**63), False, "x", 6]


def test_a_header_can_name_types_and_status_columns(tmp_path: Path) -> None:
    recording = read(
        tmp_path,
        "ts,u:uint64,b:bytes,d:double,d:status,t:text\n"
        "1583077446,18446744073709551615,AP8=,nan,0,7\n"
        "1583077447,0,,,0x80000000,\n",
    )
    first, second = recording.rows
    assert first.values[0][1] == 2**64 - 1 and first.values[1][1] == b"\x00\xff"
    assert first.values[2][1] != first.values[2][1] and first.values[3][1] == "7"
    assert [(c.name, value, status) for c, value, status in second.values] == [
        ("u", 0, 0),
        ("d", None, 0x80000000),
    ]


def test_a_file_without_times_gets_a_second_between_rows(tmp_path: Path) -> None:
    recording = read(tmp_path, "uid,x\n1,2.5\n2,3.5\n")
    assert not recording.timed
    assert [row.time for row in recording.rows] == [0, 1_000_000]
    assert [row.time for row in recording.shifted(5).rows] == [5, 1_000_005]
    assert recording.values == 4


def test_rows_of_one_machine_can_be_chosen(tmp_path: Path) -> None:
    recording = read(
        tmp_path, "datetime,m,x\n2020-01-01,1,5\n2020-01-01,2,6\n2020-01-02,1,7\n", where="m=1"
    )
    assert [row.values[1][1] for row in recording.rows] == [5, 7]


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("time;x\n", {}, "a header and at least one row"),
        ("time;x\n2020-01-01;1;2\n", {}, "csv:2: 3 cells, but 2 in the header"),
        ("time;x:int64\n2020-01-01;1\n2020-01-02;1.5\n", {}, r"csv:3: x: '1.5' is no int64"),
        ("time;x\n2020-01-01;1\n", {"time_column": "when"}, "no column 'when'"),
        ("when;x\n2020-01-01;1\nsoon;2\n", {"time_column": "when"}, "csv:3: 'soon' is no time"),
        ("time\n2020-01-01\n", {}, "no column beside the times"),
        ("time;x\n2020-01-01;1\n", {"where": "x=2"}, "no row has x=2"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(
    tmp_path: Path, text: str, options: dict[str, str], says: str
) -> None:
    with pytest.raises(RecordingError, match=says):
        read(tmp_path, text, **options)


@pytest.mark.recordings
@pytest.mark.skipif(
    not DATA.exists(), reason="cannot run here: no recordings folder beside the project"
)
@pytest.mark.parametrize(
    ("file", "rows", "columns"),
    [
        ("skab/data/anomaly-free/anomaly-free.csv", 9405, 8),
        ("ims/merged_dataset_BearingTest_2.csv", 984, 4),
        ("ai4i/ai4i2020.csv", 10_000, 14),
    ],
)
def test_real_recordings_are_read(file: str, rows: int, columns: int) -> None:
    recording = read_recording(DATA / file)
    assert (len(recording.rows), len(recording.columns)) == (rows, columns)
    assert recording.values == rows * columns
