"""How much disk the outbox may use, and what it says when that is reached. Used by `outbox.py`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

RESERVE = 0.1
"""Share of the limits that only life-cycle records and alarms may use."""


class ReachedLimit(IntEnum):
    """Which limit keeps an outbox from taking samples."""

    NONE = 0
    BYTES = 1
    AGE = 2
    DISK = 3

    @property
    def cause(self) -> str:
        """In words."""
        return f"limit of {self.name.lower()} reached"

    @property
    def step(self) -> str:
        """What to do about it."""
        return _STEPS[self]


_STEPS = {
    ReachedLimit.NONE: "",
    ReachedLimit.BYTES: "Do Kafka and the historian run? Else raise AURELIAN_OUTBOX_MAX_BYTES",
    ReachedLimit.AGE: "Do Kafka and the historian run? Else raise AURELIAN_OUTBOX_MAX_AGE_S",
    ReachedLimit.DISK: "Free space on the disk, or lower AURELIAN_OUTBOX_MIN_FREE",
}


class OutboxFull(OSError):
    """The outbox takes nothing of this kind now; keep what you have, acknowledge nothing, try again
    later. `cause`: why, `step`: what to do about it; empty where nobody knows."""

    def __init__(self, cause: str, step: str = "") -> None:
        super().__init__(f"{cause}. {step}" if step else cause)
        self.cause, self.step = cause, step


class OutboxNotWritable(OutboxFull):
    """The folder's disk refuses to be written, for another reason than room."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much disk an outbox may use.

    Attributes:
        max_bytes: of its files.
        max_age_s: of the oldest row that nobody has stored.
        min_free: share of the file system that must stay free.
        segment_bytes, segment_age_s: when a new segment file begins.
    """

    max_bytes: int = 4 * 2**30
    max_age_s: float = 14 * 86_400.0
    min_free: float = 0.1
    segment_bytes: int = 32 * 2**20
    segment_age_s: float = 600.0

    def reached(
        self, used: int, free: float, oldest_age_s: float, *, reserved: bool
    ) -> ReachedLimit:
        """The limit that is reached. `reserved`: for life-cycle records and alarms, which may also
        use the reserve."""
        if used > self.max_bytes * (1.0 if reserved else 1 - RESERVE):
            return ReachedLimit.BYTES
        if free < self.min_free * (RESERVE if reserved else 1.0):
            return ReachedLimit.DISK
        if not reserved and oldest_age_s > self.max_age_s:
            return ReachedLimit.AGE
        return ReachedLimit.NONE


@dataclass(frozen=True, slots=True)
class Level:
    """How full it is.

    Attributes:
        rows: that nobody has stored yet.
        bytes: of its files.
        oldest_age_s: of the oldest row that nobody has stored, about.
        free: share of the file system.
        reached_limit: why it takes no samples, if so.
    """

    rows: int
    bytes: int
    oldest_age_s: float
    free: float
    reached_limit: ReachedLimit

    @property
    def accepting(self) -> bool:
        """Whether samples and rejected bytes are taken; life-cycle records and alarms may be even
        when not."""
        return self.reached_limit is ReachedLimit.NONE


def free_share(folder: Path) -> float:
    """The share of a folder's file system that is free."""
    disk = os.statvfs(folder)
    return disk.f_bavail / max(disk.f_blocks, 1)
