"""Read plant models from YAML files; a mistake is answered with file, line and field. Called by
gateways, launcher, CLI."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from aurelian.model.calendar import check_calendar
from aurelian.model.plant import Plant
from aurelian.model.yaml_text import (
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
    YAMLError,
    describe_error,
    read_yaml,
)


class PlantError(ValueError):
    """A plant-model file is unusable; the text names file, line, field and what to do."""


def load_plant(path: Path) -> Plant:
    """Read and validate one plant-model file.

    Raises:
        PlantError: unreadable, no YAML, or not a valid plant; each problem with its line and field.
    """
    try:
        text = _fill(path.read_text(encoding="utf-8"))
        node, content = read_yaml(text)
    except YAMLError as error:
        line_number, reason = describe_error(error)
        where = path if line_number is None else f"{path}:{line_number}"
        raise PlantError(f"{where}: {reason}") from error
    except (OSError, ValueError) as error:
        raise PlantError(f"{path}: {error}") from error
    for number, key in _keys_twice(node):
        raise PlantError(f"{path}:{number}: {key}: stands twice; which one shall count?")
    try:
        plant = Plant.model_validate(content)
        for line in plant.lines():
            check_calendar(line.calendar)
        return plant
    except ValidationError as error:
        problems = [
            f"{path}:{_line_of(node, place)}: {'.'.join(map(str, place)) or 'plant'}: "
            f"{problem['msg']}"
            for problem in _root_problems(error)
            for place in (problem.get("ctx", {}).get("at", problem["loc"]),)
        ]
        raise PlantError("\n".join(problems)) from error
    except ValueError as error:
        raise PlantError(f"{path}: calendar of {line.path}: {error}") from error


def load_plants(folder: Path) -> list[Plant]:
    """Read all `*.yaml` files of a folder, sorted by name.

    Raises:
        PlantError: no file there, one is unusable, or two name the same site or source.
    """
    files = {path: load_plant(path) for path in sorted(folder.glob("*.yaml"))}
    if not files:
        raise PlantError(
            f"{folder}: no plant-model file (*.yaml); the README shows one to start from"
        )
    found: dict[tuple[str, str], Path] = {}
    for path, plant in files.items():
        places: list[tuple[str, str, tuple[int | str, ...]]] = [("site", plant.path, ("site",))]
        places += [
            ("source", source.id, ("sources", n, "id")) for n, source in enumerate(plant.sources)
        ]
        for what, name, place in places:
            if (what, name) in found:
                node, _ = read_yaml(_fill(path.read_text(encoding="utf-8")))
                raise PlantError(
                    f"{path}:{_line_of(node, place)}: {'.'.join(map(str, place))}: "
                    f"{what} {name!r} stands in more than one place, in {found[what, name]} too"
                )
            found[what, name] = path
    return list(files.values())


def _fill(text: str) -> str:
    return re.sub(r"\$\{(\w+)(?::-([^}]*))?\}", lambda m: os.environ.get(m[1]) or m[2] or "", text)


def _root_problems(error: ValidationError) -> list[ErrorDetails]:
    """The problems without those that only follow from another: a list counts as empty when its
    items are invalid."""
    problems = error.errors()

    def follows(problem: ErrorDetails) -> bool:
        at = problem["loc"]
        return problem["type"] == "too_short" and any(
            len(other["loc"]) > len(at) and other["loc"][: len(at)] == at for other in problems
        )

    return [problem for problem in problems if not follows(problem)]


def _keys_twice(node: Node | None) -> Iterator[tuple[int, str]]:
    """Line and key of each key that stands twice in one mapping; YAML itself lets the last one
    win."""
    waiting, seen = [node], set()
    while waiting:
        each = waiting.pop()
        if id(each) in seen:  # an alias
            continue
        seen.add(id(each))
        if isinstance(each, SequenceNode):
            waiting += each.value
        elif isinstance(each, MappingNode):
            keys: set[str] = set()
            for key, value in each.value:
                waiting.append(value)
                if isinstance(key, ScalarNode):
                    if key.value in keys:
                        yield key.start_mark.line + 1, key.value
                    keys.add(key.value)


def _line_of(node: Node | None, location: tuple[int | str, ...]) -> int:
    """Line (from 1) of the deepest node of the file that `location` names."""
    line = 1
    for part in location:
        if node is None:
            break
        line = node.start_mark.line + 1
        if isinstance(node, MappingNode):
            node = next((value for key, value in node.value if key.value == part), None)
        elif isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
        else:
            break
    return node.start_mark.line + 1 if node is not None else line
