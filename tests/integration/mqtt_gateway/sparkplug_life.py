"""One life of the Sparkplug host application as a wire saw it, for the tests of the specification's
assertions: births, a gap and its rebirth, a STATE that others publish, a cut, deaths, a stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from aurelian.edge.gateway import Delivery, Reading
from aurelian.model import codec
from aurelian.model.plant import Plant
from aurelian.pb import sparkplug_b_pb2 as pb
from mqtt_gateway.settings import MqttGatewaySettings
from mqtt_gateway.source import make_sources
from tests.integration.mqtt_gateway.test_mqtt_gateway import Peer
from tests.peers.mqtt_spy import Message, Session, Spy, spying
from tests.source_alone import readings_of, taking
from tests.waiting import until

GROUP, NODE, DEVICE = "Tck", "E1", "press"


def make_plant(
    *urls: str, group: str = GROUP, force_address: str = "Force", **options: object
) -> Plant:
    """A site with a press, whose source is the first of those at `urls`; `options`: of the host
    application."""
    sources = [
        {
            "id": f"spb-{n}",
            "kind": "sparkplug",
            "url": url,
            "group": group,
            "sparkplug": options,
        }
        for n, url in enumerate(urls)
    ]
    signals = [{"name": "force", "address": force_address}]
    unit = {"name": DEVICE, "source": "spb-0", "signals": signals}
    node = {"name": "node", "address": f"{NODE}/", "source": "spb-0", "signals": []}
    products = [{"id": "cup", "ideal_cycle_s": 2}]
    line = {"name": "l", "products": products, "units": [unit, node]}
    return Plant.model_validate(
        {
            "company": {"id": "tck", "name": "TCK"},
            "site": "s",
            "time_zone": "UTC",
            "sources": sources,
            "areas": [{"name": "a", "lines": [line]}],
        }
    )


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def payload(seq: int | None, *metrics: dict[str, object], timestamp: int | None = None) -> bytes:
    """A Sparkplug payload of now."""
    message = pb.Payload(timestamp=now_ms() if timestamp is None else timestamp)
    if seq is not None:
        message.seq = seq
    for metric in metrics:
        message.metrics.add(**metric)  # type: ignore[arg-type]
    return message.SerializeToString()


BD_SEQ = {"name": "bdSeq", "datatype": 4, "long_value": 1}
REBIRTH = {"name": "Node Control/Rebirth", "datatype": 11, "boolean_value": False}
UPTIME = {"name": "Uptime", "alias": 1, "datatype": 8, "long_value": 9}
FORCE = {"name": "Force", "alias": 2, "datatype": 10, "double_value": 1.5}


def topic(kind: str, device: str = "", group: str = GROUP) -> str:
    """Of the edge node, or its device."""
    return f"spBv1.0/{group}/{kind}/{NODE}" + (f"/{device}" if device else "")


async def give_birth(edge: Peer, group: str = GROUP) -> None:
    """Publish the births of the node and its device."""
    await edge.send(topic("NBIRTH", group=group), payload(0, BD_SEQ, REBIRTH, UPTIME), 0)
    await edge.send(topic("DBIRTH", DEVICE, group), payload(1, FORCE), 0)


@dataclass(slots=True)
class Life:
    """What a wire and the outbox saw of one host.

    Attributes:
        sessions: one for each connection.
        taken: what went to the outbox.
        seen: what an independent subscriber was brought.
        noted: when something happened, milliseconds since 1970.
    """

    host_id: str
    sessions: list[Session] = field(default_factory=list)
    taken: list[Delivery] = field(default_factory=list)
    seen: list[tuple[str, bytes]] = field(default_factory=list)
    noted: dict[str, int] = field(default_factory=dict)

    @property
    def state_topic(self) -> str:
        """Where the host says how it is."""
        return f"spBv1.0/STATE/{self.host_id}"

    def note(self, what: str) -> None:
        """Something happens now."""
        self.noted[what] = now_ms()

    def states(self, session: Session) -> list[Message]:
        """What the host said of itself in a session."""
        return [each for each in session.published() if each.topic == self.state_topic]

    def commands(self) -> list[Message]:
        """All that it sent to edge nodes and devices."""
        return [
            each
            for session in self.sessions
            for each in session.published()
            if each.topic.split("/")[2:3] in (["NCMD"], ["DCMD"])
        ]

    def readings(self) -> list[Reading]:
        """All values, in order."""
        return [reading for delivery in self.taken for reading in readings_of(delivery)]

    def deaths(self) -> list[codec.SourceEvent]:
        """All records of deaths, in order."""
        return [
            event
            for delivery in self.taken
            for event in delivery.events
            if event.WhichOneof("kind") == "death"
        ]


def said(message: Message) -> dict[str, object]:
    """A STATE's content."""
    found = json.loads(message.payload.decode())
    assert isinstance(found, dict)
    return found


