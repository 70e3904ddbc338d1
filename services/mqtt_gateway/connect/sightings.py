"""What was heard at a broker, topic by topic, with some payloads of each. Pure; filled by look.py,
read by topic_tree.py and by the proposals."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from aurelian.model.sample import Value, ValueType
from mqtt_gateway.mapping import printable
from mqtt_gateway.packets import Arrived
from mqtt_gateway.sparkplug.host import Host
from mqtt_gateway.sparkplug.messages import (
    Born,
    Described,
    Died,
    Edge,
    Rebirth,
    Stale,
    Told,
    parse_topic,
)

MOST_TOPICS = 5000
SAMPLES = 30
"""Payloads that are kept of a topic, the last ones."""

_MOST_SAMPLE_BYTES = 256 * 1024
_MOST_BYTES = 32 * 1024 * 1024


@dataclass(slots=True)
class Sighting:
    """A topic.

    Attributes:
        messages: how many came; `kept` of them the broker had kept.
        first_at, last_at: microseconds since 1970, of live ones; 0: none came.
        size: bytes of the last payload.
        samples: the last messages whose payloads are not too large.
    """

    messages: int = 0
    kept: int = 0
    first_at: int = 0
    last_at: int = 0
    size: int = 0
    samples: deque[Arrived] = field(default_factory=lambda: deque(maxlen=SAMPLES))

    @property
    def rate(self) -> float:
        """Live messages a second; 0: fewer than two came."""
        live, span = self.messages - self.kept, (self.last_at - self.first_at) / 1e6
        return (live - 1) / span if live > 1 and span > 0 else 0.0


@dataclass(slots=True)
class Machine:
    """A Sparkplug edge node or a device.

    Attributes:
        metrics: as its birth says they are; empty: no birth was heard.
        values: by metric, the last ones with their types.
        is_online: it was born, and has not died since.
    """

    metrics: dict[str, Described] = field(default_factory=dict)
    values: dict[str, deque[tuple[Value, ValueType, int | None]]] = field(default_factory=dict)
    is_online: bool = False


class Sightings:
    """All that was heard since it began.

    Attributes:
        topics: by name, the first 5,000.
        left_out: messages of further topics.
        machines: of Sparkplug, by edge node and device (None: the node itself).
        messages: all.
    """

    def __init__(self, *, ask_rebirth: bool = False) -> None:
        self.topics: dict[str, Sighting] = {}
        self.left_out = self.messages = 0
        self.machines: dict[tuple[Edge, str | None], Machine] = {}
        self._bytes = 0
        self._host = Host(ask_rebirth=ask_rebirth)

    def take(self, messages: Iterable[Arrived]) -> list[Edge]:
        """Note messages; edge nodes to ask for a rebirth, where that may be."""
        asked: list[Edge] = []
        for each in messages:
            self.messages += 1
            name = printable(each.topic)
            seen = self.topics.get(name)
            if seen is None:
                if len(self.topics) >= MOST_TOPICS:
                    self.left_out += 1
                    continue
                seen = self.topics[name] = Sighting()
            seen.messages += 1
            seen.size = len(each.payload)
            if each.retained:
                seen.kept += 1
            else:
                seen.first_at, seen.last_at = seen.first_at or each.at, each.at
            self._keep(seen, each)
            topic = parse_topic(name)
            if topic is not None and not each.retained:
                now = time.monotonic()
                asked += self._note(self._host.receive(topic, name, each.payload, now, each.at))
        asked += self._note(self._host.tick(time.monotonic()))
        return asked

    def _keep(self, seen: Sighting, message: Arrived) -> None:
        size = len(message.payload)
        if size > _MOST_SAMPLE_BYTES:
            return
        full = len(seen.samples) == SAMPLES
        freed = len(seen.samples[0].payload) if full else 0
        if self._bytes + size - freed > _MOST_BYTES:
            if not seen.samples:
                return
            freed = len(seen.samples.popleft().payload)
        self._bytes += size - freed
        seen.samples.append(message)

    def _note(self, actions: Sequence[object]) -> list[Edge]:
        asked = []
        for action in actions:
            match action:
                case Born(edge, device, metrics):
                    machine = self.machines.setdefault((edge, device), Machine())
                    machine.is_online = True
                    machine.metrics |= {each.name: each for each in metrics}
                case Died(edge, device, devices):
                    for each in (device, *devices):
                        self.machines.setdefault((edge, each), Machine()).is_online = False
                case Told(edge, device, values):
                    machine = self.machines.setdefault((edge, device), Machine())
                    for value in values:
                        kept = machine.values.setdefault(value.name, deque(maxlen=SAMPLES))
                        kept.append((value.value, value.type, value.time))
                case Stale():
                    pass  # the last values again
                case Rebirth(edge):
                    asked.append(edge)
        return asked
