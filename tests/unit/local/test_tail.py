"""What `aurelian tail samples` says of a sample beside its value."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from aurelian.local.tail import _sample_lines
from aurelian.model.codec import encode
from aurelian.model.record import Record
from aurelian.model.sample import Flag, Sample, make_batch
from tests.builders import make_sample, make_signal

FORCE = make_signal("a/s/h/l/press/force", unit="kN")


def tail(samples: Sequence[Sample], *, as_json: bool = False) -> list[str]:
    batch = make_batch(samples, owner="a", gateway="g", boot=1, sequence=1, line="a/s/h/l")
    record = Record("aurelian.samples.v1", 0, 0, 0, b"a/s/h/l", encode(batch))
    return _sample_lines(record, "", as_json)


@pytest.mark.parametrize(
    ("status", "flags", "said"),
    [
        (0, Flag.NONE, ""),
        (0x80310000, Flag.NONE, "  BadNoCommunication"),
        (0x80310480, Flag.NONE, "  BadNoCommunication"),
        (0x40900000, Flag.HISTORICAL, "  UncertainLastUsableValue  [historical]"),
        (0x80FE0000, Flag.NONE, "  Bad 0x80fe0000"),
        (0x00960000, Flag.NONE, "  Good 0x00960000"),
        (0, Flag.HEARTBEAT, "  [heartbeat]"),
        (0, Flag.TIME_REPLACED, "  [time replaced by the gateway's]"),
        (0, Flag.TIME_REPLACED | Flag.AT_GATEWAY_TIME, "  [at gateway time]"),
        (0, Flag.AT_SERVER_TIME | Flag.OUT_OF_RANGE, "  [out of range, at server time]"),
        (0x00900000, Flag.WAS_UNCERTAIN, "  UncertainLastUsableValue, counts as good"),
        (0, Flag(1 << 20), "  [flag 1048576]"),
    ],
)
def test_what_keeps_a_sample_from_being_good_and_live_is_said(
    status: int, flags: Flag, said: str
) -> None:
    (line,) = tail([make_sample(1.5, signal=FORCE, status=status, flags=flags)])
    value, _, doubts = line.partition(f"{FORCE.path} = 1.5 {FORCE.unit}")
    assert value.endswith("Z  ")
    assert doubts == said


def test_every_flag_has_a_word() -> None:
    lines = tail([make_sample(signal=FORCE, flags=flag) for flag in Flag if flag], as_json=True)
    words = [word for line in lines for word in json.loads(line)["flag_names"]]
    assert len(set(words)) == len(list(Flag.__members__)) - 1  # but NONE
    assert not any(word.startswith("flag ") for word in words)


def test_json_has_names_beside_the_numbers() -> None:
    flags = Flag.HISTORICAL | Flag.WAS_BAD
    (line,) = tail([make_sample(signal=FORCE, status=0x00310000, flags=flags)], as_json=True)
    found = json.loads(line)
    assert (found["status"], found["status_name"]) == ("0x00310000", "BadNoCommunication")
    assert (found["flags"], found["flag_names"]) == (int(flags), ["historical", "was bad"])
