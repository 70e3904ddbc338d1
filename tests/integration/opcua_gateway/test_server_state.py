"""What a foreign server says of its own state (O18)."""

from __future__ import annotations

import re
from pathlib import Path

from aurelian.edge.gateway import Delivery
from tests.integration.opcua_gateway.test_node_opcua import make_source
from tests.peers.node_opcua_server import node_opcua
from tests.source_alone import readings_of, taking
from tests.waiting import until


def deaths(taken: list[Delivery]) -> list[str]:
    return [e.death.reason for d in taken for e in d.events if e.HasField("death")]


def births(taken: list[Delivery]) -> list[str]:
    return [e.birth.detail for d in taken for e in d.events if e.HasField("birth")]


def heartbeats(taken: list[Delivery]) -> int:
    return sum(e.HasField("heartbeat") for d in taken for e in d.events)


async def test_a_server_that_says_it_shuts_down_vouches_for_nobody(tmp_path: Path) -> None:
    async with node_opcua(tmp_path, nodes=2) as server:
        source = make_source(tmp_path, server.url, 2)
        async with taking(source) as taken:
            await until(lambda: heartbeats(taken) > 0, "a heartbeat")
            await server.say_state(4)
            await until(lambda: bool(deaths(taken)), "the death")
            assert deaths(taken) == ["the server says that it is in state Shutdown"]
            before, messages = heartbeats(taken), len(taken)
            await until(lambda: len(taken) >= messages + 2, "keep-alives", 20)
            assert heartbeats(taken) == before
            await server.say_state(0)
            await until(lambda: "the server is at work again" in births(taken), "the birth")
            await until(lambda: heartbeats(taken) > before, "a heartbeat again")
    # The node of the state is no signal of the plant.
    assert {r.signal.path.rpartition("/")[2] for d in taken for r in readings_of(d)} == {"v0", "v1"}


async def test_a_server_that_is_down_while_the_gateway_restarts_is_down_after_it(
    tmp_path: Path,
) -> None:
    async with node_opcua(tmp_path, nodes=1) as server:
        async with taking(make_source(tmp_path, server.url, 1)) as taken:
            await until(lambda: heartbeats(taken) > 0, "a heartbeat")
        await server.say_state(4, 90, "new rollers")
        async with taking(make_source(tmp_path, server.url, 1)) as taken:
            # Its state may come in a message before the rest, or the rest as it was sampled before:
            # what is told last is what counts.
            says = re.compile("the server says that it is in state Shutdown, in [0-9]+ s: new roll")
            await until(
                lambda: any(map(says.match, deaths(taken)[-1:])), lambda: str(deaths(taken))
            )
            assert not births(taken)
            await server.say_state(0)
            await until(lambda: births(taken) == ["the server is at work again"], "the birth")
