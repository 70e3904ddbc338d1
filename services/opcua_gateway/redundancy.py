"""The servers of one source, and which of them it takes its values from (part 4, 6.6.2.4). Pure but
for their state; used by source.py and standby.py.

A source stays where it is as long as it can: it moves when its server is lost, or when another one
has been of a better class for a while, and not soon again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from aurelian.model.opcua_model import Redundancy
from aurelian.model.time import now_us
from opcua_gateway.failures import SessionLost
from opcua_gateway.server_status import ServerStatus

HOLD_S = 2.0
"""So long another server must have been better before the source moves to it."""

REST_S, LONGEST_REST_S = 10.0, 300.0
"""After a move the source stays for so long, doubled by each further move that follows within
`LONGEST_REST_S`. A server that is lost is left at once."""


class ServiceClass(IntEnum):
    """What a ServiceLevel means (part 4, table 109); a larger number is better."""

    MAINTENANCE = 0
    NO_DATA = 1
    DEGRADED = 2
    HEALTHY = 3


def class_of(level: int) -> ServiceClass:
    """The sub-range of a ServiceLevel."""
    if level < ServiceClass.DEGRADED:
        return ServiceClass(max(level, 0))
    return ServiceClass.DEGRADED if level < 200 else ServiceClass.HEALTHY


@dataclass(slots=True, eq=False)
class Server:
    """One of a source's servers.

    Attributes:
        uri: the ApplicationUri that its certificate must carry; empty: not known.
        level: its ServiceLevel as it said last, 1 at most while it is down; None: nobody knows.
        lost: why there is no session with it, of the latest attempt; None: there is one, or nobody
            tries.
        lost_at: microseconds since 1970, since when.
    """

    url: str
    uri: str = ""
    level: int | None = None
    lost: SessionLost | None = None
    lost_at: int = 0

    def lose(self, error: SessionLost) -> None:
        """It cannot be connected to, or not any more."""
        self.level = None
        self.lost_at = now_us() if self.lost is None else self.lost_at
        self.lost = error

    def note(self, status: ServerStatus | None) -> None:
        """Take what it says of itself; one that has no ServiceLevel is healthy. None: it is
        lost."""
        if status is None:
            self.level = None
            return
        self.lost = None
        level = 255 if status.level is None else status.level
        self.level = min(level, int(ServiceClass.NO_DATA)) if status.is_down else level


class Servers:
    """Those of one source; `active` is the one that values are taken from, or are to be.

    Args:
        url: of the first of them, `others`: of those that the plant file names.
        mode: as the plant file says; None: as the server says, cold until then.
    """

    def __init__(self, url: str, others: Iterable[str], mode: Redundancy | None) -> None:
        self.all = [Server(url), *map(Server, others)]
        self.active = self.all[0]
        self.mode: Redundancy = mode or "cold"
        self._failed: set[int] = set()
        self._better: Server | None = None
        self._better_since = 0.0
        self._moved_at: float | None = None
        self._rest_s = REST_S

    @property
    def others(self) -> list[Server]:
        """All but the active one."""
        return [each for each in self.all if each is not self.active]

    @property
    def looks_elsewhere(self) -> bool:
        """Whether the active one is not at its best, so that the others are looked at."""
        level = self.active.level
        return level is not None and class_of(level) < ServiceClass.HEALTHY

    def add(self, found: Iterable[tuple[str, str]]) -> list[Server]:
        """Take servers that are not known yet, given as url and ApplicationUri; those that are
        new."""
        known = {each.url for each in self.all}
        new = [Server(url, uri) for url, uri in dict(found).items() if url not in known]
        self.all += new
        return new

    def begin_with(self, url: str) -> None:
        """The server of this url first, as there is a session to go back to; if it is known."""
        self.active = next((each for each in self.all if each.url == url), self.active)

    def connected(self) -> None:
        """The active one stands: when it is lost, all may be tried."""
        self._failed = set()
        self._better = None
        self.active.lost = None

    def failed(self, error: SessionLost) -> bool:
        """The active one cannot be connected to: go on with the next, those that stand first.
        Returns whether all were tried, so that it is time for a pause."""
        self._failed.add(id(self.active))
        self.active.lose(error)
        left = [each for each in self.all if id(each) not in self._failed]
        if left:
            self.active = max(left, key=_rank)
            return False
        self._failed = set()
        self.active = self.all[(self.all.index(self.active) + 1) % len(self.all)]
        return True

    def move(self, to: Server, now: float) -> None:
        """Take another one, since it is better; `now`: seconds of a clock that never goes back."""
        again = self._moved_at is not None and now - self._moved_at < LONGEST_REST_S
        self._rest_s = min(self._rest_s * 2, LONGEST_REST_S) if again else REST_S
        self._moved_at = now
        self._better = None
        self.active = to

    def better(self, now: float) -> Server | None:
        """The server to move to, since it has been of a better class for long enough."""
        level = self.active.level
        ready = [each for each in self.others if each.level is not None]
        best = max(ready, key=_rank, default=None)
        if level is None or best is None or _class(best) <= class_of(level):
            self._better = None
            return None
        # Of several that are as good the one that was so first: their levels may take turns.
        if self._better is None or _class(self._better) < _class(best):
            self._better, self._better_since = best, now
        if self._moved_at is not None and now - self._moved_at < self._rest_s:
            return None
        return self._better if now - self._better_since >= HOLD_S else None


def _class(server: Server) -> int:
    return -1 if server.level is None else int(class_of(server.level))


def _rank(server: Server) -> tuple[int, int]:
    return _class(server), server.level or 0
