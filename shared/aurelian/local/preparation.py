"""What the rest of the kit does for the embedded stack: schema, declared log, topics, first keys;
called by `stack.py`.

The imports are inside the functions: a launcher that only prints its help, or stops another, loads
no database code.
"""

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from aurelian.local.services import page_keys, pepper_file

READ_SCOPES = ("history:read", "maintenance:read", "capacity:read", "events:read")
PAGE_SCOPES = (*READ_SCOPES, "plant:write")
DEVELOPMENT_SCOPES = (*READ_SCOPES, "webhooks:write", "grants:write")


@dataclass(frozen=True, slots=True)
class Preparation:
    """The steps between an empty server and a usable one; a test may put smaller ones in their
    place."""

    migrate: Callable[[str], None]
    """(database URL): bring the schema up to date. Blocks."""
    declare_log: Callable[[str, str, bool], str]
    """(database URL, cluster id, anew): declare the cluster's log unless one is declared, or as one
    that was never declared where `anew`; return the log that is then the current one. Blocks."""
    create_topics: Callable[[str, int], Awaitable[object]]
    """(bootstrap, replication factor): make what is missing. Raises OSError where no broker
    answers."""
    create_keys: Callable[[str, Path, Path], tuple[str, ...]]
    """(database URL, state folder, plant folder): make the keys of companies that have none yet;
    return lines that show them. Blocks."""
    halted_partitions: Callable[[str], list[str]]
    """(database URL): a sentence for each partition that a consumer halted. Blocks."""


def _migrate(url: str) -> None:
    from aurelian.db.migrate import upgrade

    upgrade(url)


def _declare_log(url: str, log_id: str, anew: bool) -> str:
    from aurelian.db.logs import declare_first_log, declare_new_log

    return declare_new_log(url, log_id) if anew else declare_first_log(url, log_id)


def _halted_partitions(url: str) -> list[str]:
    from aurelian.db.logs import halted_partitions

    return halted_partitions(url)


def is_log_of(log_id: str, cluster_id: str) -> bool:
    """Whether a declared log is one of this Kafka cluster."""
    from aurelian.db import logs

    return logs.is_log_of(log_id, cluster_id)


async def _create_topics(bootstrap: str, replication_factor: int) -> object:
    from aurelian.backbone.topics import create_topics

    return await create_topics(bootstrap, replication_factor)


def _create_keys(url: str, home: Path, plant: Path) -> tuple[str, ...]:
    """Make two keys for each company of the plant model that has none yet: one that opens its
    pages, in a file of its own, and one for development, which is returned."""
    from aurelian.access.keys import create_key, make_pepper, revoke_key
    from aurelian.model.plant_file import load_plants, plant_files

    pepper = make_pepper(pepper_file(home))
    every = home / "state" / "dashboard" / "api-key"
    if every.exists():  # of an earlier version: it opened the pages of all companies
        revoke_key(url, every.read_text().strip())
        every.unlink()
    lines = []
    plants = load_plants(plant) if plant_files(plant) else []
    for company in sorted({each.company.id for each in plants}):
        file = page_keys(home) / company
        if file.exists():
            continue
        made = create_key(
            url, owner=company, name="development", scopes=DEVELOPMENT_SCOPES, pepper=pepper
        )
        lines.append(f"{company}  {made}")
        own = create_key(url, owner=company, name="pages", scopes=PAGE_SCOPES, pepper=pepper)
        _write_secret(file, own)
    return tuple(lines)


def _write_secret(path: Path, secret: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(secret)


KIT = Preparation(_migrate, _declare_log, _create_topics, _create_keys, _halted_partitions)
