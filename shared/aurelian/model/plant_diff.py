"""What a changed plant model will do, before it does it: to connections, to what is shown, and to
the history that is there. Pure; called by `aurelian plant diff` and `aurelian connect`.

Nothing secret is in a plant model: of passwords it has the names of files and variables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

from aurelian.model.plant import Plant, Unit
from aurelian.model.plant_nodes import Kind, Match, Node, flat, match_nodes, nodes_of
from aurelian.model.sample import ValueType
from aurelian.model.source_model import SourceModel
from aurelian.model.source_terms import changed_sources, terms_of

Did = Literal["added", "removed", "renamed", "changed"]
SourceDoes = Literal["added", "removed", "begins anew", "goes on"]


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field with what it said and what it will say."""

    field: str
    before: object
    after: object

    def __str__(self) -> str:
        return f"{self.field}: {_shown(self.before)} -> {_shown(self.after)}"


@dataclass(frozen=True, slots=True)
class SourceChange:
    """What becomes of a connection.

    Attributes:
        key: `owner/site/id`.
        fields: of the source that changed.
        because: what else of the file it is made of and has changed.
    """

    key: str
    does: SourceDoes
    fields: tuple[FieldChange, ...] = ()
    because: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PartChange:
    """What becomes of a site, area, line, unit or signal.

    Attributes:
        path: before; of what is added, after.
        new_path: after, where it is another.
        units, signals: how many are in it, of what is added or removed.
        warnings: where its history or its figures are not what one may expect.
        keep: ids to write into the file so that history goes on, by the new path.
    """

    kind: Kind
    path: str
    did: Did
    new_path: str = ""
    fields: tuple[FieldChange, ...] = ()
    units: int = 0
    signals: int = 0
    warnings: tuple[str, ...] = ()
    keep: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlantDiff:
    """All that a change does."""

    sources: tuple[SourceChange, ...]
    parts: tuple[PartChange, ...]

    @property
    def is_empty(self) -> bool:
        """Whether it does nothing."""
        return not self.parts and all(each.does == "goes on" for each in self.sources)

    def as_json(self) -> dict[str, object]:
        """JSON-ready."""
        return {"differs": not self.is_empty, **asdict(self)}

    def lines(self) -> Iterator[str]:
        """Sentences for people; warnings begin with `!`."""
        going_on = [each.key for each in self.sources if each.does == "goes on"]
        for each in self.sources:
            if each.does == "goes on":
                continue
            yield f"source {each.key}: {_SOURCE_WORDS[each.does]}"
            yield from (f"    {change}" for change in each.fields)
            yield from (f"    {reason}" for reason in each.because)
        if going_on:
            listed = ", ".join(going_on[:5]) + (", …" if len(going_on) > 5 else "")
            yield f"{_count(len(going_on), 'source')} untouched, {_they(going_on)} on: {listed}"
        for part in self.parts:
            path = f"{part.path} -> {part.new_path}" if part.new_path else part.path
            inside = [
                _count(number, word)
                for number, word in ((part.units, "unit"), (part.signals, "signal"))
                if number
            ]
            yield f"{part.kind} {path}: {part.did}" + (
                f", with {' and '.join(inside)}" if inside else ""
            )
            yield from (f"    {change}" for change in part.fields)
            yield from (f"  ! {warning}" for warning in part.warnings)


_SOURCE_WORDS = {
    "added": "will be connected",
    "removed": "will be closed",
    "begins anew": "will be closed and connected again, as it is made of something else now",
}


def compare_plants(before: Sequence[Plant], after: Sequence[Plant]) -> PlantDiff:
    """What happens when `after` takes the place of `before`; all plants of an installation."""
    matches = list(match_nodes([*map(nodes_of, before)], [*map(nodes_of, after)]))
    mates = {id(each.before): each.after for each in matches}
    parts = [part for match in matches if (part := _part(match, mates)) is not None]
    return PlantDiff(tuple(_sources(before, after)), tuple(_without_repetition(parts)))


