"""Pure: what a principal sees of an event, as `aurelian.access.policy` decides, asked for each
event by every channel; and the same coarsely, as a condition in SQL, which saves reading."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import ColumnElement, exists, func, or_, true

from aurelian.access.policy import PLATFORM, Action, Grant, Principal, decide
from aurelian.db.tables import event_log, grant
from aurelian.events.outbox import READINGS


@dataclass(frozen=True, slots=True)
class Logged:
    """An event as the log has it; `body` is its CloudEvent, byte for byte as its maker wrote it."""

    number: int
    id: str
    type: str
    owner: str
    body: str


@dataclass(frozen=True, slots=True)
class Shown:
    """What may be sent: the body, or None with the reason."""

    body: str | None
    reason: str


def show(principal: Principal, event: Logged, grants: Iterable[Grant], now: datetime) -> Shown:
    """Decide and cut: the whole body for its owner, the granted fields of `data` for others."""
    foreign = not principal.is_platform and principal.owner != event.owner
    content = json.loads(event.body) if foreign else None
    week = _week(content["data"]) if content is not None else None
    decision = decide(principal, Action.READ, event.owner, event.type, grants, now, week=week)
    if not decision.permit:
        return Shown(None, decision.reason)
    if content is None or decision.fields is None:
        return Shown(event.body, decision.reason)
    content["data"] = {
        name: value for name, value in content["data"].items() if name in decision.fields
    }
    return Shown(json.dumps(content, separators=(",", ":")), decision.reason)


def may_concern(company: str) -> ColumnElement[bool]:
    """Condition: the event is the company's own, or its owner gave it a grant for the type. Coarse:
    saves reading."""
    if company == PLATFORM:
        return true()
    given = exists().where(
        grant.c.grantee == company,
        grant.c.owner == event_log.c.owner,
        grant.c.revoked_at.is_(None),
        or_(grant.c.expires_at.is_(None), grant.c.expires_at > func.now()),
        event_log.c.type == func.any(grant.c.event_types),
    )
    return or_(event_log.c.owner == company, given)


def of_types(types: Sequence[str]) -> ColumnElement[bool]:
    """Condition: the event has one of the types; none given: any type but `READINGS`, which come
    only to who names them."""
    return event_log.c.type.in_(types) if types else event_log.c.type.not_in(READINGS)


def _week(content: dict[str, object]) -> date | None:
    """The Monday of the week that an event is about; None: about no week."""
    text = content.get("week_start")
    try:
        return date.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return date.max  # unreadable: beyond every horizon
