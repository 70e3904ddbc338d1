"""What every `aurelian connect` has in common: steps and questions on the terminal, and the plant
file that follows from the answers. Called by the gateways' own `connect/command.py`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import typer
from pydantic import ValidationError
from rich.markup import escape

from aurelian.edge.ladder import Rung, Step, Verdict
from aurelian.edge.proposals.state_words import Answer, StateQuestion
from aurelian.local.terminal import give_up, terminal
from aurelian.model.plant import Plant
from aurelian.model.plant_diff import compare_plants
from aurelian.model.plant_edit import add_source, add_units
from aurelian.model.plant_file import parse_plant, plant_files
from aurelian.model.plant_new import new_plant
from aurelian.model.plant_parts import check_zone
from aurelian.model.source_model import SourceModel
from aurelian.model.time import now_us
from aurelian.runtime.machine_zone import local_time_zone as local_time_zone

Fields = Mapping[str, object]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_MARKS = {
    Verdict.PASSED: "[green]✔[/]",
    Verdict.WARNING: "[yellow]▲[/]",
    Verdict.FAILED: "[red]✖[/]",
    Verdict.NOT_REACHED: "[dim]·[/]",
    Verdict.NOT_NEEDED: "[dim]·[/]",
}
_NAMES = {
    Rung.DNS: "name",
    Rung.TCP: "port",
    Rung.ENDPOINT: "server",
    Rung.CERTIFICATE: "certificates",
    Rung.SIGN_IN: "sign-in",
    Rung.SUBSCRIBE: "subscription",
    Rung.VALUES: "values",
    Rung.CLOCK: "clock",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the plant something new goes, as the options say; None: asked, or the default."""

    company: str | None = None
    site: str | None = None
    time_zone: str | None = None
    area: str = "hall"
    line: str = "line-1"


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


@dataclass(frozen=True, slots=True)
class NewSource:
    """A source with its units, each with the area and the line that it stands at."""

    fields: Fields
    units: Sequence[tuple[str, str, Fields]] = ()


class Talk:
    """Speaks with a person, or with a program (`--json`), which is asked nothing."""

    def __init__(self, *, as_json: bool, yes: bool) -> None:
        self.as_json, self.yes = as_json, yes or as_json

    def step(self, step: Step) -> None:
        """Show one step of the ladder as it is done."""
        if self.as_json:
            self.tell({"step": asdict(step)})
            return
        code = f" [dim]{step.code}[/]" if step.code else ""
        name = f"{_NAMES[step.rung]:<13}"
        terminal.print(f"{_MARKS[step.verdict]} {name} {escape(_plain(step.said))}{code}")
        if step.fix:
            terminal.print(f"    {'':<11} → {escape(_plain(step.fix))}")

    def say(self, text: str) -> None:
        """Tell a person."""
        if not self.as_json:
            terminal.print(escape(_plain(text)))

    def tell(self, row: Mapping[str, object]) -> None:
        """Tell a program."""
        if self.as_json:
            print(json.dumps(row, ensure_ascii=False, default=str), flush=True)

    def confirm(self, question: str, *, default: bool) -> bool:
        """Ask for a yes; where nobody is to be asked the default counts."""
        if self.yes:
            return default
        self._need_somebody()
        return bool(typer.confirm(question, default=default, err=True))

    def ask(
        self, question: str, default: str, check: Callable[[str], str] = lambda given: given
    ) -> str:
        """Ask for a text; again while `check` raises a ValueError, which is shown."""
        if self.yes:
            return default
        self._need_somebody()
        while True:
            given = str(typer.prompt(question, default=default, err=True)).strip()
            try:
                return check(given)
            except ValueError as error:
                terminal.print(escape(_plain(str(error))))

    def ask_secret(self, question: str) -> str:
        """Ask for a password, which is not shown; empty: nobody is to be asked."""
        if self.yes:
            return ""
        self._need_somebody()
        return str(
            typer.prompt(question, default="", show_default=False, hide_input=True, err=True)
        )

    def ask_state(self, question: StateQuestion) -> Answer | None:
        """Ask what a machine does; None: nobody knows."""
        if self.yes:
            return None
        self._need_somebody()
        terminal.print(escape(_plain(question.text)))
        for number, (_, words) in enumerate(question.answers, start=1):
            terminal.print(f"  {number}  {words}")
        terminal.print("  Enter: I do not know")
        while True:
            given = str(typer.prompt("", default="", show_default=False, err=True)).strip()
            if not given:
                return None
            if given.isdigit() and 0 < int(given) <= len(question.answers):
                return Answer(question.value, question.answers[int(given) - 1][0], now_us())
            terminal.print(f"a number from 1 to {len(question.answers)}, or Enter")

    def _need_somebody(self) -> None:
        if not sys.stdin.isatty():
            give_up("there is nobody to ask here", "say --yes to take what is proposed", code=2)


