"""The three servers below the services, each as a process that is kept alive; called by
`stack.py`."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from pathlib import Path

from aurelian.local import mqtt
from aurelian.local.kafka import KafkaNode
from aurelian.local.ports import LOOPBACK, accepts
from aurelian.local.postgres import Postgres
from aurelian.local.processes import Account
from aurelian.local.supervisor import Kept

_KAFKA_LIMIT_S = 60.0


def keep_mqtt(home: Path, port: int, account: Account | None, tell: Callable[[str], None]) -> Kept:
    """Describe the MQTT broker. Blocks: it may have to be fetched."""
    program = mqtt.program(port, home / "mqtt", home / "log" / "mqtt.log", account, tell)
    return Kept(program, after=functools.partial(await_port, port))


def keep_postgres(database: Postgres) -> Kept:
    """Describe the database server."""
    return Kept(database.program, after=functools.partial(_await_database, database))


def keep_kafka(
    node: KafkaNode, port: int, create_topics: Callable[[str, int], Awaitable[object]]
) -> Kept:
    """Describe Kafka. It is up once it has all topics, which it keeps through restarts."""

    async def after() -> None:
        await await_port(port)
        await create_topics(f"{LOOPBACK}:{port}", 1)

    return Kept(node.program, after=after, after_limit_s=_KAFKA_LIMIT_S)


async def await_port(port: int) -> None:
    """Wait until somebody accepts connections on `port`."""
    while True:
        if accepts(port):
            return
        await asyncio.sleep(0.02)


async def await_ports(*ports: int) -> None:
    """Wait until somebody accepts connections on each of `ports`."""
    for port in ports:
        await await_port(port)


async def _await_database(database: Postgres) -> None:
    while True:
        if await asyncio.to_thread(database.accepts):
            return
        await asyncio.sleep(0.02)
