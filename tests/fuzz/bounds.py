"""Bounds of time and memory around a decoder, by the size of its input."""

from __future__ import annotations

import signal
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tests.fuzz.targets import Target

CPU_SPARE_S, CPU_S_A_BYTE = 0.5, 100e-6
"""Ten times what the slowest of the recorded messages takes on a busy machine."""

MEMORY_SPARE, MEMORY_A_BYTE = 6_000_000, 500
"""Bytes. A structure of empty parts has a value for each quarter of a byte."""


class Hung(BaseException):
    """A decoder that goes far beyond its time; no error, so that no decoder takes it for one."""


@contextmanager
def _cpu_limit(seconds: float) -> Iterator[None]:
    def stop(signal_number: int, frame: FrameType | None) -> None:
        raise Hung

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def run_within_bounds(target: Target, data: bytes, *, memory: bool) -> None:
    """Decode; anything raised, and time or memory (`memory`: it is measured, which is slow) beyond
    the bounds of that size, is a fault."""
    most = CPU_SPARE_S + CPU_S_A_BYTE * len(data)
    try:
        with _cpu_limit(2 + 5 * most):  # with the memory measured
            began = time.thread_time()
            target.run(data)
            took = time.thread_time() - began
            assert took < most, f"{took} s, {len(data)} bytes"
            if memory:
                _check_memory(target, data)
    except Hung:
        raise AssertionError(f"{target.name} hung over {len(data)} bytes") from None


def _check_memory(target: Target, data: bytes) -> None:
    tracemalloc.start()
    try:
        target.run(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MEMORY_SPARE + MEMORY_A_BYTE * len(data), f"{peak} bytes for {len(data)}"
