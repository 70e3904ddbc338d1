"""How each source is, as its gateway said last. Pure; owned by live.py, shown by pages.py (tiles)
and connection_views.py.

A gateway says it at each change and again every 60 s, and nobody keeps it. Whatever it says of any
source is a sign that it runs; one comes every 5 s.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from aurelian.model import codec
from aurelian.model.codec import SourceEvent
from dashboard.formats import Look
from dashboard.records import Body, Message

_State = codec.Connection.State
LOOKS: dict[int, tuple[Look, str]] = {
    _State.STATE_LIVE: (Look("Live", "circle", "running"), ""),
    _State.STATE_BACKFILL: (Look("Catching up", "circle", "running"), ""),
    _State.STATE_DEGRADED: (Look("Degraded", "triangle", "slow"), "degraded"),
    _State.STATE_STALE: (Look("Silent", "triangle", "slow"), ""),
    _State.STATE_CONNECTING: (Look("Not connected", "triangle", "slow"), ""),
    _State.STATE_AUTH_FAILED: (
        Look("Sign-in refused", "square", "down"),
        "sign-in refused, needs somebody",
    ),
    _State.STATE_CERT_REJECTED: (
        Look("Certificate refused", "square", "down"),
        "certificate refused, needs somebody",
    ),
}
"""How a state is shown, and what a line's tile says of it; empty: the tile shows its machines."""

_REMOVED = Look("Removed", "circle", "running")

_AWAY = (_State.STATE_CONNECTING, _State.STATE_AUTH_FAILED, _State.STATE_CERT_REJECTED)

UNKNOWN = Look("Not known", "hatch", "none")
RANKS = {"down": 0, "slow": 1, "none": 2, "running": 3}


class Connections:
    """What was said last of each source, by its key."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[SourceEvent, int]] = {}
        self._heard: dict[str, int] = {}
        self._removed: dict[str, int] = {}

    def hear(self, event: SourceEvent, now_ms: int) -> None:
        """Note that a gateway says something, whatever it is."""
        at_ms = min(event.time // 1000, now_ms)
        self._heard[event.gateway] = max(at_ms, self._heard.get(event.gateway, 0))

    def heard_ms(self, gateway: str) -> int:
        """When a gateway said anything last; 0: never."""
        return self._heard.get(gateway, 0)

    def reason_of(self, source: str) -> str:
        """Why a source is not connected, as of the latest attempt; empty: it is, or nobody
        knows."""
        said = self._said.get(source)
        return _away_reason(said[0]) if said is not None else ""

    def take(self, event: SourceEvent, now_ms: int) -> list[Message]:
        """Take what a gateway says, unless it has said something later."""
        known = self._said.get(event.source)
        if known is not None and event.time < known[0].time:
            return []
        if event.connection.state == _State.STATE_REMOVED:
            # Not forgotten by its time: what was said before comes late, maybe.
            self._removed[event.source] = event.time
            self._said.pop(event.source, None)
            return [Message("connection", _body(event))] if known is not None else []
        if event.time < self._removed.get(event.source, 0):
            return []
        self._said[event.source] = event, min(event.time // 1000, now_ms)
        if known is not None and known[0].connection == event.connection:
            return []
        return [Message("connection", _body(event))]

    def of(self, source: str) -> tuple[SourceEvent, int] | None:
        """What was said last, and when."""
        return self._said.get(source)

    def sources(self) -> Collection[str]:
        """All of which anything was said."""
        return self._said.keys()

    def bodies(self) -> list[Body]:
        """What tiles say of each, for a snapshot."""
        return [_body(event) for event, _ in self._said.values()]


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a line's tile says of its sources; `text` empty: nothing."""

    text: str = ""
    shape: str = ""
    tone: str = ""


def trouble_of(connections: Connections, sources: Iterable[str]) -> Trouble:
    """The worst that is to be said of some sources, and how many more there are."""
    found = [
        body
        for source in sources
        if (said := connections.of(source)) is not None and (body := _body(said[0]))["trouble"]
    ]
    if not found:
        return Trouble()
    found.sort(key=lambda body: RANKS[body["tone"]])
    more = f" +{len(found) - 1}" if len(found) > 1 else ""
    return Trouble(found[0]["trouble"] + more, found[0]["shape"], found[0]["tone"])


def _away_reason(event: SourceEvent) -> str:
    return event.connection.reason if event.connection.state in _AWAY else ""


def name_of(source: str) -> str:
    """The last part of its key."""
    return source.rpartition("/")[2]


def _body(event: SourceEvent) -> Body:
    look, trouble = LOOKS.get(event.connection.state, (UNKNOWN, ""))
    if event.connection.state == _State.STATE_REMOVED:
        look = _REMOVED
    shape, tone = look.shape, look.tone
    if not trouble and event.connection.away and tone == "running":
        trouble, shape, tone = "a standby server is away", "triangle", "slow"
    if not trouble and event.connection.plant_refused and tone == "running":
        trouble, shape, tone = "changes of the plant files are not taken up", "triangle", "slow"
    name = name_of(event.source)
    text = f"{name}: {trouble}" if trouble else ""
    away = _away_reason(event)
    return {"source": event.source, "trouble": text, "shape": shape, "tone": tone, "away": away}
