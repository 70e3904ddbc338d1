"""What brings a gateway back to its session and subscription, also in the next process; called by
source.py."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from aurelian.model.time import SECOND_US
from opcua_gateway.alarms.fields import EventField, EventTerms
from opcua_gateway.session import Limits, Terms

log = logging.getLogger(__name__)

T = TypeVar("T")

SAVE_US = 5 * SECOND_US
"""The file is no older than this while messages come."""

_LAST_US = 2**53
"""The year 2255; what is said to be later, or before 1970, is garbled."""


@dataclass(frozen=True, slots=True)
class Resume:
    """What brings us back to the subscriptions of before, in this process or the next one.

    Attributes:
        secret: of the session, `Session.secret`; "" when there is none to go back to.
        terms, limits: of the subscriptions and their server.
        addresses: of the nodes, by handle; other addresses need other subscriptions.
        refused: handles of the nodes that the server did not give.
        heard_at: microseconds since 1970 of the last sign of life up to which all is on our disk: a
            gap begins here.
        unread: from when to when something is to be read out of the server's history yet.
        untold: a gap from when to when whose record was not on our disk yet.
        url: of the server whose session it is; another one must not be shown its secret. "" in
            files of before there could be several.
        servers: url and ApplicationUri of those that the server named as redundant.
        asked: fingerprint of what was asked for the nodes; other items need other subscriptions.
            "": not known.
        events: the item of events; None: there is none.
        silent: handles of the nodes that nobody reads: where nothing changes nothing comes that
            says so again.
        session: our name of it, see `Bookmark`; empty in files of before it had one.
    """

    secret: str
    terms: tuple[Terms, ...]
    limits: Limits
    addresses: tuple[str, ...]
    refused: tuple[int, ...]
    heard_at: int
    unread: tuple[int, int] | None = None
    untold: tuple[int, int] | None = None
    url: str = ""
    servers: tuple[tuple[str, str], ...] = ()
    asked: str = ""
    events: EventTerms | None = None
    silent: tuple[int, ...] = ()
    session: str = ""


class ResumeFile:
    """Where it stands on the disk. What is wrong with the file never stops a source, and is said
    once."""

    def __init__(self, path: Path, source: str) -> None:
        self._path, self._source = path, source
        self._said = ""
        self._writing = threading.Lock()
        self._next: Resume | None = None

    def load(self) -> Resume | None:
        """Read what the run before this one left; None where there is nothing. Of a file that
        cannot be used its own time is left: there the gap begins."""
        try:
            written_at = self._path.stat().st_mtime_ns // 1000
        except FileNotFoundError:
            return None
        try:
            return _parsed(json.loads(self._path.read_bytes()))
        except OSError as error:
            self._say_unusable(error.strerror or str(error))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            self._say_unusable(f"{type(error).__name__}: {str(error)[:200]}")
        return Resume("", (), Limits((), 1), (), (), max(0, written_at - SAVE_US))

    def save_soon(self, resume: Resume) -> None:
        """Save in a thread: a disk that is slow, with some hundred sources, would hold up the event
        loop. Of several that wait the newest is written."""
        self._next = resume
        asyncio.get_running_loop().run_in_executor(None, self._save_next)

    def _save_next(self) -> None:
        with self._writing:
            resume, self._next = self._next, None
            if resume is not None:
                self._write(resume)

    def save(self, resume: Resume) -> None:
        """Replace the file, readable by us alone: it has the session's secret. What waits to be
        saved is older."""
        with self._writing:
            self._next = None
            self._write(resume)

    def _write(self, resume: Resume) -> None:
        new = self._path.with_suffix(".new")
        try:
            new.touch(mode=0o600)
            new.write_text(json.dumps(asdict(resume)), encoding="utf-8")
            new.replace(self._path)
        except OSError as error:
            reason = error.strerror or str(error)
            if reason != self._said:
                self._said = reason
                log.error(
                    "the session cannot be remembered: values go on, but a restart of this "
                    "gateway will leave a gap; make room on its disk, or let it write this file",
                    extra={"fields": self._fields(reason)},
                )
        else:
            self._said = ""

    def remove(self) -> None:
        """Leave nothing to come back to."""
        with self._writing, suppress(OSError):
            self._next = None
            self._path.unlink(missing_ok=True)

    def _say_unusable(self, reason: str) -> None:
        log.warning(
            "the file of the session before cannot be used: a new session begins, and what came "
            "since then is told as a gap; nothing has to be done, the file is written anew",
            extra={"fields": self._fields(reason)},
        )

    def _fields(self, reason: str) -> dict[str, str]:
        return {"source": self._source, "file": str(self._path), "reason": reason}


def _parsed(found: dict[str, object]) -> Resume:
    """Raises ValueError, KeyError, TypeError and the like where anything is not as it was saved."""
    limits = _is(dict, found["limits"])
    return Resume(
        _text(found["secret"]),
        _all(_terms, found["terms"]),
        Limits(_all(_text, limits["namespaces"]), max(1, _whole(limits["items_per_call"]))),
        _all(_text, found["addresses"]),
        _all(_whole, found["refused"]),
        _time(found["heard_at"]),
        _span(found.get("unread")),
        _span(found.get("untold")),
        _text(found.get("url", "")),
        _all(_server, found.get("servers", [])),
        _text(found.get("asked", "")),
        _events(found.get("events")),
        _all(_whole, found.get("silent", [])),
        _text(found.get("session", "")),
    )


def _span(found: object) -> tuple[int, int] | None:
    """Its ends are times of the server's values, 1601 among them."""
    if found is None:
        return None
    begin, end = _all(_any_time, found)
    return begin, end


def _server(found: object) -> tuple[str, str]:
    url, uri = _all(_text, found)
    return url, uri


def _events(found: object) -> EventTerms | None:
    if found is None:
        return None
    each = _is(dict, found)
    return EventTerms(
        _whole(each["subscription"]),
        _all(_field, each["fields"]),
        _whole(each.get("item", 0)),
        _is(bool, each.get("filtered", False)),
    )


def _field(found: object) -> EventField:
    each = _is(dict, found)
    path = _all(_text, each["path"])
    return EventField(_text(each["key"]), _text(each["type"]), path, own=_is(bool, each["own"]))


def _terms(found: object) -> Terms:
    each = _is(dict, found)
    interval_s, keep_alive_s = _length(each["publishing_interval_s"]), _length(each["keep_alive_s"])
    return Terms(_whole(each["subscription"]), interval_s, keep_alive_s)


def _is(kind: type[T], found: object) -> T:
    if type(found) is not kind:
        raise TypeError(f"{str(found)[:40]!r} is no {kind.__name__}")
    return found


def _all(read: Callable[[object], T], found: object) -> tuple[T, ...]:
    return tuple(read(each) for each in _is(list, found))


def _text(found: object) -> str:
    return _is(str, found)


def _whole(found: object) -> int:
    number = _is(int, found)
    if not 0 <= number < 2**32:
        raise ValueError(f"{str(number)[:40]} is no number of 32 bits")
    return number


def _time(found: object) -> int:
    time = _is(int, found)
    if not 0 <= time < _LAST_US:
        raise ValueError(f"{str(time)[:40]} is no time of today")
    return time


def _any_time(found: object) -> int:
    time = _is(int, found)
    if not -(2**63) <= time < 2**63:
        raise ValueError(f"{str(time)[:40]} is no time")
    return time


def _length(found: object) -> float:
    length = float(found) if isinstance(found, int | float) else math.nan
    if not length > 0:
        raise ValueError(f"{str(found)[:40]!r} is no length of time")
    return length
