"""API keys: made by the command line and the launcher (`create_key`), checked by every API
(`add_auth`, `require`).

A key is `ak_<id>.<secret>` with a 256-bit secret; the store holds HMAC-SHA256 of it under the
pepper, never the key.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import psycopg
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from aurelian.access.policy import PLATFORM, Principal
from aurelian.db import tables
from aurelian.runtime.settings import PEPPER_BYTES, ApiSettings

__all__ = [
    "PLATFORM",
    "SCOPES",
    "Keys",
    "Principal",
    "add_auth",
    "companies",
    "create_key",
    "make_pepper",
    "require",
    "revoke_key",
]

SCOPES = (
    "history:read",
    "maintenance:read",
    "capacity:read",
    "events:read",
    "webhooks:write",
    "grants:write",
    "plant:write",
    "admin",
)
"""Every scope that a key may carry. `admin` holds all the others, for its owner's data."""

CACHE_S = 1.0
"""How long a key that was read from the store is believed: a revoked key works no longer than
this."""

CACHE_KEYS = 1000

_FORM = re.compile(r"ak_([0-9a-f]{16})\.([A-Za-z0-9_-]{43})")


def make_pepper(path: Path) -> bytes:
    """Make the pepper file (mode 0600) unless it is there, and return its bytes. Idempotent.

    Losing the file ends every key; it may never be in the database that holds the hashes.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(handle, "wb") as file:
        file.write(secrets.token_bytes(PEPPER_BYTES))
    return path.read_bytes()


def create_key(
    url: str,
    *,
    owner: str,
    name: str,
    scopes: Iterable[str],
    pepper: bytes,
    expires_at: datetime | None = None,
) -> str:
    """Make a key and return it: it is shown this once and cannot be read back. Blocks; for command
    line and launcher.

    `url` must be of a role that may write the schema `platform`. `owner` is a company id, or `*`
    for the platform's own services only.

    Raises:
        ValueError: an unknown scope, no scope, no owner, a naive `expires_at` or a short pepper.
    """
    wanted = sorted(set(scopes))
    unknown = [scope for scope in wanted if scope not in SCOPES]
    if unknown or not wanted:
        raise ValueError(f"scopes {unknown or wanted}: choose from {', '.join(SCOPES)}")
    if not owner:
        raise ValueError("a key needs an owner: a company id, or * for the platform's own services")
    if expires_at is not None and expires_at.tzinfo is None:
        raise ValueError(f"expires_at {expires_at} has no time zone")
    if len(pepper) < PEPPER_BYTES:
        raise ValueError(f"the pepper has {len(pepper)} bytes, not {PEPPER_BYTES} or more")
    key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO platform.api_key (id, owner, name, secret_hash, scopes, created_at, "
            "expires_at)"
            " VALUES (%s, %s, %s, %s, %s, now(), %s)",
            (key_id, owner, name, _hash(pepper, key_id, secret), wanted, expires_at),
        )
    return f"ak_{key_id}.{secret}"


def companies(url: str) -> list[str]:
    """Companies that are registered or have assets. Blocks; for the command line."""
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT id FROM platform.company UNION SELECT owner FROM historian.asset ORDER BY 1"
        )
        return [str(row[0]) for row in found]


def revoke_key(url: str, key_id: str) -> bool:
    """End a key, named by its id or by the whole key; True when it was alive. Blocks."""
    found = _FORM.fullmatch(key_id)
    with psycopg.connect(url, autocommit=True) as connection:
        done = connection.execute(
            "UPDATE platform.api_key SET revoked_at = now() WHERE id = %s AND revoked_at IS NULL",
            (found[1] if found else key_id.removeprefix("ak_"),),
        )
        return done.rowcount == 1


@dataclass(frozen=True, slots=True)
class _StoredKey:
    principal: Principal
    secret_hash: bytes
    expires_at: datetime | None


class Keys:
    """Checks keys against the store, believing what it read for `CACHE_S`. One per app, one event
    loop."""

    def __init__(
        self,
        engine: AsyncEngine,
        pepper: bytes,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine, self._pepper, self._now, self._monotonic = engine, pepper, now, monotonic
        self._cache: OrderedDict[str, tuple[float, _StoredKey | None]] = OrderedDict()

    async def check(self, token: str) -> Principal | None:
        """Answer who holds this key; None when it is malformed, unknown, wrong, expired or revoked.

        Raises:
            sqlalchemy.exc.DBAPIError: the store does not answer.
        """
        found = _FORM.fullmatch(token)
        if found is None:
            return None
        key_id, secret = found[1], found[2]
        stored = await self._load(key_id)
        # An unknown id costs the same as a wrong secret.
        right = hmac.compare_digest(
            _hash(self._pepper, key_id, secret), stored.secret_hash if stored else bytes(32)
        )
        if not right or stored is None:
            return None
        if stored.expires_at is not None and self._now() >= stored.expires_at:
            return None
        return stored.principal

    async def _load(self, key_id: str) -> _StoredKey | None:
        read_at, stored = self._cache.get(key_id, (float("-inf"), None))
        if self._monotonic() - read_at < CACHE_S:
            return stored
        row = tables.api_key.c
        async with self._engine.connect() as connection:
            answer = await connection.execute(
                select(row.owner, row.scopes, row.secret_hash, row.expires_at).where(
                    row.id == key_id, row.revoked_at.is_(None)
                )
            )
            got = answer.one_or_none()
        stored = got and _StoredKey(
            Principal(got.owner, key_id, frozenset(got.scopes)),
            bytes(got.secret_hash),
            got.expires_at,
        )
        self._cache[key_id] = (self._monotonic(), stored)
        self._cache.move_to_end(key_id)
        if len(self._cache) > CACHE_KEYS:
            self._cache.popitem(last=False)
        return stored


def add_auth(app: FastAPI, engine: AsyncEngine, settings: ApiSettings) -> Keys:
    """Give the app what `require` asks. Call it once in `make_app`."""
    keys = Keys(engine, settings.pepper())
    app.state.keys = keys
    return keys


_bearer = HTTPBearer(auto_error=False, description="A key of `aurelian keys create`.")
_Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


async def _authenticate(request: Request, credentials: _Credentials) -> Principal:
    keys: Keys = request.app.state.keys
    principal = await keys.check(credentials.credentials) if credentials else None
    if principal is None:
        raise HTTPException(
            401,
            "send a valid key as `Authorization: Bearer ak_...`; this one is missing, wrong, "
            "expired or revoked",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return principal


def require(scope: str) -> Callable[[Principal], Principal]:
    """Make the dependency of a route: `who: Annotated[Principal, Depends(require("events:read"))]`.

    Missing or bad key: 401. Key without `scope` (and without `admin`): 403.
    """
    if scope not in SCOPES:
        raise ValueError(f"scope {scope!r} is not one of {', '.join(SCOPES)}")

    def check_scope(principal: Annotated[Principal, Depends(_authenticate)]) -> Principal:
        if scope not in principal.scopes and "admin" not in principal.scopes:
            raise HTTPException(
                403,
                f"this key lacks the scope {scope}; it has {', '.join(sorted(principal.scopes))}",
            )
        return principal

    return check_scope


def _hash(pepper: bytes, key_id: str, secret: str) -> bytes:
    return hmac.digest(pepper, f"{key_id}.{secret}".encode(), hashlib.sha256)
