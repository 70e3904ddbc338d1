"""Events, alarms and conditions of node-opcua: what has to come of them, written by hand (O28)."""

from __future__ import annotations

import json
from pathlib import Path

from asyncua import ua

from aurelian.edge.gateway import Delivery
from aurelian.model import codec
from aurelian.model.plant import Plant
from opcua_gateway import metrics
from opcua_gateway.settings import OpcuaGatewaySettings
from opcua_gateway.source import OpcuaSource
from opcua_gateway.sources import make_sources
from tests.peers.fault_proxy import fault_proxy
from tests.peers.node_opcua_server import NAMESPACE, node_opcua, url_at
from tests.peers.opcua_relay import Answer, relay
from tests.source_alone import readings_of, taking
from tests.waiting import until

ALARM = f"nsu={NAMESPACE};s=alarm"
GONE = "the source does not list the condition any more"
CREATE_ITEMS = int(ua.ObjectIds.CreateMonitoredItemsResponse_Encoding_DefaultBinary)


def make_source(
    folder: Path, url: str, alarms: object = True, node: str = "s=press", **more: object
) -> OpcuaSource:
    """A source with the unit `press`, which has the events of `node` (none: `""`), and one more."""
    units = [
        {
            "name": "press",
            "source": "peer",
            "signals": [{"name": "temperature", "address": f"nsu={NAMESPACE};s=press.temperature"}],
            "alarm_nodes": [f"nsu={NAMESPACE};{node}"] if node else [],
        },
        {
            "name": "other",
            "source": "peer",
            "signals": [{"name": "v0", "address": f"nsu={NAMESPACE};s=v0"}],
        },
    ]
    line = {"name": "l", "products": [{"id": "cup", "ideal_cycle_s": 2}], "units": units}
    source = {"id": "peer", "kind": "opcua", "url": url, "publishing_interval_ms": 50}
    plant = Plant.model_validate(
        {
            "company": {"id": "x", "name": "X"},
            "site": "s",
            "time_zone": "UTC",
            "sources": [source | {"alarms": alarms}],
            "areas": [{"name": "a", "lines": [line]}],
        }
    )
    settings = OpcuaGatewaySettings(state=folder, **more)  # type: ignore[arg-type]
    (made,) = make_sources(settings, [plant])
    return made


def alarms_of(taken: list[Delivery]) -> list[codec.MachineAlarm]:
    return [event.alarm for each in taken for event in each.events if event.HasField("alarm")]


def told(taken: list[Delivery]) -> list[tuple[str, str, bool, bool]]:
    """Condition's name, message, active, retain; in order."""
    return [(each.code, each.message, each.active, each.retain) for each in alarms_of(taken)]


def refreshes(result: str = "done") -> float:
    return float(metrics.REFRESHES.labels("x/s/peer", result)._value.get())


async def is_refreshed(before: float) -> None:
    await until(lambda: refreshes() > before, "the list of conditions", 30)


async def test_an_alarm_comes_as_it_is_raised_acknowledged_and_cleared(tmp_path: Path) -> None:
    async with node_opcua(tmp_path, nodes=1, alarms=2) as server:
        before = refreshes()
        async with taking(make_source(tmp_path, server.url)) as taken:
            await is_refreshed(before)
            await server.alarm(
                0, active=True, acked=False, message="hot", severity=700, retain=True
            )
            await server.alarm(0, acked=True, message="seen", severity=700)
            await server.limit(95)
            await server.alarm(0, active=False, message="cold", severity=200, retain=True)
            await server.alarm(0, confirmed=True, message="done", severity=200, retain=False)
            await server.alarm(1, active=True, message="of now", severity=300, retain=True)
            await server.branch(1)
            await server.branch(1, end=True)
            await until(lambda: len(told(taken)) >= 8, "all events")
            # Of all that is listed again nothing is told twice.
            before = refreshes()
            await server.event("RefreshRequiredEventType", "look again", 100)
            await is_refreshed(before)
            await server.alarm(1, active=False, message="over", severity=1, retain=False)
            await until(lambda: told(taken)[-1][1] == "over", "the last event")
    assert told(taken) == [
        ("alarm 0", "hot", True, True),
        ("alarm 0", "seen", True, True),
        ("temperature", "Condition is 95.000 and state is HighHigh", True, True),
        ("alarm 0", "cold", False, True),
        ("alarm 0", "done", False, False),
        ("alarm 1", "of now", True, True),
        ("alarm 1", "branch of before", True, True),
        ("alarm 1", "branch ended", True, False),
        ("alarm 1", "over", False, False),
    ]
    alarms = alarms_of(taken)
    hot, seen, limit, _, done, *_ = alarms
    assert (hot.severity, hot.acked, hot.confirmed, seen.acked) == (700, False, False, True)
    assert (done.acked, done.confirmed, done.severity) == (True, True, 200)
    assert (hot.condition, hot.branch, hot.enabled) == (f"{ALARM}0", "", True)
    # The limit alarm has no ConfirmedState.
    assert limit.HasField("acked") and not limit.HasField("confirmed")
    assert json.loads(hot.fields)["Channel"] == 100
    assert json.loads(limit.fields)["LimitState/CurrentState"] == "HighHigh"
    branches = [each.branch for each in alarms]
    assert branches[6] == branches[7] != "" and not any(branches[:6])
    assert all(each.source_node == f"nsu={NAMESPACE};s=press" for each in alarms)
    assert len({each.event_id for each in alarms}) == len(alarms)
    assert not any(each.reason for each in alarms)
    lines = {event.line for each in taken for event in each.events if event.HasField("alarm")}
    assert lines == {"x/s/a/l"} and len({each.asset for each in alarms}) == 1


