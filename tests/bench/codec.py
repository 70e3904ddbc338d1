"""`codec_encode` and `codec_decode`: nanoseconds per sample for batches of 8, 50 and 500; the value
is that at 500.

Two inputs of mixed types and some Bad values. Shuffled, as a line reports by exception: each batch
has a random subset of 1,000 signals in random order, each once, and no dictionary is met twice.
Constant: 50 signals in the same order in every batch. Peer: the same bytes by protobuf alone,
without columns and signals.
"""

from __future__ import annotations

import random
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from aurelian.model import codec
from aurelian.model.sample import BAD, Sample, SampleBatch, Signal, Value, ValueType, make_batch
from aurelian.pb import telemetry_pb2 as pb
from tests.bench.telemetry import report_by_exception

T = TypeVar("T")

SIZES = (8, 50, 500)
BATCHES = 200
ROUNDS = 15
T0 = 1_700_000_000_000_000


def run() -> Iterator[dict[str, object]]:
    """Yield a result of each input for encoding and one for decoding."""
    inputs = {
        "shuffled": {n: list(report_by_exception(BATCHES, n)) for n in SIZES},
        "constant": {n: [_batch(n, sequence) for sequence in range(BATCHES)] for n in SIZES},
    }
    for name, batches in inputs.items():
        encoded = {n: [codec.encode(batch) for batch in batches[n]] for n in SIZES}
        for data, batch in zip(encoded[500], batches[500], strict=True):
            assert codec.decode(data).values() == batch.values()
        cpu = time.process_time()
        encode = {n: _ns_per_call(codec.encode, batches[n]) / n for n in SIZES}
        yield _result("codec_encode", name, encode, None, time.process_time() - cpu)
        cpu = time.process_time()
        decode = {n: _ns_per_call(codec.decode, encoded[n]) / n for n in SIZES}
        peer = _ns_per_call(pb.SampleBatch.FromString, encoded[500]) / 500
        yield _result("codec_decode", name, decode, peer, time.process_time() - cpu)


def _batch(n: int, sequence: int) -> SampleBatch:
    rng = random.Random(sequence)
    samples = [
        Sample(
            SIGNALS[i % 50],
            _value(i % 50, rng),
            _kind(i % 50),
            source_time=T0 + i * 1000,
            gateway_time=T0 + i * 1000 + 300,
            server_time=T0 + i * 1000 + 100,
            status=BAD if rng.random() < 0.01 else 0,
        )
        for i in range(n)
    ]
    return make_batch(
        samples,
        owner="pilot-a",
        gateway="opcua-1",
        boot=T0,
        sequence=sequence,
        line="pilot-a/north/machining/line-1",
    )


def _kind(signal: int) -> ValueType:
    """40 doubles, 6 integers, 3 bools, 1 text."""
    return (
        ValueType.DOUBLE
        if signal < 40
        else ValueType.INT64
        if signal < 46
        else ValueType.BOOL
        if signal < 49
        else ValueType.TEXT
    )


def _value(signal: int, rng: random.Random) -> Value:
    values: dict[ValueType, Value] = {
        ValueType.DOUBLE: rng.random(),
        ValueType.INT64: rng.randrange(2**60),
        ValueType.BOOL: rng.random() < 0.5,
        ValueType.TEXT: "running",
    }
    return values[_kind(signal)]


SIGNALS = [
    Signal(
        f"{i:08x}-5a0b-5d43-9a2e-3d6f0a7c1b55",
        f"{i // 8:08x}-1c2d-5d43-9a2e-3d6f0a7c1b55",
        f"pilot-a/north/machining/line-1/mill-{i // 8}/signal-{i}",
        _kind(i),
        "Cel",
        "pilot-a-opcua",
    )
    for i in range(50)
]
"""As in a gateway, where they are the plant model's own."""


def _ns_per_call(function: Callable[[T], object], inputs: Sequence[T]) -> float:
    """The best of some rounds: what the machine does when nothing else runs."""
    best = float("inf")
    for _ in range(ROUNDS):
        # Rounds repeat the batches; shuffled ones never repeat a dictionary.
        if function is codec.decode:
            codec._DICTIONARIES.clear()
        started = time.perf_counter_ns()
        for each in inputs:
            function(each)
        best = min(best, time.perf_counter_ns() - started)
    return best / len(inputs)


def _result(
    bench: str, name: str, by_size: dict[int, float], peer: float | None, cpu_s: float
) -> dict[str, object]:
    sizes = ", ".join(f"{n}: {ns:.0f}" for n, ns in by_size.items())
    return {
        "bench": bench,
        "value": round(by_size[500], 1),
        "unit": f"ns/sample at 500, {name} ({sizes})",
        "peer": None if peer is None else round(peer, 1),
        "ratio": None if peer is None else round(by_size[500] / peer, 2),
        "target": 120 if name == "shuffled" else 60,
        "cpu_s": round(cpu_s, 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "samples": sum(by_size) * BATCHES * ROUNDS,
        "lost": None,
        "duplicates": None,
    }
