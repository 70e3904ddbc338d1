"""The examples of RFC 8428, sections 5.1.1 to 5.1.7 and 6, as published, with the names, values and
times that its text says (worked out by hand)."""

from __future__ import annotations

import json
from datetime import UTC

import cbor2
import pytest

from aurelian.model.mqtt_payloads import TopicModel
from mqtt_gateway.json_payload import Field
from mqtt_gateway.payloads import senml
from mqtt_gateway.payloads.contract import Context, Memory, Message
from mqtt_gateway.times import Times

NOW = 1_767_592_800_000_000
DEVICE = "urn:dev:ow:10e2073a01080063"
SHORT = "urn:dev:ow:10e2073a0108006"

SINGLE = b"""
   [
     {"n":"urn:dev:ow:10e2073a01080063","u":"Cel","v":23.1}
   ]
"""

NOW_TWO = b"""
[
  {"bn":"urn:dev:ow:10e2073a01080063:","n":"voltage","u":"V","v":120.1},
  {"n":"current","u":"A","v":1.2}
]
"""

FIVE_SECONDS = b"""
   [
     {"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,
      "bu":"A","bver":5,
      "n":"voltage","u":"V","v":120.1},
     {"n":"current","t":-5,"v":1.2},
     {"n":"current","t":-4,"v":1.3},
     {"n":"current","t":-3,"v":1.4},
     {"n":"current","t":-2,"v":1.5},
     {"n":"current","t":-1,"v":1.6},
     {"n":"current","v":1.7}
   ]
"""
"""The voltage, and the last current, at Tue Jun 8 18:01:16.001 UTC 2010."""

FIVE_SECONDS_ARE = [
    (SHORT, "voltage", 120.1, 1_276_020_076_001_000),
    (SHORT, "current", 1.2, 1_276_020_071_001_000),
    (SHORT, "current", 1.3, 1_276_020_072_001_000),
    (SHORT, "current", 1.4, 1_276_020_073_001_000),
    (SHORT, "current", 1.5, 1_276_020_074_001_000),
    (SHORT, "current", 1.6, 1_276_020_075_001_000),
    (SHORT, "current", 1.7, 1_276_020_076_001_000),
]

STREAM = b"""
   [
     {"bn":"urn:dev:ow:10e2073a01080063","bt":1.320067464e+09,
      "bu":"%RH","v":21.2},
     {"t":10,"v":21.3},
     {"t":20,"v":21.4},
     {"t":30,"v":21.4},
     {"t":40,"v":21.5},
     {"t":50,"v":21.5},
     {"t":60,"v":21.5},
     {"t":70,"v":21.6},
     {"t":80,"v":21.7}
   ]
"""
"""In the RFC the stream goes on; here its list ends."""

MOBILE = b"""
   [
     {"bn":"urn:dev:ow:10e2073a01080063","bt":1.320067464e+09,
      "bu":"%RH","v":20},
     {"u":"lon","v":24.30621},
     {"u":"lat","v":60.07965},
     {"t":60,"v":20.3},
     {"u":"lon","t":60,"v":24.30622},
     {"u":"lat","t":60,"v":60.07965},
     {"t":120,"v":20.7},
     {"u":"lon","t":120,"v":24.30623},
     {"u":"lat","t":120,"v":60.07966},
     {"u":"%EL","t":150,"v":98},
     {"t":180,"v":21.2},
     {"u":"lon","t":180,"v":24.30628},
     {"u":"lat","t":180,"v":60.07967}
   ]
"""

RESOLVED = b"""
   [
     {"n":"urn:dev:ow:10e2073a01080063","u":"%RH","t":1.320067464e+09,
      "v":20},
     {"n":"urn:dev:ow:10e2073a01080063","u":"lon","t":1.320067464e+09,
      "v":24.30621},
     {"n":"urn:dev:ow:10e2073a01080063","u":"lat","t":1.320067464e+09,
      "v":60.07965},
     {"n":"urn:dev:ow:10e2073a01080063","u":"%RH","t":1.320067524e+09,
      "v":20.3},
     {"n":"urn:dev:ow:10e2073a01080063","u":"lon","t":1.320067524e+09,
      "v":24.30622},
     {"n":"urn:dev:ow:10e2073a01080063","u":"lat","t":1.320067524e+09,
      "v":60.07965},
     {"n":"urn:dev:ow:10e2073a01080063","u":"%RH","t":1.320067584e+09,
      "v":20.7},
     {"n":"urn:dev:ow:10e2073a01080063","u":"lon","t":1.320067584e+09,
      "v":24.30623},
     {"n":"urn:dev:ow:10e2073a01080063","u":"lat","t":1.320067584e+09,
      "v":60.07966},
     {"n":"urn:dev:ow:10e2073a01080063","u":"%EL","t":1.320067614e+09,
      "v":98},
     {"n":"urn:dev:ow:10e2073a01080063","u":"%RH","t":1.320067644e+09,
      "v":21.2},
     {"n":"urn:dev:ow:10e2073a01080063","u":"lon","t":1.320067644e+09,
      "v":24.30628},
     {"n":"urn:dev:ow:10e2073a01080063","u":"lat","t":1.320067644e+09,
      "v":60.07967}
   ]
"""

