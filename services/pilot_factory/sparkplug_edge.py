"""A Sparkplug B edge node whose devices are the units of a source (specification 3.0, chapter 5).
Called by `factory.py`.

Says its births, then data by alias. While no host is online, and while the cable is out, it keeps
values and sends them as historical after the next birth.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from aurelian.model.plant import Unit
from aurelian.model.plant_file import PlantError
from aurelian.model.source_model import SourceModel
from aurelian.model.time import now_ms
from aurelian.runtime.retry import Backoff
from pilot_factory import sparkplug_payload as payload
from pilot_factory.metrics import DROPPED, SENT
from pilot_factory.mqtt_link import MqttLink, Will, connect
from pilot_factory.sendlog import SendLog
from pilot_factory.simulation import Measurement, SimulatedSignal

log = logging.getLogger(__name__)

KEPT = 100_000
"""Values kept while the host or the broker is away; the oldest are given up."""

_CHUNK = 500


class SparkplugOutlet:
    """One edge node. `host`: id of the primary host that it waits for; `+`: any; empty: none."""

    def __init__(
        self,
        source: SourceModel,
        signals: Sequence[SimulatedSignal],
        host: str,
        state: Path,
        sent: SendLog | None,
        retry_s: float = 10.0,
    ) -> None:
        if "+" in (source.group, source.edge_node):
            raise PlantError(
                f"source {source.id!r}: an edge node that is simulated needs its `group` and "
                "`edge_node`"
            )
        self.source = source
        self.online = asyncio.Event()
        self._topic = f"spBv1.0/{source.group}/{{}}/{source.edge_node}"
        self._host_filter = f"spBv1.0/STATE/{host}" if host else ""
        self._hosts: dict[str, tuple[int, bool]] = {}
        self._devices: dict[str, list[tuple[SimulatedSignal, int]]] = {}
        for alias, signal in enumerate(signals):
            self._devices.setdefault(signal.unit.model.name, []).append((signal, alias))
        self._alias = {signal: alias for alias, signal in enumerate(signals)}
        self._bd_seq_file = state / f"{source.slug}.bdseq"
        self._sent = sent
        self._seq = 0
        self._cut: set[str] = set()
        self._last: dict[SimulatedSignal, Measurement] = {}
        self._pending: deque[Measurement] = deque()
        self._changed = asyncio.Event()
        self._retry = Backoff(longest_s=retry_s)

    def put(self, measurements: Sequence[Measurement]) -> None:
        """Take the values of one step."""
        self._last.update((each.signal, each) for each in measurements)
        self._pending.extend(measurements)
        while len(self._pending) > KEPT:
            self._pending.popleft()
            DROPPED.labels("sparkplug").inc()
        self._changed.set()

    def cut(self, unit: Unit) -> None:
        """Pull the cable: the whole edge node is gone, and the broker says so by its will."""
        self._cut.add(unit.path)
        self._changed.set()

    def mend(self, unit: Unit) -> None:
        """Put the cable back."""
        self._cut.discard(unit.path)
        self._changed.set()

    async def run(self) -> None:
        """Be an edge node until cancelled; every connection has a birth-death number of its own."""
        away = False
        while True:
            while self._cut or not self._last:
                self._changed.clear()
                await self._changed.wait()
            bd_seq = self._next_bd_seq()
            will = Will(self._topic.format("NDEATH"), payload.node_death(_now_ms(), bd_seq))
            subscriptions = [(self._topic.format("NCMD"), 1)]
            if self._host_filter:
                subscriptions.append((self._host_filter, 1))
            try:
                async with connect(
                    self.source.url,
                    f"aurelian-{self.source.slug}",
                    will=will,
                    subscriptions=subscriptions,
                ) as link:
                    log.info(
                        "edge node connected",
                        extra={"fields": {"source": self.source.key, "bdSeq": bd_seq}},
                    )
                    away = False
                    self._retry.reset()
                    self._hosts.clear()
                    await self._live(link, bd_seq)
            except ConnectionError as error:
                if not away:
                    away = True
                    fields = {"source": self.source.key, "error": str(error)}
                    log.warning("edge node has no broker; trying again", extra={"fields": fields})
            finally:
                self.online.clear()
            await self._retry.wait()

    async def _live(self, link: MqttLink, bd_seq: int) -> None:
        """From one connection to its end: by the cable, the broker, the host or our own stop."""
        listening = asyncio.create_task(self._listen(link), name=f"{self.source.id} commands")
        try:
            while not link.lost.is_set():
                self._changed.clear()
                if self._cut:
                    link.cut()
                    await link.lost.wait()
                elif self._host_online():
                    if not self.online.is_set():
                        self._say_births(link, bd_seq)
                    self._say_data(link)
                elif self.online.is_set():
                    # The host is gone: say so and begin again with a new number (6.4.20, primary
                    # host).
                    self._say_death(link, bd_seq)
                    return
                await self._changed.wait()
        except asyncio.CancelledError:
            if self.online.is_set():
                self._say_death(link, bd_seq)
            raise
        finally:
            listening.cancel()
            await asyncio.wait({listening})

    async def _listen(self, link: MqttLink) -> None:
        lost = asyncio.create_task(link.lost.wait(), name=f"{self.source.id} lost")
        lost.add_done_callback(lambda _: self._changed.set())
        try:
            while True:
                topic, body = await link.messages.get()
                if topic.startswith("spBv1.0/STATE/"):
                    self._note_host(topic, body)
                elif payload.wants_rebirth(body):
                    self.online.clear()
                self._changed.set()
        finally:
            lost.cancel()

    def _note_host(self, topic: str, body: bytes) -> None:
        """Take a host's STATE unless it is older than what is known of that host."""
        try:
            state = json.loads(body)
            told = int(state["timestamp"]), bool(state["online"])
        except (ValueError, TypeError, KeyError):
            return
        if told[0] >= self._hosts.get(topic, (0, False))[0]:
            self._hosts[topic] = told

    def _host_online(self) -> bool:
        return not self._host_filter or any(online for _, online in self._hosts.values())

    def _say_births(self, link: MqttLink, bd_seq: int) -> None:
        now = _now_ms()
        link.publish(self._topic.format("NBIRTH"), payload.node_birth(now, bd_seq))
        self._seq = 0
        for device, signals in self._devices.items():
            body = payload.device_birth(now, self._next_seq(), signals, self._last)
            link.publish(f"{self._topic.format('DBIRTH')}/{device}", body)
        born = list(self._last.values())
        self._note(born)
        self.online.set()
        told = {id(each) for each in born}
        kept = [each for each in self._pending if id(each) not in told]
        self._pending.clear()
        for start in range(0, len(kept), _CHUNK):
            self._say(link, kept[start : start + _CHUNK], historical=True)

    def _say_data(self, link: MqttLink) -> None:
        values = list(self._pending)
        self._pending.clear()
        if values:
            self._say(link, values, historical=False)

    def _say(self, link: MqttLink, values: Sequence[Measurement], *, historical: bool) -> None:
        """One DDATA for each device that has values."""
        by_device: dict[str, list[tuple[Measurement, int]]] = {}
        for each in values:
            by_device.setdefault(each.signal.unit.model.name, []).append(
                (each, self._alias[each.signal])
            )
        for device, found in by_device.items():
            body = payload.device_data(_now_ms(), self._next_seq(), found, historical=historical)
            link.publish(f"{self._topic.format('DDATA')}/{device}", body)
        self._note(values)

    def _say_death(self, link: MqttLink, bd_seq: int) -> None:
        link.publish(self._topic.format("NDEATH"), payload.node_death(_now_ms(), bd_seq))
        self.online.clear()

    def _note(self, values: Sequence[Measurement]) -> None:
        SENT.labels("sparkplug").inc(len(values))
        if self._sent is not None:
            for each in values:
                signal = each.signal.signal
                # Sparkplug times are whole milliseconds.
                whole_ms = each.source_time // 1000 * 1000
                self._sent.write(signal.path, signal.type, each.value, whole_ms, each.status)
            self._sent.flush()

    def _next_seq(self) -> int:
        self._seq = (self._seq + 1) % 256
        return self._seq

    def _next_bd_seq(self) -> int:
        """The next birth-death number, kept over restarts: 0 to 255."""
        try:
            number = (int(self._bd_seq_file.read_text()) + 1) % 256
        except (OSError, ValueError):
            number = 0
        self._bd_seq_file.parent.mkdir(parents=True, exist_ok=True)
        self._bd_seq_file.write_text(str(number))
        return number


def _now_ms() -> int:
    return now_ms()
