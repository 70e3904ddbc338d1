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

from aurelian.db.errors import Failure, classify
from aurelian.model.names import MOST_LEVEL_BYTES, path_fault, shorten, text_fault
from aurelian.model.sample import SampleBatch, Signal, ValueType
from historian.columns import SignalKeys

Connection = psycopg.AsyncConnection[TupleRow]

DICTIONARIES_KEPT = 2_000
SIGNALS_KEPT = 200_000
FAULTS_KEPT = 10_000
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
        self._faults: dict[Signal, tuple[str, str]] = {}
        self._dictionaries: dict[tuple[int, str], tuple[tuple[Signal, ...], SignalKeys]] = {}

    def forget(self) -> None:
        """Read everything anew when it is needed next."""
        self._known.clear()
        self._asset_owner.clear()
        self._tables.clear()
        self._faults.clear()
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
            unmet = self._unmet(unknown)
            await self._load(conn, unmet)
            await self._register(conn, unmet)
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

    def _unmet(self, batches: Sequence[SampleBatch]) -> list[tuple[Signal, str]]:
        """Signals that are in no table, each with the owner who writes to it; those of which nobody
        could store samples are noted and left out."""
        if len(self._faults) > FAULTS_KEPT:
            self._faults.clear()
        unmet: dict[tuple[int, str], tuple[Signal, str]] = {}
        for batch in batches:
            table = self._tables.get(batch.owner)
            met = table.place if table is not None else {}
            for signal in batch.signals:
                if id(signal) not in met:
                    unmet[id(signal), batch.owner] = signal, batch.owner
        usable = []
        for signal, owner in unmet.values():
            fault = _fault(signal)
            if fault is not None:
                self._faults[signal] = "name", fault
            elif owner:
                usable.append((signal, owner))
        return usable

    async def _load(self, conn: Connection, unmet: Sequence[tuple[Signal, str]]) -> None:
        ids = {signal.id for signal, _ in unmet} - self._known.keys()
        if ids:
            await self._read_signals(conn, ids)
        assets = {signal.asset for signal, _ in unmet} - self._asset_owner.keys()
        if assets:
            cursor = await conn.execute(
                "SELECT id, owner FROM historian.asset WHERE id = ANY(%s)", (sorted(assets),)
            )
            self._asset_owner.update(dict.fromkeys(assets))
            self._asset_owner.update({row[0]: row[1] for row in await cursor.fetchall()})

    async def _register(self, conn: Connection, unmet: Sequence[tuple[Signal, str]]) -> None:
        """Register signals that are not in the store, for those who may."""
        new = {
            signal.id: (signal, owner)
            for signal, owner in reversed(unmet)
            if signal.id not in self._known and self._refusal(owner, signal) is None
        }
        if new:
            await self._insert(conn, [new[id] for id in sorted(new)])
            await self._read_signals(conn, new)

    async def _insert(self, conn: Connection, new: Sequence[tuple[Signal, str]]) -> None:
        """Insert signals; what the database refuses of them as data is found by halving, and its
        samples will be rejected."""
        columns: list[list[object]] = [[] for _ in range(9)]
        for s, owner in new:
            name, type = s.path.rpartition("/")[2], int(s.type)
            values = s.id, owner, s.asset, s.path, name, type, s.unit, s.source, s.discovered
            for column, value in zip(columns, values, strict=True):
                column.append(value)
        try:
            await conn.execute(_REGISTER, columns)
        except Exception as error:
            if classify(error) is not Failure.DATA:
                raise
            if len(new) == 1:
                self._faults[new[0][0]] = "database", f"the signal is not registered: {error}"
                return
            half = len(new) // 2
            await self._insert(conn, new[:half])
            await self._insert(conn, new[half:])

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
        refused: dict[int, tuple[str, str]] = {}
        table = self._tables.setdefault(batch.owner, _Table())
        added: dict[int, tuple[Signal, int, int, bool]] = {}
        for index, signal in enumerate(batch.signals):
            if id(signal) in table.place or id(signal) in added:
                continue
            refusal = self._refusal(batch.owner, signal)
            known = self._known.get(signal.id)
            if refusal is None and known is None:
                refusal = "database", "the signal is not registered"
            if refusal is not None:
                refused[index] = refusal
            elif known is not None:
                source = self.source(signal.source, batch.owner)
                added[id(signal)] = signal, known.key, source, _is_number(known)
        table.extend(list(added.values()))
        if not refused:
            keys = table.find(batch.signals)
            assert keys is not None
        else:
            # A refused signal has no key; what it holds here is never read.
            allowed = [i for i in range(len(batch.signals)) if i not in refused]
            found = table.find([batch.signals[i] for i in allowed])
            assert found is not None
            n = len(batch.signals)
            keys = SignalKeys(
                np.zeros(n, np.int32), np.zeros(n, np.int32), np.zeros(n, np.bool_), refused
            )
            for whole, part in (
                (keys.keys, found.keys),
                (keys.sources, found.sources),
                (keys.numeric, found.numeric),
            ):
                whole[allowed] = part
        self._dictionaries[id(batch.signals), batch.owner] = batch.signals, keys
        return keys

    def _refusal(self, owner: str, signal: Signal) -> tuple[str, str] | None:
        """Class and reason why `owner` may not write to a signal; None: it may."""
        if not owner:
            return "owner", "the batch names no owner"
        if self._faults and signal in self._faults:
            return self._faults[signal]
        known = self._known.get(signal.id)
        if known is not None and known.owner != owner:
            return "owner", f"signal {signal.path!r} belongs to another owner than {owner!r}"
        asset_owner = self._asset_owner.get(signal.asset)
        if asset_owner is not None and asset_owner != owner:
            return (
                "owner",
                f"the asset of signal {signal.path!r} belongs to another owner than {owner!r}",
            )
        return None


def _fault(signal: Signal) -> str | None:
    """Why nobody could store samples of a signal; None: somebody could."""
    if not signal.id:
        return f"signal {shorten(signal.path)!r} has no id"
    return (
        text_fault(signal.id)
        or text_fault(signal.asset)
        or text_fault(signal.unit, MOST_LEVEL_BYTES)
        or path_fault(signal.path)
        or path_fault(signal.source)
    )


def _is_number(known: Known) -> bool:
    """The plant model declares a number."""
    return not known.discovered and ValueType.DOUBLE <= known.type <= ValueType.BOOL


_REGISTER = """
INSERT INTO historian.signal
    (id, owner, asset, path, name, type, unit, role, source, discovered, limits, changed_at)
SELECT id, owner, asset, path, name, type, unit, 'other', source, discovered, '{}', now()
FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::smallint[], %s::text[],
    %s::text[], %s::boolean[]) AS n (id, owner, asset, path, name, type, unit, source, discovered)
ON CONFLICT (id) DO NOTHING
"""
