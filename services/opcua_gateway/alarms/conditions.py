"""What a server's events mean: news, events that came before, conditions that went while nobody was
connected. Pure but for the journal; called by deliveries.py of this folder, in their order.

A refresh (part 9, 5.5.7) tells every condition of interest between RefreshStart and RefreshEnd.
One that we know and that was not told again has gone.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from aurelian.model import codec
from opcua_gateway.alarms.journal import Journal, Key

_MOST_RECENT = 5000

MOST_KNOWN = 20_000
"""Conditions that stand at a time: some servers have a new one for each event and end none."""

NOT_LISTED = (
    "the source does not list the condition any more: it ended while no session saw its events"
)
NOT_KNOWN = (
    "its state is not known any more: the gateway gets no list of the server's conditions "
    "(ConditionRefresh)"
)

TOO_MANY = (
    f"its state is not known any more: more than {MOST_KNOWN} conditions of the source stand, and "
    "this one has had no news for the longest time"
)


@dataclass(slots=True)
class News:
    """What became of events.

    Attributes:
        told: alarms to be sent on, in order.
        repeated: events that came before.
        cleared: of `told` those that the server did not say itself.
    """

    told: list[codec.MachineAlarm] = field(default_factory=list)
    repeated: int = 0
    cleared: int = 0


class Conditions:
    """The conditions of one server.

    Args:
        journal: what earlier processes knew.
        min_severity: events below it are left out, but for conditions that are known.
        everything: also events that are no conditions.
    """

    def __init__(self, journal: Journal, min_severity: int, *, everything: bool) -> None:
        self._journal = journal
        self._min_severity, self._everything = min_severity, everything
        # With whether the outbox had it in an earlier process, or it is on its way there now.
        self._known = journal.load()
        self._recent: OrderedDict[bytes, None] = OrderedDict()
        self._asked = 0
        self._listed: set[Key] | None = None
        self._is_spoiled = False

    @property
    def known(self) -> list[codec.MachineAlarm]:
        """The last event of each condition of interest."""
        return [alarm for alarm, _ in self._known.values()]

    def take(self, alarm: codec.MachineAlarm, news: News) -> None:
        """Take an event of the server."""
        key = alarm.condition, alarm.branch
        if alarm.condition and self._listed is not None:
            self._listed.add(key)
        before, has_it = self._known.get(key, (None, False))
        if before is None and alarm.severity < self._min_severity:
            return
        if not alarm.condition and not self._everything:
            return
        identity = _identity(alarm)
        if identity in self._recent or (before is not None and has_it and _same(before, alarm)):
            news.repeated += 1
            return
        self._recent[identity] = None
        if len(self._recent) > _MOST_RECENT:
            self._recent.popitem(last=False)
        self._known.pop(key, None)  # to the end
        if alarm.condition and alarm.retain:
            self._known[key] = alarm, True
            self._journal.will_add(alarm)
        news.told.append(alarm)
        if len(self._known) > MOST_KNOWN:
            self._clear([next(iter(self._known))], 0, TOO_MANY, news)

    def asked(self) -> None:
        """A refresh is asked for: a RefreshStart is its from now on."""
        self._asked += 1

    def refresh_started(self) -> None:
        """The server begins to list its conditions; not for us where we did not ask."""
        if self._asked:
            self._listed, self._is_spoiled = set(), False

    def missed(self) -> None:
        """Events were lost: a list that is on its way is not whole."""
        self._is_spoiled = True

    def session_began(self) -> None:
        """What an earlier session had on its way does not come any more."""
        self._asked, self._listed = 0, None

    def refresh_ended(self, at: int, news: News) -> None:
        """The list is whole: what it does not have is gone. `at`: microseconds since 1970."""
        listed, self._listed = self._listed, None
        if listed is None:
            return
        self._asked = max(0, self._asked - 1)
        if not self._is_spoiled:
            self._clear([key for key in self._known if key not in listed], at, NOT_LISTED, news)

    def refresh_refused(self, at: int, news: News) -> None:
        """The server does not list its conditions, and events were missed: none is known."""
        self._asked, self._listed = 0, None
        self._clear(list(self._known), at, NOT_KNOWN, news)

    def _clear(self, keys: list[Key], at: int, reason: str, news: News) -> None:
        """Tell conditions as ended; `at`: microseconds since 1970, 0: at the receipt."""
        for key in keys:
            gone, _ = self._known.pop(key)
            cleared = codec.MachineAlarm()
            cleared.CopyFrom(gone)
            for name in ("acked", "confirmed", "suppressed", "out_of_service", "shelved"):
                cleared.ClearField(name)
            cleared.active = cleared.retain = False
            cleared.source_time, cleared.reason = at, reason
            # The same again, however often it is found out.
            cleared.event_id = hashlib.sha256(b"gone " + gone.event_id).digest()[:16]
            news.told.append(cleared)
            news.cleared += 1

    def when_stored(self, news: News) -> Callable[[], None] | None:
        """What to do when the outbox has the news."""
        conditions = [each for each in news.told if each.condition]
        if not conditions:
            return None

        def stored() -> None:
            for each in conditions:
                key = each.condition, each.branch
                if not each.retain:
                    if key not in self._known:
                        self._journal.remove(key)
                elif key in self._known and self._known[key][0].event_id == each.event_id:
                    self._journal.stored(key, each.event_id)

        return stored


def _identity(alarm: codec.MachineAlarm) -> bytes:
    """EventId, and the time: servers that count anew after a restart use an id twice."""
    place = f"{alarm.condition}\0{alarm.branch}\0{alarm.source_time}\0".encode()
    return place + alarm.event_id


def _same(one: codec.MachineAlarm, other: codec.MachineAlarm) -> bool:
    """Whether two events say the same: also where a refresh gives the old one a new id."""
    copy = codec.MachineAlarm()
    copy.CopyFrom(other)
    copy.event_id = one.event_id
    return copy == one
