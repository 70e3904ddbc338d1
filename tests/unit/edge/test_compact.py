"""What the outbox stores of a batch gives back the same bytes, and damage is one known error."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurelian.edge.outbox import compact, light
from aurelian.edge.outbox.compact import CompactError, pack, unpack
from aurelian.edge.outbox.signal_table import SignalTable
from aurelian.model import codec
from aurelian.model.sample import SampleBatch, Signal, ValueType, make_batch
from aurelian.pb import telemetry_pb2 as pb
from tests.bench.telemetry import report_by_exception
from tests.unit.model.test_codec import batches

FEW, MANY = 24, 25
"""Samples that make the light form, and the compact one, whatever is in the bytes."""

forms = st.sampled_from((FEW, MANY))


@settings(deadline=None)
@given(st.lists(st.tuples(batches(), forms), min_size=1, max_size=4))
def test_any_batch_comes_back_byte_by_byte(made: list[tuple[SampleBatch, int]]) -> None:
    table = SignalTable()
    encoded = [codec.encode(batch) for batch, _ in made]
    stored = [pack(codec.encode(batch), table, form) for batch, form in made]
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
    marked = [b"\x07" + cut, b"\x07\1" + cut, b"\x07\2" + cut]
    form = data.draw(forms)
    for each in (bytes(encoded), cut, cut[1:], *marked):
        table = SignalTable()
        assert unpack(pack(each, table, form), table) == each


@settings(deadline=None)
@given(st.binary(max_size=60), forms)
def test_any_bytes_come_back(data: bytes, form: int) -> None:
    table = SignalTable()
    assert unpack(pack(data, table, form), table) == data


@pytest.mark.parametrize("form", [FEW, MANY])
def test_fields_in_another_order_or_twice_come_back(form: int) -> None:
    (batch,) = report_by_exception(1, 20)
    encoded = codec.encode(batch)
    message = pb.SampleBatch.FromString(encoded)
    for data in (message.SerializeToString(), encoded + encoded, encoded[2:] + encoded[:2]):
        table = SignalTable()
        assert unpack(pack(data, table, form), table) == data


@settings(deadline=None)
@given(st.data(), forms)
def test_damaged_bytes_are_an_error_and_never_another_batch(data: st.DataObject, form: int) -> None:
    (batch,) = report_by_exception(1, 50)
    table = SignalTable()
    encoded = codec.encode(batch)
    stored = bytearray(pack(encoded, table, form))
    # The first bytes say how the row is stored: a checksum over the whole row guards them.
    place = data.draw(st.integers(2, len(stored) - 1))
    stored[place] ^= data.draw(st.integers(1, 255))
    for damaged in (bytes(stored), bytes(stored[: data.draw(st.integers(2, len(stored) - 1))])):
        try:
            assert unpack(damaged, table) == encoded
        except CompactError:
            continue


@pytest.mark.parametrize("form", [FEW, MANY])
def test_a_signal_that_is_missing_is_an_error(form: int) -> None:
    table = SignalTable()
    (batch,) = report_by_exception(1, 50)
    stored = pack(codec.encode(batch), table, form)
    known = dict(table.added)
    del known[7]
    with pytest.raises(CompactError):
        unpack(stored, SignalTable(known))


@pytest.mark.parametrize("form", [FEW, MANY])
def test_entries_whose_commit_failed_are_taken_back_and_numbered_anew(form: int) -> None:
    table = SignalTable()
    first, second = (codec.encode(batch) for batch in report_by_exception(2, 50))
    pack(first, table, form)
    table.take_back()
    assert not table.added
    stored = pack(second, table, form)
    assert unpack(stored, SignalTable(dict(table.added))) == second


@pytest.mark.parametrize(("size", "most"), [(10, 33), (20, 28), (50, 21), (100, 19), (500, 18)])
def test_a_batch_that_reports_by_exception_takes_few_bytes_a_sample(size: int, most: int) -> None:
    table = SignalTable()
    stored = [pack(codec.encode(batch), table, size) for batch in report_by_exception(40, size)]
    assert sum(map(len, stored)) / 40 / size <= most


def test_a_batch_of_old_signals_without_keys_is_kept_as_it_is() -> None:
    signal = Signal("id", "asset", "a/b/c", ValueType.DOUBLE)
    message = pb.SampleBatch.FromString(
        codec.encode(make_batch([], owner="a", gateway="g", boot=1, sequence=1, line="a/b"))
    )
    message.dictionary = pb.Dictionary(signals=[pb.Signal(id=signal.id)]).SerializeToString()
    data = message.SerializeToString()
    assert pack(data, SignalTable(), FEW) == pack(data, SignalTable(), MANY) == data


def test_counting_the_numbers_of_a_file_goes_on_after_a_restart() -> None:
    table = SignalTable()
    rng = random.Random(1)
    encoded = [codec.encode(batch) for batch in report_by_exception(6, 30, seed=rng.random())]
    stored = [pack(data, table, FEW) for data in encoded[:3]]
    written = dict(table.added)
    reopened = SignalTable(written)
    stored += [pack(data, reopened, FEW) for data in encoded[3:]]
    assert not written.keys() & reopened.added.keys()
    whole = SignalTable(written | reopened.added)
    assert [unpack(data, whole) for data in stored] == encoded


def test_a_batch_that_would_not_come_back_is_stored_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A fault in the compact form is found before the machine is acknowledged, not after."""
    (batch,) = report_by_exception(1, 20)
    data = codec.encode(batch)
    restored = compact._restored
    monkeypatch.setattr(compact, "_restored", lambda *args: restored(*args) + b"1")
    monkeypatch.setattr(light, "restored", lambda *args: restored(*args) + b"1")
    for form in (FEW, MANY):
        assert pack(data, SignalTable(), form) == data
    monkeypatch.undo()
    for form in (FEW, MANY):
        assert len(pack(data, SignalTable(), form)) < len(data)
