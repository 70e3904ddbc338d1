"""What paho does of itself and we may not rely on: QoS 2, the order of acknowledgements, callbacks
that raise (T21, T22 of the ingest sheet)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from mqtt_gateway.connection import Connection
from tests.integration.mqtt_gateway.test_brokers import fresh, gaps, live
from tests.integration.mqtt_gateway.test_mqtt_gateway import Peer, json_source, make_plant, values
from tests.peers.mqtt_spy import spying
from tests.peers.scripted_broker import Talk, scripted
from tests.source_alone import taking
from tests.waiting import until

PUBREC, PUBCOMP = 5, 7
TOPIC = "traps/press/state"
COUNT = 10


@pytest.mark.mosquitto
async def test_what_is_published_with_qos_2_is_asked_for_with_qos_1_and_outlives_a_crash(
    mosquitto: str, tmp_path: Path
) -> None:
    """T21: with QoS 2 paho would say PUBREC before anybody has the message, and the broker forget
    it."""
    async with spying(mosquitto) as spy:
        plant = make_plant(tmp_path, spy.url, "traps")
        with Peer(mosquitto) as machine:
            source = json_source(plant, "traps")
            async with taking(source, acknowledge=False) as lost:
                await live(source)
                for n in range(1, COUNT + 1):
                    await machine.send(TOPIC, f'{{"count": {n}}}', qos=2)
                await until(lambda: len(values(lost)) == COUNT, lambda: str(values(lost)))
                spy.cut()  # between receipt and disk
            async with taking(json_source(plant, "traps")) as taken:
                await machine.send(TOPIC, f'{{"count": {COUNT + 1}}}', qos=2)
                await until(lambda: COUNT + 1 in values(taken), lambda: str(values(taken)))
            assert values(taken) == list(range(1, COUNT + 2))
            assert fresh(taken) == [COUNT + 1] and not gaps(taken)
        for session in spy.sessions:
            assert {qos for name, qos in session.subscribed() if name[0] != "$"} <= {1}
            assert not {PUBREC, PUBCOMP} & set(session.kinds(ours=True))


async def test_what_is_stored_out_of_order_is_acknowledged_in_the_order_of_receipt(
    tmp_path: Path,
) -> None:
    """T22: paho sends an acknowledgement when it is told to, in whatever order."""

    async def script(talk: Talk, number: int) -> None:
        await talk.accept()
        for n in range(1, COUNT + 1):
            talk.publish(TOPIC, f'{{"count": {n}}}', n)
            await asyncio.sleep(0.05)  # a batch of its own
        await talk.serve()

    async with scripted(script) as (url, told):
        source = json_source(make_plant(tmp_path, url, "traps"), "traps")
        async with taking(source, acknowledge=False) as taken:
            await until(lambda: values(taken) == list(range(1, COUNT + 1)), "all")
            acks = [each.ack for each in taken if each.ack is not None]
            assert len(acks) > 3
            for ack in reversed(acks[1:]):
                ack()
            await asyncio.sleep(0.2)
            assert told.acknowledged == []
            acks[0]()
            await until(lambda: len(told.acknowledged) == COUNT, lambda: str(told.acknowledged))
            assert told.acknowledged == list(range(1, COUNT + 1))


@pytest.mark.parametrize("callback", ["_on_connect", "_on_subscribe", "_on_disconnect"])
async def test_a_callback_that_raises_does_not_end_a_source_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, callback: str
) -> None:
    """T22: in paho it would end the network thread, or, suppressed, nobody would hear of what it
    was to say."""
    raised = 0
    whole: Callable[..., None] = getattr(Connection, callback)

    def breaks(self: Connection, *about: object) -> None:
        nonlocal raised
        raised += 1
        if raised == 1:
            raise RuntimeError("a fault of ours")
        whole(self, *about)

    async def script(talk: Talk, number: int) -> None:
        await talk.accept(present=number > 1)
        talk.publish(TOPIC, f'{{"count": {number}}}', 1)
        if number == 1:
            await asyncio.sleep(0.3)
            return
        await talk.serve()

    monkeypatch.setattr(Connection, callback, breaks)
    async with scripted(script) as (url, told):
        source = json_source(make_plant(tmp_path, url, "traps"), "traps", mqtt_timeout_s=1)
        async with taking(source) as taken:
            await until(lambda: bool({2, 3} & set(values(taken))), lambda: str(told), 10)
            await live(source)
    assert raised
