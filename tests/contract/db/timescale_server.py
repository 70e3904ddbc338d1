"""A real TimescaleDB for contract tests: the server that TEST_TIMESCALE_URL names, or the
WebAssembly build in Node.js.

The WebAssembly build serves one connection at a time and no COPY FROM STDIN. Its packages come
through npm, once, into `.cache/timescale` of the checkout.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

from aurelian.local import ports
from tests import npm

FOLDER = Path(__file__).parent / "timescale"


@dataclass(frozen=True, slots=True)
class Timescale:
    """A database with TimescaleDB, without tables. `native`: COPY and several connections work."""

    url: str
    native: bool


@contextlib.contextmanager
def timescale_server() -> Iterator[Timescale]:
    """Give a fresh database on the native server, else start the WebAssembly build; skip where
    neither can be."""
    native = os.environ.get("TEST_TIMESCALE_URL")
    if native:
        with _fresh_database(native) as url:
            yield Timescale(url, native=True)
        return
    what = "TimescaleDB as WebAssembly (or name a server in TEST_TIMESCALE_URL)"
    node, cache = npm.install(FOLDER, "timescale", what)
    port = ports.any_free()
    process = subprocess.Popen(
        [node, str(FOLDER / "server.mjs"), str(cache), str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        said = process.stdout.readline().strip()
        if said != "ready":
            raise RuntimeError(f"TimescaleDB as WebAssembly did not start: {said or 'it ended'}")
        yield Timescale(
            f"postgresql://postgres:postgres@127.0.0.1:{port}/postgres?sslmode=disable",
            native=False,
        )
    finally:
        process.stdin.close()
        process.stdout.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        process.kill()
        process.wait()


@contextlib.contextmanager
def _fresh_database(server: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
    parts = psycopg.conninfo.conninfo_to_dict(server)
    parts["dbname"] = name
    try:
        password = f":{parts['password']}" if "password" in parts else ""
        address = f"{parts.get('host', '')}:{parts.get('port', 5432)}"
        yield f"postgresql://{parts.get('user', '')}{password}@{address}/{name}"
    finally:
        with psycopg.connect(server, autocommit=True) as conn:
            conn.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[arg-type]
