"""What arrives while the ladder listens: counted, read as the gateway reads it, and stored nowhere.
Pure; used by the ladder."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from zoneinfo import ZoneInfo

from aurelian.edge.names import readable
from aurelian.model.plant import Plant
from aurelian.model.sample import Flag
from aurelian.model.source_model import SourceModel
from mqtt_gateway.connect.clock import NotedTimes, Stamp
from mqtt_gateway.connect.formats import Mixture
from mqtt_gateway.connect.time_member import TimeMembers
from mqtt_gateway.mapping import printable
from mqtt_gateway.message_map import MessageMap
from mqtt_gateway.packets import Arrived
from mqtt_gateway.settings import MqttGatewaySettings
from mqtt_gateway.sparkplug.host import Host
from mqtt_gateway.sparkplug.messages import (
    PREFIX,
    Born,
    Died,
    Edge,
    Rebirth,
    Refused,
    Told,
    parse_topic,
)

_MOST_TOPICS = 1000
_SHOWN = 5
_STATE = f"{PREFIX}/STATE/"


@dataclass(slots=True)
class Heard:
    """Counts of what came.

    Attributes:
        messages: of the source, those that the broker had kept among them.
        kept: that the broker had kept.
        values: in the messages that could be read.
        bad: topic and reason of messages that could not be read, the first of each topic.
        bad_count: how many those were.
        empty: topic of the first message without any value; no text: none.
        topics: messages by topic, of the first thousand.
    """

    messages: int = 0
    kept: int = 0
    values: int = 0
    bad: dict[str, str] = field(default_factory=dict)
    bad_count: int = 0
    empty: str = ""
    topics: Counter[str] = field(default_factory=Counter)

    def note(self, topic: str, *, retained: bool) -> None:
        """A message came."""
        self.messages += 1
        self.kept += retained
        if topic in self.topics or len(self.topics) < _MOST_TOPICS:
            self.topics[topic] += 1

    def refuse(self, topic: str, reason: str) -> None:
        """It cannot be read."""
        self.bad_count += 1
        if len(self.bad) < _MOST_TOPICS:
            self.bad.setdefault(topic, reason)


class PlainArrivals:
    """Messages of plain MQTT.

    Attributes:
        heard: what came.
        stamps: the times that new messages said.
        is_open: the source says of no topic how its payloads are written (`names_no_payload`), so
            that those alone count as bad that are of another kind than others of their topic.
    """

    def __init__(self, plant: Plant, model: SourceModel, settings: MqttGatewaySettings) -> None:
        self.heard = Heard()
        self.is_open = names_no_payload(model)
        self._mixed: dict[str, Mixture] = {}
        self._members = TimeMembers()
        self._map = MessageMap(
            plant,
            model,
            max_payload_bytes=settings.mqtt_max_payload_bytes,
            max_discovered=settings.mqtt_max_discovered,
        )
        self._times = NotedTimes(ZoneInfo(model.time_zone), model.time_unit)
        self._map.times = self._times

    @property
    def filters(self) -> tuple[str, ...]:
        """What to subscribe to."""
        return tuple(dict.fromkeys(each.template.filter for each in self._map.routes))

    @property
    def stamps(self) -> Sequence[Stamp]:
        """See the class."""
        return self._times.stamps or self._members.stamps

    def take(self, messages: Iterable[Arrived]) -> None:
        """Count and read them."""
        for each in messages:
            topic = printable(each.topic)
            if topic.encode() != each.topic:
                self.heard.note(topic, retained=each.retained)
                self.heard.refuse(topic, "the topic is not UTF-8")
                continue
            if not each.payload:
                continue  # of a kept message that was deleted
            before = len(self._times.stamps)
            mapped = self._map.map(topic, each.payload, Flag.NONE, each.at)
            if each.retained:
                del self._times.stamps[before:]  # it says when it was, not how late it is
            if mapped.is_other:
                continue
            self.heard.note(topic, retained=each.retained)
            self.heard.values += len(mapped.readings)
            if self.is_open:
                self._judge(topic, each.payload)
                if not each.retained:
                    self._members.take(topic, each.payload, each.at)
            elif mapped.rejects:
                self.heard.refuse(topic, mapped.rejects[0].reason)
            elif not mapped.readings and not mapped.said:
                self.heard.empty = self.heard.empty or topic

    def _judge(self, topic: str, payload: bytes) -> None:
        """Note a message whose payload may be written in any way."""
        if topic not in self._mixed and len(self._mixed) >= _MOST_TOPICS:
            return
        of = self._mixed.setdefault(topic, Mixture())
        was_one, unread = of.is_one, of.unread
        of.take(payload)
        if of.is_one:
            for _ in range(of.unread - (unread if was_one else 0)):
                self.heard.refuse(topic, of.reason)


def names_no_payload(model: SourceModel) -> bool:
    """Whether a source only says what to listen to: filters without places, as a look has them, and
    no plant file has it."""
    return "/" not in model.key and all(
        "{" not in each.topic and "payload" not in each.model_fields_set and bool(each.topic)
        for each in model.subscriptions
    )


class SparkplugArrivals:
    """Messages of Sparkplug edge nodes.

    Attributes:
        heard: what came from edge nodes.
        born: metrics of each node (device None) and device that is alive.
        dead: nodes and devices that are not.
        unknown: edge nodes that send and whose births nobody has heard yet.
        hosts: what host applications say of themselves: online, or not.
        stamps: times of new values.
    """

    def __init__(self, model: SourceModel, settings: MqttGatewaySettings, *, asks: bool) -> None:
        self.heard = Heard()
        self.born: dict[tuple[Edge, str | None], int] = {}
        self.dead: set[tuple[Edge, str | None]] = set()
        self.unknown: set[Edge] = set()
        self.hosts: dict[str, bool] = {}
        self.stamps: list[Stamp] = []
        self._nodes = f"{PREFIX}/{model.group}/+/{model.edge_node}/#"
        self._most = settings.mqtt_max_payload_bytes
        self._host = Host(
            reorder_s=settings.sparkplug_reorder_s,
            ask_rebirth=asks,
            strict=model.sparkplug is not None and model.sparkplug.strict,
        )

    @property
    def filters(self) -> tuple[str, ...]:
        """What to subscribe to; the first is that of the edge nodes."""
        return (self._nodes, f"{_STATE}+")

    def take(self, messages: Iterable[Arrived]) -> list[Edge]:
        """Count and read them; edge nodes to ask for a rebirth, where that may be."""
        asked: list[Edge] = []
        for each in messages:
            name = printable(each.topic)
            if name.startswith(_STATE):
                self.hosts[name.removeprefix(_STATE)] = _is_online(each.payload)
                continue
            topic = parse_topic(name)
            if topic is None or each.retained or name.encode() != each.topic:
                continue
            self.heard.note(name, retained=False)
            if len(each.payload) > self._most:
                self.heard.refuse(name, f"a payload of {len(each.payload)} bytes")
                continue
            now = time.monotonic()
            for action in self._host.receive(topic, name, each.payload, now, each.at):
                asked += self._note(action, each.at)
        for action in self._host.tick(time.monotonic()):
            asked += self._note(action, 0)
        return asked

    def _note(self, action: object, at: int) -> list[Edge]:
        match action:
            case Born(edge, device, metrics):
                self.born[edge, device] = len(metrics)
                self.dead.discard((edge, device))
                self.unknown.discard(edge)
            case Died(edge, device, devices):
                for each in (device, *devices):
                    self.born.pop((edge, each), None)
                    self.dead.add((edge, each))
            case Told(values=values):
                self.heard.values += len(values)
                self.stamps += [
                    Stamp((each.time or 0) // 1000, each.time, at)
                    for each in values
                    if each.time is not None and not each.flags & (Flag.INITIAL | Flag.HISTORICAL)
                ][: 2000 - len(self.stamps)]
            case Refused(topic=name, reason=reason, error_class="no_birth"):
                found = parse_topic(name)
                if found is not None:
                    self.unknown.add(found.edge)
            case Refused(topic=name, reason=reason):
                self.heard.refuse(name, reason)
            case Rebirth(edge):
                return [edge]
        return []


def _is_online(payload: bytes) -> bool:
    if payload == b"ONLINE":
        return True
    try:
        said = json.loads(payload)
    except (ValueError, RecursionError):
        return False
    return isinstance(said, dict) and said.get("online") is True


def nearest(filters: Sequence[str], topics: Iterable[str]) -> list[str]:
    """Topics that are much like one that a filter would take, the nearest first."""
    scored: dict[str, float] = {}
    for topic in topics:
        for each in filters:
            likeness = _likeness(each.split("/"), topic.split("/"))
            if likeness > scored.get(topic, 0.0):
                scored[topic] = likeness
    near = [topic for topic, likeness in scored.items() if likeness >= 0.75]
    return sorted(near, key=lambda each: (-scored[each], each))


def _likeness(wanted: Sequence[str], found: Sequence[str]) -> float:
    """1: it fits. Levels may be spelled otherwise, in other case, and the number may be one off."""
    if wanted and wanted[-1] == "#":
        wanted, found = wanted[:-1], found[: len(wanted) - 1]
    if not wanted or abs(len(wanted) - len(found)) > 1:
        return 0.0
    total = 0.0
    for ours, theirs in zip(wanted, found, strict=False):
        if ours in ("+", theirs):
            total += 1.0
        elif ours.casefold() == theirs.casefold():
            total += 0.95
        elif get_close_matches(ours.casefold(), [theirs.casefold()], 1, 0.6):
            total += 0.8
    return total / max(len(wanted), len(found))


def listed(texts: Iterable[str], shown: int = _SHOWN) -> str:
    """The first of some texts for people, and how many more there are."""
    every = list(texts)
    text = ", ".join(readable(each, 120) for each in every[:shown])
    return text if len(every) <= shown else f"{text} and {len(every) - shown} more"
