"""Messages of a source of plain MQTT as deliveries; called by source.py."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from aurelian.edge.gateway import Delivery, Reading, Reject
from aurelian.edge.names import readable
from aurelian.model import codec
from aurelian.model.plant import Plant
from aurelian.model.sample import Flag
from aurelian.model.source_model import SourceModel
from mqtt_gateway import metrics
from mqtt_gateway.collected import Collected
from mqtt_gateway.json_lane import JsonLane
from mqtt_gateway.mapping import printable
from mqtt_gateway.message_map import Mapped, MessageMap, Said
from mqtt_gateway.packets import Arrived
from mqtt_gateway.payloads.contract import Presence
from mqtt_gateway.settings import MqttGatewaySettings

log = logging.getLogger(__name__)

_TOPICS_REMEMBERED = 100_000

_STATE_AGAIN_US = 10_000_000
"""A device that says all the time that it is offline is heard once in so long."""


@dataclass(slots=True)
class _Content:
    """What messages come to. `others`: handles of the signals that have readings."""

    numbers: Collected = field(default_factory=Collected)
    readings: list[Reading] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    events: list[codec.SourceEvent] = field(default_factory=list)
    skipped: int = 0
    others: set[int] = field(default_factory=set)


class JsonMessages:
    """Of one source; remembers what each topic said last. `counted`: in the gateway's metrics.

    Raises:
        AddressError: one of the source's topics is unusable.
    """

    def __init__(
        self,
        plant: Plant,
        model: SourceModel,
        settings: MqttGatewaySettings,
        *,
        counted: bool = True,
    ) -> None:
        self._model, self._owner, self._counted = model, plant.owner, counted
        self._map = MessageMap(
            plant,
            model,
            max_payload_bytes=settings.mqtt_max_payload_bytes,
            max_discovered=settings.mqtt_max_discovered,
        )
        signals, times = self._map.signals, self._map.times
        self._lane = JsonLane(plant.owner, signals, times, self._map.json_place)
        self._last: dict[int, int] = {}
        self._states: dict[str, tuple[Presence, int]] = {}

    @property
    def filters(self) -> tuple[str, ...]:
        """What to subscribe to."""
        return tuple(dict.fromkeys(each.template.filter for each in self._map.routes))

    def deliveries(self, messages: Sequence[Arrived]) -> Iterator[Delivery]:
        """What messages come to, in order; mostly one."""
        # What came again must be told from new values of the same time, so never both at once.
        for _, part in groupby(messages, lambda each: each.again):
            yield from self._of_part(list(part))

    def _of_part(self, messages: Sequence[Arrived]) -> Iterator[Delivery]:
        lane, content = self._lane, _Content()
        for message in messages:
            if self._is_known(message):
                continue
            if not message.retained and lane.read(
                message.topic, message.payload, content.numbers, content.others, message.at
            ):
                continue
            mapped = self._read(message)
            content.skipped += mapped.is_other
            handle_of = lane.table.handle_of
            handles = {handle_of.get(each.signal.id, -1) for each in mapped.readings}
            if not content.numbers.handles.isdisjoint(handles):
                # No signal has values in both columns and readings: their order would be lost.
                yield self._delivery(messages, content)
                content = _Content()
            content.others |= handles
            content.readings += mapped.readings
            content.rejects += mapped.rejects
            for said in mapped.said:
                content.events += self._events(said, message)
            if content.events:
                # What comes behind it may be from a device that is there again.
                yield self._delivery(messages, content)
                content = _Content()
        if self._counted:
            metrics.QOS0.labels(self._model.key).inc(sum(not each.number for each in messages))
            metrics.MESSAGES.labels(self._model.key).inc(len(messages))
        yield self._delivery(messages, content)

    def _delivery(self, messages: Sequence[Arrived], content: _Content) -> Delivery:
        return Delivery(
            source=self._model,
            owner=self._owner,
            received_at=messages[0].at,
            columns=content.numbers.finish(self._lane.table),
            readings=content.readings,
            rejects=content.rejects,
            events=content.events,
            skipped=content.skipped,
            repeated=messages[0].again,
        )

    def _events(self, said: Said, message: Arrived) -> Iterator[codec.SourceEvent]:
        """Births and deaths of declared units. What a broker kept says nothing of now where it says
        that a device is there; that it is not holds until the device says otherwise."""
        state, at = said.state, message.at
        online = state.presence is Presence.ONLINE
        assets = []
        for unit in said.units:
            before, since = self._states.get(unit.id, (None, 0))
            self._states[unit.id] = state.presence, at
            if before is state.presence and at - since < _STATE_AGAIN_US:
                self._states[unit.id] = before, since
            elif not (online and message.retained):
                assets.append(unit.id)
        if not assets:
            return
        reason = f"{printable(message.topic)[:200]}: {state.reason[:200]}"
        kind: dict[str, codec.Birth | codec.Death] = (
            {"birth": codec.Birth(assets=assets, detail=readable(reason))}
            if online
            else {"death": codec.Death(assets=assets, reason=readable(reason))}
        )
        yield codec.SourceEvent(owner=self._owner, source=self._model.key, time=at, **kind)  # type: ignore[arg-type]

    def _read(self, message: Arrived) -> Mapped:
        try:
            topic = message.topic.decode()
        except UnicodeDecodeError:
            name = printable(message.topic)
            reject = Reject("the topic is not UTF-8", "topic", name, message.payload)
            return Mapped((), (reject,))
        flags = Flag.RETAINED if message.retained else Flag.NONE
        try:
            return self._map.map(topic, message.payload, flags, message.at)
        except Exception as error:  # a fault of ours with one message must not cost the others
            log.exception("a message could not be mapped", extra={"fields": {"topic": topic[:200]}})
            return Mapped((), (Reject(repr(error), "internal", topic, message.payload),))

    def _is_known(self, message: Arrived) -> bool:
        """Whether a message is no news: empty, or retained and what its topic said last.

        Without our session a broker gives retained messages again; one that changed meanwhile is
        news.
        """
        topic, payload = hash(message.topic), hash(message.payload)  # they may be long
        last = self._last
        known = message.retained and last.get(topic) == payload
        if len(last) >= _TOPICS_REMEMBERED and topic not in last:
            del last[next(iter(last))]
        last[topic] = payload
        return known or not message.payload
