"""The table of what can be wrong: as it is documented, each code used, no sentence that cannot be
filled in; and what can be said without a broker."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aurelian.edge.ladder import CODES
from mqtt_gateway.connect.arriving import nearest
from mqtt_gateway.connect.causes import CAUSES
from mqtt_gateway.connect.formats import guess
from mqtt_gateway.connect.topic_shape import template_of

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "services/mqtt_gateway/connect"


def test_the_document_has_each_code_with_its_sentences() -> None:
    text = (ROOT / "docs/connect-errors-mqtt.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (E\d{4}) \| (.+) \| (.+) \|$", text, re.MULTILINE)
    told = {code: (said, fix) for code, said, fix in rows}
    plain = {
        code: tuple(each.replace("{{", "{").replace("}}", "}") for each in cause)
        for code, cause in CAUSES.items()
    }
    assert told == plain


def test_each_code_is_of_a_rung_and_is_said_somewhere() -> None:
    files = [path for path in FOLDER.glob("*.py") if path.name != "causes.py"]
    used = {code for path in files for code in re.findall(r'"(E1\d{3})"', path.read_text())}
    assert used == set(CAUSES)
    assert {code[:3] for code in CAUSES} <= set(CODES.values())
    assert all(int(code[3:]) > 50 for code in CAUSES), "1 to 50 are those of OPC UA"


@pytest.mark.parametrize(
    ("topic", "payload", "expected"),
    [
        ("works/press/state", b'{"force": 1}', "json"),
        ("works/press/force", b"12.5", "bare"),
        ("works/press/door", b"open", "bare"),
        ("umh/v1/acme/north/hall/line-1/press/_raw/x", b'{"value": 3, "timestamp_ms": 1}', "umh"),
        ("tele/plug/SENSOR", b'{"Time": "2026-01-05T07:00:00", "ENERGY": {"Power": 5}}', "tasmota"),
        ("shellies/s1/relay/0/power", b"12.3", "shelly_gen1"),
        (
            "shellyplus-1/events/rpc",
            b'{"method": "NotifyStatus", "params": {"ts": 1}}',
            "shelly_gen2",
        ),
        ("zigbee2mqtt/probe", b'{"temperature": 27.3}', "zigbee2mqtt"),
        (
            "$aws/things/t/shadow/update/accepted",
            b'{"state": {"reported": {"v": 7}}}',
            "aws_shadow",
        ),
        ("devices/d/messages/events/$.ct=application%2Fjson", b'{"temp": 21}', "azure"),
        ("v1/gateway/telemetry", b'{"press": [{"ts": 1, "values": {"t": 3}}]}', "thingsboard"),
        ("s/us", b"200,c8y_Temperature,T,25.5,C", "cumulocity"),
        ("lab/x", b'[{"bn": "press:", "n": "temp", "v": 21}]', "senml"),
        ("homie/car/engine/speed", b"88", "homie"),
        ("plant/fan", b'{"tagName": "Fan", "value": 41, "timestamp": 1}', "ignition"),
        ("lab/c", bytes.fromhex("a16474656d7015"), "cbor"),
        ("lab/p", b"\x08\x96\x01\x15\x00\x00\xc8\x41", "protobuf"),
        ("lab/r", b"\xff\xfe\x01\x02", "raw"),
    ],
)
def test_each_way_to_write_payloads_is_guessed(topic: str, payload: bytes, expected: str) -> None:
    found = guess(topic, [payload])
    assert found and found[0].payload == expected, found
    assert found[0].why


def test_an_ordinary_topic_of_status_is_no_shelly() -> None:
    assert [each.payload for each in guess("press/status/a", [b'{"on": true}'])] == ["json"]


@pytest.mark.parametrize(
    ("topics", "bare", "template"),
    [
        (["works/press/state"], False, "works/{unit}/state"),
        (["works/press/state", "works/oven/state"], False, "works/{unit}/state"),
        (["works/press/state", "works/press/energy"], False, "works/{unit}/{signal}"),
        (["works/press", "works/oven"], False, "works/{unit}"),
        (["works/press/force", "works/oven/temp"], True, "works/{unit}/{signal}"),
        (["w/l1/press/state", "w/l2/press/state"], False, "w/{cell}/{unit}/state"),
        (["a1/l1/press/state", "a2/l2/press/state"], False, "{area}/{line}/{unit}/state"),
        (["press"], False, "press"),
    ],
)
def test_the_level_of_the_machine_is_found(topics: list[str], bare: bool, template: str) -> None:
    assert template_of(topics, bare=bare)[0] == template


def test_topics_that_are_much_alike_are_found() -> None:
    topics = ["works/press/state", "WORKS/press/State", "plant/oven/temp", "works/a/b/c/d/e"]
    assert nearest(["works/+/sate"], topics) == ["works/press/state", "WORKS/press/State"]
    assert nearest(["spBv1.0/Plnt/+/+/#"], ["spBv1.0/Plant/NBIRTH/E1"])
