"""Machines that send plain JSON over MQTT, QoS 1: `{"ts": ms, "fields": {...}}` on a topic per
unit. Called by `factory.py`."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from aurelian.model.plant import Unit
from aurelian.model.plant_file import PlantError
from aurelian.model.source_model import SourceModel
from aurelian.runtime.retry import Backoff
from pilot_factory.metrics import DROPPED, SENT
from pilot_factory.mqtt_link import MqttLink, connect
from pilot_factory.sendlog import SendLog
from pilot_factory.simulation import Measurement, SimulatedSignal

log = logging.getLogger(__name__)

KEPT = 20_000
"""Messages kept while the broker is away; the oldest are given up."""

_WINDOW = 100
"""Messages sent and not yet acknowledged."""


@dataclass(slots=True, eq=False)
class Message:
    """One message on its way. `mid`: number of its current transmission, None: not sent on this
    connection."""

    topic: str
    body: bytes
    values: tuple[Measurement, ...]
    mid: int | None = None
    noted: bool = False


class JsonOutlet:
    """A source of JSON machines. Each sends all its values at every step."""

    def __init__(
        self,
        source: SourceModel,
        signals: Sequence[SimulatedSignal],
        sent: SendLog | None,
        retry_s: float = 10.0,
    ) -> None:
        if "{unit}" not in source.topic or "{signal}" in source.topic:
            raise PlantError(
                f"source {source.id!r}: topic {source.topic!r} of simulated machines needs "
                "{unit}, and no {signal}"
            )
        self.source = source
        self.online = asyncio.Event()
        self._sent = sent
        self._cut: set[str] = set()
        self._last: dict[str, dict[SimulatedSignal, Measurement]] = {}
        for signal in signals:
            self._last[signal.unit.path] = {}
        self._queue: deque[Message] = deque()
        self._changed = asyncio.Event()
        self._retry = Backoff(longest_s=retry_s)

    def put(self, measurements: Sequence[Measurement]) -> None:
        """Take the values of one step: one message for each unit that is not cut off, with all that
        it shows."""
        units: dict[str, int] = {}
        for each in measurements:
            unit = each.signal.unit.path
            self._last[unit][each.signal] = each
            units[unit] = each.source_time
        for unit, time in units.items():
            if unit not in self._cut:
                shown = [Measurement(m.signal, m.value, time) for m in self._last[unit].values()]
                self._queue.append(_message(self.source, shown, time))
        while len(self._queue) > KEPT:
            DROPPED.labels("json").inc(len(self._queue.popleft().values))
        self._changed.set()

    def cut(self, unit: Unit) -> None:
        """Pull the cable: the machine sends nothing, and keeps nothing for later."""
        self._cut.add(unit.path)

    def mend(self, unit: Unit) -> None:
        """Put the cable back."""
        self._cut.discard(unit.path)

    async def run(self) -> None:
        """Send until cancelled; what the broker has not acknowledged is sent again on the next
        connection."""
        away = False
        while True:
            try:
                async with connect(
                    self.source.url, f"aurelian-{self.source.slug}", acked=self._acknowledged
                ) as link:
                    log.info("machines connected", extra={"fields": {"source": self.source.key}})
                    away = False
                    self._retry.reset()
                    self.online.set()
                    await self._send(link)
            except ConnectionError as error:
                if not away:
                    away = True
                    fields = {"source": self.source.key, "error": str(error)}
                    log.warning("machines have no broker; trying again", extra={"fields": fields})
            finally:
                self.online.clear()
                for message in self._queue:
                    message.mid = None
            await self._retry.wait()

    async def _send(self, link: MqttLink) -> None:
        lost = asyncio.create_task(link.lost.wait(), name=f"{self.source.id} lost")
        lost.add_done_callback(lambda _: self._changed.set())
        try:
            while not link.lost.is_set():
                self._changed.clear()
                for message in islice(self._queue, _WINDOW):
                    if message.mid is None:
                        message.mid = link.publish(message.topic, message.body, qos=1)
                        self._note(message)
                await self._changed.wait()
        finally:
            lost.cancel()

    def _acknowledged(self, mid: int, reason: int) -> None:
        for message in islice(self._queue, _WINDOW):
            if message.mid == mid:
                self._queue.remove(message)
                break
        self._changed.set()

    def _note(self, message: Message) -> None:
        if not message.noted:
            message.noted = True
            SENT.labels("json").inc(len(message.values))
            if self._sent is not None:
                self._sent.write_all(message.values)
                self._sent.flush()


def _message(source: SourceModel, shown: Sequence[Measurement], time: int) -> Message:
    ms = time // 1000
    unit = shown[0].signal.unit
    fields = {each.signal.model.address or each.signal.model.name: each.value for each in shown}
    body = json.dumps({"ts": ms, "fields": fields}, separators=(",", ":")).encode()
    values = tuple(Measurement(each.signal, each.value, ms * 1000) for each in shown)
    return Message(source.topic.format(unit=unit.model.name), body, values)
