"""API keys against a real store: made, checked, scoped, expired, revoked."""

import stat
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import httpx
import psycopg
import pytest
from fastapi import Depends, FastAPI
from pydantic import SecretStr, ValidationError

from aurelian.access.keys import (
    CACHE_S,
    Keys,
    Principal,
    add_auth,
    create_key,
    make_pepper,
    require,
    revoke_key,
)
from aurelian.db.engine import as_role, make_engine
from aurelian.runtime.problems import add_problem_handlers
from aurelian.runtime.settings import ApiSettings
from tests.builders import ManualClock

PEPPER = bytes(range(32))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime.now(UTC))


@pytest.fixture
async def keys(database_url: str, clock: ManualClock) -> AsyncIterator[Keys]:
    engine = make_engine(as_role(database_url, "history"))
    yield Keys(engine, PEPPER, now=clock.now, monotonic=clock.monotonic)
    await engine.dispose()


def make(url: str, *scopes: str, owner: str = "a", expires_at: datetime | None = None) -> str:
    return create_key(
        url,
        owner=owner,
        name="test",
        scopes=scopes or ("events:read",),
        pepper=PEPPER,
        expires_at=expires_at,
    )


async def test_a_key_names_its_owner_and_scopes(database_url: str, keys: Keys) -> None:
    key = make(database_url, "events:read", "webhooks:write", owner="pilot-a")
    principal = await keys.check(key)
    assert principal is not None
    assert (principal.owner, principal.scopes) == ("pilot-a", {"events:read", "webhooks:write"})
    assert key.startswith(f"ak_{principal.key_id}.")


async def test_the_store_holds_neither_key_nor_a_hash_that_is_valid_without_the_pepper(
    database_url: str, keys: Keys
) -> None:
    key = make(database_url)
    with psycopg.connect(database_url) as conn:
        row = conn.execute("SELECT k::text FROM platform.api_key k").fetchone()
    assert row is not None and key.partition(".")[2] not in row[0]
    engine = make_engine(database_url)
    assert await Keys(engine, bytes(32)).check(key) is None
    await engine.dispose()


async def test_mutated_keys_are_nobody(database_url: str, keys: Keys) -> None:
    key, other = make(database_url), make(database_url)
    key_id, _, secret = key.partition(".")
    flipped = "B" if secret[0] == "A" else "A"
    for wrong in (
        "",
        "ak_",
        key_id,
        key_id + ".",
        secret,
        f"{key_id}.{secret[:-1]}",
        f"{key_id}.{flipped}{secret[1:]}",
        f"{key_id}.{secret}=",
        f"{key_id}.{other.partition('.')[2]}",
        f"{other.partition('.')[0]}.{secret}",
        key.upper(),
        key + "\0",
        " " + key,
        f"ak_{'0' * 16}.{secret}",
        f"ak_' OR true --.{secret}",
        "ak_" + "x" * 100_000,
    ):
        assert await keys.check(wrong) is None, wrong[:80]
    assert await keys.check(key) is not None


async def test_an_expired_key_is_nobody(database_url: str, keys: Keys, clock: ManualClock) -> None:
    key = make(database_url, expires_at=clock.now() + timedelta(minutes=1))
    assert await keys.check(key) is not None
    clock.advance(60)
    assert await keys.check(key) is None


async def test_a_revoked_key_dies_within_the_cache_time(
    database_url: str, keys: Keys, clock: ManualClock
) -> None:
    key = make(database_url)
    assert await keys.check(key) is not None
    assert revoke_key(database_url, key)
    assert not revoke_key(database_url, key)
    clock.advance(CACHE_S)
    assert await keys.check(key) is None
    assert CACHE_S <= 30


def test_unusable_keys_are_refused_with_a_reason(database_url: str) -> None:
    with pytest.raises(ValueError, match="events:write"):
        make(database_url, "events:write")
    with pytest.raises(ValueError, match="needs an owner"):
        make(database_url, owner="")
    with pytest.raises(ValueError, match="no time zone"):
        make(database_url, expires_at=datetime(2030, 1, 1))
    with pytest.raises(ValueError, match="not 32"):
        create_key(database_url, owner="a", name="n", scopes=["admin"], pepper=b"salt")


def test_a_service_role_cannot_make_keys(database_url: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        make(as_role(database_url, "history"))


def test_a_pepper_is_made_once_and_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "pepper"
    made = make_pepper(path)
    assert len(made) == 32 and make_pepper(path) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_api_without_a_pepper_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AURELIAN_KEY_PEPPER_FILE", raising=False)
    short = tmp_path / "short"
    short.write_bytes(b"salt")
    with pytest.raises(ValidationError, match="no API key can be checked"):
        ApiSettings()
    with pytest.raises(ValidationError, match="cannot be read"):
        ApiSettings(key_pepper_file=tmp_path / "none")
    with pytest.raises(ValidationError, match="4 bytes"):
        ApiSettings(key_pepper_file=short)


async def test_a_route_answers_401_without_key_and_403_without_scope(
    database_url: str, tmp_path: Path
) -> None:
    pepper_file = tmp_path / "pepper"
    pepper_file.write_bytes(PEPPER)
    settings = ApiSettings(database_url=SecretStr(database_url), key_pepper_file=pepper_file)
    engine = make_engine(database_url)
    app = FastAPI()
    add_problem_handlers(app)
    add_auth(app, engine, settings)

    @app.get("/")
    async def owner(who: Annotated[Principal, Depends(require("events:read"))]) -> str:
        return who.owner

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:

        async def get(authorization: str | None) -> httpx.Response:
            return await client.get(
                "/", headers={"Authorization": authorization} if authorization else {}
            )

        for bad in (None, "Bearer x", "Basic YTpi", "Bearer ", f"Basic {make(database_url)}"):
            answer = await get(bad)
            assert answer.status_code == 401, bad
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.headers["content-type"] == "application/problem+json"
        assert (await get(f"Bearer {make(database_url, 'history:read')}")).status_code == 403
        assert (await get(f"Bearer {make(database_url, 'admin')}")).json() == "a"
        assert (await get(f"bearer {make(database_url)}")).json() == "a"
    await engine.dispose()
