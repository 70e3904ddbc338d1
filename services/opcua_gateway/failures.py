"""What a server or the way to it can refuse a session, as exceptions, and the library's exceptions
as these; raised by session.py, connection.py and all that asks in a session."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from asyncua import ua

from opcua_gateway.no_connection import joined, next_step, why


class SessionLost(ConnectionError):
    """The server or the way to it is gone, or it does not do what a session needs; the text says
    what happened.

    Attributes:
        step: what to do about it, with which the text ends; empty: it does not say.
    """

    def __init__(self, text: str = "", step: str = "") -> None:
        super().__init__(text)
        self.step = step

    @property
    def reason(self) -> str:
        """The text without its step."""
        return str(self).removesuffix(self.step).rstrip(" .:;") if self.step else str(self)


class ResponseTooLarge(SessionLost):
    """The notifications that the server has for one message make it too large: ask for fewer."""


class TooManySubscriptions(SessionLost):
    """The server gives no further subscription."""


class TooManyOperations(Exception):
    """The server takes fewer nodes in one call, or its answer would be too large."""


class TooManyPublishRequests(Exception):
    """The server wants fewer Publish requests to wait."""


class PublishTimedOut(Exception):
    """The server does not keep a Publish request waiting so long: send another one."""


class TooManyItems(Exception):
    """The server says of a whole call that it has no room for its items."""


_SAYS_NOTHING_OF_THE_SESSION = frozenset(
    {
        ua.StatusCodes.BadUnexpectedError,
        ua.StatusCodes.BadInternalError,
        ua.StatusCodes.BadOutOfMemory,
        ua.StatusCodes.BadResourceUnavailable,
        ua.StatusCodes.BadCommunicationError,
        ua.StatusCodes.BadTimeout,
        ua.StatusCodes.BadShutdown,
        ua.StatusCodes.BadServerHalted,
        ua.StatusCodes.BadServerNotConnected,
        ua.StatusCodes.BadNoCommunication,
        ua.StatusCodes.BadTooManyOperations,
        ua.StatusCodes.BadSecureChannelIdInvalid,
        ua.StatusCodes.BadSecureChannelClosed,
        ua.StatusCodes.BadSecureChannelTokenUnknown,
        ua.StatusCodes.BadConnectionClosed,
        ua.StatusCodes.BadConnectionRejected,
        ua.StatusCodes.BadRequestTimeout,
        ua.StatusCodes.BadRequestInterrupted,
        ua.StatusCodes.BadRequestCancelledByClient,
        ua.StatusCodes.BadRequestCancelledByRequest,
        ua.StatusCodes.BadTcpServerTooBusy,
        ua.StatusCodes.BadTcpNotEnoughResources,
        ua.StatusCodes.BadTcpInternalError,
        ua.StatusCodes.BadTcpSecureChannelUnknown,
        ua.StatusCodes.BadServerTooBusy,
    }
)
"""What a busy or ending server says of one request. Its queues may be there still: at the next
attempt, or in a minute."""


def speaks_of_the_session(error: BaseException | None) -> bool:
    """Whether a server says itself that a session, or what belongs to it, cannot go on."""
    if not isinstance(error, ua.UaStatusCodeError):
        return False
    return error.code not in _SAYS_NOTHING_OF_THE_SESSION


def first_of(group: BaseException) -> BaseException:
    """What a group of exceptions began with; of any other the exception itself."""
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn whatever the library raises for a lost or unwilling server into SessionLost."""
    try:
        yield
    except (
        SessionLost,
        TooManyPublishRequests,
        PublishTimedOut,
        TooManyOperations,
        TooManyItems,
        MemoryError,
    ):
        raise
    except ua.UaStatusCodeError as error:
        step = next_step(error.code)
        said = f"cannot {doing}: {error} (0x{error.code:08X})"
        raise SessionLost(joined(said, "; ", step), step) from error
    except (OSError, TimeoutError, ua.UaError, AssertionError, ValueError) as error:
        said, step = why(error)
        raise SessionLost(joined(f"cannot {doing}: {said}", ": ", step), step) from error
    except Exception as error:
        # What a server sends makes the library raise nearly anything, struct.error and IndexError
        # among it. Being cancelled is no Exception, and goes on.
        raise SessionLost(f"cannot {doing}: {type(error).__name__}: {error}") from error
