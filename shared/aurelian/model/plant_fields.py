"""The fields of a plant file by the part that they stand in, and what is said of them. Called by
`plant_file.py`, which proposes names, and `plant_schema.py`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, get_args

from aurelian.model.plant import Plant
from aurelian.model.plant_base import PlantPart
from aurelian.model.written import suggest

_ATTRIBUTES = re.compile(r"\n\s*Attributes:\n(.*)", re.DOTALL)
_NAMES = re.compile(r"^([a-z_0-9]+(?:, [a-z_0-9]+)*): (.*)", re.DOTALL)

_SAID = {
    "Plant.company": "who owns the site's data.",
    "Plant.site": "the site's name in all paths: company/site/area/line/unit/signal.",
    "Plant.time_zone": "IANA time zone of shifts and days, say Europe/Oslo.",
    "Plant.sources": "connections to machines.",
    "Plant.calendar": "when lines are planned to run; a line may have its own.",
    "Plant.areas": "areas with their lines.",
    "Plant.stop_reasons": "codes that machines or operators give for a stop.",
    "Company.id": "first part of all paths.",
    "SourceModel.id": "name of the connection; units say it as their `source`.",
    "SourceModel.password_file": "file with the password of `user`; nothing else is in it.",
    "SourceModel.password_env": "environment variable with the password of `user`.",
    "RawField.type": "how the number is written.",
    "CalendarModel.shifts": "when work is planned.",
    "CalendarModel.holidays": "days without shifts, say 2026-12-24.",
    "Shift.start": "time of day, 06:00.",
    "Shift.end": "time of day; at or before the start: of the next day. 24:00 is midnight.",
    "Shift.days": "days on which it begins.",
    "Shift.breaks": "breaks in it.",
    "Break.start": "time of day, 10:00.",
    "Break.minutes": "how long.",
    "AreaModel.lines": "its lines.",
    "LineModel.units": "its machines in the order of the flow.",
    "UnitModel.signals": "what is known of the machine.",
    "UnitModel.simulate": "for the simulated plant only.",
    "SignalModel.role": "what it is to the platform: a line's figures need state and good_count.",
    "SignalModel.limits": "alarms.",
    "AlarmLimits.low": "alarm below it.",
    "AlarmLimits.high": "alarm above it.",
    "AlarmLimits.deadband": "so far back from the limit the alarm ends.",
    "AlarmLimits.delay_s": "so long it must be beyond the limit.",
    "AlarmLimits.priority": "of the alarm.",
    "AlarmLimits.action": "what the operator shall do.",
    "Product.id": "name of the product.",
    "Product.ideal_cycle_s": "planned seconds a piece, at best.",
    "Product.unit": "what is counted.",
    "StopReason.code": "number that the machine or the operator gives.",
    "StopReason.loss": "the loss that it counts to.",
    "id": "an id of its own, so that a new name keeps the history.",
    "name": "its name.",
    "title": "what people see in place of the name.",
}
"""Of fields whose docstring leaves them to their name."""


def name_meant(place: Sequence[int | str]) -> str:
    """What to say of a field that nobody knows: the nearest of those of its part, or all."""
    part = part_at(place[:-1])
    if part is None:
        return ""
    word, known = str(place[-1]), list(part.model_fields)
    swapped = [each for each in known if sorted(each) == sorted(word)]
    return suggest(word, swapped or known) or f"; there are {', '.join(known)}"


def part_at(place: Sequence[int | str]) -> type[PlantPart] | None:
    """The part that stands at a place of a plant file; None: no part does."""
    part: type[PlantPart] | None = Plant
    for name in place:
        if isinstance(name, int):
            continue
        if part is None or name not in part.model_fields:
            return None
        part = next(parts_of(part.model_fields[name].annotation), None)
    return part


def parts_of(annotation: Any) -> Iterator[type[PlantPart]]:
    """The parts that a field's annotation names."""
    if isinstance(annotation, type) and issubclass(annotation, PlantPart):
        yield annotation
    for each in get_args(annotation):
        yield from parts_of(each)


def summary(part: type[PlantPart]) -> str:
    """What a part is, as its docstring says."""
    text = _ATTRIBUTES.sub("", inspect.getdoc(part) or "")
    return " ".join(text.split())


@cache
def descriptions(part: type[PlantPart]) -> dict[str, str]:
    """What is said of its fields, those of its bases included."""
    found: dict[str, str] = {}
    for name in part.model_fields:
        if said := _SAID.get(f"{part.__name__}.{name}") or _SAID.get(name):
            found[name] = said
    for each in reversed(part.__mro__):
        text = inspect.getdoc(each) if issubclass(each, PlantPart) else None
        listed = _ATTRIBUTES.search(text or "")
        if listed is None:
            continue
        for entry in re.split(r"\n(?=    \S)", "\n" + listed[1]):
            names = _NAMES.match(" ".join(entry.split()))
            if names is not None:
                found |= dict.fromkeys(names[1].split(", "), names[2])
    return found
