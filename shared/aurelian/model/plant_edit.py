"""Changes of a plant file as a person would make them: text in, text out, and nothing else of the
file is touched. Pure; called by `aurelian connect` and by the gateways.

Each function gives a text that `load_plant` takes and that says the wanted and nothing else, or
raises: what was written meanwhile is `runtime/safe_file.py`'s to find out. Units are named by
their path below the site, `hall/line-1/press`, signals by one part more. Placeholders,
`${NAME:-default}`, stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from aurelian.model.plant import Plant
from aurelian.model.plant_file import (
    VARIABLE,
    PlantError,
    Problem,
    read_plant,
    variable_value,
)
from aurelian.model.plant_new import PART, Fields, unit_fields, written
from aurelian.model.written import suggest
from aurelian.model.yaml_edit import Document, EditError, Flow, Place
from aurelian.model.yaml_parts import UnclearError
from aurelian.model.yaml_scalars import Variable
from aurelian.model.yaml_text import YAMLError, describe_error

__all__ = [
    "Variable",
    "add_signals",
    "add_source",
    "add_unit",
    "add_units",
    "remove_source",
    "set_signal",
    "set_source",
    "set_unit",
]

_BOM = "\ufeff"


def add_source(text: str, fields: Fields, name: str = "plant.yaml") -> str:
    """Add a source; `name`: of the file, for problems.

    Raises:
        PlantError: the outcome would be no valid plant; with line, field and fix. So do all others.
    """
    edit = _Edit(text, name)
    edit.append(("sources",), [written(fields)])
    return edit.done()


def set_source(text: str, source: str, fields: Fields, name: str = "plant.yaml") -> str:
    """Set fields of a source; None takes one out."""
    edit = _Edit(text, name)
    edit.set(edit.source(source), fields)
    return edit.done()


def add_unit(
    text: str,
    area: str,
    line: str,
    fields: Fields,
    *,
    product: Fields = PART,
    name: str = "plant.yaml",
) -> str:
    """Add a unit at the end of a line's flow, with the `signals` that it has; area and line are
    made where they are missing, a line with the `product` that it makes."""
    return add_units(text, area, line, [fields], product=product, name=name)


def add_units(
    text: str,
    area: str,
    line: str,
    fields: Sequence[Fields],
    *,
    product: Fields = PART,
    name: str = "plant.yaml",
) -> str:
    """As `add_unit`, for several units of one line."""
    edit = _Edit(text, name)
    units = [unit_fields(each) for each in fields]
    new_line = {"name": line, "products": Flow([product]), "units": units}
    number = edit.find(("areas",), area)
    if number is None:
        edit.append(("areas",), [{"name": area, "lines": [new_line]}])
        return edit.done()
    lines: Place = ("areas", number, "lines")
    found = edit.find(lines, line)
    if found is None:
        edit.append(lines, [new_line])
    else:
        edit.append((*lines, found, "units"), units)
    return edit.done()


def add_signals(text: str, unit: str, signals: Sequence[Fields], name: str = "plant.yaml") -> str:
    """Add signals at the end of a unit's."""
    edit = _Edit(text, name)
    edit.append((*edit.unit(unit), "signals"), [Flow(dict(each)) for each in signals])
    return edit.done()


def set_unit(text: str, unit: str, fields: Fields, name: str = "plant.yaml") -> str:
    """Set fields of a unit; None takes one out."""
    edit = _Edit(text, name)
    edit.set(edit.unit(unit), fields)
    return edit.done()


def set_signal(text: str, signal: str, fields: Fields, name: str = "plant.yaml") -> str:
    """Set fields of a signal (role, states, unit, scale and more); None takes one out."""
    edit = _Edit(text, name)
    edit.set(edit.signal(signal), fields)
    return edit.done()


def remove_source(text: str, source: str, name: str = "plant.yaml") -> str:
    """Take out a source with its units, and the lines and areas that have no others."""
    edit = _Edit(text, name)
    edit.remove_source(source)
    return edit.done()


