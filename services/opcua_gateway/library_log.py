"""What the library logs by itself and we say in our own words; used by dialling.py."""

from __future__ import annotations

import logging

_CLIENT = logging.getLogger("asyncua.client.ua_client.UASocketProtocol")


def _is_news(record: logging.LogRecord) -> bool:
    """Each fault is an exception too, and what becomes of that is said with its next step, or
    nothing is wrong."""
    return not str(record.msg).startswith("ServiceFault")


def keep_quiet() -> None:
    """Leave out the library's line for each fault that a server answers with."""
    _CLIENT.addFilter(_is_news)  # the same one is there once
