"""Members of a JSON payload: a bad one costs itself alone, a quality is the status, and a value
object fills the signal that is declared (issue 7: 1, 2, 15, 16, 17, 29)."""

import itertools
import json

import pytest

from aurelian.edge.contract import apply
from aurelian.edge.gateway import Reject
from aurelian.model.evidence import UNCERTAIN_LAST_USABLE
from aurelian.model.plant import Plant
from aurelian.model.sample import BAD, GOOD, Flag, Sample, ValueType
from mqtt_gateway import quality
from mqtt_gateway.json_messages import JsonMessages
from mqtt_gateway.json_payload import Field
from mqtt_gateway.message_map import Mapped, MessageMap
from mqtt_gateway.packets import Arrived
from mqtt_gateway.settings import MqttGatewaySettings
from tests.unit.mqtt_gateway.payloads import read_fields

AT = 1_767_592_800_000_000
SIGNALS = [
    {"name": "temp"},
    {"name": "state", "type": "int64"},
    {"name": "note", "type": "text"},
    {"name": "setup", "type": "json"},
]


def make_plant(*units: dict[str, object], topic: str = "p/{unit}", zone: str = "UTC") -> Plant:
    return Plant.model_validate(
        {
            "company": {"id": "pilot-x", "name": "Pilot X"},
            "site": "north",
            "time_zone": "UTC",
            "sources": [
                {
                    "id": "j",
                    "kind": "mqtt_json",
                    "url": "mqtt://127.0.0.1",
                    "topic": topic,
                    "time_zone": zone,
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
                                {"source": "j", "signals": SIGNALS, **unit}
                                for unit in units or ({"name": "m"},)
                            ],
                        }
                    ],
                }
            ],
        }
    )


def make_map(plant: Plant) -> MessageMap:
    return MessageMap(plant, plant.sources[0], max_payload_bytes=1_000_000, max_discovered=1000)


def send(payload: object, topic: str = "p/m", template: str = "p/{unit}") -> Mapped:
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return make_map(make_plant(topic=template)).map(topic, data, Flag.NONE, AT)


def stored(mapped: Mapped) -> dict[str, object]:
    samples = [apply(reading, AT) for reading in mapped.readings]
    return {
        each.signal.path.removeprefix("pilot-x/north/a/l/"): each.value
        for each in samples
        if isinstance(each, Sample)
    }


def refused(mapped: Mapped) -> list[str]:
    made = [*mapped.rejects, *(apply(reading, AT) for reading in mapped.readings)]
    return [each.error_class for each in made if isinstance(each, Reject)]


@pytest.mark.parametrize(
    "member",
    [
        '"' + "k" * 6000 + '": 1',
        '"k\\ud800": 1',
        '"k\\udfff\\ud800": 1',
        '"k\\u0000": 1',
        '"bell\\u0007": 1',
        '"c1\\u0085": 1',
        '"' + "❤" * 201 + '": 1',
        '"\\ud800": {"\\ud800": 1}',
        '"note": "serial\\u0000"',
        '"note": "\\ud800"',
        '"other": "half \\udc00"',
        '"setup": {"a": "\\ud800"}',
        '"state": "9"',
        '"state": 1.5',
        '"big": ' + "9" * 5000,
        '"state": ' + "9" * 5000,
        '"note": {"n": ' + "9" * 5000 + "}",
    ],
)
def test_a_bad_member_costs_itself_alone(member: str) -> None:
    payload = f'{{"temp": 21.5, {member}, "ok": 7}}'.encode()
    mapped = send(payload)
    assert stored(mapped).items() >= {"m/temp": 21.5, "m/ok": 7}.items()
    assert len(refused(mapped)) == 1
    assert all(reject.payload == payload for reject in mapped.rejects)


def test_a_bad_value_of_a_declared_signal_is_refused_for_it() -> None:
    digits = "9" * 5000
    payload = f'{{"ts": {AT}, "state": {digits}, "temp": {digits}, "x": {digits}, "y": {digits}}}'
    others, *declared = send(payload.encode()).rejects
    assert (others.samples, others.signal, others.payload) == (2, None, payload.encode())
    found = [(each.signal and each.signal.path.rpartition("/")[2], each) for each in declared]
    assert [name for name, _ in found] == ["state", "temp"]
    assert all((each.source_time, each.payload) == (AT, b"") for each in declared)
    (reject,) = send(b"\xff", "p/m/state", "p/{unit}/{signal}").rejects
    assert reject.signal is not None and reject.signal.path.endswith("/m/state")


