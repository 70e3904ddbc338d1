"""Batches to bytes and back: what goes in comes out, and wrong bytes are one known error."""

import math
import random
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aurelian.model import codec
from aurelian.model.sample import Flag, Sample, SampleBatch, Signal, Value, ValueType, make_batch
from aurelian.pb import telemetry_pb2 as pb

INT64 = st.integers(-(2**63), 2**63 - 1)
UINT32 = st.integers(0, 2**32 - 1)
TEXT = st.text(max_size=20)
VALUES: dict[ValueType, st.SearchStrategy[Value]] = {
    ValueType.NULL: st.none(),
    ValueType.DOUBLE: st.floats(allow_nan=False, allow_infinity=False),
    ValueType.INT64: INT64 | st.sampled_from([2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)]),
    ValueType.UINT64: st.integers(0, 2**64 - 1) | st.sampled_from([2**64 - 1, 2**53 + 1]),
    ValueType.BOOL: st.booleans(),
    ValueType.TEXT: TEXT,
    ValueType.BYTES: st.binary(max_size=20),
    ValueType.JSON: st.sampled_from(["[1,2]", '{"a":null}', "12345678901234567890"]),
}
SIGNALS = st.builds(
    Signal,
    TEXT,
    TEXT,
    TEXT,
    st.sampled_from(ValueType),
    unit=TEXT,
    source=TEXT,
    discovered=st.booleans(),
)


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    kind = draw(st.sampled_from(ValueType))
    return Sample(
        signal=draw(SIGNALS),
        value=draw(VALUES[kind]),
        type=kind,
        source_time=draw(INT64),
        gateway_time=draw(INT64),
        server_time=draw(INT64),
        status=draw(UINT32),
        flags=Flag(draw(st.integers(0, 255))),
        sub=draw(UINT32),
    )


@st.composite
def batches(draw: st.DrawFn) -> SampleBatch:
    pool = draw(st.lists(samples(), min_size=1, max_size=8))
    chosen = draw(st.lists(st.sampled_from(pool), max_size=30))
    return make_batch(
        chosen,
        owner=draw(TEXT),
        gateway=draw(TEXT),
        boot=draw(st.integers(0, 2**64 - 1)),
        sequence=draw(st.integers(0, 2**64 - 1)),
        line=draw(TEXT),
    )


def content(batch: SampleBatch) -> tuple[object, ...]:
    rows = [(sample, str(sample.value), type(sample.value)) for sample in batch.samples()]
    return (batch.owner, batch.gateway, batch.boot, batch.sequence, batch.line, batch.signals, rows)


def set_dictionary(message: pb.SampleBatch, dictionary: bytes, *keys: int) -> None:
    message.dictionary = dictionary
    del message.dictionary_keys[:]
    message.dictionary_keys.extend(keys)


@contextmanager
def caches_of(signals: int, dictionaries: int) -> Iterator[None]:
    """The codec's caches, empty and with other bounds in bytes."""
    caches = (codec._SIGNALS, signals), (codec._DICTIONARIES, dictionaries)
    bounds = [cache.max_bytes for cache, _ in caches]
    for cache, max_bytes in caches:
        cache.clear()
        cache.max_bytes = max_bytes
    try:
        yield
    finally:
        for (cache, _), max_bytes in zip(caches, bounds, strict=True):
            cache.max_bytes = max_bytes


def report_by_exception(pool: list[Signal], rng: random.Random, sequence: int = 1) -> SampleBatch:
    """A batch as a line sends it: some of its signals, in random order, with new values."""
    rows = [
        Sample(signal, rng.random(), ValueType.DOUBLE, rng.randrange(10**9), 1)
        for signal in rng.sample(pool, rng.randint(1, len(pool)))
    ]
    return make_batch(rows, owner="a", gateway="g", boot=7, sequence=sequence, line="a/b")


def some_batch(n: int = 3) -> SampleBatch:
    signal = Signal("id", "asset", "a/b/c", ValueType.DOUBLE)
    rows = [Sample(signal, float(i), ValueType.DOUBLE, 10 + i, 20 + i, status=i) for i in range(n)]
    return make_batch(rows, owner="a", gateway="g", boot=7, sequence=9, line="a/b")


@settings(deadline=None)
@given(batches())
@example(make_batch([], owner="", gateway="", boot=0, sequence=0, line=""))
def test_decoding_what_was_encoded_gives_the_same_batch(batch: SampleBatch) -> None:
    decoded = codec.decode(codec.encode(batch))
    assert content(decoded) == content(batch)
    for name in (
        "signal",
        "type",
        "source_time",
        "doubles",
        "ints",
        "uints",
        "bools",
        "status",
        "flags",
        "sub",
    ):
        assert getattr(decoded, name).dtype == getattr(batch, name).dtype


