"""Read plant models from YAML files; a mistake is answered with file, line and field. Called by
gateways, launcher, CLI."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from aurelian.model.calendar import CalendarError, check_calendar
from aurelian.model.plant import Line, Plant, derive_id
from aurelian.model.plant_fields import name_meant
from aurelian.model.written import suggest
from aurelian.model.yaml_text import Lines, YAMLError, describe_error, read_yaml

VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
_OWN_KEYS = tuple(Plant.model_fields)
_CUT = re.compile(r"\s*(?:- )?\s*address:\s+([^\s\"'#{\[|>&*!].*?)\s+#[^\s#]")
"""An address as a line of its own that ends at a `#` which may be part of it: `s=Motor #1`."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a plant file.

    Attributes:
        file: its path.
        line: from 1; None where it is the whole file.
        field: where in the model, say `sources.0.url`; empty: it is no field's.
        said: what is wrong and what to do.
    """

    file: str
    line: int | None
    field: str
    said: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return ": ".join(each for each in (where, self.field, self.said) if each)


class PlantError(ValueError):
    """A plant-model file is unusable; the text names file, line, field and what to do.

    Attributes:
        problems: each of them; empty where a gateway cannot use what the file says.
    """

    def __init__(self, said: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(said)
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Read:
    """A file that was read: its plant, what YAML made of it, and the lines of that."""

    plant: Plant
    content: object
    lines: Lines


def load_plant(path: Path) -> Plant:
    """Read and validate one plant-model file.

    Raises:
        PlantError: unreadable, no YAML, or not a valid plant; each problem with its line and field.
    """
    return parse_plant(path, _bytes_of(path))


def parse_plant(path: Path, data: bytes) -> Plant:
    """Validate the bytes of a plant-model file; `path` is where they are said to stand.

    Raises:
        PlantError: as `load_plant`.
    """
    return read_plant(data, str(path)).plant


def read_plant(data: bytes, name: str) -> Read:
    """Read and validate the content of a plant-model file; `name`: what problems call it.

    Raises:
        PlantError: as `load_plant`.
    """
    _check_name(name)
    try:
        lines, content = read_yaml(_text(data, name))
    except YAMLError as error:
        raise _error(name, *describe_error(error)) from error
    if isinstance(content, dict) and content and not set(map(str, content)) & set(_OWN_KEYS):
        said = f"this is no plant file: it has none of {', '.join(_OWN_KEYS)}"
        raise _error(name, None, said)
    try:
        plant = Plant.model_validate(content)
    except ValidationError as error:
        problems = [
            Problem(name, lines.of(place), ".".join(map(str, place)) or "plant", said)
            for problem in _root_problems(error)
            for place, said in _said(problem)
        ]
        raise _all(problems) from error
    if problems := list(_wrong_calendars(name, lines, plant)):
        raise _all(problems)
    return Read(plant, content, lines)


def load_plants(folder: Path) -> list[Plant]:
    """Read all `*.yaml` and `*.yml` files of a folder, sorted by name; or the one file named.

    Raises:
        PlantError: no file there, one is unusable, or two name the same site or id; with every
            problem of all files.
    """
    return read_plants({str(path): data for path, data in read_files(folder).items()})


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
    except OSError as error:  # the folder cannot be looked into
        raise _error(str(folder), None, error.strerror or str(error)) from error
    if not files:
        said = "no plant-model file (*.yaml); the README shows one to start from"
        raise _error(str(folder), None, said)
    return files


def read_plants(files: Mapping[str, bytes]) -> list[Plant]:
    """Read the content of all files of an installation, by their names.

    Raises:
        PlantError: as `load_plants`.
    """
    found: dict[str, Read] = {}
    problems: list[Problem] = []
    for name, data in files.items():
        try:
            found[name] = read_plant(data, name)
        except PlantError as error:
            problems += error.problems
    plants = {name: each.plant for name, each in found.items()}
    problems += _across(plants, lambda name: found[name].lines)
    if problems:
        raise _all(problems)
    return list(plants.values())


def join_plants(files: Mapping[Path, bytes], plants: Mapping[Path, Plant]) -> list[Plant]:
    """The plants of several files, checked against each other; `files`: what they were read of.

    Raises:
        PlantError: two name the same site or id.
    """
    data = {str(path): each for path, each in files.items()}
    named = {str(path): each for path, each in plants.items()}
    if problems := list(_across(named, lambda name: read_plant(data[name], name).lines)):
        raise _all(problems)
    return list(plants.values())


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _error(str(path), None, error.strerror or str(error)) from error


def _across(plants: Mapping[str, Plant], lines: Callable[[str], Lines]) -> Iterator[Problem]:
    """What stands in two files and may stand in one; `lines`: of a file."""
    sites: dict[str, str] = {}
    ids: dict[str, str] = {}
    for name, plant in plants.items():
        path = plant.path
        if path in sites:
            said = f"site {path!r} stands in more than one place, in {sites[path]} too"
            yield Problem(name, lines(name).of(("site",)), "site", said)
            continue  # each of its ids would stand twice as well
        sites[path] = name
        for place, each in _ids(plant):
            if ids.setdefault(each, name) != name:
                said = f"the id {each!r} stands in {ids[each]} too; an id stands once"
                yield Problem(name, lines(name).of(place), ".".join(map(str, place)), said)


def fill_variables(text: str, name: str) -> str:
    """The text of a file with `${NAME:-default}` filled from the environment.

    Raises:
        PlantError: a name without default is not set, or a comment may have cut an address.
    """
    lines = text.split("\n")
    problems = []
    for place, written in enumerate(lines):
        if " #" in written and (cut := _CUT.match(written)):
            said = (
                f"` #` begins a comment, so that {cut[1]!r} is all of it; put the address in "
                "quotes, or a space behind the `#`"
            )
            problems.append(Problem(name, place + 1, "address", said))
        if "${" not in written:
            continue
        comment = re.search(r"(^|\s)#", written)
        for each in VARIABLE.finditer(written, 0, comment.start() if comment else len(written)):
            if each[2] is None and not os.environ.get(each[1]):
                said = (
                    f"${{{each[1]}}} is not set in the environment; set it, or give a default: "
                    f"${{{each[1]}:-...}}"
                )
                problems.append(Problem(name, place + 1, "", said))
        lines[place] = VARIABLE.sub(variable_value, written)
    if problems:
        raise _all(problems)
    return "\n".join(lines)


def variable_value(found: re.Match[str]) -> str:
    """What stands in place of a match of `VARIABLE`."""
    return os.environ.get(found[1]) or found[2] or ""


def decode_text(data: bytes, name: str) -> str:
    """The text of a file, a byte order mark included.

    Raises:
        PlantError: it is no UTF-8.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _error(name, line, "this is not UTF-8; save the file as UTF-8") from error


