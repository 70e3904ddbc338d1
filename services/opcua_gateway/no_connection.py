"""Why there is no connection, in words that say where to look next; called by session.py. Pure."""

from __future__ import annotations

import errno
import socket

from asyncua import ua

_NO_WAY = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN})

_STEPS = {
    ua.StatusCodes.BadTooManySessions: (
        "end one there that nobody needs, or let the server allow more; one of ours that was left "
        "ends by itself after AURELIAN_OPCUA_SESSION_TIMEOUT_S"
    ),
    ua.StatusCodes.BadTooManySubscriptions: (
        "end one there that nobody needs, or let the server allow more; one of ours that was left "
        "ends by itself after AURELIAN_OPCUA_SESSION_TIMEOUT_S"
    ),
    ua.StatusCodes.BadTcpEndpointUrlInvalid: (
        "is what stands behind the port in the url as the server has it? "
        "`aurelian browse URL --endpoints` shows it"
    ),
    ua.StatusCodes.BadOutOfMemory: "the server needs more memory, or a restart",
    ua.StatusCodes.BadLicenseExpired: "the server's licence has ended: ask its maker",
}


def next_step(status: int) -> str:
    """What to do about a status that a server gives for a session; empty: it is not known."""
    return _STEPS.get(status & 0xFFFF0000, "")


def joined(said: str, link: str, step: str) -> str:
    """A text with its next step, where there is one."""
    return f"{said.rstrip(' :')}{link}{step}" if step else said


def why(error: BaseException) -> tuple[str, str]:
    """What happened, as the system or the library says it, and the next step; empty: nobody knows
    one."""
    said = str(error)
    match error:
        case socket.gaierror():
            step = (
                "nobody here knows a host of that name: is it spelled right, does the name server "
                "answer? Its IP address in the url does without"
            )
        case ConnectionRefusedError():
            step = (
                "the machine is there and nothing listens at that port: does the OPC UA server "
                "run, and is the port right?"
            )
        case TimeoutError():
            step = (
                "no answer in time: is it switched on, is its cable in, does a firewall stand "
                "between?"
            )
        case ConnectionResetError() | BrokenPipeError():
            step = "the other side ended the connection: look at the server's own log"
        case OSError() if error.errno in _NO_WAY:
            step = "no way leads there: is this machine in the right network, is the cable in?"
        case OSError() if error.errno in (errno.EMFILE, errno.ENFILE):
            step = "too many open files: raise the limit (ulimit -n) of this gateway"
        case _:
            return said or type(error).__name__, ""
    return said, step