@settings(deadline=None)
@given(batches())
def test_protobuf_reads_the_same_columns_as_the_fast_way(batch: SampleBatch) -> None:
    data = codec.encode(batch)
    message = pb.SampleBatch.FromString(data)
    assert message.SerializeToString(deterministic=True)
    assert content(codec.decode(message.SerializeToString())) == content(batch)
    assert [int(t) for t in message.source_time or [0] * len(batch)] == batch.source_time.tolist()


@settings(deadline=None)
@given(batches(), st.randoms(use_true_random=False))
def test_a_foreign_writer_may_send_columns_unpacked_and_in_pieces(
    batch: SampleBatch, random
) -> None:  # type: ignore[no-untyped-def]
    message = pb.SampleBatch.FromString(codec.encode(batch))
    chunks = []
    for name, form in (
        ("signal", "<I"),
        ("gateway_time", "<q"),
        ("doubles", "<d"),
        ("uints", "<Q"),
    ):
        number = pb.SampleBatch.DESCRIPTOR.fields_by_name[name].number
        entries = list(getattr(message, name))
        message.ClearField(name)  # type: ignore[arg-type]
        while entries:
            taken, entries = entries[: (size := random.randint(1, 4))], entries[size:]
            if random.random() < 0.5:
                packed = struct.pack(f"<{len(taken)}{form[1]}", *taken)
                chunks.append(varint(number << 3 | 2) + varint(len(packed)) + packed)
            else:
                wire = 5 if form == "<I" else 1
                chunks += [varint(number << 3 | wire) + struct.pack(form, each) for each in taken]
    unknown = varint(99 << 3 | 2) + b"\x03new"
    data = b"".join(chunks) + unknown + message.SerializeToString()
    assert content(codec.decode(data)) == content(batch)


def test_a_bool_of_any_non_zero_varint_is_true() -> None:
    signal = Signal("id", "asset", "a/b/c", ValueType.BOOL)
    rows = [Sample(signal, value, ValueType.BOOL, 1, 1) for value in (True, False, True)]
    batch = make_batch(rows, owner="a", gateway="g", boot=1, sequence=1, line="a/b")
    number = pb.SampleBatch.DESCRIPTOR.fields_by_name["bools"].number
    tag = varint(number << 3 | 2)
    data = codec.encode(batch).replace(tag + b"\x03\x01\x00\x01", tag + b"\x04\x80\x01\x00\x07")
    assert codec.decode(data).values() == [True, False, True]


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_are_a_decode_error_or_a_batch(data: bytes) -> None:
    for read in (codec.decode, codec.decode_event, codec.decode_rejected):
        try:
            read(data)
        except codec.DecodeError as error:
            assert str(error)


@settings(deadline=None)
@given(batches(), st.data())
def test_truncated_and_changed_bytes_are_a_decode_error_or_a_batch(
    batch: SampleBatch, data: st.DataObject
) -> None:
    encoded = bytearray(codec.encode(batch))
    if not encoded:
        return
    encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = codec.decode(bytes(encoded[: data.draw(st.integers(0, len(encoded)))]))
    except codec.DecodeError:
        return
    assert len(found.samples()) == len(found)


def test_every_truncation_of_a_batch_is_a_decode_error_or_fewer_columns() -> None:
    data = codec.encode(some_batch())
    for end in range(len(data)):
        try:
            assert len(codec.decode(data[:end])) <= 3
        except codec.DecodeError:
            continue


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: setattr(m, "schema_version", 2), "schema version 2"),
        (lambda m: setattr(m, "count", 4), "entries, count says 4"),
        (lambda m: setattr(m, "count", 2**32 - 1), "at most"),
        (lambda m: setattr(m, "type", b"\x09"), "unknown value type 9"),
        (lambda m: setattr(m, "type", b"\x01\x01"), "column type has 2"),
        (lambda m: setattr(m, "type", b"\x02"), "doubles"),
        (lambda m: m.doubles.append(1.0), "4 doubles, 3 samples"),
        (lambda m: m.texts.append("x"), "1 texts, 0 samples"),
        (lambda m: m.signal.extend([0, 0, 1]), "signal index 1 in a dictionary of 1"),
        (lambda m: set_dictionary(m, b"\xff"), "not a Dictionary"),
        (lambda m: set_dictionary(m, b"\x0a\x02\x20\x4d"), "77"),  # a signal of type 77
        (lambda m: set_dictionary(m, b"\x0a\x00", 5), "key 5"),
        (lambda m: set_dictionary(m, b"\x0a\x00", 5, 6), "2 keys in a dictionary of 1"),
        (lambda m: m.status.append(1), "column status has 4"),
    ],
)
def test_a_batch_that_contradicts_itself_says_where(change, says: str) -> None:  # type: ignore[no-untyped-def]
    message = pb.SampleBatch.FromString(codec.encode(some_batch()))
    change(message)
    with pytest.raises(codec.DecodeError, match=says):
        codec.decode(message.SerializeToString())