class _Edit:
    """A file's text with what it says, and what it is to say."""

    def __init__(self, text: str, name: str) -> None:
        self._name = name
        self._mark = _BOM if text.startswith(_BOM) else ""
        self._text = text.removeprefix(_BOM)
        # Filled once for what it says, and with as many other characters for where it says it.
        self._before = read_plant(self._text.encode(), name)
        self._wanted = _copy(self._before.content)
        self._document = self._read()

    def _read(self) -> Document:
        masked = VARIABLE.sub(_masked, self._text)
        try:
            return Document(self._text, masked)
        except UnclearError as error:
            raise self._error(error.line, str(error)) from error
        except YAMLError as error:
            line, reason = describe_error(error)
            said = f"a placeholder is more than a value here ({reason}): change it by hand"
            raise self._error(line, said) from error

    def done(self) -> str:
        """The new text."""
        try:
            text = self._document.text
        except EditError as error:
            raise self._error(error.line, str(error)) from error
        after = read_plant(text.encode(), self._name)
        try:
            wanted = Plant.model_validate(_filled(self._wanted))
        except ValidationError:
            wanted = None
        if after.plant != wanted:
            line = _first_difference(self._text, text)
            raise self._error(
                line,
                "the change would also alter what shares this by an anchor: write it out first",
            )
        return self._mark + text

    def source(self, source: str) -> Place:
        """Where a source stands."""
        number = self.find(("sources",), source, "id")
        if number is None:
            ids = [each.id for each in self._before.plant.sources]
            raise self._missing(("sources",), "source", source, ids)
        return ("sources", number)

    def unit(self, path: str) -> Place:
        """Where a unit stands."""
        return self._descend(path, ("areas", "lines", "units"))

    def signal(self, path: str) -> Place:
        """Where a signal stands."""
        return self._descend(path, ("areas", "lines", "units", "signals"))

    def find(self, place: Place, name: str, field: str = "name") -> int | None:
        """The number of the item of that name."""
        items = _at(self._wanted, place)
        if not isinstance(items, list):
            return None
        return next(
            (n for n, each in enumerate(items) if isinstance(each, dict) and each[field] == name),
            None,
        )

    def set(self, place: Place, fields: Fields) -> None:
        """Set fields; of a mapping in a mapping only what differs. None takes one out."""
        current = _at(self._wanted, place)
        assert isinstance(current, dict)
        gone = {name for name, value in fields.items() if value is None and name in current}
        changed: dict[str, object] = {}
        for name, value in fields.items():
            if value is None or (name in current and _same(current[name], value)):
                continue
            inner = current.get(name)
            if isinstance(value, Mapping) and isinstance(inner, dict) and inner and value:
                left = dict.fromkeys(name for name in inner if name not in value)
                if set(map(str, inner)) - set(left):
                    self.set((*place, name), {**value, **left})
                    continue
            changed[name] = value
        try:
            if gone:
                self._document.remove_fields(place, gone)
            if changed:
                self._document.set_fields(place, changed)
        except EditError as error:
            raise self._error(error.line, str(error)) from error
        for name in gone:
            del current[name]
        current.update(changed)

    def append(self, place: Place, items: Sequence[object]) -> None:
        """Put items behind those of a list, which is made where it is missing."""
        *of, name = place
        mapping = _at(self._wanted, tuple(of))
        assert isinstance(mapping, dict)
        try:
            if isinstance(mapping.get(name), list):
                self._document.append(place, items)
            else:
                self._document.set_fields(tuple(of), {str(name): list(items)})
        except EditError as error:
            raise self._error(error.line, str(error)) from error
        mapping[name] = [*(mapping.get(name) or ()), *items]

    def remove_source(self, source: str) -> None:
        """Take out a source with its units."""
        at = self.source(source)
        plant = self._before.plant
        if len(plant.sources) == 1:
            raise self._error(
                self._before.lines.of(at),
                f"sources: {source!r} is the only source, and a plant has one at least: add "
                "another first, or delete the file",
            )
        gone: dict[Place, list[int]] = {("sources",): [int(at[1])]}
        empty_areas = []
        for a, area in enumerate(plant.areas):
            empty = []
            for n, line in enumerate(area.lines):
                units = [u for u, unit in enumerate(line.units) if unit.source == source]
                place: Place = ("areas", a, "lines", n)
                if len(units) == len(line.units):
                    empty.append(n)
                elif units:
                    gone[(*place, "units")] = units
                    names = {line.units[u].name for u in units}
                    lost = [e for e in ("output", "constraint") if getattr(line, e) in names]
                    self.set(place, dict.fromkeys(lost))
            if empty and len(empty) == len(area.lines):
                empty_areas.append(a)
            elif empty:
                gone[("areas", a, "lines")] = empty
        if empty_areas and len(empty_areas) == len(plant.areas):
            kept = empty_areas.pop(0)  # a plant has an area at least
            gone[("areas", kept, "lines")] = list(range(len(plant.areas[kept].lines)))
        if empty_areas:
            gone[("areas",)] = empty_areas
        self._remove(gone)

    def _remove(self, gone: Mapping[Place, Sequence[int]]) -> None:
        # The deepest first: the numbers of what is further out stay true.
        for place, numbers in sorted(gone.items(), key=lambda each: -len(each[0])):
            try:
                self._document.remove_items(place, numbers)
            except EditError as error:
                raise self._error(error.line, str(error)) from error
            items = _at(self._wanted, place)
            assert isinstance(items, list)
            items[:] = [each for n, each in enumerate(items) if n not in numbers]

    def _descend(self, path: str, levels: Sequence[str]) -> Place:
        parts = path.removeprefix(f"{self._before.plant.path}/").split("/")
        if len(parts) != len(levels):
            form = "/".join(("AREA", "LINE", "UNIT", "SIGNAL")[: len(levels)])
            raise self._error(None, f"{path!r} is none of its paths; say {form}")
        place: Place = ()
        for level, part in zip(levels, parts, strict=True):
            place = (*place, level)
            number = self.find(place, part)
            if number is None:
                items = _at(self._wanted, place)
                names = [each["name"] for each in items] if isinstance(items, list) else []
                raise self._missing(place, level.removesuffix("s"), part, names)
            place = (*place, number)
        return place

    def _missing(self, place: Place, kind: str, name: str, known: Sequence[str]) -> PlantError:
        near = (
            suggest(name, map(str, known)) or f"; there are {', '.join(map(str, known)) or 'none'}"
        )
        said = f"there is no {kind} {name!r}{near}"
        return self._error(self._before.lines.of(place), said, ".".join(map(str, place)))

    def _error(self, line: int | None, said: str, field: str = "") -> PlantError:
        problem = Problem(self._name, line, field, said)
        return PlantError(str(problem), [problem])


