"""Java's ahead-of-time cache of the embedded Kafka (JEP 483, 514): halves its start; made by
the stack and the tests, used by `kafka.py`.

Made once, by a broker that starts in a temporary folder and ends: Java then writes what it loaded.
The file is keyed by Java and by the jars, so that a new version of either has none yet, and Java
checks it again at each start: where it does not fit, the start is a plain one.
"""

import asyncio
import fcntl
import os
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path

from aurelian.local import kafka
from aurelian.local.kafka_jars import sha256_of
from aurelian.local.ports import any_free
from aurelian.local.processes import Program, start
from aurelian.local.servers import await_port

_START_LIMIT_S = 60.0
_WRITE_LIMIT_S = 120.0
_LEAST_BYTES = 1_000_000


async def make(cache: Path, java: Path) -> bool:
    """Make the cache unless it is there or another process makes it; True where it is there after.

    Takes about 8 s of one core, at the lowest priority. Idempotent; cancelling it leaves nothing.
    """
    file = kafka.aot_cache_file(cache, java)
    if file.exists():
        return True
    with (cache / ".aot-lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        with tempfile.TemporaryDirectory(prefix=".training-", dir=cache) as name:
            folder = Path(name)
            port = any_free()
            node = await asyncio.to_thread(
                kafka.prepare, folder, port, any_free(), folder / "kafka.log", cache=cache
            )
            made = await _train(node.program, port, folder / file.name)
            if made.exists() and made.stat().st_size > _LEAST_BYTES:
                made.chmod(0o644)
                _put_in_place(made, file)
    return file.exists()


def _put_in_place(made: Path, file: Path) -> None:
    """Move the cache beside its digest, each on the disk before it has its name: after a power cut
    a file could be there with zeros in it."""
    digest = made.with_name(f"{made.name}.sha256")
    digest.write_text(sha256_of(made), encoding="ascii")
    for each in (made, digest):
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    digest.chmod(0o644)
    digest.replace(kafka.aot_digest_file(file))
    made.replace(file)


async def _train(program: Program, port: int, output: Path) -> Path:
    java, *rest = program.argv
    argv = ("nice", "-n", "19", java, f"-XX:AOTCacheOutput={output}", *_without_cache(rest))
    process = await start(
        Program("kafka training", argv, program.log, env=program.env, cwd=program.cwd)
    )
    try:
        async with asyncio.timeout(_START_LIMIT_S):
            await await_port(port)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(_WRITE_LIMIT_S):
            await process.wait()
    except (TimeoutError, ProcessLookupError):
        pass  # no cache this time; the next start tries again
    finally:
        if process.returncode is None:
            # Java writes the cache in a child of its own, which is in the process's group.
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return output


def _without_cache(arguments: Sequence[str]) -> list[str]:
    return [each for each in arguments if not each.startswith("-XX:AOTCache=")]
