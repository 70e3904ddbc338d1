"""SQL of the plant model, inside the writer's transaction: assets, the paths that they had, what
their signals mean. Called by writer.py.

Set-based: at most six statements for a thousand assets.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence

import psycopg
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from historian import metrics
from historian.decoding import AssetChange

log = logging.getLogger(__name__)

Connection = psycopg.AsyncConnection[TupleRow]


MOST_ASSETS = 1000
"""Assets in one statement: encoding its parameters holds up the event loop."""


async def upsert_assets(conn: Connection, changes: Sequence[AssetChange]) -> None:
    """Write nodes of the plant model, in order.

    A new path closes the one before it and renames the asset's signals. What a record says of a
    signal replaces what was known of it, unless the signal is another owner's. A record of another
    owner than the asset's is ignored.
    """
    for run in _independent_runs(changes):
        await _upsert_run(conn, run)


def _independent_runs(changes: Sequence[AssetChange]) -> Iterator[list[AssetChange]]:
    """Cut changes where an asset or a signal comes again: within a run the order does not matter,
    so that one statement may write all of it."""
    run: list[AssetChange] = []
    assets: set[str] = set()
    signals: set[str] = set()
    for change in changes:
        listed = {each["id"] for each in change.signals}
        again = change.asset.id in assets or not signals.isdisjoint(listed)
        if again or len(run) == MOST_ASSETS:
            yield run
            run, assets, signals = [], set(), set()
        run.append(change)
        assets.add(change.asset.id)
        signals |= listed
    if run:
        yield run


async def _upsert_run(conn: Connection, run: Sequence[AssetChange]) -> None:
    cursor = await conn.execute(_PATHS, ([change.asset.id for change in run],))
    found = {row[0]: (row[1], row[2]) for row in await cursor.fetchall()}
    known = {id: path for id, (path, _) in found.items()}
    owners = {id: owner for id, (_, owner) in found.items()}
    run = [change for change in run if _is_of_its_owner(change, owners)]
    if not run:
        return
    await conn.execute(
        _UPSERT_ASSETS,
        _columns(
            8,
            [
                (a.id, a.owner, a.parent, a.level, a.name, a.path, Jsonb(a.meaning), c.changed_at)
                for c in run
                for a in (c.asset,)
            ],
        ),
    )
    moved = [
        (c.asset.id, c.asset.path, c.changed_at)
        for c in run
        if known.get(c.asset.id) != c.asset.path
    ]
    if moved:
        await conn.execute(_CLOSE_PATHS, _columns(3, moved))
        await conn.execute(_OPEN_PATHS, _columns(3, moved))
    renamed = [row for row in moved if row[0] in known]
    if renamed:
        await conn.execute(_RENAME_SIGNALS, _columns(3, renamed))
    # An asset that lists a signal twice means the last of them.
    signals = {
        each["id"]: (
            each["id"],
            c.asset.owner,
            c.asset.id,
            f"{c.asset.path}/{each['name']}",
            each["name"],
            each.get("type", 0),
            each.get("unit", ""),
            each.get("role", "other"),
            str(c.asset.meaning.get("source", "")),
            Jsonb(each.get("limits") or {}),
            c.changed_at,
        )
        for c in run
        for each in c.signals
    }
    if signals:
        await conn.execute(_UPSERT_SIGNALS, _columns(11, list(signals.values())))


def _is_of_its_owner(change: AssetChange, owners: Mapping[str, str]) -> bool:
    """False for a record that names another owner than its asset has: counted and ignored."""
    asset = change.asset
    owner = owners.get(asset.id, asset.owner)
    if owner != asset.owner:
        metrics.FOREIGN_ASSETS.inc()
        log.warning(
            "asset record of another owner ignored",
            extra={"fields": {"asset": asset.id, "owner": owner, "claimed_by": asset.owner}},
        )
    return owner == asset.owner


def _columns(width: int, rows: Sequence[tuple[object, ...]]) -> list[list[object]]:
    return [[row[i] for row in rows] for i in range(width)]


_PATHS = "SELECT id, path, owner FROM historian.asset WHERE id = ANY(%s)"

_UPSERT_ASSETS = """
INSERT INTO historian.asset AS a (id, owner, parent, level, name, path, meaning, changed_at)
SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[],
    %s::jsonb[], %s::timestamptz[])
ON CONFLICT (id) DO UPDATE SET parent = excluded.parent, level = excluded.level,
    name = excluded.name, path = excluded.path, meaning = excluded.meaning,
    changed_at = excluded.changed_at WHERE a.owner = excluded.owner
"""

_CLOSE_PATHS = """
UPDATE historian.asset_path AS p SET valid_to = greatest(p.valid_from, n.changed_at)
FROM unnest(%s::text[], %s::text[], %s::timestamptz[]) AS n (asset, path, changed_at)
WHERE p.asset = n.asset AND p.valid_to IS NULL
"""

_OPEN_PATHS = """
INSERT INTO historian.asset_path (asset, valid_from, valid_to, path)
SELECT asset, changed_at, NULL, path
FROM unnest(%s::text[], %s::text[], %s::timestamptz[]) AS n (asset, path, changed_at)
ON CONFLICT (asset, valid_from) DO UPDATE SET path = excluded.path, valid_to = NULL
"""

_RENAME_SIGNALS = """
UPDATE historian.signal AS s SET path = n.path || '/' || s.name, changed_at = n.changed_at
FROM unnest(%s::text[], %s::text[], %s::timestamptz[]) AS n (asset, path, changed_at)
WHERE s.asset = n.asset
"""

_UPSERT_SIGNALS = """
INSERT INTO historian.signal AS s
    (id, owner, asset, path, name, type, unit, role, source, discovered, limits, changed_at)
SELECT id, owner, asset, path, name, type, unit, role, source, false, limits, changed_at
FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::smallint[], %s::text[],
    %s::text[], %s::text[], %s::jsonb[], %s::timestamptz[])
    AS n (id, owner, asset, path, name, type, unit, role, source, limits, changed_at)
ON CONFLICT (id) DO UPDATE SET asset = excluded.asset, path = excluded.path, name = excluded.name,
    type = excluded.type, unit = excluded.unit, role = excluded.role, source = excluded.source,
    discovered = false, limits = excluded.limits, changed_at = excluded.changed_at
    WHERE s.owner = excluded.owner
"""
