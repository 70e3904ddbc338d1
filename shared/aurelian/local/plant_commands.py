"""The commands `aurelian plant`: look through plant-model files, say what a change of them will do,
help editors with them. `aurelian check` is `aurelian plant check` under its older name."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from aurelian.local.command_options import Home, home_folder, running_status
from aurelian.local.terminal import answer, give_up, terminal
from aurelian.runtime.settings import read_names

if TYPE_CHECKING:
    from aurelian.model.plant import Plant
    from aurelian.model.plant_file import Problem

plant_app = typer.Typer(help="Plant-model files: check, compare, schema.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]

_WRONG_FILE = 2
_DIFFERENT = 1


def check_plants(
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="[PATH]",
            envvar="AURELIAN_PLANT",
            help="Folder of plant-model files, or one of them.",
            show_default="that of the stack on this machine, else the current folder",
        ),
    ] = None,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Read plant-model files as a start does; every mistake of all files with file, line and field.

    What it warns of (secrets that cannot be read from here, lines without figures, units that are
    no UCUM codes) does not change the exit code: a gateway may run on another machine, or figures
    may not be wanted.
    """
    from aurelian.local.plant_check import warnings_of
    from aurelian.local.unit_check import unit_warnings
    from aurelian.model.plant_file import PlantError, read_files, read_plants

    if path is None:
        path = _own_folder(home)
        terminal.print(f"plant files in {escape(str(path))}")
    try:
        files = {str(each): data for each, data in read_files(path).items()}
        sites = read_plants(files)
    except PlantError as error:
        if as_json:
            found = [_fields(each) for each in error.problems]
            print(json.dumps({"valid": False, "problems": found, "sites": []}, ensure_ascii=False))
            raise typer.Exit(_WRONG_FILE) from None
        give_up(_listed(error), "correct the file, or name another folder", code=_WRONG_FILE)
    clear_hosts = {each: _clear_hosts(each) for each in ("OPCUA", "MQTT")}
    rows = []
    for site in sites:
        lines = list(site.lines())
        units = sum(len(line.units) for line in lines)
        warnings = list(warnings_of(site, clear_hosts, home_folder(home)))
        warnings += unit_warnings(site, files)
        rows.append(
            {
                "site": site.path,
                "sources": len(site.sources),
                "lines": len(lines),
                "units": units,
                "time_zone": site.time_zone,
                "warnings": warnings,
            }
        )
        if as_json:
            continue
        print(
            f"{site.path}: {len(site.sources)} sources, {len(lines)} lines, "
            f"{units} machines, times of {site.time_zone}"
        )
        for sentence in warnings:
            terminal.print(f"[yellow]![/] {escape(sentence)}")
    if as_json:
        print(json.dumps({"valid": True, "problems": [], "sites": rows}, ensure_ascii=False))


plant_app.command("check")(check_plants)