async def test_events_are_of_the_unit_whose_signals_are_where_they_come_from(
    tmp_path: Path,
) -> None:
    async with node_opcua(tmp_path, nodes=1, alarms=1) as server:
        source = make_source(tmp_path, server.url, {"events": "all", "min_severity": 300}, node="")
        before = refreshes()
        async with taking(source) as taken:
            await is_refreshed(before)
            await server.alarm(0, active=True, message="hot", severity=700, retain=True)
            await server.event("SystemEventType", "of the server", 300)
            await server.event("SystemEventType", "too low", 299)
            # Its end is told, however low it is.
            await server.alarm(0, active=False, message="cold", severity=1, retain=False)
            await until(lambda: len(told(taken)) >= 3, "the events")
    press, other = (unit.id for unit in source._units)
    assert [(each.message, each.asset) for each in alarms_of(taken)] == [
        ("hot", press),
        ("of the server", ""),
        ("cold", press),
    ]
    assert alarms_of(taken)[1].code == "SystemEventType" and press != other


async def test_a_condition_that_went_while_nobody_looked_is_told_so(tmp_path: Path) -> None:
    async with node_opcua(tmp_path, nodes=1, alarms=4) as server, fault_proxy(server.port) as proxy:
        url = url_at(proxy.port)
        before = refreshes()
        async with taking(make_source(tmp_path, url)) as taken:
            await is_refreshed(before)
            for number in range(3):
                await server.alarm(number, active=True, message="on", severity=500, retain=True)
            await until(lambda: len(told(taken)) == 3, "three alarms")
            # The connection is cut, and the server forgets the session.
            proxy.cut()
            await server.forget()
            await server.alarm(0, active=False, message="off", severity=500, retain=False)
            await server.alarm(3, active=True, message="new", severity=500, retain=True)
            before = refreshes()
            proxy.restore()
            await is_refreshed(before)
            await until(lambda: len(told(taken)) == 5, "what changed meanwhile")
            assert sorted(told(taken)[3:]) == [
                ("alarm 0", "on", False, False),
                ("alarm 3", "new", True, True),
            ]
            cleared = next(each for each in alarms_of(taken)[3:] if each.code == "alarm 0")
            assert cleared.reason.startswith(GONE) and not cleared.HasField("acked")
            gaps = [e.gap.reason for d in taken for e in d.events if e.HasField("gap")]
            assert "no session with the server" in gaps
        # The same again over the end of this process.
        await server.forget()
        await server.alarm(1, active=False, message="off", severity=500, retain=False)
        before = refreshes()
        async with taking(make_source(tmp_path, url)) as taken:
            await is_refreshed(before)
            await until(lambda: bool(told(taken)), "what went meanwhile")
            await server.alarm(2, active=False, message="off", severity=500, retain=False)
            await until(lambda: len(told(taken)) == 2, "the next event")
        assert told(taken) == [("alarm 1", "on", False, False), ("alarm 2", "off", False, False)]
        assert alarms_of(taken)[0].reason.startswith(GONE)


