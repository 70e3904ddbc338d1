"""What the outbox stores of a batch gives back the same bytes, and damage is one known error."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurelian.edge.outbox import compact
from aurelian.edge.outbox.compact import CompactError, SignalTable, pack, unpack
from aurelian.model import codec
from aurelian.model.sample import SampleBatch, Signal, ValueType, make_batch
from aurelian.pb import telemetry_pb2 as pb
from tests.bench.telemetry import report_by_exception
from tests.unit.model.test_codec import batches


@settings(deadline=None)
@given(st.lists(batches(), min_size=1, max_size=4))
def test_any_batch_comes_back_byte_by_byte(made: list[SampleBatch]) -> None:
    table = SignalTable()
    encoded = [codec.encode(batch) for batch in made]
    stored = [pack(data, table) for data in encoded]
    assert [unpack(data, table) for data in stored] == encoded
    read = SignalTable(dict(table.added))  # as another process reads it from the file
    assert [unpack(data, read) for data in stored] == encoded


@settings(deadline=None)
@given(batches(), st.data())
def test_changed_and_foreign_bytes_come_back_byte_by_byte(
    batch: SampleBatch, data: st.DataObject
) -> None:
    encoded = bytearray(codec.encode(batch))
    for _ in range(data.draw(st.integers(0, 3))):
        if encoded:
            encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(encoded[: data.draw(st.integers(0, len(encoded)))])
    for each in (bytes(encoded), cut, cut[1:], b"\x07" + cut, b"\x07\1" + cut):
        table = SignalTable()
        assert unpack(pack(each, table), table) == each


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_come_back(data: bytes) -> None:
    table = SignalTable()
    assert unpack(pack(data, table), table) == data


def test_fields_in_another_order_or_twice_come_back() -> None:
    (batch,) = report_by_exception(1, 20)
    encoded = codec.encode(batch)
    message = pb.SampleBatch.FromString(encoded)
    for data in (message.SerializeToString(), encoded + encoded, encoded[2:] + encoded[:2]):
        table = SignalTable()
        assert unpack(pack(data, table), table) == data


@settings(deadline=None)
@given(st.data())
def test_damaged_bytes_are_an_error_and_never_another_batch(data: st.DataObject) -> None:
    (batch,) = report_by_exception(1, 50)
    table = SignalTable()
    encoded = codec.encode(batch)
    stored = bytearray(pack(encoded, table))
    # The first bytes say how the row is stored: a checksum over the whole row guards them.
    place = data.draw(st.integers(2, len(stored) - 1))
    stored[place] ^= data.draw(st.integers(1, 255))
    for damaged in (bytes(stored), bytes(stored[: data.draw(st.integers(2, len(stored) - 1))])):
        try:
            assert unpack(damaged, table) == encoded
        except CompactError:
            continue


def test_a_signal_that_is_missing_is_an_error() -> None:
    table = SignalTable()
    (batch,) = report_by_exception(1, 50)
    stored = pack(codec.encode(batch), table)
    known = dict(table.added)
    del known[7]
    with pytest.raises(CompactError):
        unpack(stored, SignalTable(known))


def test_entries_whose_commit_failed_are_taken_back_and_numbered_anew() -> None:
    table = SignalTable()
    first, second = (codec.encode(batch) for batch in report_by_exception(2, 50))
    pack(first, table)
    table.take_back()
    assert not table.added
    stored = pack(second, table)
    assert unpack(stored, SignalTable(dict(table.added))) == second


@pytest.mark.parametrize(("size", "most"), [(50, 21), (100, 19), (500, 18)])
def test_a_batch_that_reports_by_exception_takes_few_bytes_a_sample(size: int, most: int) -> None:
    table = SignalTable()
    stored = [pack(codec.encode(batch), table) for batch in report_by_exception(40, size)]
    assert sum(map(len, stored)) / 40 / size <= most


def test_a_batch_of_old_signals_without_keys_is_kept_as_it_is() -> None:
    signal = Signal("id", "asset", "a/b/c", ValueType.DOUBLE)
    message = pb.SampleBatch.FromString(
        codec.encode(make_batch([], owner="a", gateway="g", boot=1, sequence=1, line="a/b"))
    )
    message.dictionary = pb.Dictionary(signals=[pb.Signal(id=signal.id)]).SerializeToString()
    data = message.SerializeToString()
    assert pack(data, SignalTable()) == data


def test_counting_the_numbers_of_a_file_goes_on_after_a_restart() -> None:
    table = SignalTable()
    rng = random.Random(1)
    encoded = [codec.encode(batch) for batch in report_by_exception(6, 30, seed=rng.random())]
    stored = [pack(data, table) for data in encoded[:3]]
    written = dict(table.added)
    reopened = SignalTable(written)
    stored += [pack(data, reopened) for data in encoded[3:]]
    assert not written.keys() & reopened.added.keys()
    whole = SignalTable(written | reopened.added)
    assert [unpack(data, whole) for data in stored] == encoded


def test_a_batch_that_would_not_come_back_is_stored_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A fault in the compact form is found before the machine is acknowledged, not after."""
    (batch,) = report_by_exception(1, 20)
    data = codec.encode(batch)
    decode = compact._decode
    monkeypatch.setattr(compact, "_decode", lambda *args: decode(*args) + 1)
    assert compact.pack(data, compact.SignalTable()) == data
    monkeypatch.setattr(compact, "_decode", decode)
    assert len(compact.pack(data, compact.SignalTable())) < len(data)
