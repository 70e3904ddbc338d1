"""The `aurelian` command: run the embedded stack, look into it, and the one-off steps of an installation.

Data goes to standard output, words for people to standard error. Exit codes: 0 done; 1 could not be done, the
reason and the next step are printed; 2 wrong usage. Imports are inside the commands: `--help` loads nothing.
"""

import asyncio
import errno
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from aurelian.local.stack import Options, Stack

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

words = Console(stderr=True, highlight=False, soft_wrap=True)

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
        _give_up(_os_reason(error), _os_fix(error))


@app.command()
def up(
    home: Home = None,
    pilot: Annotated[
        bool, typer.Option(help="Run the simulated plant; --no-pilot: machines of your own.")
    ] = True,
    plant: Annotated[
        Path | None,
        typer.Option(envvar="AURELIAN_PLANT", help="Folder of plant-model files, one YAML file per site."),
    ] = None,
    port: Annotated[int, typer.Option(help="Port of the page; the next free one if it is in use.")] = 8080,
    any_ports: Annotated[
        bool, typer.Option("--any-ports", help="Any free ports: several stacks on one machine.")
    ] = False,
) -> None:
    """Start the embedded stack and every service; stop everything with Ctrl-C."""
    from aurelian.local.stack import Options

    if plant is not None:
        _check_plant(plant)
    options = Options(
        home=_home(home),
        plant=plant.absolute() if plant else None,
        pilot=pilot,
        dashboard_port=port,
        fixed_ports=not any_ports,
        tell=lambda sentence: words.print(escape(sentence)),
    )
    _run_stack(options)


@app.command()
def down(home: Home = None) -> None:
    """Stop the stack that runs on this state folder, in order."""
    from aurelian.local.home import read_launcher
    from aurelian.local.processes import await_condition, start_time

    folder = _home(home)
    launcher = read_launcher(folder)
    if launcher is None:
        words.print(f"nothing runs on {folder}")
        return
    os.kill(launcher.pid, signal.SIGTERM)
    if not await_condition(lambda: start_time(launcher.pid) != launcher.started, DOWN_LIMIT_S, 0.1):
        _give_up(
            f"process {launcher.pid} has not ended within {DOWN_LIMIT_S:.0f} s",
            f"look at {folder}/log; kill -9 {launcher.pid} ends it and everything that it started",
        )
    words.print("stopped")


