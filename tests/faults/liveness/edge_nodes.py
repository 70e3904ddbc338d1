"""Sparkplug edge nodes, one for each case, and their faults; for test_liveness.py."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import paho.mqtt.client as paho

from aurelian.pb import sparkplug_b_pb2 as spb
from tests.e2e.whole import Stack
from tests.faults.liveness.cases import ABORTED, EXECUTE, SPARKPLUG_CASES, Machine, now_ms


class EdgeNode:
    """One edge node with one device: its own connection, whose will is the node's death."""

    def __init__(self, stack: Stack, name: str) -> None:
        self.name, self._seq = name, 0
        url = urlsplit(stack.mqtt_url)
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=f"liveness-{name}")
        death = spb.Payload(timestamp=now_ms())
        death.metrics.add(name="bdSeq", datatype=4, long_value=0)
        self.node = f"node-{name}"
        self.client.will_set(
            f"spBv1.0/Liveness/NDEATH/{self.node}", death.SerializeToString(), qos=1
        )
        self.death = death.SerializeToString()
        self.client.connect(str(url.hostname), url.port or 1883)
        self.client.loop_start()

    def births(self) -> None:
        self._seq = 0
        birth = spb.Payload(timestamp=now_ms(), seq=self._next())
        birth.metrics.add(name="bdSeq", datatype=4, long_value=0)
        birth.metrics.add(name="Node Control/Rebirth", datatype=11, boolean_value=False)
        self._publish("NBIRTH", birth)
        device = spb.Payload(timestamp=now_ms(), seq=self._next())
        device.metrics.add(name="state", datatype=3, int_value=EXECUTE, timestamp=now_ms())
        device.metrics.add(name="temp", datatype=10, double_value=20.0, timestamp=now_ms())
        self._publish("DBIRTH", device, self.name)

    def data(self, fill: Callable[[spb.Payload], None]) -> None:
        payload = spb.Payload(timestamp=now_ms(), seq=self._next())
        fill(payload)
        self._publish("DDATA", payload, self.name)

    def temperature(self, value: float) -> None:
        self.data(
            lambda p: (
                p.metrics.add(name="temp", datatype=10, double_value=value, timestamp=now_ms())
                and None
            )
        )

    def die(self) -> None:
        self.client.publish(f"spBv1.0/Liveness/NDEATH/{self.node}", self.death, qos=1)

    def device_death(self) -> None:
        self._publish("DDEATH", spb.Payload(timestamp=now_ms(), seq=self._next()), self.name)

    def cut(self) -> None:
        """Close the connection without a DISCONNECT: the broker publishes the will."""
        sock = self.client.socket()
        self.client.reconnect_delay_set(600, 600)
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(2)
        self.client.loop_stop()

    def close(self) -> None:
        self.client.loop_stop()

    def _next(self) -> int:
        self._seq, seq = (self._seq + 1) % 256, self._seq
        return seq

    def _publish(self, kind: str, payload: spb.Payload, device: str = "") -> None:
        topic = f"spBv1.0/Liveness/{kind}/{self.node}" + (f"/{device}" if device else "")
        self.client.publish(topic, payload.SerializeToString(), qos=0)


async def set_up_sparkplug(
    machines: dict[str, Machine],
    stack: Stack,
    client: paho.Client,
    opened: contextlib.AsyncExitStack,
) -> None:
    nodes = {case.name: EdgeNode(stack, case.name) for case in SPARKPLUG_CASES}
    for node in nodes.values():
        opened.callback(node.close)
        await asyncio.sleep(0.2)  # connected, and the gateway's host is online
        node.births()

    async def temperature(machine: Machine) -> None:
        nodes[machine.name].temperature(machine.temperature)

    def state(fill: Callable[[spb.Payload.Metric], None]) -> Callable[[Machine], Awaitable[None]]:
        async def fault(machine: Machine) -> None:
            def add(payload: spb.Payload) -> None:
                fill(payload.metrics.add(name="state", datatype=3, timestamp=now_ms()))

            nodes[machine.name].data(add)

        return fault

    def bad_quality(metric: spb.Payload.Metric) -> None:
        metric.int_value = EXECUTE
        metric.properties.keys.append("Quality")
        metric.properties.values.add(type=3, int_value=0)

    def null(metric: spb.Payload.Metric) -> None:
        metric.is_null = True

    def text(metric: spb.Payload.Metric) -> None:
        metric.datatype, metric.string_value = 12, "Offline"

    def historical(metric: spb.Payload.Metric) -> None:
        metric.int_value, metric.is_historical = ABORTED, True
        metric.timestamp = now_ms() - 600_000

    async def node_death(machine: Machine) -> None:
        machine.send = None
        nodes[machine.name].die()

    async def device_death(machine: Machine) -> None:
        machine.send = None
        nodes[machine.name].device_death()

    async def data_after_death(machine: Machine) -> None:
        nodes[machine.name].device_death()

    async def cable(machine: Machine) -> None:
        machine.send = None
        nodes[machine.name].cut()

    async def silent(machine: Machine) -> None:
        machine.send = None

    faults: dict[str, Callable[[Machine], Awaitable[None]]] = {
        "s-node-death": node_death,
        "s-device-death": device_death,
        "s-data-after-device-death": data_after_death,
        "s-cable": cable,
        "s-state-bad-quality": state(bad_quality),
        "s-state-null": state(null),
        "s-state-text": state(text),
        "s-state-historical": state(historical),
        "s-birth-in-force": silent,
    }
    for case in SPARKPLUG_CASES:
        machines[case.name].send = temperature
        machines[case.name].fault = faults[case.name]
