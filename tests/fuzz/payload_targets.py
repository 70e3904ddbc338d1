"""The decoders of plain MQTT's payloads as the fuzzing calls them: from the message to samples and
rejects, with what the rest of the gateway relies on checked."""

from __future__ import annotations

import json
from functools import cache, partial
from pathlib import Path
from tempfile import gettempdir

import cbor2

from aurelian.edge.contract import Reading, apply
from aurelian.edge.gateway import Reject
from aurelian.model.plant import Plant
from aurelian.model.sample import ValueType
from mqtt_gateway.json_messages import JsonMessages
from mqtt_gateway.packets import Arrived
from mqtt_gateway.settings import MqttGatewaySettings
from tests.fuzz.targets import Target

AT = 1_767_592_800_000_000
SIGNALS = {
    "temp": "double",
    "count": "int64",
    "on": "bool",
    "note": "text",
    "setup": "json",
    "raw": "bytes",
    "a.b": "double",
    "value": "double",
    "switch:0.apower": "double",
    "engine/on": "bool",
    "ENERGY.Power.0": "double",
}
_LAYOUT = [
    {"name": "temp", "type": "float64", "offset": 0},
    {"name": "count", "type": "uint64", "offset": 8, "order": "little"},
    {"name": "on", "type": "bool", "offset": 3, "bit": 7},
]
_REPORTED = {
    "state": {"reported": {"temp": 1.5, "a": {"b": [1, {"c": 2}]}}},
    "timestamp": 1767592800,
}
_TAG = {"name": "temp", "value": 1.5, "timestamp": 1767592800000, "quality": "Good"}
_SENML = [{"bn": "m:", "bt": 1767592800, "n": "temp", "v": 1.5, "bv": 2}, {"n": "raw", "vd": "_-8"}]
_MEMBERS = {"ts": 1767592800, "temp": {"value": 1.5, "quality": "bad"}, "a": {"b": [1, None]}}

SOURCES: dict[str, tuple[dict[str, object], list[tuple[str, bytes | str | object]]]] = {
    "json": (
        {"topic": "p/{unit}/#"},
        [("p/m", _MEMBERS), ("p/m/temp", "1.5"), ("p/m/x", {"tag": "temp", "value": 2})],
    ),
    "bare": (
        {"topic": "p/{unit}/{signal}", "payload": "bare"},
        [("p/m/temp", "1.5"), ("p/m/on", "ON"), ("p/m/setup", "[1]"), ("p/m/raw", b"\xff")],
    ),
    "umh": (
        {"payload": "umh"},
        [
            ("umh/v1/o/s/a/l/m/_raw/a/b", {"timestamp_ms": 1767592800000, "value": 1.5}),
            ("umh/v1/o/s/_historian", {"timestamp_ms": 1767592800000, "temp": 1.5}),
        ],
    ),
    "tasmota": (
        {"payload": "tasmota"},
        [
            ("tele/m/SENSOR", {"Time": "2026-01-05T06:00:00", "ENERGY": {"Power": [1, 2]}}),
            ("tele/m/LWT", "Offline"),
            ("stat/m/POWER", "ON"),
        ],
    ),
    "shelly_gen1": (
        {"payload": "shelly_gen1"},
        [("shellies/m/relay/0/power", "1.5"), ("shellies/announce", {"id": "m", "unixtime": 1})],
    ),
    "shelly_gen2": (
        {"payload": "shelly_gen2"},
        [
            (
                "m/events/rpc",
                {
                    "method": "NotifyStatus",
                    "params": {"ts": 1767592800.5, "switch:0": {"id": 0, "apower": 1.5}},
                },
            ),
            (
                "m/events/rpc",
                {
                    "method": "NotifyEvent",
                    "params": {"events": [{"component": "input:0", "event": "push", "ts": 1.5}]},
                },
            ),
            ("m/status/sys", {"unixtime": 1767592800, "a": {"b": 1}}),
            ("m/online", "false"),
        ],
    ),
    "zigbee2mqtt": (
        {"payload": "zigbee2mqtt"},
        [
            ("zigbee2mqtt/m", {"temp": 1.5, "last_seen": "2026-01-05T06:00:00Z"}),
            ("zigbee2mqtt/m/availability", {"state": "offline"}),
            ("zigbee2mqtt/bridge/state", "offline"),
        ],
    ),
    "aws_shadow": (
        {"topic": "$aws/things/{unit}/shadow/#", "payload": "aws_shadow"},
        [
            ("$aws/things/m/shadow/update/accepted", _REPORTED),
            (
                "$aws/things/m/shadow/name/n/update/documents",
                {"current": _REPORTED | {"metadata": {"reported": {"temp": {"timestamp": 1}}}}},
            ),
        ],
    ),
    "azure": (
        {"payload": "azure"},
        [
            ("devices/m/messages/events/%24.ct=application%2Fjson&k=%20v", _MEMBERS),
            ("devices/m/messages/events/%24.ct=application%2Fcbor", cbor2.dumps(_MEMBERS)),
        ],
    ),
    "thingsboard": (
        {"payload": "thingsboard"},
        [
            ("v1/gateway/telemetry", {"m": [{"ts": 1767592800000, "values": {"temp": 1.5}}]}),
            ("v1/devices/me/telemetry", [{"ts": 1, "values": {"a": {"b": 1}}}, {"temp": 2}]),
            ("v1/gateway/disconnect", {"device": "m"}),
        ],
    ),
    "cumulocity": (
        {"payload": "cumulocity"},
        [
            ("s/us", '200,a,b,1.5,C,2026-01-05T06:00:00Z\n302,"a""b",text\n201,t,,a,b,2,C'),
            (
                "measurement/measurements/createBulk",
                {"measurements": [{"time": "2026-01-05T06:00:00Z", "a": {"b": {"value": 1.5}}}]},
            ),
            ("alarm/alarms/create", {"type": "hot", "text": "x", "severity": "MAJOR"}),
        ],
    ),
    "senml": (
        {"topic": "p/{unit}", "payload": "senml"},
        [
            ("p/m", _SENML),
            (
                "p/m",
                cbor2.dumps([{-2: "m:", -3: 1767592800, 0: "temp", 2: 1.5}, {0: "raw", 8: b"x"}]),
            ),
        ],
    ),
    "homie": (
        {"payload": "homie"},
        [
            ("homie/m/engine/on", "true"),
            ("homie/m/engine/on/$datatype", "boolean"),
            (
                "homie/5/m/$description",
                {"nodes": {"e": {"properties": {"x": {"datatype": "float"}}}}},
            ),
            ("homie/m/$state", "lost"),
        ],
    ),
    "ignition": (
        {"topic": "u/{unit}/#", "payload": "ignition"},
        [
            ("u/m/temp", _TAG),
            ("u/m", {"timestamp": 1767592800000, "metrics": [_TAG | {"isHistorical": True}]}),
        ],
    ),
    "cbor": (
        {"topic": "p/{unit}/#", "payload": "cbor"},
        [("p/m", cbor2.dumps(_MEMBERS)), ("p/m/temp", cbor2.dumps(1.5))],
    ),
    "protobuf": (
        {
            "topic": "p/{unit}",
            "payload": "protobuf",
            "protobuf": {
                "descriptor_file": str(Path(gettempdir()) / "aurelian-fuzz-not-there.desc"),
                "message": "a.B",
            },
        },
        [("p/m", b"\x08\x01\x12\x02ab")],
    ),
    "raw": (
        {"topic": "p/{unit}", "payload": "raw", "layout": _LAYOUT},
        [("p/m", bytes(range(16)))],
    ),
}


