"""The state of each source of a gateway: as metrics, in the log when it changes, at `/sources` of
the ops port, and as events for the pages. Looked at every second by `gateway.run_gateway`;
`condition` is the adapter's."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol, runtime_checkable

from prometheus_client import Gauge

from aurelian.model import codec
from aurelian.model.source_model import SourceModel
from aurelian.model.time import SECOND_US, now_us

SENT_EVERY_S = 60.0
"""A reader that begins anew knows each source's state after so long."""

APART_S = 5.0
"""So long lies between two events of one source at least, however often its state changes."""

SIGN_EVERY_S = 5.0
"""So often a gateway says the state of one source at least, to each owner: who hears nothing knows
that the gateway does not run or is not heard, also where none of its sources is."""

log = logging.getLogger(__name__)


class SourceState(StrEnum):
    """What a source is to whoever looks at it; the first that holds counts, from below."""

    LIVE = "LIVE"  # values or signs of life come
    BACKFILL = "BACKFILL"  # live, and what was missed is read out of the server's history
    DEGRADED = "DEGRADED"  # connected; not all nodes or units come, or we can store none of them
    STALE = "STALE"  # connected, and nothing came for longer than a keep-alive may take
    CONNECTING = "CONNECTING"  # not connected, tried again
    AUTH_FAILED = "AUTH_FAILED"  # not connected: signing in needs a person
    CERT_REJECTED = "CERT_REJECTED"  # not connected: a certificate is refused, by us or over there


