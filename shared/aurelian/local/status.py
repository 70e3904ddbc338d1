"""What runs, how well and in how much memory: asked every 2 s and written to
`<home>/run/status.json`.

Called by `stack.py`; read by the dashboard, `aurelian doctor` and `aurelian up`.
"""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from aurelian.local import home
from aurelian.local.ports import LOOPBACK
from aurelian.local.supervisor import Kept, State

INTERVAL_S = 2.0
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


async def report_status(folder: Path, fixed: Mapping[str, Any], kept: Mapping[str, Kept]) -> None:
    """Write the status until cancelled; `fixed` is what does not change in a run (addresses,
    limits)."""
    while True:
        await ask_readiness(kept.values())
        write_status(folder, fixed, kept)
        await asyncio.sleep(INTERVAL_S)


def write_status(folder: Path, fixed: Mapping[str, Any], kept: Mapping[str, Kept]) -> None:
    """Write the status now."""
    services = {
        name: {
            "pid": each.pid,
            "ops_url": f"http://{LOOPBACK}:{each.ops_port}" if each.ops_port else None,
            "api_url": f"http://{LOOPBACK}:{each.api_port}" if each.api_port else None,
            "state": each.state.value,
            "starts": each.starts,
            "reason": each.last_end or None,
            "memory_mb": resident_mb(each.pid) if each.pid else None,
        }
        for name, each in kept.items()
    }
    home.write_json(folder / "run" / "status.json", {**fixed, "services": services})


async def ask_readiness(kept: Iterable[Kept]) -> None:
    """Set the state of each running service from its `/readyz`; a server without one is ready once
    it was up."""
    async with asyncio.TaskGroup() as group:
        for each in kept:
            if each.state in (State.RUNNING, State.READY):
                group.create_task(_ask(each), name=f"ask {each.program.name}")


def resident_mb(pid: int) -> int | None:
    """Return the resident size of a process in MB (10^6 bytes), or None where it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * _PAGE_BYTES // 1_000_000


async def is_ready(ops_port: int) -> bool:
    """Tell whether the service on `ops_port` answers its `/readyz` with 200."""
    return await get_status(ops_port, "/readyz") == 200


async def get_status(port: int, path: str, timeout_s: float = 2.0) -> int | None:
    """GET a path of a local service and return the HTTP status, or None where nobody answers in
    time.

    Written on bare streams: an HTTP client's import would cost the launcher more than all its
    questions.
    """
    with contextlib.suppress(OSError, TimeoutError, ValueError, IndexError):
        async with asyncio.timeout(timeout_s), _asked(port, path) as reader:
            return int((await reader.readline()).split()[1])
    return None


async def get_json(
    port: int, path: str, timeout_s: float = 2.0, accepted: Collection[int] = (200,)
) -> dict[str, Any] | None:
    """GET a JSON object of a local service; None where nobody answers with one in time, under an
    accepted HTTP status."""
    with contextlib.suppress(OSError, TimeoutError, ValueError, IndexError):
        async with asyncio.timeout(timeout_s), _asked(port, path) as reader:
            if int((await reader.readline()).split()[1]) not in accepted:
                return None
            _, _, body = (await reader.read()).partition(b"\r\n\r\n")
            found = json.loads(body)
            return found if isinstance(found, dict) else None
    return None


@contextlib.asynccontextmanager
async def _asked(port: int, path: str) -> AsyncIterator[asyncio.StreamReader]:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nConnection: close\r\n\r\n".encode()
        )
        yield reader
    finally:
        writer.close()


async def _ask(kept: Kept) -> None:
    ready = kept.is_up if kept.ops_port is None else await is_ready(kept.ops_port)
    if kept.state in (State.RUNNING, State.READY):  # it may have ended meanwhile
        kept.state = State.READY if ready else State.RUNNING
        if ready:
            kept.last_end = ""
