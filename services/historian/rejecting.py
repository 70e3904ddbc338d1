"""Pure: what of a decoded record is not stored: what is stored already, and what may not be. Called
by processor.py.

What came before is skipped. What may not be stored is rejected with its bytes and the reason; its
neighbours are stored.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aurelian.model.sample import SampleBatch, ValueType
from historian import metrics
from historian.breakers import Breakers
from historian.columns import SignalKeys
from historian.decoding import DecodedRecord, reject_samples
from historian.delivery import BatchStream, StreamProgress

Progress = dict[BatchStream, StreamProgress]


def reject(decoded: DecodedRecord, progress: Progress, log_id: str) -> None:
    """Take out of a record what is stored already, and refuse what may not be stored; its number,
    and those that its gateway gave up, are settled in `progress`."""
    if decoded.stream is not None and decoded.sequence > 0:
        _settle(decoded, decoded.stream, progress, log_id)
    for stream, first, last in decoded.lost:
        of_stream = progress.setdefault(stream, StreamProgress(decoded.owner))
        of_stream.give_up_range(first, last)
        decoded.changed[stream] = of_stream.copy()
    if decoded.batch is not None:
        _judge(decoded, decoded.batch, log_id)


def set_breakers_aside(decoded: DecodedRecord, breakers: Breakers) -> None:
    """Leave to the late inbox what is of signals or sources whose breaker is open."""
    batch, signal_keys = decoded.batch, decoded.signal_keys
    if batch is None or signal_keys is None:
        return
    of_signals = np.isin(signal_keys.keys, breakers.signals())
    aside = (of_signals | np.isin(signal_keys.sources, breakers.sources()))[batch.signal]
    if aside.any():
        decoded.late.append((batch.take(aside), "its samples were refused again and again"))
        decoded.batch = batch.take(~aside)


def _settle(decoded: DecodedRecord, stream: BatchStream, known: Progress, log_id: str) -> None:
    """Count a record's number as settled, whatever becomes of the record; take out of it what
    is stored already."""
    progress = known.setdefault(stream, StreamProgress(decoded.owner))
    if decoded.batch is not None:
        progress.owner = progress.owner or decoded.owner
        if progress.owner != decoded.owner:
            # Not a batch of this stream, whatever it says: its number is not the stream's.
            reason = f"line {decoded.batch.line!r} belongs to another owner"
            decoded.refuse(reject_samples(decoded.record, log_id, decoded.batch, "owner", reason))
            return
    if not progress.accept(decoded.sequence):
        metrics.REDELIVERED.inc()
        decoded.clear()
    if progress.closed:
        decoded.closed = [stream.hole_id(after) for after in progress.take_closed()]
    decoded.changed[stream] = progress.copy()


def _judge(decoded: DecodedRecord, batch: SampleBatch, log_id: str) -> None:
    """Refuse the samples that may not be stored: of signals of another owner or without a
    usable name, text where a number is declared, and text that the store cannot hold."""
    signal_keys = decoded.signal_keys
    assert signal_keys is not None, "decode looks up the keys of every batch"
    refused = np.zeros(len(batch), np.bool_)
    for error_class, (mask, reason) in _refused_masks(batch, signal_keys).items():
        mask &= ~refused
        if mask.any():
            refused |= mask
            decoded.rejections.append(
                reject_samples(decoded.record, log_id, batch.take(mask), error_class, reason)
            )
    if refused.any():
        decoded.batch = batch.take(~refused)


def _refused_masks(
    batch: SampleBatch, signal_keys: SignalKeys
) -> dict[str, tuple[NDArray[np.bool_], str]]:
    """(n,) which samples of a batch may not be stored, by error class, with the reason."""
    masks: dict[str, tuple[NDArray[np.bool_], str]] = {}
    for index, (error_class, reason) in signal_keys.refused.items():
        mask, said = masks.get(error_class, (np.zeros(len(batch), np.bool_), reason))
        masks[error_class] = mask | (batch.signal == index), said
    if batch.texts or batch.blobs or batch.jsons:
        masks["type"] = (
            (batch.type >= ValueType.TEXT) & signal_keys.numeric[batch.signal],
            "text, bytes or JSON where the plant model declares a number",
        )
        unstorable = np.zeros(len(batch), np.bool_)
        for kind, texts in ((ValueType.TEXT, batch.texts), (ValueType.JSON, batch.jsons)):
            bad = [n for n, text in enumerate(texts) if "\0" in text]
            unstorable[np.flatnonzero(batch.type == kind)[bad]] = True
        masks["encoding"] = unstorable, "a null character, which the store cannot hold in text"
    return masks
