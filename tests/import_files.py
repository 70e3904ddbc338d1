"""An export as a spreadsheet writes it, what of it is to be stored, and a plant that fits. Used by
the importer's tests and its benchmark.

Semicolons, decimal commas, a byte order mark, local times over the hour that comes twice, empty
cells, bad cells and bad lines.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("Europe/Oslo")
SIGNALS = 8
BAD_EVERY = 1_000
"""One line in so many has a bad cell; one in twice as many is no line at all."""

PLANT = """
company: {id: pilot-x, name: Pilot X}
site: north
time_zone: Europe/Oslo
sources: [{id: press-opcua, kind: opcua, url: "opc.tcp://127.0.0.1:4840"}]
areas:
  - name: forming
    lines:
      - name: line-1
        products: [{id: cup, ideal_cycle_s: 2}]
        units:
          - name: UNIT
            source: press-opcua
            signals:
"""

Value = tuple[str, int, float]
"""Name of the signal, microseconds since 1970, value."""


def write_plant(folder: Path, unit: str, signals: int = SIGNALS) -> Path:
    """Write a plant file with one unit; return the folder."""
    folder.mkdir(exist_ok=True)
    lines = "".join(f"              - {{name: {name(n)}, unit: Cel}}\n" for n in range(signals))
    (folder / "north.yaml").write_text(PLANT.replace("UNIT", unit) + lines, encoding="utf-8")
    return folder


def name(number: int) -> str:
    """Of a signal."""
    return f"temperature-{number}"


def write_export(
    path: Path, rows: int, *, seed: int = 1, bad: bool = True, step_s: int = 1
) -> None:
    """Write a file with a line every `step_s` seconds from 27 October 2024, 01:00, on."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        titles = ";".join(f"Temperature {n} [°C]" for n in range(SIGNALS))
        file.write(f"Zeit;{titles}\r\n")
        for line, _ in lines(rows, seed=seed, bad=bad, step_s=step_s):
            file.write(line)


def lines(
    rows: int, *, seed: int = 1, bad: bool = True, step_s: int = 1
) -> Iterator[tuple[str, list[Value]]]:
    """Each line of the file with the values of it that are to be stored."""
    chance = random.Random(seed)
    start = datetime(2024, 10, 26, 23, 0, tzinfo=UTC)
    for row in range(rows):
        at = start + timedelta(seconds=row * step_s)
        wall = at.astimezone(ZONE).strftime("%d.%m.%Y %H:%M:%S")
        us = int(at.timestamp()) * 1_000_000
        if bad and row % (2 * BAD_EVERY) == BAD_EVERY - 1:
            yield f"{wall};1,0;abgebrochen\r\n", []
            continue
        cells, values = [], []
        for n in range(SIGNALS):
            value = round(chance.uniform(-20, 2000), 2)
            text = f"{value:.2f}".replace(".", ",")
            if bad and n == 3 and row % BAD_EVERY == 7:
                text = "defekt"
            elif n == 5 and row % 10 == 3:
                text = ""
            else:
                values.append((name(n), us, value))
            cells.append(text)
        yield f"{wall};{';'.join(cells)}\r\n", values


def bad_lines(rows: int) -> int:
    """How many bad lines such a file has."""
    wrong = sum(row % (2 * BAD_EVERY) == BAD_EVERY - 1 for row in range(rows))
    return wrong + sum(row % BAD_EVERY == 7 for row in range(rows))
