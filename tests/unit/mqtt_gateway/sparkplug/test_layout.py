"""Messages of one shape, read at once: the same columns as metric by metric, and nothing of a shape
that only looks alike."""

import struct
from typing import NamedTuple

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from aurelian.model.sample import ValueType
from aurelian.pb import sparkplug_b_pb2 as pb
from mqtt_gateway.sparkplug.lane import DeviceNumbers, Known, read_numbers
from mqtt_gateway.sparkplug.layout import Layout
from mqtt_gateway.sparkplug.messages import Columns, Numbers
from tests.unit.mqtt_gateway.sparkplug.test_host import AT
from tests.unit.mqtt_gateway.sparkplug.test_lane import DATATYPES, Both, births

DEVICE = "press"
FIELDS = ["int_value", "long_value", "float_value", "double_value", "boolean_value"]


class Shape(NamedTuple):
    """Of a metric: `born` and `own` (0: none) are datatypes; lengths in bytes of a varint, 0: of no
    time."""

    alias: int
    field: str
    born: int
    own: int
    length: int
    time_length: int
    is_named: bool


@st.composite
def shapes(draw: st.DrawFn) -> list[Shape]:
    found = []
    for alias in range(draw(st.integers(8, 10))):
        field = draw(st.sampled_from(FIELDS))
        own = draw(st.sampled_from((0, 0, *DATATYPES[field])))
        length = draw(st.integers(1, 5 if field == "int_value" else 10))
        time_length = draw(st.sampled_from((0, 1, 6, 6, 8)))
        born = draw(st.sampled_from(DATATYPES[field]))
        found.append(Shape(alias, field, born, own, length, time_length, draw(st.booleans())))
    return found


@st.composite
def varints(draw: st.DrawFn, length: int, bits: int = 64) -> int:
    """Of so many bytes; the ends are likely."""
    low = 2 ** (7 * length - 7) if length > 1 else 0
    return draw(st.integers(low, min(2 ** (7 * length), 2**bits) - 1))


def value_of(shape: Shape) -> st.SearchStrategy[object]:
    match shape.field:
        case "int_value":
            return varints(shape.length, 32)
        case "long_value":
            return varints(shape.length)
        case "boolean_value":
            return st.booleans()
    return st.floats(width=32 if shape.field == "float_value" else 64)


@given(st.data(), shapes(), st.sampled_from((0, 6, 6, 8)))
def test_at_once_and_one_by_one_are_the_same(
    data: st.DataObject, metrics: list[Shape], time_length: int
) -> None:
    aliases, named = {}, {}
    for shape in metrics:
        name = f"m{shape.alias}"
        known = Known(DEVICE, name, shape.born, shape.alias, 10 + shape.alias)
        aliases[shape.alias] = named[name] = known
    numbers = DeviceNumbers(DEVICE)
    for n in range(4):
        message = pb.Payload(seq=n + 1)
        if time_length:
            message.timestamp = time_of(data, time_length, is_taught=n > 1)
        for shape in metrics:
            metric = message.metrics.add()
            if shape.is_named:
                metric.name = f"m{shape.alias}"
            else:
                metric.alias = shape.alias
            setattr(metric, shape.field, data.draw(value_of(shape)))
            if shape.own:
                metric.datatype = shape.own
            if shape.time_length:
                metric.timestamp = time_of(data, shape.time_length, is_taught=n > 1)
        assert_same(numbers, message, aliases, named)
    event(f"{numbers.at_once} at once")


def time_of(data: st.DataObject, length: int, *, is_taught: bool) -> int:
    """Before a layout is taught, one that is ordinary; then also one that is too late."""
    if length == 8 and not is_taught:
        return 2**52
    if length == 8:
        return data.draw(st.sampled_from((2**49, 2**52, 2**52 + 1, 2**56 - 1)))
    return data.draw(varints(length))