@settings(deadline=None)
@given(st.lists(SIGNALS, min_size=1, max_size=12, unique_by=lambda s: s), st.randoms())
def test_any_record_reads_alone_and_the_same_whatever_was_read_before(
    pool: list[Signal], rng: random.Random
) -> None:
    """Nothing, little or all of a dictionary is known; without keys, as older gateways wrote it."""
    batches = [report_by_exception(pool, rng, sequence) for sequence in range(1, 6)]
    for size in (0, 1000, 2**20):
        for batch in batches:
            data = codec.encode(batch)
            message = pb.SampleBatch.FromString(data)
            message.ClearField("dictionary_keys")
            with caches_of(size, 0):
                assert content(codec.decode(data)) == content(batch)
            assert content(codec.decode(data)) == content(batch)
            assert content(codec.decode(message.SerializeToString())) == content(batch)


def test_batches_of_the_same_signals_share_them_and_those_of_equal_sets_the_dictionary() -> None:
    pool = [Signal(f"id-{i}", "asset", f"a/b/c/{i}", ValueType.DOUBLE) for i in range(9)]
    rng = random.Random(1)
    rows = [Sample(signal, 1.0, ValueType.DOUBLE, 1, 1) for signal in pool]
    orders = [rng.sample(rows, len(rows)) for _ in range(2)]
    first, second = (
        codec.decode(
            codec.encode(make_batch(each, owner="a", gateway="g", boot=1, sequence=1, line="a/b"))
        )
        for each in orders
    )
    assert first.signals is second.signals
    few = codec.decode(codec.encode(report_by_exception(pool, rng)))
    assert {id(signal) for signal in few.signals} <= {id(signal) for signal in first.signals}


def test_the_caches_keep_to_their_bytes_and_forget_the_oldest() -> None:
    pool = [Signal(f"id-{i}", "asset", f"a/b/c/{i}", ValueType.DOUBLE) for i in range(500)]
    rng = random.Random(2)
    with caches_of(50_000, 20_000):
        for sequence in range(50):
            batch = report_by_exception(pool, rng, sequence)
            assert content(codec.decode(codec.encode(batch))) == content(batch)
            assert 0 <= codec._SIGNALS.bytes <= 50_000
            assert 0 <= codec._DICTIONARIES.bytes <= 20_000
        assert 0 < len(codec._SIGNALS.entries) < 500


def test_zero_columns_take_no_bytes_and_equal_types_take_one() -> None:
    few, many = len(codec.encode(some_batch(100))), len(codec.encode(some_batch(200)))
    assert (many - few) / 100 == pytest.approx(8 + 8 + 4 + 8, abs=0.2)  # two times, status, value


def test_integers_beyond_a_double_and_odd_doubles_come_back_bit_by_bit() -> None:
    signal = Signal("id", "asset", "a/b/c", ValueType.NULL)
    values: list[tuple[Value, ValueType]] = [
        (2**53 + 1, ValueType.INT64),
        (2**64 - 1, ValueType.UINT64),
        (-0.0, ValueType.DOUBLE),
        (5e-324, ValueType.DOUBLE),
        (math.inf, ValueType.DOUBLE),
    ]
    rows = [Sample(signal, value, kind, 1, 1) for value, kind in values]
    decoded = codec.decode(
        codec.encode(make_batch(rows, owner="a", gateway="g", boot=1, sequence=1, line="l"))
    )
    assert [repr(v) for v in decoded.values()] == [repr(v) for v, _ in values]


def test_events_and_rejected_bytes_come_back_and_an_event_without_a_kind_is_refused() -> None:
    event = codec.SourceEvent(source="s", boot=3, heartbeat=codec.Heartbeat(heard_at=5))
    assert codec.decode_event(codec.encode_event(event)) == event
    rejected = codec.Rejected(source="s", payload=b"\x00\xff", samples=2)
    assert codec.decode_rejected(codec.encode_rejected(rejected)) == rejected
    with pytest.raises(codec.DecodeError, match="kind"):
        codec.decode_event(codec.encode_event(codec.SourceEvent(source="s")))


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def test_a_record_without_keys_cannot_name_the_dictionary_of_another() -> None:
    """Found by an attack: some keys are readable as an empty dictionary."""
    for n in range(400):
        signal = Signal(f"id-{n}", "a", f"victim/s/a/l/u/s{n}", ValueType.DOUBLE)
        samples = [Sample(signal, 1.5, ValueType.DOUBLE, 10**15, 10**15)]
        batch = make_batch(samples, owner="victim", gateway="g", boot=1, sequence=1, line="l")
        good = codec.encode(batch)
        assert signal.encoded is not None
        forged = pb.SampleBatch(schema_version=1, owner="attacker", dictionary=signal.encoded[1])
        try:
            codec.decode(forged.SerializeToString())
        except codec.DecodeError:
            continue
        assert codec.decode(good).samples()[0].signal.path == f"victim/s/a/l/u/s{n}"
