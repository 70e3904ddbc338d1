"""Read plant models from YAML files; a mistake is answered with file, line and field. Called by
gateways, launcher, CLI."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from aurelian.model import plant_parts, source_model
from aurelian.model.calendar import CalendarError, check_calendar
from aurelian.model.plant import Plant
from aurelian.model.written import suggest
from aurelian.model.yaml_text import Lines, YAMLError, describe_error, read_yaml

_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
_CUT = re.compile(r"\s*(?:- )?\s*address:\s+([^\s\"'#{\[|>&*!].*?)\s+#[^\s#]")
"""An address as a line of its own that ends at a `#` which may be part of it: `s=Motor #1`."""

_FIELDS = sorted(
    {
        name
        for part in (*vars(plant_parts).values(), *vars(source_model).values(), Plant)
        if isinstance(part, type) and issubclass(part, plant_parts.PlantPart)
        for name in part.model_fields
    }
)


class PlantError(ValueError):
    """A plant-model file is unusable; the text names file, line, field and what to do."""


def load_plant(path: Path) -> Plant:
    """Read and validate one plant-model file.

    Raises:
        PlantError: unreadable, no YAML, or not a valid plant; each problem with its line and field.
    """
    return parse_plant(path, _bytes_of(path))


def load_plants(folder: Path) -> list[Plant]:
    """Read all `*.yaml` and `*.yml` files of a folder, sorted by name; or the one file named.

    Raises:
        PlantError: no file there, one is unusable, or two name the same site or id.
    """
    files = read_files(folder)
    return join_plants(files, {path: parse_plant(path, data) for path, data in files.items()})


def plant_files(folder: Path) -> list[Path]:
    """The plant-model files of a folder, sorted by name; or the one file named; of several folders
    with `:` between (`;` on Windows) those of each."""
    found = []
    for part in folders_of(folder):
        paths = [part] if part.is_file() else sorted(part.glob("*"))
        suffixes = (".yaml", ".yml")
        found += [each for each in paths if each.suffix.lower() in suffixes and each.is_file()]
    return found


def folders_of(folder: Path) -> list[Path]:
    """The folders, or files, that a setting names."""
    return [Path(part) for part in str(folder).split(os.pathsep) if part]


def read_files(folder: Path) -> dict[Path, bytes]:
    """The bytes of each plant-model file of a folder.

    Raises:
        PlantError: no file there, or one cannot be read.
    """
    try:
        files = {path: _bytes_of(path) for path in plant_files(folder)}
    except OSError as error:
        raise PlantError(f"{folder}: {error.strerror or error}") from error
    if not files:
        raise PlantError(
            f"{folder}: no plant-model file (*.yaml); the README shows one to start from"
        )
    return files


def parse_plant(path: Path, data: bytes) -> Plant:
    """Validate the bytes of a plant-model file; `path` is where they are said to stand.

    Raises:
        PlantError: no YAML, or not a valid plant; each problem with its line and field.
    """
    try:
        lines, content = read_yaml(_text_of(path, data))
    except YAMLError as error:
        line_number, reason = describe_error(error)
        where = path if line_number is None else f"{path}:{line_number}"
        raise PlantError(f"{where}: {reason}") from error
    try:
        plant = Plant.model_validate(content)
    except ValidationError as error:
        problems = [
            f"{path}:{lines.of(place)}: {'.'.join(map(str, place)) or 'plant'}: "
            f"{_sentence(problem)}"
            for problem in _root_problems(error)
            for place in (problem.get("ctx", {}).get("at", problem["loc"]),)
        ]
        raise PlantError("\n".join(dict.fromkeys(problems))) from error
    _check_calendars(path, lines, plant)
    return plant


def join_plants(files: Mapping[Path, bytes], plants: Mapping[Path, Plant]) -> list[Plant]:
    """The plants of several files, checked against each other; `files`: what they were read of.

    Raises:
        PlantError: two name the same site or id.
    """
    found: dict[str, Path] = {}
    ids: dict[str, Path] = {}
    for path, plant in plants.items():
        if plant.path in found:
            lines, _ = read_yaml(_text_of(path, files[path]))
            raise PlantError(
                f"{path}:{lines.of(('site',))}: site: "
                f"site {plant.path!r} stands in more than one place, in {found[plant.path]} too"
            )
        found[plant.path] = path
        for each in _ids(plant):
            if ids.setdefault(each, path) != path:
                raise PlantError(f"{path}: the id {each!r} stands in {ids[each]} too")
    return list(plants.values())


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PlantError(f"{path}: {error.strerror or error}") from error


def _text_of(path: Path, data: bytes) -> str:
    """The text of a file, with `${NAME:-default}` filled from the environment.

    Raises:
        PlantError: it is no UTF-8, a name without default is not set, or a comment may have cut an
            address.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PlantError(f"{path}:{line}: this is not UTF-8; save the file as UTF-8") from error
    lines = text.split("\n")
    for place, written in enumerate(lines):
        if " #" in written and (cut := _CUT.match(written)):
            raise PlantError(
                f"{path}:{place + 1}: address: ` #` begins a comment, so that {cut[1]!r} is all of "
                "it; put the address in quotes, or a space behind the `#`"
            )
        comment = re.search(r"(^|\s)#", written)
        for name in _VARIABLE.finditer(written, 0, comment.start() if comment else len(written)):
            if name[2] is None and not os.environ.get(name[1]):
                raise PlantError(
                    f"{path}:{place + 1}: ${{{name[1]}}} is not set in the environment; set it, "
                    f"or give a default: ${{{name[1]}:-...}}"
                )
        lines[place] = _VARIABLE.sub(lambda m: os.environ.get(m[1]) or m[2] or "", written)
    return "\n".join(lines)


