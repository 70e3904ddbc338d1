"""Finds the benchmarks, runs them, prints one JSON line each and keeps it in
`results/<bench>.jsonl`. Called by `__main__.py`.

A benchmark is a module of this package with `run() -> Iterator[dict]`; each dict is a result with
some of `FIELDS`. Standard output carries results only; what a benchmark wants to say to people goes
to standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"

MODULES = {
    "codec_encode": "codec",
    "codec_decode": "codec",
    "opcua_decode": "opcua_decode",
    "opcua_gateway_vs_asyncua": "opcua_gateway",
    "opcua_small_messages": "opcua_gateway:run_small",
    "opcua_overload": "opcua_gateway:run_overload",
    "opcua_vs_telegraf": "opcua_vs_telegraf",
    "opcua_browse_100k": "opcua_browse_100k",
    "mqtt_plain_gateway": "mqtt_gateway:run_plain",
    "mqtt_json10_gateway": "mqtt_gateway:run_json10",
    "mqtt_overload": "mqtt_gateway:run_overload",
    "sparkplug_gateway": "mqtt_gateway:run_sparkplug",
    "outbox": "outbox",
    "outbox_bytes": "outbox_bytes",
    "historian_vs_copy": "historian_vs_copy",
    "historian_vs_copy_50": "historian_vs_copy:run_50",
    "historian_vs_copy_constant": "historian_vs_copy:run_constant",
    "import_rows": "import_rows",
    "latency_store": "latency_store",
    "chain_vs_telegraf": "chain_vs_telegraf",
    "fold_lines": "fold_lines",
    "fold_instances": "fold_instances",
    "plant_page_1000": "plant_page",
    "plant_reload_200": "plant_reload",
}
"""Module of each benchmark, with its function where that is not `run`; one function may yield
several."""

FIELDS = (
    "bench",
    "value",
    "unit",
    "peer",
    "ratio",
    "target",
    "cpu_s",
    "peak_mb",
    "samples",
    "lost",
    "duplicates",
)
"""Fields of a result, in order; what does not apply is null."""


def run(names: list[str]) -> int:
    """Run the benchmarks named, all of them without a name; return the exit code."""
    unknown = [name for name in names if name not in MODULES]
    if unknown:
        print(
            f"no benchmark {', '.join(unknown)}: choose from {', '.join(MODULES)}", file=sys.stderr
        )
        return 2
    wanted = names or list(MODULES)
    failed = 0
    for place in dict.fromkeys(MODULES[name] for name in wanted):
        module, _, function = place.partition(":")
        try:
            bench = importlib.import_module(f"tests.bench.{module}")
        except ModuleNotFoundError as error:
            print(f"benchmark {module} cannot run: {error}", file=sys.stderr)
            failed = 1
            continue
        for result in getattr(bench, function or "run")():
            if result["bench"] in wanted:
                _report(result)
    return failed


def cpu_and_memory(pid: int) -> tuple[float, float]:
    """CPU seconds and the peak of the resident memory in MB that a running process has used so
    far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = sum(int(field) for field in fields[11:13])
    status = dict(
        line.split(":", 1)
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if ":" in line
    )
    return ticks / os.sysconf("SC_CLK_TCK"), int(status["VmHWM"].split()[0]) / 1024


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process in good order, or kill it when that takes longer than 20 s."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def say(text: str) -> None:
    """Tell people what goes on."""
    print(text, file=sys.stderr, flush=True)


def _report(result: dict[str, Any]) -> None:
    extra = {name: value for name, value in result.items() if name not in FIELDS}
    line = {name: result.get(name) for name in FIELDS}
    print(json.dumps(line), flush=True)
    kept = {
        **line,
        **extra,
        "date": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "commit": _commit(),
        "store": extra.get("store"),
        "machine": _machine(),
    }
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{result['bench']}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(kept) + "\n")


def _commit() -> str | None:
    git = ["git", "-C", str(Path(__file__).parent)]
    head = subprocess.run(
        [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    if head.returncode != 0:
        return None
    changed = subprocess.run(
        [*git, "status", "--porcelain", "--", "shared", "services"],
        capture_output=True,
        text=True,
        check=False,
    )
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def _machine() -> dict[str, object]:
    """Cores, memory and load: what figures depend on. No name of the host."""
    memory = next(_lines("/proc/meminfo")).split()[1]
    model = next(
        (
            line.partition(":")[2].strip()
            for line in _lines("/proc/cpuinfo")
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "cores": os.cpu_count(),
        "memory_gb": round(int(memory) / 1024 / 1024, 1),
        "cpu": model,
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
    }


def _lines(path: str) -> Iterator[str]:
    yield from Path(path).read_text().splitlines()
