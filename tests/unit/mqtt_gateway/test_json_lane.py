"""The columns of ordinary messages are what mapping.py makes of the same messages."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aurelian.edge.contract import Reading
from aurelian.model.plant import Plant
from aurelian.model.sample import Flag
from mqtt_gateway.collected import Collected
from mqtt_gateway.json_lane import JsonLane
from mqtt_gateway.message_map import MessageMap

TYPES = {
    "force": "double",
    "count": "int64",
    "on": "bool",
    "text": "text",
    "raw": "json",
    "a.b": "double",
    "value": "double",
    "ts": "int64",
    "big": "uint64",
}


def make_map(topic: str, names: tuple[str, ...]) -> MessageMap:
    signals = [{"name": n.replace(".", "-"), "address": n, "type": TYPES[n]} for n in names]
    unit = {"name": "press", "source": "x", "signals": signals}
    line = {"name": "l", "products": [{"id": "p", "ideal_cycle_s": 1}], "units": [unit]}
    plant = Plant.model_validate(
        {
            "company": {"id": "o", "name": "O"},
            "site": "s",
            "time_zone": "UTC",
            "sources": [{"id": "x", "kind": "mqtt_json", "url": "mqtt://h", "topic": topic}],
            "areas": [{"name": "a", "lines": [line]}],
        }
    )
    return MessageMap(plant, plant.sources[0], max_payload_bytes=10**6, max_discovered=100)


def lane_of(made: MessageMap) -> JsonLane:
    return JsonLane("o", made.signals, made.times, made.json_place)


numbers = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
)
others = st.one_of(st.none(), st.text(max_size=5), st.lists(st.integers(), max_size=2))
names = st.sampled_from([*TYPES, "timestamp", "time", "quality", "unit", "fields", "b", "name"])
flat = st.dictionaries(names, st.one_of(numbers, numbers, others), max_size=4)
contents = st.one_of(numbers, others, flat, st.dictionaries(names, flat, max_size=2))
declared = st.lists(st.sampled_from(list(TYPES)), min_size=1, unique=True).map(tuple)
topics = st.sampled_from(
    [
        ("p/{unit}/state", "p/press/state"),
        ("p/{unit}/{signal}", "p/press/force"),
        ("p/{unit}/{signal}", "p/press/a"),
        ("p/{unit}/#", "p/press/a"),
        ("p/{unit}/#", "p/press"),
        ("p/{unit}/{signal}", "p/other/force"),
        ("p/{unit}/state", "q/press/state"),
    ]
)


@given(topics, declared, contents)
@example(("p/{unit}/state", "p/press/state"), ("force",), {"force": 1.5, "ts": 1767592800000})
@example(("p/{unit}/{signal}", "p/press/force"), ("force",), {"value": 3, "time": 1767592800})
@example(("p/{unit}/state", "p/press/state"), ("big",), {"big": 2**63})
def test_a_message_has_the_same_values_both_ways(
    topic: tuple[str, str], known: tuple[str, ...], content: object
) -> None:
    made = make_map(topic[0], known)
    payload = json.dumps(content).encode()
    collected, lane = Collected(), lane_of(made)
    if not lane.read(topic[1].encode(), payload, collected):
        assert not collected.place
        return
    columns = collected.finish(lane.table)
    assert columns is not None
    wanted = made.map(topic[1], payload, Flag.NONE)
    assert not wanted.rejects
    assert [shown(each) for each in columns.readings()] == [shown(each) for each in wanted.readings]


def shown(reading: Reading) -> tuple[object, ...]:
    value = (type(reading.value).__name__, repr(reading.value))
    return reading.signal.path, value, reading.type, reading.source_time, reading.status


@pytest.mark.parametrize(
    "payload",
    [
        b'{"force": 1, "force": 2}',
        b'{"force": 123456789012345678901234567890}',
        b'{"force": 1, "quality": "bad"}',
        b'{"force": 1, "ts": "2026-01-05T06:00:00Z"}',
        b'{"force": "1"}',
        b'{"force": NaN}',
        b'{"force": 1, "unknown": 2}',
        b'{"fields": {"force": 1}}',
        b"{}",
        b"",
        b"\xff",
    ],
)
def test_what_needs_a_closer_look_is_left(payload: bytes) -> None:
    collected, lane = Collected(), lane_of(make_map("p/{unit}/state", ("force",)))
    assert not lane.read(b"p/press/state", payload, collected)
    assert not collected.place


def test_a_signal_that_went_the_other_way_is_left() -> None:
    collected, lane = Collected(), lane_of(make_map("p/{unit}/state", ("force", "count")))
    assert not lane.read(b"p/press/state", b'{"force": 1.0, "count": 2}', collected, {1})
    assert lane.read(b"p/press/state", b'{"force": 1.0}', collected, {1})
    assert collected.handles == {0}
