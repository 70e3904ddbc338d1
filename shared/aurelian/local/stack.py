"""Start the embedded stack and every service, keep them alive, stop them in order; called by
`aurelian up`.

Order: MQTT broker and database, migrations, a declared log, Kafka-protocol broker, topics,
services. The broker's log lives in memory, so each of its starts is declared in the database first
as a new log; who must send again what was in the old one (gateways, event relays) then does.
"""

import asyncio
import functools
import importlib.util
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from aurelian.local import broker, home, mqtt, postgres
from aurelian.local.ports import LOOPBACK, accepts, any_free, first_free
from aurelian.local.preparation import KIT, Preparation
from aurelian.local.processes import Account, start, tail_of
from aurelian.local.services import (
    SERVICES,
    Rank,
    Service,
    Surroundings,
    dashboard_key_file,
    to_program,
)
from aurelian.local.status import is_ready, report_status
from aurelian.local.supervisor import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    Kept,
    NotStartedError,
    await_up,
    stop_all,
)

DATABASE = "aurelian"
FIRST_OPS_PORT = 8101
_STOP_LIMIT_S = 8.5
_STOP_STEPS: tuple[tuple[Rank | tuple[str, ...], float, float], ...] = (
    (Rank.PLANT, 2.0, 0.5),
    (Rank.GATEWAY, 3.0, 1.0),
    (Rank.WORKER, 3.0, 1.0),
    (Rank.API, 2.0, 0.5),
    (Rank.PAGE, 2.0, 0.5),
    (("mqtt", "broker"), 1.0, 0.5),
    (("postgres",), 3.0, 1.5),
)
"""Who is stopped together, in order; how long they may take at most, and at least however slow
those before were."""


class StackError(Exception):
    """The stack cannot run; the message says what is in the way and what to do."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to run, and where."""

    home: Path
    plant: Path | None = None
    """Folder of plant-model files; None: the pilot plant's own."""
    pilot: bool = True
    dashboard_port: int = 8080
    fixed_ports: bool = True
    """False: every port is any free one (several stacks on one machine)."""
    services: tuple[Service, ...] = SERVICES
    preparation: Preparation = KIT
    seed: str = "pilot_factory.seed"
    """Module that fills a first start's history; empty: none."""
    broker_memory_limit_mb: int = broker.MEMORY_LIMIT_MB
    start_limit_s: float = 120.0
    """How long the last service may take to be ready."""
    tell: Callable[[str], None] = lambda sentence: None
    """Told each step, for people."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The TCP ports of one run, all on loopback."""

    kafka: int
    mqtt: int
    pilot_opcua: int
    pilot_control: int
    ops: dict[str, int]


@dataclass(frozen=True, slots=True)
class Stack:
    """What `run` tells when everything is up."""

    url: str
    ports: Ports
    database_url: str
    keys: tuple[str, ...]
    """The development keys, on a first start only: they are stored hashed and cannot be shown
    again."""
    seconds: float
    """Time that the start took."""


async def run(options: Options, stop: asyncio.Event, on_up: Callable[[Stack], None]) -> list[str]:
    """Run the stack until `stop` is set, then stop everything in order within 10 s. Holds the state
    folder.

    `on_up` is called when every process is started and the last service of the table answers
    `/readyz`.

    Returns:
        The names of the processes that did not end by themselves and were killed.

    Raises:
        AlreadyRunningError: another launcher holds the folder.
        StackError: a server or service cannot be started.
        NoFreePortError, postgres.PostgresError, broker.BrokerError, OSError: as their messages say.
    """
    account = postgres.open_home(options.home)
    _check_disk(options.home)
    with home.hold(options.home):
        launch = _Launch(options, account)
        home.write_launcher(options.home, launch.url)
        async with asyncio.TaskGroup() as group:
            launch.group = group
            try:
                failure = await _start_until(stop, launch, on_up)
            finally:
                killed = await launch.stop_in_order()
        if failure is not None:
            raise failure
        return killed


def _check_disk(folder: Path) -> None:
    free_mb = home.free_mb(folder)
    if free_mb < home.LEAST_FREE_MB:
        raise StackError(
            f"only {free_mb} MB are free on the disk of {folder}, {home.LEAST_FREE_MB} MB are needed: "
            "free some, or set AURELIAN_HOME to a folder on a larger disk"
        )


async def _start_until(
    stop: asyncio.Event, launch: "_Launch", on_up: Callable[[Stack], None]
) -> BaseException | None:
    """Start everything and wait for `stop`; return the reason when the start failed."""
    starting = asyncio.ensure_future(launch.start())
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.wait({starting})
        return None
    failure = starting.exception()
    if failure is None:
        on_up(starting.result())
        await stop.wait()
    stopping.cancel()
    return StackError(str(failure)) if isinstance(failure, NotStartedError) else failure


