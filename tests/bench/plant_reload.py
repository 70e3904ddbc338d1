"""Benchmark `plant_reload_200`: 200 OPC UA sources under load (800 values/s, one node-opcua server,
Kafka and all in this process); `value` is the median time, in seconds, from the write of a changed
plant file until its sources are made anew. Sources are changed, added, removed, made unreachable,
and the file is broken, twenty times at random.

`lost` counts values missing between the first and the last of each source that no change was about.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from aurelian.backbone.topics import create_topics
from aurelian.runtime.settings import KafkaSettings
from tests import servers
from tests.bench.framework import say
from tests.changing_plant import KINDS, ChangingPlant
from tests.integration.opcua_gateway.test_chaos_store import following
from tests.peers.node_opcua_server import node_opcua
from tests.stand_in_historian import Historian
from tests.waiting import until

SOURCES, PAUSE_MS = 200, 500


def run() -> Iterator[dict[str, object]]:
    """Yield the one result."""
    with servers.kafka_broker() as broker, tempfile.TemporaryDirectory("-bench") as folder:
        yield asyncio.run(_measure(broker.bootstrap, Path(folder)))


async def _measure(kafka: str, folder: Path) -> dict[str, object]:
    await create_topics(kafka)
    historian, chosen = Historian(KafkaSettings(kafka_bootstrap=kafka)), random.Random(1)
    async with node_opcua(folder, nodes=2) as server, following(historian):
        plant = ChangingPlant.of(folder / "plant", server.url, "reload", SOURCES)
        async with plant.running(kafka, folder / "state"):
            await until(lambda: len(plant.values_of(historian)) == SOURCES, "first values", 120)
            before = plant.sessions()
            counting = asyncio.create_task(server.count(1, 100_000, PAUSE_MS))
            kinds = list(KINDS) * 4
            chosen.shuffle(kinds)
            for kind in kinds:
                await plant.change(kind, chosen)
            after = plant.sessions()
            counting.cancel()
            await asyncio.wait([counting])
            await asyncio.sleep(3)
        values = plant.values_of(historian)
    others = [id_ for id_ in plant.sources if id_ not in plant.touched]
    sessions = sum(before[id_] != after[id_] for id_ in others)
    lost = sum(int(values[id_][-1]) + 1 - len(set(values[id_])) for id_ in others)
    double = sum(len(values[id_]) - len(set(values[id_])) for id_ in others)
    say(
        f"{len(plant.seconds)} changes: median {statistics.median(plant.seconds):.2f} s, worst "
        f"{max(plant.seconds):.2f} s; {len(others)} other sources, {sessions} lost their session"
    )
    return {
        "bench": "plant_reload_200",
        "value": round(statistics.median(plant.seconds), 2),
        "unit": "s",
        "target": 1.0,
        "samples": len(plant.seconds),
        "lost": lost,
        "duplicates": double,
        "worst": round(max(plant.seconds), 2),
        "sessions_lost": sessions,
    }
