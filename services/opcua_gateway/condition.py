"""How a source is, out of what its parts know; called by source.py."""

from __future__ import annotations

import time
from dataclasses import replace

from aurelian.edge.certificates import sha256_of
from aurelian.edge.names import readable
from aurelian.edge.source_state import Away, Certificate, Condition, SourceState
from aurelian.edge.trust_store import OwnCertificate
from aurelian.model.time import to_us
from opcua_gateway import metrics
from opcua_gateway.alarms.deliveries import NAMELESS, NAMELESS_STEP
from opcua_gateway.alarms.statuses import UNLISTED, UNLISTED_STEP
from opcua_gateway.deliveries import Deliveries
from opcua_gateway.failures import SessionLost
from opcua_gateway.history.holes import Holes
from opcua_gateway.publishing import Publishing
from opcua_gateway.redundancy import Servers
from opcua_gateway.refused import next_step
from opcua_gateway.security.policies import CertificateRefused, SignInRefused
from opcua_gateway.session import Session, status_name

_LATE = 1.5
"""Keep-alives that may pass before a source is stale; at 2 the session is given up."""


def condition_of(
    publishing: Publishing | None,
    ended: SessionLost | None,
    deliveries: Deliveries,
    holes: Holes,
) -> Condition:
    """The condition of a source. `publishing`: of its session, None while there is none; `ended`:
    what ended the last session, or attempt at one."""
    keep_alive_s = 0.0
    if publishing is None:
        state, reason, step = _unconnected(ended)
    else:
        terms = [each.terms for each in publishing.subscriptions.values()]
        keep_alive_s = max(
            (max(each.keep_alive_s, each.publishing_interval_s) for each in terms), default=0.0
        )
        state, reason, step = _connected(publishing, deliveries, holes)
    return Condition(
        state,
        reason,
        step,
        deliveries.progress.heard_at,
        deliveries.progress.data_at,
        keep_alive_s,
        refused=refused_of(ended) if publishing is None else None,
    )


def with_servers(condition: Condition, servers: Servers, own: OwnCertificate | None) -> Condition:
    """A condition with the address in use, the servers that cannot take over, and our
    certificate."""
    return replace(
        condition,
        address=servers.active.url,
        away=tuple(
            Away(
                each.url,
                readable(each.lost.reason),
                readable(each.lost.step),
                each.lost_at,
                refused_of(each.lost),
            )
            for each in servers.others
            if each.lost is not None
        ),
        own=None if own is None else Certificate(own.sha256, ends=to_us(own.ends)),
    )


def refused_of(ended: BaseException | None) -> Certificate | None:
    """The server's certificate that is refused, where that is what ended a session."""
    refused = ended.refused if isinstance(ended, CertificateRefused) else None
    if refused is None:
        return None
    return Certificate(
        sha256_of(refused),
        readable(refused.subject.rfc4514_string()),
        to_us(refused.not_valid_after_utc),
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


def _unconnected(ended: SessionLost | None) -> tuple[SourceState, str, str]:
    if ended is None:
        return SourceState.CONNECTING, "no session yet", ""
    told = readable(ended.reason), readable(ended.step)  # they may quote what the server sent
    if isinstance(ended, CertificateRefused):
        return SourceState.CERT_REJECTED, *told
    if isinstance(ended, SignInRefused):
        return SourceState.AUTH_FAILED, *told
    return SourceState.CONNECTING, *told


def _connected(
    publishing: Publishing, deliveries: Deliveries, holes: Holes
) -> tuple[SourceState, str, str]:
    now = time.monotonic()
    for each in publishing.subscriptions.values():
        if now - each.heard > _LATE / 2 * each.silence_limit_s:
            silent = f"no Publish response for {now - each.heard:.1f} s"
            return SourceState.STALE, silent, "is the server, or the network, overloaded?"
    faults, steps = [], []
    if deliveries.server_down:
        faults.append(deliveries.server_down)
        steps.append("look there")
    if silent_units := deliveries.silent_units:
        faults.append(f"the server has no communication with {_units(silent_units)}")
        steps.append("look at these machines and their cables")
    if publishing.refused:
        handle = min(publishing.refused)
        tag, status = deliveries.tag_of(handle), publishing.refused[handle]
        count = len(publishing.refused)
        nodes = f"{count} nodes, first that" if count > 1 else "the node"
        faults.append(
            f"the server refuses {nodes} of {tag.signal.path}: "
            f"{readable(tag.model.address)} ({status_name(status)})"
        )
        steps.append(next_step(deliveries.model, status))
    events = publishing.events
    if events is not None and events.refused:
        faults.append(f"the server gives no events ({readable(events.refused)})")
        steps.append("name the `notifier` that gives them, or take `alarms` out of the source")
    if count := deliveries.nameless:
        faults.append(f"{count} {NAMELESS}")
        steps.append(NAMELESS_STEP)
    if faults:
        return SourceState.DEGRADED, "; ".join(faults), "; ".join(steps)
    if holes.are_being_read:
        return SourceState.BACKFILL, "what was missed is read out of the server's history", ""
    if events is not None and events.unlisted:
        return SourceState.LIVE, f"{UNLISTED} ({readable(events.unlisted)})", UNLISTED_STEP
    return SourceState.LIVE, "", ""


def _units(count: int) -> str:
    return "1 unit" if count == 1 else f"{count} units"
