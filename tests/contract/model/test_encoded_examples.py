"""Batches encoded by earlier releases still read as what they were: outboxes and Kafka hold them.

`tests/fixtures/encoded_batches_*.json` holds the bytes as each form of the codec wrote them; a file
is added when the form changes and never made anew.
"""

import json
import random
from pathlib import Path

import pytest

from aurelian.model import codec
from aurelian.model.sample import Flag, Sample, SampleBatch, Signal, Value, ValueType, make_batch

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
FORMS = ("dictionary", "dictionary_keys")
NAMES = ("empty", "one_double", "all_types", "shuffled", "unicode")
T0 = 1_700_000_000_000_000


def example(name: str) -> SampleBatch:
    """The batch that the example of that name was encoded from."""
    signals = [
        Signal(
            f"id-{i:04d}",
            f"asset-{i // 4}",
            f"plant/north/line-1/mill-{i // 4}/signal-{i}",
            ValueType(i % 8),
            "Cel" if i % 2 else "",
            "plant-opcua",
            discovered=i % 7 == 0,
        )
        for i in range(40)
    ]
    rng = random.Random(name)
    rows: list[Sample] = []
    match name:
        case "one_double":
            rows = [Sample(signals[1], 21.5, ValueType.DOUBLE, T0, T0 + 3)]
        case "all_types":
            rows = [
                Sample(signals[i], value, kind, T0 + i, T0 + 7, T0 - i, i << 28, Flag(i), i % 2)
                for i, (kind, value) in enumerate(_values())
            ]
        case "shuffled":
            for signal in rng.sample(signals, 30):
                value: Value = rng.gauss(20, 5)
                at = T0 + rng.randrange(10**6)
                rows.append(Sample(signal, value, ValueType.DOUBLE, at, at + 500))
        case "unicode":
            odd = Signal("ä", "ö", "größe/Ω/温度", ValueType.TEXT, "Ω")
            rows = [Sample(odd, "läuft ✓", ValueType.TEXT, -1, 2**62)]
    return make_batch(
        rows, owner="plant", gateway="opcua-1", boot=T0, sequence=12, line="plant/north/line-1"
    )


def _values() -> list[tuple[ValueType, Value]]:
    return [
        (ValueType.NULL, None),
        (ValueType.DOUBLE, -0.0),
        (ValueType.INT64, -(2**63)),
        (ValueType.UINT64, 2**64 - 1),
        (ValueType.BOOL, True),
        (ValueType.TEXT, "running"),
        (ValueType.BYTES, b"\x00\xff"),
        (ValueType.JSON, '{"a":[1,2]}'),
        (ValueType.DOUBLE, 5e-324),
        (ValueType.BOOL, False),
    ]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NAMES)
def test_bytes_of_an_earlier_release_decode_to_the_batch_they_were_made_from(
    form: str, name: str
) -> None:
    encoded = json.loads((FIXTURES / f"encoded_batches_{form}.json").read_text(encoding="utf-8"))
    decoded, expected = codec.decode(bytes.fromhex(encoded[name])), example(name)
    assert (decoded.owner, decoded.gateway, decoded.boot) == ("plant", "opcua-1", T0)
    assert (decoded.sequence, decoded.line) == (12, "plant/north/line-1")
    assert [repr(sample) for sample in decoded.samples()] == [
        repr(sample) for sample in expected.samples()
    ]
