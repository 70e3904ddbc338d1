"""The `aurelian` command: run the embedded stack, look into it, and the one-off steps of an
installation.

Data goes to standard output, words for people to standard error. Exit codes: 0 done; 1 could not be
done, the reason and the next step are printed; 2 wrong usage. Imports are inside the commands:
`--help` loads nothing.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from aurelian.local.terminal import give_up, os_fix, os_reason, terminal

app = typer.Typer(
    help="Open factory telemetry: run it, look into it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
topics_app = typer.Typer(help="Kafka topics.", no_args_is_help=True)
db_app = typer.Typer(help="Database schema.", no_args_is_help=True)
keys_app = typer.Typer(help="Keys for the APIs.", no_args_is_help=True)
app.add_typer(topics_app, name="topics")
app.add_typer(db_app, name="db")
app.add_typer(keys_app, name="keys")

DOWN_LIMIT_S = 15.0


class Protocol(StrEnum):
    """As what a file is replayed."""

    OPCUA = "opcua"
    MQTT = "mqtt"


class Stream(StrEnum):
    """What `tail` shows."""

    SAMPLES = "samples"
    EVENTS = "events"


Home = Annotated[
    Path | None,
    typer.Option(
        "--home",
        envvar="AURELIAN_HOME",
        help="State folder. [default: ~/.local/share/aurelian, root: /var/lib/aurelian]",
    ),
]


def main() -> None:
    """Run the command line; ends the process."""
    try:
        app()
    except OSError as error:
        give_up(os_reason(error), os_fix(error))


@app.command()
def up(
    home: Home = None,
    pilot: Annotated[
        bool, typer.Option(help="Run the simulated plant; --no-pilot: machines of your own.")
    ] = True,
    plant: Annotated[
        Path | None,
        typer.Option(
            envvar="AURELIAN_PLANT", help="Folder of plant-model files, one YAML file per site."
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(help="Port of the page; the next free one if it is in use.")
    ] = 8080,
    any_ports: Annotated[
        bool, typer.Option("--any-ports", help="Any free ports: several stacks on one machine.")
    ] = False,
) -> None:
    """Start the embedded stack and every service; stop everything with Ctrl-C."""
    from aurelian.local.launcher import run_stack
    from aurelian.local.stack import Options

    if plant is not None:
        _check_plant(plant)
    elif not pilot:
        give_up(
            "without the pilot plant there is no plant model",
            "name a folder with yours: --plant FOLDER",
        )
    options = Options(
        home=_home(home),
        plant=plant.absolute() if plant else None,
        pilot=pilot,
        dashboard_port=port,
        fixed_ports=not any_ports,
        tell=lambda sentence: terminal.print(escape(sentence)),
    )
    run_stack(options)


@app.command()
def down(home: Home = None) -> None:
    """Stop the stack that runs on this state folder, in order."""
    from aurelian.local.home import read_launcher
    from aurelian.local.processes import await_condition, start_time

    folder = _home(home)
    launcher = read_launcher(folder)
    if launcher is None:
        terminal.print(f"nothing runs on {folder}")
        return
    os.kill(launcher.pid, signal.SIGTERM)
    if not await_condition(lambda: start_time(launcher.pid) != launcher.started, DOWN_LIMIT_S, 0.1):
        give_up(
            f"process {launcher.pid} has not ended within {DOWN_LIMIT_S:.0f} s",
            f"look at {folder}/log; kill -9 {launcher.pid} ends it and everything that it started",
        )
    terminal.print("stopped")


@app.command()
def reset(
    home: Home = None, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False
) -> None:
    """Forget all data of this state folder: samples, events, keys, logs."""
    from aurelian.local.home import AlreadyRunningError, hold
    from aurelian.local.launcher import delete_state

    folder = _home(home)
    if not folder.exists():
        terminal.print(f"there is nothing in {folder}")
        return
    if not (folder / "run" / "lock").exists() and any(folder.iterdir()):
        give_up(
            f"{folder} is not a state folder of aurelian: nothing is deleted", "check AURELIAN_HOME"
        )
    if not yes:
        if not sys.stdin.isatty():
            give_up(
                f"this deletes all data in {folder}, and there is nobody to ask",
                "aurelian reset --yes",
            )
        typer.confirm(f"Delete all data in {folder}?", abort=True, err=True)
    try:
        with hold(folder):
            delete_state(folder)
    except AlreadyRunningError:
        give_up(f"a stack runs on {folder}", "aurelian down, then aurelian reset")
    terminal.print(f"{folder} is empty; the next start is a first start")


@app.command()
def doctor(
    home: Home = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Findings as JSON on standard output.")
    ] = False,
) -> None:
    """Check what the stack needs and how the running one is; exit code 1 when something is in the
    way."""
    from dataclasses import asdict

    from aurelian.local.doctor import Verdict, examine

    findings = asyncio.run(examine(_home(home)))
    if as_json:
        print(json.dumps([asdict(each) for each in findings], indent=1))
    marks = {
        Verdict.WELL: "[green]✔[/]",
        Verdict.WARNING: "[yellow]▲[/]",
        Verdict.FAULT: "[red]✖[/]",
    }
    for each in findings if not as_json else []:
        terminal.print(f"{marks[each.verdict]} {escape(each.text)}")
        if each.fix:
            terminal.print(f"    fix: {escape(each.fix)}")
    raise typer.Exit(1 if any(each.verdict is Verdict.FAULT for each in findings) else 0)


@app.command()
def replay(
    file: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, help="CSV file: a column of times, then one per signal."
        ),
    ],
    protocol: Annotated[Protocol, typer.Option("--as", help="Serve it as this kind of machine.")],
    speed: Annotated[
        float,
        typer.Option(
            min=0, help="How many times faster than recorded; 0: as fast as it is acknowledged."
        ),
    ] = 1.0,
    now: Annotated[bool, typer.Option("--now", help="Move the times: it happens now.")] = False,
    port: Annotated[
        int | None, typer.Option(help="opcua: port to listen on. [default: 4841]")
    ] = None,
    where: Annotated[
        str | None, typer.Option(help="COLUMN=TEXT: only those rows, one machine of many.")
    ] = None,
    write_plant: Annotated[
        Path | None,
        typer.Option(
            file_okay=False, exists=True, help="Write the plant model that fits into this folder."
        ),
    ] = None,
    home: Home = None,
) -> None:
    """Serve the columns of a CSV file as a machine, until it is played."""
    status = _status(home)
    surroundings = {"AURELIAN_MQTT_URL": str(status["mqtt_url"])} if status else {}
    argv = [
        sys.executable,
        "-m",
        "pilot_factory.replay",
        str(file),
        "--as",
        protocol.value,
        "--speed",
        str(speed),
    ]
    argv += ["--now"] if now else []
    for name, value in (("--port", port), ("--where", where), ("--write-plant", write_plant)):
        argv += [name, str(value)] if value is not None else []
    os.execve(sys.executable, argv, {**surroundings, **os.environ})


@app.command()
def tail(
    what: Annotated[Stream, typer.Argument(help="Samples of machines, or business events.")],
    match: Annotated[
        str,
        typer.Argument(
            help="Only what has this in the signal's path, or the event's type or subject."
        ),
    ] = "",
    bootstrap: Annotated[
        str | None,
        typer.Option(
            envvar="AURELIAN_KAFKA_BOOTSTRAP", help="Kafka. [default: the running stack's]"
        ),
    ] = None,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="All that Kafka still has, not only what is new.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    home: Home = None,
) -> None:
    """Show samples or events as they come, one line each, until Ctrl-C."""
    from aurelian.local.tail import tail_events, tail_samples

    show = tail_samples if what is Stream.SAMPLES else tail_events
    lines = show(_bootstrap(bootstrap, home), match, from_start=from_start, as_json=as_json)
    try:
        asyncio.run(_print_all(lines))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    except BrokenPipeError:
        os._exit(0)  # the reader (head, say) has enough; a flush at exit would complain


@topics_app.command("create")
def topics_create(
    bootstrap: Annotated[
        str | None,
        typer.Option(
            envvar="AURELIAN_KAFKA_BOOTSTRAP", help="Kafka. [default: the running stack's]"
        ),
    ] = None,
    replication_factor: Annotated[
        int, typer.Option(min=1, help="Copies of each partition; 3 in production.")
    ] = 1,
    home: Home = None,
) -> None:
    """Make every topic that is not there yet; prints the names made."""
    from aurelian.backbone.topics import create_topics

    for name in asyncio.run(create_topics(_bootstrap(bootstrap, home), replication_factor)):
        print(name)


@db_app.command("upgrade")
def db_upgrade(
    url: Annotated[
        str | None,
        typer.Option(
            envvar="AURELIAN_DATABASE_URL",
            help="Database, as its owner. [default: the running stack's]",
        ),
    ] = None,
    password_file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="File with the owner's password."),
    ] = None,
    log: Annotated[
        str | None,
        typer.Option(
            help="Declare this name as Kafka's log, unless one is declared: the first start of an installation."
        ),
    ] = None,
    home: Home = None,
) -> None:
    """Bring the database schema up to date. Several at once do no harm."""
    from aurelian.db.logs import declare_first_log
    from aurelian.db.migrate import upgrade
    from aurelian.runtime.settings import with_password

    database = _database(url, home)
    if password_file is not None:
        database = with_password(database, password_file)
    upgrade(database)
    if log is not None:
        declare_first_log(database, log)
    terminal.print("the database schema is up to date")


@keys_app.command("create")
def keys_create(
    owner: Annotated[
        str, typer.Option(help="Company that the key sees, or * for the platform's own services.")
    ],
    name: Annotated[str, typer.Option(help="What it is for; shown in lists.")],
    scope: Annotated[
        list[str], typer.Option(help="What it may do, e.g. history:read; may be repeated.")
    ],
    url: Annotated[
        str | None,
        typer.Option(
            envvar="AURELIAN_DATABASE_URL",
            help="Database, as its owner. [default: the running stack's]",
        ),
    ] = None,
    pepper: Annotated[
        Path | None,
        typer.Option(
            envvar="AURELIAN_KEY_PEPPER_FILE", dir_okay=False, help="File with the hash's secret."
        ),
    ] = None,
    home: Home = None,
) -> None:
    """Make a key and print it, this once: only its hash is kept."""
    from aurelian.access.keys import create_key
    from aurelian.local.services import pepper_file

    file = pepper or pepper_file(_home(home))
    if not file.exists():
        give_up(
            f"the file {file} with the hash's secret does not exist",
            "aurelian up makes one, or use --pepper FILE",
        )
    print(
        create_key(
            _database(url, home),
            owner=owner,
            name=name,
            scopes=tuple(scope),
            pepper=file.read_bytes(),
        )
    )


def _check_plant(folder: Path) -> None:
    from aurelian.model.plant_file import PlantError, load_plants

    try:
        load_plants(folder)
    except PlantError as error:
        give_up(str(error), "correct the file, or name another folder with --plant", code=2)


async def _print_all(lines: AsyncIterator[str]) -> None:
    async for line in lines:
        print(line, flush=True)


def _home(named: Path | None) -> Path:
    from aurelian.local.home import default_home

    return named.expanduser().absolute() if named else default_home()


def _status(home: Path | None) -> dict[str, object] | None:
    from aurelian.local.home import is_held, read_status

    folder = _home(home)
    return read_status(folder) if is_held(folder) else None


def _bootstrap(named: str | None, home: Path | None) -> str:
    return named or str(_running(home, "--bootstrap HOST:PORT")["kafka_bootstrap"])


def _database(named: str | None, home: Path | None) -> str:
    return named or str(_running(home, "--url URL")["database_url"])


def _running(home: Path | None, otherwise: str) -> dict[str, object]:
    status = _status(home)
    if status is None:
        give_up(f"nothing runs on {_home(home)}", f"aurelian up, or name another with {otherwise}")
    return status


if __name__ == "__main__":
    main()
