"""Where a consumer goes on in a partition whose log may have been trimmed or replaced (D7).

The one rule for the historian and for every fold. Pure: the caller brings the facts and acts on the
decision. It asks when a partition was assigned, when the record before its offset was read again,
and when a record does not follow the one before it.

A log's identity is declared by an administrator in `platform.kafka_log`. An undeclared other log
is recognised by what cannot be in ours: it ends before the saved offset, or the record before that
offset is not the one that was consumed; and a topic that was deleted and made again by Kafka's id
of it, which the claim of a partition compares (`REPLACED`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

REPLACED = "the topic was deleted and made again: it is another log"


class Action(Enum):
    """What the consumer does with the partition."""

    CONTINUE = "continue"
    """Go on at the saved offset."""

    BEGIN = "begin"
    """Read the log from its start: nothing of it was consumed yet."""

    SKIP = "skip"
    """Go on at the start of the log: retention deleted records before they were consumed. The
    caller records the loss and raises its metric."""

    HALT = "halt"
    """Consume nothing more of this partition, say why on `/readyz`, and wait for a declared log."""


@dataclass(frozen=True, slots=True)
class SavedOffset:
    """How far a partition was consumed: every record of `log_id` before `next_offset`."""

    log_id: str
    next_offset: int


@dataclass(frozen=True, slots=True)
class LogRange:
    """What the broker has of a partition.

    Attributes:
        start: offset of the oldest record.
        end: offset after the newest record; equal to `start` where there is none.
    """

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do.

    Attributes:
        offset: the next offset to consume; with HALT the saved one.
        lost: offsets that were deleted before they were consumed; above 0 with SKIP only.
        reason: one sentence for the log, the gap record and `/readyz`; empty with CONTINUE and
            BEGIN.
    """

    action: Action
    offset: int
    lost: int = 0
    reason: str = ""


def decide(
    saved: SavedOffset | None,
    declared_log_id: str,
    log: LogRange,
    *,
    last_record_matches: bool | None = None,
) -> Decision:
    """Decide where to go on in a partition.

    Args:
        saved: what was committed; None: the partition was never claimed before, so that what the
            log does not have any more was never ours to consume.
        declared_log_id: the log that is declared as current.
        log: what the broker has now.
        last_record_matches: whether the record at `next_offset - 1` is the one that was consumed;
            None: it was not read (yet), or is not there any more. A record that comes with an
            offset below the next one is a mismatch too.
    """
    if saved is None or saved.log_id != declared_log_id:
        return Decision(Action.BEGIN, log.start)
    offset = saved.next_offset
    if offset == 0 and log.start == 0:
        return Decision(Action.BEGIN, 0)
    if log.end < offset:
        reason = f"the log ends at {log.end}, it was consumed up to {offset}: it is another log"
        return Decision(Action.HALT, offset, reason=reason)
    if last_record_matches is False:
        reason = f"record {offset - 1} is not the one that was consumed: it is another log"
        return Decision(Action.HALT, offset, reason=reason)
    if log.start > offset:
        lost = log.start - offset
        reason = (
            f"{lost} records from offset {offset} on were deleted before they were consumed: "
            f"the log begins at {log.start}"
        )
        return Decision(Action.SKIP, log.start, lost, reason)
    return Decision(Action.CONTINUE, offset)
