"""Signals and owners as the store knows them: finds a dictionary's plan, registers what is new.
Used by processor.py.

Reads and registers on a connection of its own, in autocommit: a signal may exist without samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import psycopg
from psycopg.rows import TupleRow

from aurelian.model.sample import SampleBatch, Signal, ValueType
from historian.rows import Plan

PLANS_KEPT = 20_000


@dataclass(frozen=True, slots=True)
class Known:
    """A registered signal, in short."""

    key: int
    owner: str
    type: int
    discovered: bool


class Catalog:
    """The signals seen so far. Forget it when an asset changed or a transaction was rolled back."""

    def __init__(self) -> None:
        self.sources: list[tuple[str, str]] = []
        """(source, owner) by the index that `Plan.sources` holds."""
        self._source_index: dict[tuple[str, str], int] = {}
        self._known: dict[str, Known] = {}
        self._asset_owner: dict[str, str] = {}
        self._plans: dict[tuple[int, str], tuple[tuple[Signal, ...], Plan]] = {}

    def forget(self) -> None:
        """Read everything anew when it is needed next."""
        self._known.clear()
        self._asset_owner.clear()
        self._plans.clear()

    def source(self, source: str, owner: str) -> int:
        """Index of a source of an owner."""
        index = self._source_index.get((source, owner))
        if index is None:
            index = self._source_index[source, owner] = len(self.sources)
            self.sources.append((source, owner))
        return index

    def plan(self, batch: SampleBatch) -> Plan | None:
        """The plan of a batch's dictionary; None: `learn` it first."""
        found = self._plans.get((id(batch.signals), batch.owner))
        return None if found is None or found[0] is not batch.signals else found[1]

    async def learn(
        self, conn: psycopg.AsyncConnection[TupleRow], batches: Iterable[SampleBatch]
    ) -> None:
        """Make the plans of `batches`, registering signals that nobody knew.

        Raises:
            psycopg.OperationalError: the database is away.
        """
        unknown = list(
            {(id(b.signals), b.owner): b for b in batches if self.plan(b) is None}.values()
        )
        if not unknown:
            return
        await self._load(conn, unknown)
        await self._register(conn, unknown)
        if len(self._plans) > PLANS_KEPT:
            self._plans.clear()
        for batch in unknown:
            self._plans[id(batch.signals), batch.owner] = (batch.signals, self._make_plan(batch))

    async def _load(
        self, conn: psycopg.AsyncConnection[TupleRow], batches: Sequence[SampleBatch]
    ) -> None:
        batches = [batch for batch in batches if _fault(batch) is None]
        ids = {s.id for batch in batches for s in batch.signals} - self._known.keys()
        if ids:
            cursor = await conn.execute(
                "SELECT id, key, owner, type, discovered FROM historian.signal WHERE id = ANY(%s)",
                (sorted(ids),),
            )
            self._known.update({row[0]: Known(*row[1:]) for row in await cursor.fetchall()})
        assets = {s.asset for batch in batches for s in batch.signals} - self._asset_owner.keys()
        if assets:
            cursor = await conn.execute(
                "SELECT id, owner FROM historian.asset WHERE id = ANY(%s)", (sorted(assets),)
            )
            self._asset_owner.update({row[0]: row[1] for row in await cursor.fetchall()})

    async def _register(
        self, conn: psycopg.AsyncConnection[TupleRow], batches: Sequence[SampleBatch]
    ) -> None:
        """Register signals that are not in the store, for those who may."""
        new = {
            signal.id: (signal, batch.owner)
            for batch in reversed(batches)
            for signal in batch.signals
            if signal.id not in self._known and self._refusal(batch) is None
        }
        if not new:
            return
        rows = [
            (
                s.id,
                owner,
                s.asset,
                s.path,
                s.path.rpartition("/")[2],
                int(s.type),
                s.unit,
                s.source,
                s.discovered,
            )
            for _, (s, owner) in sorted(new.items())
        ]
        async with conn.cursor() as cursor:
            await cursor.executemany(
                "INSERT INTO historian.signal "
                "(id, owner, asset, path, name, type, unit, role, source, discovered, limits, changed_at) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, 'other', %s, %s, '{}', now()) ON CONFLICT (id) DO NOTHING",
                rows,
            )
            await cursor.execute(
                "SELECT id, key, owner, type, discovered FROM historian.signal WHERE id = ANY(%s)",
                (sorted(new),),
            )
            self._known.update({row[0]: Known(*row[1:]) for row in await cursor.fetchall()})

    def _make_plan(self, batch: SampleBatch) -> Plan:
        refusal = self._refusal(batch)
        if refusal is not None:
            none = np.zeros(len(batch.signals), np.int32)
            sources = np.array(
                [self.source(s.source, batch.owner) for s in batch.signals], np.int32
            )
            return Plan(none, sources, none.astype(np.bool_), refusal)
        known = [self._known[s.id] for s in batch.signals]
        return Plan(
            np.array([k.key for k in known], np.int32),
            np.array([self.source(s.source, batch.owner) for s in batch.signals], np.int32),
            np.array([not k.discovered and ValueType(k.type).is_number for k in known], np.bool_),
        )

    def _refusal(self, batch: SampleBatch) -> str | None:
        """Why the batch's owner may not write to its signals."""
        fault = _fault(batch)
        if fault is not None:
            return fault
        for signal in batch.signals:
            known = self._known.get(signal.id)
            if known is not None and known.owner != batch.owner:
                return f"signal {signal.path!r} belongs to another owner than {batch.owner!r}"
            asset_owner = self._asset_owner.get(signal.asset)
            if asset_owner is not None and asset_owner != batch.owner:
                return f"the asset of signal {signal.path!r} belongs to another owner than {batch.owner!r}"
        return None


def _fault(batch: SampleBatch) -> str | None:
    """Why nobody could store the batch's dictionary."""
    if not batch.owner:
        return "the batch names no owner"
    for signal in batch.signals:
        if (
            not signal.id
            or "\0" in signal.id + signal.path + signal.asset + signal.source + signal.unit
        ):
            return f"signal {signal.path!r} has no id, or a null character in a name"
    return None
