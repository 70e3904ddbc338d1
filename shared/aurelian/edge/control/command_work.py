"""What each command of `aurelian.commands.v1` does at a gateway. Called by `commands.py`."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import cast

from aurelian.edge.control.connector import Connector, NotPossible
from aurelian.edge.ladder import Step
from aurelian.model.plant import Plant
from aurelian.model.plant_diff import compare_plants
from aurelian.model.plant_file import (
    PlantError,
    folders_of,
    parse_plant,
    plant_files,
    read_plants,
)
from aurelian.runtime.safe_file import ChangedMeanwhileError, replace_file

_LADDER_S = 120.0
_FINGERPRINT = re.compile(r"[0-9A-Fa-f]{64}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,120}\.ya?ml")


class Outcome(StrEnum):
    """How a command went, as `CommandResult` calls it."""

    DONE = "OUTCOME_DONE"
    REFUSED = "OUTCOME_REFUSED"
    FAILED = "OUTCOME_FAILED"


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a command, for people."""

    outcome: Outcome
    said: str


class CommandWork:
    """Executes commands. `plant`: the setting; `plants`: those that were accepted last;
    `connector`: None: there is none."""

    def __init__(
        self, plant: Path, plants: Callable[[], Sequence[Plant]], connector: Connector | None
    ) -> None:
        self._plant, self._plants, self._connector = plant, plants, connector

    def whom(self, command: str, arguments: Mapping[str, object]) -> tuple[str, str]:
        """Whom the answer concerns: the company, and the source or, of none, the company again."""
        key, plants = arguments.get("key"), self._plants()
        for plant in plants if command == "ladder" else ():
            for each in plant.sources:
                if each.key == key:
                    return plant.owner, each.key
        owner = plants[0].owner if plants else ""
        return owner, owner

    async def execute(self, command: str, arguments: Mapping[str, object]) -> Answer:
        """Do what a command says. Raises nothing that the command may bring about."""
        match command:
            case "trust":
                return await self._trust(arguments)
            case "ladder":
                return await self._ladder(arguments)
            case "apply":
                return await self._apply(arguments)
        return _refused(f"this gateway knows no command {command[:80]!r}: trust, ladder, apply")

    async def _trust(self, arguments: Mapping[str, object]) -> Answer:
        sha256 = arguments.get("sha256")
        if not isinstance(sha256, str) or not _FINGERPRINT.fullmatch(sha256):
            return _refused("`sha256` is not a whole fingerprint: 64 hexadecimal digits")
        if self._connector is None:
            return _refused("this gateway trusts no certificates")
        try:
            subject = await asyncio.to_thread(self._connector.trust, sha256.lower())
        except NotPossible as error:
            return _refused(_sentence(error))
        except OSError as error:
            return Answer(Outcome.FAILED, f"the certificate cannot be trusted: {error}")
        return Answer(Outcome.DONE, f"trusted: {subject}")

    async def _ladder(self, arguments: Mapping[str, object]) -> Answer:
        key = arguments.get("key")
        connector = self._connector
        models = [each for plant in self._plants() for each in plant.sources if each.key == key]
        if connector is None or not models or models[0].kind not in connector.kinds:
            return _refused(f"no source of this gateway is {str(key)[:200]!r}")
        said: list[str] = []
        last: Step | None = None
        try:
            steps = cast(AsyncGenerator[Step, None], connector.climb(models[0]))
            async with asyncio.timeout(_LADDER_S), aclosing(steps):
                async for last in steps:
                    said.append(_of_step(last))
        except TimeoutError:
            said.append(f"it was not at its end after {_LADDER_S:.0f} s")
            return Answer(Outcome.FAILED, "\n".join(said))
        is_up = last is not None and not last.ends
        return Answer(Outcome.DONE if is_up else Outcome.FAILED, "\n".join(said))

    async def _apply(self, arguments: Mapping[str, object]) -> Answer:
        file, text, before = (arguments.get(each) for each in ("file", "text", "before"))
        if not isinstance(file, str) or not _FILE.fullmatch(file):
            return _refused("`file` is not the name of a plant file, such as north.yaml")
        if not isinstance(text, str):
            return _refused("`text` is not the text of a plant file")
        if not isinstance(before, str) or not (before == "" or _FINGERPRINT.fullmatch(before)):
            return _refused(
                "`before` is not the SHA-256 of the file that is changed, empty: a new one"
            )
        try:
            return await asyncio.to_thread(self._replace, file, text, before.lower())
        except (PlantError, ChangedMeanwhileError) as error:
            return _refused(str(error))
        except (OSError, ValueError) as error:
            return Answer(Outcome.FAILED, f"the file cannot be written: {error}")

    def _replace(self, file: str, text: str, before: str) -> Answer:
        folders = folders_of(self._plant)
        if not folders:
            return _refused("this gateway follows no plant files")
        folder = folders[-1]
        path = folder if folder.is_file() else folder / file
        if path.name != file:
            return _refused(f"this gateway follows the one file {path.name}")
        if path.exists() and not path.is_file():  # a pipe, say, which would be waited for
            return _refused(f"what is called {file} in the folder is no file; move it away")
        was = path.read_bytes() if path.exists() else None
        digest = "" if was is None else hashlib.sha256(was).hexdigest()
        if digest != before:
            is_new = "is not there" if was is None else f"has the SHA-256 {digest} now"
            return _refused(f"{file} {is_new}: nothing is written; begin with the file as it is")
        new = text.encode()
        plant = parse_plant(path, new)
        # All files, as the gateway will read them: two may not name the same site.
        read_plants({**{str(p): p.read_bytes() for p in plant_files(self._plant)}, str(path): new})
        try:
            old = [] if was is None else [parse_plant(path, was)]
        except PlantError:
            old = []  # an unusable file is mended
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        replace_file(path, new, was)
        lines = list(compare_plants(old, [plant]).lines())
        return Answer(Outcome.DONE, "\n".join((f"{file} is written", *lines)))


def _of_step(step: Step) -> str:
    code = f" ({step.code})" if step.code else ""
    fix = f"; {step.fix}" if step.fix else ""
    return f"{step.rung.value} {step.verdict.value}: {step.said}{code}{fix}"


def _refused(said: str) -> Answer:
    return Answer(Outcome.REFUSED, said)


def _sentence(error: NotPossible) -> str:
    return f"{error}: {error.step}" if error.step else str(error)
