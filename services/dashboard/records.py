"""Records of the live picture: signals with their values, lines, silences, and messages to the
browser. Values only; filled by live.py and presence.py."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from aurelian.model.machine_states import DEFAULT, Vocabulary
from aurelian.model.sample import Value, ValueType

Body = dict[str, Any]
"""JSON-ready content of a message to the browser."""


@dataclass(frozen=True, slots=True)
class Message:
    """One change that every browser must get; never conflated."""

    kind: str
    body: Body


@dataclass(slots=True)
class LiveSignal:
    """A signal and its newest value. `index` names it on the stream as long as this picture
    lives; `order` (microseconds, ordinal) says what is newer."""

    index: int
    id: str
    asset: str
    path: str
    type: ValueType
    unit: str
    source: str
    role: str = "other"
    limits: Mapping[str, Any] | None = None
    discovered: bool = False
    states: Vocabulary = DEFAULT
    value: Value = None
    status: int = 0
    flags: int = 0
    time_us: int = 0
    gateway_time_us: int = 0
    order: tuple[int, int] = (0, 0)

    @property
    def name(self) -> str:
        """Last part of its path."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Shown:
    """What a page shows: only that much of the picture is sent with it.

    Attributes:
        lines: ids whose state, figures, capacity and alarms are shown.
        signals: whose values are shown.
        health_of: ids of the machines whose health is shown.
    """

    lines: Collection[str] = ()
    signals: Collection[LiveSignal] = ()
    health_of: Collection[str] = ()


@dataclass(slots=True)
class LiveLine:
    """What is known of a line beside its place in the tree; bodies as the browser gets them."""

    state: Body | None = None
    before: Body | None = None  # the last known state, while there is none
    kpi: Body | None = None
    capacity: dict[str, Body] = field(default_factory=dict)  # by week's Monday, ISO


@dataclass(slots=True)
class Silence:
    """A source or an asset was declared silent (its death record) from `at_us` on."""

    reason: str
    at_us: int
