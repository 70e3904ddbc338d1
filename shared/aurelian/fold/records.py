"""Records of Kafka as a fold may take them: decoded, with names that its tables can hold, of the
owner whose machines they name, and not later than now. Pure; called by the folds and by the live
pages.

Gateways see to all of that; whoever else writes to Kafka is not trusted. A name that PostgreSQL
refuses would fail the transaction of all the others, another owner's word would move a line that is
not theirs, and a gateway's clock that is ahead would keep a silent machine alive until then.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from aurelian.model import codec
from aurelian.model.decode_errors import DecodeError
from aurelian.model.names import owner_fault, path_fault, text_fault
from aurelian.model.record import Record
from aurelian.model.sample import SampleBatch, Signal

AHEAD_US = 1_000_000
"""So much the clocks of two computers that are kept in time may differ; what is further ahead is
taken as of now."""


def decode_batch(record: Record, now: int) -> SampleBatch:
    """Decode a batch of samples.

    Args:
        now: microseconds since 1970. Where the gateway's clock is ahead of it, the samples count as
            received now.

    Raises:
        DecodeError: it is none, a name in it cannot be stored, or it is not of its owner.
    """
    batch = codec.decode(record.value or b"")
    fault = path_fault(batch.line) or text_fault(batch.owner)
    fault = fault or owner_fault(batch.owner, batch.line) or _fault_of(batch.signals)
    if fault:
        raise DecodeError(fault)
    if int(batch.gateway_time.max(initial=0)) > now + AHEAD_US:
        batch = replace(batch, gateway_time=np.minimum(batch.gateway_time, now))
    return batch


def decode_source_event(record: Record, now: int) -> codec.SourceEvent:
    """Decode a source event; `now` as in `decode_batch`.

    Raises:
        DecodeError: it is none, a name in it cannot be stored, or its source is not its owner's.
    """
    event = codec.decode_event(record.value or b"")
    fault = text_fault(event.owner) or text_fault(event.source) or text_fault(event.gateway)
    fault = fault or owner_fault(event.owner, event.source)
    if fault:
        raise DecodeError(fault)
    if event.time > now + AHEAD_US:
        event.time = now
    if event.heartbeat.heard_at > now + AHEAD_US:
        event.heartbeat.heard_at = now
    return event


@lru_cache(20_000)
def _fault_of(signals: tuple[Signal, ...]) -> str | None:
    # A signal is equal to another by all that it says: the same dictionary is checked once.
    for signal in signals:
        fault = path_fault(signal.path) or text_fault(signal.id) or text_fault(signal.asset)
        if fault or (fault := text_fault(signal.unit) or text_fault(signal.source)):
            return fault
    return None
