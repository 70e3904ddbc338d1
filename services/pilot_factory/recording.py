"""A CSV file as the recording of a machine: columns with types, rows with times, and the plant
model that fits it.

Called by `replay.py` and by tests that compare the store with a file. `read_recording` reads the
file; the rest is pure.
"""

from __future__ import annotations

import base64
import binascii
import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from aurelian.model.sample import Value, ValueType
from aurelian.model.time import to_datetime
from aurelian.model.yaml_text import write_yaml

NAMESPACE = "urn:aurelian:replay"
UNIT = "machine"
_TIME_NAMES = ("datetime", "timestamp", "time", "date", "ts", "")
_TYPES = {type.name.lower(): type for type in ValueType if type is not ValueType.NULL}


class RecordingError(ValueError):
    """The file is no usable recording; the text names file, line and what to do."""


@dataclass(frozen=True, slots=True)
class Column:
    """One signal: its title in the file, its name in the plant model, its type."""

    title: str
    name: str
    type: ValueType


@dataclass(frozen=True, slots=True)
class Row:
    """What was recorded at one time (microseconds since 1970); empty cells are left out.

    Attributes:
        values: (column, value, OPC UA status).
    """

    time: int
    values: tuple[tuple[Column, Value, int], ...]


@dataclass(frozen=True, slots=True)
class Recording:
    """A file, read.

    Attributes:
        name: of the line in the plant model.
        timed: the times are the file's; else they are a second apart from 1970 on.
    """

    name: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...] = field(repr=False)
    timed: bool

    @property
    def values(self) -> int:
        """How many values there are."""
        return sum(len(row.values) for row in self.rows)

    @property
    def line(self) -> str:
        """ISA-95 path of the line."""
        return f"recordings/replay/files/{self.name}"

    def path(self, column: Column) -> str:
        """ISA-95 path of a column's signal."""
        return f"{self.line}/{UNIT}/{column.name}"

    def shifted(self, by: int) -> Recording:
        """The same with all times moved by `by` microseconds."""
        return replace(self, rows=tuple(replace(row, time=row.time + by) for row in self.rows))


def read_recording(
    file: Path,
    *,
    separator: str | None = None,
    time_column: str | None = None,
    where: str | None = None,
) -> Recording:
    """Read a CSV file with a header line.

    The first usable column named datetime, timestamp, time, date or ts (or without a name) has the
    times: ISO 8601 (UTC where no zone is given) or seconds, milliseconds, microseconds since 1970
        by magnitude. Types are those that
    all cells of a column fit: bool (true/false), int64, double, else text. A header `title:type`
    says the type (bytes are base64); a column `title:status` has the OPC UA status codes of column
    `title`.

    Args:
        file: in UTF-8.
        separator: found from the header where not given.
        time_column: its title, where the names above do not fit.
        where: `title=text`: only the rows whose cell of that column is that text (one machine of
            many, say).

    Raises:
        RecordingError: no rows, a row of another length, a cell that is not of its column's type.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            head = lines.readline()
            separator = separator or max(";,\t|", key=head.count)
            lines.seek(0)
            table = [row for row in csv.reader(lines, delimiter=separator) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecordingError(f"{file}: {error}") from error
    if len(table) < 2:
        raise RecordingError(f"{file}: a header and at least one row are needed")
    titles, cells = table[0], table[1:]
    if where is not None:
        cells = _filter(file, titles, cells, where)
    for number, row in enumerate(cells, start=2):
        if len(row) != len(titles):
            raise RecordingError(
                f"{file}:{number}: {len(row)} cells, but {len(titles)} in the header"
            )
    times_at, times = _times(file, titles, cells, time_column)
    columns, read = _columns(file, titles, cells, times_at)
    return Recording(
        _name(file.stem, set()),
        columns,
        tuple(_rows(file, cells, times, read)),
        times_at is not None,
    )


def plant_model(recording: Recording, kind: str, url: str) -> str:
    """A plant-model file (YAML) whose only line is the recording. `kind`: opcua or mqtt; `url`:
    where it is served."""
    opcua = kind == "opcua"
    source: dict[str, object] = {
        "id": f"replay-{recording.name}",
        "kind": "opcua" if opcua else "mqtt_json",
    }
    source["url"] = url
    if recording.rows:
        # What a gateway takes for a wrong clock is a recording's own time.
        first = min(row.time for row in recording.rows)
        source["oldest"] = to_datetime(first).date().isoformat()
    if not opcua:
        source["topic"] = topic(recording, "{unit}")
    signals = [
        {
            "name": column.name,
            "address": f"nsu={NAMESPACE};s={node_id(column)}" if opcua else column.name,
            "type": column.type.name.lower(),
        }
        for column in recording.columns
    ]
    unit = {"name": UNIT, "source": source["id"], "signals": signals}
    line = {
        "name": recording.name,
        "units": [unit],
        "products": [{"id": "none", "ideal_cycle_s": 1.0}],
    }
    plant = {
        "company": {"id": "recordings", "name": "Recordings"},
        "site": "replay",
        "time_zone": "UTC",
        "sources": [source],
        "areas": [{"name": "files", "lines": [line]}],
    }
    return f"# Plant model of a recording that `aurelian replay` serves.\n{write_yaml(plant)}"


def node_id(column: Column) -> str:
    """String id of a column's node in the OPC UA server."""
    return f"{UNIT}.{column.name}"


def topic(recording: Recording, unit: str = UNIT) -> str:
    """MQTT topic of the recording."""
    return f"replay/{recording.name}/{unit}"


