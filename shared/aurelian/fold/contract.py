"""What a service brings to `run_fold` and gives back: settings, a pure `Fold`, its `Effects`. No
I/O."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from psycopg import AsyncConnection
from pydantic import Field

from aurelian.backbone.topics import Topic
from aurelian.events.cloudevent import Event
from aurelian.model.record import Record
from aurelian.runtime.settings import KafkaSettings, StoreSettings

RowT = TypeVar("RowT")
State = dict[str, object]
"""One key's state: JSON-ready content by name of its part. A part is written when it changed, so
what changes often and what is large and constant belong into parts of their own."""

Clock = Callable[[], int]
"""The present as int64 microseconds since 1970 UTC."""


class FoldSettings(KafkaSettings, StoreSettings):
    """For services built on `run_fold`."""

    commit_interval_s: float = Field(
        0.25,
        gt=0,
        description="what was folded commits this often: less is faster, more is cheaper",
    )
    fold_exclusive: bool = Field(
        False,
        description="one instance owns all partitions and starts at once; off: instances share "
        "them as a Kafka group",
    )


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An event on its way: the topic, the record's key, and the event."""

    topic: Topic
    key: str
    event: Event


@dataclass(slots=True)
class Effects(Generic[RowT]):
    """What follows from a record or from time passing: rows for the service's `write`, events for
    Kafka; in order."""

    rows: list[RowT] = field(default_factory=list)
    events: list[Outgoing] = field(default_factory=list)

    def add(self, other: Effects[RowT]) -> None:
        """Append what follows from something later."""
        self.rows += other.rows
        self.events += other.events

    def __bool__(self) -> bool:
        return bool(self.rows or self.events)


class NotLearned(Exception):
    """A record is of something that no shared topic has told of yet. What they have by now is
    learned, and the record folded once more."""


class Fold(Protocol[RowT]):
    """A service's state by key and what records do to it. Pure: no I/O, no clock of its own, never
    blocks.

    The same records folded into the same state must give the same rows and the same event ids
    (`events.make_event`): after a crash the last ones are folded again. `now` is in microseconds
    since 1970 UTC. A record that cannot be read may raise `codec.DecodeError` or
    `events.EventError` before it changes anything; it is counted and passed over. `NotLearned` too:
    topics come side by side, and values may come before what says what they are.
    """

    def learn(self, record: Record, now: int) -> None:
        """Take in a record of a shared topic. It may come again."""

    def fold(self, record: Record, now: int) -> Effects[RowT]:
        """Take in a record of an owned topic and say what follows. In order within a partition."""

    def tick(self, now: int) -> Effects[RowT]:
        """Say what follows from the time alone; called about once a second, when all that was there
        is folded."""

    def changed(self) -> Mapping[str, State]:
        """The parts that changed since the last call, by key; they thereby count as saved."""

    def restore(self, states: Mapping[str, State]) -> None:
        """Forget the state of all keys and go on from these, whole; what was learned from shared
        topics stays."""

    def memory(self) -> State:
        """Snapshot of what was learned from shared topics that are not compacted; {} where there
        are none."""

    def recall(self, memory: State) -> None:
        """Go on from a snapshot of `memory`; called before anything is learned, in each session
        anew."""


Write = Callable[[AsyncConnection, Sequence[RowT]], Awaitable[None]]
"""Writes rows in the open transaction. Must be idempotent by key (upsert): a fold may give a row
again."""
