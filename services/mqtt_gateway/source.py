"""Machines that publish over plain MQTT as a source of readings; called by
`aurelian.edge.gateway.run_gateway`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial

from aurelian.edge.gateway import Delivery, Source
from aurelian.edge.source_state import Condition
from aurelian.model import codec
from aurelian.model.addresses import AddressError
from aurelian.model.plant import Plant
from aurelian.model.plant_file import PlantError
from aurelian.model.source_model import SourceModel
from aurelian.model.time import now_us
from mqtt_gateway import metrics
from mqtt_gateway.address import Address
from mqtt_gateway.broker_drops import BrokerDrops
from mqtt_gateway.connection import Connection, ConnectionLost, Wanted, connected
from mqtt_gateway.dialling import Dialling
from mqtt_gateway.json_messages import JsonMessages
from mqtt_gateway.retained import read_retained
from mqtt_gateway.settings import MqttGatewaySettings
from mqtt_gateway.sparkplug_source import SparkplugSource

_BATCH = 500
_TAKE_S = 1.0


def make_sources(settings: MqttGatewaySettings, plants: Sequence[Plant]) -> list[Source]:
    """Make a source for each source of MQTT of the plants.

    Raises:
        PlantError: a url or a topic is unusable.
    """
    sources: list[Source] = []
    for plant in plants:
        for model in plant.sources:
            if model.kind == "opcua":
                continue
            shared = (
                sum(m.kind == "sparkplug" and m.url == model.url for p in plants for m in p.sources)
                > 1
            )
            try:
                sources.append(
                    SparkplugSource(plant, model, settings, own_host_id=shared)
                    if model.kind == "sparkplug"
                    else JsonSource(plant, model, settings)
                )
            except AddressError as error:
                raise PlantError(f"source {model.key!r}: {error}") from error
    return sources


class JsonSource:
    """Topics of one source at one broker. `deliveries` may run once at a time."""

    def __init__(self, plant: Plant, model: SourceModel, settings: MqttGatewaySettings) -> None:
        self.model, self.owner = model, plant.owner
        self._messages = JsonMessages(plant, model, settings)
        filters = self._messages.filters
        if model.share is not None:
            filters = tuple(f"$share/{model.share.group}/{each}" for each in filters)
        self._wanted = Wanted(
            address=Address(model, settings.mqtt_insecure_hosts),
            client_id=f"aurelian-{settings.gateway}-{model.slug}",
            filters=filters,
            clean=False,
            window=settings.mqtt_window,
            expiry_s=settings.mqtt_session_expiry_s,
            keep_alive_s=settings.mqtt_keep_alive_s,
            timeout_s=settings.mqtt_timeout_s,
        )
        self._drops = BrokerDrops(model, self._wanted) if model.dropped_topic else None
        self._dialling = Dialling(model)

    def condition(self) -> Condition:
        """How the source is now."""
        return self._dialling.condition

    async def deliveries(self, bookmark: str = "") -> AsyncGenerator[Delivery, None]:
        """Yield what the broker sends, until cancelled; what is not acknowledged by then comes
        again."""
        if self._drops is None:
            watch = None
        else:  # not a TaskGroup: a group may not span the yields of a generator
            watch = asyncio.create_task(self._drops.run(), name=f"drops {self.model.key}")
        try:
            # Closed here and now, as this generator is: it has a connection.
            async with aclosing(self._connections()) as deliveries:
                async for delivery in deliveries:
                    yield delivery
        finally:
            if watch is not None:
                watch.cancel()
                await asyncio.wait({watch})

    async def _connections(self) -> AsyncGenerator[Delivery, None]:
        dialling = self._dialling
        while True:
            try:
                async with connected(self._wanted, dialling.version) as connection:
                    dialling.up(session_present=connection.session_present)
                    if dialling.heard_at and not connection.session_present:
                        yield self._told(gap=self._gap("the broker did not keep our session"))
                    async with aclosing(self._kept(connection)) as kept:
                        async for delivery in kept:
                            yield delivery
                    async for delivery in self._receive(connection):
                        yield delivery
            except ConnectionLost as error:
                if dialling.down(error):
                    yield self._told(death=codec.Death(reason=str(error)))
            await dialling.pause()

    async def _kept(self, connection: Connection) -> AsyncGenerator[Delivery, None]:
        """What the broker keeps, where a shared subscription does not get it: once a session."""
        share = self.model.share
        if share is None or not share.read_retained or connection.session_present:
            return
        filters, version = self._messages.filters, self._dialling.version
        async with aclosing(read_retained(self._wanted, filters, version)) as found:
            async for once, batch, messages in found:
                *deliveries, last = self._messages.deliveries(messages)
                for delivery in deliveries:
                    yield delivery
                yield replace(last, ack=partial(once.stored, batch))

    async def _receive(self, connection: Connection) -> AsyncIterator[Delivery]:
        while True:
            batch = await connection.take(_BATCH, _TAKE_S)
            if doubt := connection.take_doubt():
                metrics.UNREAD.labels(self.model.key).inc()
                reason = "nothing was read; the broker may have given up messages of QoS 0"
                yield self._told(gap=self._gap(reason, *doubt))
            for gap in () if self._drops is None else self._drops.take():
                yield self._told(gap=gap)
            if not batch.messages:
                continue
            live = [each for each in batch.messages if not each.retained]
            self._dialling.heard_at = live[-1].at if live else self._dialling.heard_at
            # Some brokers (Mosquitto 2.0.11) give what they keep to each member of a group.
            messages = live if self.model.share is not None else batch.messages
            if not messages:
                connection.stored(batch)
                continue
            *deliveries, last = self._messages.deliveries(messages)
            for delivery in deliveries:
                yield delivery
            urgent, ack = connection.waits_for_us, partial(connection.stored, batch)
            yield replace(last, urgent=urgent, ack=ack)

    def _gap(self, reason: str, begin: int = 0, end: int = 0) -> codec.Gap:
        """From `begin` to `end`; 0: since the broker was heard, until now."""
        end = end or now_us()
        begin = begin or self._dialling.heard_at or end
        return codec.Gap(from_time=begin, to_time=end, reason=reason)

    def _told(self, **kind: object) -> Delivery:
        at = now_us()
        event = codec.SourceEvent(owner=self.owner, source=self.model.key, time=at, **kind)  # type: ignore[arg-type]
        return Delivery(source=self.model, owner=self.owner, received_at=at, events=[event])
