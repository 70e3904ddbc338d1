"""How a source's broker was reached and why not: which version of the protocol to try, how long to
wait, what people are told. Used by source.py and sparkplug/source.py."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from aurelian.edge.names import readable
from aurelian.edge.source_state import Condition, SourceState
from aurelian.model.source_model import SourceModel
from aurelian.runtime.retry import Backoff
from mqtt_gateway import metrics
from mqtt_gateway.opening import FIRST_VERSION, ConnectionLost, Refused, other
from mqtt_gateway.refusals import Refusal

log = logging.getLogger(__name__)

_STEADY_S = 10.0
"""A connection that stood for so long was no attempt in vain."""

_LONGEST_S = 3.0
"""The longest pause where nobody answers, and after connections that ended sooner: a broker that is
back delivers within 5 s. One that refuses us is tried less often, as it may count that."""

_CONTESTED = 3
"""So many of them in a row are told while the next one stands: by 3.1.1 a broker does not say that
somebody else signed in with our id."""


SILENT_S = 30.0
"""A source of which nothing ever came is told after so long: a topic that nobody sends, or that the
broker does not let us read, is refused by few brokers."""


_SILENT_STEP = (
    "does the machine send, to a topic spelled so, and does the broker's access list let us "
    "read it?"
)


class Dialling:
    """Of one source, which hears `filters`; none: it need not hear anything.

    Attributes:
        version: of the protocol, to try next.
        heard_at: microseconds since 1970 of the last message; 0: none yet.
        came: whether a machine's message, also one that the broker kept, ever came.
    """

    def __init__(self, model: SourceModel, filters: Sequence[str]) -> None:
        self.version = FIRST_VERSION
        self.heard_at, self.came = 0, False
        self._model, self._filters = model, filters
        self._backoff, self._logged = Backoff(), ""
        self._away, self._after_short = Backoff(longest_s=_LONGEST_S), Backoff(longest_s=_LONGEST_S)
        self._up_at, self._short = 0.0, 0
        self._doubt: Refusal | None = None
        self._is_up = self._ended_soon = False
        self._trouble = ConnectionLost("not connected yet")

    @property
    def condition(self) -> Condition:
        """How the source is now."""
        if not self._is_up:
            state = self._trouble.state
        elif self._is_contested:
            state = SourceState.DEGRADED
        elif self._doubt is not None:
            cause, _, step = self._doubt.step.partition(": ")
            return self._condition(self._doubt.state, cause, step)
        elif self._filters and not self.came and time.monotonic() - self._up_at > SILENT_S:
            cause = f"connected, and nothing has come yet on {readable(', '.join(self._filters))}"
            return self._condition(SourceState.DEGRADED, cause, _SILENT_STEP)
        else:
            return self._condition(SourceState.LIVE)
        cause = readable(str(self._trouble))
        if self._is_up:
            cause = f"{self._short} connections in a row ended soon; the last: {cause}"
        return self._condition(state, cause, self._trouble.step)

    def _condition(self, state: SourceState, cause: str = "", step: str = "") -> Condition:
        heard = self.heard_at
        return Condition(state, cause, step, heard, heard, address=self._model.url)

    @property
    def _is_contested(self) -> bool:
        return self._short >= _CONTESTED and time.monotonic() - self._up_at < _STEADY_S

    def up(self, *, session_present: bool, doubt: Refusal | None = None) -> None:
        """A connection stands; `doubt`: what the broker does not promise."""
        if doubt is not None and doubt != self._doubt:
            doubts = {"source": self._model.key, "doubt": doubt.step}
            log.warning("broker promises less than was asked for", extra={"fields": doubts})
        self._doubt = doubt
        self._backoff.reset()
        self._away.reset()
        self._up_at = time.monotonic()
        self._is_up, self._logged = True, ""
        metrics.CONNECTED.labels(self._model.key).set(1)
        fields = {"source": self._model.key, "session_present": session_present}
        log.info("broker is connected", extra={"fields": fields})

    def down(self, error: ConnectionLost) -> bool:
        """No connection came about, or it ended; whether there was one."""
        was_up, self._is_up, self._trouble = self._is_up, False, error
        self._ended_soon = was_up and time.monotonic() - self._up_at < _STEADY_S
        if self._ended_soon:
            self._short += 1
        elif was_up:
            self._short = 0
            self._after_short.reset()
        if isinstance(error, Refused):
            self.version = other(self.version)
        if was_up:
            metrics.CONNECTED.labels(self._model.key).set(0)
            metrics.LOST.labels(self._model.key).inc()
        reason = readable(str(error))
        if reason != self._logged:
            self._logged = reason
            fields = {"source": self._model.key, "reason": reason, "next": error.step}
            log.warning("no broker", extra={"fields": fields})
        return was_up

    async def pause(self) -> None:
        """Wait until it is time for the next attempt: longer after each in vain, and after each
        connection that ended soon. Two clients of one id would else put each other out without a
        pause."""
        if self._ended_soon:
            await self._after_short.wait()
        elif self._trouble.state is SourceState.CONNECTING:
            await self._away.wait()
        else:
            await self._backoff.wait()
