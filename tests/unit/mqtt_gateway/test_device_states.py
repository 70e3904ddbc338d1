"""Devices that say that they are gone or back, as births and deaths; retained messages."""

from __future__ import annotations

import pytest

from aurelian.edge.assembly import LastSeen
from aurelian.edge.gateway import Delivery
from aurelian.model.sample import Flag
from mqtt_gateway.json_messages import JsonMessages
from mqtt_gateway.packets import Arrived
from mqtt_gateway.settings import MqttGatewaySettings
from tests.unit.mqtt_gateway.payloads import AT, make_plant

SECOND = 1_000_000


def make_messages(source: dict[str, object], *names: str) -> JsonMessages:
    plant = make_plant(source, {name: {"temp": "double"} for name in names or ("m",)})
    return JsonMessages(plant, plant.sources[0], MqttGatewaySettings())


def arrived(topic: str, payload: str | bytes, at: int = AT, *, retained: bool = False) -> Arrived:
    data = payload if isinstance(payload, bytes) else payload.encode()
    return Arrived(topic.encode(), data, 1, retained, False, at)


def deliver(messages: JsonMessages, *found: Arrived) -> list[Delivery]:
    return list(messages.deliveries(found))


def kinds(deliveries: list[Delivery]) -> list[str | None]:
    return [event.WhichOneof("kind") for each in deliveries for event in each.events]


def test_a_last_will_is_the_death_of_its_unit_alone() -> None:
    messages = make_messages({"payload": "tasmota"}, "m", "n")
    (found,) = [each for each in deliver(messages, arrived("tele/m/LWT", "Offline")) if each.events]
    (event,) = found.events
    plant = make_plant({"payload": "tasmota"}, {"m": {}, "n": {}})
    assert [*event.death.assets] == [next(iter(plant.units())).id]
    assert event.death.reason == "tele/m/LWT: Offline"
    assert (event.source, event.time) == ("acme/north/x", AT)


def test_values_before_and_after_a_death_count_in_their_order() -> None:
    messages = make_messages({"payload": "tasmota"})
    value = '{"Time":"2026-01-05T06:00:00","temp":1}'
    deliveries = deliver(
        messages,
        arrived("tele/m/SENSOR", value),
        arrived("tele/m/LWT", "Offline", AT + SECOND),
        arrived("tele/m/LWT", "Online", AT + 2 * SECOND),
        arrived("tele/m/SENSOR", value.replace("00:00", "00:03"), AT + 3 * SECOND),
    )
    assert kinds(deliveries) == ["death", "birth"]
    alive = LastSeen("g", 0)
    seen = []
    for each in deliveries:
        alive.note(each, {reading.signal.asset: each.received_at for reading in each.readings})
        seen.append(any(event.heartbeat.assets for event in alive.take_heartbeats(AT)))
    # Heard before the death that came with it counts no more; what is behind it does.
    assert seen == [False, False, True]


def test_what_a_broker_kept_is_a_death_and_no_birth() -> None:
    messages = make_messages({"payload": "tasmota"})
    assert kinds(deliver(messages, arrived("tele/m/LWT", "Online", retained=True))) == []
    assert kinds(deliver(messages, arrived("tele/m/LWT", "Offline", retained=True))) == ["death"]
    assert kinds(deliver(messages, arrived("tele/m/LWT", "Offline", retained=True))) == []


def test_a_device_that_says_all_the_time_that_it_is_gone_is_heard_now_and_then() -> None:
    messages = make_messages({"payload": "tasmota"})
    found = [
        kinds(deliver(messages, arrived("tele/m/LWT", "Offline", AT + n * SECOND)))
        for n in range(25)
    ]
    assert sum(map(len, found)) == 3
    assert [len(each) for each in found[:11]] == [1, *[0] * 9, 1]


def test_a_device_that_nobody_declared_has_no_death() -> None:
    messages = make_messages({"payload": "tasmota"})
    (found,) = deliver(messages, arrived("tele/stranger/LWT", "Offline"))
    assert (found.events, found.rejects, found.values) == ([], [], 0)


@pytest.mark.parametrize("payload", ["json", "bare", "cbor"])
def test_an_empty_payload_is_a_deletion_and_no_reject(payload: str) -> None:
    messages = make_messages({"topic": "p/{unit}/{signal}", "payload": payload})
    for retained in (True, False):
        (found,) = deliver(messages, arrived("p/m/temp", b"", retained=retained))
        assert (found.values, found.rejects, found.skipped) == (0, [], 0)


def test_retained_values_are_flagged() -> None:
    messages = make_messages({"topic": "p/{unit}/{signal}", "payload": "bare"})
    (found,) = deliver(messages, arrived("p/m/temp", "1.5", retained=True))
    assert [each.flags for each in found.readings] == [Flag.RETAINED]


def test_a_topic_that_only_the_filter_takes_is_counted_as_skipped() -> None:
    messages = make_messages({"payload": "umh"})
    assert messages.filters == ("umh/v1/#",)
    (found,) = deliver(messages, arrived("umh/v1/acme/north/no-contract", "1"))
    assert (found.skipped, found.rejects) == (1, [])
