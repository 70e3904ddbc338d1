"""The caches of decoded signals: bounded, shared by threads, and never another signal's."""

import random
import sys
import threading

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from aurelian.model.byte_cache import ByteCache
from aurelian.model.sample import Signal, ValueType
from aurelian.model.signal_cache import SignalCache

# Keys that meet in one place of the array, and key 0 of an empty place.
KEYS = st.sampled_from([0, 1, 2**16, 2**16 + 1, 2**32, 2**32 + 1, 2**64 - 1, 2**63 + 1])


def signal_of(key: int) -> Signal:
    return Signal(str(key), "asset", "a/b/c", ValueType.DOUBLE)


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.lists(KEYS, max_size=5))), st.integers(1, 8))
def test_a_cache_finds_what_it_holds_and_nothing_else(
    steps: list[tuple[bool, list[int]]], most: int
) -> None:
    cache = SignalCache(most, lambda _, __: 1)
    for put, keys in steps:
        if put:
            for key in keys:
                cache.put(key, signal_of(key))
        found = cache.find(np.array(keys, np.uint64))
        if all(key in cache.entries for key in keys):
            assert found == [signal_of(key) for key in keys]
        else:
            assert found is None
        assert cache.bytes == len(cache.entries) <= most


def test_the_first_value_of_a_key_stays_and_one_too_large_is_not_kept() -> None:
    cache: ByteCache[str, bytes] = ByteCache(10, lambda _, value: len(value))
    cache.put("a", b"1")
    cache.put("a", b"2")
    cache.put("b", bytes(11))
    assert dict(cache.entries) == {"a": b"1"}
    cache.put("c", bytes(10))
    assert list(cache.entries) == ["c"]
    cache.clear()
    assert (cache.bytes, len(cache.entries)) == (0, 0)


def test_threads_that_share_a_cache_never_get_each_others_signals() -> None:
    cache = SignalCache(20, lambda _, __: 1)
    keys = [place + turn * 2**16 for place in range(8) for turn in range(8)]
    wrong: list[tuple[int, str]] = []

    def work(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(3000):
            chosen = rng.sample(keys, 4)
            found = cache.find(np.array(chosen, np.uint64))
            if found is not None:
                wrong.extend(
                    (key, signal.id)
                    for key, signal in zip(chosen, found, strict=True)
                    if signal.id != str(key)
                )
            for key in chosen:
                cache.put(key, signal_of(key))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # at the usual 5 ms threads hardly ever meet in here
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(interval)
    assert not wrong
    assert cache.bytes == len(cache.entries) == 20