def _sources(before: Sequence[Plant], after: Sequence[Plant]) -> Iterator[SourceChange]:
    old, new = terms_of(before), terms_of(after)
    came, went, changed = map(set, changed_sources(old, new))
    was, will = _by_key(before), _by_key(after)
    for key in [*new, *(key for key in old if key not in new)]:
        if key in came:
            yield SourceChange(key, "added")
        elif key in went:
            yield SourceChange(key, "removed")
        elif key in changed:
            fields, because = _reasons(was[key], will[key])
            yield SourceChange(key, "begins anew", tuple(fields), tuple(because))
        else:
            yield SourceChange(key, "goes on")


_Placed = tuple[Plant, SourceModel, dict[str, Unit]]


def _by_key(plants: Sequence[Plant]) -> dict[str, _Placed]:
    found: dict[str, _Placed] = {}
    for plant in plants:
        units: dict[str, dict[str, Unit]] = {}
        for unit in plant.units():
            units.setdefault(unit.model.source, {})[unit.path] = unit
        for source in plant.sources:
            found[source.key] = plant, source, units.get(source.id, {})
    return found


def _reasons(was: _Placed, will: _Placed) -> tuple[list[FieldChange], list[str]]:
    fields = _changes(flat(was[1].model_dump(mode="json")), flat(will[1].model_dump(mode="json")))
    fields += _changes({"site time_zone": was[0].time_zone}, {"site time_zone": will[0].time_zone})
    because = []
    old, new = was[2], will[2]
    for said, paths in (
        ("comes to it", [path for path in new if path not in old]),
        ("goes from it", [path for path in old if path not in new]),
        (
            "is read in another way",
            [p for p in new if p in old and _terms(old[p]) != _terms(new[p])],
        ),
    ):
        if paths:
            more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            because.append(f"unit {paths[0]} {said}{more}")
    if not fields and not because:
        because.append("the order of its units, or the number of Sparkplug sources at its broker")
    return fields, because


def _terms(unit: Unit) -> object:
    model = unit.model.model_dump(mode="json", exclude={"title", "simulate"})
    return unit.line.id, unit.id, model


def _part(match: Match, mates: Mapping[int, Node | None]) -> PartChange | None:
    before, after = match.before, match.after
    if before is None:
        assert after is not None
        return _whole(after, "added", ())
    if after is None:
        said = "its history stays in the store, and no more values come"
        return _whole(before, "removed", (said,) if _has_history(before) else ())
    moved = before.parent is not None and mates.get(id(before.parent)) is not after.parent
    renamed = (
        before.name != after.name or moved or (before.kind == "site" and before.path != after.path)
    )
    fields = _changes(before.fields, after.fields)
    keep = {} if before.id == after.id else {after.path: before.id}
    warnings = list(_warnings(before, after, fields))
    if not (renamed or fields or keep):
        return None
    return PartChange(
        before.kind,
        before.path,
        "renamed" if renamed else "changed",
        after.path if before.path != after.path else "",
        tuple(fields),
        warnings=tuple(warnings),
        keep=keep,
    )


def _whole(node: Node, did: Did, warnings: tuple[str, ...]) -> PartChange:
    kinds = [each.kind for each in node.below()]
    return PartChange(
        node.kind,
        node.path,
        did,
        units=kinds.count("unit"),
        signals=kinds.count("signal"),
        warnings=warnings,
    )


def _has_history(node: Node) -> bool:
    return node.kind == "signal" or any(each.kind == "signal" for each in node.below())


def _without_repetition(parts: Sequence[PartChange]) -> Iterator[PartChange]:
    """Parts that only begin a new history because what they are in does: told there once."""
    below: dict[str, list[PartChange]] = {}
    tops: list[PartChange] = []
    for part in parts:
        top = next((each for each in tops if _only_follows(part, each)), None)
        if top is None:
            if part.keep:
                tops.append(part)
        else:
            below.setdefault(top.path, []).append(part)
    hidden = {id(each) for group in below.values() for each in group}
    for part in parts:
        if id(part) in hidden:
            continue
        if not part.keep:
            yield part
            continue
        keep = {**part.keep}
        for each in below.get(part.path, ()):
            keep |= each.keep
        count = len(keep) - 1
        path, identity = next(iter(part.keep.items()))
        more = f", and so do the {_count(count, 'part')} in it" if count else ""
        said = (
            f"without the `id` that it had it begins a new history{more}: what was stored stays "
            f"under {part.path}. To go on with it write `id: {identity}`"
            + (" (those of all: `aurelian plant diff --json`, `keep`)" if count else "")
        )
        yield PartChange(
            part.kind, part.path, part.did, path if path != part.path else "", part.fields,
            warnings=(said, *part.warnings), keep=keep,
        )  # fmt: skip


