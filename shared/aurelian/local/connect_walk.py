"""What every `aurelian connect` has in common: steps and questions on the terminal, and the plant
file that follows from the answers. Called by the gateways' own `connect/command.py`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import typer
from pydantic import ValidationError
from rich.markup import escape

from aurelian.edge.control.planning import Change as Change
from aurelian.edge.control.planning import Fields as Fields
from aurelian.edge.control.planning import NewSource as NewSource
from aurelian.edge.control.planning import Place as Place
from aurelian.edge.control.planning import SeveralSites, fitting, plan_change
from aurelian.edge.ladder import Rung, Step, Verdict
from aurelian.edge.proposals.state_words import ANSWERS, Answer, StateQuestion
from aurelian.local.terminal import give_up, terminal
from aurelian.model.plant import Plant
from aurelian.model.plant_parts import LineState, check_zone
from aurelian.model.source_model import SourceModel
from aurelian.model.time import now_us
from aurelian.runtime.machine_zone import local_time_zone as local_time_zone

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_NAME_ONE = "name one: --company and --site"
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
                answer = Answer(question.value, question.answers[int(given) - 1][0], now_us())
                self.say(further_states(question.key, answer.state))
                return answer
            terminal.print(f"a number from 1 to {len(question.answers)}, or Enter")

    def _need_somebody(self) -> None:
        if not sys.stdin.isatty():
            give_up("there is nobody to ask here", "say --yes to take what is proposed", code=2)


def further_states(key: str, state: LineState) -> str:
    """What to do about the values of a state signal that nobody was asked of, with the line of the
    plant file for it; `key` is known by now."""
    other = str(int(key) + 1) if key.isascii() and key.isdigit() else "other"
    meant = LineState.RUNNING if state is not LineState.RUNNING else LineState.DOWN
    quoted = json.dumps(key, ensure_ascii=False)
    states = ", ".join(str(each) for each, _ in ANSWERS)
    return (
        "  Its other values mean nothing yet; a tile says `unknown state` when one comes: add it "
        "under `states` of this signal in the plant file, with what it means "
        f'({states}), say\n    states: {{{quoted}: {state}, "{other}": {meant}}}'
    )


def settle_place(folder: Path, place: Place, talk: Talk) -> tuple[Place, Plant | None]:
    """Where something new goes, asked for as far as nothing says it; and the plant whose file that
    is, None: a new one.

    Raises:
        PlantError: a file of the folder cannot be used.
    """
    try:
        found = fitting(folder, place)
    except SeveralSites as error:
        give_up(str(error), _NAME_ONE, code=2)
    if found is not None:
        _, plant = found
        return place.at(plant), plant
    company = place.company or talk.ask("Company, a short name", "my-company", _check_name)
    site = place.site or talk.ask("Site", "works", _check_name)
    zone = place.time_zone or talk.ask("Time zone of the site", local_time_zone(), check_zone)
    return replace(place, company=company, site=site, time_zone=zone), None


def plan_sources(folder: Path, sources: Sequence[NewSource], place: Place) -> Change:
    """The plant file with new sources, as `plan_change`; ends the process where several files fit.

    Raises:
        PlantError: as there.
    """
    try:
        return plan_change(folder, sources, place)
    except SeveralSites as error:
        give_up(str(error), _NAME_ONE, code=2)


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


def _check_name(given: str) -> str:
    if _NAME.fullmatch(given) is None:
        raise ValueError(
            f"{given!r} is no name: letters from a to z, digits, `_`, `.` and `-` only, "
            "a letter or a digit first; say 'mueller-1' for 'Müller 1'"
        )
    return given


def _plain(text: str) -> str:
    """A text that may quote a stranger, without what moves a terminal."""
    return "".join(each if each.isprintable() or each == "\n" else "?" for each in text)