STATE = Gauge(
    "gateway_source_state",
    "1 for the state that a source is in; AUTH_FAILED and CERT_REJECTED wait for a person, "
    "DEGRADED and STALE have their reason at /sources of this port and in the log.",
    ["source", "state"],
)
HEARD = Gauge(
    "gateway_source_heard_timestamp_seconds",
    "When a source last gave a sign of life, values or not; old while it is LIVE: is the outbox "
    "full, or the process busy?",
    ["source"],
)
DATA = Gauge(
    "gateway_source_data_timestamp_seconds",
    "When a source last brought values; old while the machine runs: look at the machine.",
    ["source"],
)
KEEP_ALIVE = Gauge(
    "gateway_source_keep_alive_seconds",
    "Time in which a source gives a sign of life, as it was agreed; not there where it gives none.",
    ["source"],
)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate by its fingerprint. `ends`: microseconds since 1970."""

    sha256: str
    subject: str = ""
    ends: int = 0


@dataclass(frozen=True, slots=True)
class Away:
    """A redundant server that cannot take over. `cause`, `step` and `refused` as of a `Condition`;
    `since`: microseconds since 1970."""

    address: str
    cause: str
    step: str
    since: int
    refused: Certificate | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """What a source says of itself.

    Attributes:
        state: now.
        cause: what is wrong; empty where nothing is.
        step: what to do about it; empty where nobody knows.
        heard_at, data_at: microseconds since 1970 of the last sign of life and of the last values;
            0: none yet.
        keep_alive_s: agreed time between signs of life; 0: there are none.
        address: of the server or broker in use, or tried.
        away: redundant servers that cannot take over.
        own: the gateway's certificate, where the source asks for one.
        refused: the server's, where it is what is wrong.
        plant_refused: why the plant files cannot be used, so that it runs by those before; empty:
            they can.
    """

    state: SourceState
    cause: str = ""
    step: str = ""
    heard_at: int = 0
    data_at: int = 0
    keep_alive_s: float = 0.0
    address: str = ""
    away: tuple[Away, ...] = ()
    own: Certificate | None = None
    refused: Certificate | None = None
    plant_refused: str = ""

    @property
    def reason(self) -> str:
        """What is wrong and what to do; empty where nothing is."""
        if not self.step:
            return self.cause
        return f"{self.cause}{'. ' if self.step[0].isupper() else ': '}{self.step}"


@runtime_checkable
class Observable(Protocol):
    """A source that says how it is."""

    model: SourceModel
    owner: str

    def condition(self) -> Condition:
        """How it is now; asked often, so it only looks."""


CONNECTED = (SourceState.LIVE, SourceState.BACKFILL, SourceState.DEGRADED, SourceState.STALE)


@dataclass(frozen=True, slots=True)
class Notice:
    """What a gateway has to say of a source that does not know it itself. `cause` and `step` as of
    a `Condition`."""

    cause: str
    step: str


@dataclass(slots=True)
class _Gone:
    """A source that was taken out of the plant, at microseconds since 1970."""

    owner: str
    at: int
    is_sent: bool = False


class SourceStates:
    """Follows the sources of a gateway, which may come and go. Those that do not say how they are
    are left out. `notice`: what else is to be said of a source by its key; `plant_refused`: of a
    `Condition`."""

    def __init__(
        self,
        sources: Iterable[object],
        notice: Callable[[str], Notice | None] = lambda key: None,
        plant_refused: Callable[[str], str] = lambda key: "",
    ) -> None:
        self._given, self._notice, self._plant_refused = sources, notice, plant_refused
        self._known: dict[str, tuple[Condition, int]] = {}
        self._owners: dict[str, str] = {}
        self._gone: dict[str, _Gone] = {}
        self._sent: dict[str, tuple[Condition, float]] = {}
        self._sent_to: dict[str, float] = {}

    def look(self, cause: str = "", step: str = "") -> None:
        """Ask each, export it, and log what changed. `cause`: why the outbox takes nothing, if so:
        what a connected source brings waits, whatever it says of itself; `step`: what to do."""
        sources = self._sources()
        for source in sources:
            key, condition = source.model.key, source.condition()
            if condition.state in CONNECTED:
                said = self._notice(key)
                if cause:
                    said = Notice(f"its values wait and are not stored: {cause}", step)
                if said is not None:
                    state = SourceState.DEGRADED
                    condition = replace(condition, state=state, cause=said.cause, step=said.step)
            if refused := self._plant_refused(key):
                condition = replace(condition, plant_refused=refused)
            self._owners[key] = source.owner
            self._export(key, condition)
        for key in self._known.keys() - {each.model.key for each in sources}:
            self._forget(key)

    def shown(self) -> Sequence[dict[str, object]]:
        """All as of the last look, for `/sources`: JSON-ready, times as seconds since 1970, None
        where there was nothing."""
        return [
            {
                "source": key,
                "state": each.state.value,
                "reason": each.reason,
                "cause": each.cause,
                "step": each.step,
                "since": since / SECOND_US,
                "heard": each.heard_at / SECOND_US or None,
                "data": each.data_at / SECOND_US or None,
                "keep_alive_s": each.keep_alive_s or None,
            }
            for key, (each, since) in self._known.items()
        ]

    def take_events(self, gateway: str, boot: int, *, anew: bool) -> list[codec.SourceEvent]:
        """Events of those whose state was not sent yet, or long ago, and of one more where an owner
        would hear nothing; `anew`: of all, as nobody knows whether those before arrived."""
        now, events = time.monotonic(), self._farewells(gateway, boot, anew=anew)
        # Those that were sent longest ago first: the signs of life go round.
        for source in sorted(self._sources(), key=lambda each: self._sent_at(each.model.key)):
            key = source.model.key
            if key not in self._known:
                continue
            condition, since = self._known[key]
            shown = replace(condition, heard_at=0, data_at=0, keep_alive_s=0.0)
            before = self._sent[key][0] if key in self._sent else None
            sent_at = self._sent_at(key)
            wait_s = SENT_EVERY_S if shown == before else APART_S
            is_quiet = now - self._sent_to.get(source.owner, 0.0) >= SIGN_EVERY_S
            wait_s = min(wait_s, SIGN_EVERY_S) if is_quiet else wait_s
            if not anew and now - sent_at < wait_s:
                continue
            self._sent_to[source.owner] = now
            self._sent[key] = shown, now
            event = codec.SourceEvent(
                owner=source.owner,
                gateway=gateway,
                boot=boot,
                source=key,
                time=now_us(),
                connection=_connection(shown, since),
            )
            events.append(event)
        return events

    def _sources(self) -> list[Observable]:
        return [each for each in self._given if isinstance(each, Observable)]

    def _forget(self, key: str) -> None:
        """A source was taken out of the plant: no metric of it stays as it was last."""
        del self._known[key]
        self._sent.pop(key, None)
        self._gone[key] = _Gone(self._owners.pop(key), now_us())
        for state in SourceState:
            with suppress(KeyError):
                STATE.remove(key, state.value)
        for gauge in (HEARD, DATA, KEEP_ALIVE):
            with suppress(KeyError):
                gauge.remove(key)

    def _farewells(self, gateway: str, boot: int, *, anew: bool) -> list[codec.SourceEvent]:
        events = []
        for key, gone in self._gone.items():
            if gone.is_sent and not anew:
                continue
            gone.is_sent = True
            event = codec.SourceEvent(
                owner=gone.owner,
                gateway=gateway,
                boot=boot,
                source=key,
                time=now_us(),
                connection=codec.Connection(state="STATE_REMOVED", since=gone.at),
            )
            events.append(event)
        return events

    def _sent_at(self, key: str) -> float:
        return self._sent[key][1] if key in self._sent else -SENT_EVERY_S

    def _export(self, key: str, now: Condition) -> None:
        self._gone.pop(key, None)
        before, since = self._known.get(key, (None, 0))
        if before is None or before.state is not now.state:
            since = now_us()
            for state in SourceState:
                STATE.labels(key, state.value).set(state is now.state)
            fields = {"source": key, "state": now.state.value, "reason": now.reason}
            log.info("source state", extra={"fields": fields})
        self._known[key] = now, since
        if now.heard_at:
            HEARD.labels(key).set(now.heard_at / SECOND_US)
        if now.data_at:
            DATA.labels(key).set(now.data_at / SECOND_US)
        if now.keep_alive_s:
            KEEP_ALIVE.labels(key).set(now.keep_alive_s)


def _connection(condition: Condition, since: int) -> codec.Connection:
    return codec.Connection(
        state=f"STATE_{condition.state}",
        since=since,
        reason=condition.cause,
        next_step=condition.step,
        address=condition.address,
        away=[
            codec.ServerAway(
                address=each.address,
                reason=each.cause,
                next_step=each.step,
                since=each.since,
                refused=_certificate(each.refused),
            )
            for each in condition.away
        ],
        own=_certificate(condition.own),
        refused=_certificate(condition.refused),
        plant_refused=condition.plant_refused,
    )


def _certificate(of: Certificate | None) -> codec.Certificate | None:
    return (
        None
        if of is None
        else codec.Certificate(sha256=of.sha256, subject=of.subject, ends=of.ends)
    )