@contextlib.asynccontextmanager
async def hosting(
    broker: str, folder: Path, name: str, *, refuses_mqtt5: bool = False, **options: object
) -> AsyncIterator[tuple[Life, Spy, Peer]]:
    """A host application whose wire is spied on, and an edge node's connection; its births are
    there when this begins."""
    life = Life(name)
    async with spying(broker, refuses_mqtt5=refuses_mqtt5) as spy:
        life.sessions = spy.sessions
        settings = MqttGatewaySettings(
            state=folder, gateway=name, sparkplug_host_id=name, sparkplug_reorder_s=0.4
        )
        (source,) = make_sources(settings, [make_plant(spy.url, group=name, **options)])
        with Peer(broker, life.state_topic, f"spBv1.0/{name}/NCMD/#") as edge:
            life.seen = edge.seen
            async with taking(source) as taken:
                life.taken = taken
                yield life, spy, edge
        # Now it has said goodbye.


async def until_subscribed(life: Life, sessions: int = 1) -> None:
    """Wait until the host is connected for the nth time, and has said so where it does."""
    await until(
        lambda: len(life.sessions) >= sessions and 9 in life.sessions[-1].kinds(ours=False),
        "a subscription",
    )
    await asyncio.sleep(0.1)


async def until_value(life: Life, value: object) -> None:
    """Wait until a value went to the outbox."""
    await until(lambda: any(each.value == value for each in life.readings()), f"value {value}")


async def until_rebirths(life: Life, count: int) -> None:
    """Wait for requests."""
    await until(lambda: len(life.commands()) >= count, f"{count} rebirth requests")


def whole_life(broker: str, folder: Path, name: str, *, refuses_mqtt5: bool) -> Life:
    """All that a host application does, from its first connection to its clean stop."""

    async def live() -> Life:
        async with hosting(broker, folder, name, refuses_mqtt5=refuses_mqtt5) as (life, spy, edge):
            await until_subscribed(life)
            await give_birth(edge, name)
            await until_value(life, 1.5)
            # Number 2 comes late, but in time.
            await edge.send(topic("DDATA", DEVICE, name), payload(3, _force(3.0)), 0)
            await asyncio.sleep(0.1)
            life.note("reordered")
            await edge.send(topic("DDATA", DEVICE, name), payload(2, _force(2.0)), 0)
            await until_value(life, 3.0)
            await asyncio.sleep(1.2)  # longer than the time to reorder, and a tick
            life.note("before the gap")
            await edge.send(topic("DDATA", DEVICE, name), payload(5, _force(5.0)), 0)
            await until_rebirths(life, 1)
            life.note("after the gap")
            await give_birth(edge, name)
            life.note("someone said offline")
            stranger = json.dumps({"online": False, "timestamp": now_ms() + 5})
            await edge.send(life.state_topic, stranger, retain=True)
            await until(lambda: len(life.states(life.sessions[0])) == 2, "the contradiction")
            life.note("device dies")
            death = payload(2, timestamp=now_ms() - 700)
            await edge.send(topic("DDEATH", DEVICE, name), death, 0)
            await until(lambda: len(life.deaths()) == 1, "the device's death")
            await edge.send(topic("DBIRTH", DEVICE, name), payload(3, FORCE), 0)
            await asyncio.sleep(0.2)
            life.note("node dies")
            await edge.send(topic("NDEATH", group=name), payload(None, BD_SEQ), 0)
            await until(lambda: len(life.deaths()) == 2, "the node's death")
            life.note("cut")
            spy.cut()
            await until_subscribed(life, 2)
            await until(lambda: len(life.states(life.sessions[1])) == 1, "its next birth")
            await asyncio.sleep(0.2)
            life.note("stop")
        return life

    return asyncio.run(live())


def _force(value: float) -> dict[str, object]:
    return {"alias": 2, "double_value": value, "timestamp": now_ms()}
