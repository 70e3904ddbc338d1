"""Births and deaths of edge nodes as records: stale values, times of death, what births say of
units."""

import json

import pytest

from aurelian.edge.contract import Reading
from aurelian.model import codec
from aurelian.model.evidence import UNCERTAIN_LAST_USABLE
from aurelian.model.plant import Plant
from aurelian.pb import sparkplug_b_pb2 as pb
from mqtt_gateway.mapping import SignalMap
from mqtt_gateway.metrics import IRREGULAR
from mqtt_gateway.sparkplug.mapping import ActionMap, Content
from mqtt_gateway.sparkplug.messages import Action
from mqtt_gateway.sparkplug.units import SparkplugUnits
from tests.unit.mqtt_gateway.sparkplug.test_host import AT, EDGE, Line
from tests.unit.mqtt_gateway.sparkplug.test_order import make_plant

NOW = AT + 5_000_000


@pytest.fixture
def plant() -> Plant:
    return make_plant()


@pytest.fixture
def mapping(plant: Plant) -> ActionMap:
    signals = SignalMap(plant, plant.sources[0], 100)
    return ActionMap(
        plant.sources[0], plant.owner, signals, SparkplugUnits(signals.units, any_group=False)
    )


def map_one(mapping: ActionMap, actions: list[Action], at: int = NOW) -> Content:
    """What actions come to, in one delivery."""
    (content,) = mapping.map(actions, at)
    return content


def deaths(content: Content) -> list[codec.SourceEvent]:
    return [each for each in content.events if each.WhichOneof("kind") == "death"]


def stale(content: Content) -> list[tuple[str, object, int | None]]:
    return [
        (each.signal.path, each.value, each.source_time)
        for each in content.readings
        if each.status == UNCERTAIN_LAST_USABLE
    ]


def born(mapping: ActionMap) -> Line:
    line = Line()
    mapping.map(line.birth(), NOW)
    mapping.map(line.device_birth(), NOW)
    mapping.map(line.data(6.5), NOW)
    return line


def test_all_metrics_of_a_dead_node_are_stale_from_now_on(plant: Plant, mapping: ActionMap) -> None:
    content = map_one(mapping, born(mapping).death(3), NOW)
    (death,) = deaths(content)
    assert death.time == NOW and list(death.death.assets) == [next(plant.units()).id]
    assert stale(content) == [
        ("x/s/E/Uptime", 9, NOW),
        ("x/s/a/l/press/force", 6.5, NOW),
        ("x/s/a/l/press/Parts", 4, NOW),
    ]


def test_a_device_is_dead_and_stale_since_its_certificate_says(mapping: ActionMap) -> None:
    content = map_one(mapping, born(mapping).send("DDEATH", device="press"), NOW)
    assert [each.time for each in deaths(content)] == [AT]
    assert stale(content) == [("x/s/a/l/press/force", 6.5, AT), ("x/s/a/l/press/Parts", 4, AT)]


@pytest.mark.parametrize("said_ms", [0, 1, NOW // 1000 + 86_400_000])
def test_a_death_at_a_time_that_cannot_be_is_one_of_now(mapping: ActionMap, said_ms: int) -> None:
    line = born(mapping)
    death = pb.Payload(timestamp=said_ms, seq=3)
    content = map_one(mapping, line.raw("DDEATH", death.SerializeToString(), "press"), NOW)
    assert [each.time for each in deaths(content)] == [NOW]


def test_the_broker_lost_marks_everything_once(mapping: ActionMap) -> None:
    line = born(mapping)
    assert len(stale(map_one(mapping, line.host.lose_all("gone")))) == 3
    assert stale(map_one(mapping, line.host.lose_all("gone"))) == []


def full_birth(line: Line, unit: str = "kN") -> list[Action]:
    birth = pb.Payload(timestamp=AT // 1000, seq=1)
    for name in ("Force", "Path"):
        metric = birth.metrics.add(name=name, alias=len(birth.metrics) + 2, datatype=10)
        metric.double_value = 1.0
        for key, text in (("engUnit", unit), ("Documentation", "of the ram")):
            metric.properties.keys.append(key)
            metric.properties.values.add(type=12, string_value=text)
        metric.properties.keys.append("engHigh")
        metric.properties.values.add(type=3, int_value=2**32 - 1)
        metric.properties.keys.append("range")
        inner = metric.properties.values.add(type=20).propertyset_value
        inner.keys.append("low")
        inner.values.add(type=10, double_value=float("nan"))
    return line.raw("DBIRTH", birth.SerializeToString(), "press")


def test_a_birth_describes_its_unit_and_what_is_discovered_has_its_measure(
    plant: Plant, mapping: ActionMap
) -> None:
    line = Line()
    mapping.map(line.birth(), NOW)
    content = map_one(mapping, full_birth(line), NOW)
    press = next(plant.units()).id
    force, path = content.readings
    assert isinstance(force, Reading) and force.signal.unit == ""  # the plant model's holds
    assert (path.signal.unit, path.signal.discovered) == ("kN", True)
    said = mapping.descriptions()[press]["sparkplug"]
    assert (said["edge_node"], said["device"], said["born_at"]) == ("G/E", "press", NOW)
    more = {"Documentation": "of the ram", "engHigh": -1, "range": {"low": None}}
    assert said["metrics"] == [
        {"name": "Force", "type": "Double", "alias": 2, "unit": "kN", "properties": more},
        {"name": "Path", "type": "Double", "alias": 3, "unit": "kN", "properties": more},
    ]

    known = mapping.descriptions()[press]
    mapping.map(line.birth(), NOW + 1)
    mapping.map(full_birth(line), NOW + 1)
    assert mapping.descriptions()[press] is known  # nothing new
    mapping.map(line.birth(), NOW + 2)
    mapping.map(full_birth(line, "N"), NOW + 2)
    assert mapping.descriptions()[press]["sparkplug"]["born_at"] == NOW + 2


def test_a_description_too_large_for_a_record_is_cut_and_says_so(
    plant: Plant, mapping: ActionMap
) -> None:
    line = Line()
    mapping.map(line.birth(), NOW)
    names = [{"name": f"m{n:05}" + "x" * 80, "datatype": 10} for n in range(3000)]
    mapping.map(line.send("DBIRTH", *names, device="press"), NOW)
    said = mapping.descriptions()[next(plant.units()).id]["sparkplug"]
    assert said["left_out"] > 500 and len(said["metrics"]) + said["left_out"] == 3000


def test_a_measure_that_no_record_can_carry_costs_no_value(mapping: ActionMap) -> None:
    line = Line()
    mapping.map(line.birth(), NOW)
    content = map_one(mapping, full_birth(line, "k\0N" * 500), NOW)
    assert [each.signal.unit for each in content.readings] == ["", ""]
    # Nor does it break the asset's record, which a database keeps as JSON.
    assert "\\u0000" not in json.dumps(mapping.descriptions())


def test_each_broken_rule_is_counted_and_logged_once_a_node(
    mapping: ActionMap, caplog: pytest.LogCaptureFixture
) -> None:
    counter = IRREGULAR.labels("x/s/spb", "no-seq")
    before = counter._value.get()
    line = Line()
    mapping.map(line.birth(), NOW)
    mapping.map(line.device_birth(), NOW)
    for n in range(3):
        mapping.map(line.data(float(n), seq=None), NOW)
    assert counter._value.get() == before + 3
    told = [each for each in caplog.records if "breaks a rule" in each.message]
    assert [each.fields["node"] for each in told] == ["/".join(EDGE)]  # type: ignore[attr-defined]
