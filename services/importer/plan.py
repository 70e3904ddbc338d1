"""What an import will do with a file: which column is the time, which are values of which signals,
how all of them are written. Made before anything is sent; shown by report.py, carried out by
chunks.py."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from aurelian.model.plant import Plant
from aurelian.model.plant_parts import check_zone
from aurelian.model.sample import ValueType
from importer import column_roles as roles
from importer.cell_words import EMPTY, FALSE, NO_NUMBER, TRUE, is_classic
from importer.column_marks import column_marks
from importer.csv_layout import UnreadableFile
from importer.csv_rows import CsvFile, fingerprint
from importer.matching import (
    NoMatch,
    Signals,
    Target,
    check_distinct,
    find_title,
    find_unit,
    read_map,
    said_of_endings,
)
from importer.number_marks import Marks
from importer.parquet_rows import ParquetFile
from importer.scanning import distinct
from importer.time_cells import read_times
from importer.time_formats import TimeFormat, decide_format, named_format


@dataclass(frozen=True, slots=True)
class Options:
    """What somebody said on the command line; empty: decide by the file."""

    asset: str
    maps: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    discover: bool = False
    time_columns: tuple[str, ...] = ()
    time_format: str = ""
    zone: str = ""
    decimal: str = ""
    delimiter: str = ""
    encoding: str = ""
    tag_column: str = ""
    value_column: str = ""
    quality_column: str = ""


@dataclass(frozen=True, slots=True)
class ValueColumn:
    """A column of one signal's values, or (`target` None) of those that the tag column names."""

    index: int
    title: str
    target: Target | None
    marks: Marks
    quality: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """See above.

    Attributes:
        source: name that the values are counted under in the ledger.
        time_columns: date and time of day, where they stand apart.
        zone: of times without a zone.
        values: one in a long table.
        tag_column: of a long table; None: a wide one. `tags`: what each tag is.
        classic: qualities are those of OPC Classic.
        notes: what somebody should know, a sentence each.
        identity: of file and plan: another one begins anew.
    """

    table: CsvFile | ParquetFile
    plant: Plant
    source: str
    time_columns: tuple[int, ...]
    time_format: TimeFormat
    zone: ZoneInfo
    newest_first: bool
    values: tuple[ValueColumn, ...]
    tag_column: int | None = None
    tags: dict[str, Target | None] = field(default_factory=dict)
    classic: bool = False
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    content: str = ""
    identity: str = ""

    @property
    def wanted(self) -> tuple[int, ...]:
        """Columns that are read."""
        found = [*self.time_columns, *(value.index for value in self.values)]
        found += [value.quality for value in self.values if value.quality is not None]
        found += [self.tag_column] if self.tag_column is not None else []
        found += [0] if self.table.kind == "CSV" else []  # by it comment lines are known
        return tuple(dict.fromkeys(found))

    @property
    def targets(self) -> list[Target]:
        """All signals that are written, each once."""
        of_columns = [value.target for value in self.values if value.target is not None]
        of_tags = [target for target in self.tags.values() if target is not None]
        return list({target.signal.id: target for target in (*of_columns, *of_tags)}.values())


