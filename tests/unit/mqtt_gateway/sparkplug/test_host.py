"""The Sparkplug host without a broker; the ids of the specification's assertions stand where a test
shows one."""

import json
import math
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurelian.model.sample import BAD, Flag, Value, ValueType
from aurelian.pb import sparkplug_b_pb2 as pb
from mqtt_gateway.sparkplug.host import Host
from mqtt_gateway.sparkplug.messages import (
    Action,
    Born,
    Described,
    Died,
    Edge,
    Missing,
    Rebirth,
    Refused,
    Stale,
    Told,
    Topic,
    parse_topic,
    rebirth_command,
)
from mqtt_gateway.sparkplug.values import Undecodable, signed, to_value

EDGE = Edge("G", "E")
AT = 1_767_592_800_000_000


class Line:
    """An edge node and the host that listens to it, on a clock that is moved by hand."""

    def __init__(self, **settings: object) -> None:
        self.host = Host(chance=random.Random(1), **settings)  # type: ignore[arg-type]
        self.now = 100.0
        self.seq = 0

    def send(
        self,
        kind: str,
        *metrics: dict[str, object],
        device: str | None = None,
        seq: int | None = -1,
    ) -> list[Action]:
        message = pb.Payload(timestamp=AT // 1000)
        if kind == "NBIRTH":
            self.seq = 0
        if kind != "NDEATH" and seq is not None:
            message.seq = self.seq if seq == -1 else seq
            self.seq = (message.seq + 1) % 256
        for metric in metrics:
            message.metrics.add(**metric)
        return self.raw(kind, message.SerializeToString(), device)

    def raw(self, kind: str, payload: bytes, device: str | None = None) -> list[Action]:
        name = f"spBv1.0/G/{kind}/E" + (f"/{device}" if device else "")
        topic = parse_topic(name)
        assert topic is not None
        return self.host.receive(topic, name, payload, self.now, AT)

    def birth(self, bd_seq: int = 3) -> list[Action]:
        return self.send(
            "NBIRTH",
            {"name": "bdSeq", "datatype": 4, "long_value": bd_seq},
            {"name": "Node Control/Rebirth", "datatype": 11, "boolean_value": False},
            {"name": "Uptime", "alias": 1, "datatype": 8, "long_value": 9},
        )

    def device_birth(self, device: str = "press") -> list[Action]:
        return self.send(
            "DBIRTH",
            {"name": "Force", "alias": 2, "datatype": 10, "double_value": 1.0},
            {"name": "Parts", "alias": 3, "datatype": 3, "int_value": 4},
            device=device,
        )

    def death(self, number: int, datatype: int = 8) -> list[Action]:
        return self.send("NDEATH", {"name": "bdSeq", "datatype": datatype, "long_value": number})

    def data(self, value: float, **more: object) -> list[Action]:
        return self.send("DDATA", {"alias": 2, "double_value": value}, device="press", **more)  # type: ignore[arg-type]


def values(actions: list[Action]) -> list[tuple[str, Value]]:
    return [
        (each.name, each.value)
        for action in actions
        if isinstance(action, Told)
        for each in action.values
    ]


def kinds(actions: list[Action]) -> list[type]:
    return [type(action) for action in actions]


@pytest.mark.parametrize(
    ("topic", "parts"),
    [
        ("spBv1.0/G/NBIRTH/E", Topic("NBIRTH", EDGE, None)),
        ("spBv1.0/G/DDATA/E/press", Topic("DDATA", EDGE, "press")),
        ("spBv1.0/G/DDATA/E", None),
        ("spBv1.0/G/NDATA/E/press", None),
        ("spBv1.0/STATE/aurelian", None),
        ("spBv1.0/G/NCMD/E", None),
        ("spAv1.0/G/NDATA/E", None),
    ],
)
def test_only_an_edge_nodes_topics_are_taken(topic: str, parts: Topic | None) -> None:
    assert parse_topic(topic) == parts


def test_births_give_first_values_and_data_comes_by_alias() -> None:
    line = Line()
    born = line.birth()
    uptime = Described("Uptime", 1, "UInt64", "", {})
    assert born[0] == Born(EDGE, None, (uptime,))
    assert values(born) == [("Uptime", 9)]  # bdSeq is no data
    born = line.device_birth()
    force = Described("Force", 2, "Double", "", {})
    assert born[0] == Born(EDGE, "press", (force, Described("Parts", 3, "Int32", "", {})))
    told = born[1]
    assert isinstance(told, Told) and told.device == "press"
    assert all(each.flags == Flag.INITIAL and each.time == AT for each in told.values)
    assert values(line.data(2.5)) == [("Force", 2.5)]
    assert list(line.host.online()) == [(EDGE, None), (EDGE, "press")]


def test_data_before_the_birth_asks_for_a_rebirth_and_keeps_its_bytes() -> None:
    """operational-behavior-host-application-... a message of an unknown edge node."""
    line = Line()
    refused, rebirth = line.data(1.0)
    assert isinstance(refused, Refused) and refused.error_class == "no_birth" and refused.payload
    assert rebirth == Rebirth(EDGE, "DDATA before the node's birth")


def test_an_unknown_alias_is_never_emitted_and_asks_for_a_rebirth() -> None:
    line = Line()
    line.birth()
    line.device_birth()
    actions = line.send(
        "DDATA",
        {"alias": 99, "double_value": 1.0},
        {"alias": 2, "double_value": 2.0},
        device="press",
    )
    assert values(actions) == [("Force", 2.0)]
    assert kinds(actions) == [Told, Refused, Rebirth]


def test_an_unreadable_payload_is_kept_and_asks_for_a_rebirth() -> None:
    line = Line()
    line.birth()
    refused, rebirth = line.raw("NDATA", b"\xff\xff\xff")
    assert (
        isinstance(refused, Refused)
        and refused.error_class == "unreadable"
        and refused.payload == b"\xff\xff\xff"
    )
    assert isinstance(rebirth, Rebirth)


def test_numbers_out_of_order_are_put_in_order() -> None:
    """operational-behavior-host-reordering-param, -start."""
    line = Line(reorder_s=3.0)
    line.birth()
    line.device_birth()
    assert line.data(2.0, seq=3) == []
    assert values(line.data(1.0, seq=2)) == [("Force", 1.0), ("Force", 2.0)]
    assert line.host.tick(line.now + 10) == []


def test_a_missing_number_is_a_gap_and_one_rebirth_and_later_values_are_kept() -> None:
    """operational-behavior-host-reordering-rebirth."""
    line = Line(reorder_s=3.0)
    line.birth()
    line.device_birth()
    assert line.data(2.0, seq=3) == []
    assert line.host.tick(line.now + 2.9) == []
    actions = line.host.tick(line.now + 3.0)
    assert kinds(actions) == [Missing, Told, Rebirth]
    assert values(actions) == [("Force", 2.0)]
    assert values(line.data(3.0, seq=4)) == [("Force", 3.0)]
    assert line.host.tick(line.now + 4.0) == []


def test_without_a_reorder_time_a_gap_is_told_at_once() -> None:
    line = Line(reorder_s=0)
    line.birth()
    line.device_birth()
    assert kinds(line.data(2.0, seq=9)) == [Missing, Told, Rebirth]


def test_the_number_after_255_is_0() -> None:
    line = Line(reorder_s=0)
    line.birth()
    line.device_birth()
    for n in range(600):
        assert values(line.data(float(n))) == [("Force", float(n))]


def test_a_node_that_skips_numbers_for_ever_is_asked_less_and_less_often() -> None:
    line = Line(reorder_s=0)
    asked = []
    line.birth()
    line.device_birth()
    for _ in range(600):
        line.now += 1
        line.seq = (line.seq + 1) % 256
        if Rebirth in kinds(line.data(1.0)):
            asked.append(line.now)
            line.birth()
            line.device_birth()
    assert 4 <= len(asked) <= 9
    assert asked == sorted(asked)


def test_many_nodes_at_once_are_not_all_asked_in_the_same_second() -> None:
    host = Host(chance=random.Random(1))
    actions = []
    for n in range(100):
        name = f"spBv1.0/G/NDATA/E{n}"
        topic = parse_topic(name)
        assert topic is not None
        actions += host.receive(topic, name, pb.Payload(seq=1).SerializeToString(), 5.0, AT)
    assert kinds(actions).count(Rebirth) == 10
    assert kinds(host.tick(6.1)).count(Rebirth) == 10


def test_a_host_beside_another_never_asks() -> None:
    line = Line(ask_rebirth=False)
    assert kinds(line.data(1.0)) == [Refused]
    assert line.host.tick(line.now + 1000) == []


@pytest.mark.parametrize("datatype", [4, 8])
def test_a_strict_host_takes_a_death_only_with_the_births_number(datatype: int) -> None:
    """NDEATH of an earlier connection."""
    line = Line(strict=True)
    line.birth(bd_seq=3)
    line.device_birth()
    for number in (2, 4):
        assert line.death(number, datatype) == []
    assert line.send("NDEATH") == []
    died, *stale = line.death(3, datatype)
    assert died == Died(EDGE, None, ("press",), "the edge node's death certificate")
    assert stale == [
        Stale(EDGE, None, (("Uptime", 9, ValueType.UINT64),), None),
        Stale(
            EDGE,
            "press",
            (("Force", 1.0, ValueType.DOUBLE), ("Parts", 4, ValueType.INT64)),
            None,
        ),
    ]
    assert line.death(3) == []
    assert Rebirth in kinds(line.data(1.0))


def test_a_devices_death_leaves_its_node_alive() -> None:
    line = Line()
    line.birth()
    line.device_birth()
    died, stale = line.send("DDEATH", device="press")
    assert died == Died(EDGE, "press", ("press",), "the device's death certificate", AT)
    assert isinstance(stale, Stale) and (stale.device, stale.time) == ("press", AT)
    assert list(line.host.online()) == [(EDGE, None)]


def test_a_device_that_is_not_born_again_with_its_node_is_dead_after_a_while() -> None:
    line = Line()
    line.birth()
    line.device_birth("press")
    line.device_birth("oven")
    line.birth()
    line.device_birth("press")
    assert line.host.tick(line.now + 5) == []
    assert kinds(line.host.tick(line.now + 11)) == [Died, Stale]
    assert list(line.host.online()) == [(EDGE, None), (EDGE, "press")]


def test_losing_the_broker_ends_everything_until_the_next_birth() -> None:
    line = Line()
    line.birth()
    line.device_birth()
    died, *stale = line.host.lose_all("the broker is away")
    assert died == Died(EDGE, None, ("press",), "the broker is away")
    assert [each.device for each in stale if isinstance(each, Stale)] == [None, "press"]
    assert list(line.host.online()) == []
    line.birth()
    assert values(line.device_birth()) == [("Force", 1.0), ("Parts", 4)]


def test_after_the_broker_was_lost_a_node_is_asked_at_once_whatever_it_was_asked_before() -> None:
    """Else its values would be refused until the next repetition, up to five minutes."""
    line = Line(reorder_s=0)
    line.birth()
    line.device_birth()
    assert Rebirth in kinds(line.data(2.0, seq=9))
    line.birth()
    line.device_birth()
    line.host.lose_all("the broker is gone")
    line.now += 0.5
    assert kinds(line.data(3.0)) == [Refused, Rebirth]
    assert kinds(line.data(4.0)) == [Refused]


def test_what_waits_for_a_message_before_it_is_known() -> None:
    line = Line(reorder_s=3.0)
    line.birth()
    line.device_birth()
    assert line.host.held_since() is None
    line.data(2.0, seq=3)
    assert line.host.held_since() == AT
    line.data(1.0, seq=2)
    assert line.host.held_since() is None


def test_flags_and_quality_of_a_metric_are_kept() -> None:
    line = Line()
    line.birth()
    line.device_birth()
    message = pb.Payload(timestamp=1, seq=2)
    metric = message.metrics.add(
        alias=2, timestamp=5, double_value=1.0, is_historical=True, is_transient=True
    )
    metric.properties.keys.append("Quality")
    metric.properties.values.add(type=3, int_value=0)
    message.metrics.add(alias=3, is_null=True)
    (told,) = line.raw("DDATA", message.SerializeToString(), "press")
    assert isinstance(told, Told)
    bad, null = told.values
    assert (bad.time, bad.status, bad.flags) == (5000, BAD, Flag.HISTORICAL | Flag.TRANSIENT)
    assert (null.value, null.type, null.time) == (None, ValueType.NULL, 1000)


def test_the_rebirth_command_is_a_boolean_by_name() -> None:
    """tck-id-operational-behavior-data-commands-ncmd-rebirth-name, -value."""
    (metric,) = pb.Payload.FromString(rebirth_command(AT)).metrics
    assert (metric.name, metric.datatype, metric.boolean_value) == (
        "Node Control/Rebirth",
        11,
        True,
    )
    assert not metric.HasField("alias")


def metric(**fields: object) -> pb.Payload.Metric:
    return pb.Payload.Metric(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "datatype", "value", "type"),
    [
        ({"int_value": 4294967291}, 1, -5, ValueType.INT64),
        ({"int_value": 251}, 1, -5, ValueType.INT64),
        ({"int_value": 4294967291}, 2, -5, ValueType.INT64),
        ({"int_value": 4294967291}, 3, -5, ValueType.INT64),
        ({"long_value": 2**64 - 5}, 4, -5, ValueType.INT64),
        ({"int_value": 255}, 5, 255, ValueType.INT64),
        ({"int_value": 2**32 - 1}, 7, 2**32 - 1, ValueType.INT64),
        ({"long_value": 2**64 - 1}, 8, 2**64 - 1, ValueType.UINT64),
        ({"float_value": 1.5}, 9, 1.5, ValueType.DOUBLE),
        ({"double_value": math.inf}, 10, math.inf, ValueType.DOUBLE),
        ({"boolean_value": False}, 11, False, ValueType.BOOL),
        ({"string_value": "auf"}, 12, "auf", ValueType.TEXT),
        ({"long_value": 1_500}, 13, "1970-01-01T00:00:01.500Z", ValueType.TEXT),
        ({"string_value": "a-b"}, 15, "a-b", ValueType.TEXT),
        ({"bytes_value": b"\x00\xff"}, 17, b"\x00\xff", ValueType.BYTES),
        ({"bytes_value": struct.pack("<2h", -1, 2)}, 23, "[-1,2]", ValueType.JSON),
        ({"bytes_value": struct.pack("<2d", math.nan, 2.5)}, 31, "[null,2.5]", ValueType.JSON),
        (
            {"bytes_value": b"\x0a\x00\x00\x00\xa0\x40"},
            32,
            "[true,false,true,false,false,false,false,false,false,true]",
            ValueType.JSON,
        ),
        ({"bytes_value": "a\0ö\0".encode()}, 33, '["a","ö"]', ValueType.JSON),
        ({"bytes_value": struct.pack("<Q", 0)}, 34, '["1970-01-01T00:00:00.000Z"]', ValueType.JSON),
        ({}, 10, None, ValueType.NULL),
        ({"is_null": True, "double_value": 0.0}, 10, None, ValueType.NULL),
    ],
)
def test_every_datatype_has_a_place(
    fields: dict[str, object], datatype: int, value: Value, type: ValueType
) -> None:
    assert to_value(metric(**fields), datatype) == (value, type)