class _Launch:
    """One run: what was started so far, in order."""

    group: asyncio.TaskGroup
    around: Surroundings

    def __init__(self, options: Options, account: Account | None) -> None:
        self.options = options
        self.account = account
        self.logs = options.home / "log"
        self.ports = choose_ports(options)
        self.plant = options.plant or pilot_plant()
        self.kept: dict[str, Kept] = {}
        self.ranks: dict[str, Rank] = {}
        self.side_tasks: list[asyncio.Task[None]] = []
        self.told: dict[str, str] = {}  # who keeps ending, and why: said once

    async def start(self) -> Stack:
        """Start servers and services; return when the last service is ready."""
        began = time.monotonic()
        options, ports = self.options, self.ports
        self.keep(self.mqtt_server())
        database = postgres.prepare(options.home, self.logs / "postgres.log")
        server = self.keep(
            Kept(database.program, after=functools.partial(_await_database, database))
        )
        options.tell("starting the database")
        await await_up(server, 30)
        owner_url = database.url(DATABASE)
        await asyncio.to_thread(postgres.create_database, database.url(), DATABASE)
        options.tell("bringing the database schema up to date")
        await asyncio.to_thread(options.preparation.migrate, owner_url)
        options.tell("starting the brokers")
        await await_up(self.keep(self.kafka_server(owner_url)), 30)
        await await_up(self.kept["mqtt"], 15)
        keys = await self.make_first_keys(owner_url)
        options.tell(f"starting {len(self.services)} services")
        self.start_services(database)
        await self.await_ready(self.kept[self.services[-1].name])
        if options.pilot and options.seed:
            # Now, not before: it would slow down the start of the services.
            seed = self.seed_history(self.around)
            self.side_tasks.append(self.group.create_task(seed, name="seed history"))
        return Stack(self.url, ports, owner_url, keys, time.monotonic() - began)

    @property
    def url(self) -> str:
        """Address of the page, which the last service of the table serves."""
        return f"http://{LOOPBACK}:{self.ports.ops[self.services[-1].name]}"

    @property
    def services(self) -> list[Service]:
        """The table without what was not asked for."""
        return [
            each
            for each in self.options.services
            if self.options.pilot or each.rank is not Rank.PLANT
        ]

    def keep(self, kept: Kept) -> Kept:
        """Start a process and keep it alive until the end of the run."""
        kept.on_end = self.tell_end
        self.kept[kept.program.name] = kept
        self.group.create_task(kept.keep(), name=f"keep {kept.program.name}")
        return kept

    def tell_end(self, name: str, reason: str, pause_s: float) -> None:
        """Say that a process ended by itself: the first time, and when it does not stop doing
        so."""
        if pause_s == FIRST_PAUSE_S:
            self.told.pop(name, None)
        elif pause_s != LONGEST_PAUSE_S or self.told.get(name) == reason:
            return
        else:
            self.told[name] = reason
        self.options.tell(
            f"{name} {reason}, starts again in {pause_s:g} s; its log: {self.logs / name}.log"
        )

    def mqtt_server(self) -> Kept:
        """Describe the MQTT broker."""
        port = self.ports.mqtt
        program = mqtt.program(
            port, self.options.home / "mqtt", self.logs / "mqtt.log", self.account
        )
        return Kept(program, after=functools.partial(_await_port, port))

    def kafka_server(self, owner_url: str) -> Kept:
        """Describe the Kafka-protocol broker, each of whose starts is a new log."""
        port, kit = self.ports.kafka, self.options.preparation

        async def declare_log() -> None:
            try:
                await asyncio.to_thread(kit.declare_log, owner_url, uuid.uuid4())
            except psycopg.Error as error:
                raise NotStartedError(f"the database does not take the new log: {error}") from error

        async def create_topics() -> None:
            await _await_port(port)
            await kit.create_topics(f"{LOOPBACK}:{port}", 1)
            # Who sent to the new broker before it had its topics may have been acknowledged for
            # nothing: a log declared anew makes everyone send again.
            await declare_log()

        return Kept(
            broker.program(port, self.logs / "broker.log"), before=declare_log, after=create_topics
        )

    async def make_first_keys(self, owner_url: str) -> tuple[str, ...]:
        """Make the keys, on the first start of a home only."""
        home_folder = self.options.home
        if dashboard_key_file(home_folder).exists():
            return ()
        (home_folder / "state").mkdir(exist_ok=True, mode=0o700)
        create_keys = self.options.preparation.create_keys
        return await asyncio.to_thread(create_keys, owner_url, home_folder, self.plant)

    def start_services(self, database: postgres.Postgres) -> None:
        """Start every service of the table at once, and what watches them."""
        options, ports = self.options, self.ports
        around = Surroundings(
            home=options.home,
            plant=self.plant,
            kafka_bootstrap=f"{LOOPBACK}:{ports.kafka}",
            mqtt_url=f"mqtt://{LOOPBACK}:{ports.mqtt}",
            database_url={
                each.role: database.url(DATABASE, each.role)
                for each in self.services
                if each.rank
                # machines know no database; their seeded past is the owner's step
                is not Rank.PLANT
            },
            owner_url=database.url(DATABASE),
            ops_port=ports.ops,
            pilot_opcua_port=ports.pilot_opcua,
            pilot_control_port=ports.pilot_control,
        )
        for service in self.services:
            (options.home / "state" / service.name).mkdir(parents=True, exist_ok=True, mode=0o700)
            program = to_program(service, options.services, around)
            port = ports.ops[service.name]
            self.ranks[service.name] = service.rank
            self.keep(
                Kept(program, port, after=functools.partial(_await_port, port), after_limit_s=120)
            )
        fixed_status: dict[str, Any] = {
            "url": self.url,
            "broker_memory_limit_mb": options.broker_memory_limit_mb,
            "kafka_bootstrap": around.kafka_bootstrap,
            "mqtt_url": around.mqtt_url,
            "opcua_url": f"opc.tcp://{LOOPBACK}:{ports.pilot_opcua}" if options.pilot else None,
            "pilot_control_url": f"http://{LOOPBACK}:{ports.pilot_control}"
            if options.pilot
            else None,
            "database_url": database.url(DATABASE),
        }
        report = report_status(options.home, fixed_status, self.kept)
        self.side_tasks.append(self.group.create_task(report, name="report status"))
        self.around = around

    async def seed_history(self, around: Surroundings) -> None:
        """Fill the trends of a first start in the background; tried again at the next start unless
        it went well."""
        done = self.options.home / "state" / "history-seeded"
        if done.exists():
            return
        service = Service("seed", self.options.seed, Rank.PLANT)
        told = to_program(service, self.options.services, around)
        process = await start(told)
        try:
            code = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if code == 0:
            done.touch(mode=0o600)
        else:
            self.options.tell(
                f"the seeded history is not complete (exit code {code}); its log: {told.log}"
            )

    async def await_ready(self, page: Kept) -> None:
        """Wait until the last service answers that it is ready."""
        port, limit_s = page.ops_port or 0, self.options.start_limit_s
        deadline = time.monotonic() + limit_s
        while not await is_ready(port):
            if time.monotonic() > deadline:
                raise StackError(
                    f"{page.program.name} was not ready within {limit_s:.0f} s; the end of {page.program.log}: "
                    f"{tail_of(page.program.log) or 'empty'}"
                )
            await asyncio.sleep(0.1)

    async def stop_in_order(self) -> list[str]:
        """Stop sources first and the database last; return the names of those that had to be
        killed."""
        for task in self.side_tasks:
            task.cancel()
        deadline = time.monotonic() + _STOP_LIMIT_S
        killed = []
        for number, (who, most_s, least_s) in enumerate(_STOP_STEPS):
            reserved_s = sum(later[2] for later in _STOP_STEPS[number + 1 :])
            limit_s = max(least_s, min(most_s, deadline - reserved_s - time.monotonic()))
            killed += await stop_all(self.kept_of(who), limit_s)
        for name in ("launcher.json", "status.json"):
            (self.options.home / "run" / name).unlink(missing_ok=True)
        return killed

    def kept_of(self, who: Rank | tuple[str, ...]) -> list[Kept]:
        """Return the processes of a rank, or those named."""
        if isinstance(who, Rank):
            return [each for name, each in self.kept.items() if self.ranks.get(name) is who]
        return [self.kept[name] for name in who if name in self.kept]


