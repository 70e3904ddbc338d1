"""Pure: what a principal sees of an event, as `aurelian.access.policy` decides. Asked for each
event by every channel."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

from aurelian.access.policy import Action, Grant, Principal, decide


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


def _week(content: dict[str, object]) -> date | None:
    """The Monday of the week that an event is about; None: about no week."""
    text = content.get("week_start")
    try:
        return date.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return date.max  # unreadable: beyond every horizon
