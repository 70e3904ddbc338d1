"""What a watch of events asks its server beside the events: places of many nodes at once, and
namespaces that came later."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest
from asyncua import ua

from aurelian.model.alarms_model import AlarmsModel
from opcua_gateway.alarms.event import EventSaid
from opcua_gateway.alarms.fields import EventTerms, standard
from opcua_gateway.alarms.places import Places
from opcua_gateway.alarms.watch import EventWatch
from opcua_gateway.alarms.where import Where
from opcua_gateway.decode.events import EventFields
from opcua_gateway.decode.notifications import Published
from opcua_gateway.mapping import tags_of
from opcua_gateway.session import Limits, Session
from tests.unit.opcua_gateway.test_deliveries import make_plant
from tests.unit.opcua_gateway.test_event_fields import HOT, fields

HANDLE = 5


class NoAbove(Places):
    """Places in a server whose nodes have nothing above them but `top`."""

    def __init__(self, top: ua.NodeId) -> None:
        plant = make_plant(("force",))
        self.tags = tags_of(plant, plant.sources[0])
        super().__init__("x", self.tags, [])
        self._top, self.asked = top, 0

    async def _above(self, session: Session, nodes: Sequence[ua.NodeId]) -> list[list[ua.NodeId]]:
        self.asked += 1
        return [[] if node == self._top else [self._top] for node in nodes]


def test_a_message_about_more_nodes_than_one_call_takes_has_the_units_of_all() -> None:
    """Beyond 500 an alarm was of no unit: it was told again without its place."""
    top = ua.NodeId("press", 2)
    places = NoAbove(top)
    places._anchors[top] = places.tags[0].unit
    nodes = [ua.NodeId(f"n{number}", 2) for number in range(1700)]
    asyncio.run(places.find(cast(Session, None), nodes))
    assert {places.unit(node) for node in nodes} == {places.tags[0].unit}
    assert places.asked < 20


class Server:
    """A session whose server has these namespaces by now."""

    def __init__(self, *namespaces: str) -> None:
        self.namespaces, self.asked = namespaces, 0

    async def read_limits(self) -> Limits:
        self.asked += 1
        return Limits(self.namespaces, 1)


def read(server: Server, known: Sequence[str], times: int) -> list[EventSaid]:
    """Events of a condition in namespace 3."""
    model = AlarmsModel()
    places = NoAbove(ua.NodeId(1, 1))
    watch = EventWatch(
        cast(Session, server), model, Where("x", model), places, known, HANDLE, 10, 30.0
    )
    watch.terms = EventTerms(1, tuple(standard()))
    event = fields(**HOT | {"ConditionId": ua.NodeId("c", 3)})
    published = Published(1, 1, (), False, events=(EventFields(HANDLE, event.values, b""),))

    async def all_of_them() -> list[EventSaid]:
        return [each for _ in range(times) for each in await watch.read(published, 0)]

    return asyncio.run(all_of_them())


@pytest.mark.parametrize(
    ("has", "condition"),
    [
        (("http://opcfoundation.org/UA/", "urn:a", "urn:b", "urn:late"), "nsu=urn:late;s=c"),
        (("http://opcfoundation.org/UA/", "urn:other", "urn:b", "urn:late"), "ns=3;s=c"),
        (("http://opcfoundation.org/UA/", "urn:a", "urn:b"), "ns=3;s=c"),
    ],
)
def test_a_condition_of_a_namespace_that_came_later_has_the_name_of_the_next_session(
    has: tuple[str, ...], condition: str
) -> None:
    """`ns=3` until the gateway connected again, then `nsu=`: one ended unseen and a new one."""
    server = Server(*has)
    said = read(server, ("http://opcfoundation.org/UA/", "urn:a", "urn:b"), times=3)
    assert [each.alarm.condition for each in said if each.alarm] == [condition] * 3
    assert server.asked == 1  # not with each event
