"""What status codes say to requests for events; for watch.py."""

from __future__ import annotations

from asyncua import ua

FILTER_REFUSED = frozenset(
    int(getattr(ua.StatusCodes, name))
    for name in (
        "BadEventFilterInvalid",
        "BadContentFilterInvalid",
        "BadMonitoredItemFilterInvalid",
        "BadMonitoredItemFilterUnsupported",
        "BadFilterNotAllowed",
        "BadFilterElementInvalid",
        "BadFilterLiteralInvalid",
        "BadFilterOperandCountMismatch",
        "BadFilterOperandInvalid",
        "BadFilterOperatorInvalid",
        "BadFilterOperatorUnsupported",
        "BadTypeDefinitionInvalid",
        "BadBrowseNameInvalid",
        "BadAttributeIdInvalid",
        "BadIndexRangeInvalid",
        "BadNotSupported",
        "BadNotImplemented",
        "BadDecodingError",
        "BadInternalError",
        "BadUnexpectedError",
    )
)
"""With these a server refuses how events are asked for; some say nothing better than the last."""

SESSION_IS_GONE = frozenset(
    int(getattr(ua.StatusCodes, name))
    for name in (
        "BadConnectionClosed",
        "BadSecureChannelClosed",
        "BadSecureChannelIdInvalid",
        "BadSessionClosed",
        "BadSessionIdInvalid",
        "BadSessionNotActivated",
        "BadSubscriptionIdInvalid",
        "BadNoSubscription",
        "BadServerHalted",
        "BadShutdown",
    )
)
"""All else is what a server says to events, and costs no session."""

UNLISTED = "the server does not list its conditions"
UNLISTED_STEP = (
    "nothing has to be done; after each connect an alarm is known from its next event on. A server "
    "that has ConditionRefresh shows at once which ones stand"
)
