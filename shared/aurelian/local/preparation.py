"""What the rest of the kit does for the embedded stack: schema, declared log, topics, first keys;
called by `stack.py`.

The imports are inside the functions: a launcher that only prints its help, or stops another, loads
no database code.
"""

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from aurelian.local.services import dashboard_key_file, pepper_file

DASHBOARD_SCOPES = ("history:read", "maintenance:read", "capacity:read", "events:read")
DEVELOPMENT_SCOPES = (*DASHBOARD_SCOPES, "webhooks:write", "grants:write")


@dataclass(frozen=True, slots=True)
class Preparation:
    """The steps between an empty server and a usable one; a test may put smaller ones in their
    place."""

    migrate: Callable[[str], None]
    """(database URL): bring the schema up to date. Blocks."""
    declare_log: Callable[[str, str, bool], str]
    """(database URL, log id, anew): declare the log unless one is declared, or in any case where
    `anew`; return the log that is then the current one. Blocks."""
    create_topics: Callable[[str, int], Awaitable[object]]
    """(bootstrap, replication factor): make what is missing. Raises OSError where no broker
    answers."""
    create_keys: Callable[[str, Path, Path], tuple[str, ...]]
    """(database URL, state folder, plant folder): make the keys of a first start; return lines that
    show them. Blocks."""


def _migrate(url: str) -> None:
    from aurelian.db.migrate import upgrade

    upgrade(url)


def _declare_log(url: str, log_id: str, anew: bool) -> str:
    from aurelian.db.logs import declare_first_log, declare_log

    if anew:
        declare_log(url, log_id)
    return declare_first_log(url, log_id)


async def _create_topics(bootstrap: str, replication_factor: int) -> object:
    from aurelian.backbone.topics import create_topics

    return await create_topics(bootstrap, replication_factor)


def _create_keys(url: str, home: Path, plant: Path) -> tuple[str, ...]:
    """Make the dashboard's key, in a file of its own, and one development key per company of the
    plant model."""
    from aurelian.access.keys import create_key, make_pepper
    from aurelian.model.plant_file import load_plants

    pepper = make_pepper(pepper_file(home))
    companies = sorted({each.company.id for each in load_plants(plant)})
    lines = tuple(
        f"{company}  "
        f"{create_key(url, owner=company, name='development', scopes=DEVELOPMENT_SCOPES, pepper=pepper)}"
        for company in companies
    )
    own = create_key(url, owner="*", name="dashboard", scopes=DASHBOARD_SCOPES, pepper=pepper)
    _write_secret(dashboard_key_file(home), own)
    return lines


def _write_secret(path: Path, secret: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(secret)


KIT = Preparation(_migrate, _declare_log, _create_topics, _create_keys)
