"""Batches that are sent as they were encoded, without being read back."""

from __future__ import annotations

from pathlib import Path

from aurelian.edge.outbox.fresh import MOST_BYTES, Fresh
from aurelian.edge.outbox.limits import Limits
from aurelian.edge.outbox.outbox import Outbox
from aurelian.edge.outbox.rows import START, OutboxEntry, OutboxRow, RecordKind, StreamKey

LINE = StreamKey(1, "line")


def row(sequence: int, size: int = 10, kind: RecordKind = RecordKind.SAMPLES) -> OutboxRow:
    return OutboxRow(0, kind, 1, "line", sequence, "line", 1, 5, b"x" * size)


def test_each_is_given_once_under_its_id() -> None:
    fresh = Fresh()
    fresh.add([row(1), row(2)])
    taken = fresh.take(LINE, 2, 77)
    assert taken is not None and (taken.id, taken.sequence, taken.data) == (77, 2, b"x" * 10)
    assert fresh.take(LINE, 2, 77) is None
    assert fresh.take(StreamKey(2, "line"), 1, 78) is None
    fresh.clear()
    assert fresh.take(LINE, 1, 76) is None


def test_the_oldest_go_first_and_records_are_not_kept() -> None:
    fresh = Fresh()
    half = MOST_BYTES // 2
    fresh.add([row(1, half), row(2, half), row(3, half), row(4, 10, RecordKind.EVENTS)])
    assert [fresh.take(LINE, n, n) is not None for n in (1, 2, 3, 4)] == [False, True, True, False]


def test_what_was_sent_is_read_from_the_disk_when_it_is_sent_again(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "outbox", 1, Limits(min_free=0.0)) as outbox:
        for n in range(3):
            data = b"batch %d" % n
            made = OutboxEntry(RecordKind.SAMPLES, "line", "line", 1, lambda _, data=data: data)  # type: ignore[misc]
            outbox.append([made])
        first, _ = outbox.unsent(START)
        again, _ = outbox.unsent(START)
    assert first == again and [each.data for each in first] == [b"batch %d" % n for n in range(3)]