def _ids(plant: Plant) -> Iterator[str]:
    """All ids of a plant's own; an enterprise may have several sites."""
    yield from (asset.id for asset in plant.assets() if asset.level != "enterprise")
    yield from (signal.id for unit in plant.units() for signal in unit.signals())


def _check_calendars(path: Path, lines: Lines, plant: Plant) -> None:
    for a, area in enumerate(plant.areas):
        for n, line in enumerate(area.lines):
            own = ("areas", a, "lines", n, "calendar") if line.calendar else ("calendar",)
            try:
                check_calendar(line.calendar or plant.calendar)
            except CalendarError as error:
                where = f"{path}:{lines.of(own)}: {'.'.join(map(str, own))}"
                raise PlantError(f"{where}: {error}") from error


def _sentence(problem: ErrorDetails) -> str:
    """What is wrong, with what was written where pydantic does not say it."""
    said, given = problem["msg"].removeprefix("Value error, "), problem.get("input")
    if given is None and not problem["loc"]:
        return "the file is empty; the README shows one to start from"
    if given is None and problem["type"] != "missing":
        return "nothing stands here; give a value, or leave the field out"
    match problem["type"]:
        case "extra_forbidden":
            if str(problem["loc"][-1]).isdigit():  # {ideal_cycle_s: 5,5}: YAML ends the value at 5
                return "there is no such field; a decimal comma? write a point, say 5.5"
            # The part that the field stands in is not known here: all names are candidates, but
            # not its own, which is a field of another part.
            name = str(problem["loc"][-1])
            others = (each for each in _FIELDS if each != name)
            return f"there is no such field{suggest(name, others)}"
        case "float_parsing" | "int_parsing" | "bool_parsing" | "finite_number":
            comma = isinstance(given, str) and re.fullmatch(r"[+-]?\d+,\d+", given)
            hint = f"; write {str(given).replace(',', '.')}" if comma else ""
            return f"{said}: {str(given)!r}{hint}"
        case "enum" | "literal_error":
            known = re.findall(r"'([^']*)'", str(problem.get("ctx", {}).get("expected", "")))
            near = suggest(str(given), known)
            listed = ", ".join(map(repr, known))
            return f"{str(given)[:80]!r} is none of {listed}{near}" if known else said
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"fields are wanted here, as `name: value`, and {str(given)[:80]!r} stands here"
        case "tuple_type" | "list_type":
            return (
                "a list is wanted here, each of it with `- ` in front, and "
                f"{str(given)[:80]!r} stands here"
            )
        case "string_pattern_mismatch":
            return (
                f"{str(given)!r} is no name; letters, digits, `_`, `.` and `-` make one, the first "
                "a letter or a digit"
            )
        case _:
            return said


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
