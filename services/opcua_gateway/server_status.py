"""What a server says of itself: state, service level, when it goes and when it is back (part 5,
6.3.1 and 12.10). Read at connect by source.py, then watched by publishing.py and taken out of the
messages by deliveries.py."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from asyncua import ua

from aurelian.model.time import to_us
from opcua_gateway.decode.notifications import Published
from opcua_gateway.session import Session, translated

WATCHED = ("i=2259", "i=2267", "i=2992", "i=2993", "i=12885")
"""Nodes ServerStatus/State, ServiceLevel, ServerStatus/SecondsTillShutdown, ServerStatus/
ShutdownReason, EstimatedReturnTime: the items whose handles follow those of the plant's nodes."""

_STATE, _LEVEL, _SECONDS, _REASON, _BACK = range(len(WATCHED))

_DOWN = {
    1: "Failed",
    2: "NoConfiguration",
    3: "Suspended",
    4: "Shutdown",
    6: "CommunicationFault",
}
"""Server states in which values are no sign of life (part 5, 12.6)."""

_MOST_TEXT = 200
_NO_TIME_YEARS = (1970, 9999)
"""A time outside of these says nothing: servers without one give the first or the last there is."""


@dataclass(slots=True)
class ServerStatus:
    """What is known of it; None: the server did not say.

    Attributes:
        state: number of the enumeration ServerState, 0 is Running.
        level: ServiceLevel, 0 to 255.
        seconds: until it shuts down, as it says.
        reason: for that.
        back: when it expects to be at work again, ISO 8601.
        said_at: source time of the state that was read, microseconds since 1970; None: it has none.
        read_at: when that was, by `time.monotonic`.
    """

    state: int | None = None
    level: int | None = None
    seconds: int | None = None
    reason: str = ""
    back: str = ""
    said_at: int | None = None
    read_at: float = 0.0

    @property
    def is_down(self) -> bool:
        """Whether its values are no sign of life."""
        return self.state in _DOWN

    @property
    def announced(self) -> tuple[object, ...]:
        """What it says of its being down, but for how the seconds run. A server may set its state
        before the rest, which then comes in a later message."""
        return self.state, bool(self.seconds), self.reason, self.back

    @property
    def why_down(self) -> str:
        """Why it is down, for people."""
        said = f"the server says that it is in state {_DOWN.get(self.state or 0, 'Running')}"
        if self.state == _SHUTDOWN and self.seconds:
            said += f", in {self.seconds} s"
        if self.reason:
            said += f": {self.reason}"
        return f"{said}; it expects to be back at {self.back}" if self.back else said

    def take(self, published: Published, first: int) -> None:
        """Take what a message has of the items whose handles begin with `first`."""
        if (state := published.number(first + _STATE)) is not None:
            at = published.source_time(first + _STATE)
            if not (self.is_down and state not in _DOWN and self._is_of_before(at)):
                self.state = state
        if (level := published.number(first + _LEVEL)) is not None:
            self.level = level
        if (seconds := published.number(first + _SECONDS)) is not None:
            self.seconds = seconds
        for each in published.others:
            if each.handle == first + _REASON:
                self.reason = _text(each.value)
            elif each.handle == first + _BACK:
                self.back = _time(each.value)

    def _is_of_before(self, at: int | None) -> bool:
        """Whether a state is older than the one that was read: a session that is gone on with first
        brings what was sampled before. For a while only, as a server's clock may be set back."""
        return (
            at is not None
            and self.said_at is not None
            and at < self.said_at
            and time.monotonic() - self.read_at < _OF_BEFORE_S
        )


_SHUTDOWN = 4
_OF_BEFORE_S = 30.0


async def read_status(session: Session) -> ServerStatus:
    """Read it all at once. What the server does not have, or says in another type, is None.

    Raises:
        SessionLost: it does not answer.
    """
    nodes = [
        ua.ReadValueId(NodeId=ua.NodeId.from_string(each), AttributeId=ua.AttributeIds.Value)
        for each in WATCHED
    ]
    with translated("read the server's state"):
        try:
            answers = await session.services.read(ua.ReadParameters(NodesToRead=nodes))
        except ua.uaerrors.BadTooManyOperations:
            answers = []
            for node in nodes:
                answers += await session.services.read(ua.ReadParameters(NodesToRead=[node]))
        values = [each.Value.Value if each.Value is not None else None for each in answers or ()]
        said_at = answers[_STATE].SourceTimestamp if answers else None
        if said_at is not None and said_at.tzinfo is None:
            said_at = said_at.replace(tzinfo=UTC)
    values += [None] * (len(WATCHED) - len(values))
    text = values[_REASON]
    return ServerStatus(
        _number(values[_STATE]),
        _number(values[_LEVEL]),
        _number(values[_SECONDS]),
        _text(text.Text if isinstance(text, ua.LocalizedText) else text),
        _time(values[_BACK]),
        said_at=to_us(said_at) if said_at is not None else None,
        read_at=time.monotonic(),
    )


def _number(found: object) -> int | None:
    return int(found) if isinstance(found, int) else None


def _text(found: object) -> str:
    return found[:_MOST_TEXT] if isinstance(found, str) else ""


def _time(found: object) -> str:
    """To the second; empty for what is no time."""
    try:
        time = datetime.fromisoformat(found) if isinstance(found, str) else found
    except ValueError:
        return ""
    if not isinstance(time, datetime) or not _NO_TIME_YEARS[0] < time.year < _NO_TIME_YEARS[1]:
        return ""
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"
