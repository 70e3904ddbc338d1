"""Messages of a later version: unknown fields are passed over, unknown kinds and versions are told
apart from damage (3)."""

from __future__ import annotations

import pytest

from aurelian.model import codec
from aurelian.model.decode_errors import DecodeError, NewerSchema, UnknownKind
from aurelian.pb import telemetry_pb2 as pb
from tests import oracle

UNKNOWN_FIELDS = {
    "a number": b"\x80\x7d\x05",  # field 2000
    "a text": b"\x82\x7d\x03new",
    "a message": b"\x82\x7d\x04\x0a\x02hi",
    "eight bytes": b"\x81\x7d" + bytes(8),
    "four bytes": b"\x85\x7d" + bytes(4),
    "a field below 16": b"\x78\x01",
}

KINDS = (
    "birth",
    "death",
    "heartbeat",
    "gap",
    "received",
    "alarm",
    "refused",
    "connection",
    "command_result",
)

BATCH = codec.encode(oracle.make_batches(oracle.make_samples(seed=1, count=40, lines=1), [40])[0])


@pytest.mark.parametrize("name", UNKNOWN_FIELDS)
def test_an_unknown_field_changes_nothing(name: str) -> None:
    extra = UNKNOWN_FIELDS[name]
    assert codec.decode(BATCH + extra).samples() == codec.decode(BATCH).samples()
    assert codec.decode(extra + BATCH).samples() == codec.decode(BATCH).samples()
    for kind in KINDS:
        event = codec.SourceEvent(owner="o", gateway="g", boot=1, source="s")
        getattr(event, kind).SetInParent()
        read = codec.decode_event(codec.encode_event(event) + extra)
        assert (read.owner, read.WhichOneof("kind")) == ("o", kind)
    rejected = codec.Rejected(owner="o", payload=b"x")
    assert codec.decode_rejected(codec.encode_rejected(rejected) + extra).payload == b"x"


def test_a_kind_of_event_that_nobody_knows_is_told_apart_from_damage() -> None:
    event = pb.SourceEvent(schema_version=1, owner="o", gateway="g", boot=1, source="s")
    with pytest.raises(UnknownKind):
        codec.decode_event(event.SerializeToString() + b"\xa2\x06\x02\x08\x01")  # kind 100
    with pytest.raises(UnknownKind):
        codec.decode_event(event.SerializeToString())
    with pytest.raises(DecodeError) as damaged:
        codec.decode_event(b"\xff\xff")
    assert not isinstance(damaged.value, UnknownKind | NewerSchema)


@pytest.mark.parametrize("version", [2, 3, 2**32 - 1])
def test_a_later_version_is_told_apart_from_damage(version: int) -> None:
    batch = pb.SampleBatch.FromString(BATCH)
    batch.schema_version = version
    later = batch.SerializeToString()
    with pytest.raises(NewerSchema):
        codec.decode(later)
    assert codec.decode(later, any_version=True).samples() == codec.decode(BATCH).samples()
    with pytest.raises(NewerSchema):
        codec.decode_event(pb.SourceEvent(schema_version=version).SerializeToString())
    with pytest.raises(NewerSchema):
        codec.decode_rejected(pb.Rejected(schema_version=version).SerializeToString())


def test_no_version_is_damage() -> None:
    batch = pb.SampleBatch.FromString(BATCH)
    batch.schema_version = 0
    for read, data in (
        (codec.decode, batch.SerializeToString()),
        (codec.decode_event, b"\x12\x01o"),
        (codec.decode_rejected, b"\x12\x01o"),
    ):
        with pytest.raises(DecodeError) as error:
            read(data)
        assert not isinstance(error.value, NewerSchema)