def test_a_member_that_stands_twice_is_refused_and_costs_no_other() -> None:
    """Which of two values counts no standard says (RFC 8259, 4)."""
    payload = b'{"temp": 21.5, "state": 6, "state": 6, "a": {"b": 1, "b": 2, "c": 3}, "ok": 7}'
    mapped = send(payload)
    assert stored(mapped) == {"m/temp": 21.5, "m/ok": 7, "m/a.c": 3}
    others, state = mapped.rejects
    assert (others.error_class, others.samples, others.payload) == ("repeated", 1, payload)
    assert state.signal is not None and state.signal.path.endswith("/m/state")
    twice_timed = send(b'{"ts": 1, "ts": 1767592800, "temp": 21.5}')
    assert [reading.source_time for reading in twice_timed.readings] == [None]
    assert len(twice_timed.rejects) == 1
    assert len(send(b'{"setup": {"x": 1, "x": 2}, "ok": 7}').rejects) == 1


def test_a_deeply_nested_member_is_kept_whole() -> None:
    payload = b'{"temp": 21.5, "deep": ' + b'{"a":' * 300 + b"1" + b"}" * 300 + b"}"
    assert stored(send(payload))["m/temp"] == 21.5


@pytest.mark.parametrize("unit", ["u" * 201, "u" * 20_000, "ü" * 301, "a\x85b"])
def test_a_long_topic_level_is_refused_with_its_bytes(unit: str) -> None:
    (reject,) = send(b"1", f"p/{unit}").rejects
    assert (reject.error_class, reject.payload) == ("name", b"1")


def test_a_long_signal_in_the_topic_is_refused() -> None:
    (reject,) = send(b"1", "p/m/" + "s/" * 5000, "p/{unit}/#").rejects
    assert reject.error_class == "name"


@pytest.mark.parametrize("payload", [b"{}", b'{"ts": 1767592800}'])
def test_a_machine_that_nobody_declared_leaves_a_record(payload: bytes) -> None:
    (reject,) = send(payload, "p/stranger").rejects
    assert (reject.error_class, reject.payload) == ("unknown_unit", payload)
    assert send(b'{"x": 1}', "p/stranger").readings[0].signal.path == "pilot-x/north/stranger/x"


@pytest.mark.parametrize(
    ("payload", "name", "status"),
    [
        ({"value": 25.5, "unit": "C", "ts": 1}, "", GOOD),
        ({"value": 25.5, "unit": "C", "quality": "bad"}, "", BAD),
        ({"temp": {"value": 25.5, "unit": "C", "quality": "GOOD"}}, "temp", GOOD),
        ({"temp": {"value": 25.5, "Quality": 0, "Unit": "C"}}, "temp", BAD),
        ({"temp": {"value": 25.5, "quality": 192}}, "temp", GOOD),
        ({"temp": {"value": 25.5, "quality": 216}}, "temp", GOOD),
        ({"temp": {"value": 25.5, "quality": 64}}, "temp", quality.UNCERTAIN),
        ({"temp": {"value": 25.5, "quality": 500}}, "temp", UNCERTAIN_LAST_USABLE),
        ({"temp": {"value": 25.5, "quality": "stale"}}, "temp", UNCERTAIN_LAST_USABLE),
        ({"temp": {"value": 25.5, "quality": "BadNoCommunication"}}, "temp", BAD),
        ({"temp": {"value": 25.5, "quality": 0x408F0000}}, "temp", 0x408F0000),
        ({"temp": {"value": 25.5, "quality": -2147483648}}, "temp", BAD),
        ({"temp": {"value": 25.5, "quality": "0x80000000"}}, "temp", BAD),
        ({"temp": {"value": 25.5, "quality": "192"}}, "temp", GOOD),
        ({"temp": {"value": 25.5, "quality": False}}, "temp", BAD),
        ({"temp": 25.5, "quality": "uncertain", "ts": 1}, "temp", quality.UNCERTAIN),
        ({"fields": {"temp": 25.5}, "quality": "bad"}, "temp", BAD),
    ],
)
def test_a_quality_beside_a_value_is_its_status(
    payload: dict[str, object], name: str, status: int
) -> None:
    (field,) = read_fields(json.dumps(payload).encode())
    assert (field.name, field.value, field.status) == (name, 25.5, status)


def test_an_unknown_quality_of_a_value_is_uncertain_and_kept() -> None:
    first, second = read_fields(b'{"temp": {"value": 1.5, "quality": 77777}}')
    assert (first.name, first.status) == ("temp", quality.UNCERTAIN)
    assert (second.name, second.value) == ("temp.quality", 77777)


def test_a_quality_that_is_a_figure_or_declared_is_no_status() -> None:
    fields = read_fields(b'{"availability": 0.9, "quality": 0.98}')
    assert [(field.name, field.status) for field in fields] == [("availability", 0), ("quality", 0)]
    assert read_fields(b'{"quality": "bad"}', declared={"quality"}) == [
        Field("quality", "bad", ValueType.TEXT, None)
    ]


