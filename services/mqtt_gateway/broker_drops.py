"""What a broker says that it threw away: a full queue loses even messages of QoS 1, and only the
broker's own counter tells. Used by source.py."""

from __future__ import annotations

import logging
from dataclasses import replace

from aurelian.edge.names import readable
from aurelian.model import codec
from aurelian.model.mqtt_topics import parse_template
from aurelian.model.source_model import SourceModel
from aurelian.runtime.retry import Backoff
from mqtt_gateway import metrics
from mqtt_gateway.connection import FIRST_VERSION, ConnectionLost, Refused, Wanted, connected, other
from mqtt_gateway.packets import Arrived

log = logging.getLogger(__name__)

_BATCH = 100
_TAKE_S = 5.0
_MOST_DIGITS = 30
_MOST_COUNTERS = 100
_MOST_GAPS = 1_000


class BrokerDrops:
    """Watches one broker's counter, through a connection of its own: behind a full queue the
    counter would wait, or be thrown away itself. Where the broker gives it to nobody, only the
    watch does without.

    Args:
        wanted: how the source connects.
    """

    def __init__(self, model: SourceModel, wanted: Wanted) -> None:
        self._model = model
        self._template = parse_template(model.dropped_topic)
        client_id = f"{wanted.client_id}-drops"
        filters = (self._template.filter,)
        self._wanted = replace(
            wanted, client_id=client_id, filters=filters, clean=True, expiry_s=0, window=20
        )
        self._last: dict[str, tuple[int, int]] = {}
        self._gaps: list[codec.Gap] = []

    def take(self) -> list[codec.Gap]:
        """A gap for each rise since the last call: what was thrown away between two reports may
        have been ours."""
        gaps, self._gaps = self._gaps, []
        return gaps

    async def run(self) -> None:
        """Watch until cancelled."""
        backoff, version, logged = Backoff(longest_s=60.0), FIRST_VERSION, ""
        while True:
            try:
                async with connected(self._wanted, version) as connection:
                    backoff.reset()
                    while True:
                        batch = await connection.take(_BATCH, _TAKE_S)
                        for message in batch.messages:
                            self.note(message)
                        if batch.messages:
                            connection.stored(batch)
            except ConnectionLost as error:
                if isinstance(error, Refused):
                    version = other(version)
                if str(error) != logged:
                    logged = str(error)
                    fields = {"source": self._model.key, "reason": readable(logged)}
                    log.warning("what the broker drops is not watched", extra={"fields": fields})
            await backoff.wait()

    def note(self, message: Arrived) -> None:
        """Take one report of the broker; what is no number says nothing."""
        name = message.topic.decode(errors="replace")
        try:
            count = int(message.payload) if len(message.payload) <= _MOST_DIGITS else -1
        except ValueError:
            return
        is_new = name not in self._last
        if count < 0 or (is_new and len(self._last) >= _MOST_COUNTERS):
            return
        before, since = self._last.get(name, (count, message.at))
        self._last[name] = count, message.at
        rise = count - before
        if rise <= 0:  # less than before: the broker was started again
            return
        metrics.BROKER_DROPPED.labels(self._model.key).inc(rise)
        if len(self._gaps) < _MOST_GAPS:
            reason = f"the broker threw away {rise} messages, maybe of ours ({name[:100]})"
            self._gaps.append(codec.Gap(from_time=since, to_time=message.at, reason=reason))
