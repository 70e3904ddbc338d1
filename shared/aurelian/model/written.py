"""What a person wrote in a plant file, read as its field needs it. Pure; used by `plant_parts.py`.

YAML guesses a type from the look of a plain word: 22:00, 2026-12-24, 1.10, 007 and `no` may become
minutes, a date, a number, a truth value. Here the field decides: a text takes the word as it
stands, a number only what YAML calls a number.
"""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterable
from datetime import date, time
from enum import Enum
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator

_TIME = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d))?")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")

T = TypeVar("T")


class Written(str):
    """A plain scalar (no quotes) as it stands in the file.

    Attributes:
        value: what YAML makes of it.
    """

    __slots__ = ("value",)  # a plant file has some for each of its thousands of signals
    value: object

    def __new__(cls, text: str, value: object) -> Written:
        """Make one of its text and its value."""
        made = super().__new__(cls, text)
        made.value = value
        return made


def read_written(given: object, annotation: Any) -> object:
    """Return `given` with each `Written` in it as the text, the number or the truth value that a
    field of this annotation takes. Parts of a plant are left for their own fields to read."""
    annotation, optional = _unwrap(annotation)
    options = get_args(annotation) if _is_union(annotation) else (annotation,)
    if isinstance(given, Written):
        return _scalar(given, options, optional)
    if isinstance(given, list):
        return [read_written(each, _item(options, place)) for place, each in enumerate(given)]
    if isinstance(given, dict) and not any(_is_part(each) for each in options):
        key, value = _key_and_value(options)
        return {read_written(k, key): read_written(v, value) for k, v in given.items()}
    return given


def suggest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'unit'?` where one of `known` is near, else nothing."""
    near = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _wall_time(given: object) -> object:
    if isinstance(given, time):
        return given
    found = _TIME.fullmatch(given) if isinstance(given, str) else None
    if found is None or found[3] not in (None, "00"):
        raise ValueError(f"{given!r} is no time of day; say 06:30 or 22:00, hours and minutes")
    hours, minutes = int(found[1]), int(found[2])
    if hours > 23 or minutes > 59:
        raise ValueError(f"{given!r} is no time of day: it ends at 23:59; midnight is 00:00")
    return time(hours, minutes)


def _end_time(given: object) -> object:
    return "00:00" if given in ("24:00", "24:00:00") else given


def _calendar_date(given: object) -> object:
    if isinstance(given, date):
        return given
    if not isinstance(given, str) or _DATE.fullmatch(given) is None:
        raise ValueError(f"{given!r} is no date; write year-month-day, say 2026-12-24")
    return date.fromisoformat(given)


WallTime = Annotated[time, BeforeValidator(_wall_time)]
"""A time of day on the wall clock, hours and minutes, `6:30` or `22:00`."""

EndTime = Annotated[WallTime, BeforeValidator(_end_time)]
"""The same, and `24:00` for the midnight that ends a day."""

CalendarDate = Annotated[date, BeforeValidator(_calendar_date)]
"""A day, `2026-12-24`."""


def _scalar(given: Written, options: Iterable[Any], optional: bool) -> object:
    text, value = str(given), given.value
    if value is None and (optional or text in ("", "~")):
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if float in options or int in options:
        return value if number else text
    if bool in options:
        return value if isinstance(value, bool) else text
    return text if any(map(_is_text, options)) else value


def _is_text(option: Any) -> bool:
    return get_origin(option) is Literal or (
        isinstance(option, type) and issubclass(option, str | Enum | date | time)
    )


def _item(options: Iterable[Any], place: int) -> Any:
    for option in options:
        if get_origin(option) in (tuple, list):
            items = [each for each in get_args(option) if each is not Ellipsis]
            return items[min(place, len(items) - 1)]
    return Any


def _key_and_value(options: Iterable[Any]) -> tuple[Any, Any]:
    options = tuple(options)
    for option in options:
        if get_origin(option) is dict:
            key, value = get_args(option)
            # A name beside a table: the table's keys are values of a machine, numbers included.
            return (key if len(options) == 1 else Any), value
    return Any, Any


def _is_part(option: Any) -> bool:
    return isinstance(option, type) and issubclass(option, BaseModel)


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


def _unwrap(annotation: Any) -> tuple[Any, bool]:
    """The annotation without its validators and without None; whether None was in it."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if not _is_union(annotation):
        return annotation, False
    flat: list[Any] = []
    optional = False
    for each in get_args(annotation):
        if each is type(None):
            optional = True
            continue
        inner, also = _unwrap(each)
        optional |= also
        flat += get_args(inner) if _is_union(inner) else [inner]
    return (flat[0] if len(flat) == 1 else Union[tuple(flat)]), optional  # noqa: UP007
