"""Machines that send JSON over MQTT as a source of readings; called by
`aurelian.edge.gateway.run_gateway`."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Container, Sequence
from contextlib import aclosing, suppress
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
from mqtt_gateway import drops, metrics
from mqtt_gateway.address import Address
from mqtt_gateway.connection import Batch, Connection, ConnectionLost, Wanted, connected
from mqtt_gateway.dialling import Dialling
from mqtt_gateway.json_messages import JsonMessages
from mqtt_gateway.packets import Arrived
from mqtt_gateway.redelivery import Redelivery
from mqtt_gateway.retained import read_retained
from mqtt_gateway.settings import MqttGatewaySettings
from mqtt_gateway.sparkplug.source import SparkplugSource
from mqtt_gateway.subscribed import SubscribedFile

_DROPS = drops.TOPIC.encode()
_BATCH = 500
_TAKE_S = 1.0


def make_sources(
    settings: MqttGatewaySettings,
    plants: Sequence[Plant],
    wanted: Container[str] | None = None,
) -> list[Source]:
    """Make a source for each source of MQTT of the plants, of those whose key is `wanted`; None: of
    all.

    Raises:
        PlantError: a url or a topic is unusable.
    """
    sources: list[Source] = []
    for plant in plants:
        for model in plant.sources:
            if model.kind == "opcua" or (wanted is not None and model.key not in wanted):
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
            watch=drops.TOPIC,
        )
        self._subscribed = SubscribedFile(settings.state / f"mqtt-{model.slug}.json", filters)
        self._drops = drops.Drops()
        # Of a group another member may get all of it.
        self._dialling = Dialling(model, () if model.share is not None else filters)
        self._redelivery = Redelivery()
        self._whole_to = 0  # microseconds since 1970; 0: we were never there

    def condition(self) -> Condition:
        """How the source is now."""
        return self._dialling.condition

    async def deliveries(self, bookmark: str = "") -> AsyncGenerator[Delivery, None]:
        """Yield what the broker sends, until cancelled; what is not acknowledged by then comes
        again. A bookmark says up to when nothing is missing: where the broker has forgotten us
        meanwhile, also while no gateway ran, there is a gap from then on."""
        dialling = self._dialling
        self._go_on_from(bookmark)
        self._wanted = replace(self._wanted, dropped=self._subscribed.dropped())
        while True:
            connection: Connection | None = None
            try:
                async with connected(self._wanted, dialling.version) as connection:
                    present = connection.session_present
                    dialling.up(session_present=present, doubt=connection.doubt)
                    self._subscribed.save()
                    self._drops.suspect(self._whole_to or now_us(), time.monotonic())
                    self._redelivery.connected(session_present=present)
                    if not present:
                        yield self._begin_anew()
                    async with aclosing(self._kept(connection)) as kept:
                        async for delivery in kept:
                            yield delivery
                    async for delivery in self._receive(connection):
                        yield delivery
            except ConnectionLost as error:
                if connection is not None and not connection.watch_answered:
                    self._wanted = replace(self._wanted, watch="")
                if dialling.down(error):
                    yield self._told(death=codec.Death(reason=str(error)))
            await dialling.pause()

    async def retire(self, *, is_replaced: bool) -> None:
        """End our session at the broker, which would keep messages for us.

        Raises:
            ConnectionLost: no broker, or it refuses.
        """
        if not is_replaced:
            self._subscribed.remove()
        wanted = replace(self._wanted, clean=True, expiry_s=0, watch="", dropped=())
        async with connected(wanted, self._dialling.version):
            return

    async def _kept(self, connection: Connection) -> AsyncGenerator[Delivery, None]:
        """What the broker keeps, where a shared subscription does not get it: once a session."""
        share = self.model.share
        if share is None or not share.read_retained or connection.session_present:
            return
        filters, version = self._messages.filters, self._dialling.version
        async with aclosing(read_retained(self._wanted, filters, version)) as found:
            async for once, batch, messages in found:
                self._dialling.came = True
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
                self._drops.suspect(doubt[0], time.monotonic())
            if gap := self._dropped(batch.messages):
                yield gap
            # Some brokers (Mosquitto 2.0.11) give what they keep to each member of a group.
            is_shared = self.model.share is not None
            messages = [
                each
                for each in batch.messages
                if each.topic != _DROPS and not (is_shared and each.retained)
            ]
            if not messages:
                if batch.messages:
                    connection.stored(batch)
                continue
            self._dialling.came = True
            if connection.waits_for_us:
                self._drops.suspect(self._whole_to, time.monotonic())
            live = [each.at for each in messages if not each.retained]
            if live:
                self._dialling.heard_at = self._whole_to = live[-1]
            messages = self._redelivery.marked(messages)
            number = self._redelivery.received(messages)
            *deliveries, last = self._messages.deliveries(messages)
            for delivery in deliveries:
                yield delivery
            urgent, ack = connection.waits_for_us, partial(self._stored, connection, batch, number)
            yield replace(last, urgent=urgent, ack=ack, bookmark=self._bookmark)

    def _stored(self, connection: Connection, batch: Batch, number: int) -> None:
        connection.stored(batch)
        if connection.is_up:  # else the broker never hears of it
            self._redelivery.acknowledged(number)

    def _begin_anew(self) -> Delivery:
        """The broker keeps messages for us from now on; what it had before is gone."""
        at = now_us()
        began, self._whole_to = self._whole_to, at
        if began:
            told = self._told(gap=self._gap("the broker did not keep our session", began, at))
        else:
            told = Delivery(source=self.model, owner=self.owner, received_at=at)
        return replace(told, bookmark=self._bookmark)

    @property
    def _bookmark(self) -> str:
        return f"{self._whole_to} {self._drops.count}"

    def _go_on_from(self, bookmark: str) -> None:
        self._whole_to = 0
        with suppress(ValueError):
            whole_to, count = map(int, bookmark.split())
            self._whole_to, self._drops = whole_to, drops.Drops(count)

    def _dropped(self, messages: Sequence[Arrived]) -> Delivery | None:
        """A gap where the broker says that it gave up messages, and they may be ours."""
        for message in messages:
            if message.topic == _DROPS and (
                found := self._drops.told(message.payload, time.monotonic())
            ):
                count, begin = found
                metrics.GIVEN_UP.labels(self.model.key).inc(count)
                reason = (
                    f"the broker gave up {count} messages, ours or another client's: its queue was "
                    "full"
                )
                return self._told(gap=self._gap(reason, begin))
        return None

    def _gap(self, reason: str, begin: int = 0, end: int = 0) -> codec.Gap:
        """From `begin` to `end`; 0: since the broker was heard, until now."""
        end = end or now_us()
        begin = begin or self._dialling.heard_at or end
        return codec.Gap(from_time=begin, to_time=end, reason=reason)

    def _told(self, **kind: object) -> Delivery:
        at = now_us()
        event = codec.SourceEvent(owner=self.owner, source=self.model.key, time=at, **kind)  # type: ignore[arg-type]
        return Delivery(source=self.model, owner=self.owner, received_at=at, events=[event])
