"""Histories that answer otherwise than node-opcua's: asyncua's server, whose storage gives
continuation points by time or none at all, and one that finds requests too much."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from asyncua import Server, ua
from asyncua.server.history import HistoryDict, HistoryManager

from aurelian.local import ports
from aurelian.model.time import now_us, to_datetime
from opcua_gateway.history.read_back import MOST_LOST
from tests.integration.opcua_gateway.test_node_opcua import have_reached, make_source
from tests.integration.opcua_gateway.test_read_back import (
    births,
    by_time,
    gaps,
    historical,
    numbers,
    of,
)
from tests.source_alone import taking
from tests.waiting import until

URI = "urn:aurelian-test:asyncua"


class Storage(HistoryDict):
    """A history that outlives its server."""

    async def new_historized_node(
        self, node_id: ua.NodeId, period: timedelta | None, count: int = 0
    ) -> None:
        with contextlib.suppress(ua.UaError):
            await super().new_historized_node(node_id, period, count)

    async def save_node_value(self, node_id: ua.NodeId, datavalue: ua.DataValue) -> None:
        known = self._datachanges[node_id]
        if datavalue.SourceTimestamp not in {each.SourceTimestamp for each in known[-3:]}:
            await super().save_node_value(node_id, datavalue)


class Refusing(HistoryManager):
    """Refuses a whole HistoryRead of more than `most` nodes (code 0: by ending the connection);
    counts what it answered.

    Attributes:
        refused: the refusals.
        asked: (nodes, those with a continuation point) of each request that it answered.
    """

    def __init__(self, server: Server, most: int, code: int) -> None:
        super().__init__(server.iserver)
        self._most, self._code = most, code
        self.refused = 0
        self.asked: list[tuple[int, int]] = []

    async def read_history(self, params: ua.HistoryReadParameters) -> list[ua.HistoryReadResult]:
        nodes = params.NodesToRead
        if len(nodes) > self._most:
            self.refused += 1
            if not self._code:
                for transport in list(self.iserver.asyncio_transports):
                    transport.abort()
            raise ua.UaStatusCodeError(self._code)
        self.asked.append((len(nodes), sum(bool(each.ContinuationPoint) for each in nodes)))
        return await super().read_history(params)


@contextlib.asynccontextmanager
async def serving(
    port: int,
    storage: Storage,
    values: Mapping[str, tuple[float, datetime]],
    most: int = 1000,
    code: int = 0,
) -> AsyncIterator[Refusing]:
    """A server whose nodes have these values and times and are historized."""
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace(URI)
    history = server.iserver.history_manager = Refusing(server, most, code)
    history.set_storage(storage)
    for name, (value, at) in values.items():
        node = await server.nodes.objects.add_variable(ua.NodeId(name, index), name, value)
        written = ua.DataValue(ua.Variant(value), SourceTimestamp=at, ServerTimestamp=at)
        await server.iserver.aspace.write_attribute_value(
            node.nodeid, ua.AttributeIds.Value, written
        )
        await server.historize_node_data_change(node)
    await server.start()
    try:
        yield history
    finally:
        await server.stop()


def double(value: float, at: datetime) -> ua.DataValue:
    return ua.DataValue(
        ua.Variant(value, ua.VariantType.Double), SourceTimestamp=at, ServerTimestamp=at
    )


@pytest.mark.parametrize("response", [pytest.param(10_000, marks=pytest.mark.long), 70])
async def test_points_by_time_and_answers_that_are_cut_without_a_point_lose_nothing(
    tmp_path: Path, response: int
) -> None:
    """Of 10,000 values a response asyncua gives as many as are asked for, and says nothing of the
    others; of 70 it gives a continuation point, which is a time."""
    nodes, last = 3, 2500
    port, storage = ports.any_free(), Storage(response)
    start = now_us()
    names = [f"v{n}" for n in range(nodes)]
    source = make_source(tmp_path, f"opc.tcp://127.0.0.1:{port}", nodes, namespace=URI)
    async with contextlib.AsyncExitStack() as stack:
        at = to_datetime(start)
        async with serving(port, storage, dict.fromkeys(names, (0.0, at))):
            taken = await stack.enter_async_context(taking(source))
            await until(lambda: have_reached(taken, 0.0, nodes), "first values", 30)
        # v2 changes ten times as often as the others: its span is the same.
        step = 1001
        for n in range(1, last):
            for name in names:
                if name == "v2" or n % 10 == 0:
                    data = double(float(n), to_datetime(start + n * step))
                    await storage.save_node_value(ua.NodeId(name, 2), data)
        end = to_datetime(start + last * step)
        values = dict.fromkeys(names, (float(last), end))
        async with serving(port, storage, values) as history:
            await until(lambda: True in gaps(taken), "the gap to be filled", 30)
            assert births(taken) == 2
            assert any(points for _, points in history.asked) == (response == 70)
    assert by_time(of(taken, "v2")) == numbers(last)
    for name in ("v0", "v1"):
        assert by_time(of(taken, name)) == numbers(last)[::10]
    assert len(historical(of(taken, "v2"))) == last - 1


@pytest.mark.parametrize(
    ("code", "most"),
    [
        (ua.StatusCodes.BadTooManyOperations, 2),
        pytest.param(ua.StatusCodes.BadNoContinuationPoints, 1, marks=pytest.mark.long),
        (ua.StatusCodes.BadUserAccessDenied, 0),
    ],
)
async def test_a_request_that_is_refused_as_a_whole_is_made_smaller_or_given_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, code: int, most: int
) -> None:
    caplog.set_level(logging.INFO, "opcua_gateway")
    nodes, last = 8, 30
    port, storage = ports.any_free(), Storage()
    start = now_us()
    names = [f"v{n}" for n in range(nodes)]
    source = make_source(tmp_path, f"opc.tcp://127.0.0.1:{port}", nodes, namespace=URI)
    async with contextlib.AsyncExitStack() as stack:
        at = to_datetime(start)
        async with serving(port, storage, dict.fromkeys(names, (0.0, at))):
            taken = await stack.enter_async_context(taking(source))
            await until(lambda: have_reached(taken, 0.0, nodes), "first values", 30)
        for n in range(1, last):
            for name in names:
                data = double(float(n), to_datetime(start + n * 1000))
                await storage.save_node_value(ua.NodeId(name, 2), data)
        values = dict.fromkeys(names, (float(last), to_datetime(start + last * 1000)))
        async with serving(port, storage, values, most, code) as history:
            await until(lambda: "read back" in caplog.text, "the end of it", 30)
            assert history.refused and births(taken) == 2
            assert len([e for d in taken for e in d.events if e.HasField("death")]) == 1
            # What will be refused for ever is not asked for again.
            assert history.refused == 1 if not most else all(n <= most for n, _ in history.asked)
    for name in names:
        expected = numbers(last) if most else [0.0, float(last)]
        assert by_time(of(taken, name)) == expected
    assert gaps(taken) == ([False, True] if most else [False])


@pytest.mark.long
async def test_a_server_that_hangs_up_when_asked_for_its_history_is_left_alone_soon(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nodes = 4
    port, storage = ports.any_free(), Storage()
    start = now_us()
    names = [f"v{n}" for n in range(nodes)]
    source = make_source(tmp_path, f"opc.tcp://127.0.0.1:{port}", nodes, namespace=URI)
    async with contextlib.AsyncExitStack() as stack:
        first = dict.fromkeys(names, (0.0, to_datetime(start)))
        async with serving(port, storage, first):
            taken = await stack.enter_async_context(taking(source))
            await until(lambda: have_reached(taken, 0.0, nodes), "first values", 30)
        values = dict.fromkeys(names, (9.0, to_datetime(start + 9000)))
        async with serving(port, storage, values, most=0, code=0) as history:
            await until(lambda: "read back" in caplog.text, "the end of it", 60)
            assert history.refused == MOST_LOST
            await until(lambda: source._live is not None, "a session")
            told = births(taken)
            assert told == 2 + MOST_LOST and len(gaps(taken)) == 1
            await asyncio.sleep(3)
            assert births(taken) == told and have_reached(taken, 9.0, nodes)