MOBILE_IS = [
    ("", DEVICE, 20, 1_320_067_464_000_000),
    ("", DEVICE, 24.30621, 1_320_067_464_000_000),
    ("", DEVICE, 60.07965, 1_320_067_464_000_000),
    ("", DEVICE, 20.3, 1_320_067_524_000_000),
    ("", DEVICE, 24.30622, 1_320_067_524_000_000),
    ("", DEVICE, 60.07965, 1_320_067_524_000_000),
    ("", DEVICE, 20.7, 1_320_067_584_000_000),
    ("", DEVICE, 24.30623, 1_320_067_584_000_000),
    ("", DEVICE, 60.07966, 1_320_067_584_000_000),
    ("", DEVICE, 98, 1_320_067_614_000_000),
    ("", DEVICE, 21.2, 1_320_067_644_000_000),
    ("", DEVICE, 24.30628, 1_320_067_644_000_000),
    ("", DEVICE, 60.07967, 1_320_067_644_000_000),
]

TYPES = b"""
  [
    {"bn":"urn:dev:ow:10e2073a01080063:","n":"temp","u":"Cel","v":23.1},
    {"n":"label","vs":"Machine Room"},
    {"n":"open","vb":false},
    {"n":"nfv-reader","vd":"aGkgCg"}
  ]
"""

COLLECTION = b"""
   [
     {"bn":"2001:db8::2/","bt":1.320078429e+09,
      "n":"temperature","u":"Cel","v":25.2},
     {"n":"humidity","u":"%RH","v":30},
     {"bn":"2001:db8::1/","n":"temperature","u":"Cel","v":12.3},
     {"n":"humidity","u":"%RH","v":67}
   ]
"""

THERMOSTAT = b"""
   [
     {"bn":"urn:dev:ow:10e2073a01080063:"},
     {"n":"temp","u":"Cel","v":23.1},
     {"n":"heat","u":"/","v":1},
     {"n":"fan","u":"/","v":0}
   ]
"""

LIGHTS_ON = b"""
   [
     {"bt":1.320078429e+09,"bu":"/","n":"2001:db8::3","v":1},
     {"n":"2001:db8::4","v":1}
   ]
"""

LIGHTS_OFF = b"""
   [
     {"bt":1.320078429e+09,"bu":"/","n":"2001:db8::3","v":0.5},
     {"n":"2001:db8::4","v":0.5},
     {"n":"2001:db8::3","t":0.1,"v":0},
     {"n":"2001:db8::4","t":0.1,"v":0}
   ]
"""

DUMP = bytes.fromhex(
    """
    87 a7 21 78 1b 75 72 6e 3a 64 65 76 3a 6f 77 3a
    31 30 65 32 30 37 33 61 30 31 30 38 30 30 36 3a
    22 fb 41 d3 03 a1 5b 00 10 62 23 61 41 20 05 00
    67 76 6f 6c 74 61 67 65 01 61 56 02 fb 40 5e 06
    66 66 66 66 66 a3 00 67 63 75 72 72 65 6e 74 06
    24 02 fb 3f f3 33 33 33 33 33 33 a3 00 67 63 75
    72 72 65 6e 74 06 23 02 fb 3f f4 cc cc cc cc cc
    cd a3 00 67 63 75 72 72 65 6e 74 06 22 02 fb 3f
    f6 66 66 66 66 66 66 a3 00 67 63 75 72 72 65 6e
    74 06 21 02 f9 3e 00 a3 00 67 63 75 72 72 65 6e
    74 06 20 02 fb 3f f9 99 99 99 99 99 9a a3 00 67
    63 75 72 72 65 6e 74 06 00 02 fb 3f fb 33 33 33
    33 33 33
    """
)
"""Section 6: `FIVE_SECONDS` as CBOR."""

