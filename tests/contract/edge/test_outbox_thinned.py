"""A full outbox that may thin old numbers: they make room, which is told before they go; alarms and
life-cycle records stay, and every sequence."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from aurelian.edge.outbox.files import Files
from aurelian.edge.outbox.limits import Limits, OutboxFull
from aurelian.edge.outbox.outbox import Outbox
from aurelian.edge.outbox.rows import EVENTS, START, HourCount, OutboxEntry, OutboxRow, RecordKind
from aurelian.edge.outbox.thin import Loss
from aurelian.model import codec
from aurelian.model.sample import Sample, Signal, ValueType, make_batch
from tests import servers

LIMITS = Limits(max_bytes=250_000, min_free=0.0, segment_bytes=40_000)
SIGNAL = Signal("id", "asset", "o/s/a/l/u/force", ValueType.DOUBLE, "", "press")
LINE = "o/s/a/l"
HOUR = 3_600_000_000
T0 = 500_000 * HOUR


@pytest.fixture
def folder() -> Iterator[Path]:
    with servers.server_folder() as path:
        yield path / "outbox"


def batch(number: int) -> OutboxEntry:
    """A thousand values of two seconds, which are not easily packed."""
    first = T0 + number * 2_000_000
    samples = [
        Sample(SIGNAL, ((number * 1000 + n) * 0.618033988749895) % 1, ValueType.DOUBLE, at, at)
        for n, at in enumerate(range(first, first + 2_000_000, 2000))
    ]
    made = make_batch(samples, owner="o", gateway="g", boot=1, sequence=0, line=LINE)
    return OutboxEntry(
        RecordKind.SAMPLES, LINE, LINE, 1000, lambda sequence: codec.encode(made, sequence)
    )


def event(data: bytes) -> OutboxEntry:
    return OutboxEntry(RecordKind.EVENTS, EVENTS, "press", 0, lambda _: data)


def report(losses: Sequence[Loss]) -> tuple[list[OutboxEntry], list[HourCount]]:
    entries = [event(b"gap %d" % loss.count) for loss in losses]
    return entries, [HourCount(each.source, each.hour, "o", dropped=each.count) for each in losses]


def fill(outbox: Outbox) -> int:
    number = 0
    try:
        while True:
            outbox.append([batch(number)], [HourCount("press", T0, "o", received=1000)])
            number += 1
            outbox.append([event(b"alarm %d" % number)])
    except OutboxFull:
        return number


def everything(outbox: Outbox) -> list[OutboxRow]:
    found: list[OutboxRow] = []
    rows, position = outbox.unsent(START, 10_000)
    while rows:
        found += rows
        rows, position = outbox.unsent(position, 10_000)
    return found


def split(rows: list[OutboxRow]) -> tuple[list[bytes], list[int], int]:
    """Records, sequences of batches, values in them."""
    batches = [row for row in rows if row.kind is RecordKind.SAMPLES]
    assert all(codec.decode(row.data).sequence == row.sequence for row in batches)
    records = [row.data for row in rows if row.kind is RecordKind.EVENTS]
    return records, [row.sequence for row in batches], sum(row.samples for row in batches)


def test_it_takes_again_after_telling_what_it_left_out_and_keeps_every_alarm(folder: Path) -> None:
    with Outbox.open(folder, 1, LIMITS) as outbox:
        full = fill(outbox)
        rows, position = outbox.unsent(START, 40_000)
        left_out = outbox.thin_oldest(report)
        assert left_out > 1000 and outbox.level().accepting
        outbox.append([batch(full)], [HourCount("press", T0, "o", received=1000)])
        # A reader goes on where it was, and a new one finds every number.
        seen = [*rows]
        while rows:
            rows, position = outbox.unsent(position, 40_000)
            seen += rows
        assert split(seen)[1] == list(range(1, full + 2))
        records, sequences, values = split(everything(outbox))
        assert sequences == list(range(1, full + 2))
        assert records == [*(b"alarm %d" % n for n in range(1, full + 1)), b"gap %d" % left_out]
        assert values == (full + 1) * 1000 - left_out
        (count,) = outbox.counts()
        assert count.received - count.dropped == values
        while more := outbox.thin_oldest(report):
            left_out += more
        records, sequences, values = split(everything(outbox))
        assert values == (full + 1) * 1000 - left_out < full * 600
    with Outbox.open(folder, 2, LIMITS) as outbox:
        assert split(everything(outbox)) == (records, sequences, values)
        assert outbox.unreported() == []
        outbox.release(1, LINE, full + 1)
        outbox.release(1, EVENTS, 10**6)
        assert outbox.level().rows == 0


def test_nothing_is_left_out_where_it_cannot_be_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Outbox.open(folder, 1, LIMITS) as outbox:
        full = fill(outbox)
        monkeypatch.setattr(Files, "rewrite", refuse)
        with pytest.raises(OutboxFull):
            outbox.thin_oldest(report)
        monkeypatch.undo()
        records, _, values = split(everything(outbox))
        # Told, and not done: it is done, and told again, with the next one.
        assert values == full * 1000 and records[-1].startswith(b"gap ")
        left_out = outbox.thin_oldest(report)
        records, _, values = split(everything(outbox))
        assert values == full * 1000 - left_out and records[-1] == b"gap %d" % left_out


def refuse(*_: object) -> None:
    raise OSError(28, "No space left on device")
