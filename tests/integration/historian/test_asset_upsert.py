"""The set-based upsert of the plant model means what asset after asset means, in a fixed number of
statements."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import psycopg
import pytest
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from aurelian.model.asset import Asset
from aurelian.model.time import to_datetime
from historian.asset_sql import upsert_assets
from historian.decoding import AssetChange
from tests.long_tests import seeds

Connection = psycopg.AsyncConnection[TupleRow]
Rows = list[tuple[object, ...]]

T0 = 1_780_000_000_000_000


def _asset(
    id: str, *signals: dict[str, Any], owner: str = "pilot", path: str = "", title: str = ""
) -> Asset:
    path = path or f"pilot/site/area/line/{id}"
    meaning = {"title": title, "source": "opcua", "signals": list(signals)}
    return Asset(id, owner, "line", "unit", path.rpartition("/")[2], path, meaning)


def _signal(id: str, **more: Any) -> dict[str, Any]:
    return {"id": id, "name": id.upper(), "type": 1, "unit": "Cel", "role": "other", **more}


S1, S2 = _signal("s1"), _signal("s2", limits={"low": 1.0, "action": "look"})

CASES: dict[str, list[Asset]] = {
    "created": [_asset("a", S1, S2), _asset("b")],
    "created twice in one batch": [_asset("a", S1), _asset("a", S1)],
    "renamed": [_asset("known", S1, path="pilot/site/area/line/new")],
    "renamed twice in one batch": [
        _asset("known", path="pilot/site/area/line/new"),
        _asset("known", path="pilot/site/area/line/newer"),
    ],
    "renamed and back": [
        _asset("known", path="pilot/site/area/line/new"),
        _asset("known", path="pilot/site/area/line/known"),
    ],
    "changed meaning": [_asset("known", _signal("s0", unit="K"), title="Saw")],
    "unchanged": [_asset("known", _signal("s0"))],
    "another owner's asset": [_asset("known", _signal("s0", unit="K"), owner="intruder")],
    "another owner's signal": [_asset("a", _signal("s0", unit="K"), owner="intruder")],
    "a signal that moves": [_asset("a", _signal("s0")), _asset("known", path="p/q/r/s/t")],
    "a signal in two assets": [_asset("a", S1), _asset("b", S1)],
    "a signal of two owners": [_asset("a", S1), _asset("b", S1, owner="intruder")],
    "a signal twice in an asset": [_asset("a", _signal("s1"), _signal("s1", unit="K"))],
    "nothing": [],
}


@pytest.fixture(scope="module")
def database_url(next_database: Callable[[], str]) -> str:
    """URL of one database for all tests here: each undoes what it wrote."""
    return next_database()


@pytest.mark.parametrize("name", CASES)
async def test_a_batch_of_assets_means_what_its_records_mean(name: str, database_url: str) -> None:
    await _assert_same(database_url, CASES[name])


@pytest.mark.parametrize("seed", seeds(usual=5, long=25))
async def test_any_batch_of_assets_means_what_its_records_mean(
    seed: int, database_url: str
) -> None:
    chance = random.Random(seed)
    assets = [
        _asset(
            id,
            *(
                _signal(f"s{chance.randrange(8)}", unit=chance.choice(["Cel", "K"]))
                for _ in range(chance.randrange(4))
            ),
            owner=chance.choice(["pilot", "pilot", "pilot", "intruder"]),
            path=f"pilot/site/area/line/{id}{chance.choice(['', '', '-new'])}",
        )
        for _ in range(chance.randrange(30))
        for id in (chance.choice(["known", "a", "b", "c", "d", "e"]),)
    ]
    await _assert_same(database_url, assets)


async def test_a_thousand_assets_take_as_many_statements_as_one(database_url: str) -> None:
    few = await _statements(database_url, [_asset("one", _signal("one-0"))])
    assets = [_asset(f"m{n}", _signal(f"m{n}-0")) for n in range(10_000)]
    assert await _statements(database_url, assets[:1000]) == few <= 6
    assert await _statements(database_url, assets) == 10 * few


async def _assert_same(url: str, assets: Sequence[Asset]) -> None:
    changes = [
        AssetChange(asset, asset.signal_records(), to_datetime(T0 + 1000 + n))
        for n, asset in enumerate(assets)
    ]
    async with _database_with_one_asset(url) as conn:
        expected = await _after(conn, _upsert_one_by_one, changes)
        assert await _after(conn, upsert_assets, changes) == expected


@asynccontextmanager
async def _database_with_one_asset(url: str) -> AsyncIterator[Connection]:
    async with await psycopg.AsyncConnection.connect(url) as conn:
        known = _asset("known", _signal("s0"))
        await _upsert_one_by_one(
            conn, [AssetChange(known, known.signal_records(), to_datetime(T0))]
        )
        await conn.execute(
            "INSERT INTO historian.signal (id, owner, asset, path, name, type, unit, role, source, "
            "discovered, limits, changed_at) VALUES ('s1', 'pilot', 'a', 'x/S1', 'S1', 0, '', "
            "'other', 'mqtt', true, '{}', now())"
        )
        yield conn
        await conn.rollback()


async def _after(
    conn: Connection,
    upsert: Callable[[Connection, Sequence[AssetChange]], Awaitable[None]],
    changes: Sequence[AssetChange],
) -> list[Rows]:
    """What the three tables hold afterwards; undone."""
    async with conn.transaction() as undone:
        await upsert(conn, changes)
        rows = [
            await (await conn.execute(query)).fetchall()
            for query in (
                "SELECT * FROM historian.asset ORDER BY id",
                "SELECT * FROM historian.asset_path ORDER BY asset, valid_from",
                "SELECT id, owner, asset, path, name, type, unit, role, source, discovered, "
                "limits, changed_at FROM historian.signal ORDER BY id",
            )
        ]
        raise psycopg.Rollback(undone)
    return rows


async def _statements(url: str, assets: Sequence[Asset]) -> int:
    """How many statements the upsert sends."""
    changes = [AssetChange(asset, asset.signal_records(), to_datetime(T0)) for asset in assets]
    async with await psycopg.AsyncConnection.connect(url) as conn:
        sent = 0
        execute = conn.execute

        async def count(*args: Any, **kwargs: Any) -> psycopg.AsyncCursor[TupleRow]:
            nonlocal sent
            sent += 1
            return await execute(*args, **kwargs)

        conn.execute = count  # type: ignore[method-assign]
        await upsert_assets(conn, changes)
        await conn.rollback()
    return sent


async def _upsert_one_by_one(conn: Connection, changes: Sequence[AssetChange]) -> None:
    """The meaning, as it was first written: four statements and more for each record."""
    for change in changes:
        asset, changed_at = change.asset, change.changed_at
        cursor = await conn.execute(
            "SELECT path, owner FROM historian.asset WHERE id = %s", (asset.id,)
        )
        known = await cursor.fetchone()
        if known is not None and known[1] != asset.owner:
            continue
        await conn.execute(
            "INSERT INTO historian.asset (id, owner, parent, level, name, path, meaning, "
            "changed_at) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (id) DO UPDATE SET "
            "parent = excluded.parent, level = excluded.level, name = excluded.name, "
            "path = excluded.path, meaning = excluded.meaning, changed_at = excluded.changed_at",
            (
                *(asset.id, asset.owner, asset.parent, asset.level, asset.name, asset.path),
                *(Jsonb(asset.meaning), changed_at),
            ),
        )
        if known is None or known[0] != asset.path:
            await _move_one(conn, asset, changed_at, renamed=known is not None)
        for each in change.signals:
            await conn.execute(
                "INSERT INTO historian.signal AS s (id, owner, asset, path, name, type, unit, "
                "role, "
                "source, discovered, limits, changed_at) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, false, %s, %s) "
                "ON CONFLICT (id) DO UPDATE SET asset = excluded.asset, path = excluded.path, "
                "name = excluded.name, type = excluded.type, unit = excluded.unit, "
                "role = excluded.role, source = excluded.source, discovered = false, "
                "limits = excluded.limits, changed_at = excluded.changed_at "
                "WHERE s.owner = excluded.owner",
                (
                    *(each["id"], asset.owner, asset.id, f"{asset.path}/{each['name']}"),
                    *(each["name"], each["type"], each["unit"], each["role"]),
                    *(asset.meaning["source"], Jsonb(each.get("limits") or {}), changed_at),
                ),
            )


async def _move_one(conn: Connection, asset: Asset, changed_at: datetime, *, renamed: bool) -> None:
    await conn.execute(
        "UPDATE historian.asset_path SET valid_to = greatest(valid_from, %s) "
        "WHERE asset = %s AND valid_to IS NULL",
        (changed_at, asset.id),
    )
    await conn.execute(
        "INSERT INTO historian.asset_path (asset, valid_from, valid_to, path) "
        "VALUES (%s, %s, NULL, %s) "
        "ON CONFLICT (asset, valid_from) DO UPDATE SET path = excluded.path, valid_to = NULL",
        (asset.id, changed_at, asset.path),
    )
    if renamed:
        await conn.execute(
            "UPDATE historian.signal SET path = %s || '/' || name, changed_at = %s WHERE asset = "
            "%s",
            (asset.path, changed_at, asset.id),
        )
