"""From what is wanted of a look to the plant file, and the file written. Called by `app.py`, in a
thread: it reads and writes files."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from aurelian.edge.control.connector import Choice, Connector, NotPossible, Planned
from aurelian.edge.control.looks import KeptLook
from aurelian.edge.control.planning import (
    Change,
    Fields,
    NewSource,
    Place,
    SeveralSites,
    digest_of,
    fitting,
    plan_change,
)
from aurelian.model.plant import Plant
from aurelian.model.plant_file import (
    PlantError,
    folders_of,
    load_plant,
    plant_files,
    read_plants,
)
from aurelian.model.plant_new import SCHEMA_FILE
from aurelian.model.plant_parts import check_zone
from aurelian.model.plant_schema import schema_text
from aurelian.runtime.safe_file import ChangedMeanwhileError, replace_file


@dataclass(frozen=True, slots=True)
class Plan:
    """A change of a plant file. `secret`: where it names the look's password; None: it does not;
    `keys`: of the new sources."""

    change: Change
    keys: Sequence[str]
    secret: Path | None = None

    def shown(self) -> dict[str, object]:
        """As it is answered."""
        return {
            "file": str(self.change.path),
            "before": self.change.digest,
            "after": self.change.after.decode(),
            "lines": self.change.lines(),
            "keys": list(self.keys),
        }


class Plans:
    """Makes and writes plans: into the last of the folders that the setting `plant` names, and with
    passwords in the folder `secrets`."""

    def __init__(self, plant: Path, secrets: Path, connector: Connector) -> None:
        self._plant, self._secrets, self._connector = plant, secrets.absolute(), connector

    def plan(self, kept: KeptLook, choice: Choice, place: Place, *, is_real: bool = True) -> Plan:
        """What a plant file gets of a look. `is_real`: the password's file as it will be called,
        else as it is now.

        Raises:
            NotPossible: nothing is left, or the outcome could not be used.
        """
        planned = self._connector.plan(kept.look, choice)
        if not planned:
            raise NotPossible("nothing of it is wanted", "choose some rows")
        try:
            return self._planned(kept, planned, place, is_real=is_real)
        except SeveralSites as error:
            raise NotPossible(str(error), "name one: `company` and `site`") from error
        except PlantError as error:
            fix = "take another id or site, or correct the file: aurelian plant check"
            raise NotPossible(self._said(error, place), fix) from error

    def write(self, kept: KeptLook, choice: Choice, place: Place, before: str) -> Plan:
        """Write a plan whose file is still as it was when its digest was `before`.

        Raises:
            ChangedMeanwhileError: it is not.
            NotPossible: as `plan`.
            OSError: the disk does not take it.
        """
        self._check_unchanged(place, before)
        plan = self.plan(kept, choice, place)
        change = plan.change
        if change.digest != before:
            raise _changed(change.path)
        change.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if plan.secret is not None and kept.password is not None:
            kept.password.keep(plan.secret)
        try:
            replace_file(change.path, change.after, change.before)
        except BaseException:
            if plan.secret is not None:
                plan.secret.unlink(missing_ok=True)
            raise
        schema = change.path.parent / SCHEMA_FILE
        if change.before is None and not schema.exists():
            with suppress(ChangedMeanwhileError, OSError):  # a help for editors, no more
                replace_file(schema, schema_text().encode(), None)
        return plan

    def _planned(
        self, kept: KeptLook, planned: Sequence[Planned], place: Place, *, is_real: bool
    ) -> Plan:
        folder = self._folder()
        found = fitting(folder, place)
        if found is not None:
            place = place.at(found[1])
        else:
            self._check_new(folder, place)
        sources, secret = [], None
        names = _names_in(found[1] if found is not None else None)
        for each in planned:
            fields = dict(each.fields)
            if is_real and kept.names_password(fields):
                # One for all sources of a look: it is one password.
                secret = secret or self._secret(place, str(fields["id"]))
                fields = kept.settled(fields, secret)
            sources.append(NewSource(fields, _renamed(each, names)))
        change = plan_change(folder, sources, place)
        self._check_all(change)
        keys = [f"{change.plant.path}/{each.fields['id']}" for each in sources]
        return Plan(change, keys, secret)

    def _check_unchanged(self, place: Place, before: str) -> None:
        """Whatever else is in the way: who knows an older file has to look at the new one."""
        with suppress(SeveralSites, PlantError):
            found = fitting(self._folder(), place)
            path = found[0] if found is not None else None
            if (digest_of(path.read_bytes()) if path is not None else "") != before:
                raise _changed(path or self._folder())

    def _said(self, error: PlantError, place: Place) -> str:
        """What the company that asks may know of what is wrong with the files; where none is named
        somebody of the gateway's machine asks."""
        if place.company is None or not error.problems:
            return str(error)
        there = {str(path): path for path in plant_files(self._plant)}
        others = {name for name, path in there.items() if _owner(path) != place.company}
        own = [each for each in error.problems if each.file not in others]
        said = [str(each) for each in own if not any(other in each.said for other in others)]
        if said:
            return "; ".join(said)
        if own:
            return "an id of it stands in another plant file of this gateway too"
        return (
            "a plant file of this gateway cannot be used, and all are taken up together; where it "
            "is of one of your machines the page Connections says what is wrong"
        )

    def _folder(self) -> Path:
        folders = folders_of(self._plant)
        if not folders:
            raise NotPossible("this gateway follows no plant files", "set AURELIAN_PLANT")
        return folders[-1]

    def _check_new(self, folder: Path, place: Place) -> None:
        if folder.is_file():
            raise NotPossible(
                f"this gateway follows one file, {folder}, which is of another site",
                "name its site, or set AURELIAN_PLANT to a folder",
            )
        if not place.is_settled:
            raise NotPossible(
                "this would be a new plant file, and it is not known of what site",
                "say `company`, `site` and `time_zone`",
            )
        try:
            check_zone(place.time_zone or "")
        except ValueError as error:
            raise NotPossible(str(error), "say a `time_zone` such as Europe/Oslo") from error

    def _secret(self, place: Place, source: str) -> Path:
        """A file that no other source has."""
        name = f"{place.company}~{place.site}~{source}"
        path, number = self._secrets / name, 1
        while path.exists():
            number += 1
            path = self._secrets / f"{name}-{number}"
        return path

    def _check_all(self, change: Change) -> None:
        """The plant files of all folders with the change in them, as the gateway will read them."""
        files = {str(path): path.read_bytes() for path in plant_files(self._plant)}
        read_plants({**files, str(change.path): change.after})