def settle_place(folder: Path, place: Place, talk: Talk) -> tuple[Place, Plant | None]:
    """Where something new goes, asked for as far as nothing says it; and the plant whose file that
    is, None: a new one.

    Raises:
        PlantError: a file of the folder cannot be used.
    """
    found = _fitting(folder, place)
    if found is not None:
        _, plant = found
        named = replace(place, company=plant.company.id, site=plant.site, time_zone=plant.time_zone)
        return named, plant
    company = place.company or talk.ask("Company, a short name", "my-company", _check_name)
    site = place.site or talk.ask("Site", "works", _check_name)
    zone = place.time_zone or talk.ask("Time zone of the site", local_time_zone(), check_zone)
    return replace(place, company=company, site=site, time_zone=zone), None


def plan_sources(folder: Path, sources: Sequence[NewSource], place: Place) -> Change:
    """The plant file with new sources and their units, which may stand at several lines: the file
    of the site that is named or the only one of the folder, else a new one. `place`: settled.

    Raises:
        PlantError: a file of the folder cannot be used, or the outcome could not.
    """
    found = _fitting(folder, place)
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


def said_states(said: Sequence[str]) -> dict[str, str | dict[str, str]]:
    """What `--states` says, by path: 'PATH=1:running,2:down', or a vocabulary's name."""
    by_path: dict[str, str | dict[str, str]] = {}
    for each in said:
        path, _, pairs = each.rpartition("=")
        parted = [pair.partition(":") for pair in pairs.split(",")]
        by_path[path] = (
            {key.strip(): state.strip() for key, _, state in parted}
            if ":" in pairs
            else pairs.strip()
        )
    return by_path


def checked_source(fields: Mapping[str, object], otherwise: str) -> SourceModel:
    """A source of its fields; ends the process where it cannot be one, with the next step."""
    try:
        return SourceModel.model_validate(dict(fields))
    except ValidationError as error:
        said = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'source'}: "
            f"{each['msg'].removeprefix('Value error, ')}"
            for each in error.errors()
        )
        give_up(said, otherwise, code=2)


def _fitting(folder: Path, place: Place) -> tuple[Path, Plant] | None:
    """The file of the site that is named, or the only one; ends the process where several fit."""
    known = {path: parse_plant(path, path.read_bytes()) for path in plant_files(folder)}
    fitting = [
        (path, plant)
        for path, plant in known.items()
        if place.site in (None, plant.site) and place.company in (None, plant.company.id)
    ]
    if len(fitting) > 1:
        named = ", ".join(sorted(plant.path for plant in known.values()))
        give_up(f"{folder} has several sites: {named}", "name one: --company and --site", code=2)
    return fitting[0] if fitting else None


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


def _check_name(given: str) -> str:
    if _NAME.fullmatch(given) is None:
        raise ValueError(
            f"{given!r} is no name: letters, digits, `_`, `.`, `-`, a letter or a digit first"
        )
    return given


def _plain(text: str) -> str:
    """A text that may quote a stranger, without what moves a terminal."""
    return "".join(each if each.isprintable() or each == "\n" else "?" for each in text)
