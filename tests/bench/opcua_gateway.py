"""`opcua_gateway_vs_asyncua`: values a CPU second of the gateway's process, from an OPC UA server
to Kafka's acknowledgement; `ratio` to a stock asyncua client that only counts what its subscription
brings, in the same run against the same server.

`opcua_overload`: the server changes far more than the gateway can take; `value` is the 99th
percentile of the age of what is taken when it is sent to Kafka, in s.

Both: nodes of three types in turn (Double, Int32, Boolean), all changed at once every 100 ms, which
is also the publishing interval.

`opcua_small_messages`: as the first, of 18 sources with 10 nodes each: messages have 10 values in
place of 2,000, and what a message costs by itself counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from aurelian.backbone.client import Consumer
from aurelian.backbone.topics import SAMPLES, create_topics
from aurelian.local import ports
from aurelian.model import codec
from aurelian.runtime.settings import KafkaSettings
from tests import servers
from tests.bench.framework import cpu_and_memory, end, say
from tests.peers.opcua_load_server import NAMESPACE, load_server

NODES = 2_000
INTERVAL_MS = 100
WARM_UP_S, SECONDS = 8.0, 20.0
OVERLOAD_NODES = 20_000
SMALL_SOURCES, SMALL_NODES = 18, 10
"""The load server gives 20 sessions."""

_TYPES = ("double", "int64", "bool")


def run() -> Iterator[dict[str, object]]:
    """Yield the result of the comparison."""
    yield from _compare("opcua_gateway_vs_asyncua", 1, NODES, INTERVAL_MS, target=3.0)


def run_small() -> Iterator[dict[str, object]]:
    """Yield the result of the comparison with many sources of small messages."""
    yield from _compare("opcua_small_messages", SMALL_SOURCES, SMALL_NODES, INTERVAL_MS, target=1.0)


def _compare(
    bench: str, sources: int, nodes: int, interval_ms: int, target: float
) -> Iterator[dict[str, object]]:
    """`nodes`: of each source; all of them at one server, each with a session of its own."""
    with load_server(nodes, interval_ms) as (url, _):
        stock_rate, stock_cpu, stock_mb = _stock(url, sources, nodes, interval_ms)
    # Another one: the sessions of before stay for a while, and there are few.
    with load_server(nodes, interval_ms) as (url, _), servers.kafka_broker() as broker:
        asyncio.run(create_topics(broker.bootstrap))
        site = plant(url, sources, nodes, interval_ms)
        with gateway(site, broker.bootstrap) as (pid, metrics_url):
            values, cpu_s, peak_mb = measure(pid, lambda: received(metrics_url))
        rate = values / cpu_s
        say(
            f"ours {rate:,.0f} values a CPU second ({values / SECONDS:,.0f}/s), stock "
            f"{stock_rate:,.0f} ({stock_cpu:.1f} s, {stock_mb:.0f} MB)"
        )
        yield {
            "bench": bench,
            "value": round(rate),
            "unit": "values/cpu_s",
            "peer": round(stock_rate),
            "ratio": round(rate / stock_rate, 2),
            "target": target,
            "cpu_s": round(cpu_s, 2),
            "peak_mb": round(peak_mb, 1),
            "samples": values,
            "offered_per_s": sources * nodes * 1000 // interval_ms,
        }


def run_overload() -> Iterator[dict[str, object]]:
    """Yield the result of overload."""
    with load_server(OVERLOAD_NODES, INTERVAL_MS) as (url, _), servers.kafka_broker() as broker:
        asyncio.run(create_topics(broker.bootstrap))
        site = plant(url, 1, OVERLOAD_NODES, INTERVAL_MS)
        with gateway(site, broker.bootstrap) as (pid, metrics_url):
            time.sleep(WARM_UP_S)
            since = time.time_ns() // 1000
            values, cpu_s, peak_mb = measure(pid, lambda: received(metrics_url))
            until = time.time_ns() // 1000
        found = asyncio.run(ages(broker.bootstrap, since, until))
        p50, p99 = np.percentile(found, [50, 99])
        say(f"{values / SECONDS:,.0f} values/s taken, {len(found)} at Kafka, p50 {p50:.2f} s")
        yield {
            "bench": "opcua_overload",
            "value": round(float(p99), 3),
            "unit": "s",
            "target": 2.0,
            "cpu_s": round(cpu_s, 2),
            "peak_mb": round(peak_mb, 1),
            "samples": len(found),
            "p50_s": round(float(p50), 3),
            "offered_per_s": OVERLOAD_NODES * 1000 // INTERVAL_MS,
            "taken_per_s": round(values / SECONDS),
        }


def measure(pid: int, values: object) -> tuple[int, float, float]:
    """Values, CPU seconds and peak memory in MB of a process over `SECONDS`."""
    assert callable(values)
    time.sleep(WARM_UP_S)
    before, (cpu_before, _) = values(), cpu_and_memory(pid)
    time.sleep(SECONDS)
    after, (cpu_after, peak_mb) = values(), cpu_and_memory(pid)
    return after - before, cpu_after - cpu_before, peak_mb


def received(url: str) -> int:
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
        return sum(
            int(float(line.rpartition(" ")[2]))
            for line in answer.read().decode().splitlines()
            if line.startswith("gateway_received_values_total{")
        )


@contextlib.contextmanager
def gateway(
    site: str, bootstrap: str, program: str = "opcua_gateway", **settings: object
) -> Iterator[tuple[int, str]]:
    """A gateway's process with a plant file, and the address of its metrics."""
    with tempfile.TemporaryDirectory(prefix="aurelian-bench-") as folder:
        port = ports.any_free()
        process = start_gateway(Path(folder), site, bootstrap, program, ops_port=port, **settings)
        try:
            ops = f"http://127.0.0.1:{port}"
            _await_values(ops)
            yield process.pid, ops
        finally:
            end(process)


