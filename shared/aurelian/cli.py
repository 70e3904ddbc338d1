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

from aurelian.local.command_options import (
    Home,
    KafkaAddress,
    home_folder,
    kafka_address,
    running_status,
)
from aurelian.local.gateway_command import give_command
from aurelian.local.installation_commands import db_app, keys_app, topics_app
from aurelian.local.plant_commands import check_plants, plant_app, require_plants
from aurelian.local.rejected_commands import rejected_app
from aurelian.local.terminal import answer, give_up, os_fix, os_reason, terminal
from aurelian.local.trust_commands import trust_app

connect_group = typer.Typer(
    help="Connect machines: find them, connect an OPC UA server or what an MQTT broker brings.",
    no_args_is_help=True,
)
app = typer.Typer(
    help="Open factory telemetry: run it, look into it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(topics_app, name="topics")
app.add_typer(db_app, name="db")
app.add_typer(keys_app, name="keys")
app.add_typer(rejected_app, name="rejected")
app.add_typer(trust_app, name="trust")
app.add_typer(connect_group, name="connect")
app.add_typer(plant_app, name="plant")

DOWN_LIMIT_S = 15.0


class Protocol(StrEnum):
    """As what a file is replayed."""

    OPCUA = "opcua"
    MQTT = "mqtt"


class Stream(StrEnum):
    """What `tail` shows."""

    SAMPLES = "samples"
    EVENTS = "events"


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
            envvar="AURELIAN_PLANT",
            help="Folder of plant-model files, one YAML file per site.",
            show_default="plant in the state folder, beside the pilot plant's",
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(help="Port of the page; the next free one if it is in use.")
    ] = 8080,
    any_ports: Annotated[
        bool, typer.Option("--any-ports", help="Any free ports: several stacks on one machine.")
    ] = False,
    new_log: Annotated[
        bool,
        typer.Option(
            "--new-log",
            help="Kafka's folder was lost: go on with the new, empty log of this start.",
        ),
    ] = False,
) -> None:
    """Start the embedded stack and every service; stop everything with Ctrl-C."""
    from aurelian.local.launcher import run_stack
    from aurelian.local.options import Options

    if not 0 <= port <= 65_535:
        give_up("port must be 0-65535", "aurelian up --port 8080; 0 takes any free port", code=2)
    if plant is not None:
        require_plants(plant)
    options = Options(
        home=home_folder(home),
        plant=plant.absolute() if plant else None,
        pilot=pilot,
        dashboard_port=port,
        fixed_ports=not any_ports,
        new_log=new_log,
        tell=lambda sentence: terminal.print(escape(sentence)),
    )
    run_stack(options)


app.command("check")(check_plants)
app.command("command")(give_command)


@app.command()
def down(home: Home = None) -> None:
    """Stop the stack that runs on this state folder, in order."""
    from aurelian.local.home import read_launcher
    from aurelian.local.processes import await_condition, start_time

    folder = home_folder(home)
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

    folder = home_folder(home)
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

    findings = asyncio.run(examine(home_folder(home)))
    if as_json:
        print(json.dumps([asdict(each) for each in findings], indent=1))
    marks = {
        Verdict.WELL: "[green]✔[/]",
        Verdict.WARNING: "[yellow]▲[/]",
        Verdict.FAULT: "[red]✖[/]",
    }
    for each in findings if not as_json else []:
        answer.print(f"{marks[each.verdict]} {escape(each.text)}")
        if each.fix:
            answer.print(f"    fix: {escape(each.fix)}")
    raise typer.Exit(1 if any(each.verdict is Verdict.FAULT for each in findings) else 0)


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def browse(context: typer.Context) -> None:
    """List what an OPC UA server has, or print it as a plant file: `aurelian browse --help`."""
    from opcua_gateway.browse.command import browse_app

    browse_app(context.args, prog_name="aurelian browse")


@app.command(
    "import",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def import_(context: typer.Context) -> None:
    """Import history from a CSV or Parquet file, each value once: `aurelian import --help`."""
    from importer.command import import_app

    import_app(context.args, prog_name="aurelian import")


@connect_group.command(
    "opcua",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def connect_opcua(context: typer.Context) -> None:
    """Connect an OPC UA server, step by step: `aurelian connect opcua --help`."""
    from opcua_gateway.connect.command import connect_app

    connect_app(context.args, prog_name="aurelian connect opcua")


@connect_group.command(
    "mqtt",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def connect_mqtt(context: typer.Context) -> None:
    """Connect what an MQTT broker brings, step by step: `aurelian connect mqtt --help`."""
    from mqtt_gateway.connect.command import connect_app

    connect_app(context.args, prog_name="aurelian connect mqtt")


@connect_group.command("find")
def connect_find(
    places: Annotated[
        list[str] | None,
        typer.Argument(
            help="Hosts, addresses, HOST:PORT or a network as 192.168.1.0/28.",
            show_default="only what announces itself",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    seconds: Annotated[
        float, typer.Option(min=0, help="How long announcements (mDNS) are listened for.")
    ] = 3.0,
) -> None:
    """Find OPC UA servers and MQTT brokers: what announces itself, and what answers at the usual
    ports of the places named; nothing else is knocked at."""
    from aurelian.local.find_command import print_found

    asyncio.run(print_found(places or [], seconds, as_json=as_json))


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
        int | None, typer.Option(help="opcua: port to listen on.", show_default="4841")
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
    status = running_status(home)
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
    bootstrap: KafkaAddress = None,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="All that Kafka still has, not only what is new.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    home: Home = None,
) -> None:
    """Show samples or events as they come, one line each, until Ctrl-C."""
    from aurelian.local.tail import tail_events, tail_samples

    show = tail_samples if what is Stream.SAMPLES else tail_events
    lines = show(kafka_address(bootstrap, home), match, from_start=from_start, as_json=as_json)
    try:
        asyncio.run(_print_all(lines))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    except BrokenPipeError:
        os._exit(0)  # the reader (head, say) has enough; a flush at exit would complain


async def _print_all(lines: AsyncIterator[str]) -> None:
    async for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main()