def _only_follows(part: PartChange, above: PartChange) -> bool:
    return (
        part.did == "changed"
        and bool(part.keep)
        and not part.fields
        and part.path.startswith(f"{above.path}/")
    )


def _changes(before: Mapping[str, object], after: Mapping[str, object]) -> list[FieldChange]:
    names = [*after, *(name for name in before if name not in after)]
    return [
        FieldChange(name, before.get(name), after.get(name))
        for name in names
        if before.get(name) != after.get(name)
    ]


def _warnings(before: Node, after: Node, fields: Sequence[FieldChange]) -> Iterator[str]:
    changed = {each.field.partition(".")[0]: each for each in fields}
    if before.kind == "signal":
        yield from _signal_warnings(before, after, changed)
    elif before.kind == "unit":
        if "states" in changed:
            yield "states that are stored stay as they were read; values mean this from now on"
        if "source" in changed:
            yield "another source speaks for it from now on, under the same history"
    elif before.kind == "line":
        if {"calendar", "products", "output", "constraint"} & set(changed):
            yield "figures are made so from now on; those of past shifts stay as they are"
    elif before.kind == "site":
        if "time_zone" in changed:
            yield "shifts and days begin at other times from now on; what is past stays as it is"
        elif "calendar" in changed:
            yield "figures are made so from now on; those of past shifts stay as they are"


def _signal_warnings(
    before: Node, after: Node, changed: Mapping[str, FieldChange]
) -> Iterator[str]:
    old, new = (str(each.fields["unit"]) or "none" for each in (before, after))
    scaled = bool({"scale", "offset"} & set(changed))
    if "unit" in changed and not scaled:
        yield (
            f"the unit changes from {old} to {new} and `scale` does not: what is stored keeps its "
            f"numbers, which were {old}, and is shown as {new} too. That is right where only the "
            "word was wrong; else give the signal a new name, or a `scale` that keeps the unit"
        )
    elif "unit" in changed:
        yield (
            f"what is stored keeps its numbers, which were {old}, and is shown as {new} too: give "
            "it a new name for a history of its own"
        )
    elif scaled:
        yield (
            "values are converted in another way from now on; what is stored stays as it is, so "
            "that there is a step in the history"
        )
    if "type" in changed:
        was, will = (ValueType[str(each.fields["type"]).upper()] for each in (before, after))
        if _table(was) == _table(will):
            yield f"stored values stay {was.name.lower()}, new ones are {will.name.lower()}"
        else:
            yield (
                f"new values are {will.name.lower()} and go to the table {_table(will)}; those up "
                f"to now stay {was.name.lower()} in {_table(was)} and do not go on in one chart"
            )
    if "role" in changed:
        yield "figures of its line are made of it so from now on; what is past stays as it is"
    if "states" in changed:
        yield "states that are stored stay as they were read; values mean this from now on"
    if "address" in changed and before.id == after.id:
        yield "its values come from another place from now on, under the same history"
    if "range" in changed:
        yield "values are flagged so from now on; the flags of stored ones stay"


def _table(kind: ValueType) -> str:
    if kind.is_number:
        return "sample_number"
    return "sample_text" if kind is ValueType.TEXT else "sample_other"


def _shown(value: object) -> str:
    match value:
        case None | "" | [] | {}:
            return "nothing"
        case str():
            text = value
        case _:
            text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _count(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")


def _they(keys: Sequence[str]) -> str:
    return "goes" if len(keys) == 1 else "go"
