"""Payloads of standards and of no product: bare values, SenML, CBOR, protobuf, raw numbers."""

import json
import math
import struct
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import cbor2
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

from aurelian.model.sample import ValueType
from mqtt_gateway.message_map import Mapped
from tests.unit.mqtt_gateway.payloads import AT, make_map, send, times, values

SECOND = 1_000_000


@pytest.mark.parametrize(
    ("payload", "declared", "value"),
    [
        ("12.5", "double", 12.5),
        (" -3\n", "int64", -3),
        ("+1e3", "double", 1000.0),
        ("007", "double", 7),
        ("007", "text", "007"),
        ("true", "bool", True),
        ("ON", "bool", True),
        ("off", "bool", False),
        ("ON", "text", "ON"),
        ('"open"', "text", "open"),
        ("open", "text", "open"),
        ("0", "bool", False),
        ("-inf", "double", -math.inf),
        ('{"a":[1,2]}', "json", '{"a":[1,2]}'),
    ],
)
def test_a_bare_value_is_what_its_declared_type_wants(
    payload: str, declared: str, value: object
) -> None:
    mapping = make_map({"topic": "p/{unit}/{signal}", "payload": "bare"}, {"m": {"x": declared}})
    (reading,) = send(mapping, "p/m/x", payload).readings
    assert (reading.value, type(reading.value)) == (value, type(value))


def test_a_bare_value_that_nobody_declared_is_told_by_its_look() -> None:
    mapping = make_map({"topic": "p/{unit}/{signal}", "payload": "bare"})

    def of(payload: bytes) -> object:
        return [each.value for each in send(mapping, "p/m/y", payload).readings]

    assert [of(each) for each in (b"12", b"1.5", b"false", b"On", b'"a"', b"1.2.3")] == [
        [12],
        [1.5],
        [False],
        ["On"],
        ["a"],
        ["1.2.3"],
    ]
    assert send(mapping, "p/m/y", b"\xff").rejects[0].error_class == "unreadable"
    assert send(mapping, "p/m/y", b"9" * 5000).rejects[0].error_class == "overflow"


def test_bytes_are_kept_where_they_are_declared() -> None:
    mapping = make_map({"topic": "p/{unit}/{signal}", "payload": "bare"}, {"m": {"x": "bytes"}})
    assert values(send(mapping, "p/m/x", b"\xff\x00")) == {"m/x": b"\xff\x00"}


SENML = [
    {"bn": "urn:dev:ow:10e2:", "bt": 1767592800, "bu": "A", "bver": 5, "n": "voltage", "v": 120.1},
    {"n": "current", "t": -5, "v": 1.2},
    {"n": "label", "vs": "kitchen"},
    {"n": "open", "vb": True},
    {"n": "image", "vd": "_-8"},
    {"bv": 20, "bs": 100, "n": "level", "v": 0.5, "s": 7},
]
"""Base name, time and unit hold on; from the last record a base value and a base sum."""

SENML_VALUES = {
    "probe/voltage": 120.1,
    "probe/current": 1.2,
    "probe/label": "kitchen",
    "probe/open": True,
    "probe/image": b"\xff\xef",
    "probe/level": 20.5,
    "probe/level.sum": 107,
}


def senml(payload: bytes, topic: str = "senml/x") -> Mapped:
    mapping = make_map(
        {"topic": "senml/+", "payload": "senml"},
        {"probe": {"@": "urn:dev:ow:10e2"}, "other": {"n": "double"}},
    )
    return send(mapping, topic, payload)


def test_senml_resolves_base_fields_record_by_record() -> None:
    mapped = senml(json.dumps(SENML).encode())
    assert values(mapped) == SENML_VALUES
    at = {each.signal.path.rpartition("/")[2]: each.source_time for each in mapped.readings}
    assert (at["voltage"], at["current"]) == (AT, AT - 5 * SECOND)


def test_senml_as_cbor_says_the_same() -> None:
    labels = {"bn": -2, "bt": -3, "bu": -4, "bv": -5, "bs": -6, "bver": -1}
    labels |= {"n": 0, "u": 1, "v": 2, "vs": 3, "vb": 4, "s": 5, "t": 6, "vd": 8}
    records = [{labels[key]: value for key, value in each.items()} for each in SENML]
    records[4][8] = b"\xff\xef"
    mapped = senml(cbor2.dumps(records))
    assert values(mapped) == SENML_VALUES
    assert times(mapped) == times(senml(json.dumps(SENML).encode()))


def test_senml_times_below_2_to_28_count_from_now() -> None:
    mapped = senml(b'[{"bn":"urn:dev:ow:10e2:","n":"a","v":1,"t":-60},{"n":"b","v":2}]')
    assert [each.source_time for each in mapped.readings] == [AT - 60 * SECOND, AT]