async def test_what_was_not_stored_comes_again_as_the_same(tmp_path: Path) -> None:
    async with node_opcua(tmp_path, nodes=1, alarms=2) as server:
        before = refreshes()
        async with taking(make_source(tmp_path, server.url), acknowledge=False) as first:
            await is_refreshed(before)
            await server.alarm(0, active=True, message="on", severity=500, retain=True)
            await server.alarm(0, active=False, message="off", severity=500, retain=False)
            await server.alarm(1, active=True, message="on", severity=500, retain=True)
            await until(lambda: len(told(first)) == 3, "the events")
        before = refreshes()
        async with taking(make_source(tmp_path, server.url)) as again:
            await is_refreshed(before)
            await until(lambda: len(told(again)) >= 3, "the events again")
            # The acknowledgements are on their way with the next request.
            count = len(again)
            await server.count(1, 4, 120)
            await until(lambda: len(again) >= count + 3, "values")
        assert told(again) == told(first)
        same = [(each.event_id, each.source_time) for each in alarms_of(first)]
        assert [(each.event_id, each.source_time) for each in alarms_of(again)] == same
        # What is stored now is told no more.
        before = refreshes()
        async with taking(make_source(tmp_path, server.url)) as rest:
            await is_refreshed(before)
            await server.alarm(1, active=False, message="off", severity=500, retain=False)
            await until(lambda: bool(told(rest)), "the next event")
            await server.alarm(0, active=True, message="on", severity=500, retain=True)
            await until(lambda: len(told(rest)) == 2, "an alarm that stands")
        assert told(rest) == [("alarm 1", "off", False, False), ("alarm 0", "on", True, True)]
        # Nobody watches it any more: it does not stand for ever.
        async with taking(make_source(tmp_path, server.url, alarms=False, node="")) as without:
            await until(lambda: bool(told(without)), "its end")
        assert told(without) == [("alarm 0", "on", False, False)]
        assert alarms_of(without)[0].reason.startswith("its state is not known any more")


async def test_a_server_that_refuses_the_filter_is_asked_without(tmp_path: Path) -> None:
    created: list[int] = []

    def refuse_first_events(answer: Answer) -> Answer:
        if answer.kind != CREATE_ITEMS:
            return answer
        created.append(answer.size)
        # The nodes, the server's state, then the events: as wished, without a where clause, and
        # without the maker's fields.
        return answer.fault(0x80470000) if len(created) in (3, 4) else answer

    async with (
        node_opcua(tmp_path, nodes=1, alarms=1) as server,
        relay(server.url, refuse_first_events) as between,
    ):
        before = refreshes()
        async with taking(make_source(tmp_path, between.url)) as taken:
            await is_refreshed(before)
            await server.event("SystemEventType", "of no interest", 900)
            await server.alarm(0, active=True, message="on", severity=500, retain=True)
            await until(lambda: bool(told(taken)), "the alarm")
            assert len(created) == 5
        assert told(taken) == [("alarm 0", "on", True, True)]
        assert not alarms_of(taken)[0].fields and alarms_of(taken)[0].acked is False


async def test_a_server_that_gives_no_events_gives_its_values(tmp_path: Path) -> None:
    created: list[int] = []

    def refuse_events(answer: Answer) -> Answer:
        if answer.kind != CREATE_ITEMS:
            return answer
        created.append(answer.size)
        return answer.fault(0x801F0000) if len(created) > 2 else answer  # BadUserAccessDenied

    async with (
        node_opcua(tmp_path, nodes=1, alarms=1) as server,
        relay(server.url, refuse_events) as between,
    ):
        async with taking(make_source(tmp_path, between.url, opcua_retry_s=0.3)) as taken:
            await until(lambda: len(created) >= 4, "two attempts", 30)
            await server.count(1, 3, 100)
            await until(lambda: 3.0 in {r.value for d in taken for r in readings_of(d)}, "values")
            assert not [e for d in taken for e in d.events if e.HasField("death")]
        assert between.connections == 1
        assert metrics.EVENTS_WATCHED.labels("x/s/peer")._value.get() == 0


async def test_an_overflow_is_a_gap_and_conditions_are_listed_again(tmp_path: Path) -> None:
    async with node_opcua(tmp_path, nodes=1, alarms=12) as server:
        before = refreshes()
        source = make_source(tmp_path, server.url, opcua_event_queue=6, opcua_retry_s=0.2)
        async with taking(source) as taken:
            await is_refreshed(before)
            before = refreshes()
            # node-opcua does not say what its queue had no room for: that is said here.
            for number in range(12):
                await server.alarm(number, active=True, message="on", severity=500, retain=True)
            for number in range(12):
                await server.alarm(
                    number, active=False, message="off", severity=1, retain=number == 4
                )
            await server.event("EventQueueOverflowEventType", "too many", 1)
            reason = "the server's queue of events was too small"
            await until(
                lambda: any(
                    event.gap.reason == reason
                    for each in taken
                    for event in each.events
                    if event.HasField("gap")
                ),
                "the gap",
            )
            await is_refreshed(before)
            state = {}

            def standing() -> list[str]:
                state.update({each.code: each.retain for each in alarms_of(taken)})
                return [code for code, retain in state.items() if retain]

            await until(lambda: standing() == ["alarm 4"], "the state that the server has")
