"""What happens at a server as deliveries: readings, births, deaths, gaps, heartbeats. Called by
source.py, in the order in which it happened."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from aurelian.edge.columns import NO_TIME, Columns
from aurelian.edge.gateway import Delivery, Reading, Reject
from aurelian.model import codec
from aurelian.model.source_model import SourceModel
from opcua_gateway import metrics
from opcua_gateway.alarms.deliveries import OVERFLOWED, AlarmDeliveries, Sent
from opcua_gateway.decode.good_status import GoodStatus
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
    Unfiltered,
)
from opcua_gateway.history.holes import Holes
from opcua_gateway.items.asked import asked_of
from opcua_gateway.items.heartbeat import Repeats
from opcua_gateway.mapping import (
    Tag,
    overflowed,
    refused_reading,
)
from opcua_gateway.message_values import Values
from opcua_gateway.progress import MOST_AHEAD_US, Progress
from opcua_gateway.refused import say_refused
from opcua_gateway.server_status import ServerStatus
from opcua_gateway.units_heard import UnitsHeard

log = logging.getLogger(__name__)

_HEARTBEAT_US = 1_000_000
_NO_SESSION = "no session with the server"
_NO_EVENTS = "events between two servers: the one that took over gives its values since then alone"

_SAMPLED_BEFORE_US = 2_000_000
"""So long before the last message of the server before another one must have sampled, for nothing
to be missed: longer than values wait for their message."""


class Deliveries:
    """Makes the deliveries of one server; remembers how far it is, and which units are silent.

    Attributes:
        progress: how far it is.
        values: of its messages.
        status: what the server says of itself.
        units: which of them the server hears.
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
        self._good_status = GoodStatus(model.good_status)
        beats = [each.heartbeat_s for each in asked_of(model, tags)]
        self._repeats = Repeats(beats) if any(beats) else None
        self._holes, self._alarms = holes, alarms
        self.progress = Progress()
        self._tags, self.values = tags, Values(model, owner, tags)
        self._assets = list(dict.fromkeys(tag.unit.id for tag in tags))
        self.units = UnitsHeard(tags)
        self._beat_at = 0
        self.status = ServerStatus()
        self._is_down = False
        self._announced: tuple[object, ...] = ()

    @property
    def server_down(self) -> str:
        """Why the server vouches for nobody; empty: it is at work."""
        return self.status.why_down if self._is_down else ""

    def tag_of(self, handle: int) -> Tag:
        """A node's signal."""
        return self._tags[handle]

    @property
    def nameless(self) -> int:
        """Events of conditions that were left out, since they do not say of which one they are."""
        return self._alarms.nameless if self._alarms is not None else 0

    @property
    def silent_units(self) -> int:
        """How many units the server does not reach."""
        return len(self.units.silent)

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
                say_refused(self.model, self._tags, statuses)
                metrics.REFUSED.labels(self.model.key).inc(len(readings))
                if self._repeats is not None:
                    self._repeats.forget(list(statuses))
                self._holes.refused(statuses)
                fell = self.units.refused(list(statuses))
                events = [self._silent(fell, at, "the server gives none of its nodes")]
                return self._delivery(at, readings=readings, events=events if fell else ())
            case Connected():
                return self._of_session(happening)
            case Lost(reason, at):
                return self._delivery(
                    at, events=[self._event(at, death=codec.Death(reason=reason))]
                )
            case ReadBack(found, filled, stored, at):
                readings = self.values.historical(self._good_status.of_notifications(found))
                return self._delivery(at, readings=readings, events=filled, ack=stored)
            case RefreshAsked(at):
                if self._alarms is not None:
                    self._alarms.refresh_asked()
                return self._delivery(at)
            case RefreshRefused(missed, at):
                if self._alarms is None:
                    return self._delivery(at)
                sent = self._alarms.refresh_refused(at, missed=missed)
                told_ = list(self._stamped(sent.events, at))
                return self._delivery(at, events=told_, ack=sent.stored)
            case Unfiltered(text, at):
                # The detail of a birth is what people read of a source; it must bear nobody who is
                # silent, and a birth that names nobody bears all.
                heard = [] if self._is_down else self.units.heard
                told = codec.Birth(assets=heard, detail=text)
                events = [self._event(at, birth=told)] if heard else []
                return self._delivery(at, events=events)
        assert_never(happening)

    def _of_session(self, connected: Connected) -> Delivery:
        """A session is up: what was missed before it, and who lives now."""
        at, untold = connected.at, self.progress.untold
        if self._alarms is not None:
            self._alarms.session_began()
        events: list[codec.SourceEvent] = []
        self.values.initial[:] = not connected.resumed
        if self._repeats is not None and connected.resumed:
            self._repeats.resume(at)
        elif self._repeats is not None:
            self._repeats.forget()
        since = connected.sampled_since
        is_covered = since is not None and since + _SAMPLED_BEFORE_US <= self.progress.heard_at
        if not connected.resumed and self.progress.heard_at and not (is_covered and untold is None):
            gap = self._gap(at, _NO_SESSION)
            if untold is not None:
                gap.gap.from_time = min(gap.gap.from_time, untold[0])
            events.append(self._holes.missed_by_all(gap, new_session=True))
        elif not connected.resumed and self.progress.heard_at and self.model.alarms is not None:
            events.append(self._gap(at, _NO_EVENTS))
        elif connected.resumed and untold is not None and not self.progress.on_the_way:
            # It was on its way when the process before this one ended; its holes are known.
            again = codec.Gap(from_time=untold[0], to_time=untold[1], reason=_NO_SESSION)
            events.append(self._event(at, gap=again))
        self.progress.began(connected.session, at)
        gaps = list(events)
        if connected.status is not None:
            self.status = connected.status
        elif not connected.resumed:
            self.status = ServerStatus()
        self._is_down = self.status.is_down
        if self._is_down:
            events.append(self._died(at))
        else:
            detail = "resumed" if connected.resumed else "connected"
            if connected.server:
                detail += f" {'at' if connected.resumed else 'to'} {connected.server}"
            events.append(self._event(at, birth=codec.Birth(assets=self._assets, detail=detail)))
            if silent := self.units.silent:  # until their values say otherwise
                events.append(self._silent(silent, at))
        self._beat_at = at
        ack = self.progress.told(gaps[0].gap) if gaps else None
        return self._delivery(at, events=events, ack=ack)

    def _died(self, at: int) -> codec.SourceEvent:
        reason, self._announced = self.status.why_down, self.status.announced
        log.warning(reason, extra={"fields": {"source": self.model.key}})
        return self._event(at, death=codec.Death(reason=reason))

    def _of_message(self, message: Message) -> Delivery:
        message = replace(message, published=self.values.without_known_losses(message.published))
        published, at = self._good_status.of(message.published), message.received_at
        events = list(self._of_state(published, at))
        handles, statuses, times = published.heads()
        known = handles < len(self._tags)
        if not known.all():
            handles, statuses, times = handles[known], statuses[known], times[known]
        columns, readings = self.values.of(published)
        live = times[(times != NO_TIME) & ~self.values.initial[handles]]
        beats = self._beats(message, published)
        self.values.initial[handles] = False
        events += self._losses(message, handles, statuses, times)
        if len(live):
            self.progress.dated(int(live.max()), at)
        fell, back = self.units.update(handles, statuses)
        if fell:
            events.append(self._silent(fell, at))
        if back:
            events.append(
                self._event(at, birth=codec.Birth(assets=back, detail="communication is back"))
            )
        if (
            not 0 <= at - self._beat_at < _HEARTBEAT_US  # before: our clock was set back
            and not self._is_down
            and (heard := self.units.heard)
        ):
            self._beat_at = at
            assets = [] if self.units.all_heard else heard
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
        self.values.last_time[handles[timed]] = times[timed]
        self._holes.delivered(published, at)
        self.progress.took(message, bool(len(handles)))
        metrics.NOTIFICATIONS.labels(self.model.key).inc(len(handles))
        return self._delivery(
            at,
            columns=columns,
            readings=[*readings, *beats] if beats else readings,
            rejects=rejects,
            events=events,
            ack=self.progress.stored(message, sent.stored),
            vouches=not self._is_down,
            bookmark=self.progress.reached(message),
        )

    def _beats(self, message: Message, published: Published) -> list[Reading]:
        """What is repeated now that the server was heard. After a loss a node's last value may not
        be the one that we know."""
        if self._repeats is None:
            return []
        if message.lost:
            self._repeats.forget()
        self._repeats.take(published, message.received_at, self.values.initial)
        if published.unreadable:
            self._repeats.forget()
        if self._is_down:
            return []
        found = self._repeats.take_due(message.received_at)
        metrics.REPEATED.labels(self.model.key).inc(len(found))
        return self.values.one_by_one(found, repeated=True)

    def _of_state(self, published: Published, at: int) -> Iterable[codec.SourceEvent]:
        """What the server says of itself: while it is not at work, it vouches for nobody."""
        self.status.take(published, len(self._tags))
        more = self._is_down and self.status.announced != self._announced
        if self.status.is_down == self._is_down and not more:
            return
        self._is_down = self.status.is_down
        if self._is_down:
            yield self._died(at)
        else:
            detail = "the server is at work again"
            yield self._event(at, birth=codec.Birth(assets=self.units.heard, detail=detail))

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
            metrics.UNREADABLE.labels(self.model.key).inc()
            yield self._holes.missed_by_all(self._gap(at, message.published.why))
        full = overflowed(statuses)
        if full.any():
            nodes = handles[full]
            metrics.OVERFLOWS.labels(self.model.key).inc(len(nodes))
            starts = _usable(self.values.last_time[nodes], at, self.progress.heard_at or at)
            ends = _usable(times[full], at, at)
            first = self._tags[int(nodes[0])].signal.path
            said = f"{len(nodes)} nodes, first {first}" if len(nodes) > 1 else first
            reason = f"the server's queue was too small for {said}"
            # Both ends of both: a clock may have been set back between.
            begin, end = min(starts.min(), ends.min()), max(starts.max(), ends.max())
            gap = codec.Gap(from_time=int(begin), to_time=int(end), reason=reason)
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
        bookmark: str = "",
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
            bookmark=bookmark,
        )

    def _silent(
        self, units: Sequence[str], at: int, reason: str = "the server has no communication with it"
    ) -> codec.SourceEvent:
        return self._event(at, death=codec.Death(assets=units, reason=reason))

    def _gap(self, to: int, reason: str) -> codec.SourceEvent:
        """What may be missing, by the times that values carry: those of the server's clock."""
        metrics.GAPS.labels(self.model.key).inc()
        begin, end = self.progress.span(to)
        gap = codec.Gap(from_time=begin, to_time=end, reason=reason)
        return self._event(to, gap=gap)

    def _event(self, at: int, **kind: object) -> codec.SourceEvent:
        return codec.SourceEvent(owner=self.owner, source=self.model.key, time=at, **kind)  # type: ignore[arg-type]

    def _stamped(self, events: Iterable[codec.SourceEvent], at: int) -> Iterator[codec.SourceEvent]:
        for each in events:
            each.owner, each.source, each.time = self.owner, self.model.key, at
            yield each


def _usable(times: NDArray[np.int64], at: int, otherwise: int) -> NDArray[np.int64]:
    """Times of values, `otherwise` in place of those that no clock of today has: a gap up to the
    year 2300 would cover all that follows."""
    return np.where((times <= 0) | (times > at + MOST_AHEAD_US), otherwise, times)