def choose_ports(options: Options) -> Ports:
    """Choose a free port for each listener: the usual one, or the next free one above it.

    Raises:
        NoFreePortError: a hundred ports in a row are in use.
    """
    taken: set[int] = set()

    def choose(preferred: int) -> int:
        return first_free(preferred if options.fixed_ports else any_free(), taken)

    ops = {each.name: choose(FIRST_OPS_PORT) for each in options.services[:-1]}
    ops |= {each.name: choose(options.dashboard_port) for each in options.services[-1:]}
    return Ports(choose(9092), choose(1883), choose(4840), choose(4980), ops)


def pilot_plant() -> Path:
    """Return the folder of the plant-model files that the pilot plant ships.

    Raises:
        StackError: there is no pilot plant here.
    """
    spec = importlib.util.find_spec("pilot_factory")
    if spec is None or not spec.submodule_search_locations:
        raise StackError(
            "the pilot plant is not installed: name a folder of plant-model files with AURELIAN_PLANT or --plant"
        )
    return Path(next(iter(spec.submodule_search_locations))) / "plants"


async def _await_database(database: postgres.Postgres) -> None:
    while True:
        if await asyncio.to_thread(database.accepts):
            return
        await asyncio.sleep(0.02)


async def _await_port(port: int) -> None:
    while True:
        if accepts(port):
            return
        await asyncio.sleep(0.02)
