"""SQLite's write-ahead log, read without SQLite: which frames are whole, and whether commits stand
behind a damaged one. Used by `segment.py`, `salvage.py`, `file_format.py` and
`raw_pages.py`. Pure.

SQLite itself stops at the first frame whose checksum does not fit and drops all behind it without a
word: right after a power cut in the middle of a commit, wrong where an acknowledged commit follows.
Format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_BIG_ENDIAN_SUMS, _LITTLE_ENDIAN_SUMS = 0x377F0683, 0x377F0682
_FORMAT = 3007000
PAGE_SIZES = (512, 4096, 1024, 2048, 8192, 16384, 32768, 65536)


@dataclass(frozen=True, slots=True)
class Frame:
    """One page as a commit left it. `whole`: its checksum fits to the one of the frame before."""

    page: int
    whole: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class WriteAheadLog:
    """The frames up to the last commit, and how many of them SQLite takes."""

    frames: Sequence[Frame]
    taken: int
    page_size: int

    @property
    def loses_commits(self) -> bool:
        """Whether commits stand behind what SQLite takes: they were acknowledged and will be
        gone."""
        return self.taken < len(self.frames)


def read_log(content: bytes) -> WriteAheadLog:
    """Read a log's content; one that is empty or cut off within its header has no frames."""
    if len(content) < _HEADER.size:
        return WriteAheadLog((), 0, 0)
    magic, version, page_size, _, salt_1, salt_2, *sums = _HEADER.unpack_from(content)
    found = _heads(content, page_size, salt_1, salt_2)
    size = page_size
    for other in PAGE_SIZES:
        if not found and other != page_size:
            size, found = other, _heads(content, other, salt_1, salt_2)
    if not found:
        return WriteAheadLog((), 0, size)
    endian = ">" if magic == _BIG_ENDIAN_SUMS else "<"
    added = _sums(content, len(found), size, endian)
    header_fits = (
        magic in (_BIG_ENDIAN_SUMS, _LITTLE_ENDIAN_SUMS)
        and version == _FORMAT
        and size == page_size
        and tuple(sums) == _step(_words_sum(content[:24], endian), (0, 0), 3)
    )
    frames, taken, unbroken, last_commit = [], 0, header_fits, 0
    before = (sums[0], sums[1])
    for number, (page, commit, found_1, found_2, sum_1, sum_2) in enumerate(found):
        fits = (sum_1, sum_2) == _step(added[number], before, (size + 8) // 8)
        before = (sum_1, sum_2)
        data = content[32 + number * (24 + size) + 24 :][:size]
        frames.append(Frame(page, fits, data))
        unbroken &= fits and (found_1, found_2) == (salt_1, salt_2) and page > 0
        if commit:
            last_commit = number + 1
            taken = number + 1 if unbroken else taken
    return WriteAheadLog(frames[:last_commit], taken, size)


def _heads(content: bytes, size: int, salt_1: int, salt_2: int) -> list[tuple[int, ...]]:
    """The heads of this log's frames; behind them may lie frames of an older log, with other
    salts."""
    if size not in PAGE_SIZES:
        return []
    heads = [
        _FRAME.unpack_from(content, at) for at in range(32, len(content) - 24 - size + 1, 24 + size)
    ]
    # One of the two may be damaged; those of an older log differ both.
    ours = [n for n, head in enumerate(heads) if head[2] == salt_1 or head[3] == salt_2]
    return heads[: ours[-1] + 1] if ours else []


def _sums(content: bytes, count: int, size: int, endian: str) -> list[tuple[int, int]]:
    """What each frame adds to the checksum: its head's first 8 bytes, then its page."""
    raw = np.frombuffer(content, np.uint8, count * (24 + size), 32).reshape(count, 24 + size)
    summed = np.concatenate([raw[:, :8], raw[:, 24:]], axis=1)
    words = np.ascontiguousarray(summed).view(f"{endian}u4").astype(np.uint32)
    weights = _weights((size + 8) // 8)
    return [
        (
            int((line * weights[0]).sum(dtype=np.uint32)),
            int((line * weights[1]).sum(dtype=np.uint32)),
        )
        for line in words
    ]


def _words_sum(data: bytes, endian: str) -> tuple[int, int]:
    words = np.frombuffer(data, f"{endian}u4").astype(np.uint32)
    first, second = _weights(len(data) // 8)
    return int((words * first).sum(dtype=np.uint32)), int((words * second).sum(dtype=np.uint32))


@lru_cache
def _weights(steps: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """How much each word adds to the two sums. One step is a += x + b; b += y + a (mod 2^32):
    linear, so a whole page is one product."""
    first, second = np.zeros(2 * steps, np.uint32), np.zeros(2 * steps, np.uint32)
    for step in range(steps):
        a, b = _power(steps - 1 - step)
        # x adds (1, 1) and y adds (0, 1) in its own step.
        first[2 * step], first[2 * step + 1] = (a[0] + a[1]) % 2**32, a[1]
        second[2 * step], second[2 * step + 1] = (b[0] + b[1]) % 2**32, b[1]
    return first, second


def _step(added: tuple[int, int], before: tuple[int, int], steps: int) -> tuple[int, int]:
    (a, b), (c, d) = _power(steps)
    return (
        (added[0] + a * before[0] + b * before[1]) % 2**32,
        (added[1] + c * before[0] + d * before[1]) % 2**32,
    )


@lru_cache(maxsize=20_000)
def _power(steps: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The matrix ((1, 1), (1, 2)) of one step, to a power, mod 2^32."""
    (a, b), (c, d) = ((1, 0), (0, 1))
    for _ in range(steps):
        a, b, c, d = (a + c) % 2**32, (b + d) % 2**32, (a + 2 * c) % 2**32, (b + 2 * d) % 2**32
    return (a, b), (c, d)