def make_payload_targets() -> dict[str, Target]:
    """All decoders by name."""
    return {
        name: Target(
            name,
            partial(_run, name),
            tuple(_joined(topic, payload) for topic, payload in seeds),
        )
        for name, (_, seeds) in SOURCES.items()
    }


def _joined(topic: str, payload: object) -> bytes:
    """A message as bytes that can be damaged: topic, line end, payload."""
    if not isinstance(payload, (bytes, str)):
        payload = json.dumps(payload)
    return topic.encode() + b"\n" + (payload if isinstance(payload, bytes) else payload.encode())


def _run(name: str, data: bytes) -> None:
    topic, _, payload = data.partition(b"\n")
    run_message(name, topic, payload)


def run_message(name: str, topic: bytes, payload: bytes) -> None:
    """Take one message; anything raised, and a fault of ours in the rejects, is a failure."""
    arrived = Arrived(topic, payload, 1, False, False, AT)
    for delivery in _messages(name).deliveries([arrived]):
        rejects = list(delivery.rejects)
        columns = [] if delivery.columns is None else delivery.columns.readings()
        for reading in (*columns, *delivery.readings):
            _check(reading)
            made = apply(reading, AT)
            if isinstance(made, Reject):
                rejects.append(made)
        assert all(each.error_class != "internal" and each.reason for each in rejects), rejects
        kept = sum(len(each.payload) for each in delivery.rejects)
        assert kept <= len(payload), "the payload is kept more than once"
        for event in delivery.events:
            event.SerializeToString()


def _check(reading: Reading) -> None:
    """What the rest of the gateway relies on."""
    assert 0 <= reading.status < 2**32
    match reading.type:
        case ValueType.JSON | ValueType.TEXT:
            assert isinstance(reading.value, str)
        case ValueType.BYTES:
            assert isinstance(reading.value, bytes)
        case ValueType.BOOL:
            assert isinstance(reading.value, bool)
        case ValueType.INT64 | ValueType.UINT64:
            assert type(reading.value) is int
        case ValueType.DOUBLE:
            assert isinstance(reading.value, float)
        case ValueType.NULL:
            assert reading.value is None
    assert reading.source_time is None or isinstance(reading.source_time, int)


@cache
def _messages(name: str) -> JsonMessages:
    unit = {
        "name": "m",
        "source": "x",
        "signals": [
            {"name": f"s{number}", "address": address, "type": kind}
            for number, (address, kind) in enumerate(SIGNALS.items())
        ],
    }
    line = {"name": "l", "products": [{"id": "p", "ideal_cycle_s": 1}], "units": [unit]}
    plant = Plant.model_validate(
        {
            "company": {"id": "o", "name": "O"},
            "site": "s",
            "time_zone": "Europe/Oslo",
            "sources": [{"id": "x", "kind": "mqtt", "url": "mqtt://h", **SOURCES[name][0]}],
            "areas": [{"name": "a", "lines": [line]}],
        }
    )
    settings = MqttGatewaySettings(mqtt_max_discovered=100)
    return JsonMessages(plant, plant.sources[0], settings)
