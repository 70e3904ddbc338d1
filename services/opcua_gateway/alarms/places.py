"""Which unit of the plant an event is about: by its SourceNode, and what that is below; used by
watch.py (asks the server) and deliveries.py."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from asyncua import ua

from aurelian.model.addresses import parse_address
from aurelian.model.plant import Unit
from opcua_gateway.address_space import browse_from, targets
from opcua_gateway.in_parts import browse_in_parts
from opcua_gateway.mapping import Tag
from opcua_gateway.session import Session, SessionLost

log = logging.getLogger(__name__)

_HIERARCHICAL = ua.NodeId(ua.ObjectIds.HierarchicalReferences)
_SIGNALS_OF_A_UNIT, _MOST_SIGNALS = 20, 4000
"""Whose parents are asked for; a unit's signals stand below few nodes. Values wait meanwhile."""

_MOST_LEVELS, _MOST_NODES, _MOST_KNOWN, _NODES_PER_CALL = 10, 500, 20_000, 200


class Places:
    """Finds units by nodes; a server numbers its nodes anew with each new session."""

    def __init__(self, source: str, tags: Sequence[Tag], units: Sequence[Unit]) -> None:
        self._source, self._tags, self._units = source, tags, units
        self._anchors: dict[ua.NodeId, Unit] = {}
        self._known: dict[ua.NodeId, Unit | None] = {}
        self._has_failed = False

    def unit(self, node: ua.NodeId | None) -> Unit | None:
        """The unit of a node that `find` was asked for; None: it is of no unit."""
        return None if node is None else self._known.get(node)

    async def prepare(self, session: Session, namespaces: Sequence[str]) -> None:
        """Learn which nodes are the units': those of the plant file, their signals, and what has
        signals of one unit only directly below it."""
        self._known.clear()
        self._anchors.clear()
        signals: dict[ua.NodeId, Unit] = {}
        asked: list[ua.NodeId] = []
        count: dict[str, int] = {}
        for tag in self._tags:
            if (text := tag.address.node_id(namespaces)) is None:
                continue
            node = ua.NodeId.from_string(text)
            signals.setdefault(node, tag.unit)
            number = count[tag.unit.id] = count.get(tag.unit.id, 0) + 1
            if number <= _SIGNALS_OF_A_UNIT and len(asked) < _MOST_SIGNALS:
                asked.append(node)
        parents: dict[ua.NodeId, set[str]] = {}
        of: dict[ua.NodeId, Unit] = {}
        try:
            for node, above in zip(asked, await self._above(session, asked), strict=True):
                for parent in above:
                    parents.setdefault(parent, set()).add(signals[node].id)
                    of[parent] = signals[node]
        except SessionLost as error:
            self._say(str(error))
        self._anchors |= {node: of[node] for node, units in parents.items() if len(units) == 1}
        self._anchors |= signals
        for unit in self._units:
            for written in unit.model.alarm_nodes:
                if (text := parse_address(written).node_id(namespaces)) is not None:
                    self._anchors[ua.NodeId.from_string(text)] = unit

    async def find(self, session: Session, nodes: Iterable[ua.NodeId]) -> None:
        """Find the units of nodes that were not looked for yet, going up from each. A server that
        does not answer costs the place, not the event, and is not asked again in this session."""
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        new = [node for node in dict.fromkeys(nodes) if node not in self._known]
        for start in range(0, len(new), _MOST_NODES):
            await self._find_part(session, new[start : start + _MOST_NODES])

    async def _find_part(self, session: Session, new: Sequence[ua.NodeId]) -> None:
        paths: dict[ua.NodeId, list[ua.NodeId]] = {node: [node] for node in new}
        for _ in range(_MOST_LEVELS):
            for node, level in list(paths.items()):
                unit = next((self._anchors[each] for each in level if each in self._anchors), None)
                if unit is not None or not level:
                    self._known[node] = unit
                    del paths[node]
            if not paths or self._has_failed:
                break
            flat = [(node, each) for node, level in paths.items() for each in level]
            try:
                above = await self._above(session, [each for _, each in flat])
            except SessionLost as error:
                self._say(str(error))
                break
            paths = {node: [] for node in paths}
            for (node, _), found in zip(flat, above, strict=True):
                paths[node] += [each for each in found if each not in paths[node]]
        self._known.update(dict.fromkeys(paths))

    async def _above(self, session: Session, nodes: Sequence[ua.NodeId]) -> list[list[ua.NodeId]]:
        """What each node is directly below; the standard's own nodes (Objects, Server) are above
        everybody's."""
        wanted = [browse_from(node, _HIERARCHICAL, inverse=True) for node in nodes]
        answers = await browse_in_parts(session, wanted, _NODES_PER_CALL)
        return [[node for node in targets(each) if node.NamespaceIndex] for each in answers]

    def _say(self, why: str) -> None:
        if not self._has_failed:
            self._has_failed = True
            fields = {"source": self._source, "reason": why}
            log.warning("places of events were not found", extra={"fields": fields})
