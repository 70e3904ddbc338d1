"""`outbox`: samples per second through the gateway's whole write path, from readings to the synced
log.

Contract, ordinals, columns, encoding, numbering, the compact form and SQLite with synchronous=FULL;
one source, deliveries of 100 readings, each acknowledged after its commit. Two inputs: shuffled, a
random 100 of a line's 1,000 signals in each delivery; constant, 50 signals in turn. Peer: the same
encoded bytes appended to a bare file, with an fdatasync for as many rows as the outbox had in one
commit. Read back afterwards and counted: `lost` and `duplicates`.
"""

from __future__ import annotations

import asyncio
import os
import random
import resource
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from aurelian.edge.gateway import Delivery, Reading, forward
from aurelian.edge.outbox.limits import Limits
from aurelian.edge.outbox.outbox import Outbox
from aurelian.edge.outbox.rows import START
from aurelian.edge.outbox.thread import OutboxThread
from aurelian.model.codec import decode
from aurelian.model.plant_parts import SignalModel
from aurelian.model.sample import Signal, ValueType
from aurelian.model.source_model import SourceModel

READINGS = 300_000
DELIVERY = 100
T0 = 1_700_000_000_000_000


def run() -> Iterator[dict[str, object]]:
    """Yield a result of each input."""
    for name in ("shuffled", "constant"):
        yield _measure(name)


def _measure(name: str) -> dict[str, object]:
    with tempfile.TemporaryDirectory(prefix="aurelian-bench-") as folder:
        cpu = time.process_time()
        wall = asyncio.run(_forward_all(Path(folder) / "outbox", name))
        cpu = time.process_time() - cpu
        rows, keys, commits = _read_back(Path(folder) / "outbox")
        peer = READINGS / _append_bare(Path(folder) / "bare", rows, commits)
    value = READINGS / wall
    return {
        "bench": "outbox",
        "value": round(value),
        "unit": f"samples/s, {name}",
        "peer": round(peer),
        "ratio": round(value / peer, 3),
        "target": 50_000,
        "cpu_s": round(cpu, 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "samples": READINGS,
        "lost": READINGS - len(set(keys)),
        "duplicates": len(keys) - len(set(keys)),
    }


@dataclass
class _Source:
    model: SourceModel
    owner: str
    input: str
    acked: int = 0

    async def deliveries(self, bookmark: str = "") -> AsyncIterator[Delivery]:
        rng = random.Random(1)
        model = SignalModel(name="power", range=(0, 1))
        signals = [
            Signal(
                f"{n:08x}-5a0b-5d43-9a2e-3d6f0a7c1b55",
                f"asset-{n // 10}",
                f"a/b/c/line/unit-{n // 10}/power-{n}",
                ValueType.DOUBLE,
                "kW",
                "s",
            )
            for n in range(1000 if self.input == "shuffled" else 50)
        ]
        for first in range(0, READINGS, DELIVERY):
            if self.input == "shuffled":
                chosen = rng.sample(signals, DELIVERY)
            else:
                chosen = [signals[n % 50] for n in range(DELIVERY)]
            yield Delivery(
                source=self.model,
                owner=self.owner,
                received_at=T0 + first,
                readings=[
                    Reading(
                        None,
                        model,
                        signal,
                        "a/b/c/line",
                        rng.random(),
                        ValueType.DOUBLE,
                        T0 + n,
                    )
                    for n, signal in enumerate(chosen, first)
                ],
                ack=self._ack,
            )
            if first % 1000 == 0:
                await asyncio.sleep(0)  # a protocol client waits for its socket here

    def _ack(self) -> None:
        self.acked += DELIVERY


async def _forward_all(folder: Path, name: str) -> float:
    source = _Source(SourceModel(id="s", kind="opcua", url="opc.tcp://127.0.0.1:4840"), "a", name)
    opened = await asyncio.to_thread(Outbox.open, folder, 1, Limits(min_free=0.0))
    async with OutboxThread(opened) as outbox:
        started = time.perf_counter()
        await forward(source, outbox, "g")
        wall = time.perf_counter() - started
    assert source.acked == READINGS
    return wall


def _read_back(folder: Path) -> tuple[list[bytes], list[tuple[str, int, int]], int]:
    """All encoded rows, the key of each sample, and the number of commits."""
    data: list[bytes] = []
    keys: list[tuple[str, int, int]] = []
    commits: set[int] = set()
    with Outbox.open(folder, 2, Limits(min_free=0.0)) as outbox:
        rows, position = outbox.unsent(START)
        while rows:
            for row in rows:
                batch = decode(row.data)
                ids = [batch.signals[index].id for index in batch.signal.tolist()]
                keys += zip(ids, batch.time.tolist(), batch.sub.tolist(), strict=True)
                data.append(row.data)
                commits.add(row.appended_at)
            rows, position = outbox.unsent(position)
    return data, keys, len(commits)


def _append_bare(path: Path, rows: list[bytes], commits: int) -> float:
    each = max(1, len(rows) // commits)
    started = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for first in range(0, len(rows), each):
            file.write(b"".join(rows[first : first + each]))
            os.fdatasync(file.fileno())
    return time.perf_counter() - started