Row = tuple[str, str, object, int]

AT = 1_320_078_429_000_000
EXAMPLES: list[tuple[bytes, list[Row]]] = [
    (SINGLE, [("", DEVICE, 23.1, NOW)]),
    (NOW_TWO, [(DEVICE, "voltage", 120.1, NOW), (DEVICE, "current", 1.2, NOW)]),
    (FIVE_SECONDS, FIVE_SECONDS_ARE),
    (
        STREAM,
        [
            ("", DEVICE, value, 1_320_067_464_000_000 + n * 10_000_000)
            for n, value in enumerate((21.2, 21.3, 21.4, 21.4, 21.5, 21.5, 21.5, 21.6, 21.7))
        ],
    ),
    (MOBILE, MOBILE_IS),
    (RESOLVED, MOBILE_IS),
    (
        TYPES,
        [
            (DEVICE, "temp", 23.1, NOW),
            (DEVICE, "label", "Machine Room", NOW),
            (DEVICE, "open", False, NOW),
            (DEVICE, "nfv-reader", b"hi \n", NOW),
        ],
    ),
    (
        COLLECTION,
        [
            ("2001:db8::2", "temperature", 25.2, AT),
            ("2001:db8::2", "humidity", 30, AT),
            ("2001:db8::1", "temperature", 12.3, AT),
            ("2001:db8::1", "humidity", 67, AT),
        ],
    ),
    (
        THERMOSTAT,
        [(DEVICE, "temp", 23.1, NOW), (DEVICE, "heat", 1, NOW), (DEVICE, "fan", 0, NOW)],
    ),
    (LIGHTS_ON, [("", "2001:db8::3", 1, AT), ("", "2001:db8::4", 1, AT)]),
    (
        LIGHTS_OFF,
        [
            ("", "2001:db8::3", 0.5, AT),
            ("", "2001:db8::4", 0.5, AT),
            ("", "2001:db8::3", 0, AT + 100_000),
            ("", "2001:db8::4", 0, AT + 100_000),
        ],
    ),
    (DUMP, FIVE_SECONDS_ARE),
]
IDS = [
    "5.1.1",
    "5.1.2-now",
    "5.1.2-times",
    "5.1.2-stream",
    "5.1.3",
    "5.1.4",
    "5.1.5",
    "5.1.6",
    "5.1.7-thermostat",
    "5.1.7-on",
    "5.1.7-off",
    "6",
]

LABELS = {
    "bver": -1,
    "bn": -2,
    "bt": -3,
    "bu": -4,
    "bv": -5,
    "bs": -6,
    "n": 0,
    "u": 1,
    "v": 2,
    "vs": 3,
    "vb": 4,
    "s": 5,
    "t": 6,
    "ut": 7,
    "vd": 8,
}
"""Table 4."""


def rows(payload: bytes) -> list[Row]:
    """Device (empty: the topic would name it), address, value, time: in the order of the records
    of each device."""
    entry = TopicModel.model_validate({"topic": "s/+", "payload": "senml"})
    context = Context("", lambda unit: {}, Times(UTC), entry, Memory(), NOW)
    found: list[Row] = []
    for part in senml.decode(Message("s/x", payload), context):
        for each in part.members:
            assert isinstance(each, Field) and each.time is not None
            found.append((part.unit or "", each.name, each.value, each.time))
    return found


@pytest.mark.parametrize(("payload", "expected"), EXAMPLES, ids=IDS)
def test_an_example_says_what_the_text_says(payload: bytes, expected: list[Row]) -> None:
    found = rows(payload)
    assert found == expected
    assert [type(value) for _, _, value, _ in found] == [type(value) for _, _, value, _ in expected]


@pytest.mark.parametrize(("payload", "expected"), EXAMPLES[:-1], ids=IDS[:-1])
def test_each_example_says_the_same_as_cbor(payload: bytes, expected: list[Row]) -> None:
    records = [
        {LABELS[label]: value for label, value in each.items()} for each in json.loads(payload)
    ]
    for each in records:
        if 8 in each:
            each[8] = b"hi \n"
    assert rows(cbor2.dumps(records)) == expected


def test_the_labels_are_those_of_table_4() -> None:
    assert {name: number for number, name in senml._LABELS.items()} == LABELS
