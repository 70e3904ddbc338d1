"""Machines that send JSON over MQTT as a source of readings; called by
`aurelian.edge.gateway.run_gateway`."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from itertools import groupby
from urllib.parse import urlsplit

from aurelian.edge.gateway import Delivery, Reading, Reject, Source
from aurelian.edge.names import readable
from aurelian.edge.source_state import Condition, SourceState
from aurelian.model import codec
from aurelian.model.plant import Plant
from aurelian.model.plant_file import PlantError
from aurelian.model.sample import Flag
from aurelian.model.source_model import SourceModel
from aurelian.model.time import now_us
from aurelian.runtime.retry import Backoff
from mqtt_gateway import metrics
from mqtt_gateway.connection import (
    FIRST_VERSION,
    Arrived,
    Connection,
    ConnectionLost,
    Refused,
    Wanted,
    connected,
    other,
)
from mqtt_gateway.mapping import JsonMap, Mapped, TemplateError, printable
from mqtt_gateway.settings import MqttGatewaySettings
from mqtt_gateway.sparkplug_source import SparkplugSource

log = logging.getLogger(__name__)

_BATCH = 500
_TAKE_S = 1.0
_TOPICS_REMEMBERED = 100_000


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
            parts = urlsplit(model.url)
            if parts.scheme != "mqtt" or not parts.hostname or parts.username is not None:
                raise PlantError(
                    f"source {model.id!r}: url {model.url!r} is no plain MQTT address; say "
                    "mqtt://host:1883 "
                    "(TLS and signing in are not there yet)"
                )
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
        self._map = JsonMap(
            plant,
            model,
            max_payload_bytes=settings.mqtt_max_payload_bytes,
            max_discovered=settings.mqtt_max_discovered,
        )
        self._wanted = Wanted(
            url=model.url,
            client_id=f"aurelian-{settings.gateway}-{model.slug}",
            filters=(self._map.template.filter,),
            clean=False,
            window=settings.mqtt_window,
            expiry_s=settings.mqtt_session_expiry_s,
            keep_alive_s=settings.mqtt_keep_alive_s,
            timeout_s=settings.mqtt_timeout_s,
        )
        self._heard_at = 0
        self._trouble = "not connected yet"
        self._last: dict[bytes, bytes] = {}

    def condition(self) -> Condition:
        """How the source is now."""
        state = SourceState.CONNECTING if self._trouble else SourceState.LIVE
        return Condition(state, self._trouble, self._heard_at, self._heard_at)

    async def deliveries(self, bookmark: str = "") -> AsyncGenerator[Delivery, None]:
        """Yield what the broker sends, until cancelled; what is not acknowledged by then comes
        again."""
        version = FIRST_VERSION
        backoff, logged = Backoff(), ""
        while True:
            live = False
            try:
                async with connected(self._wanted, version) as connection:
                    backoff.reset()
                    live, logged, self._trouble = True, "", ""
                    metrics.CONNECTED.labels(self.model.key).set(1)
                    log.info(
                        "broker is connected",
                        extra={
                            "fields": {
                                "source": self.model.key,
                                "session_present": connection.session_present,
                            }
                        },
                    )
                    if self._heard_at and not connection.session_present:
                        yield self._delivery(
                            events=[self._gap("the broker did not keep our session")]
                        )
                    async for delivery in self._receive(connection):
                        yield delivery
            except Refused as error:
                version, reason = other(version), str(error)
            except ConnectionLost as error:
                reason = str(error)
            self._trouble = readable(reason)
            if live:
                metrics.CONNECTED.labels(self.model.key).set(0)
                metrics.LOST.labels(self.model.key).inc()
                yield self._delivery(events=[self._event(death=codec.Death(reason=reason))])
            if reason != logged:
                logged = reason
                log.warning(
                    "no broker", extra={"fields": {"source": self.model.key, "reason": reason}}
                )
            await backoff.wait()

    async def _receive(self, connection: Connection) -> AsyncIterator[Delivery]:
        while True:
            messages = await connection.take(_BATCH, _TAKE_S)
            events = []
            if dropped := connection.take_dropped():
                metrics.DROPPED.labels(self.model.key).inc(dropped)
                events.append(
                    self._gap(f"{dropped} messages of QoS 0 came faster than they were taken")
                )
            # What came again must be told from new values of the same time, so never both at once.
            parts = [list(part) for _, part in groupby(messages, lambda message: message.again)]
            for part in parts or ([[]] if events else []):
                yield self._deliver(connection, part, dropped, events)
                dropped, events = 0, []

    def _deliver(
        self,
        connection: Connection,
        messages: list[Arrived],
        dropped: int,
        events: list[codec.SourceEvent],
    ) -> Delivery:
        readings: list[Reading] = []
        rejects: list[Reject] = []
        for message in messages:
            mapped = self._read(message)
            readings += mapped.readings
            rejects += mapped.rejects
            if not message.retained:
                self._heard_at = message.at
        metrics.MESSAGES.labels(self.model.key).inc(len(messages))
        tickets = [message.ticket for message in messages if message.ticket is not None]
        return Delivery(
            source=self.model,
            owner=self.owner,
            received_at=messages[0].at if messages else now_us(),
            readings=readings,
            rejects=rejects,
            events=events,
            dropped=dropped,
            repeated=bool(messages) and messages[0].again,
            ack=lambda: connection.stored(tickets),
        )

    def _read(self, message: Arrived) -> Mapped:
        try:
            topic = message.topic.decode()
        except UnicodeDecodeError:
            reject = Reject(
                "the topic is not UTF-8", "topic", printable(message.topic), message.payload
            )
            return Mapped((), (reject,))
        if self._is_known(message):
            return Mapped((), ())  # a deleted retained message, or a value that is known already
        flags = Flag.RETAINED if message.retained else Flag.NONE
        try:
            return self._map.map(topic, message.payload, flags, message.at)
        except Exception as error:  # a fault of ours with one message must not cost the others
            log.exception("a message could not be mapped", extra={"fields": {"topic": topic[:200]}})
            return Mapped((), (Reject(repr(error), "internal", topic, message.payload),))

    def _is_known(self, message: Arrived) -> bool:
        """Whether a message is no news: empty, or retained and what its topic said last.

        Without our session a broker gives retained messages again; one that changed meanwhile is
        news. Digests, because topics may be long.
        """
        topic = hashlib.blake2b(message.topic, digest_size=16).digest()
        payload = hashlib.blake2b(message.payload, digest_size=16).digest()
        known = message.retained and self._last.get(topic) == payload
        if topic not in self._last and len(self._last) >= _TOPICS_REMEMBERED:
            del self._last[next(iter(self._last))]
        self._last[topic] = payload
        return known or not message.payload

    def _gap(self, reason: str) -> codec.SourceEvent:
        now = now_us()
        return self._event(
            gap=codec.Gap(from_time=self._heard_at or now, to_time=now, reason=reason)
        )

    def _delivery(self, *, events: list[codec.SourceEvent]) -> Delivery:
        return Delivery(source=self.model, owner=self.owner, received_at=now_us(), events=events)

    def _event(self, **kind: object) -> codec.SourceEvent:
        at = now_us()
        return codec.SourceEvent(owner=self.owner, source=self.model.key, time=at, **kind)  # type: ignore[arg-type]
