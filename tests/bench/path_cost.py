"""What a path from a source to rows in PostgreSQL costs: CPU seconds of its programs and of the
database's processes, while all that is offered gets stored; called by the benchmarks that compare
paths."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.bench.framework import cpu_and_memory, say

WARM_UP_S, SECONDS = 10.0, float(os.environ.get("BENCH_SECONDS", "30"))
_DRAIN_S = 20.0


@dataclass(frozen=True, slots=True)
class Measured:
    """A path over `SECONDS`.

    Attributes:
        start, stop: of that time, in seconds since 1970.
        offered, stored: values of that time, when all had come to rest; `behind`: not yet stored
            at its end.
        each_s: CPU seconds of each program; `database_s`: of the database's processes.
        others_s: of each process that does not count.
        peak_mb: of the programs together.
    """

    start: float
    stop: float
    offered: int
    stored: int
    behind: int
    each_s: tuple[float, ...]
    database_s: float
    others_s: tuple[float, ...]
    peak_mb: float

    @property
    def programs_s(self) -> float:
        """CPU seconds of all programs."""
        return sum(self.each_s)

    @property
    def rate(self) -> float:
        """Values a CPU second of all."""
        return self.stored / (self.programs_s + self.database_s)

    @property
    def programs_rate(self) -> float:
        """Values a CPU second without the database."""
        return self.stored / self.programs_s


def measure(
    pids: Iterable[int],
    postmaster: int,
    count: Callable[[float, float], tuple[int, int]],
    nominal: float,
    others: Iterable[int] = (),
) -> Measured:
    """Measure a path that runs.

    `count`: values offered and stored between two times; `nominal`: values offered in `SECONDS` on
    a machine that is not too busy for the source; `others`: processes to tell of beside the path.
    """
    time.sleep(WARM_UP_S)
    programs, others = tuple(pids), tuple(others)
    start, before = time.time(), _cpu((*programs, *others))
    database_before = _cpu_below(postmaster)
    time.sleep(SECONDS)
    stop, after = time.time(), _cpu((*programs, *others))
    database_after = _cpu_below(postmaster)
    peak_mb = sum(cpu_and_memory(pid)[1] for pid in programs)
    offered, at_end = count(start, stop)
    expected, stored, deadline = offered, at_end, time.monotonic() + _DRAIN_S
    while time.monotonic() < deadline:
        time.sleep(2.0)  # two equal answers in a row, and nothing missing: all is there
        last = stored
        expected, stored = count(start, stop)
        if stored == expected == last:
            break
    assert expected > 0.95 * nominal, f"{expected} values offered of {nominal:.0f}: a busy machine?"
    each = tuple(late - early for early, late in zip(before, after, strict=True))
    return Measured(
        start,
        stop,
        expected,
        stored,
        stored - at_end,
        each[: len(programs)],
        database_after - database_before,
        each[len(programs) :],
        peak_mb,
    )


def tell(name: str, found: Measured) -> None:
    """Say what was found of a path."""
    each = " + ".join(f"{seconds:.2f}" for seconds in found.each_s)
    say(
        f"{name}: {found.rate:,.0f} values a CPU second, {found.programs_rate:,.0f} without the "
        f"database; programs {each} s, database {found.database_s:.2f} s, "
        f"{found.stored:,} of {found.offered:,} values stored, {found.behind:,} after the end"
    )


def instant(seconds: float) -> str:
    """A time as PostgreSQL reads it."""
    whole = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1e6):06d}+00"


def _cpu(pids: Iterable[int]) -> list[float]:
    return [cpu_and_memory(pid)[0] for pid in pids]


def _cpu_below(postmaster: int) -> float:
    """CPU seconds of the database's processes: those that live, and those that ended, which the
    postmaster has in its children's time."""
    fields = Path(f"/proc/{postmaster}/stat").read_text().rpartition(")")[2].split()
    ended = sum(int(field) for field in fields[13:15]) / os.sysconf("SC_CLK_TCK")
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    alive = 0.0
    for child in (postmaster, *map(int, children)):
        try:
            alive += cpu_and_memory(child)[0]
        except (FileNotFoundError, ProcessLookupError, KeyError):
            continue  # it ended meanwhile
    return ended + alive
