"""The OPC UA gateway over a way that flips bits in what a server sends, on a channel that nobody
signs: it goes on, and what it cannot have read lies in a gap."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.integration.opcua_gateway.test_chaos import births, newest, resident_mb
from tests.integration.opcua_gateway.test_chaos_more import now_ms, sent, uncovered
from tests.integration.opcua_gateway.test_node_opcua import make_source
from tests.long_tests import LONG_TESTS
from tests.peers.between import between
from tests.peers.node_opcua_server import node_opcua, url_at
from tests.source_alone import taking
from tests.waiting import until

NODES, PAUSE_MS, ROUND = 5, 150, 20
TIMES = 20 if LONG_TESTS else 1
EVERY = 3
"""One of so many messages is damaged."""

HEAD = 24 + 4 + 24
"""Bytes of a chunk's head (part 6, 6.7.2), and of a response before its diagnostics."""

MOST_GROWTH_MB = 15.0


class BitFlips:
    """What becomes of each message while `is_on`: every so often a bit of its first bytes is
    another."""

    def __init__(self, first: int) -> None:
        self.flips = 0
        self.is_on = False
        self._first, self._random = first, random.Random(7)

    def __call__(self, message: bytes) -> bytes:
        if not self.is_on or message[:3] != b"MSG" or self._random.randrange(EVERY):
            return message
        self.flips += 1
        changed = bytearray(message)
        at = self._random.randrange(min(len(changed), self._first))
        changed[at] ^= 1 << self._random.randrange(8)
        return bytes(changed)


@pytest.mark.timeout(150 + 40 * TIMES)
@pytest.mark.parametrize("where", [HEAD, 100_000], ids=["heads", "anywhere"])
async def test_bits_that_flip_on_the_way_end_nothing_for_good(tmp_path: Path, where: int) -> None:
    """In the head they cost no value that is not in a gap. Among the values they may: one flip
    makes another value, time or node of one, which nobody can tell on such a channel."""
    flips = BitFlips(where)
    settings = {"opcua_keep_alive_s": 0.5, "opcua_timeout_s": 1.0}
    async with node_opcua(tmp_path, nodes=NODES) as server, between(server.port) as way:
        way.change = flips
        source = make_source(tmp_path, url_at(way.port), NODES, **settings)
        expected: dict[int, float] = {}
        memory = []
        async with taking(source) as taken:
            await until(lambda: newest(taken) == [0.0] * NODES, "first values", 30)
            for first in range(1, TIMES * ROUND, ROUND):
                for is_on, begin, end in (
                    (True, first, first + ROUND - 4),
                    (False, first + ROUND - 3, first + ROUND - 1),
                ):
                    flips.is_on, start = is_on, now_ms()
                    expected |= sent(begin, end, start)
                    await server.count(begin, end, PAUSE_MS, start)
                await until(
                    lambda n=first + ROUND - 1: newest(taken) == [float(n)] * NODES,  # type: ignore[misc]
                    "values after the damage",
                    40,
                )
                memory.append(resident_mb())
            lost = uncovered(taken, expected)
    gaps = [e.gap.reason for d in taken for e in d.events if e.HasField("gap")]
    print(f"{flips.flips} flips, {len(births(taken))} births, {len(gaps)} gaps, {len(lost)} lost")
    assert flips.flips >= 3 * TIMES and len(births(taken)) > 1
    assert len(lost) <= (0 if where == HEAD else NODES * flips.flips)
    assert memory[-1] - memory[len(memory) // 4] < MOST_GROWTH_MB
