"""The vocabulary: columns, values and the time that a sample counts at."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurelian.model.sample import Flag, Sample, SampleBatch, Signal, Value, ValueType, make_batch

SPEED = Signal("1", "press", "a/b/c/press/speed", ValueType.DOUBLE)
PARTS = Signal("2", "press", "a/b/c/press/parts", ValueType.UINT64)
ROWS: list[tuple[Signal, Value, ValueType]] = [
    (SPEED, 1.5, ValueType.DOUBLE),
    (PARTS, 2**64 - 1, ValueType.UINT64),
    (SPEED, None, ValueType.NULL),
    (PARTS, -(2**63), ValueType.INT64),
    (SPEED, "running", ValueType.TEXT),
    (SPEED, b"\x00", ValueType.BYTES),
    (SPEED, "[1]", ValueType.JSON),
    (SPEED, True, ValueType.BOOL),
    (SPEED, 2.5, ValueType.DOUBLE),
]


def batch_of(rows: list[tuple[Signal, Value, ValueType]]) -> SampleBatch:
    samples = [Sample(s, value, kind, 10 + n, 20 + n) for n, (s, value, kind) in enumerate(rows)]
    return make_batch(samples, owner="a", gateway="g", boot=1, sequence=1, line="a/b/c")


def test_rows_become_columns_and_rows_again() -> None:
    batch = batch_of(ROWS)
    assert len(batch) == 9
    assert batch.signals == (SPEED, PARTS)
    assert batch.values() == [value for _, value, _ in ROWS]
    assert [(sample.signal, sample.value, sample.type) for sample in batch.samples()] == ROWS


def test_numbers_leaves_nan_where_there_is_no_number() -> None:
    numbers = batch_of(ROWS).numbers()
    assert numbers[[0, 1, 3, 7, 8]].tolist() == [1.5, 2.0**64, -(2.0**63), 1.0, 2.5]
    assert np.isnan(numbers[[2, 4, 5, 6]]).all()


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=9, max_size=9))
def test_taking_some_samples_keeps_each_with_its_value(keep: list[bool]) -> None:
    batch = batch_of(ROWS)
    taken = batch.take(np.array(keep))
    assert taken.samples() == [
        sample for sample, kept in zip(batch.samples(), keep, strict=True) if kept
    ]
    assert taken.signals == batch.signals


def test_a_sample_counts_at_the_gateways_time_where_the_sources_is_unusable() -> None:
    usable = Sample(SPEED, 1.0, ValueType.DOUBLE, 10, 20)
    replaced = Sample(SPEED, 1.0, ValueType.DOUBLE, -5, 20, flags=Flag.TIME_REPLACED | Flag.INITIAL)
    assert (usable.time, replaced.time) == (10, 20)
    batch = make_batch([usable, replaced], owner="a", gateway="g", boot=1, sequence=1, line="l")
    assert batch.time.tolist() == [10, 20]
    assert batch.source_time.tolist() == [10, -5]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("x", ValueType.INT64),
        (2**63, ValueType.INT64),
        (-1, ValueType.UINT64),
        (1, ValueType.TEXT),
        ("x", ValueType.BYTES),
    ],
)
def test_a_value_that_does_not_fit_its_type_is_refused(value: Value, kind: ValueType) -> None:
    with pytest.raises(ValueError, match=r"x|fit|expected"):
        batch_of([(SPEED, value, kind)])


def test_numbers_and_bools_have_a_place_on_a_numeric_axis() -> None:
    assert [kind.name for kind in ValueType if kind.is_number] == [
        "DOUBLE",
        "INT64",
        "UINT64",
        "BOOL",
    ]