@plant_app.command("diff")
def diff_plants(
    old: Annotated[
        Path,
        typer.Argument(help="Folder or file as it was; alone: as it shall be.", exists=True),
    ],
    new: Annotated[
        Path | None,
        typer.Argument(
            help="As it shall be.",
            show_default="OLD, compared with what the gateways run with",
            exists=True,
        ),
    ] = None,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Say what a change will do before it does it: to connections, names, meaning and history.

    Exit code 0: nothing differs; 1: something does; 2: a file is wrong.
    """
    from aurelian.model.plant_diff import compare_plants

    after = _load(old if new is None else new)
    before = _running(home_folder(home)) if new is None else _load(old)
    if (new or old).is_file() and (new is None or old.is_dir()):
        # One file of several: the other sites are not meant.
        sites = {each.path for each in after}
        before = [each for each in before if each.path in sites] or before
    diff = compare_plants(before, after)
    if as_json:
        print(json.dumps(diff.as_json(), ensure_ascii=False))
    else:
        for line in diff.lines():
            answer.print(escape(line))
        if diff.is_empty:
            terminal.print("nothing differs")
    if not diff.is_empty:
        raise typer.Exit(_DIFFERENT)


@plant_app.command("schema")
def write_schema(
    folder: Annotated[
        Path | None,
        typer.Option(
            "--write",
            file_okay=False,
            exists=True,
            help="Write it into this folder as plant.schema.json, for the files there.",
        ),
    ] = None,
) -> None:
    """Print the JSON Schema of plant-model files, with which editors complete and check them."""
    from aurelian.model.plant_new import SCHEMA_FILE
    from aurelian.model.plant_schema import schema_text

    if folder is None:
        print(schema_text(), end="")
        return
    (folder / SCHEMA_FILE).write_text(schema_text(), encoding="utf-8")
    terminal.print(
        f"{escape(str(folder / SCHEMA_FILE))} is written. An editor with the YAML language server "
        "uses it for a file whose first line is\n"
        f"# yaml-language-server: $schema={SCHEMA_FILE}"
    )


def require_plants(folder: Path) -> None:
    """End the process, with every problem, unless the files of a folder can be used."""
    from aurelian.model.plant_file import PlantError, load_plants

    try:
        load_plants(folder)
    except PlantError as error:
        give_up(_listed(error), "correct the file, or name another folder", code=_WRONG_FILE)


def _own_folder(home: Path | None) -> Path:
    """The plant files that are meant where nobody names a folder: those that the stack on this
    machine follows, else those of its state folder, else the current folder."""
    from aurelian.model.plant_file import plant_files

    status = running_status(home) or {}
    followed = (status.get("own_plant"), home_folder(home) / "plant", status.get("plant"))
    for folder in (Path(str(each)) for each in followed if each):
        try:
            if plant_files(folder):
                return folder
        except OSError:  # of another user
            continue
    return Path.cwd()


def _listed(error: Exception) -> str:
    """Problems one on a line, their number where they are many."""
    lines = str(error).split("\n")
    return "\n".join(lines) if len(lines) == 1 else "\n".join([f"{len(lines)} problems:", *lines])


def _fields(problem: "Problem") -> dict[str, object]:
    return {
        "file": problem.file,
        "line": problem.line,
        "field": problem.field or None,
        "said": problem.said,
    }


def _load(path: Path) -> "Sequence[Plant]":
    from aurelian.model.plant_file import PlantError, load_plants

    try:
        return load_plants(path)
    except PlantError as error:
        give_up(_listed(error), "correct the file, or name another", code=_WRONG_FILE)


def _running(home: Path) -> "Sequence[Plant]":
    """What the gateways of the stack in a state folder run with, by the copy that they keep."""
    from aurelian.model.plant_file import PlantError, read_plants

    found: dict[Path, dict[str, str]] = {}
    faults = []
    for gateway in ("opcua_gateway", "mqtt_gateway"):
        path = home / "state" / gateway / "plant.json"
        try:
            files = json.loads(path.read_text(encoding="utf-8"))["files"]
            found[path] = {str(name): str(text) for name, text in files.items()}
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            faults.append(f"{path} cannot be read ({type(error).__name__})")
    found = {path: files for path, files in found.items() if files}
    if not found:
        why = "; ".join(faults) or f"no gateway has kept a plant model in {home}/state"
        give_up(
            f"what runs now is not known: {why}",
            "aurelian plant diff OLD NEW, or --home FOLDER for another state folder",
            code=_WRONG_FILE,
        )
    newest = max(found, key=lambda each: each.stat().st_mtime_ns)
    if any(files != found[newest] for files in found.values()):
        terminal.print(
            "[yellow]![/] the gateways run with different plant models; compared is the newer one, "
            f"{escape(str(newest))}"
        )
    try:
        return read_plants({name: text.encode() for name, text in found[newest].items()})
    except PlantError as error:
        give_up(
            f"the plant model in {newest} cannot be read here:\n{error}",
            "set the environment as the gateways have it, or aurelian plant diff OLD NEW",
            code=_WRONG_FILE,
        )


def _clear_hosts(protocol: str) -> list[str]:
    """What a gateway would read of this environment; nothing where it is no list."""
    try:
        hosts = read_names(os.environ.get(f"AURELIAN_{protocol}_INSECURE_HOSTS", ""))
    except ValueError:
        return []
    return [str(each) for each in hosts] if isinstance(hosts, list) else []