def parse_time(cell: str) -> int | None:
    """Microseconds since 1970, or None: ISO 8601 (UTC where no zone is given) or a number by
    magnitude."""
    try:
        number = float(cell)
    except ValueError:
        try:
            moment = datetime.fromisoformat(cell)
        except ValueError:
            return None
        return round(
            (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000_000
        )
    for limit, factor in ((1e11, 1e6), (1e14, 1e3), (1e17, 1.0)):
        if 0 < number < limit:
            return round(number * factor)
    return None


def _filter(
    file: Path, titles: Sequence[str], cells: Sequence[list[str]], where: str
) -> list[list[str]]:
    title, _, text = where.partition("=")
    if title not in titles:
        raise RecordingError(f"{file}: no column {title!r}; there are {', '.join(titles)}")
    place = titles.index(title)
    chosen = [row for row in cells if place < len(row) and row[place] == text]
    if not chosen:
        raise RecordingError(f"{file}: no row has {where}")
    return chosen


def _times(
    file: Path, titles: Sequence[str], cells: Sequence[Sequence[str]], wanted: str | None
) -> tuple[int | None, list[int]]:
    """Which column has the times, and the times; made ones where none has."""
    if wanted is not None and wanted not in titles:
        raise RecordingError(f"{file}: no column {wanted!r}; there are {', '.join(titles)}")
    candidates = (
        [titles.index(wanted)]
        if wanted is not None
        else sorted(
            (i for i, title in enumerate(titles) if title.strip().lower() in _TIME_NAMES),
            key=lambda i: _TIME_NAMES.index(titles[i].strip().lower()),
        )
    )
    for place in candidates:
        found = [parse_time(row[place].strip()) for row in cells]
        times = [each for each in found if each is not None]
        if len(times) == len(found):
            return place, times
        if wanted is not None:
            line = found.index(None) + 2
            raise RecordingError(f"{file}:{line}: {cells[line - 2][place]!r} is no time")
    return None, [i * 1_000_000 for i in range(len(cells))]


@dataclass(frozen=True, slots=True)
class _Cells:
    """A column with how to read its cells and where its status codes are."""

    column: Column
    place: int
    read: Callable[[str], Value]
    status_place: int | None


def _columns(
    file: Path, titles: Sequence[str], cells: Sequence[Sequence[str]], times_at: int | None
) -> tuple[tuple[Column, ...], list[_Cells]]:
    statuses = {t.rpartition(":")[0]: i for i, t in enumerate(titles) if t.endswith(":status")}
    taken: set[str] = set()
    found = []
    type: ValueType
    for place, full in enumerate(titles):
        if place == times_at or full.endswith(":status"):
            continue
        title, _, suffix = full.rpartition(":")
        if title and suffix in _TYPES:
            type = _TYPES[suffix]
        else:
            title, type = full, _type_of([row[place] for row in cells if row[place] != ""])
        column = Column(title, _name(title, taken), type)
        found.append(_Cells(column, place, _READ[type], statuses.get(title)))
    if not found:
        raise RecordingError(f"{file}: there is no column beside the times")
    return tuple(each.column for each in found), found


def _rows(
    file: Path, cells: Sequence[Sequence[str]], times: list[int], read: list[_Cells]
) -> list[Row]:
    rows = []
    for number, (time, row) in enumerate(zip(times, cells, strict=True), start=2):
        values: list[tuple[Column, Value, int]] = []
        for each in read:
            cell = row[each.place]
            status = int(row[each.status_place] or "0", 0) if each.status_place is not None else 0
            if cell == "" and status == 0:
                continue
            try:
                value = each.read(cell) if cell != "" else None
            except (ValueError, binascii.Error) as error:
                raise RecordingError(
                    f"{file}:{number}: {each.column.title}: {cell!r} is no "
                    f"{each.column.type.name.lower()}"
                ) from error
            values.append((each.column, value, status))
        rows.append(Row(time, tuple(values)))
    return rows


def _type_of(cells: Sequence[str]) -> ValueType:
    """The narrowest type that all cells fit; text where there is none."""
    for type in (ValueType.BOOL, ValueType.INT64, ValueType.DOUBLE):
        try:
            for cell in cells:
                _READ[type](cell)
        except ValueError:
            continue
        if cells:
            return type
    return ValueType.TEXT


def _bool(cell: str) -> bool:
    if cell.lower() not in ("true", "false"):
        raise ValueError(cell)
    return cell.lower() == "true"


def _int(cell: str, low: int, high: int) -> int:
    if not re.fullmatch(r"[+-]?\d+", cell.strip()) or not low <= int(cell) < high:
        raise ValueError(cell)
    return int(cell)


_READ: dict[ValueType, Callable[[str], Value]] = {
    ValueType.BOOL: _bool,
    ValueType.INT64: lambda cell: _int(cell, -(2**63), 2**63),
    ValueType.UINT64: lambda cell: _int(cell, 0, 2**64),
    ValueType.DOUBLE: float,
    ValueType.TEXT: str,
    ValueType.JSON: str,
    ValueType.BYTES: lambda cell: base64.b64decode(cell, validate=True),
}


def _name(title: str, taken: set[str]) -> str:
    """A name that the plant model allows, unlike those in `taken`, which it joins."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", title).strip("_.-")[:56] or "column"
    name, number = plain, 2
    while name in taken:
        name, number = f"{plain}_{number}", number + 1
    taken.add(name)
    return name
