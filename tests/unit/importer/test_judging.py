"""Contracts by columns give what `contract.apply` gives value by value, and values of one time are
numbered in order of arrival."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurelian.edge.contract import Reading, apply
from aurelian.model.sample import Flag, Sample, Value, ValueType
from importer.cells import read_cells
from importer.chunks import SignalCells
from importer.judging import Judge
from importer.matching import Signals, find_unit
from importer.number_marks import Marks
from tests.unit.importer.files import NOW, plant

T0 = 1_700_000_000_000_000

CONTRACTS = {
    "plain": {},
    "scaled": {"scale": 0.1, "offset": -5.0},
    "ranged": {"range": [0, 100]},
    "closed": {"range": [0, 100], "closed": True},
    "whole": {"type": "int64"},
    "whole_ranged": {"type": "int64", "range": [0, 100]},
    "whole_scaled": {"type": "int64", "scale": 10.0},
    "unsigned": {"type": "uint64"},
    "truth": {"type": "bool"},
    "words": {"type": "text"},
    "json": {"type": "json"},
}
_CELLS = [
    "0", "1", "-1", "1.5", "99.5", "100.5", "-0.0", "9007199254740993", "12345678901234567890",
    "18446744073709551616", "-9223372036854775809", "1e300", "true", "nei", "NaN", "Bad", "abc",
    '{"a": 1}', "123456789012345678", "7.0",
]  # fmt: skip


def _given(name: str, cells: list[str], times: list[int]) -> SignalCells:
    of = plant(**{name: CONTRACTS[name]})
    target = Signals(find_unit([of], "press"), "pilot-x/north/import-x").targets[0]
    n = len(cells)
    read = read_cells(pa.array(cells, pa.string()), Marks())
    zeros = np.zeros(n, np.uint32)
    return SignalCells(
        target, name, read, np.arange(n), np.array(times, np.int64), zeros, zeros.copy()
    )


def _judge(given_cells: SignalCells) -> tuple[list[Sample], int]:
    judged = Judge("import-1", 1).judge([given_cells], NOW)
    return [s for batch in judged.batches for s in batch.samples()], len(judged.faults)


def _as_typed(text: str, declared: ValueType) -> tuple[Value, ValueType]:
    """What a cell says, by hand: the types that a protocol would have sent."""
    if text in ("NaN",):
        return float("nan"), ValueType.DOUBLE
    if text in ("true", "nei") and declared not in (ValueType.TEXT, ValueType.JSON):
        return text == "true", ValueType.BOOL
    if declared is ValueType.TEXT:
        return text, ValueType.TEXT
    if declared is ValueType.JSON:
        is_json = text not in ("nei", "Bad", "abc")
        return text, ValueType.JSON if is_json else ValueType.TEXT
    try:
        return int(text), ValueType.INT64
    except ValueError:
        pass
    try:
        return float(text), ValueType.DOUBLE
    except ValueError:
        return text, ValueType.TEXT


@pytest.mark.parametrize("name", sorted(CONTRACTS))
@settings(max_examples=40)
@given(st.lists(st.sampled_from([c for c in _CELLS if c != "Bad"]), min_size=1, max_size=25))
def test_a_column_is_judged_as_its_values_one_by_one(name: str, cells: list[str]) -> None:
    cells_given = _given(name, cells, [T0 + n for n in range(len(cells))])
    target, samples, refused = cells_given.target, [], 0
    assert target.model is not None
    if target.model.type is ValueType.JSON:
        cells = ["true" if cell == "NaN" else cell for cell in cells]
        cells_given = _given(name, cells, [T0 + n for n in range(len(cells))])
    for n, cell in enumerate(cells):
        value, kind = _as_typed(cell, target.model.type)
        if cell == "NaN" and target.model.type is ValueType.TEXT:
            value, kind = "NaN", ValueType.TEXT
        reading = Reading(
            target.unit, target.model, target.signal, target.line, value, kind, T0 + n,
            flags=Flag.HISTORICAL,
        )  # fmt: skip
        made = apply(reading, NOW)
        if isinstance(made, Sample):
            samples.append(made)
        else:
            refused += 1
    found, faults = _judge(cells_given)
    key = lambda s: s.time  # noqa: E731
    assert list(map(repr, sorted(found, key=key))) == list(map(repr, sorted(samples, key=key)))
    assert faults == refused


def test_a_word_for_a_bad_value_is_none_with_its_status() -> None:
    found, faults = _judge(_given("plain", ["Bad", "1"], [T0, T0 + 1]))
    assert faults == 0
    assert [(s.value, s.type, s.status) for s in found] == [
        (None, ValueType.NULL, 0x80000000), (1.0, ValueType.DOUBLE, 0)
    ]  # fmt: skip


@pytest.mark.parametrize("cut", range(1, 9))
def test_values_of_one_time_are_numbered_in_order_of_arrival(cut: int) -> None:
    cells = ["9", "9", "4", "9", "1", "2", "2", "3", "7"]
    times = [0, 0, 0, 0, 1, 2, 2, 2, 0]
    judge = Judge("import-1", 1)
    found = []
    for part in (slice(0, cut), slice(cut, None)):
        part_given = _given("plain", cells[part], [T0 + t for t in times[part]])
        for batch in judge.judge([part_given], NOW).batches:
            found += [(s.time - T0, s.value, s.sub) for s in batch.samples()]
    assert found[:8] == [
        (0, 9.0, 0), (0, 9.0, 0), (0, 4.0, 1), (0, 9.0, 2),
        (1, 1.0, 0), (2, 2.0, 0), (2, 2.0, 0), (2, 3.0, 1),
    ]  # fmt: skip
