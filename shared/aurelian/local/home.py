"""The state folder of the embedded stack: where it is, who holds it, what the running launcher
says; used by stack, CLI and doctor.

<home>/postgres/         the database            <home>/run/launcher.json  who runs here
<home>/kafka/            Kafka's log             <home>/run/status.json    what runs, every 2 s
<home>/mqtt/             Mosquitto's queues      <home>/log/<name>.log     output of each process
<home>/state/<service>/  a service's own disk
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aurelian.local.processes import start_time

LEAST_FREE_MB = 300
"""Below this the stack does not start: an empty database with its write-ahead log takes about 100
MB."""


class AlreadyRunningError(Exception):
    """Another launcher holds this state folder."""


@dataclass(frozen=True, slots=True)
class Launcher:
    """A launcher that runs: its pid, when it started (clock ticks since boot), the URL that it
    serves."""

    pid: int
    started: float
    url: str


def default_home() -> Path:
    """Return AURELIAN_HOME; else /var/lib/aurelian for root, $XDG_DATA_HOME/aurelian for others."""
    named = os.environ.get("AURELIAN_HOME")
    if named:
        return Path(named).expanduser().absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/aurelian")
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "aurelian"


def free_mb(folder: Path) -> int:
    """Return the free room, in MB (10^6 bytes), on the disk that has `folder` or will have it."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free // 1_000_000


@contextmanager
def hold(home: Path) -> Iterator[None]:
    """Hold `home` for this process alone; the kernel lets go when the process ends, however it
    ends.

    Raises:
        AlreadyRunningError: somebody else holds it.
    """
    (home / "run").mkdir(parents=True, exist_ok=True, mode=0o700)
    with (home / "run" / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunningError(str(home)) from None
        yield


def is_held(home: Path) -> bool:
    """Tell whether a launcher holds `home`."""
    if not (home / "run" / "lock").exists():
        return False
    try:
        with hold(home):
            return False
    except AlreadyRunningError:
        return True


def write_launcher(home: Path, url: str) -> None:
    """Say that this process is the launcher of `home`."""
    launcher = Launcher(os.getpid(), start_time(os.getpid()) or 0.0, url)
    write_json(home / "run" / "launcher.json", asdict(launcher))


def read_launcher(home: Path) -> Launcher | None:
    """Return the launcher that runs on `home`, or None. A pid that now belongs to another process
    is nobody."""
    found = read_json(home / "run" / "launcher.json")
    if found is None:
        return None
    launcher = Launcher(int(found["pid"]), float(found["started"]), str(found["url"]))
    return launcher if start_time(launcher.pid) == launcher.started else None


def read_status(home: Path) -> dict[str, Any] | None:
    """Return the last status that a launcher wrote, or None."""
    return read_json(home / "run" / "status.json")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a small file in one step, readable by its owner only."""
    unfinished = path.with_name(path.name + ".new")
    unfinished.write_text(json.dumps(content, indent=1))
    unfinished.chmod(0o600)
    unfinished.replace(path)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a file; None where there is none or it is not one."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