def _copy(content: object) -> object:
    """A copy that shares nothing, nor its parts among each other as aliases make them."""
    if isinstance(content, dict):
        return {name: _copy(each) for name, each in content.items()}
    return [_copy(each) for each in content] if isinstance(content, list) else content


def _at(content: object, place: Place) -> object:
    for part in place:
        if isinstance(content, dict):
            content = content.get(part)
        elif isinstance(content, list) and isinstance(part, int):
            content = content[part]
        else:
            return None
    return content


def _same(current: object, value: object) -> bool:
    """Whether a file says the value already."""
    if isinstance(current, dict) and isinstance(value, Mapping):
        return {str(k) for k in current} == {str(k) for k in value} and all(
            _same(each, {str(k): v for k, v in value.items()}[str(name)])
            for name, each in current.items()
        )
    if isinstance(current, list) and isinstance(value, list | tuple):
        return len(current) == len(value) and all(map(_same, current, value))
    if isinstance(value, Variable):
        return False
    known = getattr(current, "value", current)
    if isinstance(value, str):
        return isinstance(current, str) and str(current) == value
    return isinstance(known, bool) is isinstance(value, bool) and known == value


def _filled(value: object) -> object:
    """What a new value says once the file is read."""
    match value:
        case Flow():
            return _filled(value.value)
        case Variable():
            found = VARIABLE.fullmatch(str(value))
            return variable_value(found) if found else str(value)
        case Mapping():
            return {name: _filled(each) for name, each in value.items()}
        case list() | tuple():
            return [_filled(each) for each in value]
        case _:
            return value


def _masked(found: re.Match[str]) -> str:
    return ("x" if variable_value(found) else " ") * len(found[0])


def _first_difference(before: str, after: str) -> int:
    """The line (from 1) where two texts begin to differ."""
    old, new = before.split("\n"), after.split("\n")
    same = next((n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), len(old))
    return same + 1
