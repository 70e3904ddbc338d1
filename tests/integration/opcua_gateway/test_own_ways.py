"""The OPC UA gateway and servers with ways of their own: message numbers that begin anew or jump,
results where none should be, signs of life more often than anybody asked for.

The server is asyncua's; what it does not do by itself a relay does to its messages.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio
from asyncua import Node, Server, ua

from aurelian.edge.gateway import Delivery
from aurelian.local import ports
from tests.integration.opcua_gateway.test_chaos import births, gaps
from tests.integration.opcua_gateway.test_node_opcua import make_source, values
from tests.peers.node_opcua_server import NAMESPACE
from tests.peers.opcua_relay import PUBLISH, REPUBLISH, SERVICE_FAULT, Answer, Relay, relay
from tests.source_alone import taking
from tests.waiting import until

BAD_INTERNAL_ERROR, BAD_MESSAGE_NOT_AVAILABLE = 0x80020000, 0x807B0000
WITH_VALUE = 110
"""Bytes of a Publish response: a keep-alive has fewer, one with a value more."""
_RESULT_AT = 16  # in a response: behind type id, time and request handle


pytestmark = pytest.mark.asyncio(loop_scope="module")


class Peer:
    """A server with one variable."""

    def __init__(self, server: Server, node: Node, url: str) -> None:
        self._server, self._node, self.url = server, node, url
        self._last = 0.0

    async def write(self) -> float:
        """Write another value than any before; return it."""
        self._last += 1
        written = ua.DataValue(
            ua.Variant(self._last, ua.VariantType.Double), SourceTimestamp=datetime.now(UTC)
        )
        space = self._server.iserver.aspace
        await space.write_attribute_value(self._node.nodeid, ua.AttributeIds.Value, written)
        return self._last

    async def tell(self, taken: list[Delivery], times: int = 1) -> None:
        """Write a value and wait until it came, so many times."""
        for _ in range(times):
            value = await self.write()
            await until(lambda v=value: v in values(taken).get("v0", []), f"value {value}", 20)  # type: ignore[misc]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def peer() -> AsyncIterator[Peer]:
    url = f"opc.tcp://127.0.0.1:{ports.any_free()}"
    server = Server()
    await server.init()
    server.set_endpoint(url)
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    node = await server.nodes.objects.add_variable(
        ua.NodeId("v0", await server.register_namespace(NAMESPACE)), "v0", 0.0
    )
    async with server:
        yield Peer(server, node, url)


@contextlib.asynccontextmanager
async def watched(
    peer: Peer, folder: Path, rule: Callable[[Answer], Answer | None]
) -> AsyncIterator[tuple[list[Delivery], Relay]]:
    """The gateway watches the variable; what the server says goes through `rule`."""
    async with (
        relay(peer.url, rule) as way,
        taking(make_source(folder, way.url, 1, source={"publishing_interval_ms": 20})) as taken,
    ):
        await until(lambda: bool(values(taken)), "the first value", 30)
        yield taken, way


def numbered(number: Callable[[int], int]) -> Callable[[Answer], Answer]:
    """A rule: the server's messages have other numbers."""

    def rule(answer: Answer) -> Answer:
        if answer.kind != PUBLISH:
            return answer
        body = bytearray(answer.body)
        (available,) = struct.unpack_from("<i", body, 32)
        at = 37 + 4 * max(available, 0)
        struct.pack_into("<I", body, at, number(struct.unpack_from("<I", body, at)[0]))
        return answer.with_body(bytes(body))

    return rule


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(lambda n: (n - 1) % 4 + 1, id="4-goes-to-1"),
        pytest.param(lambda n: n if n < 5 else n - 4, id="begins-anew"),
        pytest.param(lambda n: n if n < 5 else n + 3_000_000_000, id="jumps-far"),
    ],
)
async def test_a_server_that_numbers_its_messages_anew_is_gone_on_with(
    peer: Peer,
    tmp_path: Path,
    number: Callable[[int], int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each of these messages was taken for one that came before, acknowledged and dropped."""
    async with watched(peer, tmp_path, numbered(number)) as (taken, _):
        await peer.tell(taken, 8)
    assert births(taken) == ["connected"]
    assert len([each for each in caplog.messages if "numbers its messages anew" in each]) == 1


async def test_numbers_that_jump_cost_a_gap_and_not_a_thousand_questions(
    peer: Peer, tmp_path: Path
) -> None:
    asked: list[int] = []

    def rule(answer: Answer) -> Answer:
        asked.append(answer.kind)
        return numbered(lambda n: 5000 * n)(answer)

    async with watched(peer, tmp_path, rule) as (taken, _):
        before = len(asked)
        await peer.tell(taken, 3)
        assert len(asked) - before - asked[before:].count(PUBLISH) < 100
    assert gaps(taken)[-1] == "4999 messages were lost on the way"


def with_result(answer: Answer, status: int) -> Answer:
    """The same with another result in its header, as some servers say what others have a
    ServiceFault for."""
    body = bytearray(answer.body)
    struct.pack_into("<I", body, _RESULT_AT, status)
    return answer.with_body(bytes(body))


async def test_a_bad_result_in_place_of_a_fault_costs_the_session_only(
    peer: Peer, tmp_path: Path
) -> None:
    is_bad = False

    def rule(answer: Answer) -> Answer:
        nonlocal is_bad
        if answer.kind == PUBLISH and is_bad:
            is_bad = False
            return with_result(answer, BAD_INTERNAL_ERROR)
        return answer

    async with watched(peer, tmp_path, rule) as (taken, _):
        await peer.tell(taken)
        is_bad = True
        await peer.tell(taken)
        await until(lambda: births(taken) == ["connected", "resumed"], "the next session", 20)
        await peer.tell(taken)
    assert not gaps(taken)


async def test_a_message_that_is_not_kept_is_lost_whichever_way_that_is_said(
    peer: Peer, tmp_path: Path
) -> None:
    """The answer to Republish has the Bad result in its header; the session was given up for it,
    again and again."""
    loses, lost = False, 0

    def rule(answer: Answer) -> Answer | None:
        nonlocal lost
        if answer.kind == PUBLISH and loses and not lost and answer.size > WITH_VALUE:
            lost += 1
            return None
        if answer.kind in (REPUBLISH, SERVICE_FAULT) and lost:
            body = struct.pack("<HH", 1, REPUBLISH) + answer.body[4:]
            return with_result(answer.with_body(body), BAD_MESSAGE_NOT_AVAILABLE)
        return answer

    async with watched(peer, tmp_path, rule) as (taken, _):
        await peer.tell(taken)
        loses = True
        await peer.write()
        await until(lambda: lost == 1, "the loss")
        await peer.tell(taken)
    assert gaps(taken)[:1] == ["1 messages were lost on the way"]
    assert births(taken) == ["connected"]


async def test_signs_of_life_at_each_interval_are_not_waited_for(
    peer: Peer, tmp_path: Path
) -> None:
    """A server that revised the keep-alive count to 1 was lost after two intervals of silence, 40
    ms here, again and again."""

    def rule(answer: Answer) -> Answer | None:
        return answer.with_revised(20.0, 1)

    async with watched(peer, tmp_path, rule) as (taken, way):
        await peer.tell(taken)
        way.delay_s = 0.3
        await peer.tell(taken, 2)
    assert births(taken) == ["connected"]