@pytest.mark.parametrize(
    ("records", "says"),
    [
        ([{"n": "a", "v": 1, "must_": 1}], "must be understood"),
        ([{"n": "a", "v": 1, "bver": 11}], "version 11"),
        ([{"n": "a b", "v": 1}], "no name of SenML"),
        ([{"n": "a", "v": 1, "t": "now"}], "`t` is no number"),
        ({"n": "a"}, "a list of records"),
        ([1], "a list of records"),
    ],
)
def test_senml_that_breaks_the_rules_is_refused_whole(records: object, says: str) -> None:
    mapped = senml(json.dumps(records).encode())
    assert not mapped.readings
    assert says in mapped.rejects[0].reason


def test_a_senml_value_of_the_wrong_type_costs_itself_alone() -> None:
    mapped = senml(b'[{"bn":"urn:dev:ow:10e2:","n":"a","v":"x"},{"n":"b","v":2}]')
    assert values(mapped) == {"probe/b": 2}
    assert [each.error_class for each in mapped.rejects] == ["type"]


def cbor(content: object) -> Mapped:
    mapping = make_map(
        {"topic": "c/{unit}", "payload": "cbor"}, {"m": {"temp": "double", "raw": "bytes"}}
    )
    return send(mapping, "c/m", content if isinstance(content, bytes) else cbor2.dumps(content))


def test_cbor_is_read_as_the_json_that_it_stands_for() -> None:
    when = datetime(2026, 1, 5, 6, tzinfo=UTC)
    mapped = cbor(
        {
            "ts": when,
            "temp": Decimal("21.5"),
            "raw": b"\x01",
            "n": {"deep": [1, b"\xff"]},
            "big": 2**64 - 1,
            "none": cbor2.undefined,
        }
    )
    assert values(mapped) == {
        "m/temp": 21.5,
        "m/raw": b"\x01",
        "m/n.deep": '[1,"ff"]',
        "m/big": 2**64 - 1,
        "m/none": None,
    }
    assert times(mapped) == {AT}
    assert values(cbor({"temp": {"value": 3, "quality": "bad"}})) == {"m/temp": 3}


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x01\x02",
        b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x5b\x00\x00\x00\x7f\xff\xff\xff\xff",
        b"\x81" * 100_000 + b"\x01",
        b"\xc6" * 100_000 + b"\x01",
        b"\xa2\x61a\x01\x61a\x02",
        b"\xa1\x01\x02",
        b"\xd8\x1c\x81\xd8\x1d\x00",
        b"\xd9\x01\x00\x82\x63aaa\xd8\x19\x00",
        b"\xc4\x82\x1a\x3f\xff\xff\xff\x01",
        b"\xc5\x82\x1b\x7f\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\xd8\x1e\x82\x01\x00",
        b"\xc1\xfb\x7f\xf0\x00\x00\x00\x00\x00\x00",
        b"\x62\xff\xfe",
    ],
)
def test_cbor_that_would_take_all_memory_or_says_nothing_is_refused(payload: bytes) -> None:
    mapped = cbor(payload)
    assert not mapped.readings
    assert [each.error_class for each in mapped.rejects] == ["unreadable"]


def descriptors() -> descriptor_pb2.FileDescriptorSet:
    file = descriptor_pb2.FileDescriptorProto(
        name="plant.proto",
        package="plant.v1",
        syntax="proto3",
        dependency=["google/protobuf/timestamp.proto"],
    )
    kinds = descriptor_pb2.FieldDescriptorProto
    mode = file.enum_type.add(name="Mode")
    mode.value.add(name="MODE_OFF", number=0)
    mode.value.add(name="MODE_AUTO", number=1)
    axis = file.message_type.add(name="Axis")
    axis.field.add(name="pos", number=1, type=kinds.TYPE_DOUBLE, label=kinds.LABEL_OPTIONAL)
    reading = file.message_type.add(name="Reading")
    for number, (name, kind, type_name, label) in enumerate(
        [
            ("ts", kinds.TYPE_MESSAGE, ".google.protobuf.Timestamp", kinds.LABEL_OPTIONAL),
            ("temp", kinds.TYPE_FLOAT, "", kinds.LABEL_OPTIONAL),
            ("total", kinds.TYPE_UINT64, "", kinds.LABEL_OPTIONAL),
            ("mode", kinds.TYPE_ENUM, ".plant.v1.Mode", kinds.LABEL_OPTIONAL),
            ("axis", kinds.TYPE_MESSAGE, ".plant.v1.Axis", kinds.LABEL_OPTIONAL),
            ("spare", kinds.TYPE_MESSAGE, ".plant.v1.Axis", kinds.LABEL_OPTIONAL),
            ("raw", kinds.TYPE_BYTES, "", kinds.LABEL_OPTIONAL),
            ("axes", kinds.TYPE_MESSAGE, ".plant.v1.Axis", kinds.LABEL_REPEATED),
            ("note", kinds.TYPE_STRING, "", kinds.LABEL_OPTIONAL),
        ],
        start=1,
    ):
        reading.field.add(
            name=name, number=number, type=kind, type_name=type_name or None, label=label
        )
    stamp = descriptor_pb2.FileDescriptorProto()
    timestamp_pb2.DESCRIPTOR.CopyToProto(stamp)
    return descriptor_pb2.FileDescriptorSet(file=[stamp, file])


