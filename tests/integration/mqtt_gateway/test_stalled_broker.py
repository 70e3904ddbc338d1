"""A broker that sends and does not read: our acknowledgements do not go out."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aurelian.edge.source_state import SourceState
from mqtt_gateway import connection
from mqtt_gateway.wire import Wire
from tests.integration.mqtt_gateway.test_brokers import deaths, fresh, gaps, live
from tests.integration.mqtt_gateway.test_mqtt_gateway import json_source, make_plant, values
from tests.peers.scripted_broker import Talk, scripted
from tests.source_alone import taking
from tests.waiting import until

AT = 1_790_000_000_000
MOST = 60_000
SMALL = 4096


class Narrow(Wire):
    """A connection with small buffers on its way, so that a test can fill them; all that were made
    are known."""

    made: list[Narrow]

    def _create_socket_connection(self) -> socket.socket:
        Narrow.made.append(self)
        opened = super()._create_socket_connection()
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
        return opened

    def unsent(self) -> int:
        """Bytes that wait here."""
        return sum(len(each["packet"]) for each in list(self._out_packet))


@contextlib.asynccontextmanager
async def ending(over: asyncio.Event) -> AsyncIterator[None]:
    """The scripts end with the test."""
    try:
        yield
    finally:
        over.set()
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("stores", [True, False])
async def test_a_broker_that_does_not_read_is_left_and_brings_again_what_it_did_not_hear_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stores: bool
) -> None:
    """Also where our outbox is full then, so that we read nothing either: its silence says nothing
    in that time."""
    monkeypatch.setattr(connection, "Wire", Narrow)
    Narrow.made = []
    sent, over = 0, asyncio.Event()

    async def stalls(talk: Talk, number: int) -> None:
        nonlocal sent
        if number > 1:
            await talk.accept(present=True)
            for n in range(1, sent + 1):
                talk.publish("stalls/press/state", count(n), n, again=True)
            await talk.serve()
        await talk.accept()
        talk.writer.transport.pause_reading()  # type: ignore[attr-defined]
        try:
            while not (over.is_set() or talk.writer.is_closing()):
                for _ in range(500 if sent < MOST else 0):
                    sent += 1
                    talk.publish("stalls/press/state", count(sent), sent)
                await asyncio.sleep(0.02)
        finally:
            talk.writer.transport.abort()

    async def works(talk: Talk, number: int) -> None:
        await talk.accept()
        n = 0
        while not over.is_set():
            n += 1
            talk.publish("works/press/state", count(n), n)
            await asyncio.sleep(0.02)

    async with scripted(stalls, buffer=SMALL) as (url, told), scripted(works) as (other_url, _):
        for name in ("stalls", "works"):
            (tmp_path / name).mkdir()
        source = json_source(
            make_plant(tmp_path / "stalls", url, "stalls"), "stalls", mqtt_keep_alive_s=1
        )
        other = json_source(make_plant(tmp_path / "works", other_url, "works"), "works")
        async with (
            ending(over),
            taking(source, acknowledge=False) as taken,
            taking(other) as beside,
        ):
            await live(source)
            first, done, pauses = Narrow.made[0], 0, [0.0]

            def acknowledge() -> bool:
                nonlocal done
                for delivery in taken[done:]:
                    if delivery.ack is not None:
                        delivery.ack()
                done = len(taken)
                return first.unsent() > 20_000

            await until(acknowledge, "acknowledgements that do not go out", 20)
            if not stores:
                monkeypatch.setattr(connection, "MOST_MESSAGES", 1)
            began = last = time.monotonic()
            seen, most = len(values(beside[-1:])), 0
            while source.condition().state is SourceState.LIVE:
                assert time.monotonic() - began < 4, "nobody noticed"
                if stores:
                    acknowledge()
                most = max(most, first.unsent())
                if len(beside) > seen:
                    pauses.append(time.monotonic() - last)
                    seen, last = len(beside), time.monotonic()
                await asyncio.sleep(0.01)
            assert source.condition().state is SourceState.CONNECTING
            assert "the broker has read nothing for 1 s" in source.condition().cause
            assert max(pauses) < 1 and len(pauses) > 10  # the other source went on
            assert most < 1_000_000

            def all_heard() -> bool:
                acknowledge()
                return len(told.acknowledged) >= sent

            monkeypatch.setattr(connection, "MOST_MESSAGES", 20_000)
            await until(all_heard, lambda: f"{len(told.acknowledged)} of {sent}", 30)
            assert source.condition().state is SourceState.LIVE
    assert told.acknowledged == list(range(1, sent + 1))
    assert set(values(taken)) == set(range(1, sent + 1))
    once = fresh(taken)
    assert len(set(once)) == len(once)
    assert len(deaths(taken)) == 1 and not gaps(taken)


def count(number: int) -> str:
    return f'{{"ts": {AT + number}, "count": {number}}}'
