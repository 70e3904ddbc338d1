"""Whether a server judges the event types of a where clause as it should; used by watch.py.

OfType means a type and its subtypes (part 4, 7.7.3). asyncua takes the type alone, and accepts the
clause all the same: no alarm comes then, and nothing says so. What is asked for is a supertype of
RefreshStart and RefreshEnd, so that the list of conditions, which is called up after each connect,
shows it: where none comes, or the server has no such list, it is asked without a where clause.
"""

from __future__ import annotations

import asyncio
import logging

from aurelian.model.alarms_model import AlarmsModel
from opcua_gateway import metrics
from opcua_gateway.alarms.fields import TYPES_WANTED

log = logging.getLogger(__name__)

PATIENCE_S = 10.0
"""So long after a list was called up its RefreshStart has to be there."""

_ASKED_FOR = frozenset(f"i={number}" for number in TYPES_WANTED)


class Where:
    """The where clause of a source's events, over all of its sessions.

    Attributes:
        source: as in metrics and logs.
        wanted: it is asked for.
    """

    def __init__(self, source: str, model: AlarmsModel) -> None:
        self.source = source
        self.wanted = model.where and model.events == "conditions"
        self._is_set = "where" in model.model_fields_set

    def may_fail(self) -> bool:
        """Whether the server has to show that it judges it; where the plant file says `where: true`
        it has not."""
        return self.wanted and not self._is_set

    def give_up(self, why: str) -> None:
        """Do without, from now on."""
        self.wanted = False
        log.warning(
            "the server does not show that it knows subtypes in a where clause; its events are "
            "asked for without, and sorted out here",
            extra={
                "fields": {
                    "source": self.source,
                    "reason": why,
                    "next": "nothing has to be done; `alarms: {where: false}` asks so at once, "
                    "`alarms: {where: true}` keeps the clause",
                }
            },
        )


class Proof:
    """What a session shows of the where clause."""

    def __init__(self, where: Where) -> None:
        self._where = where
        self._shown = asyncio.Event()

    def came(self, kind: str) -> None:
        """An event of this type came."""
        if kind and kind not in _ASKED_FOR:
            self._shown.set()

    async def missing(self, refresh: str) -> str:
        """Why the where clause cannot be relied on, after conditions were asked for with the result
        `refresh`; empty: it can, or nobody knows yet."""
        if not self._where.may_fail() or self._shown.is_set() or refresh == "later":
            return ""
        if refresh == "refused":
            return "it has no list of its conditions, which would show it"
        try:
            await asyncio.wait_for(self._shown.wait(), PATIENCE_S)
        except TimeoutError:
            return f"no RefreshStart came within {PATIENCE_S:g} s after ConditionRefresh"
        return ""


def export(source: str, *, filtered: bool) -> None:
    """Say that a server gives its events, and whether it sorts them out itself."""
    metrics.EVENTS_WATCHED.labels(source).set(1)
    metrics.EVENTS_FILTERED.labels(source).set(filtered)
