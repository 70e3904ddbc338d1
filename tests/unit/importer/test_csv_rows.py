"""Text files as they come: encodings, separators, quotes, lines that are none."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from importer.csv_layout import UnreadableFile, find_layout
from importer.csv_rows import CsvFile, Place, fingerprint
from tests.unit.importer.files import plan_of, plant, read, values

PRESS = plant(force={"unit": "kN"}, temperature={}, note={"type": "text"}, running={"type": "bool"})

EXCEL = (
    "Zeit;Force [kN];Temperature (°C);Note;Running;\r\n"
    '31.01.2024 10:00:00;1.234,5;20,25;"a;b";WAHR;\r\n'
    '31.01.2024 10:00:01;;#N/A;"zwei\nZeilen";FALSCH;\r\n'
    "31.01.2024 10:00:02;-0,5;Bad;;1;\r\n"
)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8", "cp1252", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("block_bytes", [64, 2**20])
def test_a_spreadsheets_file_is_read_in_any_encoding(
    tmp_path: Path, encoding: str, block_bytes: int
) -> None:
    file = tmp_path / "excel.csv"
    file.write_bytes(EXCEL.encode(encoding))
    samples, bad = read(plan_of(file, PRESS), block_bytes)
    assert bad == []
    assert values(samples) == {
        "force": [1234.5, -0.5],
        "temperature": [20.25, None],
        "note": ["a;b", "zwei\nZeilen"],
        "running": [True, False, True],
    }
    assert {sample.time for sample in samples} == {
        1706691600_000_000 + n * 1_000_000 for n in range(3)
    }


def test_lines_above_the_header_below_it_and_comments_are_no_data(tmp_path: Path) -> None:
    file = tmp_path / "preamble.csv"
    file.write_text(
        "Export of line 1\nmade by,somebody\n\ntime,force,temperature\n,kN,degC\n"
        "2024-01-01T00:00:00Z,1.5,2.5\n# a remark\ntime,force,temperature\n,,\n"
        "2024-01-01T00:00:01Z,3.5,4.5\n"
    )
    plan = plan_of(file, PRESS)
    assert isinstance(plan.table, CsvFile)
    assert (plan.table.layout.header_line, plan.table.layout.first_line) == (4, 6)
    samples, bad = read(plan)
    assert bad == []
    assert values(samples) == {"force": [1.5, 3.5], "temperature": [2.5, 4.5]}


def test_bad_lines_have_their_number_and_their_neighbours_are_read(tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(
        "time;force;temperature\n"
        "2024-01-01 00:00:00;1,5;2,5\n"
        "2024-01-01 00:00:01;1,5\n"
        "\n"
        "2024-01-01 00:00:02;abc;3,5\n"
        "yesterday;1,5;4,5\n"
        '2024-01-01 00:00:03;"1,5;4,5\n'
        "2024-01-01 00:00:04;5,5;6,5;;\n"
        "2024-03-31 02:30:00;1,5;7,5\n"
        "2099-01-01 00:00:00;1,5;7,5\n"
        "1969-01-01 00:00:00;1,5;7,5\n"
        "2024-01-01 00:00:05;7,5;8,5"
    )
    for block_bytes in (64, 2**20):
        samples, bad = read(plan_of(file, PRESS), block_bytes)
        assert values(samples) == {"force": [1.5, 5.5, 7.5], "temperature": [2.5, 3.5, 6.5, 8.5]}
        assert [each.line for each in bad] == [3, 5, 6, 7, 9, 10, 11]
        reasons = [each.reason for each in bad]
        assert reasons[0] == "2 cells, the header has 3"
        assert reasons[1] == "column 'force': 'abc' is no number"
        assert "'yesterday' is none of the format iso" in reasons[2]
        assert "did not exist in Europe/Oslo" in reasons[4]
        assert "in the future" in reasons[5] and "before 1970" in reasons[6]
        assert bad[0].text == "2024-01-01 00:00:01;1,5"
        assert bad[3].text == '2024-01-01 00:00:03;"1,5;4,5'


def test_a_line_of_another_encoding_in_the_middle_is_read_too(tmp_path: Path) -> None:
    file = tmp_path / "mixed.csv"
    good = "".join(f"2024-01-01 00:{n // 60:02d}:{n % 60:02d};æ{n}\n" for n in range(3000))
    late = "2024-01-02 00:00:00;bl\xe5\n".encode("cp1252")
    file.write_bytes(b"time;note\n" + good.encode() * 6 + late)
    samples, bad = read(plan_of(file, PRESS))
    assert bad == []
    assert samples[-1].value == "blå"


def test_date_and_time_of_day_may_stand_apart(tmp_path: Path) -> None:
    file = tmp_path / "apart.csv"
    file.write_text("Datum;Uhrzeit;Force\n31.01.2024;10:00:00;1,5\n31.01.2024;10:00:01;2,5\n")
    samples, bad = read(plan_of(file, PRESS))
    assert bad == [] and values(samples) == {"force": [1.5, 2.5]}
    assert samples[0].time == 1706691600_000_000


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("t;a;b\n1;1,5;2,5\n2;1,5;3,5\n", ";"),
        ("t\ta\n1\t1,5\n", "\t"),
        ("t,a,b\n1,1.5,x;y\n", ","),
        ('t,a\n1,"1,5"\n2,"2,5"\n', ","),
        ("t|a\n1|2\n", "|"),
    ],
)
def test_the_separator_of_cells_is_found(text: str, delimiter: str) -> None:
    assert find_layout(text).delimiter == delimiter


@pytest.mark.parametrize(
    "text", ["", "\n\n", "only one column\n1\n", "2024-01-01,1.5\n2024-01-02,2\n"]
)
def test_what_is_no_table_is_said(text: str) -> None:
    with pytest.raises(UnreadableFile):
        find_layout(text)


_CELL = st.text(
    st.characters(codec="utf-8", exclude_characters="\0\r\ufeff", exclude_categories=["Cs"]),
    max_size=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    st.lists(_CELL, min_size=1, max_size=30),
    st.sampled_from([64, 300, 2**20]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
def test_what_the_csv_module_writes_is_read_back(
    tmp_path: Path, cells: list[str], block_bytes: int, end: str, quoting: int
) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=";", lineterminator=end, quoting=quoting)  # type: ignore[arg-type]
    writer.writerow(("time", "note", "force"))
    for n, cell in enumerate(cells):
        writer.writerow((f"2024-01-01 00:00:{n:02d}", cell, "1,5"))
    file = tmp_path / "made.csv"
    file.write_text(out.getvalue(), encoding="utf-8", newline="")
    table_file = CsvFile(file, delimiter=";")
    read_back: list[str] = []
    places: list[Place] = []
    for table in table_file.tables(table_file.start(), (1,), block_bytes):
        assert table.bad == []
        read_back += table.columns[1].to_pylist()
        places.append(table.then)
    assert read_back == cells
    for place in places:  # from each place on the rest is read: what a resumed import does
        rest = [
            each
            for table in table_file.tables(place, (1,), block_bytes)
            for each in table.columns[1].to_pylist()
        ]
        assert rest == cells[len(cells) - len(rest) :]


def test_another_content_is_another_fingerprint(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"abc")
    first = fingerprint(file)
    file.write_bytes(b"abd")
    assert fingerprint(file) != first


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("utf-8-sig", "utf-8-sig"), ("utf-8-sig", "utf-8"), ("UTF8", "utf-8-sig"),
        ("utf-16", "utf-16"), ("utf-16", "utf-16-le"), ("UTF-16BE", "utf-16-be"),
        ("Latin1", "latin-1"), ("gb18030", "gb18030"),
    ],
)  # fmt: skip
def test_an_encoding_is_read_as_it_is_called(tmp_path: Path, said: str, written: str) -> None:
    text = "time;Force [°]\n2024-01-01 00:00:00;1,5\n2024-01-01 00:00:01;2,5\n"
    file = tmp_path / "a.csv"
    file.write_bytes(text.encode(written))
    samples, bad = read(plan_of(file, plant(force={}), encoding=said))
    assert ([each.value for each in samples], bad) == ([1.5, 2.5], [])


@pytest.mark.parametrize("said", ["rot13", "base64", "zlib", "idna", "utf-32", "unicode_escape"])
def test_what_is_no_encoding_of_tables_is_refused(tmp_path: Path, said: str) -> None:
    file = tmp_path / "a.csv"
    file.write_text("time;force\n2024-01-01 00:00:00;1,5\n")
    with pytest.raises(ValueError, match="no table can be read by it"):
        plan_of(file, plant(force={}), encoding=said)


def test_a_clock_that_was_never_set_is_no_time_of_the_future(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("time,force\n1970-01-01 00:00:07,1\n2024-01-01 00:00:00,2\n")
    _, bad = read(plan_of(file, plant(force={})))
    assert [each.line for each in bad] == [2] and "before 1970-01-02" in bad[0].reason
