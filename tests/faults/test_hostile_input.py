"""Hostile names, values, clocks, payloads, records and asset changes go through both gateways and
directly to Kafka, beside good traffic: every good value is stored once, nothing restarts,
everything stays ready.

`make test` runs it for 30 s, `make test-faults` for AURELIAN_HOSTILE_SECONDS=180.
AURELIAN_HOSTILE_SEED repeats a run's choices; it is printed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime

import paho.mqtt.client as paho
import psycopg
import pytest
from asyncua import Server, ua

from aurelian.backbone.client import Producer
from aurelian.local.ports import any_free
from aurelian.runtime.settings import KafkaSettings
from tests.e2e.plants import MQTT
from tests.e2e.whole import Stack, mqtt_client, running_stack
from tests.faults import hostile
from tests.waiting import until

SECONDS = float(os.environ.get("AURELIAN_HOSTILE_SECONDS", "30"))
SEED = int(os.environ.get("AURELIAN_HOSTILE_SEED", str(time.time_ns() % 1_000_000)))

HOSTILE_PER_S = 40
"""Hostile messages a second on each of the four ways in."""

GOOD_PER_S = 50

PLANT = """
company: {id: hostile, name: Hostile Company}
site: site
time_zone: Europe/Oslo
sources:
  - {id: hostile-json, kind: mqtt_json, url: "@MQTT@", topic: "hostile/{unit}/state"}
  - {id: hostile-spb, kind: sparkplug, url: "@MQTT@", group: Hostile}
  - {id: hostile-opcua, kind: opcua, url: "opc.tcp://127.0.0.1:@PORT@", publishing_interval_ms: 100}
areas:
  - name: hall
    lines:
      - name: line-1
        products: [{id: thing, ideal_cycle_s: 10}]
        units:
          - name: oven
            source: hostile-json
            signals: [{name: temp, address: temp, type: double, unit: Cel}]
          - name: robot
            source: hostile-spb
            signals: [{name: marked, address: marked, type: double}]
          - name: press
            source: hostile-opcua
            signals:
""" + "".join(
    f'              - {{name: odd-{n}, address: "nsu=urn:hostile;s=odd-{n}", type: double}}\n'
    for n in range(len(hostile.OPCUA_VALUES))
)

GOOD = """
company: {id: good, name: Good Company}
site: site
time_zone: Europe/Oslo
sources:
  - {id: good-json, kind: mqtt_json, url: "@MQTT@", topic: "good/{unit}/state"}
  - {id: good-opcua, kind: opcua, url: "opc.tcp://127.0.0.1:@PORT@", publishing_interval_ms: 100}
areas:
  - name: hall
    lines:
      - name: line-1
        products: [{id: thing, ideal_cycle_s: 10}]
        units:
          - name: oven
            source: good-json
            signals: [{name: count, address: count, type: int64}]
          - name: press
            source: good-opcua
            signals: [{name: count, address: "nsu=urn:hostile;s=count", type: int64}]
"""


@pytest.fixture
def port() -> int:
    """Of the test's OPC UA server, which has the good node and the odd one."""
    return any_free()


@pytest.fixture
def stack(port: int) -> Iterator[Stack]:
    """A stack of the test's own, with a hostile and a good company on the same gateways."""
    plants = {"hostile.yaml": PLANT, "good.yaml": GOOD}
    filled = {
        name: model.replace("@MQTT@", MQTT).replace("@PORT@", str(port))
        for name, model in plants.items()
    }
    with running_stack(filled) as opened:
        yield opened


@pytest.mark.timeout(SECONDS + 240)
async def test_hostile_input_stops_nothing_and_costs_no_good_value(stack: Stack, port: int) -> None:
    print(f"AURELIAN_HOSTILE_SEED={SEED} AURELIAN_HOSTILE_SECONDS={SECONDS:g}")
    pids_before = {name: each["pid"] for name, each in stack.services.items()}
    not_ready: list[str] = []
    counted = _Sent()
    async with _opcua_server(port) as server, mqtt_client(stack) as client:
        for source in ("good/oven/state", "hostile/oven/state"):
            await _publish(client, source, b'{"count": 0}')
        await until(
            lambda: bool(_good_counts(stack.database_url, "good/site/hall/line-1/press/count", 0)),
            "the first value of the OPC UA server",
            60,
        )
        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(_watch_readiness(stack, not_ready))
            work = [
                tasks.create_task(_send_good(client, server, counted)),
                tasks.create_task(_send_json(client)),
                tasks.create_task(_send_sparkplug(client)),
                tasks.create_task(_send_opcua(server)),
                tasks.create_task(_send_to_kafka(stack)),
            ]
            await asyncio.wait(work, return_when=asyncio.FIRST_EXCEPTION)
            watch.cancel()
        for path, sent in counted.by_path.items():
            await until(
                lambda path=path, sent=sent: (
                    len(_good_counts(stack.database_url, path)) >= len(sent)
                ),  # type: ignore[misc]
                f"{len(sent)} values of {path} in the store",
                60,
            )
    restarted = [n for n, each in stack.services.items() if each["pid"] != pids_before[n]]
    for name in restarted:
        print(f"== {name}", (stack.home / "log" / f"{name}.log").read_text()[-6_000:], sep="\n")
    assert not restarted
    assert not not_ready, not_ready[:10]
    for path, sent in counted.by_path.items():
        stored = _good_counts(stack.database_url, path)
        assert sorted(stored) == sent, path
    await until(
        lambda: not _unbalanced(stack.database_url),
        lambda: f"a balanced ledger: {_unbalanced(stack.database_url)}",
        60,
    )
    assert not _gaps(stack.database_url, "good"), "a gap of the good company"
    await until(
        lambda: _waiting_rows(stack) == 0,
        lambda: f"empty outboxes: {_waiting_rows(stack)} rows wait",
        60,
    )


