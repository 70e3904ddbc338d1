"""A Sparkplug edge node that counts, as the specification says and no more: data of QoS 0, nothing
kept while nobody takes them; and what of its numbers came to the store, or is told as lost."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import paho.mqtt.client as paho

from aurelian.pb import sparkplug_b_pb2 as pb
from tests.integration.mqtt_gateway.gateway_process import Store
from tests.waiting import until

_INT64, _BOOLEAN = 4, 11
_REBIRTH = "Node Control/Rebirth"


def write_plant(folder: Path, company: str, url: str) -> Path:
    """A plant of one Sparkplug source, group COMPANY, and the node `n` with the metric `Count`."""
    folder.mkdir(exist_ok=True)
    (folder / "site.yaml").write_text(
        f"""
company: {{id: {company}, name: Company}}
site: site
time_zone: UTC
sources:
  - {{id: peer, kind: sparkplug, url: "{url}", group: {company}, edge_node: "+"}}
areas:
  - name: area
    lines:
      - name: line
        products: [{{id: cup, ideal_cycle_s: 2}}]
        units:
          - name: press
            address: n/
            source: peer
            signals: [{{name: count, address: Count, type: int64}}]
"""
    )
    return folder


class CountingNode:
    """Connected past every proxy. One lock: commands come in the thread of paho.

    Attributes:
        sent: source time in microseconds by number, of what went to a socket; births among them.
        rebirths: monotonic times at which it was asked for its birth.
    """

    def __init__(self, group: str) -> None:
        self.sent: dict[int, int] = {}
        self.rebirths: list[float] = []
        self._group = group
        self._lock = threading.Lock()
        self._numbers, self._last_ms = itertools.count(1), 0
        self._seq = self._bd_seq = -1
        self._client: paho.Client | None = None

    def connect(self, url: str) -> None:
        """A connection with a birth-death number of its own, and the birth."""
        self._bd_seq = (self._bd_seq + 1) % 256
        client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, reconnect_on_failure=False, clean_session=True
        )
        death = pb.Payload(timestamp=time.time_ns() // 1_000_000)
        self._add_bd_seq(death)
        client.will_set(self._topic("NDEATH"), death.SerializeToString(), 1)
        client.on_message = lambda *_: self._on_command()
        subscribed = threading.Event()
        client.on_subscribe = lambda *_: subscribed.set()
        parts = urlsplit(url)
        client.connect(parts.hostname or "", parts.port or 1883)
        client.loop_start()
        client.subscribe(self._topic("NCMD"), 1)
        assert subscribed.wait(10)
        with self._lock:
            self._client = client
        self.be_born()

    def leave(self) -> None:
        """End the connection."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            client.loop_stop()

    def be_born(self) -> None:
        """NBIRTH: its value is the next number."""
        with self._lock:
            self._seq = -1
            birth = self._payload()
            self._add_bd_seq(birth)
            birth.metrics.add(name=_REBIRTH, datatype=_BOOLEAN, boolean_value=False)
            birth.metrics[0].name = "Count"
            birth.metrics[0].datatype = _INT64
            self._publish("NBIRTH", birth)

    def send(self) -> int:
        """NDATA with the next number, which is returned."""
        with self._lock:
            return self._publish("NDATA", self._payload())

    async def run(self, seconds: float, pause_s: float) -> None:
        """Count for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.send()
            await asyncio.sleep(pause_s)

    def _on_command(self) -> None:
        self.rebirths.append(time.monotonic())
        self.be_born()

    def _topic(self, kind: str) -> str:
        return f"spBv1.0/{self._group}/{kind}/n"

    def _payload(self) -> pb.Payload:
        # A time of its own for each number: the store tells them apart by it.
        self._last_ms = max(self._last_ms + 1, time.time_ns() // 1_000_000)
        self._seq = (self._seq + 1) % 256
        message = pb.Payload(timestamp=self._last_ms, seq=self._seq)
        message.metrics.add(alias=1, timestamp=self._last_ms, long_value=next(self._numbers))
        return message

    def _add_bd_seq(self, message: pb.Payload) -> None:
        message.metrics.add(name="bdSeq", datatype=_INT64, long_value=self._bd_seq)

    def _publish(self, kind: str, message: pb.Payload) -> int:
        number = int(message.metrics[0].long_value)
        if self._client is not None:
            done = self._client.publish(self._topic(kind), message.SerializeToString(), 0)
            if done.rc == paho.MQTT_ERR_SUCCESS:
                self.sent[number] = self._last_ms * 1000
        return number


@contextlib.asynccontextmanager
async def counting_node(url: str, group: str) -> AsyncIterator[CountingNode]:
    """Born and connected; it connects again when it is told to."""
    node = CountingNode(group)
    await asyncio.to_thread(node.connect, url)
    try:
        yield node
    finally:
        node.leave()


@dataclass(frozen=True)
class Oracle:
    """What a node sent against what came: once, or told as lost."""

    node: CountingNode
    store: Store

    async def all_came(self, limit_s: float = 10.0) -> None:
        """Wait for the last number: nothing is under way any more."""
        last = self.node.send()
        await until(
            lambda: self.store.has("press", last), lambda: f"{last}: {self.told()}", limit_s
        )

    async def flows(self, what: str, limit_s: float = 5.0) -> float:
        """Send until a number of now is stored; return how long that took."""
        began, since = time.monotonic(), max(self.node.sent, default=0)

        async def stored() -> bool:
            self.node.send()
            await asyncio.sleep(0.05)
            return any(row[2] > since for row in self.store.rows("press"))  # type: ignore[operator]

        await until(stored, lambda: f"values after {what}: {self.told()}", limit_s)
        return time.monotonic() - began

    def told(self) -> list[tuple[int, int, str]]:
        """From when to when something may be missing."""
        return [(gap.from_time, gap.to_time, gap.reason) for gap in self.store.gaps()]

    def refused(self) -> set[int]:
        """Numbers that are kept as rejects."""
        found = set()
        for each in self.store.historian.rejected:
            if each.source.startswith(self.store.company):
                metrics = pb.Payload.FromString(each.payload).metrics
                found |= {int(metric.long_value) for metric in metrics if metric.alias == 1}
        return found

    def check(self) -> set[int]:
        """Nothing doubled, nothing invented, each lost number told; return those."""
        # Of a node that died its last value comes again, as stale; that is no new one.
        samples = [
            sample
            for batch in self.store.historian.batches
            for sample in batch.samples()
            if sample.signal.path.startswith(f"{self.store.company}/") and sample.status == 0
        ]
        rows = {(sample.source_time, sample.sub): sample.value for sample in samples}
        numbers = list(rows.values())
        assert len(set(numbers)) == len(numbers), "a number is stored twice"
        found = {value: at for (at, _), value in rows.items()}
        assert {n: at for n, at in found.items() if self.node.sent.get(n) != at} == {}  # type: ignore[call-overload]
        # Before the first one nobody was there.
        begun = {n for n in self.node.sent if n >= min(numbers)}  # type: ignore[type-var]
        lost = begun - found.keys() - self.refused()
        spans = self.told()
        untold = {
            n: self.node.sent[n]
            for n in lost
            if not any(b - 1000 <= self.node.sent[n] <= e for b, e, _ in spans)
        }
        assert untold == {}, (len(untold), min(untold), max(untold), untold, spans)
        return set(lost)
