"""The OPC UA gateway and node-opcua: messages that get lost, sessions that do not last, a server
with small messages, one that comes back as another.

Each value that the server had is there once, or a gap event covers its time.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from aurelian.edge.gateway import Delivery
from aurelian.model.sample import Flag
from aurelian.model.time import now_us
from tests.integration.opcua_gateway.test_chaos import DECOY, TAGS, births, gaps, newest
from tests.integration.opcua_gateway.test_node_opcua import make_source, values
from tests.peers.node_opcua_server import node_opcua
from tests.peers.opcua_relay import ACTIVATE_SESSION, CREATE_SESSION, PUBLISH, READ, Answer, Hangup
from tests.peers.opcua_relay import relay as relayed
from tests.source_alone import readings_of, taking
from tests.waiting import until

NODES = 5
PAUSE_MS = 150
"""Longer than the sampling interval, so that each value is sampled."""
WITH_VALUES = 150
"""Bytes of a Publish response: a keep-alive has fewer, one with a value of each node has more."""

SMALL_MESSAGES = {
    "receiveBufferSize": 8_192,
    "sendBufferSize": 8_192,
    "maxMessageSize": 65_536,
    "maxChunkCount": 8,
}


def now_ms() -> int:
    return now_us() // 1000


def sent(first: int, last: int, first_ms: int) -> dict[int, float]:
    """What `NodeOpcua.count` gives each node, by source time in microseconds."""
    return {(first_ms + n * PAUSE_MS) * 1000: float(first + n) for n in range(last - first + 1)}


def arrived(taken: list[Delivery]) -> dict[str, list[tuple[int | None, object]]]:
    """(source time, value) of each node in the order in which they came, but for first values of a
    session. node-opcua may send a value twice, one behind the other: that counts as one."""
    found: dict[str, list[tuple[int | None, object]]] = {}
    for delivery in taken:
        for reading in readings_of(delivery):
            if not reading.flags & Flag.INITIAL:
                node = found.setdefault(reading.signal.path.rpartition("/")[2], [])
                if node[-1:] != [(reading.source_time, reading.value)]:
                    node.append((reading.source_time, reading.value))
    return found


def uncovered(taken: list[Delivery], expected: dict[int, float]) -> list[tuple[str, float]]:
    """Values of `expected` that did not come, and lie in no gap."""
    spans = [(e.gap.from_time, e.gap.to_time) for d in taken for e in d.events if e.HasField("gap")]
    came: dict[str, set[tuple[int | None, object]]] = {}
    for delivery in taken:
        for reading in readings_of(delivery):
            node = came.setdefault(reading.signal.path.rpartition("/")[2], set())
            node.add((reading.source_time, reading.value))
    return [
        (name, value)
        for name, found in came.items()
        for at, value in expected.items()
        if (at, value) not in found and not any(begin <= at <= end for begin, end in spans)
    ]


async def test_a_publish_response_that_is_lost_on_the_way_is_fetched_again(tmp_path: Path) -> None:
    """Fails where `Subscription.accept` does not ask again for the numbers that are missing (a gap
    in place of the values), and where `Sequence.observe` does not see them (values are missing)."""
    lost: list[Answer] = []

    def lose_one(answer: Answer) -> Answer | None:
        if answer.kind == PUBLISH and answer.size > WITH_VALUES and not lost:
            lost.append(answer)
            return None
        return answer

    async with (
        node_opcua(tmp_path, nodes=NODES) as server,
        relayed(server.url) as relay,
        taking(make_source(tmp_path, relay.url, NODES)) as taken,
    ):
        await until(lambda: newest(taken) == [0.0] * NODES, "first values", 30)
        start = now_ms()
        await server.count(1, 5, PAUSE_MS, start)
        relay.rule = lose_one
        await server.count(6, 20, PAUSE_MS, start + 5 * PAUSE_MS)
        await until(lambda: bool(lost) and newest(taken) == [20.0] * NODES, "the last values")
    assert births(taken) == ["connected"] and relay.connections == 1
    assert not gaps(taken)
    assert arrived(taken) == {f"v{n}": list(sent(1, 20, start).items()) for n in range(NODES)}


class EndsWhatIsResumed:
    """A rule: once `begun`, the connection ends, and so does every one that goes on with a session
    of before, after its first request."""

    def __init__(self) -> None:
        self.begun = False
        self.ended = 0
        self._created: set[int] = set()
        self._resumed: set[int] = set()

    def __call__(self, answer: Answer) -> Answer:
        if answer.kind == CREATE_SESSION:
            self._created.add(answer.connection)
        elif answer.kind == ACTIVATE_SESSION and answer.connection not in self._created:
            self._resumed.add(answer.connection)
        elif (self.begun and not self.ended and answer.kind == PUBLISH) or (
            answer.connection in self._resumed and answer.kind != READ
        ):
            self.ended += 1
            raise Hangup
        return answer


@pytest.mark.long
async def test_a_session_that_ends_whenever_it_is_resumed_is_given_up(tmp_path: Path) -> None:
    """Fails where `source._MOST_RESUMPTIONS` is not kept to: with one node it is resumed without
    end; with several the source also asks for fewer of them before."""
    last = 50
    async with node_opcua(tmp_path, nodes=NODES) as server, contextlib.AsyncExitStack() as stack:
        runs = []
        for nodes in (1, NODES):
            ends = EndsWhatIsResumed()
            relay = await stack.enter_async_context(relayed(server.url, ends))
            folder = tmp_path / str(nodes)
            folder.mkdir()
            source = make_source(folder, relay.url, nodes)
            taken = await stack.enter_async_context(taking(source))
            runs.append((nodes, ends, taken))
        for nodes, ends, taken in runs:
            await until(lambda n=nodes, t=taken: newest(t) == [0.0] * n, "first values", 30)  # type: ignore[misc]
            ends.begun = True
        start = now_ms()
        await server.count(1, last, PAUSE_MS, start)
        for nodes, ends, taken in runs:
            await until(lambda t=taken: births(t).count("connected") == 2, "a new session", 30)  # type: ignore[misc]
            await until(lambda n=nodes, t=taken: newest(t) == [float(last)] * n, "the last values")  # type: ignore[misc]
            resumed = births(taken)[1:-1]
            assert set(resumed) == {"resumed"} and len(resumed) == (4 if nodes == 1 else 3)
            assert ends.ended == 1 + len(resumed)
            assert gaps(taken) == ["no session with the server"]
            assert not uncovered(taken, sent(1, last, start))


async def test_a_session_that_cannot_be_gone_back_to_is_given_up(tmp_path: Path) -> None:
    """The connection ends at each attempt to take the session up again, without a word. Fails where
    `Resumption.failed` does not count it: it is tried for ever, and after a restart again."""
    last, attempts, is_new = 30, 0, set[int]()
    ends = False

    def rule(answer: Answer) -> Answer | None:
        nonlocal attempts
        if answer.kind == CREATE_SESSION:
            is_new.add(answer.connection)
        if ends and answer.kind == ACTIVATE_SESSION and answer.connection not in is_new:
            attempts += 1
            raise Hangup
        return answer

    async with node_opcua(tmp_path, nodes=1) as server, relayed(server.url, rule) as relay:
        async with taking(make_source(tmp_path, relay.url, 1)) as taken:
            await until(lambda: newest(taken) == [0.0], "the first value", 30)
            ends = True
            relay.hang_up()
            start = now_ms()
            await server.count(1, last, PAUSE_MS, start)
            await until(lambda: births(taken).count("connected") == 2, "a new session", 60)
            await until(lambda: newest(taken) == [float(last)], "the last value")
            # Four to go on with it, and one to end it there.
            await until(lambda: attempts >= 5, "the attempt to end it")
    assert attempts == 5
    assert gaps(taken) == ["no session with the server"]
    assert not uncovered(taken, sent(1, last, start))


async def test_a_server_with_messages_of_64_kb_delivers_five_thousand_nodes(tmp_path: Path) -> None:
    many = 5_000
    async with node_opcua(tmp_path, nodes=many, transport=SMALL_MESSAGES) as server:
        async with taking(make_source(tmp_path, server.url, many)) as taken:
            await until(lambda: newest(taken) == [0.0] * many, "a first value of each node", 40)
            start = now_ms()
            await server.count(1, 5, 1_000, start)
            await until(lambda: newest(taken) == [5.0] * many, "the last value of each node", 30)
    assert births(taken) == ["connected"] and not gaps(taken)
    for each in values(taken).values():
        assert each[-5:] == [1.0, 2.0, 3.0, 4.0, 5.0]


@pytest.mark.long
async def test_a_restart_with_a_namespace_in_front_keeps_the_whole_sequence_of_every_node(
    tmp_path: Path,
) -> None:
    many, per_call, last = 300, 100, 20
    limits = {"nodes": many, "items_per_call": per_call}
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    after.mkdir()
    async with contextlib.AsyncExitStack() as stack:
        async with node_opcua(before, namespaces=[TAGS], **limits) as server:  # type: ignore[arg-type]
            port = server.port
            source = make_source(tmp_path, server.url, many, namespace=TAGS)
            taken = await stack.enter_async_context(taking(source))
            await until(lambda: newest(taken) == [0.0] * many, "first values", 30)
            first = now_ms()
            await server.count(1, last, PAUSE_MS, first)
            await until(lambda: newest(taken) == [float(last)] * many, "the first server's", 20)
        spaces = ["urn:aurelian-test:first", TAGS]
        async with node_opcua(after, namespaces=spaces, port=port, **limits) as server:  # type: ignore[arg-type]
            await until(lambda: births(taken) == ["connected", "connected"], "a new session", 30)
            await until(lambda: newest(taken) == [0.0] * many, "its first values", 20)
            second = now_ms()
            await server.count(1, last, PAUSE_MS, second)
            await until(lambda: newest(taken) == [float(last)] * many, "the second server's", 20)
    assert gaps(taken) == ["no session with the server"]
    whole = [*sent(1, last, first).items(), *sent(1, last, second).items()]
    assert arrived(taken) == {f"v{n}": whole for n in range(many)}
    assert not [v for each in values(taken).values() for v in each if v == DECOY]
