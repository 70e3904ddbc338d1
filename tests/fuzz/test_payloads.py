"""The decoders of plain MQTT's payloads under hostile topics and payloads: refused with a reason,
never a crash, never a hang, memory and time bounded by the size of what came.

Each decoder gets AURELIAN_FUZZ_SECONDS more than the usual examples (`make test-faults`: 60)."""

from __future__ import annotations

import contextlib
import json
import os
import random
import time
from collections.abc import Callable
from typing import get_args

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurelian.model.mqtt_payloads import PayloadName
from tests.fuzz.bounds import run_within_bounds
from tests.fuzz.mutations import damaged, random_mutations
from tests.fuzz.payload_targets import SIGNALS, make_payload_targets, run_message
from tests.fuzz.targets import Target
from tests.long_tests import LONG_TESTS

SECONDS = float(os.environ.get("AURELIAN_FUZZ_SECONDS", "60" if LONG_TESTS else "0.3"))
MEMORY_EVERY = 50
TARGETS = make_payload_targets()
SIZE = 100_000

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**80), 2**80),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["\x00", "\ud800", "9" * 5000, "1e999", "NaN", "2026-13-45T99:99:99", "-0"]),
)
MEMBERS = [
    *("ts", "Time", "value", "params", "state", "reported", "metadata", "metrics", "n", "v", "bn"),
    *("vd", "s", "t", "timestamp", "events", "component", "name", "device", "values", "nodes"),
]
names = st.sampled_from([*SIGNALS, *MEMBERS]) | st.text(max_size=5)
contents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


def test_every_decoder_is_under_test() -> None:
    assert set(TARGETS) == set(get_args(PayloadName))


@pytest.mark.parametrize("name", TARGETS)
def test_every_sample_is_read(name: str) -> None:
    for data in TARGETS[name].seeds:
        run_within_bounds(TARGETS[name], data, memory=True)


@pytest.mark.parametrize("name", TARGETS)
@settings(deadline=None, max_examples=40)
@given(st.data())
def test_any_content_of_any_shape_is_read_or_refused(name: str, data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from(TARGETS[name].seeds))
    topic = seed.partition(b"\n")[0]
    content = data.draw(contents)
    payload = json.dumps(content).encode(errors="surrogatepass")
    if data.draw(st.booleans()):
        with contextlib.suppress(cbor2.CBOREncodeError, UnicodeEncodeError):
            payload = cbor2.dumps(content)
    run_message(name, topic, payload)


@pytest.mark.parametrize("name", TARGETS)
@settings(deadline=None, max_examples=25)
@given(st.data())
def test_any_topic_is_read_or_refused(name: str, data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from(TARGETS[name].seeds))
    topic, _, payload = seed.partition(b"\n")
    levels = topic.split(b"/")
    place = data.draw(st.integers(0, len(levels) - 1))
    odd = st.sampled_from([b"", b"\xff", b"\x00", b"$state", b"%", b"+", b"u" * 60_000, b"../.."])
    levels[place] = data.draw(odd | st.binary(max_size=6))
    run_message(name, b"/".join(levels), payload)


@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.parametrize("name", TARGETS)
def test_many_damaged_messages(name: str) -> None:
    target = TARGETS[name]
    seed = random.SystemRandom().getrandbits(32) if LONG_TESTS else 1
    print(f"seed {seed}")
    rng = random.Random(seed)
    deadline, turn = time.monotonic() + SECONDS, 0
    while time.monotonic() < deadline:
        turn += 1
        broken = damaged(rng.choice(target.seeds), random_mutations(rng), target.seeds)
        try:
            run_within_bounds(target, broken, memory=turn % MEMORY_EVERY == 0)
        except BaseException:
            print(f"turn {turn}: {broken.hex()}")
            raise
    print(f"{turn} messages")


