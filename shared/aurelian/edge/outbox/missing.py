"""Files of the outbox that somebody deleted, moved away or replaced while they were in use. Called
by `files.py`.

What SQLite has open is still there as long as it is: all of it is written to a new file. Of a file
that was closed the rows are lost. Each has a substitute with its sequence, so that the historian
finds no hole, and a note of the loss waits for its gap record.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from sqlite3 import DatabaseError, OperationalError

from aurelian.edge.outbox.reports import note_lost
from aurelian.edge.outbox.rows import Beyond, StreamKey
from aurelian.edge.outbox.segment import Segment
from aurelian.edge.outbox.substitutes import make_substitutes

log = logging.getLogger(__name__)

_REASON = "the outbox's file was deleted while the gateway ran"


def restore(
    missing: Sequence[Segment],
    newest: Segment,
    released: Mapping[StreamKey, int],
    beyond: Beyond,
    last_commit: int,
) -> list[Segment]:
    """Make each file new; returns those that nobody needs, which are not made.

    Raises:
        sqlite3.OperationalError: the disk refuses; those that were made stay, call it again.
    """
    gone: list[Segment] = []
    for segment in missing:
        rows, _ = segment.waiting(released, beyond)
        lost = 0
        if not _copied(segment):
            if not rows and segment.name.startswith("samples") and segment is not newest:
                gone.append(segment)
                continue
            lost = rows
            _substitute(segment, rows, released, last_commit)
        fields = {
            "file": str(segment.path),
            "rows_copied": rows - lost,
            "rows_lost": lost,
            "step": "Leave the outbox's files alone while a gateway runs; to free its disk, let "
            "Kafka and the historian take what waits in it",
        }
        log.error("outbox file was deleted while it was in use", extra={"fields": fields})
    return gone


def _copied(segment: Segment) -> bool:
    if not segment.is_open:
        return False
    try:
        segment.copy_into_place()
    except OperationalError:
        raise
    except DatabaseError:
        segment.close()
        return False
    return True


def _substitute(
    segment: Segment, rows: int, released: Mapping[StreamKey, int], last_commit: int
) -> None:
    spans = segment.spans
    if rows:
        reason = f"{_REASON}: {segment.path.name}, records not known to be stored: {rows}"
        begin = min(span.first_at for span in spans.values())
        end = max(span.last_at for span in spans.values())
        note_lost(segment.path.parent, segment.name, begin, end, reason, rows)
    known = {stream: (span.first, span.last) for stream, span in spans.items()}
    made = make_substitutes([], [], known, released, _REASON)
    segment.drop()
    segment.begin_anew()
    numbered = [(row, 0) for row, _ in made]
    segment.write(numbered=numbered, released=released, commit=last_commit, durable=True)
