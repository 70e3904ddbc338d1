"""Start the embedded stack and every service, keep them alive, stop them in order; called by
`aurelian up`.

Order: MQTT broker; Kafka with its topics beside the database with its migrations; the first start
declares Kafka's log in the database; services.
"""

import asyncio
import functools
import os
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from aurelian.local import aot_cache, home, kafka, kafka_jars, pilot_trust, postgres
from aurelian.local.new_keys import NewKeys
from aurelian.local.options import (
    Options,
    Stack,
    StackError,
    choose_ports,
    own_plant,
    simulated_plant,
)
from aurelian.local.ports import LOOPBACK
from aurelian.local.preparation import is_log_of
from aurelian.local.processes import Account, start, tail_of
from aurelian.local.servers import await_ports, keep_kafka, keep_mqtt, keep_postgres
from aurelian.local.services import (
    Rank,
    Service,
    Surroundings,
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
_STOP_LIMIT_S = 8.5
_STOP_STEPS: tuple[tuple[Rank | tuple[str, ...], float, float], ...] = (
    (Rank.PLANT, 2.0, 0.5),
    (Rank.GATEWAY, 3.0, 1.0),
    (Rank.WORKER, 3.0, 1.0),
    (Rank.API, 2.0, 0.5),
    (Rank.PAGE, 2.0, 0.5),
    # What is left of the time is theirs: on a busy machine Java takes seconds to end, and a Kafka
    # that is killed has its log to look through at the next start.
    (("mqtt", "kafka"), 7.0, 1.5),
    (("postgres",), 7.0, 1.5),
)
"""Who is stopped together, in order; how long they may take at most, and at least however slow
those before were."""


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
        NoFreePortError, PostgresError, KafkaError, KafkaJarsError, OSError: as their messages say.
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
            f"only {free_mb} MB are free on the disk of {folder}, {home.LEAST_FREE_MB} MB are "
            "needed: "
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
        self.own_plant, self.simulated = own_plant(options), simulated_plant(options)
        folders = dict.fromkeys(each for each in (self.simulated, self.own_plant) if each)
        self.plant = Path(os.pathsep.join(map(str, folders)))
        self.kept: dict[str, Kept] = {}
        self.ranks: dict[str, Rank] = {}
        self.side_tasks: list[asyncio.Task[None]] = []
        self.told: dict[str, str] = {}  # who keeps ending, and why: said once

    async def start(self) -> Stack:
        """Start servers and services; return when the last service is ready."""
        began = time.monotonic()
        options = self.options
        self.keep(
            await asyncio.to_thread(
                keep_mqtt, options.home, self.ports.mqtt, self.account, options.tell
            )
        )
        try:
            async with asyncio.TaskGroup() as both:
                database_up = both.create_task(self.start_database(), name="start database")
                kafka_up = both.create_task(self.start_kafka(), name="start Kafka")
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        database = database_up.result()
        owner_url = database.url(DATABASE)
        await self.declare_log(owner_url, kafka_up.result())
        await await_up(self.kept["mqtt"], 30)
        keys = await self.make_keys(owner_url)
        await self.introduce_pilot()
        options.tell(f"starting {len(self.services)} services")
        self.start_services(database)
        await self.await_ready(self.kept[self.services[-1].name])
        # What can wait starts now: it would slow down the start of the services.
        if self.simulated and options.seed:
            self.start_beside(self.seed_history(self.around), "seed history")
        if options.train_kafka:
            self.start_beside(self.make_start_cache(), "make start cache")
        seconds = time.monotonic() - began
        return Stack(self.url, self.ports, owner_url, keys, seconds, self.simulated is not None)

    async def start_database(self) -> postgres.Postgres:
        """Start the database server and bring the schema up to date."""
        options = self.options
        options.tell("starting the database and Kafka")
        log = self.logs / "postgres.log"
        database = await asyncio.to_thread(postgres.prepare, options.home, log)
        await await_up(self.keep(keep_postgres(database)), 30)
        await asyncio.to_thread(postgres.create_database, database.url(), DATABASE)
        options.tell("bringing the database schema up to date")
        await asyncio.to_thread(options.preparation.migrate, database.url(DATABASE))
        return database

    async def start_kafka(self) -> kafka.KafkaNode:
        """Start Kafka, fetched on a machine's first start, and make the topics."""
        options, ports = self.options, self.ports
        node = await asyncio.to_thread(
            kafka.prepare,
            options.home / "kafka",
            ports.kafka,
            ports.kafka_controller,
            self.logs / "kafka.log",
            cache=options.cache,
            tell=options.tell,
        )
        kept = keep_kafka(node, ports.kafka, options.preparation.create_topics)
        await await_up(self.keep(kept), kept.after_limit_s)
        return node

    async def declare_log(self, owner_url: str, node: kafka.KafkaNode) -> None:
        """Declare Kafka's log on the first start; refuse to run on one that was not declared."""
        declare = self.options.preparation.declare_log
        current = await asyncio.to_thread(declare, owner_url, node.cluster_id, self.options.new_log)
        if not is_log_of(current, node.cluster_id):
            raise StackError(
                f"Kafka's log in {self.options.home / 'kafka'} is {node.cluster_id}, and the "
                f"database goes on from another one ({current}). Restore that folder; or, where it "
                "is lost, start with: aurelian up --new-log (gateways send again what is not "
                "stored yet)"
            )
        halted = await asyncio.to_thread(self.options.preparation.halted_partitions, owner_url)
        if halted:
            self.options.tell(
                f"{'; '.join(halted)}. Restore {self.options.home / 'kafka'}; or, where a part of "
                "the log is lost, start with: aurelian up --new-log (gateways send again what is "
                "not stored yet)"
            )

    async def make_start_cache(self) -> None:
        """Make Java's start cache; without one the next start only takes longer."""
        try:
            await aot_cache.make(self.options.cache, kafka.find_java())
        except (kafka.KafkaError, kafka_jars.KafkaJarsError, OSError) as error:
            self.options.tell(f"no start cache for Kafka: {error}")

    def start_beside(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run something in the background until the stack is stopped."""
        self.side_tasks.append(self.group.create_task(work, name=name))

    @property
    def url(self) -> str:
        """Address of the page, which the last service of the table serves."""
        return f"http://{LOOPBACK}:{self.ports.api[self.services[-1].name]}"

    @property
    def services(self) -> list[Service]:
        """The table without what was not asked for."""
        return [
            each for each in self.options.services if self.simulated or each.rank is not Rank.PLANT
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

    async def make_keys(self, owner_url: str) -> tuple[str, ...]:
        """Make the keys of companies that have none yet."""
        home_folder = self.options.home
        (home_folder / "state").mkdir(exist_ok=True, mode=0o700)
        if self.options.plant is None:
            self.own_plant.mkdir(exist_ok=True, mode=0o700)
        keys = NewKeys(self.options, self.plant, owner_url, self.url)
        made = await keys.make()
        self.start_beside(keys.keep_making(), "keys of new companies")
        return made

    async def introduce_pilot(self) -> None:
        """Have the pilot plant's OPC UA server and the gateway trust each other, now and later."""
        names = {each.name for each in self.services}
        if {pilot_trust.GATEWAY, pilot_trust.PILOT} <= names:
            home_folder, tell = self.options.home, self.options.tell
            wrong = await asyncio.to_thread(pilot_trust.introduce, home_folder)
            if wrong:
                tell(wrong)
            keeping = pilot_trust.keep_introduced(home_folder, tell)
            self.start_beside(keeping, "keep the pilot plant trusted")

    def start_services(self, database: postgres.Postgres) -> None:
        """Start every service of the table at once, and what watches them."""
        options, ports = self.options, self.ports
        around = Surroundings(
            home=options.home,
            plant=self.plant,
            pilot_plant=self.simulated or self.plant,
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
            api_port=ports.api,
            pilot_opcua_port=ports.pilot_opcua,
            pilot_control_port=ports.pilot_control,
        )
        for service in self.services:
            (options.home / "state" / service.name).mkdir(parents=True, exist_ok=True, mode=0o700)
            program = to_program(service, options.services, around)
            port, api_port = ports.ops[service.name], ports.api.get(service.name)
            self.ranks[service.name] = service.rank
            # A gateway without its control API is up: machines come first.
            awaited = (port,) if service.is_gateway else filter(None, (port, api_port))
            opened = functools.partial(await_ports, *awaited)
            self.keep(Kept(program, port, api_port, after=opened, after_limit_s=120))
        fixed_status: dict[str, Any] = {
            "url": self.url,
            "kafka_bootstrap": around.kafka_bootstrap,
            "mqtt_url": around.mqtt_url,
            "plant": str(around.plant),
            "own_plant": str(self.own_plant),
            "opcua_url": f"opc.tcp://{LOOPBACK}:{ports.pilot_opcua}" if self.simulated else None,
            "pilot_control_url": f"http://{LOOPBACK}:{ports.pilot_control}"
            if self.simulated
            else None,
            "database_url": database.url(DATABASE),
        }
        report = report_status(options.home, fixed_status, self.kept)
        self.start_beside(report, "report status")
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
                    f"{page.program.name} was not ready within {limit_s:.0f} s; the end of "
                    f"{page.program.log}: "
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
