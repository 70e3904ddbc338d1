"""What sources of the plant files take at a broker already. Pure; used by the proposals, so that
nothing is stored twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from aurelian.edge.control.connector import KnownSource
from aurelian.model.mqtt_payloads import TopicModel
from aurelian.model.mqtt_topics import Template
from mqtt_gateway.address import PORTS
from mqtt_gateway.connect.proposed import ProposedSource, ProposedUnit
from mqtt_gateway.mapping import units_by_address
from mqtt_gateway.sparkplug.messages import Edge
from mqtt_gateway.sparkplug.units import SparkplugUnits


class Taker:
    """One source of the plant files, with what it takes of what was heard.

    Attributes:
        site: `owner/site` that it belongs to.
        topics: those that it takes, each with the number of its entry.
        any_group: of Sparkplug: it takes several groups, so that its units are named by theirs.
    """

    def __init__(self, known: KnownSource) -> None:
        self.model, self.key, self.site = known.model, known.key, known.plant.path
        self.topics: dict[str, int] = {}
        self._units = units_by_address(known.plant, known.model)
        self._entries = self.model.subscriptions
        self._templates: list[tuple[int, Template]] = [
            (n, each)
            for n, entry in enumerate(self._entries)
            for each in entry.templates(self.site)
        ]
        self.any_group = self.model.group == "+"
        self._names = SparkplugUnits(self._units, any_group=self.any_group)

    def takes(self, topic: str) -> tuple[int, bool] | None:
        """The number of its entry for a topic, and whether it has a unit for it; None: it does not
        take it."""
        for number, template in self._templates:
            if (places := template.match(topic)) is not None:
                return number, template.unit_name(places, self.site) in self._units
        return None

    def by_entry(self) -> list[tuple[TopicModel, list[str]]]:
        """The topics that it takes, by its entries."""
        found: dict[int, list[str]] = defaultdict(list)
        for topic, number in self.topics.items():
            found[number].append(topic)
        return [(self._entries[number], topics) for number, topics in found.items()]

    def has(self, edge: Edge) -> bool:
        """Whether it takes an edge node of Sparkplug."""
        of = ((self.model.group, edge.group), (self.model.edge_node, edge.node))
        return all(wanted in ("+", name) for wanted, name in of)

    def name(self, edge: Edge, device: str | None) -> str:
        """What it calls a machine of Sparkplug; as the plant files do, where they have it."""
        return self._names.name(edge, device)

    def has_unit(self, edge: Edge, device: str | None) -> bool:
        """Whether it has a unit for a machine of Sparkplug."""
        return self.name(edge, device) in self._units

    def source(self, units: Sequence[ProposedUnit]) -> ProposedSource:
        """It as a proposal: its units, and machines that it has none for."""
        model = self.model
        fields: dict[str, object] = {"id": model.id, "kind": model.kind, "url": model.url}
        # Nothing of how it signs in, nor of files that describe payloads.
        if model.is_plain_mqtt:
            entries = [{"topic": each.topic, "payload": each.payload} for each in self._entries]
            fields |= {"topics": entries}
        else:
            fields |= {"group": model.group, "edge_node": model.edge_node}
        why = (f"{self.key} of the plant files takes it already",)
        return ProposedSource(fields, tuple(map(self._placed, units)), why, known_as=self.key)

    def _placed(self, unit: ProposedUnit) -> ProposedUnit:
        there = self._units.get(unit.key)
        if there is None:
            return unit
        signals = {each.address or each.name for each in there.model.signals}
        return replace(unit, known_as=there.path, known_signals=frozenset(signals))


@dataclass(slots=True)
class Takers:
    """The sources of the plant files at one broker, by any user."""

    plain: list[Taker] = field(default_factory=list)
    sparkplug: list[Taker] = field(default_factory=list)

    @classmethod
    def at(cls, known: Sequence[KnownSource], url: str) -> Takers:
        """Those of `known` at the broker of an address."""
        takers = cls()
        for each in known:
            if broker_of(each.model.url) == broker_of(url):
                of = takers.plain if each.model.is_plain_mqtt else takers.sparkplug
                of.append(Taker(each))
        return takers

    def take(self, topic: str) -> bool:
        """Whether one takes a topic, which is noted at those that have a unit for it, else at the
        first."""
        found = [(each, at) for each in self.plain if (at := each.takes(topic)) is not None]
        for taker, (number, _) in [each for each in found if each[1][1]] or found[:1]:
            taker.topics[topic] = number
        return bool(found)

    def of(self, edge: Edge, device: str | None) -> list[Taker]:
        """Those that have a unit for a machine of Sparkplug, else the first that takes its edge
        node."""
        found = [each for each in self.sparkplug if each.has(edge)]
        return [each for each in found if each.has_unit(edge, device)] or found[:1]


def broker_of(url: str) -> tuple[str, int] | None:
    """Host and port of an address; None: it is none of MQTT."""
    parts = urlsplit(url)
    if parts.scheme not in PORTS:
        return None
    return parts.hostname or "", parts.port or PORTS[parts.scheme]
