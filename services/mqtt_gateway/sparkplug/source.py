"""Sparkplug B edge nodes as a source of readings, as their host application; made by the
service's own source.py.

Whether edge nodes see the host online follows the outbox, not Kafka: DATA is QoS 0, so when the
outbox takes nothing more the only way not to lose it is to say so, and edge nodes store and forward
(ingest sheet, S14).
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from paho.mqtt.enums import MQTTProtocolVersion

from aurelian.backbone.cancellation import next_of
from aurelian.edge.gateway import Delivery
from aurelian.edge.source_state import Condition
from aurelian.model import codec
from aurelian.model.mqtt_model import SparkplugModel
from aurelian.model.plant import Plant
from aurelian.model.source_model import SourceModel
from aurelian.model.time import now_ms, now_us
from mqtt_gateway import metrics
from mqtt_gateway.address import Address
from mqtt_gateway.connection import (
    Batch,
    Connection,
    ConnectionLost,
    Wanted,
    Will,
    connected,
)
from mqtt_gateway.dialling import Dialling
from mqtt_gateway.mapping import SignalMap, printable
from mqtt_gateway.packets import Arrived
from mqtt_gateway.refusals import Refusal
from mqtt_gateway.settings import MqttGatewaySettings
from mqtt_gateway.sparkplug.host import Host
from mqtt_gateway.sparkplug.legacy import keep_legacy_state
from mqtt_gateway.sparkplug.mapping import ActionMap, Content
from mqtt_gateway.sparkplug.messages import (
    CERTIFICATES,
    PREFIX,
    Action,
    Edge,
    parse_topic,
    rebirth_command,
)
from mqtt_gateway.sparkplug.messages import Refused as RefusedMessage
from mqtt_gateway.sparkplug.units import SparkplugUnits

log = logging.getLogger(__name__)

_BATCH = 500
_TICK_S = 0.5
_HEARTBEAT_S = 1.0
_GOODBYE_S = 1.0


_STUCK = Refusal("is the gateway's disk full? It goes on by itself when there is room")


class _OutboxStuck(ConnectionLost):
    """The outbox has taken nothing for too long, so the connection is given up."""

    def __init__(self) -> None:
        super().__init__("the outbox takes nothing more", _STUCK)


class SparkplugSource:
    """The edge nodes of one group filter at one broker. `deliveries` may run once at a time."""

    def __init__(
        self, plant: Plant, model: SourceModel, settings: MqttGatewaySettings, *, own_host_id: bool
    ) -> None:
        self.model, self.owner = model, plant.owner
        self._settings = settings
        signals = SignalMap(plant, model, settings.mqtt_max_discovered)
        units = SparkplugUnits(
            signals.units,
            any_group=model.group == "+",
            memory=settings.state / f"sparkplug-units-{model.slug}.json",
        )
        self._mapping = ActionMap(model, plant.owner, signals, units)
        options = self._options = model.sparkplug or SparkplugModel()
        self._host = Host(
            reorder_s=(
                settings.sparkplug_reorder_s if options.reorder_s is None else options.reorder_s
            ),
            ask_rebirth=settings.sparkplug_ask_rebirth and options.mode != "secondary-passive",
            strict=options.strict,
            handle_of=self._mapping.handle_of,
        )
        shared_id = settings.sparkplug_host_id
        self._host_id = options.host_id or (
            f"{shared_id}-{model.slug}" if own_host_id else shared_id
        )
        self._is_primary = options.mode == "primary"
        self._state_topic = f"{PREFIX}/STATE/{self._host_id}"
        nodes = f"{PREFIX}/{model.group}/+/{model.edge_node}/#"
        filters = [nodes]
        if self._is_primary:
            filters.insert(0, self._state_topic)
        if options.certificates:
            filters.append(CERTIFICATES + nodes)
        self._wanted = Wanted(
            address=Address(model, settings.mqtt_insecure_hosts),
            client_id=f"aurelian-{settings.gateway}-{model.slug}",
            filters=tuple(filters),
            clean=True,
            window=settings.mqtt_window,
            expiry_s=0,
            keep_alive_s=settings.mqtt_keep_alive_s,
            timeout_s=settings.mqtt_timeout_s,
        )
        # Bounded by time: when the outbox stores nothing for `sparkplug_offline_after_s`, nothing
        # more is taken.
        self._out: asyncio.Queue[Delivery] = asyncio.Queue()
        self._unstored: deque[float] = deque()
        self._all_stored = asyncio.Event()
        self._all_stored.set()
        self._dialling = Dialling(model, [nodes])
        self._began = 0
        self._whole_to = 0  # microseconds since 1970; 0: nobody was ever heard

    def descriptions(self) -> dict[str, dict[str, Any]]:
        """What births said of the plant model's units, for their asset records."""
        return self._mapping.descriptions()

    def condition(self) -> Condition:
        """How the source is now; edge nodes that are away have their own deaths."""
        return self._dialling.condition

    async def deliveries(self, bookmark: str = "") -> AsyncGenerator[Delivery, None]:
        """Yield what edge nodes send, until cancelled; then the host says that it is offline. A
        bookmark says up to when nothing is missing: nobody keeps data for a host that is not
        there, so there is a gap from then on, also where no gateway ran."""
        self._whole_to = int(bookmark) if bookmark.isdecimal() else 0
        # Not a TaskGroup: a group may not span the yields of a generator.
        keeper = asyncio.create_task(self._keep_online(), name=f"sparkplug {self.model.key}")
        try:
            while True:
                yield await next_of(keeper, self._out)
        finally:
            keeper.cancel()
            await asyncio.wait({keeper})

    async def _keep_online(self) -> None:
        dialling = self._dialling
        while True:
            # A new one for each CONNECT: edge nodes tell by it which STATE is the newer one.
            self._began = now_ms()
            will = Will(self._state_topic, _state(False, self._began)) if self._is_primary else None
            wanted = replace(self._wanted, will=will)
            try:
                async with connected(wanted, dialling.version) as connection:
                    if self._is_primary:
                        await self._be_online(connection, dialling.version)
                    else:
                        dialling.up(session_present=False)
                        await self._receive(connection)
            except ConnectionLost as error:
                dialling.down(error)
                with suppress(_OutboxStuck):  # handed over all the same
                    await self._put_actions(None, self._host.lose_all(str(error)))
            await self._all_stored.wait()
            await dialling.pause()

    async def _be_online(self, connection: Connection, version: MQTTProtocolVersion) -> None:
        """Say that the host is online, take messages until the connection or the outbox fails, say
        that it is offline."""
        legacy: asyncio.Task[None] | None = None
        try:
            self._say_online(connection)
            if self._options.legacy_state:
                keeping = keep_legacy_state(self._wanted, self._host_id, version)
                legacy = asyncio.create_task(keeping, name=f"STATE/{self._host_id}")
            self._dialling.up(session_present=False)
            metrics.HOST_ONLINE.labels(self.model.key).set(1)
            log.info(
                "host is online",
                extra={"fields": {"source": self.model.key, "topic": self._state_topic}},
            )
            await self._receive(connection)
        finally:
            metrics.HOST_ONLINE.labels(self.model.key).set(0)
            if legacy is not None:
                legacy.cancel()
                await asyncio.wait({legacy})
            death = _state(False, max(now_ms(), self._began + 1))
            await connection.publish_and_wait(self._state_topic, death, _GOODBYE_S)

    def _say_online(self, connection: Connection) -> None:
        """At the time of the CONNECT, also later: it is the time of the will that may follow."""
        connection.publish(self._state_topic, _state(True, self._began), qos=1, retain=True)

    async def _receive(self, connection: Connection) -> None:
        beat = ticked = 0.0
        await self._tell_absence()
        while True:
            batch = await connection.take(_BATCH, _TICK_S)
            if doubt := connection.take_doubt():
                metrics.UNREAD.labels(self.model.key).inc()
                reason = "nothing was read; the broker may have given up messages"
                await self._put_event(self._mapping.gap(doubt[0], reason))
            if batch.messages:
                metrics.MESSAGES.labels(self.model.key).inc(len(batch.messages))
                await self._take(connection, batch)
            now = time.monotonic()
            if now - ticked >= _TICK_S:
                ticked = now
                await self._put_actions(connection, self._host.tick(now))
                self._note_whole(connection)
            if now - beat >= _HEARTBEAT_S and (assets := self._online_assets()):
                beat = now
                at = now_us()
                heartbeat = codec.Heartbeat(heard_at=at, assets=assets)
                await self._put_event(self._mapping.event(at, heartbeat=heartbeat), kept=False)

    async def _tell_absence(self) -> None:
        """We are subscribed again; data are QoS 0 and of no session."""
        since, now = self._whole_to, now_us()
        self._whole_to = now
        if since:
            reason = "not connected to the broker; what edge nodes did not keep is lost"
            await self._put_event(self._mapping.gap(min(since, now), reason))

    def _note_whole(self, connection: Connection) -> None:
        """What came until now was handed over, but for what waits for a message before it."""
        held, whole = self._host.held_since(), connection.whole_to
        whole = whole if held is None else min(held, whole)
        # Not after now: the clock was set back, and a loss would have no length for a while.
        before = self._whole_to if self._whole_to <= now_us() else 0
        self._whole_to = max(before, whole)

    async def _take(self, connection: Connection, batch: Batch) -> None:
        """Turn a batch into one delivery."""
        actions: list[Action] = []
        for message in batch.messages:
            actions += self._read(connection, message)
        await self._put_actions(connection, actions, partial(connection.stored, batch))

    def _read(self, connection: Connection, message: Arrived) -> Iterable[Action]:
        name = printable(message.topic)
        if name.startswith(CERTIFICATES):
            return self._read_kept(name.removeprefix(CERTIFICATES), message)
        if message.retained:
            return ()  # births and data are never retained; the broker's old STATE is no news
        if name == self._state_topic:
            self._stay_online(connection, message.payload)
            return ()
        topic = parse_topic(name)
        if topic is None or name.encode() != message.topic:  # or no UTF-8
            if name.split("/")[2:3] in (["NCMD"], ["DCMD"]) or name.startswith("spBv1.0/STATE/"):
                return ()  # commands, our own among them, and other hosts
            return (RefusedMessage(name, message.payload, "no Sparkplug topic", "topic"),)
        self._dialling.came, self._dialling.heard_at = True, message.at
        if len(message.payload) > self._settings.mqtt_max_payload_bytes:
            reason = (
                f"payload of {len(message.payload)} bytes, at most "
                f"{self._settings.mqtt_max_payload_bytes} are read"
            )
            return (RefusedMessage(name, message.payload, reason, "too_large"),)
        try:
            return self._host.receive(topic, name, message.payload, time.monotonic(), message.at)
        except Exception as error:  # a fault of ours with one message must not cost the others
            log.exception("a message could not be read", extra={"fields": {"topic": name[:200]}})
            return (RefusedMessage(name, message.payload, repr(error), "internal"),)

    def _read_kept(self, name: str, message: Arrived) -> Iterable[Action]:
        """A birth that a Sparkplug aware broker kept; what is not retained came itself too."""
        topic = parse_topic(name)
        if topic is None or not message.retained or not message.topic.endswith(name.encode()):
            return ()
        if len(message.payload) > self._settings.mqtt_max_payload_bytes:
            return ()
        return self._host.receive_kept(topic, name, message.payload, time.monotonic(), message.at)

    def _stay_online(self, connection: Connection, payload: bytes) -> None:
        """Somebody, or our own late will, said that we are offline: say at once that we are not.
        That we are online since another time says another host with our id."""
        try:
            said = json.loads(payload)
            online, since = said.get("online"), said.get("timestamp")
        except (ValueError, AttributeError, RecursionError):
            online = since = None
        if online is not True:
            self._say_online(connection)
        elif since != self._began:
            metrics.HOST_ID_TAKEN.labels(self.model.key).inc()
            fields = {"source": self.model.key, "host_id": self._host_id}
            log.warning(
                "another host application has our id; give each its own", extra={"fields": fields}
            )

    async def _put_actions(
        self,
        connection: Connection | None,
        actions: Iterable[Action],
        ack: Callable[[], None] | None = None,
    ) -> None:
        at = now_us()
        *former, last = self._mapping.map(actions, at)
        if connection is not None:
            for said in (*former, last):
                for edge, reason in said.rebirths:
                    self._ask_rebirth(connection, edge, reason)
        for said in former:
            await self._put(said, at=at)
        if last or ack is not None:
            await self._put(last, at=at, ack=ack)

    def _ask_rebirth(self, connection: Connection, edge: Edge, reason: str) -> None:
        metrics.REBIRTHS.labels(self.model.key).inc()
        log.info(
            "asks for a rebirth",
            extra={"fields": {"source": self.model.key, "node": "/".join(edge), "reason": reason}},
        )
        topic = f"{PREFIX}/{edge.group}/NCMD/{edge.node}"
        connection.publish(topic, rebirth_command(now_us()), qos=0, retain=False)

    def _online_assets(self) -> list[str]:
        """A born node is heard as long as broker and node keep their connections: without news it
        sends nothing."""
        return [
            asset
            for edge, device in self._host.online()
            for asset in self._mapping.assets(edge, (device,))
        ]

    async def _put_event(self, event: codec.SourceEvent, *, kept: bool = True) -> None:
        if kept or not self._unstored:  # a heartbeat is worth nothing later
            await self._put(Content(events=[event]), at=now_us())

    async def _put(self, said: Content, *, at: int, ack: Callable[[], None] | None = None) -> None:
        """Hand over a delivery, received `at` (microseconds): the time of its births and deaths.

        Raises:
            _OutboxStuck: it was handed over, but the outbox has stored nothing for too long.
        """
        put_at = time.monotonic()
        self._unstored.append(put_at)
        self._all_stored.clear()

        def stored() -> None:
            self._unstored.popleft()
            if not self._unstored:
                self._all_stored.set()
            if ack is not None:
                ack()

        await self._out.put(
            Delivery(
                source=self.model,
                owner=self.owner,
                received_at=at,
                columns=said.numbers.finish(self._mapping.table),
                readings=said.readings,
                rejects=said.rejects,
                events=said.events,
                ack=stored,
                bookmark=str(self._whole_to),
            )
        )
        if self._unstored and put_at - self._unstored[0] > self._settings.sparkplug_offline_after_s:
            raise _OutboxStuck()


def _state(online: bool, timestamp_ms: int) -> bytes:
    return json.dumps({"online": online, "timestamp": timestamp_ms}).encode()