def start_gateway(
    folder: Path, site: str, bootstrap: str, program: str, **settings: object
) -> subprocess.Popen[bytes]:
    """Start a gateway's process with its state in `folder`; a second start goes on with that."""
    plant = folder / "plant"
    plant.mkdir(exist_ok=True)
    (plant / "site.yaml").write_text(site)
    env = {
        **os.environ,
        "AURELIAN_PLANT": str(plant),
        "AURELIAN_STATE": str(folder),
        "AURELIAN_GATEWAY": "bench",
        "AURELIAN_KAFKA_BOOTSTRAP": bootstrap,
        "AURELIAN_LOG_LEVEL": "WARNING",
        "AURELIAN_OUTBOX_MIN_FREE": "0.01",
        **{f"AURELIAN_{name.upper()}": str(value) for name, value in settings.items()},
    }
    return subprocess.Popen([sys.executable, "-m", program], env=env)


def _await_values(ops: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if received(ops):
                return
        time.sleep(0.2)
    raise RuntimeError("the gateway delivers nothing")


def plant(url: str, sources: int, nodes: int, interval_ms: int) -> str:
    """Lines of at most 200 signals, ten units each; no line has two sources."""
    terms = f"kind: opcua, url: '{url}', publishing_interval_ms: {interval_ms}"
    lines = [
        "company: {id: bench, name: Bench}",
        "site: site",
        "time_zone: UTC",
        "sources:",
        *(f"  - {{id: load-{source}, {terms}}}" for source in range(sources)),
        "areas:",
        "  - name: hall",
        "    lines:",
    ]
    for source in range(sources):
        for node in range(1, nodes + 1):
            if node % 200 == 1:
                lines += [
                    f"      - name: line-{source}-{node // 200 + 1}",
                    "        products: [{id: part, ideal_cycle_s: 5}]",
                    "        units:",
                ]
            if node % 20 == 1:
                lines += [
                    f"          - name: unit-{node // 20 + 1}",
                    f"            source: load-{source}",
                    "            signals:",
                ]
            address = f'"nsu={NAMESPACE};i={node}"'
            kind = _TYPES[node % 3]
            lines.append(f"              - {{name: n{node}, address: {address}, type: {kind}}}")
    return "\n".join(lines)


def _stock(url: str, sources: int, nodes: int, interval_ms: int) -> tuple[float, float, float]:
    """Values a CPU second, CPU seconds and peak MB of asyncua's own client, in its own process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.opcua_gateway", url]
        + [str(each) for each in (sources, nodes, interval_ms)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=servers.ROOT,
    )
    try:
        assert process.stdout is not None
        counted, cpu_s, peak_mb = process.stdout.readline().split()
    finally:
        process.kill()
        process.wait()
    return int(counted) / float(cpu_s), float(cpu_s), float(peak_mb)


async def _count_with_asyncua(url: str, sources: int, nodes: int, interval_ms: int) -> None:
    """Subscribe as asyncua's documentation says, a client for each source, and count."""
    from asyncua import Client, ua

    class Handler:
        count = 0

        def datachange_notification(self, node: object, value: object, data: object) -> None:
            self.count += 1

    handler = Handler()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(sources):
            client = await stack.enter_async_context(Client(url))
            namespace = await client.get_namespace_index(NAMESPACE)
            subscription = await client.create_subscription(interval_ms, handler)
            wanted = [client.get_node(ua.NodeId(n, namespace)) for n in range(1, nodes + 1)]
            for start in range(0, nodes, 100):
                await subscription.subscribe_data_change(wanted[start : start + 100], queuesize=10)
        await asyncio.sleep(WARM_UP_S)
        before, (cpu_before, _) = handler.count, cpu_and_memory(os.getpid())
        await asyncio.sleep(SECONDS)
        after, (cpu_after, peak_mb) = handler.count, cpu_and_memory(os.getpid())
        print(after - before, cpu_after - cpu_before, peak_mb, flush=True)


async def ages(bootstrap: str, since: int, until: int) -> np.ndarray:  # type: ignore[type-arg]
    """Seconds from each sample's source time to its record's time at Kafka, of the records between
    two times (microseconds since 1970)."""
    found: list[np.ndarray] = []  # type: ignore[type-arg]
    async with Consumer(
        KafkaSettings(kafka_bootstrap=bootstrap), [SAMPLES], client_id="bench"
    ) as reader:
        while records := await reader.take(timeout_s=3.0):
            for record in records:
                if record.value is not None and since <= record.timestamp_ms * 1000 <= until:
                    batch = codec.decode(record.value)
                    found.append(record.timestamp_ms / 1e3 - batch.source_time / 1e6)
    return np.concatenate(found)


if __name__ == "__main__":
    asyncio.run(_count_with_asyncua(sys.argv[1], *map(int, sys.argv[2:])))
