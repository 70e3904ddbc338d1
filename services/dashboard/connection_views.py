"""What the pages show of how sources are. Pure; called by routes.py."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import tzinfo

from aurelian.model import codec
from aurelian.model.time import from_ms
from dashboard.connections import LOOKS, RANKS, UNKNOWN, Connections, name_of
from dashboard.formats import Look
from dashboard.marks import time_of_day

SILENT_MS = 15_000
"""A gateway that has said nothing for so long does not run, or cannot be heard: it says something
every 5 s."""

DAY_MS = 86_400_000
ENDS_SOON_MS = 30 * DAY_MS

_TRIED_AGAIN = "Nothing, it is tried again by itself. If it stays so, look at the gateway's log."
_SILENT_STEP = "Does the gateway run, and reach Kafka? Ask `aurelian doctor`, or read its log."
_COMMAND = re.compile(r"`([^`]+)`|(aurelian trust add [0-9A-Fa-f]+)")


@dataclass(frozen=True, slots=True)
class CertificateView:
    """A certificate: its fingerprint in pairs of digits, and until when it counts."""

    sha256: str
    subject: str
    ends: str
    is_over_soon: bool


@dataclass(frozen=True, slots=True)
class AwayView:
    """A redundant server that cannot take over."""

    address: str
    since: str
    reason: str
    step: list[tuple[str, bool]]
    refused: CertificateView | None


@dataclass(frozen=True, slots=True)
class ConnectionView:
    """A source as its gateway says that it is.

    Attributes:
        source: its key; `name`: the last part of it.
        code: the state's name in the log, metrics and `aurelian doctor`.
        step: what to do, in pieces; True: a piece is a command.
        plant_refused: why changes of its plant file are not taken up; empty: they are.
        silent: its gateway has said nothing for long, a sentence; empty: it has.
    """

    source: str
    name: str
    look: Look
    code: str
    since: str
    reason: str
    step: list[tuple[str, bool]]
    address: str
    gateway: str
    silent: str
    own: CertificateView | None
    refused: CertificateView | None
    away: list[AwayView]
    plant_refused: str = ""


def views_of(
    connections: Connections, sources: Iterable[str], now_ms: int, zone: tzinfo
) -> list[ConnectionView]:
    """Sources as they are shown, those that need somebody first."""
    made = [_view(source, connections, now_ms, zone) for source in sorted(sources)]
    return sorted(
        made, key=lambda each: (RANKS[each.look.tone], not (each.away or each.plant_refused))
    )


def details_of(
    connections: Connections, sources: Iterable[str], now_ms: int, zone: tzinfo
) -> dict[str, str]:
    """Sources in a sentence each, as the page Connections has them; those of which a gateway has
    said nothing are left out."""
    known = [source for source in sources if connections.of(source) is not None]
    return {
        each.source: ". ".join(filter(None, (each.look.word, each.silent or each.reason)))
        for each in views_of(connections, known, now_ms, zone)
    }


def _view(source: str, connections: Connections, now_ms: int, zone: tzinfo) -> ConnectionView:
    said = connections.of(source)
    if said is None:
        wait = "Wait a minute: its gateway tells it again. If nothing comes, does the gateway run?"
        return ConnectionView(
            source, name_of(source), UNKNOWN, "", "", "Its gateway has not said yet how it is",
            [(wait, False)], "", "", "", None, None, [],
        )  # fmt: skip
    event, said_ms = said
    said_ms = max(said_ms, connections.heard_ms(event.gateway))
    found = event.connection
    look, _ = LOOKS.get(found.state, (UNKNOWN, ""))
    step = found.next_step
    silent, since_us, reason = "", found.since, found.reason
    if now_ms - said_ms > SILENT_MS:
        at = time_of_day(said_ms, now_ms, zone)
        silent = f"Its gateway has said nothing since {at}; its last word was: {look.word}"
        look, since_us, reason, step = UNKNOWN, 0, "", _SILENT_STEP
    elif not step and look.tone not in ("running", "none"):
        step = _TRIED_AGAIN
    since = since_us // 1000
    return ConnectionView(
        source=source,
        name=name_of(source),
        look=look,
        code=_code(found.state),
        since=time_of_day(since, now_ms, zone) if since else "",
        reason=_sentence(reason),
        step=_pieces(step),
        address=found.address,
        gateway=event.gateway,
        silent=silent,
        own=_certificate(found.own, now_ms, zone) if found.HasField("own") else None,
        refused=_certificate(found.refused, now_ms, zone) if found.HasField("refused") else None,
        away=[
            AwayView(
                each.address,
                time_of_day(each.since // 1000, now_ms, zone),
                _sentence(each.reason),
                _pieces(each.next_step),
                _certificate(each.refused, now_ms, zone) if each.HasField("refused") else None,
            )
            for each in found.away
        ],
        plant_refused="" if silent else found.plant_refused,
    )


def _certificate(of: codec.Certificate, now_ms: int, zone: tzinfo) -> CertificateView:
    pairs = ":".join(of.sha256[at : at + 2] for at in range(0, len(of.sha256), 2))
    ends_ms = of.ends // 1000
    ends = ""
    if ends_ms:
        day = f"{from_ms(ends_ms).astimezone(zone):%Y-%m-%d}"
        ends = f"ended on {day}" if ends_ms < now_ms else f"until {day}"
    return CertificateView(
        pairs, of.subject, ends, bool(ends_ms) and ends_ms - now_ms < ENDS_SOON_MS
    )


def _pieces(text: str) -> list[tuple[str, bool]]:
    """A sentence in pieces, commands apart."""
    text, found, at = _sentence(text), [], 0
    for match in _COMMAND.finditer(text):
        found += [(text[at : match.start()], False), (match[1] or match[2], True)]
        at = match.end()
    return [piece for piece in [*found, (text[at:], False)] if piece[0]]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _code(state: int) -> str:
    known = state in LOOKS
    return codec.Connection.State.Name(state).removeprefix("STATE_") if known else ""
