"""What columns are by title and content: time, tag, value, quality. Pure; called by plan.py."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from importer.cell_words import is_classic, quality_reader
from importer.matching import NoMatch, Target, find_title, plain, unit_in
from importer.time_formats import has_clock, looks_like_clock, looks_like_time

_TIMES = (
    "time",
    "timestamp",
    "datetime",
    "zeitstempel",
    "zeitpunkt",
    "tidspunkt",
    "tidsstempel",
    "sourcetimestamp",
    "tstamp",
    "datumzeit",
    "datumuhrzeit",
    "dateandtime",
    "localtime",
    "utctime",
    "timeutc",
    "timestamputc",
    "datetimeutc",
    "servertimestamp",
    "recordedat",
    "ts",
    "epoch",
    "unixtime",
    "timems",
    "tms",
    "zeit",
    "tid",
    "date",
    "datum",
    "dato",
    "day",
)
"""In the order in which they are believed, compared as `matching.plain` writes them."""

_CLOCKS = frozenset({"time", "zeit", "uhrzeit", "tid", "klokkeslett", "hour", "timeofday"})
_TAGS = (
    "tag",
    "tagname",
    "tagpath",
    "field",
    "signal",
    "signalname",
    "point",
    "pointname",
    "pointid",
    "item",
    "itemid",
    "itemname",
    "name",
    "variable",
    "varname",
    "metric",
    "sensor",
    "sensorid",
    "channel",
    "path",
    "parameter",
    "measurement",
    "nodeid",
)
_VALUES = ("value", "val", "wert", "verdi", "valeur", "reading", "numericvalue", "vvalue")
_QUALITY = re.compile(
    r"^(?:(?P<before>.+?)[\s._:-]*)?(?:opc\s?quality|quality|qualität|kvalitet|status\s?code|status|"
    r"is\s?good)$",
    re.IGNORECASE,
)
_SHORT_QUALITY = re.compile(r"^(?:(?P<before>.+?)[\s._:-]+)?(?:qual|qc|q)$", re.IGNORECASE)
_QUALITY_OF = re.compile(r"^(?:quality|status)\s*(?:of\s+|\()(?P<before>.*?)\)?$", re.IGNORECASE)


class Sampled(Protocol):
    """A table with first cells: `CsvFile`, `ParquetFile`."""

    titles: tuple[str, ...]

    @property
    def types(self) -> Sequence[str]:
        """`text`, `number`, `bool` or `time` of each column."""

    def column(self, index: int) -> list[str]:
        """First cells of a column."""


class LongOptions(Protocol):
    """The options that name the columns of a long table."""

    @property
    def tag_column(self) -> str: ...
    @property
    def value_column(self) -> str: ...
    @property
    def quality_column(self) -> str: ...


def is_time_title(title: str) -> bool:
    """Whether a title is one of a time."""
    return plain(title) in _TIMES


def time_columns(table: Sampled, named: Sequence[str], skipped: Iterable[int]) -> tuple[int, ...]:
    """The column of the time, or those of date and time of day.

    Raises:
        NoMatch: there is none, or several that are alike.
    """
    if named:
        return tuple(find_title(table.titles, name, "--time-column") for name in named)
    left = [n for n in range(len(table.titles)) if n not in set(skipped)]
    likely = [n for n in left if table.types[n] == "time" or looks_like_time(_texts(table, n))]
    by_title = {plain(table.titles[n]): n for n in reversed(left)}
    best = next((by_title[name] for name in _TIMES if by_title.get(name) in likely), None)
    if best is None:
        unnamed = [n for n in likely if not table.titles[n]]
        best = next(iter(unnamed or likely), None)
    if best is None:
        best = next((by_title[name] for name in _TIMES if name in by_title), None)
        if best is not None and not _is_number(table, best):
            best = best if len(by_title) > 1 else None
    if best is None:
        shown = ", ".join(title or "(no title)" for title in table.titles[:12])
        raise NoMatch(f"no column has times; say --time-column with one of {shown}")
    if table.types[best] == "text" and best in likely and not has_clock(_texts(table, best)):
        clocks = [n for n in left if n != best and looks_like_clock(_texts(table, n))]
        named_so = [n for n in clocks if plain(table.titles[n]) in _CLOCKS]
        if named_so or len(clocks) == 1:
            return best, (named_so or clocks)[0]
    return (best,)


def long_columns(
    table: Sampled, options: LongOptions, times: Sequence[int]
) -> tuple[int, int] | None:
    """Tag and value column of a long table; None: it is a wide one.

    Raises:
        NoMatch: an option names no column.
    """
    left = {plain(t): n for n, t in reversed(list(enumerate(table.titles))) if n not in times}
    tag = next(
        (left[name] for name in _TAGS if name in left and table.types[left[name]] == "text"), None
    )
    value = next((left[name] for name in _VALUES if name in left), None)
    if options.tag_column:
        tag = find_title(table.titles, options.tag_column, "--tag-column")
    if options.value_column:
        value = find_title(table.titles, options.value_column, "--value-column")
    if options.tag_column and value is None:
        raise NoMatch("--tag-column: say --value-column too, the file has no column `value`")
    return None if tag is None or value is None else (tag, value)


def quality_of_all(table: Sampled, columns: Iterable[int], options: LongOptions) -> int | None:
    """The one column that has the quality of all values of its line; None: there is none."""
    if options.quality_column:
        return find_title(table.titles, options.quality_column, "--quality-column")
    for n in columns:
        title = table.titles[n].strip()
        found = _QUALITY.match(title) or _SHORT_QUALITY.match(title)
        if found and not found["before"] and _is_understood(table, n):
            return n
    return None


def quality_of_columns(
    table: Sampled, columns: Iterable[int], values: Mapping[int, Target]
) -> dict[int, int]:
    """Quality columns of single value columns: by the value's index that of its quality."""
    by_title = {plain(table.titles[n]): n for n in values}
    found: dict[int, int] = {}
    for n in columns:
        title = table.titles[n].strip()
        match = _QUALITY_OF.match(title) or _QUALITY.match(title) or _SHORT_QUALITY.match(title)
        before = plain(match["before"] or "") if match else ""
        of = by_title.get(before, by_title.get(before + "value"))
        if before and of is not None and _is_understood(table, n):
            found[of] = n
    return found


def unit_notes(values: Iterable[object]) -> list[str]:
    """Sentences about units of measure in titles that are not those of the signals."""
    notes = []
    for value in values:
        target = getattr(value, "target", None)
        title = str(getattr(value, "title", ""))
        said, known = unit_in(title), target.signal.unit if target is not None else ""
        if said and known and _unit(said) != _unit(known):
            notes.append(
                f"column {title!r} says {said}, the plant file {known}: values are taken as they "
                "are"
            )
    return notes


_UNITS = {"°c": "cel", "degc": "cel", "c": "cel", "°f": "[degf]", "degf": "[degf]", "[": "[degf]"}


def _unit(text: str) -> str:
    text = text.strip().lower()
    return _UNITS.get(text, text)


def _texts(table: Sampled, column: int) -> list[str]:
    return table.column(column) if table.types[column] == "text" else []


def _is_number(table: Sampled, column: int) -> bool:
    cells = [cell.strip().replace(",", ".") for cell in table.column(column) if cell.strip()]
    return bool(cells) and all(re.match(r"^\d+(\.\d+)?$", cell) for cell in cells)


def _is_understood(table: Sampled, column: int) -> bool:
    cells = table.column(column)
    read = quality_reader(classic=bool(is_classic(cells)))
    return all(read(cell) is not None for cell in cells)