@pytest.mark.parametrize(
    ("payload", "topic", "template"),
    [
        ({"value": 25.5, "unit": "C", "ts": 1767592800}, "p/m/temp", "p/{unit}/{signal}"),
        ({"value": 25.5, "unit": "C", "ts": 1767592800}, "p/m/temp", "p/{unit}/#"),
        ({"value": 25.5, "min": 1, "max": 30}, "p/m/temp", "p/{unit}/{signal}"),
        ({"temp": {"value": 25.5, "unit": "C", "ts": 1767592800}}, "p/m", "p/{unit}"),
        ({"temp": {"value": 25.5, "sensor": "PT100"}}, "p/m", "p/{unit}"),
        ({"name": "temp", "value": 25.5, "unit": "C"}, "p/m", "p/{unit}"),
        ({"tag": "temp", "value": 25.5, "timestamp_ms": 1767592800000}, "p/m", "p/{unit}"),
    ],
)
def test_a_value_object_fills_the_declared_signal(
    payload: object, topic: str, template: str
) -> None:
    assert stored(send(payload, topic, template))["m/temp"] == 25.5


def test_a_declared_json_signal_stays_whole() -> None:
    assert stored(send({"setup": {"value": 1, "unit": "x"}})) == {
        "m/setup": '{"value":1,"unit":"x"}'
    }


def test_a_unit_with_blank_or_umlaut_is_declared_by_its_address() -> None:
    plant = make_plant({"name": "press-north", "address": "Presse Süd 1"}, {"name": "m"})
    mapped = make_map(plant).map("p/Presse Süd 1", b'{"temp": 1.5}', Flag.NONE, AT)
    assert stored(mapped) == {"press-north/temp": 1.5}


def test_two_units_of_one_address_are_refused() -> None:
    with pytest.raises(ValueError, match="'j' has another unit with the address 'm'"):
        make_plant({"name": "m"}, {"name": "n", "address": "m"})


def test_two_signals_of_one_address_are_refused() -> None:
    signals = [{"name": "a"}, {"name": "b", "address": "a"}]
    with pytest.raises(ValueError, match="'j' has another signal with the address 'a'"):
        make_plant({"name": "m", "signals": signals})
    make_plant({"name": "m", "signals": signals[:1]}, {"name": "n", "signals": signals[:1]})


def test_discovered_names_never_collide() -> None:
    plant = make_plant({"name": "m", "signals": [{"name": "a", "address": "b"}]})
    paths = {
        reading.signal.path
        for reading in make_map(plant)
        .map("p/m", b'{"a": 1, "a~": 2, "a/": 3, "a%2F": 4, "b": 5}', Flag.NONE, AT)
        .readings
    }
    assert len(paths) == 5


def test_local_times_of_the_change_are_read_in_order_of_arrival() -> None:
    mapping = make_map(make_plant(zone="Europe/Oslo"))
    local = ["01:45", *["02:00", "02:15", "02:30", "02:45"] * 2, "03:00"]
    times, flags = [], []
    for each in local:
        payload = json.dumps({"ts": f"2026-10-25T{each}:00", "temp": 1.0}).encode()
        (reading,) = mapping.map("p/m", payload, Flag.NONE, None).readings
        assert reading.source_time is not None
        times.append(reading.source_time)
        flags.append(reading.flags)
    assert {b - a for a, b in itertools.pairwise(times)} == {900_000_000}
    assert set(flags) == {Flag.NONE}


def make_messages() -> JsonMessages:
    plant = make_plant()
    return JsonMessages(plant, plant.sources[0], MqttGatewaySettings())


def message(payload: bytes, *, retained: bool = False) -> Arrived:
    return Arrived(b"p/m", payload, 1, retained, False, AT)


def test_a_retained_value_that_changed_while_we_were_away_is_no_known_one() -> None:
    messages = make_messages()

    def arrive(payload: bytes, *, retained: bool) -> int:
        (found,) = messages.deliveries([message(payload, retained=retained)])
        return found.values

    assert arrive(b'{"temp": 1.5}', retained=True) == 1
    assert arrive(b'{"temp": 1.5}', retained=True) == 0
    assert arrive(b'{"temp": 2.5}', retained=False) == 1
    assert arrive(b'{"temp": 2.5}', retained=True) == 0
    assert arrive(b'{"temp": 3.5}', retained=True) == 1  # changed, the session was lost
    assert arrive(b"", retained=False) == 0
    assert arrive(b'{"temp": 3.5}', retained=True) == 1  # deleted, and set again
    assert arrive(b'{"temp": 3.5}', retained=False) == 1


def test_a_fault_of_ours_with_one_message_costs_it_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    messages = make_messages()
    monkeypatch.setattr(MessageMap, "map", lambda *_: 1 / 0)
    good = b'{"temp": 1.5, "ts": 1767592800000}'
    (found,) = messages.deliveries([message(b'"x"'), message(good)])
    assert [(each.error_class, each.payload) for each in found.rejects] == [("internal", b'"x"')]
    assert found.values == 1


def test_a_quality_with_a_fraction_of_nothing_is_the_number() -> None:
    assert [quality.of_json(each) for each in (0.0, 192.0, 1.5, float("nan"), float("inf"))] == [
        BAD,
        GOOD,
        None,
        None,
        None,
    ]
