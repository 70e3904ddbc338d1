"""How a source is, out of what its parts know; called by source.py."""

from __future__ import annotations

import time

from aurelian.edge.names import readable
from aurelian.edge.source_state import Condition, SourceState
from opcua_gateway import metrics
from opcua_gateway.deliveries import Deliveries
from opcua_gateway.history.holes import Holes
from opcua_gateway.publishing import Publishing
from opcua_gateway.security.policies import CertificateRefused, SignInRefused
from opcua_gateway.session import Session

_LATE = 1.5
"""Keep-alives that may pass before a source is stale; at 2 the session is given up."""


def condition_of(
    publishing: Publishing | None,
    ended: BaseException | None,
    deliveries: Deliveries,
    holes: Holes,
) -> Condition:
    """The condition of a source. `publishing`: of its session, None while there is none; `ended`:
    what ended the last session, or attempt at one."""
    keep_alive_s = 0.0
    if publishing is None:
        state, reason = _unconnected(ended)
    else:
        terms = [each.terms for each in publishing.subscriptions.values()]
        keep_alive_s = max(
            (max(each.keep_alive_s, each.publishing_interval_s) for each in terms), default=0.0
        )
        state, reason = _connected(publishing, deliveries, holes)
    return Condition(
        state, reason, deliveries.progress.heard_at, deliveries.progress.data_at, keep_alive_s
    )


def export_revised(source: str, session: Session, publishing: Publishing) -> None:
    """Export what the server allows and made of what was asked for."""
    limits, terms = publishing.limits, [each.terms for each in publishing.subscriptions.values()]
    for name, value in {
        "items_per_call": limits.items_per_call,
        "nodes_per_read": limits.nodes_per_read,
        "history_nodes_per_call": limits.history_nodes_per_call,
        "subscriptions": len(terms),
        "publishing_interval_s": max((each.publishing_interval_s for each in terms), default=0),
        "keep_alive_s": max((each.keep_alive_s for each in terms), default=0),
        "channel_lifetime_s": session.channel_lifetime_s,
    }.items():
        metrics.REVISED_LIMITS.labels(source, name).set(value)


def _unconnected(ended: BaseException | None) -> tuple[SourceState, str]:
    if ended is None:
        return SourceState.CONNECTING, "no session yet"
    reason = readable(str(ended))  # it may quote what the server sent
    if isinstance(ended, CertificateRefused):
        return SourceState.CERT_REJECTED, reason
    if isinstance(ended, SignInRefused):
        return SourceState.AUTH_FAILED, reason
    return SourceState.CONNECTING, reason


def _connected(
    publishing: Publishing, deliveries: Deliveries, holes: Holes
) -> tuple[SourceState, str]:
    now = time.monotonic()
    for each in publishing.subscriptions.values():
        if now - each.heard > _LATE / 2 * each.silence_limit_s:
            silent = f"no Publish response for {now - each.heard:.1f} s"
            return SourceState.STALE, f"{silent}: is the server, or the network, overloaded?"
    faults = []
    if deliveries.server_down:
        faults.append(f"{deliveries.server_down}: look there")
    if silent_units := deliveries.silent_units:
        faults.append(f"the server has no communication with {silent_units} units: look at them")
    if publishing.refused:
        first = deliveries.name_of(min(publishing.refused))
        faults.append(
            f"the server refuses {len(publishing.refused)} nodes, first that of {first}: compare "
            "addresses with `aurelian browse`"
        )
    if faults:
        return SourceState.DEGRADED, "; ".join(faults)
    if holes.are_being_read:
        return SourceState.BACKFILL, "what was missed is read out of the server's history"
    return SourceState.LIVE, ""
