"""Pure: turns the records of the event topics into rows of the event log. Driven by
`aurelian.fold.run.run_fold`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from aurelian.events.cloudevent import Event, EventError, decode_event
from aurelian.fold.contract import Effects, State
from aurelian.model.record import Record
from partner_events import metrics

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Received:
    """An event and its bytes as text, as its maker wrote them."""

    event: Event
    body: str


class LogFold:
    """Keeps no state: every readable record is a row; the writer knows those that came before."""

    def learn(self, record: Record, now: int) -> None:
        """Nothing is learned: there are no shared topics."""

    def fold(self, record: Record, now: int) -> Effects[Received]:
        """Read a CloudEvent; a record that is none is logged, counted and passed over."""
        try:
            return Effects(rows=[read_event(record.value)])
        except EventError as error:
            metrics.unreadable.inc()
            where = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
            size = len(record.value or b"")
            log.warning(
                "unreadable event", extra={"fields": {**where, "bytes": size, "why": str(error)}}
            )
            return Effects()

    def tick(self, now: int) -> Effects[Received]:
        """Time alone changes nothing."""
        return Effects()

    def changed(self) -> Mapping[str, State]:
        """There is no state."""
        return {}

    def restore(self, states: Mapping[str, State]) -> None:
        """There is no state."""

    def memory(self) -> State:
        """There is none."""
        return {}

    def recall(self, memory: State) -> None:
        """There is none."""


def read_event(value: bytes | None) -> Received:
    """Read a record's bytes.

    Raises:
        EventError: no UTF-8, no CloudEvent, or one that the log cannot hold.
    """
    try:
        body = (value or b"").decode("utf-8")
    except UnicodeDecodeError as error:
        raise EventError(f"no UTF-8: {error}") from error
    event = decode_event(body)
    if event.time.tzinfo is None:
        raise EventError(f"time {event.time} has no zone")
    named = (event.id, event.source, event.type, event.subject, event.owner)
    if not all(named[:3]) or not event.owner or any("\0" in text for text in named):
        raise EventError("an attribute is empty or holds NUL")
    return Received(event, body)