def assert_same(
    numbers: DeviceNumbers, message: pb.Payload, aliases: dict[int, Known], named: dict[str, Known]
) -> None:
    """Columns, and what each metric said last."""
    expected = read_numbers(DEVICE, message, aliases, named)
    said = [(repr(each.value), each.kind) for each in aliases.values()]
    for each in aliases.values():
        each.value = each.kind = None
    found = numbers.read(message.SerializeToString(), message, aliases, named)
    assert as_texts(found) == as_texts(expected)
    if expected is not None:
        assert [(repr(each.value), each.kind) for each in aliases.values()] == said


def as_texts(columns: Columns | None) -> object:
    """NaN is not itself; 1 and True are."""
    return columns if columns is None else {kind: repr(each) for kind, each in columns.items()}


@pytest.mark.parametrize(
    ("datatype", "taught", "then", "kind"),
    [
        (7, 2**63 - 1, 2**63 - 2, ValueType.INT64),
        (7, 2**64 - 1, 2**63 + 1, ValueType.UINT64),
        (8, 2**64 - 1, 2**63, ValueType.UINT64),
        (4, 2**64 - 1, 2**63, ValueType.INT64),
        (3, 2**64 - 1, 2**63 + 2**31, ValueType.INT64),
    ],
)
def test_the_ends_of_integers(datatype: int, taught: int, then: int, kind: ValueType) -> None:
    aliases = {n: Known(DEVICE, f"m{n}", datatype, n, n) for n in range(8)}
    numbers = DeviceNumbers(DEVICE)
    for value in (taught, taught, taught, then, then - 1, taught):
        message = pb.Payload(timestamp=AT // 1000, seq=1)
        for alias in range(8):
            message.metrics.add(alias=alias, long_value=value)
        assert_same(numbers, message, aliases, {})
        assert {known.kind for known in aliases.values()} == {kind}


def test_no_sign_before_and_beyond_int64_after() -> None:
    """A varint of ten bytes may be either; nine are the most of what is not."""
    aliases = {n: Known(DEVICE, f"m{n}", 7, n, n) for n in range(8)}
    numbers = DeviceNumbers(DEVICE)
    for value in (1, 1, 1, 2):
        data = b"\x08\x01" + b"".join(
            b"\x12\x0d\x10" + bytes([alias]) + b"\x58" + padded(value, 10) for alias in range(8)
        )
        message = pb.Payload.FromString(data)
        assert numbers.read(data, message, aliases, {}) is not None
    assert numbers.at_once == 2
    data = data[:-10] + padded(2**63, 10)
    message = pb.Payload.FromString(data)
    columns = numbers.read(data, message, aliases, {})
    assert columns is not None and columns[ValueType.UINT64][2] == [2**63]


def test_an_unsigned_field_with_the_bits_of_a_negative_number() -> None:
    aliases = {n: Known(DEVICE, f"m{n}", 0, n, n) for n in range(8)}
    numbers = DeviceNumbers(DEVICE)
    for _ in range(4):
        data = b"".join(
            b"\x12\x0d\x10" + bytes([alias]) + b"\x50" + padded(2**64 - 2, 10) for alias in range(8)
        )
        columns = numbers.read(data, pb.Payload.FromString(data), aliases, {})
        assert columns is not None and columns[ValueType.INT64][2] == [2**32 - 2] * 8
    assert numbers.at_once == 2


def test_another_field_where_a_varint_was_longer() -> None:
    numbers, aliases = DeviceNumbers(DEVICE), doubles(8)
    plain = pb.Payload(seq=1)
    for alias in range(8):
        plain.metrics.add(alias=alias, long_value=2**14)  # of three bytes
    for _ in range(3):
        assert numbers.read(plain.SerializeToString(), plain, aliases, {}) is not None
    assert numbers.at_once
    kept = plain.SerializeToString().replace(padded(2**14, 3), b"\x01\x28\x01")
    message = pb.Payload.FromString(kept)
    assert message.metrics[7].long_value == 1 and message.metrics[7].is_historical
    assert numbers.read(kept, message, aliases, {}) is None


def padded(value: int, length: int) -> bytes:
    """A varint of so many bytes, more than it needs."""
    return bytes([value >> 7 * n & 0x7F | 0x80 * (n < length - 1) for n in range(length)])


def test_a_message_too_late_for_the_calendar_is_left_to_the_other_way() -> None:
    numbers, aliases = DeviceNumbers(DEVICE), doubles(9)
    for time in (2**52 - 1, 2**52 - 1, 2**52 - 1, 2**52, 2**53):
        message = message_of([1.0] * 9)
        message.timestamp = time
        assert_same(numbers, message, aliases, {})
    assert numbers.at_once == 1


def message_of(values: list[float], seq: int = 1, **more: object) -> pb.Payload:
    message = pb.Payload(timestamp=AT // 1000, seq=seq)
    for alias, value in enumerate(values):
        message.metrics.add(alias=alias, double_value=value, **more)  # type: ignore[arg-type]
    return message


def doubles(count: int) -> dict[int, Known]:
    return {alias: Known(DEVICE, f"m{alias}", 10, alias, alias) for alias in range(count)}


def test_messages_of_a_steady_node_are_read_at_once() -> None:
    numbers, aliases = DeviceNumbers(DEVICE), doubles(50)
    for n in range(1, 101):
        message = message_of([n + alias / 8 for alias in range(50)], n)
        columns = numbers.read(message.SerializeToString(), message, aliases, {})
        assert columns is not None
        places, handles, values, times = columns[ValueType.DOUBLE]
        assert places == handles == list(range(50))
        assert values == [n + alias / 8 for alias in range(50)] and set(times) == {AT}
    assert numbers.at_once >= 95


@pytest.mark.parametrize(
    ("more", "ordinary"),
    [({"is_historical": True}, False), ({"is_null": True}, False), ({"is_null": False}, True)],
)
def test_a_flag_in_bytes_of_the_same_length_is_seen(
    more: dict[str, object], ordinary: bool
) -> None:
    numbers, aliases = DeviceNumbers(DEVICE), doubles(9)
    alike = message_of([1.0] * 9, is_transient=False)
    for n in range(5):
        alike.seq = n + 1
        assert numbers.read(alike.SerializeToString(), alike, aliases, {}) is not None
    assert numbers.at_once
    other = message_of([1.0] * 9, **more)
    assert len(other.SerializeToString()) == len(alike.SerializeToString())
    assert (numbers.read(other.SerializeToString(), other, aliases, {}) is not None) == ordinary


def test_a_birth_with_other_names_for_the_same_bytes_counts() -> None:
    """What was learned of the births before goes with them."""
    both = Both(columns=True)
    node, device = births()
    for alias in range(8, 20):  # the first is declared, the others are not
        device.metrics.add(name=f"x{alias}", alias=alias, datatype=10, double_value=0)
    data = pb.Payload(timestamp=AT // 1000)
    for _ in range(9):
        data.metrics.add(alias=0, double_value=1.5)

    def send(seq: int) -> list[object]:
        data.seq = seq
        return list(both.take("DDATA", data, DEVICE))

    both.take("NBIRTH", node)
    both.take("DBIRTH", device, DEVICE)
    found = [each for seq in range(2, 8) for each in send(seq)]
    assert len(found) == 6 and all(isinstance(each, Numbers) for each in found)
    device.metrics[0].alias, device.metrics[6].alias = 8, 0
    device.seq = 8
    both.take("DBIRTH", device, DEVICE)
    assert not any(isinstance(each, Numbers) for each in send(9))


@given(st.binary(max_size=80), st.integers(0, 12))
@example(b"\x12\x02\x10", 1)
@example(b"\x12\x02\x10\x80", 1)
@example(b"\x12\x0b\x10\x01" + b"\x69" + struct.pack("<d", 1.0)[:7], 1)
@example(b"\x13\x14", 0)
def test_bytes_of_any_kind_have_a_layout_or_none(data: bytes, metrics: int) -> None:
    layout = Layout.of(data, metrics)
    assert layout is None or layout.bytes_of(data) is not None
