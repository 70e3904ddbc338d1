"""The events of messages as what is sent on; called by deliveries.py of the gateway, in the order
in which they came."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from aurelian.edge.gateway import Reject
from aurelian.model import codec
from aurelian.model.alarms_model import AlarmsModel
from aurelian.model.plant import Unit
from aurelian.model.source_model import SourceModel
from opcua_gateway import metrics
from opcua_gateway.alarms import event as events
from opcua_gateway.alarms.conditions import Conditions, News
from opcua_gateway.alarms.journal import Journal

log = logging.getLogger(__name__)

NAMELESS = "events of alarms were left out: they do not say of which condition they are"
NAMELESS_STEP = (
    "let the server send the ConditionId (the node of the condition; of an event generator of "
    "asyncua `generator.event.NodeId`), or say `alarms: {events: all}`: then they come as events, "
    "of which nobody knows which stand"
)

OVERFLOWED = "the server's queue of events was too small"


@dataclass(frozen=True, slots=True)
class Sent:
    """What is made of the events of a message.

    Attributes:
        events: alarms, in order, without time and source.
        rejects: events that cannot be used.
        overflows: times that the server's queue was too small.
        stored: to be called when the outbox has all of it; None: nothing is to be done then.
    """

    events: Sequence[codec.SourceEvent] = ()
    rejects: Sequence[Reject] = ()
    overflows: int = 0
    stored: Callable[[], None] | None = None


def make_alarms(model: SourceModel, units: Sequence[Unit], folder: Path) -> AlarmDeliveries | None:
    """The alarms of a source, None: it has none. Also where it takes none any more and some were
    standing: they must not stay so for ever. `folder`: of the gateway's state."""
    file = folder / f"opcua-{model.slug}-conditions.jsonl"
    if model.alarms is None and not file.exists():
        return None
    return AlarmDeliveries(model.key, model.url, model.alarms or AlarmsModel(), units, file)


class AlarmDeliveries:
    """The alarms of one server.

    Attributes:
        nameless: events of this session that are of a condition, do not say of which, and were
            left out for that.

    Args:
        source, url: of the server, for metrics and rejects.
        units: that its events may be about.
        file: where the conditions are kept that are of interest.
    """

    def __init__(
        self, source: str, url: str, model: AlarmsModel, units: Sequence[Unit], file: Path
    ) -> None:
        self.nameless = 0
        self._source, self._url = source, url
        self._lines = {unit.id: unit.line.path for unit in units}
        self._journal = Journal(file)
        everything = model.events == "all"
        self._conditions = Conditions(self._journal, model.min_severity, everything=everything)
        self._has_said_nameless = False

    def of(self, said: Sequence[events.EventSaid], at: int, *, missed: bool) -> Sent:
        """What events say; `missed`: some before or among them did not come. `at`: microseconds
        since 1970."""
        news, rejects, overflows, left_out = News(), [], 0, 0
        if missed:
            self._conditions.missed()
        for each in said:
            match each.kind:
                case _ if each.alarm is None:
                    origin = f"{self._url} events"
                    rejects.append(Reject(each.why, "unreadable", origin, each.data))
                case events.REFRESH_START:
                    self._conditions.refresh_started()
                case events.REFRESH_END:
                    self._conditions.refresh_ended(each.alarm.source_time or at, news)
                case events.REFRESH_REQUIRED:
                    pass
                case events.OVERFLOW:
                    overflows += 1
                    self._conditions.missed()
                case _:
                    before = len(news.told) + news.repeated
                    self._conditions.take(each.alarm, news)
                    if before == len(news.told) + news.repeated:
                        left_out += 1
                        self.nameless += each.is_nameless
        for became, count in (
            ("left_out", left_out),
            ("unusable", len(rejects)),
        ):
            self._count(became, count)
        if self.nameless and not self._has_said_nameless:
            self._has_said_nameless = True
            fields = {"source": self._source, "next": NAMELESS_STEP}
            log.warning(NAMELESS, extra={"fields": fields})
        if overflows:
            metrics.EVENT_OVERFLOWS.labels(self._source).inc(overflows)
        return self._sent(news, rejects, overflows)

    def session_began(self) -> None:
        """A new or resumed session."""
        self.nameless = 0
        self._conditions.session_began()

    def refresh_asked(self) -> None:
        """Its events come from now on."""
        self._conditions.asked()

    def refresh_refused(self, at: int, *, missed: bool) -> Sent:
        """There will be no list; `missed`: so what we know may not be so any more."""
        news = News()
        if missed:
            self._conditions.refresh_refused(at, news)
        return self._sent(news, [], 0)

    async def write(self) -> None:
        """Have on our disk what `of` learnt; before it goes on its way."""
        if self._journal.is_waiting:
            await asyncio.to_thread(self._journal.write)

    def close(self) -> None:
        """Close the file."""
        self._journal.close()

    def _sent(self, news: News, rejects: Sequence[Reject], overflows: int) -> Sent:
        self._count("sent", len(news.told) - news.cleared)
        self._count("repeated", news.repeated)
        self._count("cleared", news.cleared)
        if news.cleared:
            fields = {"source": self._source, "count": news.cleared}
            log.info("conditions ended unseen", extra={"fields": fields})
        made = [
            codec.SourceEvent(line=self._lines.get(each.asset, ""), alarm=each)
            for each in news.told
        ]
        return Sent(made, rejects, overflows, self._conditions.when_stored(news))

    def _count(self, became: str, count: int) -> None:
        if count:
            metrics.EVENTS.labels(self._source, became).inc(count)
