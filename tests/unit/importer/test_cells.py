"""Cells: numbers in every notation, words for nothing, bad values, yes and no."""

import pyarrow as pa
import pytest

from importer.cell_words import is_classic, quality_reader
from importer.cells import read_cells
from importer.number_marks import Marks, UndecidedMark, find_evidence

COMMA = Marks(",")


@pytest.mark.parametrize(
    ("text", "marks", "number"),
    [
        ("1,5", COMMA, 1.5),
        ("-1.234,25", COMMA, -1234.25),
        ("12.345.678", COMMA, 12345678.0),
        ("1 234,5", COMMA, 1234.5),
        ("1\u202f234,5", COMMA, 1234.5),
        (",5", COMMA, 0.5),
        ("7,", COMMA, 7.0),
        (" 7 ", COMMA, 7.0),
        ("1e3", COMMA, 1000.0),
        ("1,234.5", Marks(), 1234.5),
        ("1'234.5", Marks(), 1234.5),
        ("+8", Marks(), 8.0),
    ],
)
def test_a_number_is_read_in_its_notation(text: str, marks: Marks, number: float) -> None:
    cells = read_cells(pa.array([text]), marks)
    assert cells.is_number.all() and cells.number.tolist() == [number]


@pytest.mark.parametrize("text", ["1,23,4", "1.5 kN", "--5", "12:30", "1.2345,6", "0x10", "1.2.3"])
def test_what_is_no_number_is_none(text: str) -> None:
    assert not read_cells(pa.array([text]), COMMA).is_number.any()


def test_words_are_told_apart() -> None:
    words = ["", "#N/A", "NaN", "Bad", "I/O Timeout", "WAHR", "nei", "x", "1e999"]
    cells = read_cells(pa.array(words), Marks())
    assert cells.present.tolist() == [False, False, *[True] * 7]
    assert [hex(code) for code in cells.status.tolist()] == [
        "0x0", "0x0", "0x803c0000", "0x80000000", "0x800a0000", "0x0", "0x0", "0x0", "0x803c0000"
    ]  # fmt: skip
    assert cells.is_bool.tolist() == [False] * 5 + [True, True, False, False]
    assert cells.number[5:7].tolist() == [1.0, 0.0]


def test_whole_numbers_stay_whole() -> None:
    cells = read_cells(pa.array(["123456789012345678", "1.000.000", "1,0"]), COMMA)
    assert cells.is_integer.tolist() == [True, True, False]
    assert cells.integer.tolist() == [123456789012345678, 1_000_000, 0]


@pytest.mark.parametrize(
    ("cells", "decimal"),
    [
        (["1,5", "2"], ","),
        (["1.5"], "."),
        (["0,125"], ","),
        (["1.234,5", "7"], ","),
        (["1,234", "5.5"], "."),
        (["1.234", "2.345"], "."),
        (["21,345", "22,000"], ","),
        (["", "abc", "7"], ""),
        (["1234,567", "8"], ","),
    ],
)
def test_the_decimal_mark_is_decided_by_the_column(cells: list[str], decimal: str) -> None:
    assert find_evidence(cells).mark == decimal


@pytest.mark.parametrize("cells", [["1.234", "999"], ["1,5", "2.5"], ["1.234", "1,234"]])
def test_a_mark_that_stays_open_is_asked_for(cells: list[str]) -> None:
    with pytest.raises(UndecidedMark):
        _ = find_evidence(cells).mark


def test_qualities_of_opc_classic_and_opc_ua_are_told_apart() -> None:
    assert is_classic(["192", "0"]) is True
    assert is_classic(["0", "0x80000000"]) is False
    assert is_classic(["0", "0"]) is None
    classic, unified = quality_reader(classic=True), quality_reader(classic=False)
    assert [classic(each) for each in ("192", "216", "64", "0", "")] == [
        0, 0, 0x40000000, 0x80000000, 0
    ]  # fmt: skip
    assert [unified(each) for each in ("0", "2147483648", "-2147483648", "0x808A0000")] == [
        0, 0x80000000, 0x80000000, 0x808A0000
    ]  # fmt: skip
    assert [unified(each) for each in ("Good", "Bad_Stale", "Uncertain", "True", "BadTimeout")] == [
        0, 0x80000000, 0x40000000, 0, 0x800A0000
    ]  # fmt: skip
    assert unified("perhaps") is None
