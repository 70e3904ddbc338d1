"""What a server gives for a source's nodes, against what was asked: said once in the log, counted,
shown. Called by publishing.py; lives as long as the source."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opcua_gateway import metrics
from opcua_gateway.items.asked import Asked, needed_queue
from opcua_gateway.items.create import Item, Made
from opcua_gateway.session import Terms

log = logging.getLogger(__name__)

_NAMED = 5
"""Nodes in one line of the log."""

_SLACK = 0.001
"""Relative: a server that keeps times as whole ticks gives nearly what was asked."""


@dataclass(frozen=True, slots=True)
class _Given:
    """Of one node, seconds and values."""

    asked_sampling_s: float
    sampling_s: float
    asked_queue: int
    queue: int
    is_short: bool


class Revisions:
    """What is given of what was asked, and which filters are not had.

    Args:
        source: key of the source, for log and metrics.
        names: paths of the nodes' signals, by handle.
        asked: by handle.
        outage_s: that the queues shall bridge.
    """

    def __init__(
        self, source: str, names: Sequence[str], asked: Sequence[Asked], outage_s: float
    ) -> None:
        self.source, self._names, self._asked, self._outage_s = source, names, asked, outage_s
        self._given: dict[int, _Given] = {}
        self._unfiltered: dict[int, str] = {}  # by handle: why
        self._named: set[int] = set()  # that the log has named
        self._said: dict[str, object] = {}
        self._interval_s: tuple[float, float] | None = None

    def name(self, handle: int) -> str:
        """Path of a node's signal."""
        return self._names[handle]

    @property
    def unfiltered(self) -> Mapping[int, str]:
        """Nodes that are watched without the filter that the plant file says, with the reason."""
        return self._unfiltered

    def begin(self) -> None:
        """A new session: all is asked anew."""
        self._given.clear()
        self._unfiltered.clear()

    def subscribed(self, asked_s: float, terms: Terms) -> None:
        """A subscription was made with these terms; `asked_s`: the publishing interval."""
        self._interval_s = asked_s, terms.publishing_interval_s

    def made(self, terms: Terms, items: Sequence[Item], made: Mapping[int, Made]) -> None:
        """Items were created in a subscription."""
        for item in items:
            found, asked = made.get(item.handle), self._of(item.handle)
            if found is None or asked is None or not found.is_there:
                continue
            needed = needed_queue(found.sampling_s, terms.publishing_interval_s, self._outage_s)
            is_short = asked.queue_size != 1 and found.queue_size < needed
            self._given[item.handle] = _Given(
                item.sampling_s, found.sampling_s, item.queue_size, found.queue_size, is_short
            )
            if found.filter_refused and asked.is_chosen:
                self._unfiltered[item.handle] = (
                    f"the server refuses it (0x{found.filter_refused:08X})"
                )
            elif item.filter == asked.filter:
                self._unfiltered.pop(item.handle, None)

    def without_range(self, handles: Sequence[int]) -> None:
        """Nodes that shall have a deadband in percent of an EURange, and have none."""
        for handle in handles:
            self._unfiltered[handle] = "the node has no EURange to take a percentage of"

    def tell(self) -> str:
        """Say what is new, in the log and as metrics; return what a person shall read on the pages:
        that some filters are not had. Empty: nothing new."""
        self._count()
        self._say("publishing interval", self._of_interval(), "s")
        given = self._given.values()
        pairs = [(each.asked_sampling_s, each.sampling_s) for each in given]
        self._say("sampling interval", pairs, "s")
        self._say("queue size", [(float(e.asked_queue), float(e.queue)) for e in given], "values")
        short = sorted(handle for handle, each in self._given.items() if each.is_short)
        if self._said.get("short") != len(short):
            self._said["short"] = len(short)
            if short:
                fields = {
                    "source": self.source,
                    "count": len(short),
                    "first": self._names[short[0]],
                    "outage_s": self._outage_s,
                    "queue": min(self._given[handle].queue for handle in short),
                    "next": "a longer sampling interval, or a server with longer queues",
                }
                log.warning("queues are too short for an outage", extra={"fields": fields})
        return self._tell_filters()

    def _tell_filters(self) -> str:
        new = sorted(handle for handle in self._unfiltered if handle not in self._named)
        if not new:
            return ""
        self._named.update(new)
        reasons: dict[str, list[int]] = {}
        for handle in new:
            reasons.setdefault(self._unfiltered[handle], []).append(handle)
        for reason, handles in reasons.items():
            fields = {
                "source": self.source,
                "count": len(handles),
                "nodes": [self._names[handle] for handle in handles[:_NAMED]],
                "reason": reason,
            }
            log.warning("nodes come without their filter", extra={"fields": fields})
        first = new[0]
        return (
            f"{len(self._unfiltered)} nodes come without their filter, first "
            f"{self._names[first]}: {self._unfiltered[first]}"
        )

    def _say(self, what: str, pairs: Sequence[tuple[float, float]], unit: str) -> None:
        """Once for each kind of difference, and again when it is another."""
        differ = [(asked, given) for asked, given in pairs if _differ(asked, given)]
        found = (len(differ), tuple(sorted(Counter(differ).items())))
        if self._said.get(what, (0, ())) == found:
            return
        self._said[what] = found
        if not differ:
            return
        fields = {
            "source": self.source,
            "what": what,
            "unit": unit,
            "count": len(differ),
            "of": len(pairs),
            "asked": sorted({asked for asked, _ in differ})[:_NAMED],
            "given": sorted({given for _, given in differ})[:_NAMED],
        }
        log.info("the server revised what was asked", extra={"fields": fields})

    def _count(self) -> None:
        given = self._given.values()
        counts = {
            "publishing_interval": sum(_differ(*pair) for pair in self._of_interval()),
            "sampling_interval": sum(_differ(e.asked_sampling_s, e.sampling_s) for e in given),
            "queue_size": sum(_differ(e.asked_queue, e.queue) for e in given),
        }
        for what, count in counts.items():
            metrics.REVISED.labels(self.source, what).set(count)
        metrics.SHORT_QUEUES.labels(self.source).set(sum(each.is_short for each in given))
        metrics.UNFILTERED.labels(self.source).set(len(self._unfiltered))

    def _of_interval(self) -> list[tuple[float, float]]:
        return [] if self._interval_s is None else [self._interval_s]

    def _of(self, handle: int) -> Asked | None:
        return self._asked[handle] if handle < len(self._asked) else None


def _differ(asked: float, given: float) -> bool:
    return abs(asked - given) > _SLACK * max(abs(asked), abs(given))
