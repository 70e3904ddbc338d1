"""Values a CPU second of the MQTT gateway's process, from Mosquitto to Kafka's acknowledgement, at
a steady load with QoS 1.

`mqtt_plain_gateway`: messages with one value and its time, of 500 machines in turn.
`mqtt_json10_gateway`: flat objects of ten numbers and a time.
`mqtt_overload`: the first, at a broker as Debian ships it, which sends 20 before it waits for us
and queues 1,000, at about twice the rate that can be taken (doubled until it is); `value` is the
99th percentile of the age of what is taken when it is sent to Kafka, in s. `flood`: the same while
a publisher and the broker take all of the machine that they get.
`sparkplug_gateway`: NDATA of 100 metrics by alias, of ten nodes in turn; QoS 0, as they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from aurelian.backbone.topics import create_topics
from aurelian.pb import sparkplug_b_pb2 as pb
from tests import servers
from tests.bench.framework import say
from tests.bench.opcua_gateway import SECONDS, WARM_UP_S, ages, gateway, measure, received
from tests.peers.brokers import broker

MACHINES = 500
PLAIN_RATE, JSON10_RATE, SPARKPLUG_RATE = 5_000, 2_000, 1_000
OVERLOAD_FROM, FLOOD_RATE = 8_000, 30_000
_OVERLOADED = 0.6
"""Of what is offered, at most so much taken: about twice as much as can be."""

NODES, METRICS = 10, 100
_TIME = "@" * 13


def run_plain() -> Iterator[dict[str, object]]:
    """Yield the result of single values."""
    site, messages = _plain()
    yield from _measured("mqtt_plain_gateway", site, messages, PLAIN_RATE, 20_000)


def run_overload() -> Iterator[dict[str, object]]:
    """Yield the result of overload."""
    offered = OVERLOAD_FROM
    while True:
        found = _overloaded(offered)
        if found.taken <= _OVERLOADED * offered:
            break
        offered *= 2
    flood = _overloaded(FLOOD_RATE)
    yield {
        "bench": "mqtt_overload",
        "value": round(found.p99_s, 3),
        "unit": "s",
        "target": 2.0,
        "cpu_s": round(found.cpu_s, 2),
        "peak_mb": round(found.peak_mb, 1),
        "samples": found.values,
        "p50_s": round(found.p50_s, 3),
        "offered_per_s": offered,
        "taken_per_s": round(found.taken),
        "flood_offered_per_s": FLOOD_RATE,
        "flood_taken_per_s": round(flood.taken),
        "flood_p99_s": round(flood.p99_s, 3),
    }


class _Overloaded(NamedTuple):
    """`taken`: values a second; the age of those when they are sent to Kafka."""

    values: int
    taken: float
    cpu_s: float
    peak_mb: float
    p50_s: float
    p99_s: float


def _overloaded(rate: int) -> _Overloaded:
    site, messages = _plain()
    with broker("mosquitto-memory") as mosquitto, servers.kafka_broker() as kafka:
        asyncio.run(create_topics(kafka.bootstrap))
        site = site.replace("URL", mosquitto.url)
        with (
            publishing(mosquitto, messages, rate),
            gateway(site, kafka.bootstrap, "mqtt_gateway") as (pid, ops),
        ):
            time.sleep(WARM_UP_S)
            since = time.time_ns() // 1000
            values, cpu_s, peak_mb = measure(pid, lambda: received(ops))
            until = time.time_ns() // 1000
        p50, p99 = np.percentile(asyncio.run(ages(kafka.bootstrap, since, until)), [50, 99])
    taken = values / SECONDS
    say(f"{rate:,} offered, {taken:,.0f} taken a second, p50 {p50:.2f} s, p99 {p99:.2f} s")
    return _Overloaded(values, taken, cpu_s, peak_mb, float(p50), float(p99))


def _plain() -> tuple[str, list[tuple[str, bytes]]]:
    messages = [
        (f"bench/unit-{n}/v0", f'{{"value": {n}.25, "ts": {_TIME}}}'.encode())
        for n in range(MACHINES)
    ]
    return plant("mqtt_json", 'topic: "bench/{unit}/{signal}"', MACHINES, 1), messages


def run_json10() -> Iterator[dict[str, object]]:
    """Yield the result of ten values in a message."""
    members = ", ".join(f'"v{n}": {n}.5' for n in range(10))
    messages = [
        (f"bench/unit-{n}/state", f'{{"ts": {_TIME}, {members}}}'.encode()) for n in range(MACHINES)
    ]
    site = plant("mqtt_json", 'topic: "bench/{unit}/state"', MACHINES, 10)
    yield from _measured("mqtt_json10_gateway", site, messages, JSON10_RATE, 150_000)


def run_sparkplug() -> Iterator[dict[str, object]]:
    """Yield the result of Sparkplug."""
    messages = []
    for node in range(NODES):
        birth = pb.Payload(seq=0)
        birth.metrics.add(name="bdSeq", datatype=4, long_value=0)
        for n in range(METRICS):
            birth.metrics.add(name=f"v{n}", alias=n + 1, datatype=10, double_value=n + 0.5)
        messages.append((f"spBv1.0/bench/NBIRTH/unit-{node}", _timed(birth)))
    for number in range(1, 256):
        for node in range(NODES):
            data = pb.Payload(seq=number)
            for n in range(METRICS):
                data.metrics.add(alias=n + 1, double_value=number + n / 8)
            messages.append((f"spBv1.0/bench/NDATA/unit-{node}", _timed(data)))
    site = plant("sparkplug", "group: bench", NODES, METRICS, address="unit-{}/")
    yield from _measured("sparkplug_gateway", site, messages, SPARKPLUG_RATE, 250_000, 0)


def _timed(payload: pb.Payload) -> bytes:
    return b"\x08" + b"@" * 6 + payload.SerializeToString()


def plant(kind: str, terms: str, units: int, signals: int, address: str = "") -> str:
    """Lines of at most 20 units."""
    lines = [
        "company: {id: bench, name: Bench}",
        "site: site",
        "time_zone: UTC",
        "sources:",
        f"  - {{id: load, kind: {kind}, url: 'URL', {terms}}}",
        "areas:",
        "  - name: hall",
        "    lines:",
    ]
    for unit in range(units):
        if unit % 20 == 0:
            lines += [
                f"      - name: line-{unit // 20 + 1}",
                "        products: [{id: part, ideal_cycle_s: 5}]",
                "        units:",
            ]
        where = f", address: '{address.format(unit)}'" if address else ""
        named = ", ".join(f"{{name: v{n}, type: double}}" for n in range(signals))
        lines.append(f"          - {{name: unit-{unit}, source: load{where}, signals: [{named}]}}")
    return "\n".join(lines)


@contextlib.contextmanager
def publishing(
    broker: servers.MqttServer,
    messages: Sequence[tuple[str, bytes]],
    rate: int,
    qos: int = 1,
) -> Iterator[subprocess.Popen[str]]:
    """A process that sends them; see mqtt_load.py for how it ends."""
    arguments = [broker.host, str(broker.port), str(rate), str(qos)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.mqtt_load", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=servers.ROOT,
    )
    try:
        assert process.stdin is not None
        for topic, payload in messages:
            process.stdin.write(f"{topic}\t{payload.hex()}\n")
        process.stdin.close()
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _measured(
    bench: str,
    site: str,
    messages: Sequence[tuple[str, bytes]],
    rate: int,
    target: float,
    qos: int = 1,
) -> Iterator[dict[str, object]]:
    with servers.mosquitto_broker() as broker, servers.kafka_broker() as kafka:
        asyncio.run(create_topics(kafka.bootstrap))
        site = site.replace("URL", broker.url)
        with (
            publishing(broker, messages, rate, qos),
            gateway(site, kafka.bootstrap, "mqtt_gateway") as (pid, ops),
        ):
            values, cpu_s, peak_mb = measure(pid, lambda: received(ops))
    say(f"{values / SECONDS:,.0f} values/s, {values / cpu_s:,.0f} values a CPU second")
    yield {
        "bench": bench,
        "value": round(values / cpu_s),
        "unit": "values/cpu_s",
        "target": target,
        "cpu_s": round(cpu_s, 2),
        "peak_mb": round(peak_mb, 1),
        "samples": values,
        "offered_per_s": rate,
    }