@app.command()
def reset(home: Home = None, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Forget all data of this state folder: samples, events, keys, logs."""
    from aurelian.local.home import AlreadyRunningError, hold

    folder = _home(home)
    if not folder.exists():
        words.print(f"there is nothing in {folder}")
        return
    if not (folder / "run" / "lock").exists() and any(folder.iterdir()):
        _give_up(f"{folder} is not a state folder of aurelian: nothing is deleted", "check AURELIAN_HOME")
    if not yes:
        if not sys.stdin.isatty():
            _give_up(f"this deletes all data in {folder}, and there is nobody to ask", "aurelian reset --yes")
        typer.confirm(f"Delete all data in {folder}?", abort=True, err=True)
    try:
        with hold(folder):
            _delete_state(folder)
    except AlreadyRunningError:
        _give_up(f"a stack runs on {folder}", "aurelian down, then aurelian reset")
    words.print(f"{folder} is empty; the next start is a first start")


@app.command()
def doctor(
    home: Home = None,
    as_json: Annotated[bool, typer.Option("--json", help="Findings as JSON on standard output.")] = False,
) -> None:
    """Check what the stack needs and how the running one is; exit code 1 when something is in the way."""
    from dataclasses import asdict

    from aurelian.local.doctor import Verdict, examine

    findings = asyncio.run(examine(_home(home)))
    if as_json:
        print(json.dumps([asdict(each) for each in findings], indent=1))
    marks = {Verdict.WELL: "[green]✔[/]", Verdict.WARNING: "[yellow]▲[/]", Verdict.FAULT: "[red]✖[/]"}
    for each in findings if not as_json else []:
        words.print(f"{marks[each.verdict]} {escape(each.text)}")
        if each.fix:
            words.print(f"    fix: {escape(each.fix)}")
    raise typer.Exit(1 if any(each.verdict is Verdict.FAULT for each in findings) else 0)


@app.command()
def replay(
    file: Annotated[
        Path,
        typer.Argument(exists=True, dir_okay=False, help="CSV file: a column of times, then one per signal."),
    ],
    protocol: Annotated[Protocol, typer.Option("--as", help="Serve it as this kind of machine.")],
    speed: Annotated[float, typer.Option(min=0.001, help="How many times faster than recorded.")] = 1.0,
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
    os.execve(sys.executable, argv, {**surroundings, **os.environ})


@app.command()
def tail(
    what: Annotated[Stream, typer.Argument(help="Samples of machines, or business events.")],
    match: Annotated[
        str, typer.Argument(help="Only what has this in the signal's path, or the event's type or subject.")
    ] = "",
    bootstrap: Annotated[
        str | None,
        typer.Option(envvar="AURELIAN_KAFKA_BOOTSTRAP", help="Kafka. [default: the running stack's]"),
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
        typer.Option(envvar="AURELIAN_KAFKA_BOOTSTRAP", help="Kafka. [default: the running stack's]"),
    ] = None,
    replication_factor: Annotated[
        int, typer.Option(min=1, help="Copies of each partition; 3 in production.")
    ] = 1,
    home: Home = None,
) -> None:
    """Make every topic that is not there yet; prints the names made."""
    from aurelian.topics import create_topics

    for name in asyncio.run(create_topics(_bootstrap(bootstrap, home), replication_factor)):
        print(name)


@db_app.command("upgrade")
def db_upgrade(
    url: Annotated[
        str | None,
        typer.Option(
            envvar="AURELIAN_DATABASE_URL", help="Database, as its owner. [default: the running stack's]"
        ),
    ] = None,
    home: Home = None,
) -> None:
    """Bring the database schema up to date. Several at once do no harm."""
    from aurelian.db.migrate import upgrade

    upgrade(_database(url, home))
    words.print("the database schema is up to date")


@keys_app.command("create")
def keys_create(
    owner: Annotated[
        str, typer.Option(help="Company that the key sees, or * for the platform's own services.")
    ],
    name: Annotated[str, typer.Option(help="What it is for; shown in lists.")],
    scope: Annotated[list[str], typer.Option(help="What it may do, e.g. history:read; may be repeated.")],
    url: Annotated[
        str | None,
        typer.Option(
            envvar="AURELIAN_DATABASE_URL", help="Database, as its owner. [default: the running stack's]"
        ),
    ] = None,
    pepper: Annotated[
        Path | None,
        typer.Option(envvar="AURELIAN_KEY_PEPPER_FILE", dir_okay=False, help="File with the hash's secret."),
    ] = None,
    home: Home = None,
) -> None:
    """Make a key and print it, this once: only its hash is kept."""
    from aurelian.auth import create_key
    from aurelian.local.services import pepper_file

    file = pepper or pepper_file(_home(home))
    if not file.exists():
        _give_up(
            f"the file {file} with the hash's secret does not exist",
            "aurelian up makes one, or use --pepper FILE",
        )
    print(
        create_key(
            _database(url, home), owner=owner, name=name, scopes=tuple(scope), pepper=file.read_bytes()
        )
    )


def _run_stack(options: "Options") -> NoReturn:
    from aurelian.local.broker import BrokerError
    from aurelian.local.home import AlreadyRunningError, read_launcher
    from aurelian.local.ports import NoFreePortError
    from aurelian.local.postgres import PostgresError
    from aurelian.local.stack import StackError, run

    async def until_signal() -> list[str]:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, _stop_or_die, stop)
        return await run(options, stop, lambda stack: _welcome(options, stack))

    try:
        killed = asyncio.run(until_signal())
    except AlreadyRunningError:
        launcher = read_launcher(options.home)
        words.print(f"already running on {options.home}; stop it with: aurelian down")
        if launcher is not None:
            print(launcher.url)
        sys.exit(0)
    except (StackError, NoFreePortError, PostgresError, BrokerError) as error:
        _give_up(str(error), "aurelian doctor says more")
    words.print(f"stopped; these had to be killed: {', '.join(killed)}" if killed else "stopped")
    sys.exit(0)


def _check_plant(folder: Path) -> None:
    from aurelian.assets import PlantError, load_plants

    try:
        load_plants(folder)
    except PlantError as error:
        _give_up(str(error), "correct the file, or name another folder with --plant")


def _stop_or_die(stop: asyncio.Event) -> None:
    """First signal: stop in order. Second: at once; the kernel ends what we started, since we are gone."""
    if stop.is_set():
        os._exit(130)
    words.print("stopping")
    stop.set()


def _welcome(options: "Options", stack: "Stack") -> None:
    words.print(f"\n[bold]Aurelian runs[/] (started in {stack.seconds:.1f} s). Open this page:")
    print(stack.url, flush=True)
    if options.fixed_ports and not stack.url.endswith(f":{options.dashboard_port}"):
        words.print(f"  (port {options.dashboard_port} is in use by another program)")
    words.print(f"  Kafka protocol 127.0.0.1:{stack.ports.kafka}   MQTT 127.0.0.1:{stack.ports.mqtt}")
    if options.pilot:
        words.print(f"  pilot plant's OPC UA server opc.tcp://127.0.0.1:{stack.ports.pilot_opcua}")
    if stack.keys:
        words.print("  development keys, shown this once (new ones: aurelian keys create):")
        for line in stack.keys:
            words.print(f"    {escape(line)}")
    words.print(f"  data and logs: {options.home}")
    words.print("Stop with Ctrl-C, or: aurelian down")


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
        _give_up(f"nothing runs on {_home(home)}", f"aurelian up, or name another with {otherwise}")
    return status


def _delete_state(folder: Path) -> None:
    """Delete everything but the lock that we hold."""
    for each in folder.iterdir():
        if each.name == "run":
            for inner in each.iterdir():
                if inner.name != "lock":
                    shutil.rmtree(inner) if inner.is_dir() else inner.unlink()
        elif each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink()


def _give_up(reason: str, fix: str) -> NoReturn:
    """Say what is in the way and what to do next; end with exit code 1."""
    words.print(f"[red]✖[/] {escape(reason)}\n    next: {escape(fix)}")
    sys.exit(1)


def _os_reason(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return f"the disk is full{where}"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return f"no permission to write{where}"
        case _:
            return f"{error.strerror or error}{where}"


def _os_fix(error: OSError) -> str:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return "free some disk, or set AURELIAN_HOME to a folder on a larger one"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return "set AURELIAN_HOME to a folder of your own"
        case _:
            return "aurelian doctor"
