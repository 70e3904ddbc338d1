"""Telegraf with the few plugins that benchmarks use, and its path from OPC UA. Built once by
Go into `.cache` of the checkout (a minute), from the Go module proxy; nothing of it is kept here.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg.conninfo
from asyncua import Client

from tests.peers.opcua_load_server import NAMESPACE
from tests.servers import ROOT

MODULE, VERSION = "github.com/influxdata/telegraf/cmd/telegraf", "v1.37.2"
TAGS = ",".join(
    (
        "custom",
        "inputs.kafka_consumer",
        "inputs.mqtt_consumer",
        "inputs.opcua_listener",
        "outputs.kafka",
        "outputs.postgresql",
        "parsers.influx",
        "parsers.json",
        "parsers.json_v2",
        "serializers.influx",
    )
)
TABLES = ("load_double", "load_int", "load_bool")
"""By node % 3: a table's column `value` has one type."""

_MOST_NODES = 1000
"""Of one listener: it asks for all of its nodes in one call, of which servers take so many."""


def build() -> Path:
    """Return the program.

    Raises:
        ModuleNotFoundError: there is no Go, or it cannot build; the text says why.
    """
    go = shutil.which("go")
    if go is None:
        raise ModuleNotFoundError("no go to build Telegraf with")
    name = hashlib.sha256(TAGS.encode()).hexdigest()[:8]
    folder = ROOT / ".cache" / f"telegraf-{VERSION}-{name}"
    program = folder / "telegraf"
    if not program.exists():
        built = subprocess.run(
            [go, "install", "-tags", TAGS, f"{MODULE}@{VERSION}"],
            env={**os.environ, "GOBIN": str(folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        if built.returncode:
            raise ModuleNotFoundError(f"go cannot build Telegraf: {built.stderr[-500:]}")
    return program


@contextlib.contextmanager
def telegraf(
    folder: Path, url: str, nodes: int, interval_ms: int, database: str, *, indexed: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """Run it from the load server at `url` into a database; its log is `folder`/telegraf.log.
    `indexed`: its tables of values have an index by node and time; by default they have none."""
    # By number: its listener does not start with `namespace_uri` (1.37.2: "namespace array is not
    # available").
    index = asyncio.run(_namespace(url))
    text = _configuration(url, index, nodes, interval_ms, database, indexed)
    process = start(folder, "telegraf", text)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def start(folder: Path, name: str, configuration: str) -> subprocess.Popen[bytes]:
    """Start it with `folder`/`name`.conf; its log is `folder`/`name`.log, also of the starts
    before."""
    conf = folder / f"{name}.conf"
    conf.write_text(configuration)
    with (folder / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            [build(), "--config", str(conf)], stdout=log, stderr=subprocess.STDOUT
        )


def connection(database: str) -> str:
    """A database's URL as its PostgreSQL output takes it."""
    parts = psycopg.conninfo.conninfo_to_dict(database)
    return " ".join(f"{name}={value}" for name, value in parts.items())


async def _namespace(url: str) -> int:
    async with Client(url) as client:
        return int(await client.get_namespace_index(NAMESPACE))


def _configuration(
    url: str, index: int, nodes: int, interval_ms: int, database: str, indexed: bool
) -> str:
    """The values of a batch go into one COPY for each table. Tags lie in a table of their own, so
    that a row of values is narrow; large batches, a second apart: what suits it."""
    lines = [
        "[agent]",
        '  flush_interval = "1s"',
        "  metric_batch_size = 10000",
        "  metric_buffer_limit = 2000000",
        "  omit_hostname = true",
        "[[outputs.postgresql]]",
        f'  connection = "{connection(database)}"',
        "  tags_as_foreign_keys = true",
    ]
    if indexed:
        lines.append(
            "  create_templates = ['CREATE TABLE {{ .table }} ({{ .columns }})', "
            "'CREATE INDEX ON {{ .table }} (tag_id, time)']"
        )
    for first in range(1, nodes + 1, _MOST_NODES):
        lines += [
            "[[inputs.opcua_listener]]",
            f'  endpoint = "{url}"',
            '  security_policy = "None"',
            '  security_mode = "None"',
            '  auth_method = "Anonymous"',
            f'  subscription_interval = "{interval_ms}ms"',
            '  timestamp = "source"',
        ]
        numbers = range(first, min(first + _MOST_NODES, nodes + 1))
        for kind, table in enumerate(TABLES):
            lines += [
                "[[inputs.opcua_listener.group]]",
                f'  name = "{table}"',
                f'  namespace = "{index}"',
                '  identifier_type = "i"',
                f'  sampling_interval = "{interval_ms}ms"',
            ]
            for node in (each for each in numbers if each % 3 == kind):
                lines += [
                    "  [[inputs.opcua_listener.group.nodes]]",
                    '    name = "value"',
                    f'    identifier = "{node}"',
                    f'    default_tags = {{ node = "{node}" }}',
                ]
    return "\n".join(lines) + "\n"