class _Sent:
    """Good values by the path of their signal: 1, 2, 3, ..."""

    def __init__(self) -> None:
        self.by_path: dict[str, list[int]] = {}

    def next(self, path: str) -> int:
        numbers = self.by_path.setdefault(path, [])
        numbers.append(len(numbers) + 1)
        return numbers[-1]


async def _send_good(client: paho.Client, server: Server, counted: _Sent) -> None:
    node = ua.NodeId("count", await server.get_namespace_index("urn:hostile"))
    start = time.monotonic()
    for n in range(int(SECONDS * GOOD_PER_S)):
        await asyncio.sleep(max(0.0, start + n / GOOD_PER_S - time.monotonic()))
        number = counted.next("good/site/hall/line-1/oven/count")
        body = json.dumps({"ts": time.time_ns() // 1_000_000, "count": number}).encode()
        await _publish(client, "good/oven/state", body)
        if n % 10 == 0:
            number = counted.next("good/site/hall/line-1/press/count")
            await server.write_attribute_value(
                node,
                ua.DataValue(
                    ua.Variant(number, ua.VariantType.Int64), SourceTimestamp=datetime.now(UTC)
                ),
            )


async def _send_json(client: paho.Client) -> None:
    messages = hostile.json_messages(random.Random(SEED))
    async for _ in _ticks():
        topic, payload = next(messages)
        await _publish(client, f"hostile/{topic}/state", payload)


async def _send_sparkplug(client: paho.Client) -> None:
    messages = hostile.sparkplug_messages(random.Random(SEED + 1))
    async for _ in _ticks():
        topic, payload = next(messages)
        client.publish(topic, payload, qos=0)


async def _send_opcua(server: Server) -> None:
    namespace = await server.get_namespace_index("urn:hostile")
    values = hostile.opcua_values(random.Random(SEED + 2))
    async for _ in _ticks():
        n, value = next(values)
        await server.write_attribute_value(ua.NodeId(f"odd-{n}", namespace), value)


async def _send_to_kafka(stack: Stack) -> None:
    settings = KafkaSettings(kafka_bootstrap=str(stack.status["kafka_bootstrap"]))
    records = hostile.kafka_records(random.Random(SEED + 3))
    async with Producer(settings, "hostile") as producer:
        async for _ in _ticks():
            topic, key, value, headers = next(records)
            await producer.settle([await producer.post(topic, key, value, headers)])


async def _ticks():  # type: ignore[no-untyped-def]
    """The times at which a hostile message is due."""
    start = time.monotonic()
    for n in range(int(SECONDS * HOSTILE_PER_S)):
        await asyncio.sleep(max(0.0, start + n / HOSTILE_PER_S - time.monotonic()))
        yield n


async def _publish(client: paho.Client, topic: str, payload: bytes) -> None:
    published = client.publish(topic, payload, qos=1)
    await asyncio.to_thread(published.wait_for_publish, 30)


async def _watch_readiness(stack: Stack, not_ready: list[str]) -> None:
    urls = {n: str(each["ops_url"]) for n, each in stack.services.items() if each["ops_url"]}
    while True:
        for name, url in urls.items():
            said = await asyncio.to_thread(_readiness, url)
            if said is not None:
                not_ready.append(f"{name}: {said}")
        await asyncio.sleep(1)


def _readiness(url: str) -> str | None:
    """None: ready; else what /readyz says."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=10):
            return None
    except urllib.error.HTTPError as error:
        return error.read().decode()
    except OSError as error:
        return repr(error)


@contextlib.asynccontextmanager
async def _opcua_server(port: int):  # type: ignore[no-untyped-def]
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace("urn:hostile")
    await server.nodes.objects.add_variable(
        ua.NodeId("count", index), "count", 0, varianttype=ua.VariantType.Int64
    )
    for n, value in enumerate(hostile.OPCUA_VALUES):
        await server.nodes.objects.add_variable(ua.NodeId(f"odd-{n}", index), f"odd-{n}", value)
    async with server:
        yield server


def _good_counts(url: str, path: str, least: int = 1) -> list[int]:
    """The numbers stored for a good signal; from 1 on they are the test's, the 0 was before it."""
    with psycopg.connect(url) as connection:
        return [
            int(row[0])
            for row in connection.execute(
                "SELECT n.value FROM historian.sample_number AS n JOIN historian.signal AS s "
                "ON s.key = n.signal WHERE s.path = %s AND n.value >= %s ORDER BY n.time, n.sub",
                (path, least),
            ).fetchall()
        ]


def _unbalanced(url: str) -> list[tuple[object, ...]]:
    """Sources of the two plants whose received values are not all accounted for."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            """
            SELECT source, sum(received), sum(done) FROM (
                SELECT source, received - dropped - skipped AS received, 0 AS done
                FROM historian.ledger_received
                UNION ALL
                SELECT source, 0, stored + duplicate + rejected FROM historian.ledger_stored
            ) AS each
            WHERE source ~ '(good|hostile)-(json|spb|opcua)$'
            GROUP BY source HAVING sum(received) <> sum(done)
            """
        ).fetchall()


def _gaps(url: str, owner: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT source, reason FROM historian.gap WHERE owner = %s", (owner,)
        ).fetchall()


def _waiting_rows(stack: Stack) -> int:
    """Records that the gateways still hold."""
    rows = 0
    for name in ("mqtt_gateway", "opcua_gateway"):
        with urllib.request.urlopen(
            f"{stack.services[name]['ops_url']}/metrics", timeout=10
        ) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith("gateway_outbox_rows "):
                    rows += int(float(line.split()[1]))
    return rows
