"""The parts of plants as a tree, and which part of one tree is which of another: by id, by name, by
likeness. Pure; called by `plant_diff.py`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from aurelian.model.plant import Line, Plant, derive_id
from aurelian.model.plant_parts import PlantPart, SignalModel

Kind = Literal["site", "area", "line", "unit", "signal"]

_CHILDREN = {"areas", "lines", "units", "signals", "sources"}
_OF_TREE = frozenset({"name", "id", *_CHILDREN})


@dataclass(slots=True)
class Node:
    """A site, area, line, unit or signal.

    Attributes:
        id: what its history is kept under.
        has_id: the file gives it; else it follows from the path.
        fields: what it says beside its name, its id and what is in it.
        alike: equal for two parts of which one is probably the other under a new name; None: that
            cannot be told.
    """

    kind: Kind
    path: str
    id: str
    has_id: bool
    fields: dict[str, object]
    alike: object
    parent: Node | None = None
    children: list[Node] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its own name, without those above it."""
        return self.path.rpartition("/")[2]

    def below(self) -> Iterator[Node]:
        """All that is in it."""
        for each in self.children:
            yield each
            yield from each.below()


@dataclass(frozen=True, slots=True)
class Match:
    """What was and what will be the same part; of what comes or goes, one of them is None."""

    before: Node | None
    after: Node | None


def nodes_of(plant: Plant) -> Node:
    """The tree of a plant."""
    site = _node("site", plant.path, None, plant, None)
    site.alike = frozenset(each.id for each in plant.sources)
    for area_model in plant.areas:
        path = f"{plant.path}/{area_model.name}"
        area = _node("area", path, area_model.id, area_model, site)
        area.alike = _names(area_model.lines)
        for model in area_model.lines:
            line = Line(plant, area_model, model)
            line_node = _node("line", line.path, model.id, model, area)
            line_node.alike = _names(model.units)
            for unit in line.units:
                node = _node("unit", unit.path, unit.model.id, unit.model, line_node)
                signals = frozenset(each.address or each.name for each in unit.model.signals)
                node.alike = (unit.model.source, signals) if signals else None
                for signal in unit.model.signals:
                    at = f"{unit.path}/{signal.name}"
                    _node("signal", at, signal.id, signal, node).alike = signal.address or None
    return site


def match_nodes(before: Sequence[Node], after: Sequence[Node]) -> Iterator[Match]:
    """Which part is which, parents first. What comes or goes is told once, at its top."""
    known = {each.id: each for top in after for each in (top, *top.below())}
    old_ids = {each.id for top in before for each in (top, *top.below())}
    taken: set[int] = set()
    yield from _match(before, after, known, old_ids, taken)


def _match(
    before: Sequence[Node],
    after: Sequence[Node],
    known: Mapping[str, Node],
    old_ids: set[str],
    taken: set[int],
) -> Iterator[Match]:
    pairs: dict[int, Node] = {}
    for node in before:
        other = known.get(node.id)
        if other is not None and other.kind == node.kind:
            pairs[id(node)] = other
            taken.add(id(other))
    free = [each for each in after if id(each) not in taken and each.id not in old_ids]
    for key in (_by_name, _by_likeness):
        for node in before:
            if id(node) in pairs or key(node) is None:
                continue
            found = [e for e in free if key(e) == key(node) and id(e) not in taken]
            rivals = [e for e in before if id(e) not in pairs and key(e) == key(node)]
            if len(found) == len(rivals) == 1:
                pairs[id(node)] = found[0]
                taken.add(id(found[0]))
    for node in before:
        mate = pairs.get(id(node))
        yield Match(node, mate)
        if mate is not None:
            yield from _match(node.children, mate.children, known, old_ids, taken)
        else:  # some of it may have moved elsewhere under their ids
            moved = [each for each in node.below() if each.id in known]
            yield from _match(moved, [], known, old_ids, taken)
    for node in after:
        if id(node) not in taken and node.id not in old_ids:
            taken.add(id(node))
            yield Match(None, node)


def _by_name(node: Node) -> object:
    return node.name


def _by_likeness(node: Node) -> object:
    return node.alike or None


def _names(parts: Sequence[object]) -> frozenset[str]:
    return frozenset(str(getattr(each, "name", "")) for each in parts)


def _node(kind: Kind, path: str, own: str | None, model: PlantPart, parent: Node | None) -> Node:
    fields = flat({k: v for k, v in model.model_dump(mode="json").items() if k not in _OF_TREE})
    if isinstance(model, SignalModel):
        fields["type"] = model.type.name.lower()
    made = Node(kind, path, own or derive_id(path), own is not None, fields, None, parent)
    if parent is not None:
        parent.children.append(made)
    return made


def flat(fields: Mapping[str, object], above: str = "") -> dict[str, object]:
    """Fields of fields by their dotted names."""
    found: dict[str, object] = {}
    for name, value in fields.items():
        if isinstance(value, dict) and value and above.count(".") < 2:
            found |= flat(value, f"{above}{name}.")
        else:
            found[above + name] = value
    return found
