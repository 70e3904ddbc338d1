"""What brings a gateway back to its session and subscription, also in the next process; called by
source.py."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from opcua_gateway.alarms.fields import EventField, EventTerms
from opcua_gateway.session import Limits, Terms


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
        events: the item of events; None: there is none.
        unread: from when to when something is to be read out of the server's history yet.
    """

    secret: str
    terms: tuple[Terms, ...]
    limits: Limits
    addresses: tuple[str, ...]
    refused: tuple[int, ...]
    heard_at: int
    unread: tuple[int, int] | None = None
    events: EventTerms | None = None


def load(file: Path) -> Resume | None:
    """Read what the run before this one left; None where there is nothing readable."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return Resume(
            found["secret"],
            tuple(Terms(**each) for each in found["terms"]),
            Limits(tuple(found["limits"]["namespaces"]), found["limits"]["items_per_call"]),
            tuple(found["addresses"]),
            tuple(found["refused"]),
            found["heard_at"],
            _span(found.get("unread")),
            _events(found.get("events")),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _span(found: list[int] | None) -> tuple[int, int] | None:
    return None if found is None else (int(found[0]), int(found[1]))


def _events(found: dict[str, Any] | None) -> EventTerms | None:
    if found is None:
        return None
    fields = [EventField(**each | {"path": tuple(each["path"])}) for each in found["fields"]]
    return EventTerms(found["subscription"], tuple(fields))


def save(file: Path, resume: Resume) -> None:
    """Replace the file, readable by us alone: it has the session's secret."""
    new = file.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(json.dumps(asdict(resume)), encoding="utf-8")
    new.replace(file)
