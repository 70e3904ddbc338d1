"""What a transaction will write, made ahead: sorted columns, their rollups, and the blocks of
binary COPY. Called by processor.py while the transaction before it is on its way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from aurelian.model.sample import SampleBatch
from aurelian.model.time import now_us
from historian.columns import SignalKeys, TableColumns
from historian.copy_format import number_blocks
from historian.decoding import DecodedRecord
from historian.rollups import Rollup, by_hour, by_minute
from historian.sample_columns import make_columns


@dataclass(frozen=True, slots=True)
class Prepared:
    """The rows of a transaction as they go on the wire."""

    columns: TableColumns
    numbers: list[bytes]
    minutes: Rollup
    hours: Rollup


async def prepare(decoded_records: Sequence[DecodedRecord]) -> Prepared:
    """Make the rows and rollups of records, in a thread."""
    batches = [
        (each.batch, each.signal_keys)
        for each in decoded_records
        if each.batch is not None and each.signal_keys is not None
    ]
    return await prepare_batches(batches)


async def prepare_batches(batches: Sequence[tuple[SampleBatch, SignalKeys]]) -> Prepared:
    """Make the rows and rollups of batches, in a thread."""
    return await asyncio.to_thread(lambda: encode_columns(make_columns(batches, now_us())))


def encode_columns(columns: TableColumns) -> Prepared:
    """Encode what is sent when no row is there already: the usual case. Pure."""
    minutes = by_minute(columns.numbers)
    return Prepared(columns, list(number_blocks(columns.numbers)), minutes, by_hour(minutes))
