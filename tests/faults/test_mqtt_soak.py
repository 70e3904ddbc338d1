"""The MQTT gateway under a steady load: 5,000 values/s for a minute (`make test`), half an hour
(`make test-faults`) or AURELIAN_SOAK_SECONDS. Every value arrives once, the ledger is balanced, the
memory stays."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import numpy as np
import paho.mqtt.client as paho
import pytest

from aurelian.backbone.topics import create_topics
from aurelian.runtime.settings import KafkaSettings
from tests.integration.mqtt_gateway.gateway_process import (
    log_of,
    resident_mb,
    start,
    stop,
)
from tests.integration.opcua_gateway.test_chaos_store import following
from tests.long_tests import LONG_TESTS
from tests.peers.brokers import broker
from tests.stand_in_historian import Historian
from tests.waiting import until

pytestmark = pytest.mark.mosquitto

SECONDS = int(os.environ.get("AURELIAN_SOAK_SECONDS", "1800" if LONG_TESTS else "60"))
UNITS, MEMBERS, STEP_MS = 10, 10, 20
MOST_GROWTH_MB = 12.0
"""Between the medians of the second and the last quarter of the run: caches fill in the first."""


def soak_plant(folder: Path, url: str) -> Path:
    """Ten units of ten numbers."""
    folder.mkdir()
    signals = "".join(f"{{name: v{n}}}, " for n in range(MEMBERS))
    units = "".join(
        f"          - {{name: unit-{n}, source: peer, signals: [{signals}]}}\n"
        for n in range(UNITS)
    )
    (folder / "site.yaml").write_text(
        f"""
company: {{id: mqtt-soak, name: Soak}}
site: site
time_zone: UTC
sources:
  - {{id: peer, kind: mqtt_json, url: "{url}", topic: "soak/{{unit}}/state"}}
areas:
  - name: area
    lines:
      - name: line
        products: [{{id: cup, ideal_cycle_s: 2}}]
        units:
{units}"""
    )
    return folder


async def count(client: paho.Client, rounds: int, first_ms: int) -> None:
    """Each unit sends its ten numbers, all the round's, every 20 ms."""
    last = None
    for number in range(1, rounds + 1):
        due = (first_ms + number * STEP_MS) / 1000
        await asyncio.sleep(max(0.0, due - time.time()))
        members = ", ".join(f'"v{n}": {number}.0' for n in range(MEMBERS))
        payload = f'{{"ts": {first_ms + number * STEP_MS}, {members}}}'
        for unit in range(UNITS):
            last = client.publish(f"soak/unit-{unit}/state", payload, 1)
    assert last is not None
    await asyncio.to_thread(last.wait_for_publish, 60)


@pytest.mark.timeout(SECONDS * 3 // 2 + 240)  # the generator falls behind on a busy machine
async def test_a_steady_load_loses_and_doubles_nothing_and_takes_no_more_memory(
    kafka: str, tmp_path: Path
) -> None:
    await create_topics(kafka)
    historian = Historian(KafkaSettings(kafka_bootstrap=kafka))
    rounds = SECONDS * 1000 // STEP_MS
    stored = lambda: sum(len(b) for b in historian.batches if b.gateway == "mqtt-soak")  # noqa: E731
    with broker("mosquitto") as server:
        plant = soak_plant(tmp_path / "plant", server.url)
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="soak")
        client.connect(server.host, server.port)
        client.loop_start()
        process = await start(kafka, plant, tmp_path, "mqtt-soak")
        memory: list[float] = []
        try:
            async with following(historian):
                log = log_of(tmp_path)
                await until(lambda: "broker is connected" in log.read_text(), "it", 60)
                first_ms = time.time_ns() // 1_000_000
                counting = asyncio.create_task(count(client, rounds, first_ms))
                while not counting.done():
                    memory.append(resident_mb(process.pid))
                    await asyncio.wait({counting}, timeout=1.0)
                await counting
                wanted = UNITS * MEMBERS * rounds
                await until(lambda: stored() >= wanted, lambda: f"{wanted}, {stored()} came", 60)
                source = "mqtt-soak/site/peer"
                await until(
                    lambda: historian.counts(source)["received"] == stored(),
                    lambda: f"a balanced ledger: {historian.counts(source)}",
                    30,
                )
        finally:
            await stop(process)
            client.disconnect()
            client.loop_stop()
    quarter = len(memory) // 4
    early, late = np.median(memory[quarter : 2 * quarter]), np.median(memory[3 * quarter :])
    print(f"{len(memory)} looks, {early:.1f} MB early, {late:.1f} MB late")
    counts = historian.counts(source)
    assert (counts["rejected"], counts["dropped"], counts["skipped"]) == (0, 0, 0)
    _check_each_value_came_once(historian, rounds, first_ms)
    assert late - early < MOST_GROWTH_MB


def _check_each_value_came_once(historian: Historian, rounds: int, first_ms: int) -> None:
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}  # type: ignore[type-arg]
    for batch in historian.batches:
        if batch.gateway != "mqtt-soak":
            continue
        numbers = batch.numbers()
        for index, signal in enumerate(batch.signals):
            chosen = batch.signal == index
            found.setdefault(signal.path, []).append((batch.source_time[chosen], numbers[chosen]))
    assert len(found) == UNITS * MEMBERS
    times = (first_ms + np.arange(1, rounds + 1) * STEP_MS) * 1000
    for path, parts in found.items():
        at, value = (np.concatenate(column) for column in zip(*parts, strict=True))
        assert np.array_equal(value, np.arange(1, rounds + 1)), path
        assert np.array_equal(at, times), path
