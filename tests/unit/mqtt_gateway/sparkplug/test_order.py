"""Sparkplug devices that are dead, numbers that come late, qualities, and machines of one name
(issue 7: 16, 20, 22)."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from aurelian.edge.contract import Reading, Reject
from aurelian.model.evidence import UNCERTAIN_LAST_USABLE
from aurelian.model.plant import Plant
from aurelian.model.sample import BAD, GOOD, ValueType
from aurelian.model.time import now_us
from aurelian.pb import sparkplug_b_pb2 as pb
from mqtt_gateway.packets import Arrived
from mqtt_gateway.quality import UNCERTAIN
from mqtt_gateway.settings import MqttGatewaySettings
from mqtt_gateway.sparkplug.messages import Died, Edge, Missing, Rebirth, Refused, Stale, Told
from mqtt_gateway.sparkplug.source import SparkplugSource
from mqtt_gateway.sparkplug.units import SparkplugUnits
from mqtt_gateway.sparkplug.values import quality_of
from tests.source_alone import readings_of
from tests.unit.mqtt_gateway.sparkplug.test_host import AT, EDGE, Line, kinds, values


def born() -> Line:
    line = Line()
    line.birth()
    line.device_birth()
    return line


def test_data_after_a_devices_death_never_bring_it_back() -> None:
    line = born()
    line.send("DDEATH", device="press")
    first = line.data(7.0)
    assert kinds(first) == [Refused, Rebirth]
    assert isinstance(first[0], Refused) and first[0].error_class == "no_birth"
    assert kinds(line.data(8.0)) == [Refused]
    named = line.send(
        "DDATA", {"name": "Force", "datatype": 10, "double_value": 9.0}, device="press"
    )
    assert kinds(named) == [Refused]
    assert list(line.host.online()) == [(EDGE, None)]
    death = line.send("NDEATH", {"name": "bdSeq", "datatype": 4, "long_value": 3})
    assert next(each for each in death if isinstance(each, Died)).devices == ("press",)
    assert list(line.host.online()) == []


def test_a_device_comes_back_with_its_birth() -> None:
    line = born()
    line.send("DDEATH", device="press")
    line.data(7.0)
    assert values(line.device_birth()) == [("Force", 1.0), ("Parts", 4)]
    assert values(line.data(8.0)) == [("Force", 8.0)]


def test_data_of_a_device_that_was_not_born_again_with_its_node_are_refused() -> None:
    line = born()
    line.birth()
    assert kinds(line.data(7.0)) == [Refused, Rebirth]


def test_a_death_without_number_and_one_after_a_birth_without_number_end_the_node() -> None:
    line = Line()
    line.send("NBIRTH", {"name": "Uptime", "alias": 1, "datatype": 8, "long_value": 9})
    death = line.send("NDEATH", {"name": "bdSeq", "datatype": 4, "long_value": 3})
    assert kinds(death) == [Died, Stale]


def test_a_late_message_does_not_set_the_expected_number_back() -> None:
    line = born()  # numbers 0 and 1
    line.data(3.0, seq=3)
    line.now += 5
    assert Missing in kinds(line.host.tick(line.now))
    assert values(line.data(2.0, seq=2)) == [("Force", 2.0)]
    for number in range(4, 300):
        assert kinds(line.data(float(number), seq=number % 256)) == [Told]
    line.now += 60
    assert kinds(line.host.tick(line.now)) in ([], [Rebirth])


def test_a_late_birth_or_death_is_refused() -> None:
    line = born()
    line.data(3.0, seq=3)
    line.now += 5
    line.host.tick(line.now)
    late = line.send("DDEATH", device="press", seq=2)
    assert [each.error_class for each in late if isinstance(each, Refused)] == ["late"]
    assert (EDGE, "press") in list(line.host.online())


@pytest.mark.parametrize("payload", [b'{"bdSeq":1}', b"\xff\xff"])
def test_a_death_certificate_that_cannot_be_read_is_a_death(payload: bytes) -> None:
    """Nobody answers the rebirth that is asked for, if it is so."""
    line = born()
    device = line.raw("DDEATH", payload, "press")
    assert kinds(device) == [Refused, Died, Stale, Rebirth]
    assert list(line.host.online()) == [(EDGE, None)]
    node = line.raw("NDEATH", payload)
    assert [each for each in kinds(node) if each is not Rebirth] == [Refused, Died, Stale]
    assert not list(line.host.online())


def test_a_gap_over_the_turn_of_the_numbers_and_its_late_message() -> None:
    line = born()
    for number in range(2, 255):
        line.data(1.0, seq=number)
    line.data(1.0, seq=0)  # 255 is missing
    line.now += 5
    line.host.tick(line.now)
    assert values(line.data(255.0, seq=255)) == [("Force", 255.0)]
    assert values(line.data(2.0, seq=1)) == [("Force", 2.0)]


@pytest.mark.parametrize(
    ("quality", "status", "raw"),
    [
        ({"type": 3, "int_value": 0}, BAD, None),
        ({"type": 3, "int_value": 192}, GOOD, None),
        ({"type": 4, "long_value": 500}, UNCERTAIN_LAST_USABLE, None),
        ({"type": 3, "int_value": 1}, UNCERTAIN, "1"),
        ({"type": 3, "int_value": 64}, UNCERTAIN, "64"),
        ({"type": 3, "int_value": 193}, UNCERTAIN, "193"),
        ({"type": 3, "int_value": 2**32 - 5}, UNCERTAIN, "-5"),
        ({"type": 3, "int_value": 512}, UNCERTAIN, "512"),
        ({"type": 12, "string_value": "Good"}, UNCERTAIN, "Good"),
        ({"type": 11, "boolean_value": False}, UNCERTAIN, "False"),
        ({"type": 10, "double_value": 192.0}, UNCERTAIN, "192.0"),
        ({"type": 3, "is_null": True}, UNCERTAIN, "None"),
    ],
)
def test_a_quality_that_the_specification_does_not_know_is_uncertain(
    quality: dict[str, object], status: int, raw: str | None
) -> None:
    metric = pb.Payload.Metric(name="Force")
    metric.properties.keys.append("Quality")
    metric.properties.values.add(**quality)
    assert quality_of(metric) == (status, raw)


def test_the_raw_quality_is_a_value_of_its_own() -> None:
    line = born()
    message = pb.Payload(timestamp=AT // 1000, seq=2)
    metric = message.metrics.add(alias=2, double_value=1.0)
    metric.properties.keys.append("Quality")
    metric.properties.values.add(type=3, int_value=64)
    (told,) = line.raw("DDATA", message.SerializeToString(), "press")
    assert isinstance(told, Told)
    assert [(each.name, each.value, each.type) for each in told.values] == [
        ("Force", 1.0, ValueType.DOUBLE),
        ("Force/Quality", "64", ValueType.TEXT),
    ]


def test_a_metric_whose_name_begins_like_the_death_number_is_data() -> None:
    line = Line()
    assert values(line.send("NBIRTH", {"name": "bdSeqCounter", "datatype": 3, "int_value": 5})) == [
        ("bdSeqCounter", 5)
    ]


def test_two_devices_of_one_name_are_two_machines(tmp_path: Path) -> None:
    memory = tmp_path / "units.json"
    units = SparkplugUnits({"press"}, any_group=False, memory=memory)
    assert units.name(Edge("G", "E1"), "press") == "press"
    assert units.name(Edge("G", "E2"), "press") == "E2/press"
    # After a restart the same one has the unit, whoever speaks first.
    again = SparkplugUnits({"press"}, any_group=False, memory=memory)
    assert again.name(Edge("G", "E2"), "press") == "E2/press"
    assert again.name(Edge("G", "E1"), "press") == "press"


@pytest.mark.parametrize(
    ("address", "edge", "device"),
    [
        ("E2/press", Edge("G", "E2"), "press"),
        ("G/E2/press", Edge("G", "E2"), "press"),
        ("Zelle 1/Presse Süd", Edge("G", "Zelle 1"), "Presse Süd"),
        ("E2", Edge("G", "E2"), None),
        ("E2/", Edge("G", "E2"), None),
        ("G/E2/", Edge("G", "E2"), None),
    ],
)
def test_a_unit_is_declared_by_its_address(address: str, edge: Edge, device: str | None) -> None:
    units = SparkplugUnits({address}, any_group=True)
    assert units.name(edge, device) == address
    assert units.name(Edge("G", "E1"), "press") == "G/E1/press"


def test_a_node_and_a_device_of_one_name_are_two_machines() -> None:
    units = SparkplugUnits({"press"}, any_group=False)
    assert units.name(Edge("G", "press"), None) == "press"
    assert units.name(Edge("G", "E"), "press") == "E/press"


@pytest.mark.parametrize("content", ["", "[]", "{", '{"press": 1}', "\ud7ff"])
def test_a_damaged_memory_of_units_is_no_obstacle(tmp_path: Path, content: str) -> None:
    memory = tmp_path / "units.json"
    memory.write_text(content)
    units = SparkplugUnits({"press"}, any_group=False, memory=memory)
    assert units.name(Edge("G", "E1"), "press") == "press"


FORCE = {"name": "force", "address": "Force"}


def make_plant(*signals: dict[str, str]) -> Plant:
    return Plant.model_validate(
        {
            "company": {"id": "x", "name": "X"},
            "site": "s",
            "time_zone": "UTC",
            "sources": [
                {
                    "id": "spb",
                    "kind": "sparkplug",
                    "url": "mqtt://127.0.0.1",
                    "group": "G",
                }
            ],
            "areas": [
                {
                    "name": "a",
                    "lines": [
                        {
                            "name": "l",
                            "products": [{"id": "cup", "ideal_cycle_s": 2}],
                            "units": [
                                {"name": "press", "source": "spb", "signals": signals or [FORCE]}
                            ],
                        }
                    ],
                }
            ],
        }
    )


def make_source(tmp_path: Path) -> SparkplugSource:
    plant = make_plant()
    settings = MqttGatewaySettings(state=tmp_path)
    return SparkplugSource(plant, plant.sources[0], settings, own_host_id=False)


async def take(source: SparkplugSource, topic: str, payload: pb.Payload) -> list[object]:
    """Deliver a message; what the source puts out of it, readings and rejects."""
    message = Arrived(topic.encode(), payload.SerializeToString(), 0, False, False, AT)
    await source._put_actions(None, source._read(None, message))  # type: ignore[arg-type]
    found: list[object] = []
    while not source._out.empty():
        delivery = source._out.get_nowait()
        found += [*readings_of(delivery), *delivery.rejects]
        if delivery.ack is not None:
            delivery.ack()
    return found


def birth(*names: str, seq: int = 0) -> pb.Payload:
    payload = pb.Payload(timestamp=AT // 1000, seq=seq)
    for name in names:
        payload.metrics.add(name=name, datatype=10, double_value=1.0)
    return payload


async def test_values_of_two_nodes_never_meet_in_one_unit(tmp_path: Path) -> None:
    source = make_source(tmp_path)
    paths = []
    for node in ("E1", "E2"):
        await take(source, f"spBv1.0/G/NBIRTH/{node}", birth())
        found = await take(source, f"spBv1.0/G/DBIRTH/{node}/press", birth("Force", seq=1))
        paths += [reading.signal.path for reading in found]  # type: ignore[attr-defined]
    assert paths == ["x/s/a/l/press/force", "x/s/E2/press/Force"]


async def test_a_long_metric_name_costs_itself_alone(tmp_path: Path) -> None:
    source = make_source(tmp_path)
    await take(source, "spBv1.0/G/NBIRTH/E1", birth())
    names = "Force", "m" * 6000, "nul\0", "deep/" * 100
    good, *bad = await take(source, "spBv1.0/G/DBIRTH/E1/press", birth(*names, seq=1))
    assert good.signal.path == "x/s/a/l/press/force"  # type: ignore[attr-defined]
    assert [each.error_class for each in bad] == ["name"] * 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("node", [b"S\xfcd", b"E\xc3", b"+", b"E#", b"E\0"])
def test_a_topic_that_no_broker_may_send_is_refused(tmp_path: Path, node: bytes) -> None:
    """No UTF-8: two nodes could have one name as text. A wildcard: asking such a node for a
    rebirth ended the gateway."""
    message = Arrived(b"spBv1.0/G/NDATA/" + node, b"", 0, False, False, AT)
    (refused,) = make_source(tmp_path)._read(None, message)  # type: ignore[arg-type]
    assert isinstance(refused, Refused) and refused.error_class == "topic"


def test_a_clock_that_was_set_back_leaves_no_loss_without_length(tmp_path: Path) -> None:
    source, heard = make_source(tmp_path), now_us() - 1_000_000
    source._whole_to = heard + 3_600_000_000
    source._note_whole(SimpleNamespace(whole_to=heard))  # type: ignore[arg-type]
    assert source._whole_to == heard


async def test_each_unreadable_value_is_refused_for_its_signal(tmp_path: Path) -> None:
    source = make_source(tmp_path)
    await take(source, "spBv1.0/G/NBIRTH/E1", birth())
    await take(source, "spBv1.0/G/DBIRTH/E1/press", birth("Force", "a", "b", "c", seq=1))
    data = pb.Payload(timestamp=AT // 1000, seq=2)
    for name in ("a", "Force", "b"):  # an odd byte is no array of Int16
        data.metrics.add(name=name, datatype=23, bytes_value=b"\0")
    data.metrics.add(name="c", datatype=10, double_value=2.0)
    payload = data.SerializeToString()
    good, others, force = await take(source, "spBv1.0/G/DDATA/E1/press", data)
    assert isinstance(good, Reading) and good.value == 2.0
    assert isinstance(others, Reject) and isinstance(force, Reject)
    assert (others.samples, others.signal, others.payload) == (2, None, payload)
    assert force.signal is not None and force.signal.path == "x/s/a/l/press/force"
    assert (force.samples, force.source_time, force.payload) == (1, AT, b"")
