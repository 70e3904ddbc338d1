"""Payloads of products as their public documentation shows them, in our own words and numbers: the
values by address, their times, and what is said of the devices."""

import json
from datetime import UTC, datetime

import pytest

from aurelian.model.evidence import UNCERTAIN_LAST_USABLE
from aurelian.model.mqtt_payloads import PayloadName
from aurelian.model.sample import BAD, Flag, ValueType
from mqtt_gateway.payloads.contract import Presence
from tests.unit.mqtt_gateway.payloads import AT, make_map, send, times, values

SECOND = 1_000_000


def us(text: str) -> int:
    """Microseconds since 1970 of a time in UTC."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND


def test_tasmota_sensors_have_the_local_time_of_the_source() -> None:
    mapping = make_map(
        {"payload": "tasmota", "time_zone": "Europe/Oslo"},
        {"plug": {"ENERGY.Power": "double", "POWER": "bool", "DS18B20.Temperature": "double"}},
    )
    payload = """{"Time":"2026-01-05T07:00:00","ENERGY":{"TotalStartTime":"2025-11-01T12:30:00",
      "Total":41.237,"Power":[102],"Factor":0.97},"DS18B20":{"Id":"0316","Temperature":23.5},
      "TempUnit":"C"}"""
    mapped = send(mapping, "tele/plug/SENSOR", payload)
    assert values(mapped) == {
        "plug/ENERGY.TotalStartTime": "2025-11-01T12:30:00",
        "plug/ENERGY.Total": 41.237,
        "plug/ENERGY.Power": "[102]",
        "plug/ENERGY.Factor": 0.97,
        "plug/DS18B20.Id": "0316",
        "plug/DS18B20.Temperature": 23.5,
        "plug/TempUnit": "C",
    }
    assert times(mapped) == {AT}  # 07:00 in Oslo, in winter


def test_tasmota_phases_have_signals_of_their_own_where_those_are_declared() -> None:
    mapping = make_map(
        {"payload": "tasmota"}, {"em": {"ENERGY.Power.0": "double", "ENERGY.Power.1": "double"}}
    )
    mapped = send(mapping, "tele/em/SENSOR", '{"ENERGY":{"Power":[10,20,30]}}')
    assert values(mapped) == {
        "em/ENERGY.Power.0": 10,
        "em/ENERGY.Power.1": 20,
        "em/ENERGY.Power.2": 30,
    }


def test_tasmota_states_results_and_words() -> None:
    mapping = make_map({"payload": "tasmota"}, {"plug": {"POWER": "bool"}})
    state = '{"Time":"2026-01-05T06:00:00","UptimeSec":7200,"POWER":"ON","Wifi":{"RSSI":84}}'
    assert values(send(mapping, "tele/plug/STATE", state)) == {
        "plug/UptimeSec": 7200,
        "plug/POWER": True,
        "plug/Wifi.RSSI": 84,
    }
    assert values(send(mapping, "stat/plug/POWER", "OFF")) == {"plug/POWER": False}
    assert values(send(mapping, "stat/plug/RESULT", '{"POWER":"ON"}')) == {"plug/POWER": True}
    status = '{"StatusSNS":{"Time":"2026-01-05T06:00:00","ANALOG":{"A0":731}}}'
    mapped = send(mapping, "stat/plug/STATUS8", status)
    assert (values(mapped), times(mapped)) == ({"plug/ANALOG.A0": 731}, {AT})


def test_shelly_of_the_first_generation() -> None:
    mapping = make_map(
        {"payload": "shelly_gen1"},
        {"shelly1pm-A4CF": {"relay/0": "bool", "relay/0/power": "double"}},
    )

    def of(rest: str, payload: str) -> dict[str, object]:
        mapped = send(mapping, f"shellies/shelly1pm-A4CF/{rest}", payload)
        assert not mapped.rejects
        return {key.removeprefix("shelly1pm-A4CF/"): value for key, value in values(mapped).items()}

    assert of("relay/0", "on") == {"relay/0": True}
    assert of("relay/0/power", "12.36") == {"relay/0/power": 12.36}
    assert of("relay/0/energy", "1234") == {"relay%2F0%2Fenergy": 1234}
    assert of("input_event/0", '{"event":"S","event_cnt":7}') == {
        "input_event%2F0.event": "S",
        "input_event%2F0.event_cnt": 7,
    }
    assert of("relay/0/command", "off") == {}
    assert of("command", "announce") == {}
    info = '{"unixtime":1767592800,"relays":[{"ison":true}],"ram_free":38312}'
    mapped = send(mapping, "shellies/shelly1pm-A4CF/info", info)
    assert times(mapped) == {AT}
    announced = send(mapping, "shellies/announce", '{"id":"shelly1pm-A4CF","new_fw":false}')
    assert values(announced)["shelly1pm-A4CF/announce.new_fw"] is False


def test_shelly_of_later_generations() -> None:
    mapping = make_map(
        {"payload": "shelly_gen2"},
        {"shellyplus1pm-80": {"switch:0.apower": "double", "switch:0.temperature.tC": "double"}},
    )
    changed = {
        "src": "shellyplus1pm-80",
        "dst": "shellyplus1pm-80/events",
        "method": "NotifyStatus",
        "params": {
            "ts": 1767592800.25,
            "switch:0": {
                "id": 0,
                "apower": 8.9,
                "aenergy": {"total": 6.532, "minute_ts": 1767592799},
            },
        },
    }
    mapped = send(mapping, "shellyplus1pm-80/events/rpc", json.dumps(changed))
    assert values(mapped) == {
        "shellyplus1pm-80/switch:0.apower": 8.9,
        "shellyplus1pm-80/switch:0.aenergy.total": 6.532,
        "shellyplus1pm-80/switch:0.aenergy.minute_ts": 1767592799,
    }
    assert times(mapped) == {AT + 250_000}
    changed["method"] = "NotifyFullStatus"
    assert values(send(mapping, "shellyplus1pm-80/events/rpc", json.dumps(changed))) == values(
        mapped
    )
    pushed = {
        "method": "NotifyEvent",
        "params": {
            "ts": 1767592801,
            "events": [
                {"component": "input:0", "id": 0, "event": "single_push", "ts": 1767592800.5}
            ],
        },
    }
    mapped = send(mapping, "shellyplus1pm-80/events/rpc", json.dumps(pushed))
    assert values(mapped) == {"shellyplus1pm-80/input:0.event": "single_push"}
    assert times(mapped) == {AT + 500_000}
    status = '{"id":0,"output":true,"temperature":{"tC":52.9,"tF":127.2}}'
    assert values(send(mapping, "shellyplus1pm-80/status/switch:0", status)) == {
        "shellyplus1pm-80/switch:0.output": True,
        "shellyplus1pm-80/switch:0.temperature.tC": 52.9,
        "shellyplus1pm-80/switch:0.temperature.tF": 127.2,
    }


def test_zigbee2mqtt_names_may_have_slashes_and_last_seen_is_the_time() -> None:
    mapping = make_map(
        {"payload": "zigbee2mqtt"},
        {"lamp": {"@": "kitchen/lamp", "brightness": "int64"}, "probe": {"temperature": "double"}},
    )
    payload = '{"brightness":115,"color":{"x":0.4},"state":"ON","last_seen":1767592800000}'
    mapped = send(mapping, "zigbee2mqtt/kitchen/lamp", payload)
    assert values(mapped) == {
        "lamp/brightness": 115,
        "lamp/color.x": 0.4,
        "lamp/state": "ON",
    }
    assert times(mapped) == {AT}
    seen = '{"temperature":27.34,"last_seen":"2026-01-05T07:00:00+01:00"}'
    mapped = send(mapping, "zigbee2mqtt/probe", seen)
    assert (values(mapped), times(mapped)) == ({"probe/temperature": 27.34}, {AT})
    assert values(send(mapping, "zigbee2mqtt/kitchen/lamp/brightness", "7")) == {
        "lamp/brightness": 7
    }
    for aside in ("kitchen/lamp/set", "kitchen/lamp/get", "bridge/devices", "bridge/state"):
        mapped = send(mapping, f"zigbee2mqtt/{aside}", '{"state":"online"}')
        assert (mapped.readings, mapped.rejects, mapped.said) == ([], [], [])


def test_aws_shadows_give_what_is_reported_at_the_times_of_their_metadata() -> None:
    mapping = make_map({"payload": "aws_shadow"}, {"pump": {"speed": "double", "cfg.mode": "text"}})
    accepted = {
        "state": {
            "desired": {"speed": 9},
            "reported": {"speed": 7.5, "motor": {"amps": [1, 2]}, "gone": None},
        },
        "metadata": {
            "reported": {
                "speed": {"timestamp": 1767592800},
                "motor": {"amps": [{"timestamp": 1767592790}, {"timestamp": 1767592795}]},
            }
        },
        "version": 10,
        "timestamp": 1767592801,
    }
    mapped = send(mapping, "$aws/things/pump/shadow/update/accepted", json.dumps(accepted))
    assert values(mapped) == {"pump/speed": 7.5, "pump/motor.amps": "[1,2]", "pump/gone": None}
    assert [each.source_time for each in mapped.readings] == [
        AT,
        AT - 5 * SECOND,
        AT + SECOND,
    ]
    named = {"state": {"reported": {"mode": "auto"}}, "timestamp": 1767592800}
    topic = "$aws/things/pump/shadow/name/cfg/update/accepted"
    mapped = send(mapping, topic, json.dumps(named))
    assert (values(mapped), times(mapped)) == ({"pump/cfg.mode": "auto"}, {AT})


def test_aws_documents_give_the_current_state_and_deltas_nothing() -> None:
    mapping = make_map({"topic": "$aws/things/{unit}/shadow/#", "payload": "aws_shadow"})
    document = {
        "previous": {"state": {"reported": {"on": False}}},
        "current": {
            "state": {"reported": {"on": True}},
            "metadata": {"reported": {"on": {"timestamp": 1767592800}}},
        },
        "timestamp": 1767592805,
    }
    mapped = send(mapping, "$aws/things/m/shadow/update/documents", json.dumps(document))
    assert (values(mapped), times(mapped)) == ({"m/on": True}, {AT})
    for aside in ("update/delta", "update/rejected", "get", "delete/accepted"):
        mapped = send(mapping, f"$aws/things/m/shadow/{aside}", '{"state":{"on":false}}')
        assert (mapped.readings, mapped.rejects) == ([], [])


def test_azure_properties_stand_url_encoded_in_the_topic() -> None:
    mapping = make_map({"payload": "azure"}, {"dev-1": {"temp": "double"}})
    bag = "%24.ct=application%2Fjson%3Bcharset%3Dutf-8&%24.ce=utf-8&level=high%20%26%20dry"
    bag += "&%24.ctime=2026-01-05T06%3A00%3A00Z"
    mapped = send(mapping, f"devices/dev-1/messages/events/{bag}", '{"temp":21.5}')
    assert values(mapped) == {"dev-1/temp": 21.5, "dev-1/properties.level": "high & dry"}
    assert times(mapped) == {AT}
    mapped = send(mapping, "devices/dev-1/messages/events/", '{"temp":22}')
    assert (values(mapped), times(mapped)) == ({"dev-1/temp": 22}, {None})
    (reject,) = send(mapping, "devices/dev-1/messages/events/a=%ff", "{}").rejects
    assert reject.error_class == "unreadable"


def test_thingsboard_device_and_gateway_api() -> None:
    mapping = make_map({"payload": "thingsboard"}, {"a": {"temp": "double"}})
    one = '{"ts":1767592800000,"values":{"temp":42,"on":true}}'
    mapped = send(mapping, "v1/devices/me/telemetry", one)
    assert (values(mapped), times(mapped)) == ({"a/temp": 42, "a/on": True}, {AT})
    assert values(send(mapping, "v1/devices/me/attributes", '{"fw":"1.0"}')) == {"a/fw": "1.0"}
    several = '[{"temp":1},{"ts":1767592800000,"values":{"temp":2}}]'
    mapped = send(mapping, "v1/devices/me/telemetry", several)
    assert [(each.value, each.source_time) for each in mapped.readings] == [(1, None), (2, AT)]
    gateway = '{"a":[{"ts":1767592800000,"values":{"temp":3}}],"b":[{"temp":4}]}'
    assert values(send(mapping, "v1/gateway/telemetry", gateway)) == {"a/temp": 3, "b/temp": 4}
    assert values(send(mapping, "v1/gateway/attributes", '{"a":{"x":1}}')) == {"a/x": 1}


def test_cumulocity_smartrest_lines() -> None:
    mapping = make_map({"payload": "cumulocity"}, {"m": {"c8y_Temperature.T": "double"}})
    lines = """200,c8y_Temperature,T,25.5,C,2026-01-05T06:00:00.000Z