def _long_names(size: int) -> bytes:
    """A long name in front of thousands of short ones: with it each would be long."""
    inner = ",".join(f'"{n}":{n}' for n in range(size // 20))
    return f'{{"{"k" * (size // 2)}":{{{inner}}}}}'.encode()


HOSTILE: dict[str, Callable[[int], bytes]] = {
    "deep arrays": lambda size: b"[" * size,
    "deep objects": lambda size: b'{"a":' * (size // 5),
    "deep and closed": lambda size: b'{"a":' * (size // 6) + b"1" + b"}" * (size // 6),
    "one integer": lambda size: b"9" * size,
    "many integers": lambda size: b"[" + b"9" * 4000 + (b"," + b"9" * 4000) * (size // 4001) + b"]",
    "one fraction": lambda size: b"0." + b"9" * size,
    "exponents": lambda size: b"[" + b"1e999999," * (size // 9) + b"1]",
    "one name again and again": lambda size: b"{" + b'"a":1,' * (size // 6) + b'"a":2}',
    "many names": lambda size: json.dumps({f"n{n}": n for n in range(size // 12)}).encode(),
    "a long name before many": _long_names,
    "empty objects": lambda size: b"[" + b"{}," * (size // 3) + b"{}]",
    "NUL": lambda size: b"\x00" * size,
    "surrogates": lambda size: b'{"' + b"\\ud800" * (size // 6) + b'":"\\udfff"}',
    "no UTF-8": lambda size: b"\xff" * size,
    "quotes": lambda size: b'200,"' + b'""' * (size // 2),
    "lines": lambda size: b"200,a,b,1\n" * (size // 10),
    "commas": lambda size: b"201" + b"," * size,
    "words": lambda size: b"true" * (size // 4),
    "CBOR: deep": lambda size: b"\x81" * size,
    "CBOR: tags": lambda size: b"\xc1" * size,
    "CBOR: lengths": lambda size: b"\x9b\x00\x00\x00\x00\x7f\xff\xff\xff" * (size // 9),
    "CBOR: shared": lambda size: b"\x82\xd8\x1c\x82\x01\x01" + b"\xd8\x1d\x00" * (size // 3),
    "CBOR: large integers": lambda size: cbor2.dumps([2 ** (size * 4)]),
    "SenML: a long base name": lambda size: json.dumps(
        [{"bn": "n" * (size // 2), "v": 1}, *({"v": n} for n in range(size // 30))]
    ).encode(),
    "many devices": lambda size: json.dumps(
        {f"d{n}": [{"ts": "x", "values": 1}] for n in range(size // 40)}
    ).encode(),
    "brackets of a time": lambda size: b'{"ts":"' + b"2" * (size - 20) + b'","temp":1}',
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_payloads_cost_bounded_time(what: str) -> None:
    payload = HOSTILE[what](SIZE)
    for name, found in TARGETS.items():
        topics = {seed.partition(b"\n")[0] for seed in found.seeds}
        for topic in topics if LONG_TESTS else sorted(topics)[:1]:
            run_within_bounds(_of(name, topic), payload, memory=False)


LONG = b"t" * 30_000
AMPLIFIED: dict[str, tuple[bytes, object]] = {
    "json": (b"p/m/" + LONG, "HERE"),
    "umh": (b"umh/v1/o/s/a/l/m/_raw/" + LONG, "HERE"),
    "cbor": (b"p/m/" + LONG, "HERE"),
    "tasmota": (b"tele/m/SENSOR", "HERE"),
    "shelly_gen1": (b"shellies/m/" + LONG, "HERE"),
    "shelly_gen2": (b"m/status/" + LONG, "HERE"),
    "zigbee2mqtt": (b"zigbee2mqtt/m", "HERE"),
    "thingsboard": (b"v1/gateway/telemetry", {"m": [{"ts": 1, "values": "HERE"}]}),
    "aws_shadow": (
        b"$aws/things/m/shadow/name/" + LONG + b"/update",
        {"state": {"reported": "HERE"}},
    ),
    "cumulocity": (b"measurement/measurements/create", "HERE"),
    "ignition": (b"u/m/" + LONG, {"value": "HERE"}),
    "senml": (b"p/m", None),
}
"""Topics with long names, and what the object of many names stands in."""


@pytest.mark.parametrize("name", AMPLIFIED)
def test_a_long_name_before_many_values_is_not_kept_for_each(name: str) -> None:
    topic, around = AMPLIFIED[name]
    inner = {"k" * 30_000: {f"{n}": n for n in range(1_500)}}
    content = json.loads(json.dumps(around).replace('"HERE"', json.dumps(inner)))
    if name == "senml":
        content = [{"bn": "n" * 30_000}, *({"n": f"{n}", "v": n} for n in range(1_500))]
    payload = cbor2.dumps(content) if name == "cbor" else json.dumps(content).encode()
    run_within_bounds(_of(name, topic), payload, memory=True)


@pytest.mark.parametrize("entries", ["[]", '[{"a":1,"a":2}]'])
def test_a_message_of_many_bad_devices_is_kept_once(entries: str) -> None:
    devices = ",".join(f'"d{n}":{entries}' for n in range(500))
    payload = f"{{{devices}}}".encode()
    run_within_bounds(_of("thingsboard", b"v1/gateway/telemetry"), payload, memory=True)


def _of(name: str, topic: bytes) -> Target:
    return Target(name, lambda payload: run_message(name, topic, payload), ())
