"""`outbox_bytes`: bytes on the disk per sample that waits in the gateway's outbox, files and log
together.

Ten lines of 1,000 signals report by exception: each batch has a random subset of its line's signals
in random order, each once; one commit holds a batch of each line. The value is that of batches of
100; 1,500,000 samples each, about one full segment file. Peer: the encoded records that go to Kafka.
Read back and compared byte by byte: `lost`.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from aurelian.edge.outbox.limits import Limits
from aurelian.edge.outbox.outbox import Outbox
from aurelian.edge.outbox.rows import START, OutboxEntry, RecordKind
from aurelian.model import codec
from tests.bench.telemetry import report_by_exception

SIZES = (50, 100, 150, 500)
LINES = 10
SAMPLES = 1_500_000
MADE = 100_000
"""Different samples; they come again until there are `SAMPLES`."""


def run() -> Iterator[dict[str, object]]:
    """Yield the one result."""
    cpu = time.process_time()
    stored: dict[int, float] = {}
    encoded: dict[int, float] = {}
    lost = 0
    for size in SIZES:
        stored[size], encoded[size], missing = _measure(size)
        lost += missing
    sizes = ", ".join(f"{size}: {each:.1f}" for size, each in stored.items())
    yield {
        "bench": "outbox_bytes",
        "value": round(stored[100], 1),
        "unit": f"bytes/sample at 100 a batch, shuffled ({sizes})",
        "peer": round(encoded[100], 1),
        "ratio": round(stored[100] / encoded[100], 3),
        "target": 24,
        "cpu_s": round(time.process_time() - cpu, 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "samples": SAMPLES * len(SIZES),
        "lost": lost,
        "duplicates": None,
    }


def _measure(size: int) -> tuple[float, float, int]:
    """Bytes a sample in the outbox and in Kafka's records, and how many samples did not come back."""
    lines = [
        [
            codec.encode(batch)
            for batch in report_by_exception(MADE // size // LINES, size, line=line)
        ]
        for line in range(LINES)
    ]
    commits = SAMPLES // size // LINES
    wanted = [line[n % len(line)] for n in range(commits) for line in lines]
    with tempfile.TemporaryDirectory(prefix="aurelian-bench-") as folder:
        with Outbox.open(Path(folder) / "outbox", 1, Limits(min_free=0.0)) as outbox:
            for first in range(0, len(wanted), LINES):
                outbox.append(
                    [
                        _entry(number, size, data)
                        for number, data in enumerate(wanted[first : first + LINES])
                    ]
                )
        used = sum(path.stat().st_size for path in (Path(folder) / "outbox").iterdir())
        same = _count_same(Path(folder) / "outbox", wanted)
    return used / SAMPLES, sum(map(len, wanted)) / SAMPLES, SAMPLES - same * size


def _entry(line: int, size: int, data: bytes) -> OutboxEntry:
    name = f"pilot-a/north/machining/line-{line}"
    return OutboxEntry(RecordKind.SAMPLES, name, name, size, lambda _: data)


def _count_same(folder: Path, wanted: list[bytes]) -> int:
    same = done = 0
    with Outbox.open(folder, 2, Limits(min_free=0.0)) as outbox:
        rows, position = outbox.unsent(START)
        while rows:
            same += sum(
                row.data == data
                for row, data in zip(rows, wanted[done : done + len(rows)], strict=True)
            )
            done += len(rows)
            rows, position = outbox.unsent(position)
    return same
