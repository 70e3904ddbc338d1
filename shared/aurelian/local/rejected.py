"""Rejected records: list, show, replay. Called by `rejected_commands.py`.

A replay goes through Kafka like a fresh record, so that every reader gets it. A batch of samples
travels as number 1 of a stream of its own, `replay/<id of the rejection>/<line>`: sent twice by a
crash, it still counts once. What a gateway rejected came from its source in a form that only the
gateway reads; nothing on Kafka can stand for it, so it is not replayed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from aurelian.backbone.client import Producer
from aurelian.backbone.topics import ASSETS, SAMPLES, SOURCE_EVENTS, Topic
from aurelian.model import codec
from aurelian.model.asset import decode_asset
from aurelian.model.codec import DecodeError
from aurelian.model.time import HOUR_US, to_nearest_datetime
from aurelian.runtime.settings import KafkaSettings

GATEWAY = "replay"
"""Stands as the gateway of a replayed batch."""


class ReplayError(Exception):
    """The record cannot be replayed; the text says why."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rejections are listed; None: any."""

    owner: str | None = None
    source: str | None = None
    error_class: str | None = None
    since: datetime | None = None
    open_only: bool = False
    before: int | None = None
    limit: int = 50


def list_rejected(url: str, wanted: Filter) -> list[dict[str, Any]]:
    """Rejections without their bytes, newest first. Blocks."""
    with psycopg.connect(url, row_factory=dict_row) as conn:
        return conn.execute(_LIST, _parameters(wanted)).fetchall()


def load_rejected(url: str, id: int) -> dict[str, Any] | None:
    """One rejection with its bytes; None: there is none. Blocks."""
    with psycopg.connect(url, row_factory=dict_row) as conn:
        return conn.execute(_LOAD, [id]).fetchone()


async def replay_rejected(url: str, settings: KafkaSettings, id: int, by: str) -> str:
    """Send a rejection's record to its topic again, once; return the topic.

    Raises:
        ReplayError: there is none, it was replayed before, or its bytes can still not be read.
    """
    async with (
        await psycopg.AsyncConnection.connect(url, row_factory=dict_row) as conn,
        conn.transaction(),
    ):
        # The lock makes two replays at once one: the second finds what the first wrote down.
        row = await (await conn.execute(_LOAD + " FOR UPDATE", [id])).fetchone()
        if row is None:
            raise ReplayError(f"there is no rejected record {id}")
        if row["replayed_at"] is not None:
            when = row["replayed_at"].isoformat(timespec="seconds")
            raise ReplayError(f"{id} was replayed already, {when} by {row['replayed_by'] or '?'}")
        topic, key, value, counted = prepare_replay(row)
        async with Producer(settings, "aurelian-replay") as producer:
            await producer.settle([await producer.post(topic, key, value)])
        await conn.execute(_MARK, [by, id])
        for (source, hour_us), samples in counted.items():
            hour = to_nearest_datetime(hour_us)
            await conn.execute(_UNCOUNT, [samples, source, hour, row["owner"]])
    return topic.name


def prepare_replay(
    row: Mapping[str, Any],
) -> tuple[Topic, str, bytes, dict[tuple[str, int], int]]:
    """Make topic, key and value of the record, and the samples that the ledger counts as rejected
    by (source, hour in microseconds since 1970).

    Raises:
        ReplayError: see `replay_rejected`.
    """
    payload = bytes(row["payload"])
    if row["topic"] not in (SAMPLES.name, SOURCE_EVENTS.name, ASSETS.name):
        raise ReplayError(
            f"{row['id']} was rejected by gateway {row['gateway'] or '?'} as it came from the "
            "source; have the source send it again"
        )
    if len(payload) < row["payload_size"]:
        raise ReplayError(
            f"of {row['id']} only {len(payload)} of {row['payload_size']} bytes were kept"
        )
    try:
        if row["topic"] == SOURCE_EVENTS.name:
            return SOURCE_EVENTS, codec.decode_event(payload).source, payload, {}
        if row["topic"] == ASSETS.name:
            asset = decode_asset(payload)
            if asset is None:
                raise ReplayError(f"{row['id']} holds no asset")
            return ASSETS, asset.id, payload, {}
        batch = codec.decode(payload)
    except DecodeError as error:
        raise ReplayError(f"{row['id']} can still not be read: {error}") from error
    counted: dict[tuple[str, int], int] = {}
    if row["samples"]:
        for index, received in zip(batch.signal.tolist(), batch.gateway_time.tolist(), strict=True):
            place = (batch.signals[index].source, received - received % HOUR_US)
            counted[place] = counted.get(place, 0) + 1
    fresh = replace(batch, gateway=GATEWAY, boot=int(row["id"]), sequence=1)
    return SAMPLES, batch.line, codec.encode(fresh), counted


def _parameters(wanted: Filter) -> dict[str, object]:
    return {name: getattr(wanted, name) for name in Filter.__slots__}


_LIST = """
    SELECT id, owner, gateway, source, received_at, error_class, reason, origin, payload_size,
        samples, topic, replayed_at, replayed_by
    FROM historian.rejected
    WHERE (%(owner)s::text IS NULL OR owner = %(owner)s)
        AND (%(source)s::text IS NULL OR source = %(source)s)
        AND (%(error_class)s::text IS NULL OR error_class = %(error_class)s)
        AND (%(since)s::timestamptz IS NULL OR received_at >= %(since)s)
        AND (%(before)s::bigint IS NULL OR id < %(before)s)
        AND (NOT %(open_only)s OR replayed_at IS NULL)
    ORDER BY id DESC LIMIT %(limit)s"""

_LOAD = "SELECT * FROM historian.rejected WHERE id = %s"

_MARK = "UPDATE historian.rejected SET replayed_at = now(), replayed_by = %s WHERE id = %s"

_UNCOUNT = """
    UPDATE historian.ledger_stored SET rejected = greatest(rejected - %s, 0)
    WHERE source = %s AND hour = %s AND owner = %s"""
