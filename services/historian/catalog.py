"""Signals and owners as the store knows them: finds the keys of a dictionary, registers what is
new. Used by processor.py.

Reads and registers on a connection of its own, in autocommit: a signal may exist without samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg.rows import TupleRow

from aurelian.model.sample import SampleBatch, Signal, ValueType
from historian.sample_columns import SignalKeys

Connection = psycopg.AsyncConnection[TupleRow]

DICTIONARIES_KEPT = 2_000
SIGNALS_KEPT = 200_000
"""Bounds of what is kept in memory: about 1 kB a dictionary and 300 bytes a signal."""


@dataclass(frozen=True, slots=True)
class Known:
    """A registered signal, in short."""

    key: int
    owner: str
    type: int
    discovered: bool


@dataclass(slots=True)
class _Table:
    """Columns of the signals that one owner may write, by their place in it.

    Batches carry dictionaries of their own, mostly of signals that were met before: a codec gives
    the same object for the same entry, so `id` finds its place without hashing seven fields. The
    table holds the signals, so that no other object can get the `id` of one that is gone.
    """

    place: dict[int, int] = field(default_factory=dict)
    signals: list[Signal] = field(default_factory=list)
    keys: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    sources: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    numeric: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))

    def find(self, signals: Sequence[Signal]) -> SignalKeys | None:
        """The keys of a dictionary; None when one of its signals is not in the table."""
        try:
            places = np.fromiter(map(self.place.__getitem__, map(id, signals)), np.intp)
        except KeyError:
            return None
        return SignalKeys(self.keys[places], self.sources[places], self.numeric[places])

    def extend(self, added: Sequence[tuple[Signal, int, int, bool]]) -> None:
        """Add signals, each with its key, the index of its source and whether it is a number."""
        for signal, *_ in added:
            self.place[id(signal)] = len(self.signals)
            self.signals.append(signal)
        self.keys = np.append(self.keys, np.array([a[1] for a in added], np.int32))
        self.sources = np.append(self.sources, np.array([a[2] for a in added], np.int32))
        self.numeric = np.append(self.numeric, np.array([a[3] for a in added], np.bool_))


class Catalog:
    """The signals seen so far. Forget it when an asset changed."""

    def __init__(self) -> None:
        self.sources: list[tuple[str, str]] = []
        """(source, owner) by the index that `SignalKeys.sources` holds."""
        self._source_index: dict[tuple[str, str], int] = {}
        self._known: dict[str, Known] = {}
        self._asset_owner: dict[str, str | None] = {}
        self._tables: dict[str, _Table] = {}
        self._dictionaries: dict[tuple[int, str], tuple[tuple[Signal, ...], SignalKeys]] = {}

    def forget(self) -> None:
        """Read everything anew when it is needed next."""
        self._known.clear()
        self._asset_owner.clear()
        self._tables.clear()
        self._dictionaries.clear()

    def source(self, source: str, owner: str) -> int:
        """Index of a source of an owner."""
        index = self._source_index.get((source, owner))
        if index is None:
            index = self._source_index[source, owner] = len(self.sources)
            self.sources.append((source, owner))
        return index

    async def signal_keys(
        self, conn: Connection, batches: Sequence[SampleBatch]
    ) -> list[SignalKeys]:
        """The keys of each batch's dictionary, in order; registers signals that nobody knew.

        Raises:
            psycopg.OperationalError: the database is away.
        """
        if sum(len(table.signals) for table in self._tables.values()) > SIGNALS_KEPT:
            self.forget()
        if len(self._dictionaries) > DICTIONARIES_KEPT:
            self._dictionaries.clear()
        found = [self._find(batch) for batch in batches]
        unknown = [batch for batch, keys in zip(batches, found, strict=True) if keys is None]
        if unknown:
            await self._load(conn, unknown)
            await self._register(conn, unknown)
        return [
            self._make(batch) if keys is None else keys
            for batch, keys in zip(batches, found, strict=True)
        ]

    def _find(self, batch: SampleBatch) -> SignalKeys | None:
        found = self._dictionaries.get((id(batch.signals), batch.owner))
        if found is not None and found[0] is batch.signals:
            return found[1]
        table = self._tables.get(batch.owner)
        keys = None if table is None else table.find(batch.signals)
        if keys is not None:
            self._dictionaries[id(batch.signals), batch.owner] = batch.signals, keys
        return keys

    async def _load(self, conn: Connection, batches: Sequence[SampleBatch]) -> None:
        batches = [batch for batch in batches if _fault(batch.owner, batch.signals) is None]
        ids = {s.id for batch in batches for s in batch.signals} - self._known.keys()
        if ids:
            await self._read_signals(conn, ids)
        assets = {s.asset for batch in batches for s in batch.signals} - self._asset_owner.keys()
        if assets:
            cursor = await conn.execute(
                "SELECT id, owner FROM historian.asset WHERE id = ANY(%s)", (sorted(assets),)
            )
            self._asset_owner.update(dict.fromkeys(assets))
            self._asset_owner.update({row[0]: row[1] for row in await cursor.fetchall()})

    async def _register(self, conn: Connection, batches: Sequence[SampleBatch]) -> None:
        """Register signals that are not in the store, for those who may."""
        new = {
            signal.id: (signal, batch.owner)
            for batch in reversed(batches)
            if any(signal.id not in self._known for signal in batch.signals)
            and self._reject_reason(batch) is None
            for signal in batch.signals
            if signal.id not in self._known
        }
        if not new:
            return
        columns: list[list[object]] = [[] for _ in range(9)]
        for _, (s, owner) in sorted(new.items()):
            name, type = s.path.rpartition("/")[2], int(s.type)
            values = s.id, owner, s.asset, s.path, name, type, s.unit, s.source, s.discovered
            for column, value in zip(columns, values, strict=True):
                column.append(value)
        await conn.execute(_REGISTER, columns)
        await self._read_signals(conn, new)

    async def _read_signals(self, conn: Connection, ids: Iterable[str]) -> None:
        cursor = await conn.execute(
            "SELECT id, key, owner, type, discovered FROM historian.signal WHERE id = ANY(%s)",
            (sorted(ids),),
        )
        self._known.update({row[0]: Known(*row[1:]) for row in await cursor.fetchall()})

    def _make(self, batch: SampleBatch) -> SignalKeys:
        """The keys of a batch whose signals are loaded."""
        keys = self._find(batch)  # a batch before it may have brought its signals
        if keys is not None:
            return keys
        reason = self._reject_reason(batch)
        if reason is not None:
            none = np.zeros(len(batch.signals), np.int32)
            sources = [self.source(s.source, batch.owner) for s in batch.signals]
            keys = SignalKeys(none, np.array(sources, np.int32), none.astype(np.bool_), reason)
        else:
            table = self._tables.setdefault(batch.owner, _Table())
            table.extend(
                [
                    (signal, known.key, self.source(signal.source, batch.owner), _is_number(known))
                    for signal in {id(s): s for s in batch.signals}.values()
                    if id(signal) not in table.place
                    for known in (self._known[signal.id],)
                ]
            )
            keys = table.find(batch.signals)
            assert keys is not None
        self._dictionaries[id(batch.signals), batch.owner] = batch.signals, keys
        return keys

    def _reject_reason(self, batch: SampleBatch) -> str | None:
        """Why the batch's owner may not write to its signals."""
        table = self._tables.get(batch.owner)
        allowed = table.place if table is not None else {}
        signals = [signal for signal in batch.signals if id(signal) not in allowed]
        fault = _fault(batch.owner, signals)
        if fault is not None:
            return fault
        for signal in signals:
            known = self._known.get(signal.id)
            if known is not None and known.owner != batch.owner:
                return f"signal {signal.path!r} belongs to another owner than {batch.owner!r}"
            asset_owner = self._asset_owner.get(signal.asset)
            if asset_owner is not None and asset_owner != batch.owner:
                return (
                    f"the asset of signal {signal.path!r} belongs to another owner "
                    f"than {batch.owner!r}"
                )
        return None


def _fault(owner: str, signals: Iterable[Signal]) -> str | None:
    """Why nobody could store samples of these signals."""
    if not owner:
        return "the batch names no owner"
    for signal in signals:
        if (
            not signal.id
            or "\0" in signal.id + signal.path + signal.asset + signal.source + signal.unit
        ):
            return f"signal {signal.path!r} has no id, or a null character in a name"
    return None


def _is_number(known: Known) -> bool:
    """The plant model declares a number."""
    return not known.discovered and ValueType(known.type).is_number


_REGISTER = """
INSERT INTO historian.signal
    (id, owner, asset, path, name, type, unit, role, source, discovered, limits, changed_at)
SELECT id, owner, asset, path, name, type, unit, 'other', source, discovered, '{}', now()
FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::smallint[], %s::text[],
    %s::text[], %s::boolean[]) AS n (id, owner, asset, path, name, type, unit, source, discovered)
ON CONFLICT (id) DO NOTHING
"""