def protobuf_payload() -> bytes:
    pool = descriptor_pool.DescriptorPool()
    for file in descriptors().file:
        pool.Add(file)
    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName("plant.v1.Reading"))
    message = kind(temp=21.5, total=2**64 - 1, mode=1, raw=b"\xff", note="x")
    message.ts.seconds = AT // SECOND
    message.axis.pos = 2.5
    message.axes.add(pos=1)
    payload: bytes = message.SerializeToString()
    return payload


def protobuf_source(file: Path, message: str = "plant.v1.Reading") -> dict[str, object]:
    about = {"descriptor_file": str(file), "message": message}
    return {"topic": "b/{unit}", "payload": "protobuf", "protobuf": about}


def test_protobuf_is_read_by_its_descriptors(tmp_path: Path) -> None:
    file = tmp_path / "plant.desc"
    file.write_bytes(descriptors().SerializeToString())
    mapping = make_map(protobuf_source(file), {"m": {"temp": "double", "axis.pos": "double"}})
    mapped = send(mapping, "b/m", protobuf_payload())
    assert values(mapped) == {
        "m/temp": 21.5,
        "m/total": 2**64 - 1,
        "m/mode": "MODE_AUTO",
        "m/axis.pos": 2.5,
        "m/raw": b"\xff",
        "m/axes": '[{"pos":1.0}]',
        "m/note": "x",
    }
    assert times(mapped) == {AT}
    # Nothing on the wire is 0 everywhere, but not for what may be absent.
    empty = values(send(mapping, "b/m", b""))
    assert (empty["m/temp"], empty["m/total"], empty["m/mode"]) == (0.0, 0, "MODE_OFF")
    assert "m/axis.pos" not in empty
    assert send(mapping, "b/m", b"\x0a\xff").rejects[0].error_class == "unreadable"


@pytest.mark.parametrize(
    ("content", "message", "says"),
    [
        (None, "plant.v1.Reading", "cannot be read (No such file"),
        (b"\xff\xff", "plant.v1.Reading", "is no FileDescriptorSet"),
        (b"", "plant.v1.Reading", "has no message 'plant.v1.Reading'"),
    ],
)
def test_without_descriptors_each_payload_is_refused_and_kept(
    tmp_path: Path, content: bytes | None, message: str, says: str
) -> None:
    file = tmp_path / "plant.desc"
    if content is not None:
        file.write_bytes(content)
    (reject,) = send(make_map(protobuf_source(file, message)), "b/m", b"\x08\x01").rejects
    assert says in reject.reason
    assert reject.payload == b"\x08\x01"


def test_raw_numbers_stand_where_the_plant_file_says() -> None:
    layout = [
        {"name": "temp", "type": "int16", "offset": 0, "scale": 0.1, "add": -40},
        {"name": "count", "type": "uint32", "offset": 2, "order": "little"},
        {"name": "flow", "type": "float32", "offset": 6},
        {"name": "open", "type": "bool", "offset": 10, "bit": 2},
        {"name": "shut", "type": "bool", "offset": 10, "bit": 3},
        {"name": "late", "type": "float64", "offset": 8},
    ]
    mapping = make_map({"topic": "r/{unit}", "payload": "raw", "layout": layout})
    payload = struct.pack(">h", 615) + struct.pack("<I", 70_000) + struct.pack(">f", 1.5) + b"\x04"
    mapped = send(mapping, "r/m", payload)
    found = values(mapped)
    assert found.pop("m/temp") == pytest.approx(21.5)
    assert found == {"m/count": 70_000, "m/flow": 1.5, "m/open": True, "m/shut": False}
    (reject,) = mapped.rejects
    assert "the payload has 11 bytes, and this stands up to byte 16" in reject.reason
    assert {each.type for each in mapped.readings} == {
        ValueType.DOUBLE,
        ValueType.INT64,
        ValueType.BOOL,
    }
