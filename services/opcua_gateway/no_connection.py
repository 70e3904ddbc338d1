"""Why there is no connection, in words that say where to look next; called by session.py."""

from __future__ import annotations

import errno
import socket

_NO_WAY = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN})


def why(error: BaseException) -> str:
    """What happened, as the system or the library says it, with the next step where there is
    one."""
    said = str(error) or type(error).__name__
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
            return said
    return f"{said}: {step}" if said.strip("() ") else step
