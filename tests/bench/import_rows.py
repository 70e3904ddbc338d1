"""Benchmark `import_rows`: rows/s of the importer through Kafka and the historian into the table,
beside a raw binary COPY of the same rows.

A spreadsheet's export (`tests/import_files.py`): semicolons, decimal commas, local times over the
hour that comes twice, eight signals a line, empty cells, a bad cell in a thousand lines and a bad
line in two thousand. Timed as whoever imports waits: from the start of the command to its end, when
the historian has said that all is stored. `to_kafka`: the same file with `--no-wait`, into another
unit, with no historian running: up to Kafka's acknowledgement. The peer is psycopg: the rows that
are in the table then, as one binary COPY into an identical one of the same server, already parsed.

`BENCH_IMPORT_ROWS`: rows in the table, about.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aurelian.backbone.topics import create_topics
from aurelian.db.logs import declare_log
from aurelian.db.migrate import upgrade
from tests import import_files, servers
from tests.bench.framework import cpu_and_memory, say
from tests.bench.historian_vs_copy import copy_raw
from tests.integration.historian.historian_process import running_historian

ROWS = int(os.environ.get("BENCH_IMPORT_ROWS", "800000"))
TARGET = 0.5


@dataclass(frozen=True, slots=True)
class _Run:
    seconds: float
    cpu_s: float
    peak_mb: float
    summary: dict[str, Any]


def run() -> Iterator[dict[str, object]]:
    """Yield the result."""
    with (
        servers.postgres_server(durable=True) as postgres,
        servers.kafka_broker() as broker,
        tempfile.TemporaryDirectory(prefix="aurelian-bench-") as name,
    ):
        folder = Path(name)
        url = postgres.create_database()
        upgrade(url)
        declare_log(url, "bench")
        asyncio.run(create_topics(broker.bootstrap))
        file = folder / "export.csv"
        import_files.write_export(file, ROWS // import_files.SIGNALS)
        size = file.stat().st_size
        say(f"{ROWS // import_files.SIGNALS} lines, {size / 1e6:.0f} MB")
        with running_historian(broker.bootstrap, url, folder, log_level="WARNING"):
            stored = _import(folder, file, "stored", broker.bootstrap, url)
        rows = int(stored.summary["stored"])
        say(f"stored: {rows} rows in {stored.seconds:.1f} s, {stored.peak_mb:.0f} MB")
        sent = _import(folder, file, "sent", broker.bootstrap, url, "--no-wait")
        say(f"to Kafka: {sent.summary['values'] / sent.seconds:.0f} values/s")
        peer = copy_raw(url, rows)
        say(f"raw COPY: {rows / peer:.0f} rows/s")
    yield {
        "bench": "import_rows",
        "value": round(rows / stored.seconds),
        "unit": "rows/s",
        "peer": round(rows / peer),
        "ratio": round(peer / stored.seconds, 3),
        "target": TARGET,
        "cpu_s": round(stored.cpu_s, 1),
        "peak_mb": round(max(stored.peak_mb, sent.peak_mb), 1),
        "samples": rows,
        "lost": int(stored.summary["values"]) - rows,
        "duplicates": int(stored.summary["duplicate"]),
        "to_kafka": round(sent.summary["values"] / sent.seconds),
        "bad_lines": stored.summary["bad_lines"],
        "file_mb": round(size / 1e6, 1),
        "store": "PostgreSQL 18, native partitions",
        "broker": "Apache Kafka",
    }


def _import(folder: Path, file: Path, unit: str, bootstrap: str, url: str, *options: str) -> _Run:
    plant = import_files.write_plant(folder / f"plant-{unit}", unit)
    given = ["--as", unit, "--plant", str(plant), "--bootstrap", bootstrap, "--url", url, "--json"]
    env = {
        **os.environ,
        "AURELIAN_STATE": str(folder / f"state-{unit}"),
        "AURELIAN_GATEWAY": f"import-{unit}",
    }
    started = time.monotonic()
    answer = folder / f"{unit}.jsonl"
    with answer.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "importer", str(file), *given, *options], env=env, stdout=out
        )
        cpu_s = peak_mb = 0.0
        while process.poll() is None:
            with contextlib.suppress(OSError, IndexError, KeyError):  # it ended in between
                cpu_s, peak_mb = cpu_and_memory(process.pid)
            time.sleep(0.05)
    seconds = time.monotonic() - started
    said = [json.loads(line) for line in answer.read_text().splitlines()]
    if process.returncode != 0:
        raise RuntimeError(f"the import ended with {process.returncode}")
    summary = next(each for each in said if each["kind"] == "summary")
    return _Run(seconds, cpu_s, peak_mb, summary)
