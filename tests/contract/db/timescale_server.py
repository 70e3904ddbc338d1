"""A real TimescaleDB for contract tests: the server that TEST_TIMESCALE_URL names, or the
WebAssembly build in Node.js.

The WebAssembly build serves one connection at a time and no COPY FROM STDIN. Its packages come
through npm, once, into `.cache/timescale` of the checkout.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

from aurelian.local import ports
from tests.servers import ROOT, cannot_run

FOLDER = Path(__file__).parent / "timescale"
CACHE = ROOT / ".cache" / "timescale"


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
    node = shutil.which("node")
    npm = shutil.which("npm")
    if node is None or npm is None:
        cannot_run(
            "no Node.js with npm, so no TimescaleDB as WebAssembly; or name a server in "
            "TEST_TIMESCALE_URL"
        )
    _install(npm)
    port = ports.any_free()
    process = subprocess.Popen(
        [node, str(FOLDER / "server.mjs"), str(CACHE), str(port)],
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
        yield f"postgresql://{parts.get('user', '')}{':' + str(parts['password']) if 'password' in parts else ''}@{parts.get('host', '')}:{parts.get('port', 5432)}/{name}"
    finally:
        with psycopg.connect(server, autocommit=True) as conn:
            conn.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[arg-type]


def _install(npm: str) -> None:
    """Install the pinned packages, once."""
    wanted = (FOLDER / "package-lock.json").read_text()
    done = CACHE / "installed"
    if done.exists() and done.read_text() == wanted:
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(FOLDER / name, CACHE / name)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    result = subprocess.run(
        command, cwd=CACHE, capture_output=True, text=True, timeout=120, check=False
    )
    if result.returncode != 0:
        cannot_run(
            f"npm cannot get TimescaleDB as WebAssembly: {result.stderr.strip().splitlines()[-1:]}"
        )
    done.write_text(wanted)
