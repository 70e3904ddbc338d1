"""What happens at a server as deliveries: readings, births, deaths, gaps, heartbeats. Called by
source.py, in the order in which it happened."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from aurelian.edge.columns import NO_TIME, Columns, Numbers, SignalTable
from aurelian.edge.gateway import Delivery, Reading, Reject
from aurelian.model import codec
from aurelian.model.source_model import SourceModel
from opcua_gateway import metrics
from opcua_gateway.alarms.deliveries import OVERFLOWED, AlarmDeliveries, Sent
from opcua_gateway.decode.notifications import Published
from opcua_gateway.happenings import (
    Connected,
    Happening,
    Lost,
    Message,
    ReadBack,
    RefreshAsked,
    RefreshRefused,
    Refused,
)
from opcua_gateway.history.holes import Holes
from opcua_gateway.mapping import (
    Notification,
    Tag,
    UnitsHeard,
    historical_reading,
    overflowed,
    refused_reading,
    to_reading,
)

log = logging.getLogger(__name__)

_HEARTBEAT_US = 1_000_000
_DOWN = {
    1: "Failed",
    2: "NoConfiguration",
    3: "Suspended",
    4: "Shutdown",
    6: "CommunicationFault",
}
"""Server states in which values are no sign of life (part 5, 12.6)."""

_MOST_AHEAD_US = 3_600_000_000
"""What is dated further away is no live value, or its clock means nothing."""

_FEWEST_IN_COLUMNS = 32
"""Numbers in a message from which columns cost less than a reading each."""


class Deliveries:
    """Makes the deliveries of one server; remembers which values are a node's first, when each was
    heard last, and which units are silent.

    Attributes:
        heard_at: microseconds since 1970 of the last message, 0: none yet; a gap begins here.
        stored_at: the same of the last one up to which all is on the disk: there a gap begins for
            whoever comes after us.
        names: by handle the names of the numbers of nodes that are enumerations.
    """

    def __init__(
        self,
        model: SourceModel,
        owner: str,
        tags: Sequence[Tag],
        holes: Holes,
        alarms: AlarmDeliveries | None = None,
    ) -> None:
        self.model, self.owner = model, owner
        self._holes, self._alarms = holes, alarms
        self.heard_at = self.stored_at = 0
        self._on_the_way = 0
        # By how much live values are dated after they come; before: negative, as it is the rule.
        self._ahead = 0
        self.names: Mapping[int, Mapping[int, str]] = {}
        self._tags = tags
        self._assets = list(dict.fromkeys(tag.unit.id for tag in tags))
        self._units = UnitsHeard(tags)
        self._table = SignalTable(
            owner, [(tag.unit, tag.model, tag.signal, tag.unit.line.path) for tag in tags]
        )
        self._initial = np.zeros(len(tags), np.bool_)
        self._last_time = np.full(len(tags), NO_TIME, np.int64)
        self._beat_at = 0
        self._is_down = False

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
                self._holes.refused(statuses)
                return self._delivery(at, readings=readings)
            case Connected(resumed, at):
                if self._alarms is not None:
                    self._alarms.session_began()
                self._initial[:] = not resumed
                if not resumed:
                    self._is_down = False
                events = (
                    []
                    if resumed or not self.heard_at
                    else [
                        self._holes.missed_by_all(
                            self._gap(at, "no session with the server"), new_session=True
                        )
                    ]
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
            case ReadBack(found, filled, stored, at):
                readings = [
                    historical_reading(self._tags[each.handle], each, self.names.get(each.handle))
                    for each in found
                ]
                return self._delivery(at, readings=readings, events=filled, ack=stored)
            case RefreshAsked(at):
                if self._alarms is not None:
                    self._alarms.refresh_asked()
                return self._delivery(at)
            case RefreshRefused(missed, at):
                if self._alarms is None:
                    return self._delivery(at)
                sent = self._alarms.refresh_refused(at, missed=missed)
                return self._delivery(
                    at, events=list(self._stamped(sent.events, at)), ack=sent.stored
                )
        assert_never(happening)

    def _of_message(self, message: Message) -> Delivery:
        published, at = message.published, message.received_at
        events = list(self._of_state(published.number(len(self._tags)), at))
        handles, statuses, times = published.heads()
        known = handles < len(self._tags)
        if not known.all():
            handles, statuses, times = handles[known], statuses[known], times[known]
        columns, readings = self._values(published)
        live = times[(times != NO_TIME) & ~self._initial[handles]]
        self._initial[handles] = False
        events += self._losses(message, handles, statuses, times)
        if len(live) and abs(int(live.max()) - at) < _MOST_AHEAD_US:
            self._ahead = int(live.max()) - at
        fell, back = self._units.update(handles, statuses)
        if fell:
            reason = "the server has no communication with it"
            events.append(self._event(at, death=codec.Death(assets=fell, reason=reason)))
        if back:
            events.append(
                self._event(at, birth=codec.Birth(assets=back, detail="communication is back"))
            )
        if (
            at - self._beat_at >= _HEARTBEAT_US
            and not self._is_down
            and (heard := self._units.heard)
        ):
            self._beat_at = at
            assets = [] if self._units.all_heard else heard
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
        sent = Sent()
        if self._alarms is not None:
            missed = bool(message.lost or published.unreadable)
            sent = self._alarms.of(message.events, at, missed=missed)
            if sent.overflows:
                events.append(self._gap(at, OVERFLOWED))
            events += self._stamped(sent.events, at)
            rejects += sent.rejects
        timed = times != NO_TIME
        self._last_time[handles[timed]] = times[timed]
        self._holes.delivered(published, at)
        self.heard_at = at
        if message.acknowledgements is not None:
            self._on_the_way += 1
        elif not self._on_the_way:
            self.stored_at = at + min(self._ahead, 0)
        metrics.NOTIFICATIONS.labels(self.model.key).inc(len(handles))
        return self._delivery(
            at,
            columns=columns,
            readings=readings,
            rejects=rejects,
            events=events,
            ack=self._ack(message, sent.stored),
            vouches=not self._is_down,
        )

    def _of_state(self, state: int | None, at: int) -> Iterable[codec.SourceEvent]:
        """What the server says of itself: while it is not at work, it vouches for nobody."""
        if state is None or (state in _DOWN) == self._is_down:
            return
        self._is_down = state in _DOWN
        if self._is_down:
            reason = f"the server says that it is in state {_DOWN[state]}"
            log.warning(reason, extra={"fields": {"source": self.model.key}})
            yield self._event(at, death=codec.Death(reason=reason))
        else:
            detail = "the server is at work again"
            yield self._event(at, birth=codec.Birth(assets=self._units.heard, detail=detail))

    def _values(self, published: Published) -> tuple[Columns | None, list[Reading]]:
        """A message's values: many numbers as columns, all else as readings."""
        numbers = published.numbers
        others = {each.handle for each in published.others}
        if sum(map(len, numbers)) < _FEWEST_IN_COLUMNS or (
            # Not beside each other: the order of a signal's values must stay.
            others and any(np.isin(each.handle, list(others)).any() for each in numbers)
        ):
            return None, self._readings(published.notifications)
        if any((each.handle >= len(self._tags)).any() for each in numbers):
            numbers = tuple(each.take(each.handle < len(self._tags)) for each in numbers)
        if self.names and numbers:
            named = np.zeros(len(self._tags), np.bool_)
            named[[handle for handle in self.names if handle < len(named)]] = True
            if any(named[each.handle].any() for each in numbers):
                return self._columns_without(named, numbers, published)
        return self._columns(numbers), self._readings(published.others)

    def _columns(self, numbers: tuple[Numbers, ...]) -> Columns:
        # A copy: it is read after ours went on.
        initial = self._initial.copy() if self._initial.any() else None
        return Columns(self._table, numbers, initial)

    def _columns_without(
        self, named: NDArray[np.bool_], numbers: tuple[Numbers, ...], published: Published
    ) -> tuple[Columns, list[Reading]]:
        """Enumerations are named one by one, the other numbers stay columns."""
        rest = tuple(each.take(~named[each.handle]) for each in numbers)
        one_by_one = [
            each
            for each in published.notifications
            if each.handle < len(named) and named[each.handle]
        ]
        others = [
            each for each in published.others if each.handle < len(named) and not named[each.handle]
        ]
        return self._columns(rest), self._readings([*one_by_one, *others])

    def _readings(self, notifications: Iterable[Notification]) -> list[Reading]:
        return [
            to_reading(
                self._tags[each.handle],
                each,
                initial=bool(self._initial[each.handle]),
                names=self.names.get(each.handle),
            )
            for each in notifications
            if each.handle < len(self._tags)
        ]

    def _losses(
        self,
        message: Message,
        handles: NDArray[np.uint32],
        statuses: NDArray[np.uint32],
        times: NDArray[np.int64],
    ) -> Iterable[codec.SourceEvent]:
        """Gap events for what the server could not keep for us."""
        at = message.received_at
        if message.lost:
            metrics.LOST_MESSAGES.labels(self.model.key).inc(message.lost)
            lost = self._gap(at, f"{message.lost} messages were lost on the way")
            yield self._holes.missed_by_all(lost)
        if message.published.unreadable:
            yield self._holes.missed_by_all(self._gap(at, message.published.why))
        full = overflowed(statuses)
        if full.any():
            nodes = handles[full]
            metrics.OVERFLOWS.labels(self.model.key).inc(len(nodes))
            starts, ends = self._last_time[nodes], times[full]
            starts = np.where(starts == NO_TIME, self.heard_at or at, starts)
            ends = np.where(ends == NO_TIME, at, ends)
            first = self._tags[int(nodes[0])].signal.path
            reason = f"the server's queue was too small for {len(nodes)} nodes, first {first}"
            gap = codec.Gap(from_time=int(starts.min()), to_time=int(ends.max()), reason=reason)
            yield self._holes.overflowed(self._event(at, gap=gap), message.published)

    def _delivery(
        self,
        at: int,
        *,
        columns: Columns | None = None,
        readings: Sequence[Reading] = (),
        rejects: Sequence[Reject] = (),
        events: Sequence[codec.SourceEvent] = (),
        ack: Callable[[], None] | None = None,
        vouches: bool = True,
    ) -> Delivery:
        return Delivery(
            source=self.model,
            owner=self.owner,
            received_at=at,
            columns=columns,
            readings=readings,
            rejects=rejects,
            events=events,
            ack=ack,
            vouches=vouches,
        )

    def _gap(self, to: int, reason: str) -> codec.SourceEvent:
        """What may be missing, by the times that values carry: those of the server's clock."""
        metrics.GAPS.labels(self.model.key).inc()
        begin = (self.heard_at or to) + min(self._ahead, 0)
        gap = codec.Gap(from_time=begin, to_time=to + max(self._ahead, 0), reason=reason)
        return self._event(to, gap=gap)

    def _event(self, at: int, **kind: object) -> codec.SourceEvent:
        return codec.SourceEvent(owner=self.owner, source=self.model.key, time=at, **kind)  # type: ignore[arg-type]

    def _stamped(self, events: Iterable[codec.SourceEvent], at: int) -> Iterator[codec.SourceEvent]:
        for each in events:
            each.owner, each.source, each.time = self.owner, self.model.key, at
            yield each

    def _ack(
        self, message: Message, alarms_stored: Callable[[], None] | None
    ) -> Callable[[], None] | None:
        book = message.acknowledgements
        if book is None:
            return None

        def stored() -> None:
            self._on_the_way -= 1
            if alarms_stored is not None:
                alarms_stored()
            self.stored_at = max(self.stored_at, message.received_at + min(self._ahead, 0))
            book.stored(message.published.sequence)

        return stored
