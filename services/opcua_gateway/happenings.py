"""What a session tells source.py, in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aurelian.model.codec import SourceEvent
from opcua_gateway.alarms.event import EventSaid
from opcua_gateway.decode.notifications import Published
from opcua_gateway.mapping import Notification
from opcua_gateway.message_numbers import Acknowledgements
from opcua_gateway.server_status import ServerStatus


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the server, in order, or a sign of life.

    Attributes:
        published: with notifications or without (keep-alive).
        acknowledgements: of its subscription; its number goes there when the outbox has it. None
            for a keep-alive.
        lost: messages before this one that the server could not send again.
        received_at: microseconds since 1970.
        events: what its events say.
        expected: number of the message that follows it; all before that one was told.
    """

    published: Published
    acknowledgements: Acknowledgements | None
    lost: int
    received_at: int
    events: tuple[EventSaid, ...] = ()
    expected: int = 1


@dataclass(frozen=True, slots=True)
class Refused:
    """Nodes that the server does not give, by handle with its status; told once for each node until
    it changes."""

    statuses: dict[int, int]
    received_at: int


@dataclass(frozen=True, slots=True)
class Connected:
    """A session is up.

    Attributes:
        resumed: with the subscriptions of before, so that nothing was missed.
        status: what the server says of itself; None: it was not asked.
        server: its address, where the source has several; else empty.
        sampled_since: the server's queues have the values since then (microseconds since 1970),
            and they come first; None: from now on.
        session: our name of it, see `Bookmark`.
    """

    resumed: bool
    at: int
    status: ServerStatus | None = None
    server: str = ""
    sampled_since: int | None = None
    session: str = ""


@dataclass(frozen=True, slots=True)
class Lost:
    """The session is gone; `reason` says what happened."""

    reason: str
    at: int


@dataclass(frozen=True, slots=True)
class ReadBack:
    """Values of a hole, out of the server's history.

    Attributes:
        notifications: none of them was delivered live.
        filled: gap events told before, of gaps that are whole now.
        stored: called when the outbox has all of it.
        at: microseconds since 1970.
    """

    notifications: tuple[Notification, ...]
    filled: tuple[SourceEvent, ...]
    stored: Callable[[], None] | None
    at: int


@dataclass(frozen=True, slots=True)
class Unfiltered:
    """Nodes come without the filter that the plant file says; `text` is for a person, said once for
    each node."""

    text: str
    at: int


@dataclass(frozen=True, slots=True)
class RefreshAsked:
    """The server is asked to list its conditions; messages before this one are not of that list."""

    at: int


@dataclass(frozen=True, slots=True)
class RefreshRefused:
    """The server does not list its conditions. `missed`: some of its events did not come."""

    missed: bool
    at: int


Happening = (
    Message | Refused | Connected | Lost | ReadBack | Unfiltered | RefreshAsked | RefreshRefused
)
