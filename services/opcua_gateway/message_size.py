"""How many notifications a server may put in one message: fewer, where its messages were too large.
Used by source.py."""

from __future__ import annotations

import logging

from opcua_gateway.dialling import Dialler
from opcua_gateway.publishing import Publishing
from opcua_gateway.resumption import Resumption
from opcua_gateway.session import ResponseTooLarge, SessionLost

log = logging.getLogger(__name__)


class MessageSize:
    """Judges the ends of one source's sessions. `nodes`: how many it watches."""

    def __init__(self, dialler: Dialler, nodes: int) -> None:
        self._dialler, self._nodes = dialler, nodes
        self._silent_ends = 0

    def is_too_large(
        self,
        group: BaseExceptionGroup[SessionLost],
        publishing: Publishing,
        resumption: Resumption,
    ) -> bool:
        """Whether a session ended since its messages were too large; then the next one asks for
        fewer notifications at a time, in new subscriptions.

        Some servers say so, others end the connection: a new subscription that ended twice before
        its first message is taken for one of those, and one that was resumed and ended three times.
        A network that goes away again and again looks alike, but not before any message each time.
        """
        said = group.subgroup(ResponseTooLarge) is not None
        self._silent_ends = 0 if publishing.has_delivered else self._silent_ends + 1
        before = self._dialler.most_notifications or self._nodes
        enough = 3 if resumption.resumptions else 2
        if before <= 1 or not (said or self._silent_ends >= enough):
            return False
        self._silent_ends = 0
        self._dialler.most_notifications = max(1, before // 2)
        resumption.forget()
        fields = {"source": self._dialler.model.id, "most": self._dialler.most_notifications}
        log.warning(
            "messages are too large, asking for fewer notifications in one",
            extra={"fields": fields},
        )
        return True
