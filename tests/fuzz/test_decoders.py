"""The decoders of the OPC UA gateway under damaged messages: recorded ones with bits flipped, ends
cut off, lengths set to extremes and pieces of others in them.

Each decoder gets AURELIAN_FUZZ_SECONDS more than the usual examples (`make test-faults`: 60)."""

from __future__ import annotations

import os
import random
import struct
import time
from pathlib import Path

import pytest
from asyncua import ua
from hypothesis import given, settings
from hypothesis import strategies as st

from opcua_gateway.decode.notifications import Undecodable, decode_publish
from opcua_gateway.mapping import Notification
from tests.fuzz.bounds import run_within_bounds
from tests.fuzz.mutations import KINDS, Mutation, damaged, random_mutations
from tests.fuzz.targets import FOUND, make_targets
from tests.long_tests import LONG_TESTS

SECONDS = float(os.environ.get("AURELIAN_FUZZ_SECONDS", "60" if LONG_TESTS else "0.5"))
MEMORY_EVERY = 50
TARGETS = make_targets()

MUTATIONS = st.lists(
    st.builds(
        Mutation,
        st.sampled_from(KINDS),
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 2**16 - 1),
    ),
    min_size=1,
    max_size=5,
)


@pytest.mark.parametrize("name", TARGETS)
def test_every_recorded_message_is_read(name: str) -> None:
    assert TARGETS[name].seeds
    for data in TARGETS[name].seeds:
        run_within_bounds(TARGETS[name], data, memory=True)


@pytest.mark.parametrize("file", sorted(FOUND.glob("*.bin")), ids=lambda file: file.stem)
def test_what_broke_a_decoder_once_does_so_no_more(file: Path) -> None:
    target = TARGETS[file.stem.partition("-")[0]]
    run_within_bounds(target, file.read_bytes(), memory=True)


@pytest.mark.parametrize("name", TARGETS)
@settings(deadline=None, max_examples=60)
@given(st.data())
def test_damaged_messages_cost_bounded_time_and_memory(name: str, data: st.DataObject) -> None:
    target = TARGETS[name]
    message = data.draw(st.sampled_from(target.seeds))
    broken = damaged(message, data.draw(MUTATIONS), target.seeds)
    run_within_bounds(target, broken, memory=True)


@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.parametrize("name", TARGETS)
def test_many_damaged_messages(name: str) -> None:
    target = TARGETS[name]
    seed = random.SystemRandom().getrandbits(32) if LONG_TESTS else 1
    print(f"seed {seed}")
    rng = random.Random(seed)
    deadline, turn = time.monotonic() + SECONDS, 0
    while time.monotonic() < deadline:
        turn += 1
        message = rng.choice(target.seeds)
        broken = damaged(message, random_mutations(rng), target.seeds)
        try:
            run_within_bounds(target, broken, memory=turn % MEMORY_EVERY == 0)
        except BaseException:
            print(f"turn {turn}: {broken.hex()}")
            raise
    print(f"{turn} messages")


@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from(TARGETS["publish"].seeds),
    st.floats(0, 1, exclude_max=True),
    st.sampled_from(("flip", "byte", "length", "repeat", "splice", "delete")),
    st.integers(0, 2**16 - 1),
)
def test_damage_changes_no_value_before_it(
    message: bytes, place: float, kind: str, number: int
) -> None:
    at = int(place * len(message))
    try:
        before = _values(message[:at])
    except (Undecodable, ua.UaStatusCodeError):
        return
    broken = damaged(message, [Mutation(kind, place, number)], TARGETS["publish"].seeds)
    found = _values(broken)
    assert found[: len(before)] == before


def _values(data: bytes) -> list[tuple[object, ...]]:
    """What was decoded, so that NaN is equal to itself."""

    def comparable(each: Notification) -> tuple[object, ...]:
        value = struct.pack("<d", each.value) if isinstance(each.value, float) else each.value
        return each.handle, value, each.status, each.source_time, each.server_time

    return [comparable(each) for each in decode_publish(ua.utils.Buffer(data)).notifications]