def open_table(path: Path, options: Options) -> CsvFile | ParquetFile:
    """Open a file as what it is: Parquet by its first bytes, else text.

    Raises:
        UnreadableFile: there is no table in it. OSError: it cannot be read.
    """
    with path.open("rb") as file:
        is_parquet = file.read(4) == b"PAR1"
    if is_parquet:
        return ParquetFile(path)
    delimiter = options.delimiter.replace("\\t", "\t")
    if delimiter and (len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n'):
        raise UnreadableFile(
            f"--delimiter {delimiter!r} cannot stand between cells: one character of ASCII, say ';'"
        )
    return CsvFile(path, options.encoding, delimiter)


def make_plan(path: Path, options: Options, plants: Sequence[Plant]) -> Plan:
    """Decide all of it.

    Raises:
        NoMatch, UnreadableFile, UndecidedTime, UndecidedMark: what must be said; the text says how.
        OSError: the file cannot be read.
    """
    unit = find_unit(plants, options.asset)
    plant = unit.line.plant
    table = open_table(path, options)
    content = fingerprint(path)
    key = hashlib.sha256(f"{content}{unit.path}".encode()).hexdigest()[:8]
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", path.stem).strip("-")[:32] or "file"
    source = f"{plant.path}/import-{stem}-{key}"
    signals = Signals(unit, source)
    titles, notes = table.titles, []
    named_titles = {name for name in options.skip if name in titles}
    skipped = {titles.index(name) for name in named_titles}
    times = roles.time_columns(table, options.time_columns, skipped)
    form = _time_format(table, times, options)
    zone_name = options.zone or plant.time_zone
    try:
        zone = ZoneInfo(check_zone(zone_name))
    except ValueError as error:
        raise NoMatch(f"--zone {error}") from error
    long = roles.long_columns(table, options, times)
    if long is None:  # in a long table these are tags
        skipped |= {find_title(titles, n, "--skip") for n in options.skip if n not in named_titles}
    closed = any(s.id == unit.model.source and s.closed for s in plant.sources)
    if options.discover and closed:
        raise NoMatch(
            f"--discover: the source {unit.model.source!r} is closed, so that it takes no signals "
            "beyond the plant file"
        )
    tags: dict[str, Target | None] = {}
    values: tuple[ValueColumn, ...]
    if long is not None:
        tag, value = long
        rest = [n for n in range(len(titles)) if n not in (*times, tag, value) and n not in skipped]
        quality = roles.quality_of_all(table, rest, options)
        unread = [n for n in rest if n != quality]
        if unread:
            notes.append(f"not read: {', '.join(titles[n] for n in unread)}")
        tags = _match_tags(table, tag, signals, options, notes)
        marks = column_marks(table, [value], options.decimal)[value]
        values = (ValueColumn(value, titles[value], None, marks, quality),)
    else:
        tag = None
        maps = {find_title(titles, k, "--map"): v for k, v in read_map(options.maps).items()}
        values = _match_columns(table, times, skipped, maps, signals, options, notes)
    qualities = {value.quality for value in values if value.quality is not None}
    classic = _is_classic(table, sorted(qualities), notes)
    notes += roles.unit_notes(values)
    plan = Plan(
        table,
        plant,
        source,
        times,
        form,
        zone,
        _newest_first(table, times, form),
        values,
        tag,
        tags,
        classic,
        tuple(titles[n] for n in sorted(skipped)),
        tuple(notes),
        content,
    )
    return _with_identity(plan)


def _time_format(
    table: CsvFile | ParquetFile, times: tuple[int, ...], options: Options
) -> TimeFormat:
    if options.time_format:
        return named_format(options.time_format)
    if table.types[times[0]] == "time":
        return TimeFormat("timestamp")
    cells = [" ".join(row) for row in zip(*(table.column(n) for n in times), strict=True)]
    if table.types[times[0]] == "number":
        cells = [cell for cell in cells if cell]

    def scan() -> Iterator[str]:
        # The date alone: there are few, and 86,400 times of day each.
        for texts in distinct(table, times[0]):
            yield from texts

    return decide_format(cells, scan)


def _match_columns(
    table: CsvFile | ParquetFile,
    times: tuple[int, ...],
    skipped: set[int],
    maps: dict[int, str],
    signals: Signals,
    options: Options,
    notes: list[str],
) -> tuple[ValueColumn, ...]:
    """The value columns of a wide table; `notes` gets what somebody should look at.

    Raises:
        NoMatch: a column is no signal, all of them listed.
    """
    titles = table.titles
    rest = [n for n in range(len(titles)) if n not in times and n not in skipped]
    found = {n: signals.named(maps[n]) for n in rest if n in maps}
    for n in rest:
        if n not in found and (target := signals.find(titles[n])) is not None:
            found[n] = target
    # A column that can be read as qualities is one before it is the last part of a name.
    may_be = [n for n in rest if n not in found and roles.quality_of_all(table, [n], options) != n]
    by_ending = signals.by_endings({n: titles[n] for n in may_be}, found.values())
    found |= by_ending
    unknown = [n for n in rest if n not in found]
    of_one = roles.quality_of_columns(table, unknown, found)
    unknown = [n for n in unknown if n not in of_one.values()]
    of_all = None if of_one else roles.quality_of_all(table, unknown, options)
    unknown = [n for n in unknown if n != of_all]
    empty = [n for n in unknown if not any(cell.strip() for cell in table.column(n))]
    unknown = [n for n in unknown if n not in empty or (titles[n] and options.discover)]
    if unknown and not options.discover:
        lines = [
            f"  {titles[n]!r} is no signal of {signals.unit.path}{signals.nearest(titles[n])}"
            for n in unknown
        ]
        raise NoMatch(
            "\n".join(lines) + f"\nits signals: {signals.listed()}" + '\nsay --map "Column=signal" '
            'for what it is, --skip "Column" for what is not wanted, or --discover to import them '
            "as signals beyond the plant file"
        )
    for n in unknown:
        found[n] = signals.discovered(titles[n], _kind(table, n))
    if not found:
        raise NoMatch("no column of the file is a signal; beside the time there is nothing")
    check_distinct({titles[n]: target for n, target in found.items()})
    notes += said_of_endings({titles[n]: target for n, target in by_ending.items()})
    for target in found.values():
        if target.signal.type is ValueType.BYTES:
            raise NoMatch(f"{target.name!r} is declared as bytes, which no table has; --skip it")
    numeric = [n for n, target in sorted(found.items()) if target.signal.type is not ValueType.TEXT]
    marks = column_marks(table, numeric, options.decimal)
    return tuple(
        ValueColumn(n, titles[n], target, marks.get(n, Marks()), of_one.get(n, of_all))
        for n, target in sorted(found.items())
    )


def _match_tags(
    table: CsvFile | ParquetFile,
    column: int,
    signals: Signals,
    options: Options,
    notes: list[str],
) -> dict[str, Target | None]:
    maps, skip = read_map(options.maps), set(options.skip)
    names = sorted(
        {name.strip() for texts in distinct(table, column) for name in texts if name.strip()}
        - {table.titles[column]}
    )
    found: dict[str, Target | None] = {}
    unknown = []
    for name in names:
        if name in skip:
            found[name] = None
        elif name in maps:
            found[name] = signals.named(maps[name])
        elif (target := signals.find(name)) is not None:
            found[name] = target
        else:
            unknown.append(name)
    taken = [target for target in found.values() if target is not None]
    by_ending = signals.by_endings({name: name for name in unknown}, taken)
    found |= by_ending
    notes += said_of_endings(by_ending)
    unknown = [name for name in unknown if name not in by_ending]
    if options.discover:
        found |= {name: signals.discovered(name, ValueType.NULL) for name in unknown}
    elif unknown:
        lines = [
            f"  the tag {name!r} is no signal of {signals.unit.path}{signals.nearest(name)}"
            for name in unknown[:20]
        ]
        lines += [f"  … and {len(unknown) - 20} more"] if len(unknown) > 20 else []
        lines += [f"its signals: {signals.listed()}"]
        raise NoMatch("\n".join(lines) + '\nsay --map "tag=signal", --skip "tag" or --discover')
    check_distinct({name: target for name, target in found.items() if target is not None})
    return {name: found[name] for name in names}


def _kind(table: CsvFile | ParquetFile, column: int) -> ValueType:
    """Type of a discovered signal, by its first cells."""
    if table.types[column] != "text":
        return ValueType.BOOL if table.types[column] == "bool" else ValueType.DOUBLE
    words = [c.strip().lower() for c in table.column(column)]
    words = [word for word in words if word not in EMPTY and word not in NO_NUMBER]
    if words and all(word in TRUE or word in FALSE for word in words):
        return ValueType.BOOL
    numbers = [word for word in words if re.match(r"^[+-]?[\d.,' ]*\d", word)]
    return ValueType.DOUBLE if len(numbers) >= 0.9 * len(words) else ValueType.TEXT


def _is_classic(table: CsvFile | ParquetFile, columns: Sequence[int], notes: list[str]) -> bool:
    classic = False
    for column in columns:
        found = is_classic(table.column(column))
        if found is None:
            scanned = (is_classic(texts) for texts in distinct(table, column))
            found = next((each for each in scanned if each), None)
        if found is None:
            notes.append(
                f"column {table.titles[column]!r} has 0 in every line, which is Good as an OPC UA "
                "status code"
            )
        classic = classic or bool(found)
    return classic


def _newest_first(table: CsvFile | ParquetFile, times: tuple[int, ...], form: TimeFormat) -> bool:
    if form.name == "timestamp":
        return _descends(table.column(times[0]))
    cells = [" ".join(row) for row in zip(*(table.column(n) for n in times), strict=True)]
    read = read_times(pa.array(cells, pa.string()), form)
    return _descends(read.us[read.usable].tolist())


def _descends(times: Iterable[str] | Iterable[int]) -> bool:
    listed = [each for each in times if each != ""]
    steps = np.sign([(b > a) - (b < a) for a, b in pairwise(listed)])  # type: ignore[operator]
    return bool(len(steps)) and int(np.sum(steps)) < 0


def _with_identity(plan: Plan) -> Plan:
    said = [
        plan.content,
        plan.time_format.name,
        plan.time_columns,
        str(plan.zone),
        plan.classic,
        [
            (v.index, v.target.signal.id if v.target else "", v.marks.decimal, v.quality)
            for v in plan.values
        ],
        sorted((tag, t.signal.id if t else "") for tag, t in plan.tags.items()),
    ]
    digest = hashlib.sha256(json.dumps(said, default=str).encode()).hexdigest()
    return replace(plan, identity=digest[:32])
