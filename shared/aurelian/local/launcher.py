"""Run the stack for somebody at a terminal: signals, the terminal before and after, the exit code;
called by `cli.py`."""

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import NoReturn

from rich.markup import escape

from aurelian.local.home import AlreadyRunningError, read_launcher
from aurelian.local.kafka import KafkaError
from aurelian.local.kafka_jars import KafkaJarsError
from aurelian.local.options import (
    KAFKA_PORT,
    MQTT_PORT,
    OPCUA_PORT,
    Options,
    Stack,
    StackError,
    own_plant,
)
from aurelian.local.ports import NoFreePortError
from aurelian.local.postgres import SOCKET_FOLDER_NOTE, PostgresError
from aurelian.local.services import page_links
from aurelian.local.stack import run
from aurelian.local.terminal import give_up, terminal


def run_stack(options: Options) -> NoReturn:
    """Run until SIGINT, SIGTERM or SIGHUP, then end the process: 0 stopped or already running, 1
    could not start."""

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
        terminal.print(f"already running on {options.home}; stop it with: aurelian down")
        if launcher is not None:
            for _, link in page_links(options.home, launcher.url) or [("", launcher.url)]:
                print(link)
        sys.exit(0)
    except (StackError, NoFreePortError, PostgresError, KafkaError, KafkaJarsError) as error:
        give_up(str(error), "aurelian doctor says more")
    terminal.print(f"stopped; these had to be killed: {', '.join(killed)}" if killed else "stopped")
    sys.exit(0)


def delete_state(folder: Path) -> None:
    """Delete everything but the lock that we hold."""
    note = folder / SOCKET_FOLDER_NOTE
    if note.exists():  # the socket's folder lies elsewhere, where a path is short enough
        shutil.rmtree(note.read_text().strip(), ignore_errors=True)
    for each in folder.iterdir():
        if each.name == "run":
            for inner in each.iterdir():
                if inner.name != "lock":
                    shutil.rmtree(inner) if inner.is_dir() else inner.unlink()
        elif each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink()


def _stop_or_die(stop: asyncio.Event) -> None:
    """First signal: stop in order. Second: at once; the kernel ends what we started, since we are
    gone."""
    if stop.is_set():
        os._exit(130)
    terminal.print("stopping")
    stop.set()


def _moved(options: Options, stack: Stack) -> list[str]:
    """One sentence for each usual port that another program has."""
    if not options.fixed_ports:
        return []
    ports = stack.ports
    usual = [
        ("the page", options.dashboard_port, int(stack.url.rpartition(":")[2])),
        ("Kafka", KAFKA_PORT, ports.kafka),
        ("the MQTT broker", MQTT_PORT, ports.mqtt),
    ]
    if stack.has_pilot:
        usual.append(("the pilot plant's OPC UA server", OPCUA_PORT, ports.pilot_opcua))
    return [
        f"port {wanted} is in use by another program; {what} is at {got}"
        for what, wanted, got in usual
        if wanted not in (0, got)
    ]


def _welcome(options: Options, stack: Stack) -> None:
    terminal.print(f"\n[bold]Aurelian runs[/] (started in {stack.seconds:.1f} s). Open:")
    for company, link in page_links(options.home, stack.url):
        terminal.print(f"  pages of {company}:")
        print(link, flush=True)
    for sentence in _moved(options, stack):
        terminal.print(f"  {sentence}")
    terminal.print(
        f"  Kafka protocol 127.0.0.1:{stack.ports.kafka}   MQTT 127.0.0.1:{stack.ports.mqtt}"
    )
    if stack.has_pilot:
        terminal.print(
            f"  pilot plant's OPC UA server opc.tcp://127.0.0.1:{stack.ports.pilot_opcua}"
        )
        terminal.print(
            f"  its faults: python -m pilot_factory.fault … --url http://127.0.0.1:{stack.ports.pilot_control}"
        )
    for what, name, path in (
        ("history", "history", "history/v1"),
        ("maintenance", "maintenance.api", "maintenance/v1"),
        ("capacity", "capacity.api", "capacity/v1"),
        ("events", "partner_events.api", "events/v1"),
    ):
        if name in stack.ports.api:
            terminal.print(f"  API {what}: http://127.0.0.1:{stack.ports.api[name]}/{path}/docs")
    if stack.keys:
        terminal.print("  development keys, shown this once (new ones: aurelian keys create):")
        for line in stack.keys:
            terminal.print(f"    {escape(line)}")
    if options.pilot and not stack.has_pilot:
        terminal.print("  no unit of the plant has `simulate`: the pilot plant does not run")
    terminal.print(f"  plant files, followed while it runs: {own_plant(options)}")
    terminal.print(f"  data and logs: {options.home}")
    terminal.print("Stop with Ctrl-C, or: aurelian down")
