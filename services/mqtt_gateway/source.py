"""Machines that send JSON over MQTT as a source of readings; called by
`aurelian.edge.gateway.run_gateway`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import replace
from functools import partial

from aurelian.edge.gateway import Delivery, Source
from aurelian.edge.source_state import Condition
from aurelian.model import codec
from aurelian.model.plant import Plant
from aurelian.model.plant_file import PlantError
from aurelian.model.source_model import SourceModel
from aurelian.model.time import now_us
from mqtt_gateway import metrics
from mqtt_gateway.address import Address
from mqtt_gateway.connection import Connection, ConnectionLost, Wanted, connected
from mqtt_gateway.dialling import Dialling
from mqtt_gateway.json_messages import JsonMessages
from mqtt_gateway.mapping import TemplateError
from mqtt_gateway.settings import MqttGatewaySettings
from mqtt_gateway.sparkplug.source import SparkplugSource

_BATCH = 500
_TAKE_S = 1.0


def make_sources(settings: MqttGatewaySettings, plants: Sequence[Plant]) -> list[Source]:
    """Make a source for each mqtt_json and sparkplug source of the plants.

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
            except TemplateError as error:
                raise PlantError(f"source {model.key!r}: {error}") from error
    return sources


class JsonSource:
    """Topics of one source at one broker. `deliveries` may run once at a time."""

    def __init__(self, plant: Plant, model: SourceModel, settings: MqttGatewaySettings) -> None:
        self.model, self.owner = model, plant.owner
        self._messages = JsonMessages(plant, model, settings)
        self._wanted = Wanted(
            address=Address(model, settings.mqtt_insecure_hosts),
            client_id=f"aurelian-{settings.gateway}-{model.slug}",
            filters=(self._messages.filter,),
            clean=False,
            window=settings.mqtt_window,
            expiry_s=settings.mqtt_session_expiry_s,
            keep_alive_s=settings.mqtt_keep_alive_s,
            timeout_s=settings.mqtt_timeout_s,
        )
        self._dialling = Dialling(model)

    def condition(self) -> Condition:
        """How the source is now."""
        return self._dialling.condition

    async def deliveries(self, bookmark: str = "") -> AsyncGenerator[Delivery, None]:
        """Yield what the broker sends, until cancelled; what is not acknowledged by then comes
        again."""
        dialling = self._dialling
        while True:
            try:
                async with connected(self._wanted, dialling.version) as connection:
                    dialling.up(session_present=connection.session_present)
                    if dialling.heard_at and not connection.session_present:
                        yield self._told(gap=self._gap("the broker did not keep our session"))
                    async for delivery in self._receive(connection):
                        yield delivery
            except ConnectionLost as error:
                if dialling.down(error):
                    yield self._told(death=codec.Death(reason=str(error)))
            await dialling.pause()

    async def _receive(self, connection: Connection) -> AsyncIterator[Delivery]:
        while True:
            batch = await connection.take(_BATCH, _TAKE_S)
            if doubt := connection.take_doubt():
                metrics.UNREAD.labels(self.model.key).inc()
                reason = "nothing was read; the broker may have given up messages of QoS 0"
                yield self._told(gap=self._gap(reason, *doubt))
            if not batch.messages:
                continue
            live = [each.at for each in batch.messages if not each.retained]
            self._dialling.heard_at = live[-1] if live else self._dialling.heard_at
            *deliveries, last = self._messages.deliveries(batch.messages)
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
