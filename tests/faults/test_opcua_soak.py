"""The OPC UA gateway under a steady load: 5,000 values/s of node-opcua for 40 s (`make
test`), half an hour (`make test-faults`) or AURELIAN_SOAK_SECONDS. Every value arrives once, the
ledger is balanced, the memory stays."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import numpy as np
import pytest

from aurelian.backbone.topics import create_topics
from aurelian.runtime.settings import KafkaSettings
from tests.integration.opcua_gateway.test_chaos_more import now_ms
from tests.integration.opcua_gateway.test_chaos_store import following, start, stop
from tests.long_tests import LONG_TESTS
from tests.peers.node_opcua_server import NAMESPACE, node_opcua
from tests.stand_in_historian import Historian
from tests.waiting import until

SECONDS = int(os.environ.get("AURELIAN_SOAK_SECONDS", "1800" if LONG_TESTS else "40"))
NODES, PAUSE_MS = 500, 100
LOOK_S = 1.0
SOURCE = "soak/site/peer"

MOST_GROWTH_MB = 12.0
"""Between the medians of the second and the last quarter of the run: caches fill in the first."""


def plant(url: str) -> str:
    """One line of ten units."""
    head = f"""
company: {{id: soak, name: Soak}}
site: site
time_zone: UTC
sources:
  - {{id: peer, kind: opcua, url: "{url}", publishing_interval_ms: {PAUSE_MS // 2}}}
areas:
  - name: area
    lines:
      - name: line
        products: [{{id: cup, ideal_cycle_s: 2}}]
        units:
"""
    return head + "".join(
        f"          - name: unit-{unit}\n            source: peer\n            signals:\n"
        + "".join(
            f'              - {{name: v{n}, address: "nsu={NAMESPACE};s=v{n}", type: double}}\n'
            for n in range(unit * 50, unit * 50 + 50)
        )
        for unit in range(NODES // 50)
    )


@pytest.mark.timeout(SECONDS * 3 // 2 + 240)  # the generator falls behind on a busy machine
async def test_a_steady_load_loses_and_doubles_nothing_and_takes_no_more_memory(
    kafka: str, tmp_path: Path
) -> None:
    settings = KafkaSettings(kafka_bootstrap=kafka)
    await create_topics(kafka)
    historian = Historian(settings)
    (tmp_path / "plant").mkdir()
    rounds = SECONDS * 1000 // PAUSE_MS
    async with node_opcua(tmp_path, nodes=NODES) as server, following(historian):
        (tmp_path / "plant" / "site.yaml").write_text(plant(server.url))
        process = await start(kafka, tmp_path / "plant", tmp_path, "soak")
        try:
            await until(lambda: _stored(historian) >= NODES, "the first values", 60)
            first_ms = now_ms()
            memory: list[float] = []
            counting = asyncio.create_task(server.count(1, rounds, PAUSE_MS, first_ms))
            while not counting.done():
                memory.append(_resident_mb(process.pid))
                await asyncio.wait({counting}, timeout=LOOK_S)
            await counting
            await until(
                lambda: _stored(historian) >= NODES * (rounds + 1),
                lambda: f"{NODES * (rounds + 1)} values, {_stored(historian)} came",
                60,
            )
            assert process.returncode is None
            await until(
                lambda: historian.counts(SOURCE)["received"] == _stored(historian),
                lambda: f"a balanced ledger: {historian.counts(SOURCE)}",
                30,
            )
        finally:
            await stop(process)
    quarter = len(memory) // 4
    early, late = memory[quarter : 2 * quarter], memory[3 * quarter :]
    print(f"{len(memory)} looks, {np.median(early):.1f} MB early, {np.median(late):.1f} MB late")
    counts = historian.counts(SOURCE)
    assert (counts["rejected"], counts["dropped"], counts["skipped"]) == (0, 0, 0)
    kinds = {each.WhichOneof("kind") for each in historian.events if each.source == SOURCE}
    assert kinds <= {"birth", "heartbeat", "received", "connection"}, kinds
    _check_each_value_came_once(historian, rounds, first_ms)
    assert np.median(late) - np.median(early) < MOST_GROWTH_MB


def _stored(historian: Historian) -> int:
    return sum(len(batch) for batch in historian.batches if batch.gateway == "soak")


def _check_each_value_came_once(historian: Historian, rounds: int, first_ms: int) -> None:
    """Times and values of each node, counted from the columns."""
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}  # type: ignore[type-arg]
    for batch in historian.batches:
        if batch.gateway != "soak":
            continue
        numbers = batch.numbers()
        for index, signal in enumerate(batch.signals):
            chosen = batch.signal == index
            found.setdefault(signal.path, []).append((batch.source_time[chosen], numbers[chosen]))
    assert len(found) == NODES
    times = (first_ms + np.arange(rounds) * PAUSE_MS) * 1000
    for path, parts in found.items():
        time, value = (np.concatenate(column) for column in zip(*parts, strict=True))
        assert value[0] == 0, path
        assert np.array_equal(value[1:], np.arange(1, rounds + 1)), path
        assert np.array_equal(time[1:], times), path


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