201,KamstrupA220Reading,2026-01-05T07:00:00+01:00,c8y_Energy,A+:1,1234,kWh,c8y_Energy,A-:1,5,kWh
210,-90,23,2026-01-05T06:00:00Z
211,21
212,95,2026-01-05T06:00:00Z
302,"door ""north"", open",it is open,2026-01-05T06:00:00Z
306,door
400,c8y_Started,Gateway started,2026-01-05T06:00:00Z
401,51.151977,6.95173,67,,2026-01-05T06:00:00Z
100,Device,type
"""
    mapped = send(mapping, "s/us", lines)
    assert not mapped.rejects
    assert values(mapped) == {
        "m/c8y_Temperature.T": 25.5,
        "m/c8y_Energy.A+:1": 1234,
        "m/c8y_Energy.A-:1": 5,
        "m/c8y_SignalStrength.rssi": -90,
        "m/c8y_SignalStrength.ber": 23,
        "m/c8y_TemperatureMeasurement.T": 21,
        "m/c8y_Battery.level": 95,
        'm/alarm.door "north", open': "it is open",
        'm/alarm.door "north", open.severity': "MAJOR",
        "m/alarm.door.severity": "CLEARED",
        "m/event.c8y_Started": "Gateway started",
        "m/c8y_Position.lat": 51.151977,
        "m/c8y_Position.lng": 6.95173,
        "m/c8y_Position.alt": 67,
    }
    assert times(mapped) == {AT, None}
    broken = send(mapping, "s/us/m", "200,c8y_Temperature,T,warm\n999,what\n211,3")
    assert values(broken) == {"m/c8y_TemperatureMeasurement.T": 3}
    assert sum(each.samples for each in broken.rejects) == 2


def test_cumulocity_json() -> None:
    mapping = make_map({"payload": "cumulocity"}, {"probe": {"c8y_Temperature.T": "double"}})
    one = {
        "c8y_Temperature": {"T": {"value": 20.5, "unit": "C"}},
        "time": "2026-01-05T06:00:00Z",
        "type": "c8y_Temperature",
        "externalSource": {"externalId": "probe", "type": "c8y_Serial"},
    }
    mapped = send(mapping, "measurement/measurements/create", json.dumps(one))
    assert (values(mapped), times(mapped)) == ({"probe/c8y_Temperature.T": 20.5}, {AT})
    many = json.dumps(
        {"measurements": [one, one | {"source": {"id": "9"}, "externalSource": None}]}
    )
    assert values(send(mapping, "measurement/measurements/createBulk", many)) == {
        "probe/c8y_Temperature.T": 20.5,
        "9/c8y_Temperature.T": 20.5,
    }
    alarm = {"type": "hot", "text": "too hot", "severity": "MAJOR", "time": "2026-01-05T06:00:00Z"}
    assert values(send(mapping, "alarm/alarms/create", json.dumps(alarm))) == {
        "probe/alarm.hot": "too hot",
        "probe/alarm.hot.severity": "MAJOR",
    }


@pytest.mark.parametrize("prefix", ["homie", "homie/5"])
def test_homie_values_are_of_their_datatype(prefix: str) -> None:
    mapping = make_map({"payload": "homie"}, {"car": {"engine/speed": "double"}})
    if prefix == "homie":
        described = {"engine/code/$datatype": "string", "engine/on/$datatype": "boolean"}
    else:
        nodes = {
            "engine": {
                "properties": {"code": {"datatype": "string"}, "on": {"datatype": "boolean"}}
            }
        }
        described = {"$description": json.dumps({"homie": "5.0", "nodes": nodes})}
    for rest, payload in described.items():
        mapped = send(mapping, f"{prefix}/car/{rest}", payload)
        assert (mapped.readings, mapped.rejects) == ([], [])

    def of(rest: str, payload: str) -> list[object]:
        return [each.value for each in send(mapping, f"{prefix}/car/{rest}", payload).readings]

    assert of("engine/speed", "88.5") == [88.5]
    assert of("engine/code", "007") == ["007"]
    assert of("engine/on", "true") == [True]
    assert of("engine/count", "12") == [12]
    assert of("engine/code", "\0") == [""]
    assert of("engine/speed/set", "1") == []


def test_ignition_tags_have_their_quality_and_time() -> None:
    topic = "unsAv1.0/acme/north/hall/line-1/press/Motor/Fan Speed"
    mapping = make_map({"payload": "ignition"}, {"press": {"Motor/Fan Speed": "double"}})
    tag = {
        "tagName": "Fan Speed",
        "dataType": "Double",
        "value": 41.5,
        "timestamp": 1767592800000,
        "quality": "Good",
    }
    mapped = send(mapping, topic, json.dumps(tag))
    assert (values(mapped), times(mapped)) == ({"press/Motor/Fan Speed": 41.5}, {AT})

    def status(quality: object) -> int:
        (reading,) = send(mapping, topic, json.dumps(tag | {"quality": quality})).readings
        return reading.status

    assert [
        status(each) for each in ("Good", 192, "Bad_Stale", 512, 500, "Error_Configuration")
    ] == [
        0,
        0,
        BAD,
        BAD,
        UNCERTAIN_LAST_USABLE,
        BAD,
    ]
    props = send(mapping, f"{topic}.props", '{"enabled":{"type":"Boolean","value":true}}')
    assert (props.readings, props.rejects) == ([], [])


def test_ignition_sparkplug_as_json() -> None:
    mapping = make_map({"topic": "json/{unit}", "payload": "ignition"}, {"e1": {"A/B": "int64"}})
    payload = {
        "timestamp": 1767592800000,
        "metrics": [
            {"name": "A/B", "timestamp": 1767592799000, "dataType": "Int32", "value": 3},
            {
                "name": "C",
                "isHistorical": True,
                "value": 4,
                "properties": {"Quality": {"value": 0}},
            },
            {"name": "D", "isNull": True},
        ],
        "seq": 7,
    }
    first, second, third = send(mapping, "json/e1", json.dumps(payload)).readings
    assert (first.value, first.source_time) == (3, AT - SECOND)
    assert (second.value, second.source_time, second.status) == (4, AT, BAD)
    assert second.flags is Flag.HISTORICAL
    assert (third.value, third.type) == (None, ValueType.NULL)


def test_umh_one_value_and_tags_beside_a_time() -> None:
    mapping = make_map({"payload": "umh"}, {"press": {"axis.x.pos": "double", "temp": "double"}})
    base = "umh/v1/acme/north/hall/line-1/press/_historian"
    one = '{"value":12.5,"timestamp_ms":1767592800000}'
    mapped = send(mapping, f"{base}/axis/x/pos", one)
    assert (values(mapped), times(mapped)) == ({"press/axis.x.pos": 12.5}, {AT})
    tags = '{"timestamp_ms":1767592800000,"temp":21.5,"axis":{"x":{"pos":3}}}'
    mapped = send(mapping, base, tags)
    assert values(mapped) == {"press/temp": 21.5, "press/axis.x.pos": 3}
    assert times(mapped) == {AT}
    grouped = send(mapping, f"{base}/axis", '{"timestamp_ms":1767592800000,"x":{"pos":4}}')
    assert values(grouped) == {"press/axis.x.pos": 4}
    assert values(send(mapping, "umh/v1/acme/_raw/total", '{"value":1}')) == {"%/acme/total": 1}
    assert send(mapping, "umh/v1/acme/north/hall/no-contract", "1").is_other
    (reject,) = send(mapping, f"{base}/a b", one).rejects
    assert "'a b'" in reject.reason


@pytest.mark.parametrize(
    ("payload", "topic", "said", "presence"),
    [
        ("tasmota", "tele/m/LWT", "Online", Presence.ONLINE),
        ("tasmota", "tele/m/LWT", "Offline", Presence.LOST),
        ("shelly_gen1", "shellies/m/online", "false", Presence.LOST),
        ("shelly_gen2", "m/online", "true", Presence.ONLINE),
        ("shelly_gen2", "m/online", "false", Presence.LOST),
        ("zigbee2mqtt", "zigbee2mqtt/m/availability", "offline", Presence.LOST),
        ("zigbee2mqtt", "zigbee2mqtt/m/availability", '{"state":"online"}', Presence.ONLINE),
        ("homie", "homie/m/$state", "ready", Presence.ONLINE),
        ("homie", "homie/m/$state", "disconnected", Presence.OFFLINE),
        ("homie", "homie/5/m/$state", "lost", Presence.LOST),
        ("homie", "homie/m/$online", "false", Presence.LOST),
        ("thingsboard", "v1/gateway/connect", '{"device":"m"}', Presence.ONLINE),
        ("thingsboard", "v1/gateway/disconnect", '{"device":"m"}', Presence.OFFLINE),
    ],
)
def test_devices_say_that_they_are_there_or_not(
    payload: PayloadName, topic: str, said: str, presence: Presence
) -> None:
    mapped = send(make_map({"payload": payload}, {"m": {}}), topic, said)
    assert (mapped.readings, mapped.rejects) == ([], [])
    ((units, state),) = [(each.units, each.state) for each in mapped.said]
    assert ([unit.model.name for unit in units], state.presence) == (["m"], presence)


def test_aws_life_cycle_events() -> None:
    mapping = make_map({"topic": "$aws/events/presence/+/{unit}", "payload": "aws_shadow"})
    lost = '{"clientId":"m","eventType":"disconnected","clientInitiatedDisconnect":false}'
    (said,) = send(mapping, "$aws/events/presence/disconnected/m", lost).said
    assert said.state.presence is Presence.LOST
    (said,) = send(mapping, "$aws/events/presence/connected/m", '{"eventType":"connected"}').said
    assert said.state.presence is Presence.ONLINE


def test_a_bridge_that_is_gone_takes_all_its_devices_with_it() -> None:
    mapping = make_map({"payload": "zigbee2mqtt"}, {"a": {"x": "int64"}, "b": {"x": "int64"}})
    send(mapping, "zigbee2mqtt/a", '{"x":1}')
    send(mapping, "zigbee2mqtt/b", '{"x":1}')
    (said,) = send(mapping, "zigbee2mqtt/bridge/state", '{"state":"offline"}').said
    assert {unit.model.name for unit in said.units} == {"a", "b"}
