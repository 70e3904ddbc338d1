"""Files of tests, and what an import makes of them, without Kafka."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aurelian.model.plant import Plant
from aurelian.model.sample import Sample
from importer.bad_lines import BadLine
from importer.chunks import make_chunk, report_cells
from importer.judging import Judge
from importer.local_times import LocalTimes
from importer.plan import Options, Plan, make_plan

NOW = 1_790_000_000_000_000
UNIT = "pilot-x/north/forming/line-1/press"


def plant(**signals: dict[str, Any]) -> Plant:
    """A plant in Oslo with one unit, `press`, and these signals."""
    listed = [{"name": name.replace("_", "-"), **fields} for name, fields in signals.items()]
    unit = {"name": "press", "source": "s", "signals": listed}
    line = {
        "name": "line-1",
        "products": [{"id": "cup", "ideal_cycle_s": 2}],
        "units": [unit, {"name": "lathe", "source": "s"}],
    }
    return Plant.model_validate(
        {
            "company": {"id": "pilot-x", "name": "X"},
            "site": "north",
            "time_zone": "Europe/Oslo",
            "sources": [{"id": "s", "kind": "opcua", "url": "opc.tcp://127.0.0.1:4840"}],
            "areas": [{"name": "forming", "lines": [line]}],
        }
    )


def plan_of(file: Path, of: Plant, **options: Any) -> Plan:
    """The plan of a file for the unit `press`."""
    return make_plan(file, Options(options.pop("asset", "press"), **options), [of])


def read(plan: Plan, block_bytes: int = 2**20) -> tuple[list[Sample], list[BadLine]]:
    """All samples and bad lines that an import makes of a file."""
    clocks = LocalTimes(plan.zone, newest_first=plan.newest_first)
    judge = Judge("import-1", 1)
    samples: list[Sample] = []
    bad: list[BadLine] = []
    for table in plan.table.tables(plan.table.start(), plan.wanted, block_bytes):
        chunk = make_chunk(table, plan, clocks, NOW)
        judged = judge.judge(chunk.signals, NOW)
        report_cells(chunk, table, judged.faults)
        samples += [sample for batch in judged.batches for sample in batch.samples()]
        bad += chunk.bad
    return samples, bad


def values(samples: list[Sample]) -> dict[str, list[object]]:
    """Values by signal, in order of time."""
    found: dict[str, list[object]] = {}
    for sample in sorted(samples, key=lambda each: (each.time, each.sub)):
        found.setdefault(sample.signal.path.rpartition("/")[2], []).append(sample.value)
    return found