def _check_name(name: str) -> None:
    """Refuse a file whose name is in no message, page or copy on the disk."""
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = name.encode(errors="surrogateescape").decode(errors="replace")
        raise _error(shown, None, "the name of this file is not UTF-8; rename it") from None


def _text(data: bytes, name: str) -> str:
    return fill_variables(decode_text(data, name).removeprefix("\ufeff"), name)


def _error(name: str, line: int | None, said: str) -> PlantError:
    return _all([Problem(name, line, "", said)])


def _all(problems: Sequence[Problem]) -> PlantError:
    said = dict.fromkeys(problems)
    return PlantError("\n".join(map(str, said)), list(said))


def _ids(plant: Plant) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """All ids of a plant's own, with their places; an enterprise may have several sites."""
    yield ("site",), derive_id(plant.path)
    for a, area in enumerate(plant.areas):
        at: tuple[str | int, ...] = ("areas", a)
        yield (*at, "id"), area.id or derive_id(f"{plant.path}/{area.name}")
        for n, model in enumerate(area.lines):
            line = Line(plant, area, model)
            yield (*at, "lines", n, "id"), line.id
            for u, unit in enumerate(line.units):
                of_unit = (*at, "lines", n, "units", u)
                yield (*of_unit, "id"), unit.id
                for s, signal in enumerate(unit.signals()):
                    yield (*of_unit, "signals", s, "id"), signal.id


def _wrong_calendars(name: str, lines: Lines, plant: Plant) -> Iterator[Problem]:
    for a, area in enumerate(plant.areas):
        for n, line in enumerate(area.lines):
            own = ("areas", a, "lines", n, "calendar") if line.calendar else ("calendar",)
            try:
                check_calendar(line.calendar or plant.calendar)
            except CalendarError as error:
                yield Problem(name, lines.of(own), ".".join(map(str, own)), str(error))


def _said(problem: ErrorDetails) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Places and sentences of a problem, which may be several in one."""
    context = problem.get("ctx", {})
    yield context.get("at", problem["loc"]), _sentence(problem)
    for each in context.get("more", ()):
        yield each["at"], each["said"]


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
            return f"there is no such field{name_meant(problem['loc'])}"
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
