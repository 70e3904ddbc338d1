"""Who may see what: one pure function, asked by every channel (API, SSE, webhook, replay, export)
at each delivery (D13).

Deny by default. A company sees its own data; others' only under a live grant; the platform's own
services see all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

PLATFORM = "*"
"""Owner of the keys of the platform's own services (the dashboard)."""


class Action(StrEnum):
    """What is asked for. A grant can give `READ`, never `CHANGE`."""

    READ = "read"
    CHANGE = "change"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: a company, through one of its keys or through an endpoint that it registered.

    Attributes:
        owner: company id, or `PLATFORM`.
        key_id: public part of the key; empty for an endpoint's sender.
        scopes: what the key may be used for.
    """

    owner: str
    key_id: str = ""
    scopes: frozenset[str] = frozenset()

    @property
    def is_platform(self) -> bool:
        """True for the platform's own services."""
        return self.owner == PLATFORM


@dataclass(frozen=True, slots=True)
class Grant:
    """A row of `platform.grant`: `owner` lets `grantee` see events of some types.

    Attributes:
        id: UUID text.
        owner: company that gives.
        grantee: company that receives.
        purpose: what it is for, in words.
        event_types: whole type names; nothing else is given.
        fields: top-level names of the event's `data` that are shown; None: all.
        resolution: must be None: no other resolution is known yet, and an unknown one gives
            nothing.
        horizon_weeks: events of a calendar week are shown for this many weeks from the current one;
            None: all.
        expires_at: None: until revoked.
        revoked_at: when it ended early.
    """

    id: str
    owner: str
    grantee: str
    purpose: str
    event_types: tuple[str, ...]
    fields: tuple[str, ...] | None = None
    resolution: str | None = None
    horizon_weeks: int | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def is_live(self, now: datetime) -> bool:
        """True while it is neither expired nor revoked."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer.

    Attributes:
        permit: False: show nothing.
        fields: only these top-level names of `data`; None: all.
        horizon_weeks: weeks after this many, counted from the current week, are not shown; None:
            all are.
        reason: why, in words, for logs and delivery records.
    """

    permit: bool
    fields: frozenset[str] | None
    horizon_weeks: int | None
    reason: str


def decide(
    principal: Principal,
    action: Action,
    owner: str,
    event_type: str | None,
    grants: Iterable[Grant],
    now: datetime,
    *,
    week: date | None = None,
) -> Decision:
    """Decide whether `principal` may do `action` with data of `owner`.

    `event_type` None asks for data that is no event: no grant covers that. `grants` may hold any
        grants; those of
    other companies are ignored. `week` is the Monday of the week that the data is about: grants
    whose horizon ends before it are left out and the fields of the rest are added up. Without
    `week` the grant with the farthest horizon counts, and the caller must apply
    `Decision.horizon_weeks` itself.
    """
    if principal.is_platform:
        return Decision(True, None, None, "the platform's own service")
    if principal.owner == owner:
        return Decision(True, None, None, "own data")
    if action is not Action.READ:
        return _deny(f"only {owner} itself may change its data")
    if event_type is None:
        return _deny(f"data of {owner} other than events is given to nobody")
    mine = [
        g
        for g in grants
        if g.owner == owner
        and g.grantee == principal.owner
        and event_type in g.event_types
        and g.resolution is None
    ]
    live = [g for g in mine if g.is_live(now)]
    if not live:
        ended = "the grant has ended" if mine else "no grant"
        return _deny(f"{ended} of {owner} to {principal.owner} for {event_type}")
    if week is not None:
        live = [
            g for g in live if g.horizon_weeks is None or within_horizon(week, g.horizon_weeks, now)
        ]
        if not live:
            return _deny(f"week {week} is beyond the horizon of the grants of {owner}")
    horizon = _farthest(live)
    if week is None:
        live = [g for g in live if g.horizon_weeks == horizon]
    return Decision(
        True, _added_up(live), horizon, f"grant {', '.join(sorted(g.id for g in live))}"
    )


def within_horizon(week: date, horizon_weeks: int, now: datetime) -> bool:
    """Tell whether the week that begins on `week` is shown: 1 shows the current week (UTC) and
    those before it."""
    today = now.astimezone(UTC).date()
    monday = today - timedelta(days=today.weekday())
    return week < monday + timedelta(weeks=horizon_weeks)


def _deny(reason: str) -> Decision:
    return Decision(False, frozenset(), 0, reason)


def _farthest(grants: list[Grant]) -> int | None:
    horizons = [g.horizon_weeks for g in grants if g.horizon_weeks is not None]
    return max(horizons) if len(horizons) == len(grants) else None


def _added_up(grants: list[Grant]) -> frozenset[str] | None:
    if any(g.fields is None for g in grants):
        return None
    return frozenset(name for g in grants for name in g.fields or ())
