"""Find TCP ports on loopback that nobody listens on; called by the stack and by the tests."""

import os
import random
import socket
from collections import deque

LOOPBACK = "127.0.0.1"
_ANY_FIRST, _ANY_END = 15_000, 32_000
_SHARES = 16
_given: deque[int] = deque(maxlen=256)  # of some 1,060 of a share
_random = random.SystemRandom()  # tests seed the usual one


class NoFreePortError(Exception):
    """No port of the range is free; the message names the range."""


def is_free(port: int) -> bool:
    """Tell whether `port` can be bound on loopback now. Says nothing about a moment later."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As a server does: a port whose last connections linger in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def accepts(port: int, host: str = LOOPBACK, timeout_s: float = 0.5) -> bool:
    """Tell whether somebody accepts TCP connections on `port`."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s):
            return True
    except OSError:
        return False


def first_free(preferred: int, taken: set[int] | None = None, tries: int = 100) -> int:
    """Return `preferred`, or the next port above it that is free and not in `taken`.

    The port found is added to `taken`, so that a series of calls with one set never gives a port
    twice.

    Raises:
        NoFreePortError: all `tries` ports from `preferred` on are in use.
    """
    reserved = taken if taken is not None else set()
    last = min(preferred + tries - 1, 65535)
    for port in range(preferred, last + 1):
        if port not in reserved and is_free(port):
            reserved.add(port)
            return port
    raise NoFreePortError(
        f"all TCP ports from {preferred} to {last} on {LOOPBACK} are in use: "
        "stop one of the programs that hold them (ss -ltnp lists them), or choose another port"
    )


def any_free() -> int:
    """Return a free port, chosen at random below the range that the kernel gives to outgoing
    connections.

    A port of that range may be taken by somebody's connection before our server binds it. Each
    process chooses from a share of its own, by its id: two that choose at one time, seconds before
    they bind, would now and then choose the same. For the same reason a process is not given one
    of its last ports again: the two listeners of a server would now and then have one.

    Raises:
        NoFreePortError: none was found in 1,000 tries.
    """
    for _ in range(1000):
        port = _random.randrange(_ANY_FIRST + os.getpid() % _SHARES, _ANY_END, _SHARES)
        if port not in _given and is_free(port):
            _given.append(port)
            return port
    raise NoFreePortError(f"no free TCP port from {_ANY_FIRST} to {_ANY_END - 1} on {LOOPBACK}")
