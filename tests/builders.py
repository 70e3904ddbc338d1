"""What tests of every service share: a clock that is moved by hand, and builders of samples and
events."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from aurelian.events.cloudevent import Event, derive_event_id
from aurelian.events.schemas import LINE_STATE_CHANGED
from aurelian.model.plant_parts import NAMESPACE
from aurelian.model.sample import GOOD, Flag, Sample, Signal, Value, ValueType

EPOCH = datetime(2026, 1, 5, 6, 0, tzinfo=UTC)
"""Where a `ManualClock` begins: a Monday morning."""


class ManualClock:
    """A clock that stands until it is moved. Pass its methods where code takes `now` or
    `monotonic`."""

    def __init__(self, start: datetime = EPOCH) -> None:
        self._start = self._now = start

    def now(self) -> datetime:
        """The time, aware UTC."""
        return self._now

    def now_us(self) -> int:
        """The time as microseconds since 1970."""
        return (self._now - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return (self._now - self._start).total_seconds()

    def advance(self, seconds: float) -> None:
        """Move it forward."""
        self._now += timedelta(seconds=seconds)

    def set(self, time: datetime) -> None:
        """Move it to `time`."""
        self._now = time


def make_signal(
    path: str = "pilot-a/north/machining/line-1/saw/power",
    *,
    type: ValueType = ValueType.DOUBLE,
    unit: str = "kW",
    source: str = "pilot-a-opcua",
) -> Signal:
    """Make a signal whose ids follow from its path."""
    asset = path.rpartition("/")[0]
    return Signal(
        id=f"sig-{path}", asset=f"asset-{asset}", path=path, type=type, unit=unit, source=source
    )


def make_sample(
    value: Value = 1.0,
    *,
    signal: Signal | None = None,
    type: ValueType | None = None,
    source_time: int = 1_767_592_800_000_000,
    gateway_time: int | None = None,
    status: int = GOOD,
    flags: Flag = Flag.NONE,
    sub: int = 0,
) -> Sample:
    """Make a sample; the gateway has it 5 ms after the source unless told otherwise. Times in
    microseconds."""
    signal = signal or make_signal()
    return Sample(
        signal=signal,
        value=value,
        type=signal.type if type is None else type,
        source_time=source_time,
        gateway_time=source_time + 5_000 if gateway_time is None else gateway_time,
        status=status,
        flags=flags,
        sub=sub,
    )


def make_unchecked_event(
    type: str,
    *,
    source: str,
    subject: str,
    owner: str,
    time: datetime,
    data: Mapping[str, object],
    revision: int = 0,
) -> Event:
    """Make an event as `make_event` does, with any data: for tests of what only carries events."""
    id = derive_event_id(subject, type, time, revision)
    return Event(type, source, subject, owner, time, dict(data), id)


def make_line_event(
    revision: int = 0,
    *,
    type: str = LINE_STATE_CHANGED,
    owner: str = "pilot-a",
    line: str = "north/machining/line-1",
    time: datetime = EPOCH,
    data: Mapping[str, object] | None = None,
) -> Event:
    """Make an event about a line; another `revision` is another event."""
    content: dict[str, object] = {
        "line": f"{owner}/{line}",
        "state": "down",
        "previous": "running",
        "unit": None,
        "reason": "E-stop",
        "since": time.isoformat(),
    }
    subject = f"asset-{NAMESPACE.hex[:8]}-{owner}/{line}"
    return make_unchecked_event(
        type,
        source="/aurelian/line_health",
        subject=subject,
        owner=owner,
        time=time,
        data=dict(data) if data is not None else content,
        revision=revision,
    )
