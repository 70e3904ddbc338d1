"""The contract: what each odd value and time becomes, and that no value ever vanishes."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurelian.edge.assembly import MAX_BATCH_SAMPLES, Assembly, Delivery, LastSeen
from aurelian.edge.contract import (
    BAD_OUT_OF_RANGE,
    MAX_VALUE_BYTES,
    Reading,
    Reject,
    apply,
)
from aurelian.edge.ordinals import Ordinals
from aurelian.edge.outbox.rows import RecordKind
from aurelian.model.codec import Birth, Death, Heartbeat, SourceEvent, decode
from aurelian.model.plant_parts import SignalModel
from aurelian.model.sample import BAD, Flag, Sample, Signal, Value, ValueType, make_batch
from aurelian.model.source_model import SourceModel

NOW = 1_700_000_000_000_000
MINUTE = 60_000_000
D, I, U, B, T, Y, J, N = (  # noqa: E741
    ValueType.DOUBLE,
    ValueType.INT64,
    ValueType.UINT64,
    ValueType.BOOL,
    ValueType.TEXT,
    ValueType.BYTES,
    ValueType.JSON,
    ValueType.NULL,
)


def reading(
    value: Value,
    kind: ValueType,
    declared: ValueType | None = D,
    *,
    at: int | None = NOW,
    status: int = 0,
    flags: Flag = Flag.NONE,
    server_time: int = 0,
    **model: object,
) -> Reading:
    described = (
        None
        if declared is None
        else SignalModel(name="speed", type=declared, address="ns=2;s=speed", **model)
    )  # type: ignore[arg-type]
    signal = Signal(
        "id", "asset", "a/b/c/press/speed", declared or N, source="src", discovered=declared is None
    )
    return Reading(None, described, signal, "a/b/c", value, kind, at, server_time, status, flags)


def made(*args: object, **kwargs: object) -> Sample:
    result = apply(reading(*args, **kwargs), NOW)  # type: ignore[arg-type]
    assert isinstance(result, Sample), result
    return result


def refused(*args: object, **kwargs: object) -> Reject:
    result = apply(reading(*args, **kwargs), NOW)  # type: ignore[arg-type]
    assert isinstance(result, Reject), result
    return result


@pytest.mark.parametrize(
    ("value", "kind", "declared", "stored", "stored_kind"),
    [
        (1.5, D, D, 1.5, D),
        (3, I, D, 3.0, D),
        (True, B, D, 1.0, D),
        (2**53 + 1, I, D, 2**53 + 1, I),  # a double would lose its last digit
        (2**64 - 1, U, D, 2**64 - 1, U),
        (3.0, D, I, 3, I),
        (7, U, I, 7, I),
        (7, I, U, 7, U),
        (2**64 - 1, U, U, 2**64 - 1, U),
        (2**63, I, None, 2**63, U),
        (1, I, B, True, B),
        (0.0, D, B, False, B),
        (12, I, T, "12", T),
        (True, B, T, "true", T),
        ("on", T, T, "on", T),
        ("[1]", J, T, "[1]", T),
        ("on", T, J, '"on"', J),
        (1.5, D, J, "1.5", J),
        (b"\x00", Y, Y, b"\x00", Y),
        (None, N, D, None, N),
        (None, D, I, None, N),
        (4, D, D, 4.0, D),
        ("free", T, None, "free", T),
    ],
)
def test_a_value_is_converted_where_nothing_is_lost(
    value: Value, kind: ValueType, declared: ValueType | None, stored: Value, stored_kind: ValueType
) -> None:
    sample = made(value, kind, declared)
    assert (sample.value, type(sample.value), sample.type) == (stored, type(stored), stored_kind)


@pytest.mark.parametrize(
    ("value", "kind", "declared", "error_class", "payload"),
    [
        ("fast", T, D, "type", b"fast"),
        ("5", T, I, "type", b"5"),
        (b"\x01\xff", Y, D, "type", b"\x01\xff"),
        ("[1]", J, D, "type", b"[1]"),
        (1.5, D, I, "type", b"1.5"),
        (2, I, B, "type", b"2"),
        ("x", T, Y, "type", b"x"),
        (1.5, I, None, "type", b"1.5"),
        (1.5, N, None, "type", b"1.5"),
        (2**63, U, I, "overflow", b"9223372036854775808"),
        (-1, I, U, "overflow", b"-1"),
        (1e300, D, I, "overflow", b"1e+300"),
        (2**64, I, None, "overflow", b"18446744073709551616"),
        (2**70, D, D, "overflow", b"1180591620717411303424"),
        ("half \ud800", T, T, "encoding", b"half \\ud800"),
    ],
)
def test_what_cannot_be_kept_is_rejected_with_its_bytes(
    value: Value, kind: ValueType, declared: ValueType | None, error_class: str, payload: bytes
) -> None:
    reject = refused(value, kind, declared)
    assert (reject.error_class, reject.payload, reject.samples) == (error_class, payload, 1)
    assert "a/b/c/press/speed" in reject.reason
    assert reject.origin == ("a/b/c/press/speed" if declared is None else "ns=2;s=speed")


def test_a_value_that_fits_no_record_is_rejected_and_the_largest_is_kept() -> None:
    assert refused("x" * (MAX_VALUE_BYTES + 1), T, T).error_class == "too_large"
    assert refused("é" * (MAX_VALUE_BYTES // 2 + 1), T, T).error_class == "too_large"
    assert made(b"x" * MAX_VALUE_BYTES, Y, Y).type is Y


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_become_no_value_with_a_bad_status(value: float) -> None:
    assert (made(value, D).value, made(value, D).type, made(value, D).status) == (
        None,
        N,
        BAD_OUT_OF_RANGE,
    )
    assert made(value, D, I).type is N
    assert made(value, D, status=BAD | 0x00310000).status == BAD | 0x00310000
    assert made(value, D, status=0x40000000).status == BAD_OUT_OF_RANGE


@pytest.mark.parametrize(
    ("value", "kind", "declared", "scale", "offset", "stored"),
    [
        (10, I, D, 0.1, 0.0, 1.0),
        (20.0, D, D, 1.8, 32.0, 68.0),
        (2**60 + 1, I, I, 2.0, 1.0, 2**61 + 3),  # whole factors keep every digit
        (15, I, I, 0.1, 0.0, 2),
        (True, B, B, 2.0, 1.0, True),
    ],
)
def test_raw_values_are_scaled_to_the_declared_unit(
    value: Value, kind: ValueType, declared: ValueType, scale: float, offset: float, stored: Value
) -> None:
    sample = made(value, kind, declared, scale=scale, offset=offset)
    assert (sample.value, sample.type) == (stored, declared)


def test_scaling_beyond_a_double_or_the_declared_integer_is_an_overflow() -> None:
    assert refused(1e300, D, D, scale=1e300).error_class == "overflow"
    assert refused(2**62, I, I, scale=4.0).error_class == "overflow"
    assert refused(1e15, D, I, scale=1e15).error_class == "overflow"


@pytest.mark.parametrize(
    ("at", "flag", "source_time"),
    [
        (NOW, Flag.NONE, NOW),
        (None, Flag.TIME_REPLACED, 0),
        (0, Flag.TIME_REPLACED, 0),
        (-11_644_473_600_000_000, Flag.TIME_REPLACED, -11_644_473_600_000_000),  # 1601
        (NOW + 61 * MINUTE, Flag.TIME_REPLACED, NOW + 61 * MINUTE),
        (NOW + 24 * 60 * MINUTE, Flag.TIME_REPLACED, NOW + 24 * 60 * MINUTE),
        (10**30, Flag.TIME_REPLACED, 2**63 - 1),
        (NOW + 59 * MINUTE, Flag.TIME_UNCERTAIN, NOW + 59 * MINUTE),
        (NOW - 6 * MINUTE, Flag.TIME_UNCERTAIN, NOW - 6 * MINUTE),
        (NOW - 4 * MINUTE, Flag.NONE, NOW - 4 * MINUTE),
    ],
)
def test_a_time_is_kept_and_flagged_where_it_is_doubtful(
    at: int | None, flag: Flag, source_time: int
) -> None:
    sample = made(1.0, D, at=at)
    assert (sample.flags, sample.source_time, sample.gateway_time) == (flag, source_time, NOW)
    assert sample.time == (NOW if flag is Flag.TIME_REPLACED else at)


def test_what_is_old_by_nature_is_not_called_uncertain() -> None:
    for flag in (Flag.HISTORICAL, Flag.RETAINED, Flag.INITIAL):
        assert made(1.0, D, at=NOW - 60 * MINUTE, flags=flag).flags is flag
    assert made(1.0, D, at=NOW + 6 * MINUTE, flags=Flag.RETAINED).flags & Flag.TIME_UNCERTAIN


def test_a_value_outside_its_range_is_flagged_or_under_a_closed_contract_rejected() -> None:
    assert made(10.0, D, range=(0, 10)).flags is Flag.NONE
    assert made(10.1, D, range=(0, 10)).flags is Flag.OUT_OF_RANGE
    assert made(101, I, I, range=(0, 100)).flags is Flag.OUT_OF_RANGE
    assert refused(10.1, D, range=(0, 10), closed=True).error_class == "range"
    assert made(None, N, range=(0, 10), closed=True).value is None


def test_status_and_server_time_fit_their_columns() -> None:
    assert made(1.0, D, status=-1).status == 0xFFFFFFFF
    assert made(1.0, D, server_time=NOW).server_time == NOW
    assert made(1.0, D, server_time=-1).server_time == 0


ANY_VALUE = st.one_of(
    st.none(),
    st.floats(),
    st.integers(-(2**70), 2**70),
    st.booleans(),
    st.text(max_size=5),
    st.binary(max_size=5),
)


@settings(deadline=None)
@given(
    ANY_VALUE,
    st.sampled_from(ValueType),
    st.sampled_from([*ValueType, None]),
    st.none() | st.integers(-(2**70), 2**70),
    st.sampled_from([1.0, 0.1, 2.0, -1e300]),
    st.none() | st.just((0.0, 10.0)),
    st.booleans(),
)
def test_every_reading_is_a_sample_that_fits_its_column_or_a_reject(
    value: Value,
    kind: ValueType,
    declared: ValueType | None,
    at: int | None,
    scale: float,
    bounds: tuple[float, float] | None,
    closed: bool,
) -> None:
    result = apply(
        reading(value, kind, declared, at=at, scale=scale, range=bounds, closed=closed), NOW
    )
    if isinstance(result, Sample):
        batch = make_batch([result], owner="a", gateway="g", boot=1, sequence=1, line="l")
        assert batch.values() == [result.value]
        assert not isinstance(result.value, float) or math.isfinite(result.value)
        assert 0 < result.time <= NOW + 60 * MINUTE
    else:
        assert result.reason and result.error_class in {"type", "overflow", "range", "encoding"}


def test_distinct_values_at_one_time_get_their_ordinals_and_the_same_value_the_same() -> None:
    ordinals = Ordinals(times=2)
    first, second = made(1.0, D), made(2.0, D)
    assert [ordinals.ordinal(s) for s in (first, first, second, second, first)] == [0, 0, 1, 1, 2]
    assert ordinals.ordinal(made(1.0, D, status=BAD)) == 3
    assert ordinals.ordinal(made(1.0, D, at=NOW + 1)) == 0
    restarted = Ordinals()
    restarted.remember(Sample(second.signal, second.value, second.type, NOW, NOW, sub=1))
    assert restarted.ordinal(second) == 1
    assert restarted.ordinal(made(3.0, D)) > 1


def test_ordinals_remember_a_bounded_number_of_times_and_signals() -> None:
    ordinals = Ordinals(signals=3, times=2)
    for n in range(50):
        ordinals.ordinal(made(float(n), D, at=NOW + n))
        signal = Signal(f"id{n}", "asset", f"a/{n}", D)
        ordinals.ordinal(Sample(signal, "x" * 10_000, T, NOW, NOW))
    assert len(ordinals._recent) <= 3
    assert all(len(times) <= 2 for times in ordinals._recent.values())


SOURCE = SourceModel(id="src", kind="opcua", url="opc.tcp://127.0.0.1:4840")


def test_a_group_has_one_batch_a_line_and_counts_everything_that_came() -> None:
    hour = NOW // 3_600_000_000 * 3_600_000_000
    deliveries = [
        Delivery(
            source=SOURCE,
            owner="a",
            received_at=NOW,
            readings=[reading(1.0, D), reading("x", T)],
            skipped=2,
        ),
        Delivery(
            source=SOURCE,
            owner="a",
            received_at=NOW,
            rejects=[Reject("bad", "json", "t", b"", 5)],
            dropped=1,
        ),
        Delivery(
            source=SOURCE,
            owner="a",
            received_at=NOW,
            events=[SourceEvent(birth=Birth(assets=["asset"]))],
        ),
    ]
    group = Assembly("g", 7, Ordinals()).assemble(deliveries)
    assert [(entry.kind, entry.samples) for entry in group.entries] == [
        (RecordKind.REJECTED, 1),
        (RecordKind.EVENTS, 0),
        (RecordKind.REJECTED, 5),
        (RecordKind.EVENTS, 0),
        (RecordKind.SAMPLES, 1),
    ]
    (count,) = group.counts
    assert (
        count.source,
        count.hour,
        count.received,
        count.rejected,
        count.dropped,
        count.skipped,
    ) == (
        "src",
        hour,
        10,
        6,
        1,
        2,
    )
    batch = decode(group.entries[-1].encode(42))
    assert (batch.owner, batch.gateway, batch.boot, batch.sequence, batch.line) == (
        "a",
        "g",
        7,
        42,
        "a/b/c",
    )


def test_batches_end_at_their_limits_and_a_large_value_stands_alone() -> None:
    readings = [reading(float(n), D, at=NOW + n) for n in range(MAX_BATCH_SAMPLES + 1)]
    readings.append(reading("x" * 600_000, T, T, at=NOW - 1))
    readings.append(reading(1.0, D, at=NOW - 2))
    delivery = Delivery(source=SOURCE, owner="a", received_at=NOW, readings=readings)
    group = Assembly("g", 7, Ordinals()).assemble([delivery])
    assert [entry.samples for entry in group.entries] == [MAX_BATCH_SAMPLES, 1, 1, 1]


def test_a_source_writes_only_its_owners_assets_and_a_closed_one_only_known_signals() -> None:
    mine = Delivery(source=SOURCE, owner="b", received_at=NOW, readings=[reading(1.0, D)])
    unknown = Delivery(
        source=SOURCE.model_copy(update={"closed": True}),
        owner="a",
        received_at=NOW,
        readings=[reading(1.0, D, None)],
    )
    group = Assembly("g", 7, Ordinals()).assemble([mine, unknown])
    assert [entry.kind for entry in group.entries] == [RecordKind.REJECTED, RecordKind.REJECTED]


def test_heartbeats_name_the_units_that_were_heard_or_the_whole_source() -> None:
    last_seen = LastSeen("g", 7)
    last_seen.note(
        Delivery(
            source=SOURCE,
            owner="a",
            received_at=NOW,
            events=[SourceEvent(heartbeat=Heartbeat(assets=["x", "y"]))],
        ),
        {},
    )
    last_seen.note(
        Delivery(
            source=SOURCE,
            owner="a",
            received_at=NOW + 5,
            events=[SourceEvent(death=Death(assets=["y"]))],
        ),
        {},
    )
    (heartbeat,) = last_seen.take_heartbeats(NOW + 9)
    assert (
        list(heartbeat.heartbeat.assets),
        heartbeat.heartbeat.heard_at,
        heartbeat.source,
        heartbeat.time,
    ) == (
        ["x"],
        NOW,
        "src",
        NOW + 9,
    )
    assert last_seen.take_heartbeats(NOW) == []
    last_seen.note(
        Delivery(
            source=SOURCE,
            owner="a",
            received_at=NOW,
            events=[SourceEvent(heartbeat=Heartbeat(heard_at=3))],
        ),
        {},
    )
    (heartbeat,) = last_seen.take_heartbeats(NOW)
    assert (list(heartbeat.heartbeat.assets), heartbeat.heartbeat.heard_at) == ([], 3)


def test_accepted_declared_readings_stand_for_their_unit_unless_they_do_not_vouch() -> None:
    readings = [
        _of_unit("good", 1.0),
        _of_unit("bad", None, status=BAD),
        _of_unit("retained", 1.0, flags=Flag.RETAINED),
        _of_unit("not-read", 1.0, status=0x408F0000),
        _of_unit("wrong-clock", 1.0, at=NOW - 500 * 86_400_000_000),
        _of_unit("refused", "text"),
        replace(_of_unit("discovered", 1.0), model=None),
        _of_unit("queued", 1.0, at=NOW - 90 * 1_000_000),
    ]
    last_seen = LastSeen("g", 7)
    delivery = Delivery(source=SOURCE, owner="a", received_at=NOW, readings=readings)
    not_before = NOW - 400 * 86_400_000_000
    (heard,) = Assembly("g", 7, Ordinals(), not_before).assemble([delivery]).heard
    last_seen.note(delivery, heard)
    found = [
        (list(each.heartbeat.assets), each.heartbeat.heard_at)
        for each in last_seen.take_heartbeats(NOW)
    ]
    assert found == [(["good"], NOW), (["queued"], NOW - 90 * 1_000_000)]


def _of_unit(asset: str, value: Value, **of: object) -> Reading:
    kind = D if isinstance(value, float) else T if value else N
    made = reading(value, kind, **of)  # type: ignore[arg-type]
    return replace(made, signal=Signal(f"id-{asset}", asset, f"a/b/c/{asset}/speed", D))