def _owner(path: Path) -> str | None:
    """Whose plant file it is; None: it cannot be used."""
    with suppress(PlantError):
        return load_plant(path).owner
    return None


def _names_in(plant: Plant | None) -> dict[tuple[str, str], set[str]]:
    """Names of the units at each area and line."""
    lines = plant.lines() if plant is not None else ()
    return {
        (each.area.name, each.model.name): {unit.model.name for unit in each.units}
        for each in lines
    }


def _renamed(
    planned: Planned, names: dict[tuple[str, str], set[str]]
) -> list[tuple[str, str, Fields]]:
    """The units by names that nobody has at their line, which are added to `names`: of two machines
    of one make each calls itself the same."""
    units = []
    for area, line, fields in planned.units:
        taken = names.setdefault((area, line), set())
        name = free = str(fields["name"])
        number = 1
        while free in taken:
            number += 1
            free = f"{name[:59]}-{number}"
        taken.add(free)
        if free != name:
            fields = {**fields, "name": free}
            if planned.fields.get("kind") != "opcua":
                # A topic or a birth calls it as before.
                fields.setdefault("address", name)
        units.append((area, line, fields))
    return units


def _changed(path: Path) -> ChangedMeanwhileError:
    return ChangedMeanwhileError(
        f"{path} was changed since the plan was made: nothing is written; plan again"
    )
