"""What happens at a server as deliveries: readings, births, deaths, gaps, heartbeats. Called by
source.py, in the order in which it happened."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import assert_never

from aurelian.edge.gateway import Delivery, Reading, Reject
from aurelian.model import codec
from aurelian.model.source_model import SourceModel
from opcua_gateway import metrics
from opcua_gateway.happenings import Connected, Happening, Lost, Message, Refused
from opcua_gateway.mapping import (
    Notification,
    Tag,
    UnitsHeard,
    refused_reading,
    to_reading,
)

log = logging.getLogger(__name__)

_HEARTBEAT_US = 1_000_000
_MOST_AHEAD_US = 3_600_000_000
"""What is dated further away is no live value, or its clock means nothing."""


class Deliveries:
    """Makes the deliveries of one server; remembers which values are a node's first, when each was
    heard last, and which units are silent.

    Attributes:
        heard_at: microseconds since 1970 of the last message, 0: none yet; a gap begins here.
        stored_at: the same of the last one up to which all is on the disk: there a gap begins for
            whoever comes after us.
    """

    def __init__(self, model: SourceModel, owner: str, tags: Sequence[Tag]) -> None:
        self.model, self.owner = model, owner
        self.heard_at = self.stored_at = 0
        self._on_the_way = 0
        # By how much live values are dated after they come; before: negative, as it is the rule.
        self._ahead = 0
        self._tags = tags
        self._assets = list(dict.fromkeys(tag.unit.id for tag in tags))
        self._units = UnitsHeard(tags)
        self._initial: set[int] = set()
        self._last_time: dict[int, int] = {}
        self._beat_at = 0

    def of(self, happening: Happening) -> Delivery:
        """The delivery of what happened; in the order in which it happened."""
        match happening:
            case Message():
                return self._of_message(happening)
            case Refused(statuses, at):
                readings = [
                    refused_reading(self._tags[handle], status, at)
                    for handle, status in statuses.items()
                ]
                log.warning(
                    "nodes are refused",
                    extra={
                        "fields": {
                            "source": self.model.key,
                            "count": len(readings),
                            "first": readings[0].signal.path,
                        }
                    },
                )
                metrics.REFUSED.labels(self.model.key).inc(len(readings))
                return self._delivery(at, readings=readings)
            case Connected(resumed, at):
                self._initial = set() if resumed else set(range(len(self._tags)))
                events = (
                    []
                    if resumed or not self.heard_at
                    else [self._gap(at, "no session with the server")]
                )
                born = codec.Birth(
                    assets=self._assets, detail="resumed" if resumed else "connected"
                )
                self._beat_at = at
                return self._delivery(at, events=[*events, self._event(at, birth=born)])
            case Lost(reason, at):
                return self._delivery(
                    at, events=[self._event(at, death=codec.Death(reason=reason))]
                )
        assert_never(happening)

    def _of_message(self, message: Message) -> Delivery:
        published, at = message.published, message.received_at
        found = [each for each in published.notifications if each.handle < len(self._tags)]
        readings = [
            to_reading(self._tags[each.handle], each, initial=each.handle in self._initial)
            for each in found
        ]
        live = [e.source_time for e in found if e.source_time and e.handle not in self._initial]
        self._initial.difference_update(each.handle for each in found)
        events = list(self._losses(message, found))
        if live and abs(max(live) - at) < _MOST_AHEAD_US:
            self._ahead = max(live) - at
        fell, back = self._units.update(found)
        if fell:
            reason = "the server has no communication with it"
            events.append(self._event(at, death=codec.Death(assets=fell, reason=reason)))
        if back:
            events.append(
                self._event(at, birth=codec.Birth(assets=back, detail="communication is back"))
            )
        if at - self._beat_at >= _HEARTBEAT_US and self._units.heard:
            self._beat_at = at
            assets = [] if self._units.all_heard else self._units.heard
            events.append(self._event(at, heartbeat=codec.Heartbeat(heard_at=at, assets=assets)))
        rejects = []
        if published.unreadable:
            rejects.append(
                Reject(
                    published.why,
                    "unreadable",
                    f"{self.model.url} message {published.sequence}",
                    published.unreadable,
                )
            )
        for each in found:
            if each.source_time is not None:
                self._last_time[each.handle] = each.source_time
        self.heard_at = at
        if message.acknowledgements is not None:
            self._on_the_way += 1
        elif not self._on_the_way:
            self.stored_at = at + min(self._ahead, 0)
        metrics.NOTIFICATIONS.labels(self.model.key).inc(len(found))
        return self._delivery(
            at, readings=readings, rejects=rejects, events=events, ack=self._ack(message)
        )

    def _losses(
        self, message: Message, found: Sequence[Notification]
    ) -> Iterable[codec.SourceEvent]:
        """Gap events for what the server could not keep for us."""
        at = message.received_at
        if message.lost:
            metrics.LOST_MESSAGES.labels(self.model.key).inc(message.lost)
            yield self._gap(at, f"{message.lost} messages were lost on the way")
        if message.published.unreadable:
            yield self._gap(at, message.published.why)
        full = [each for each in found if each.overflow]
        if full:
            metrics.OVERFLOWS.labels(self.model.key).inc(len(full))
            starts = [self._last_time.get(each.handle, self.heard_at or at) for each in full]
            ends = [each.source_time or at for each in full]
            first = self._tags[full[0].handle].signal.path
            reason = f"the server's queue was too small for {len(full)} nodes, first {first}"
            gap = codec.Gap(from_time=min(starts), to_time=max(ends), reason=reason)
            yield self._event(at, gap=gap)

    def _delivery(
        self,
        at: int,
        *,
        readings: Sequence[Reading] = (),
        rejects: Sequence[Reject] = (),
        events: Sequence[codec.SourceEvent] = (),
        ack: Callable[[], None] | None = None,
    ) -> Delivery:
        return Delivery(
            source=self.model,
            owner=self.owner,
            received_at=at,
            readings=readings,
            rejects=rejects,
            events=events,
            ack=ack,
        )

    def _gap(self, to: int, reason: str) -> codec.SourceEvent:
        """What may be missing, by the times that values carry: those of the server's clock."""
        metrics.GAPS.labels(self.model.key).inc()
        begin = (self.heard_at or to) + min(self._ahead, 0)
        gap = codec.Gap(from_time=begin, to_time=to + max(self._ahead, 0), reason=reason)
        return self._event(to, gap=gap)

    def _event(self, at: int, **kind: object) -> codec.SourceEvent:
        return codec.SourceEvent(owner=self.owner, source=self.model.key, time=at, **kind)  # type: ignore[arg-type]

    def _ack(self, message: Message) -> Callable[[], None] | None:
        book = message.acknowledgements
        if book is None:
            return None

        def stored() -> None:
            self._on_the_way -= 1
            self.stored_at = max(self.stored_at, message.received_at + min(self._ahead, 0))
            book.stored(message.published.sequence)

        return stored
