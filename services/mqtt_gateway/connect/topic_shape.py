"""Which level of some topics is the machine, and the template that says so. Pure; used by the
proposals."""

from __future__ import annotations

from collections.abc import Sequence

from aurelian.edge.proposals.name_words import role_of_name

_KINDS = frozenset(
    {
        *("state", "status", "data", "values", "value", "telemetry", "sensor", "sensors", "json"),
        *("measurement", "measurements", "tele", "stat", "out", "payload", "message", "update"),
        *("event", "events", "info", "metrics", "tags", "raw", "live"),
        *("werte", "wert", "messwerte", "daten", "zustand", "meldung", "meldungen", "ereignis"),
        *("verdi", "verdier", "tilstand", "malinger", "hendelse", "varde", "varden", "matvarden"),
        *("vaerdier", "arvo", "arvot", "tila", "mittaukset"),
    }
)
"""Words for what a topic brings, that no machine is called."""


def template_of(topics: Sequence[str], *, bare: bool) -> tuple[str, str]:
    """A template of the plant file that takes topics of one length, and why.

    Args:
        topics: all with the same first level and number of levels.
        bare: each brings one value, so that its last level names the signal.
    """
    rows = [each.split("/") for each in topics]
    count = len(rows[0])
    if count == 1:
        return topics[0] if len(topics) == 1 else "{unit}", "the topic has one level"
    is_kind = bare or all(_is_kind(each[-1]) for each in rows)
    unit = count - 2 if is_kind else count - 1
    levels = [rows[0][n] if len({each[n] for each in rows}) == 1 else "" for n in range(count)]
    before = [n for n in range(unit) if not levels[n]]
    named = ["{cell}"] if len(before) == 1 else ["+"] * (len(before) - 2) + ["{area}", "{line}"]
    parts = [_literal(each) for each in levels]
    for n, place in zip(before, named, strict=False):
        parts[n] = place
    parts[unit] = "{unit}"
    if is_kind and (bare or not levels[-1]):
        parts[-1] = "{signal}"
    what = "its last level names what it brings" if is_kind else "its last level names the machine"
    return "/".join(parts), f"level {unit + 1} names the machine, as {what}"


def _is_kind(level: str) -> bool:
    return level.casefold() in _KINDS or role_of_name((level,)) is not None


def _literal(level: str) -> str:
    """A level as it stands; one that a template would misread as any."""
    return "+" if any(each in level for each in "{}") else level