@pytest.mark.parametrize(
    ("fields", "datatype"),
    [
        ({"bytes_value": b"\x00"}, 23),
        ({"bytes_value": b"\xff\x00\x00\x00\x00"}, 32),
        ({"long_value": 2**63}, 13),
    ],
)
def test_a_value_that_contradicts_its_datatype_is_refused(
    fields: dict[str, object], datatype: int
) -> None:
    with pytest.raises(Undecodable):
        to_value(metric(**fields), datatype)


def test_a_data_set_is_rows_with_typed_columns() -> None:
    found = metric()
    found.dataset_value.columns.extend(["a", "b", "c"])
    found.dataset_value.types.extend([3, 10, 13])
    row = found.dataset_value.rows.add()
    row.elements.add(int_value=2**32 - 1)
    row.elements.add(double_value=math.nan)
    row.elements.add(long_value=1500)
    value, type = to_value(found, 16)
    assert type is ValueType.JSON
    assert json.loads(str(value)) == {
        "columns": ["a", "b", "c"],
        "types": [3, 10, 13],
        "rows": [[-1, None, "1970-01-01T00:00:01.500Z"]],
    }


@given(st.sampled_from([8, 16, 32, 64]), st.data())
def test_twos_complement_goes_there_and_back(bits: int, data: st.DataObject) -> None:
    number = data.draw(st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1))
    assert signed(number % 2**bits, bits) == number
    assert signed(number % 2**64, bits) == number


@given(st.binary(max_size=60))
def test_no_bytes_from_outside_break_the_host(payload: bytes) -> None:
    line = Line(reorder_s=0)
    line.birth()
    for kind in ("NBIRTH", "NDATA", "NDEATH"):
        line.raw(kind, payload)
    for kind in ("DBIRTH", "DDATA", "DDEATH"):
        line.raw(kind, payload, "press")
    line.host.tick(line.now + 100)


@given(st.permutations(range(2, 12)))
def test_whatever_the_order_no_value_is_lost(order: list[int]) -> None:
    line = Line(reorder_s=3.0)
    line.birth()
    line.device_birth()
    seen = [value for seq in order for _, value in values(line.data(float(seq), seq=seq))]
    assert seen == [float(seq) for seq in range(2, 12)]
