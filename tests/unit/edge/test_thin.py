"""What stays of a full outbox's old batches: nothing but ordinary numbers is left out, and of those
the least, the greatest and the last of each minute stay."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from aurelian.edge.outbox.rows import EVENTS, OutboxRow, RecordKind
from aurelian.edge.outbox.thin import Loss, thin
from aurelian.model import codec
from aurelian.model.sample import BAD, Flag, Sample, Signal, Value, ValueType, make_batch

MINUTE, HOUR = 60_000_000, 3_600_000_000
T0 = 500_000 * HOUR
LINE = "o/s/a/l"
SIGNALS = [
    Signal(f"id-{n}", "asset", f"o/s/a/l/u/s{n}", ValueType.DOUBLE, "", f"source-{n % 2}")
    for n in range(3)
]

values = st.one_of(
    st.tuples(st.just(ValueType.DOUBLE), st.floats(-5, 5) | st.sampled_from([float("nan"), 1.0])),
    st.tuples(st.just(ValueType.INT64), st.integers(-3, 3)),
    st.tuples(st.just(ValueType.BOOL), st.booleans()),
    st.tuples(st.just(ValueType.TEXT), st.sampled_from(["", "run"])),
    st.tuples(st.just(ValueType.NULL), st.none()),
)
samples = st.builds(
    lambda signal, value, second, status, flags: Sample(
        signal,
        value[1],
        value[0],
        T0 + second * 1_000_000,
        T0 + second * 1_000_000 + 5,
        status=status,
        flags=flags,
    ),
    st.sampled_from(SIGNALS),
    values,
    st.integers(0, 179),
    st.sampled_from([0, 0, 0, BAD]),
    st.sampled_from([Flag.NONE, Flag.NONE, Flag.NONE, Flag.WAS_BAD]),
)


def rows_of(batches: list[list[Sample]]) -> list[OutboxRow]:
    return [
        OutboxRow(
            n + 10,
            RecordKind.SAMPLES,
            1,
            "o/s/a/l",
            n + 1,
            "o/s/a/l",
            len(each),
            T0,
            encoded(each, n),
        )
        for n, each in enumerate(batches)
    ]


def encoded(each: list[Sample], n: int) -> bytes:
    batch = make_batch(each, owner="o", gateway="g", boot=1, sequence=n + 1, line=LINE)
    return codec.encode(batch)


def listed(rows: list[OutboxRow]) -> list[Sample]:
    return [sample for row in rows for sample in codec.decode(row.data).samples()]


def key(sample: Sample) -> str:
    return repr(sample)  # two that are not a number are not equal


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(samples, max_size=25), max_size=6))
def test_what_stays_and_what_is_told_of_the_rest(batches: list[list[Sample]]) -> None:
    rows = rows_of(batches)
    thinned, losses = thin(rows)
    before, after = listed(rows), listed(thinned)
    # The rows keep their places and numbers, and their values their order.
    blank = {"data": b"", "samples": 0}
    assert [replace(row, **blank) for row in thinned] == [replace(row, **blank) for row in rows]
    for row in thinned:
        batch = codec.decode(row.data)
        assert (len(batch), batch.sequence) == (row.samples, row.sequence)
    rest = list(map(key, after))
    left_out = []
    for sample in before:
        if rest and rest[0] == key(sample):
            rest.pop(0)
        else:
            left_out.append(sample)
    assert not rest
    groups: dict[tuple[str, int], list[Sample]] = {}
    for sample in after:
        groups.setdefault((sample.signal.id, sample.time // MINUTE), []).append(sample)
    for sample in left_out:
        assert is_ordinary(sample)
        same = [
            each for each in groups[sample.signal.id, sample.time // MINUTE] if is_ordinary(each)
        ]
        assert 1 <= len(same) <= 3
        assert min(map(number, same)) <= number(sample) <= max(map(number, same))
        assert max(each.time for each in same) >= sample.time
    told = {}
    for sample in left_out:
        found = told.setdefault(
            sample.signal.source, Loss(sample.signal.source, "o", T0, *[T0] * 2, 0)
        )
        times = [each.time for each in left_out if each.signal.source == sample.signal.source]
        told[sample.signal.source] = replace(
            found, from_time=min(times), to_time=max(times), count=len(times)
        )
    assert losses == [told[source] for source in sorted(told)]
    assert thin(thinned) == (thinned, [])


def test_ten_thousand_numbers_of_one_minute_become_three() -> None:
    many: list[Sample] = [
        Sample(SIGNALS[0], value(n), ValueType.DOUBLE, T0 + n * 1000, T0) for n in range(10_000)
    ]
    thinned, losses = thin(rows_of([many[:6000], many[6000:]]))
    assert [sample.value for sample in listed(thinned)] == [99.0, 0.5, 7.0]
    assert [loss.count for loss in losses] == [9997]


def value(n: int) -> Value:
    return {3000: 99.0, 7000: 0.5}.get(n, 7.0)


def test_what_is_no_batch_stays_as_it_is() -> None:
    rows = [
        OutboxRow(1, RecordKind.EVENTS, 1, EVENTS, 1, "s", 0, T0, b"alarm"),
        OutboxRow(2, RecordKind.SAMPLES, 1, "line", 1, "line", 1, T0, b"\x07the file was damaged"),
    ]
    assert thin(rows) == (rows, [])


def is_ordinary(sample: Sample) -> bool:
    is_number = sample.type is ValueType.DOUBLE and sample.value == sample.value
    return is_number and not sample.status and not sample.flags


def number(sample: Sample) -> float:
    assert isinstance(sample.value, float)
    return sample.value
