"""Sparkplug templates: definitions of the node's birth, instances whole in births, in part in
data."""

import pytest

from aurelian.model.sample import Flag, ValueType
from aurelian.pb import sparkplug_b_pb2 as pb
from mqtt_gateway.sparkplug.messages import Born, Irregular, Refused, RefusedValues, Told
from tests.unit.mqtt_gateway.sparkplug.test_host import AT, Line, values

TEMPLATE = 19


def definition(payload: pb.Payload, name: str, *members: dict[str, object]) -> None:
    found = payload.metrics.add(name=name, datatype=TEMPLATE).template_value
    found.is_definition = True
    for member in members:
        found.metrics.add(**member)  # type: ignore[arg-type]


def instance(
    payload: pb.Payload, name: str, reference: str, *members: dict[str, object]
) -> pb.Payload.Metric:
    metric = payload.metrics.add(name=name, datatype=TEMPLATE)
    found = metric.template_value
    found.template_ref = reference
    for member in members:
        found.metrics.add(**member)  # type: ignore[arg-type]
    return metric


def node_birth() -> pb.Payload:
    payload = pb.Payload(timestamp=AT // 1000, seq=0)
    payload.metrics.add(name="bdSeq", datatype=4, long_value=3)
    payload.metrics.add(name="Node Control/Rebirth", datatype=11, boolean_value=False)
    definition(
        payload,
        "Motor",
        {"name": "rpm", "datatype": 3, "int_value": 2**32 - 1},
        {"name": "hot", "datatype": 11},
        {"name": "maker", "datatype": 12, "string_value": "?"},
    )
    return payload


def device_birth() -> pb.Payload:
    payload = pb.Payload(timestamp=AT // 1000, seq=1)
    hot = {"name": "hot", "datatype": 11, "boolean_value": True}
    instance(payload, "Drive", "Motor", hot, {"name": "rpm", "int_value": 2**32 - 7})
    return payload


def born(**settings: object) -> Line:
    line = Line(**settings)
    line.raw("NBIRTH", node_birth().SerializeToString())
    line.raw("DBIRTH", device_birth().SerializeToString(), "press")
    return line


def test_an_instance_is_its_members_merged_onto_the_definition() -> None:
    line = Line()
    first = line.raw("NBIRTH", node_birth().SerializeToString())
    assert values(first) == []  # a definition is no value
    birth, told = line.raw("DBIRTH", device_birth().SerializeToString(), "press")
    assert isinstance(birth, Born) and isinstance(told, Told)
    assert values([told]) == [("Drive/hot", True), ("Drive/rpm", -7), ("Drive/maker", "?")]
    assert [each.type for each in told.values] == [
        ValueType.BOOL,
        ValueType.INT64,
        ValueType.TEXT,
    ]
    assert all(each.flags == Flag.INITIAL and each.time == AT for each in told.values)
    assert [(each.name, each.datatype) for each in birth.metrics] == [
        ("Drive/hot", "Boolean"),
        ("Drive/rpm", "Int32"),
        ("Drive/maker", "String"),
    ]


def test_data_bring_a_part_and_leave_the_rest_as_it_is() -> None:
    line = born()
    data = pb.Payload(timestamp=AT // 1000, seq=2)
    metric = instance(data, "Drive", "Motor", {"name": "rpm", "int_value": 2**32 - 9})
    metric.timestamp, metric.is_historical = 1000, True
    (told,) = line.raw("DDATA", data.SerializeToString(), "press")
    assert isinstance(told, Told)
    assert values([told]) == [("Drive/rpm", -9)]
    assert (told.values[0].time, told.values[0].flags) == (1_000_000, Flag.HISTORICAL)


def test_an_instance_without_value_is_none_of_its_members() -> None:
    line = born()
    data = pb.Payload(timestamp=AT // 1000, seq=2)
    data.metrics.add(name="Drive", is_null=True)
    nulls = dict(values(line.raw("DDATA", data.SerializeToString(), "press")))
    assert nulls == {"Drive/hot": None, "Drive/rpm": None, "Drive/maker": None}


def test_templates_stand_within_each_other() -> None:
    line = Line()
    birth = node_birth()
    found = birth.metrics.add(name="Axis", datatype=TEMPLATE).template_value
    found.is_definition = True
    member = found.metrics.add(name="motor", datatype=TEMPLATE)
    member.template_value.template_ref = "Motor"
    instance(birth, "X", "Axis")
    assert values(line.raw("NBIRTH", birth.SerializeToString())) == [
        ("X/motor/rpm", -1),
        ("X/motor/maker", "?"),
    ]


def test_a_definition_outside_the_nodes_birth_defines_nothing() -> None:
    line = Line()
    line.birth()
    birth = pb.Payload(timestamp=AT // 1000, seq=1)
    definition(birth, "Pump", {"name": "flow", "datatype": 10, "double_value": 1.0})
    instance(birth, "P1", "Pump", {"name": "flow", "datatype": 10, "double_value": 2.0})
    actions = line.raw("DBIRTH", birth.SerializeToString(), "press")
    rules = [each.rule for each in actions if isinstance(each, Irregular)]
    assert rules == ["template-definition", "template-reference"]
    assert values(actions) == [("P1/flow", 2.0)]  # by what it says itself


@pytest.mark.parametrize(
    ("reference", "rule"), [("Nobody", "template-reference"), ("Motor", "template-member")]
)
def test_what_no_definition_knows_is_kept_or_refused_by_a_strict_host(
    reference: str, rule: str
) -> None:
    data = pb.Payload(timestamp=AT // 1000, seq=2)
    instance(data, "Drive", reference, {"name": "odd", "datatype": 10, "double_value": 5.0})
    payload = data.SerializeToString()
    tolerant = born().raw("DDATA", payload, "press")
    assert values(tolerant) == [("Drive/odd", 5.0)]
    assert [each.rule for each in tolerant if isinstance(each, Irregular)] == [rule]
    strict = born(strict=True).raw("DDATA", payload, "press")
    assert values(strict) == []
    assert [e.error_class for e in strict if isinstance(e, Refused)] == ["unknown_metric"]


@pytest.mark.parametrize("width", [1, 20])
def test_definitions_that_name_each_other_end_somewhere(width: int) -> None:
    line = Line()
    birth = node_birth()
    found = birth.metrics.add(name="Loop", datatype=TEMPLATE).template_value
    found.is_definition = True
    for n in range(width):
        member = found.metrics.add(name=f"again{n}", datatype=TEMPLATE)
        member.template_value.template_ref = "Loop"
    found.metrics.add(name="leaf", datatype=3, int_value=1)
    instance(birth, "X", "Loop")
    actions = line.raw("NBIRTH", birth.SerializeToString())
    (refused,) = (each for each in actions if isinstance(each, RefusedValues))
    assert refused.values[0].name == "X"
