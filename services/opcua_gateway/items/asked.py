"""What is asked of a server for each node: sampling, queue and filter of its monitored item (part
4, 7.21 and 7.22). Pure; made once by source.py, used by publishing.py."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from aurelian.model.monitoring import monitoring_of
from aurelian.model.source_model import SourceModel
from opcua_gateway.mapping import Tag

MOST_QUEUED = 10_000
"""Asked for one node, unless the plant file asks for more."""

_FEWEST_QUEUED = 10
_FASTEST_SHARE, _FASTEST_S = 0.1, 0.01
"""A server that samples as fast as it can is taken to do so ten times in a publishing interval, but
not more than a hundred times a second."""

_COUNTABLE = 1e9
"""More values fit no queue; what divides by a time near 0 may have no end."""


class Trigger(IntEnum):
    """DataChangeTrigger (part 4, 7.22.2)."""

    STATUS = 0
    STATUS_VALUE = 1
    STATUS_VALUE_TIMESTAMP = 2


@dataclass(frozen=True, slots=True)
class Filter:
    """A DataChangeFilter. `deadband`: 0 for none; in percent of the EURange where `is_percent`."""

    trigger: Trigger = Trigger.STATUS_VALUE_TIMESTAMP
    deadband: float = 0.0
    is_percent: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for one node.

    Attributes:
        sampling_ms: -1: the publishing interval, 0: as fast as the server can.
        queue_size: at least so many values; 1: exactly one; 0: as many as an outage needs.
        keeps_newest: a full queue loses its oldest value.
        filter: of data changes.
        is_chosen: the plant file says the filter, so that it is told where it is not had.
        heartbeat_s: 0: never.
    """

    sampling_ms: float = -1.0
    queue_size: int = 0
    keeps_newest: bool = True
    filter: Filter = Filter()
    is_chosen: bool = False
    heartbeat_s: float = 0.0

    def sampling_s(self, publishing_interval_s: float) -> float:
        """As it goes into the request, seconds."""
        return publishing_interval_s if self.sampling_ms < 0 else self.sampling_ms / 1000

    def queue(self, publishing_interval_s: float, outage_s: float) -> int:
        """The queue size that is asked: `needed_queue`, or what the plant file says if more."""
        if self.queue_size == 1:
            return 1
        needed = needed_queue(
            self.sampling_s(publishing_interval_s), publishing_interval_s, outage_s
        )
        return max(self.queue_size, _FEWEST_QUEUED, min(needed, MOST_QUEUED))


def needed_queue(sampling_s: float, publishing_interval_s: float, outage_s: float) -> int:
    """Values that a node has at most from one message to the next after an outage; all seconds:
    ceil((2 x publishing interval + outage) / sampling interval) + 1."""
    if sampling_s <= 0:
        sampling_s = max(publishing_interval_s * _FASTEST_SHARE, _FASTEST_S)
    # Rounded, as what a double cannot hold exactly must not make one value more: 60.3 / 0.1.
    values = round((2 * publishing_interval_s + outage_s) / sampling_s, 6)
    return math.ceil(min(values, _COUNTABLE)) + 1


def asked_of(source: SourceModel, tags: Sequence[Tag]) -> list[Asked]:
    """What is asked for each node of a source, by handle."""
    return [_asked(source, tag) for tag in tags]


def _asked(source: SourceModel, tag: Tag) -> Asked:
    said = monitoring_of(source.monitoring, tag.model.monitoring, tag.model.type)
    deadband = said.deadband or said.deadband_percent or 0.0
    if deadband:
        filter = Filter(Trigger.STATUS_VALUE, deadband, not said.deadband)
    elif said.trigger is not None:
        filter = Filter(Trigger[said.trigger.upper()])
    else:
        filter = Filter()
    interval = said.sampling_interval_ms
    return Asked(
        sampling_ms=-1.0 if interval is None else interval,
        queue_size=said.queue_size or 0,
        keeps_newest=said.discard != "newest",
        filter=filter,
        is_chosen=bool(deadband) or said.trigger is not None,
        heartbeat_s=said.heartbeat_s or 0.0,
    )


def names_of_asked(model: SourceModel, tags: Sequence[Tag]) -> list[str]:
    """What is watched, by name; other nodes, or another item of events, need new subscriptions."""
    events = [] if model.alarms is None else [f"alarms {model.alarms.model_dump_json()}"]
    return [*(tag.model.address for tag in tags), *events]


def fingerprint(publishing_interval_s: float, asked: Sequence[Asked]) -> str:
    """Equal where the same is asked: a session whose items were asked otherwise is not resumed."""
    text = repr((publishing_interval_s, [_of_item(each) for each in asked]))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _of_item(asked: Asked) -> tuple[object, ...]:
    return (asked.sampling_ms, asked.queue_size, asked.keeps_newest, asked.filter)
