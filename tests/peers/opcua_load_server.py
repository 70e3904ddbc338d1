"""An OPC UA server of the Rust crate async-opcua that changes many nodes at a steady rate for
little CPU; for benchmarks. Built once by cargo into `.cache` of the checkout (minutes), sources in
`opcua_load_server/`.

Nodes `nsu=urn:load;i=1` to `i=<nodes>`: number n is a Double, Int32 or Boolean by n % 3.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from aurelian.local import ports
from tests.servers import ROOT

FOLDER = Path(__file__).parent / "opcua_load_server"
NAMESPACE = "urn:load"


def build() -> Path:
    """Return the program.

    Raises:
        ModuleNotFoundError: there is no cargo, or it cannot build; the text says why.
    """
    cargo = shutil.which("cargo")
    if cargo is None:
        raise ModuleNotFoundError("no cargo to build the load server with")
    cache = ROOT / ".cache" / "opcua_load_server"
    (cache / "src").mkdir(parents=True, exist_ok=True)
    for file in ("Cargo.toml", "src/main.rs"):
        if not (cache / file).exists() or (cache / file).read_text() != (FOLDER / file).read_text():
            shutil.copy(FOLDER / file, cache / file)
    built = subprocess.run(
        [cargo, "build", "--release", "--quiet"],
        cwd=cache,
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode:
        raise ModuleNotFoundError(f"cargo cannot build the load server: {built.stderr[-500:]}")
    return cache / "target" / "release" / "opcua-load-server"


@contextlib.contextmanager
def load_server(nodes: int, interval_ms: int) -> Iterator[tuple[str, int]]:
    """Run the server; yield its address and its process's id."""
    program, port = build(), ports.any_free()
    with tempfile.TemporaryDirectory(prefix="aurelian-load-") as folder:
        process = subprocess.Popen(
            [program, str(port), str(nodes), str(interval_ms)],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            deadline = time.monotonic() + 30
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    if time.monotonic() > deadline or process.poll() is not None:
                        raise
                    time.sleep(0.1)
            yield f"opc.tcp://127.0.0.1:{port}", process.pid
        finally:
            process.kill()
            process.wait()
