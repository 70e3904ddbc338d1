"""A plant file that changes five times at random while 30 sources run under load (twenty times and
200 in the long tests): the others keep their sessions and lose nothing."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from asyncua import Client

from aurelian.backbone.topics import create_topics
from aurelian.edge.forward import SOURCE_RESTARTS
from aurelian.model.time import now_us
from aurelian.runtime.settings import KafkaSettings
from tests.changing_plant import DEADLINE_S, KINDS, ChangingPlant
from tests.integration.opcua_gateway.test_chaos_store import following
from tests.long_tests import LONG_TESTS
from tests.peers.node_opcua_server import node_opcua
from tests.stand_in_historian import Historian
from tests.waiting import until

SOURCES, OF_EACH = (200, 4) if LONG_TESTS else (30, 1)
PAUSE_MS = 5 * SOURCES
"""Between two values of a node. Server, gateway, broker and this test share one machine, of two
cores maybe: so many messages a second in all as there are beside 40 sources at 5 Hz."""

INTERVAL_MS = PAUSE_MS // 4


async def _sessions_and_subscriptions(url: str) -> tuple[int, int]:
    """How many the server has, ours that asks among the sessions."""
    async with Client(url) as client:
        nodes = [client.get_node(f"i={each}") for each in (2277, 2285)]
        sessions, subscriptions = [await each.read_value() for each in nodes]
    return sessions, subscriptions


@pytest.mark.timeout(900 if LONG_TESTS else 300)
async def test_changes_at_random_touch_no_other_source(kafka: str, tmp_path: Path) -> None:
    await create_topics(kafka)
    historian, chosen = Historian(KafkaSettings(kafka_bootstrap=kafka)), random.Random(7)
    async with node_opcua(tmp_path, nodes=2) as server, following(historian):
        plant = ChangingPlant.of(tmp_path / "plant", server.url, "reload", SOURCES, INTERVAL_MS)
        async with plant.running(kafka, tmp_path / "state"):
            await until(
                lambda: len(plant.values_of(historian)) == SOURCES, "first values", DEADLINE_S
            )
            before, began = plant.sessions(), now_us()
            counting = asyncio.create_task(server.count(1, 100_000, PAUSE_MS))
            kinds = list(KINDS) * OF_EACH
            chosen.shuffle(kinds)
            for kind in kinds:
                await plant.change(kind, chosen)
                after = plant.sessions()
                assert after == {key: before[key] for key in after}, kind
            # Nobody left a session or a subscription behind.
            expected = len(plant.sources) + 1, len(plant.sources)
            found: list[tuple[int, int]] = []

            async def counted() -> bool:
                found.append(await _sessions_and_subscriptions(server.url))
                return found[-1] == expected

            await until(counted, lambda: f"{expected}, found {found[-1]}", DEADLINE_S)
            counting.cancel()
            await asyncio.wait([counting])
            newest = max(max(each) for each in plant.values_of(historian).values())
            await until(
                lambda: max(plant.values_of(historian)["s0"]) >= newest, "the rest", DEADLINE_S
            )
            await asyncio.sleep(1)

            # Assets of sources that went are there no more, soon: that goes with a heartbeat.
            def units() -> set[str]:
                mine = [a for a in historian.assets.values() if a["owner"] == "reload"]
                return {str(each["name"]) for each in mine if each["level"] == "unit"}

            await until(
                lambda: units() == {f"u-{id_}" for id_ in plant.sources},
                lambda: f"units of {sorted(plant.sources)}, found {sorted(units())}",
                DEADLINE_S,
            )
        values = plant.values_of(historian)
    others = [id_ for id_ in plant.sources if id_ not in plant.touched]
    assert len(others) >= SOURCES - 4 * OF_EACH
    for id_ in others:
        # From the first one on each value once, in order.
        assert values[id_][1:] == list(range(1, int(values[id_][-1]) + 1)), id_
        assert SOURCE_RESTARTS.labels(f"reload/s/{id_}")._value.get() == 0
    ids = {f"reload/s/{id_}" for id_ in others}
    # While all connect at once a machine without CPU left may lose a session that nobody changed.
    gaps = [e for e in historian.events if e.source in ids and e.HasField("gap")]
    assert [each for each in gaps if each.gap.to_time > began] == []
    print(f"reload: median {sorted(plant.seconds)[len(plant.seconds) // 2]:.2f} s, "
          f"worst {max(plant.seconds):.2f} s")  # fmt: skip
