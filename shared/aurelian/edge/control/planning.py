"""The plant file that follows from new sources: which file of a folder it is, and what it is then.
Pure but for reading the folder; called by `plans.py` and by every `aurelian connect`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from aurelian.model.plant import Plant
from aurelian.model.plant_diff import compare_plants
from aurelian.model.plant_edit import add_source, add_units
from aurelian.model.plant_file import parse_plant, plant_files
from aurelian.model.plant_new import new_plant

Fields = Mapping[str, object]


class SeveralSites(Exception):
    """A folder has several files that a new source could go into; the text names their sites."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the plant something new goes, as the options say; None: asked, or the default."""

    company: str | None = None
    site: str | None = None
    time_zone: str | None = None
    area: str = "hall"
    line: str = "line-1"

    def at(self, plant: Plant) -> Place:
        """The same in a plant that is there."""
        return replace(self, company=plant.company.id, site=plant.site, time_zone=plant.time_zone)

    @property
    def is_settled(self) -> bool:
        """Whether it says all that a new file needs."""
        return None not in (self.company, self.site, self.time_zone)


@dataclass(frozen=True, slots=True)
class Change:
    """A plant file as it will be. `before` None: it is new."""

    path: Path
    before: bytes | None
    after: bytes
    plant: Plant

    def lines(self) -> list[str]:
        """What it will do, for people."""
        old = [] if self.before is None else [parse_plant(self.path, self.before)]
        return list(compare_plants(old, [self.plant]).lines())

    @property
    def digest(self) -> str:
        """SHA-256 of the file that it changes; empty: it is new."""
        return "" if self.before is None else digest_of(self.before)


@dataclass(frozen=True, slots=True)
class NewSource:
    """A source with its units, each with the area and the line that it stands at."""

    fields: Fields
    units: Sequence[tuple[str, str, Fields]] = ()


def digest_of(data: bytes) -> str:
    """SHA-256 of a file's content."""
    return hashlib.sha256(data).hexdigest()


def fitting(folder: Path, place: Place) -> tuple[Path, Plant] | None:
    """The file of the site that is named, or the only one; None: it would be a new one.

    Raises:
        PlantError: a file of the folder cannot be used.
        SeveralSites: more than one fits.
    """
    known = {path: parse_plant(path, path.read_bytes()) for path in plant_files(folder)}
    found = [
        (path, plant)
        for path, plant in known.items()
        if place.site in (None, plant.site) and place.company in (None, plant.company.id)
    ]
    if len(found) > 1:
        # Those that fit alone: of other companies nobody hears here.
        named = ", ".join(sorted(plant.path for _, plant in found))
        raise SeveralSites(f"{folder} has several sites: {named}")
    return found[0] if found else None


def plan_change(folder: Path, sources: Sequence[NewSource], place: Place) -> Change:
    """The plant file with new sources and their units, which may stand at several lines: the file
    of the site that is named or the only one of the folder, else a new one. `place`: settled.

    Raises:
        PlantError: a file of the folder cannot be used, or the outcome could not.
        SeveralSites: it is not clear which file.
    """
    found = fitting(folder, place)
    rest = [(each.fields, list(each.units)) for each in sources]
    if found is None:
        (fields, units), rest = rest[0], rest[1:]
        area, line, _ = units[0] if units else (place.area, place.line, None)
        near = [unit for unit in units if unit[:2] == (area, line)]
        at_first = replace(place, area=area, line=line)
        new = _new_file(folder, fields, [unit for _, _, unit in near], at_first)
        path, before, text = new.path, None, new.after.decode()
        far = [unit for unit in units if unit[:2] != (area, line)]
    else:
        path, far = found[0], []
        before = path.read_bytes()
        text = before.decode()
    for fields, units in rest:
        text = add_source(text, fields, str(path))
        far += units
    by_line: dict[tuple[str, str], list[Fields]] = {}
    for area, line, unit in far:
        by_line.setdefault((area, line), []).append(unit)
    for (area, line), added in by_line.items():
        text = add_units(text, area, line, added, name=str(path))
    after = text.encode()
    return Change(path, before, after, parse_plant(path, after))


def _new_file(folder: Path, source: Fields, units: Sequence[Fields], place: Place) -> Change:
    company, site, zone = place.company, place.site, place.time_zone
    assert company is not None and site is not None and zone is not None  # it is settled
    path = folder / f"{site}.yaml"
    if path.exists():
        path = folder / f"{company}-{site}.yaml"
    text = new_plant(
        company={"id": company, "name": company},
        site=site,
        time_zone=zone,
        source=source,
        area=place.area,
        line=place.line,
        units=units,
        name=str(path),
    )
    return Change(path, None, text.encode(), parse_plant(path, text.encode()))
