"""How a source's broker was reached and why not: which version of the protocol to try, how long to
wait, what people are told. Used by source.py and sparkplug/source.py."""

from __future__ import annotations

import logging

from aurelian.edge.names import readable
from aurelian.edge.source_state import Condition, SourceState
from aurelian.model.source_model import SourceModel
from aurelian.runtime.retry import Backoff
from mqtt_gateway import metrics
from mqtt_gateway.connection import FIRST_VERSION, ConnectionLost, Refused, other

log = logging.getLogger(__name__)


class Dialling:
    """Of one source.

    Attributes:
        version: of the protocol, to try next.
        heard_at: microseconds since 1970 of the last message; 0: none yet.
    """

    def __init__(self, model: SourceModel) -> None:
        self.version = FIRST_VERSION
        self.heard_at = 0
        self._model = model
        self._backoff, self._logged = Backoff(), ""
        self._is_up = False
        self._trouble = ConnectionLost("not connected yet")

    @property
    def condition(self) -> Condition:
        """How the source is now."""
        return Condition(
            SourceState.LIVE if self._is_up else self._trouble.state,
            "" if self._is_up else readable(str(self._trouble)),
            "" if self._is_up else self._trouble.step,
            self.heard_at,
            self.heard_at,
            address=self._model.url,
        )

    def up(self, *, session_present: bool) -> None:
        """A connection stands."""
        self._backoff.reset()
        self._is_up, self._logged = True, ""
        metrics.CONNECTED.labels(self._model.key).set(1)
        fields = {"source": self._model.key, "session_present": session_present}
        log.info("broker is connected", extra={"fields": fields})

    def down(self, error: ConnectionLost) -> bool:
        """No connection came about, or it ended; whether there was one."""
        was_up, self._is_up, self._trouble = self._is_up, False, error
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
        """Wait until it is time for the next attempt: longer after each in vain."""
        await self._backoff.wait()
