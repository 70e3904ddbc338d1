"""What plant files have of a server already, so that nothing of it is stored twice. Pure; called by
connector.py and command.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from aurelian.edge.control.connector import KnownSource
from aurelian.model.addresses import AddressError, parse_address
from aurelian.model.source_model import SourceModel
from opcua_gateway.browse.discovery import Discovery
from opcua_gateway.browse.plant_snippet import placed
from opcua_gateway.browse.walk import Node

_PORT = 4840


@dataclass(frozen=True, slots=True)
class There:
    """What is there.

    Attributes:
        key: of the first source at the server; empty: none is.
        units: path in the plant files of each proposed unit that is there, by its proposed name.
        addresses: of the proposed signals that are there.
        nodes: of all proposed signals of those units: whether it is there itself.
    """

    key: str = ""
    units: Mapping[str, str] = field(default_factory=dict)
    addresses: frozenset[str] = frozenset()
    nodes: Mapping[Node, bool] = field(default_factory=dict)

    def is_left_out(self, node: Node, *, is_chosen: bool) -> bool:
        """Whether `without` takes a variable away."""
        return node in self.nodes and (self.nodes[node] or not is_chosen)

    def without(
        self, units: Sequence[dict[str, object]], *, is_chosen: bool
    ) -> list[dict[str, object]]:
        """What is new of proposed units, as `looking.units_of` makes them. `is_chosen`: somebody
        has said which signals, so that further ones of a machine that is there count as new."""
        made = []
        for unit in units:
            signals = unit["signals"]
            assert isinstance(signals, list)
            if unit["name"] in self.units:
                signals = [each for each in signals if is_chosen and not self._has(each)]
            if signals:
                made.append({**unit, "signals": signals})
        return made

    def _has(self, signal: Mapping[str, object]) -> bool:
        return signal["address"] in self.addresses


def what_is_there(found: Discovery, model: SourceModel, known: Sequence[KnownSource]) -> There:
    """What the sources `known` have of a server's variables; a machine is there where one of its
    signals is."""
    same = [each for each in known if each.model.kind == "opcua" and _is_same(each.model, model)]
    paths: dict[tuple[str, str, str], str] = {}
    for each in same:
        for unit in each.plant.units():
            if unit.model.source == each.model.id:
                for signal in unit.model.signals:
                    paths.setdefault(_node(signal.address, found.namespaces), unit.path)
    units: dict[str, str] = {}
    addresses = set()
    rows = placed(found, model)
    for row in rows:
        if path := paths.get(_node(row.address, found.namespaces)):
            units.setdefault(row.unit, path)
            addresses.add(row.address)
    nodes = {e.variable.node: e.address in addresses for e in rows if e.unit in units}
    return There(same[0].key if same else "", units, frozenset(addresses), nodes)


def _node(address: str, namespaces: Sequence[str]) -> tuple[str, str, str]:
    """A node id by the URI of its namespace, however it is written."""
    try:
        node = parse_address(address)
    except AddressError:
        return ("", "", address)
    uri = node.uri or ""
    if not uri and node.index:
        uri = namespaces[node.index] if node.index < len(namespaces) else f"ns={node.index}"
    return (uri, node.kind, node.identifier)


def _is_same(one: SourceModel, other: SourceModel) -> bool:
    """Whether two sources are of one server, by their addresses."""

    def address(url: str) -> tuple[str, int, str]:
        parts = urlsplit(url)
        return parts.hostname or "", parts.port or _PORT, parts.path.rstrip("/")

    return address(other.url) in {address(each) for each in (one.url, *one.redundant)}
