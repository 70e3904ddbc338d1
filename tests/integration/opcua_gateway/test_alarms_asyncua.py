"""Alarms of a server of asyncua, which takes a type in a where clause for that type alone: they
come all the same."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from asyncua import Server, ua
from asyncua.server.event_generator import EventGenerator

from aurelian.edge.source_state import SourceState
from aurelian.local import ports
from opcua_gateway import metrics
from opcua_gateway.alarms.deliveries import NAMELESS
from opcua_gateway.alarms.statuses import UNLISTED
from opcua_gateway.source import OpcuaSource
from tests.integration.opcua_gateway.test_alarms import alarms_of, make_source, refreshes, told
from tests.peers.node_opcua_server import NAMESPACE, node_opcua
from tests.source_alone import taking
from tests.waiting import until

WITHOUT = "the server does not show that it knows subtypes in a where clause"


class Alarms:
    """A server with the nodes of `make_source`, and one alarm."""

    def __init__(self, server: Server, url: str, alarm: EventGenerator) -> None:
        self.server, self.url, self._alarm = server, url, alarm
        self.named = alarm.event

    async def trigger(self, message: str, *, active: bool) -> None:
        """Raise the alarm, or let it end."""
        event = self._alarm.event
        event.Retain = active
        setattr(event, "ActiveState/Id", active)
        event.Message = ua.LocalizedText(message)
        await self._alarm.trigger()


@contextlib.asynccontextmanager
async def serving(*, lists_conditions: bool) -> AsyncIterator[Alarms]:
    server = Server()
    server.iserver.bind_condition_methods = lists_conditions
    await server.init()
    url = f"opc.tcp://127.0.0.1:{ports.any_free()}"
    server.set_endpoint(url)
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace(NAMESPACE)
    press = await server.nodes.objects.add_object(ua.NodeId("press", index), "Press")
    for name in ("press.temperature", "v0"):
        await press.add_variable(ua.NodeId(name, index), name, 1.0)
    # Its events come to the node that emits them alone, not to those above it.
    alarm = await server.get_event_generator(ua.ObjectIds.OffNormalAlarmType)
    alarm.event.SourceNode = press.nodeid
    alarm.event.NodeId = ua.NodeId("hot", index)
    alarm.event.ConditionName = "hot"
    alarm.event.Severity = 700
    async with server:
        yield Alarms(server, url, alarm)


def filtered() -> float:
    return float(metrics.EVENTS_FILTERED.labels("x/s/peer")._value.get())


def items_of(server: Server) -> list[object]:
    """The items of events that the server has."""
    subscriptions = server.iserver.subscription_service.subscriptions.values()
    found = [each.monitored_item_srv._monitored_events for each in subscriptions]
    return [item for events in found for items in events.values() for item in items]


@pytest.mark.parametrize("lists_conditions", [False, True])
async def test_alarms_come_though_the_server_judges_the_where_clause_wrong(
    lists_conditions: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("opcua_gateway.alarms.where.PATIENCE_S", 1.0)
    metrics.EVENTS_FILTERED.labels("x/s/peer").set(1)
    async with serving(lists_conditions=lists_conditions) as peer:
        await peer.trigger("before", active=True)
        source = make_source(tmp_path, peer.url)
        async with taking(source) as taken:
            await until(lambda: filtered() == 0, "events without a where clause", 30)
            if lists_conditions:
                await until(lambda: len(told(taken)) == 1, "the list of conditions")
            await peer.trigger("on", active=True)
            await peer.trigger("off", active=False)
            await until(lambda: bool(told(taken)) and told(taken)[-1][1] == "off", "the alarm")
            assert len(items_of(peer.server)) == 1
        before = [("hot", "before", True, True)] if lists_conditions else []
        assert told(taken) == [*before, ("hot", "on", True, True), ("hot", "off", False, False)]
        assert len([each for each in caplog.records if each.message.startswith(WITHOUT)]) == 1
        # Whoever goes back to this session asks for no more.
        await is_left_alone(peer, make_source(tmp_path, peer.url))


async def is_left_alone(peer: Alarms, source: OpcuaSource) -> None:
    async with taking(source) as taken:
        await until(lambda: bool(taken), "a session")
        await peer.trigger("again", active=True)
        await until(lambda: ("hot", "again", True, True) in told(taken), "an alarm of the next one")


async def test_alarms_that_do_not_say_of_which_condition_they_are_are_not_left_out_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As asyncua's own event generator sends them: a metric alone said so."""
    monkeypatch.setattr("opcua_gateway.alarms.where.PATIENCE_S", 0.2)
    async with serving(lists_conditions=False) as peer:
        source = make_source(tmp_path, peer.url)
        async with taking(source) as taken:
            await until(lambda: UNLISTED in source.condition().reason, "the note", 30)
            assert source.condition().state is SourceState.LIVE
            # Until then the server, which knows no subtypes, sorts out what is triggered.
            await until(lambda: filtered() == 0, "events without a where clause", 30)
            peer.named.NodeId = None
            for _ in range(2):
                await peer.trigger("on", active=True)
            await until(lambda: f"2 {NAMELESS}" in source.condition().reason, "the condition")
            found = source.condition()
            assert found.state is SourceState.DEGRADED and "generator.event.NodeId" in found.step
            assert not told(taken)
        (said,) = [each for each in caplog.records if each.message == NAMELESS]
        assert said.__dict__["fields"]["next"] == found.step
        (listed,) = [each for each in caplog.records if each.message == UNLISTED]
        assert "nothing has to be done" in listed.__dict__["fields"]["next"]


async def test_a_where_clause_that_the_plant_file_asks_for_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opcua_gateway.alarms.where.PATIENCE_S", 0.2)
    async with serving(lists_conditions=False) as peer:
        before = refreshes("refused")
        async with taking(make_source(tmp_path, peer.url, {"where": True})) as taken:
            await until(lambda: refreshes("refused") > before, "the answer to ConditionRefresh", 30)
            await peer.trigger("on", active=True)
            await peer.server.nodes.server.get_children()
            assert filtered() == 1 and not told(taken)


async def test_a_server_that_knows_subtypes_filters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with node_opcua(tmp_path, nodes=1, alarms=1) as server:
        before = refreshes()
        async with taking(make_source(tmp_path, server.url)) as taken:
            await until(lambda: refreshes() > before, "the list of conditions", 30)
            await server.event("AuditEventType", "of no interest", 900)
            await server.alarm(0, active=True, message="on", severity=500, retain=True)
            await until(lambda: bool(told(taken)), "the alarm")
            # Whether it is sorted out there or here: nothing that came was left out here.
            assert filtered() == 1
    assert [each.message for each in alarms_of(taken)] == ["on"]
    assert not [each for each in caplog.records if each.message.startswith(WITHOUT)]
