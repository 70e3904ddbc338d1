"""The one-off steps of an installation: topics, database schema, keys; part of the command
`aurelian`."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from aurelian.local.command_options import (
    Home,
    KafkaAddress,
    OwnerDatabase,
    database_url,
    home_folder,
    kafka_address,
)
from aurelian.local.terminal import give_up, terminal

topics_app = typer.Typer(help="Kafka topics.", no_args_is_help=True)
db_app = typer.Typer(help="Database schema.", no_args_is_help=True)
keys_app = typer.Typer(help="Keys for the APIs.", no_args_is_help=True)


@topics_app.command("create")
def topics_create(
    bootstrap: KafkaAddress = None,
    replication_factor: Annotated[
        int, typer.Option(min=1, help="Copies of each partition; 3 in production.")
    ] = 1,
    home: Home = None,
) -> None:
    """Make every topic that is not there yet; prints the names made."""
    from aurelian.backbone.replication import TopicError
    from aurelian.backbone.topics import create_topics

    try:
        made = asyncio.run(create_topics(kafka_address(bootstrap, home), replication_factor))
    except TopicError as error:
        give_up(str(error), "then: aurelian topics create, which checks again")
    for name in made:
        print(name)


@db_app.command("upgrade")
def db_upgrade(
    url: OwnerDatabase = None,
    password_file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="File with the owner's password."),
    ] = None,
    log: Annotated[
        str | None,
        typer.Option(
            help="Declare this name as Kafka's log, unless one is declared: the first start of an "
            "installation."
        ),
    ] = None,
    home: Home = None,
) -> None:
    """Bring the database schema up to date. Several at once do no harm."""
    from aurelian.db.logs import declare_first_log
    from aurelian.db.migrate import upgrade
    from aurelian.runtime.settings import with_password

    database = database_url(url, home)
    if password_file is not None:
        database = with_password(database, password_file)
    upgrade(database)
    if log is not None:
        declare_first_log(database, log)
    terminal.print("the database schema is up to date")


@keys_app.command("create")
def keys_create(
    owner: Annotated[
        str, typer.Option(help="Company that the key sees, or * for the platform's own services.")
    ],
    name: Annotated[str, typer.Option(help="What it is for; shown in lists.")],
    scope: Annotated[
        list[str], typer.Option(help="What it may do, e.g. history:read; may be repeated.")
    ],
    url: OwnerDatabase = None,
    pepper: Annotated[
        Path | None,
        typer.Option(
            envvar="AURELIAN_KEY_PEPPER_FILE", dir_okay=False, help="File with the hash's secret."
        ),
    ] = None,
    home: Home = None,
) -> None:
    """Make a key and print it, this once: only its hash is kept."""
    from aurelian.access.keys import SCOPES, companies, create_key
    from aurelian.local.services import pepper_file

    if unknown := sorted(set(scope) - set(SCOPES)):
        give_up(
            f"there is no scope {', '.join(map(repr, unknown))}",
            f"use one or more of: {', '.join(SCOPES)}",
            code=2,
        )
    file = pepper or pepper_file(home_folder(home))
    if not file.exists():
        give_up(
            f"the file {file} with the hash's secret does not exist",
            "aurelian up makes one, or use --pepper FILE",
        )
    database = database_url(url, home)
    if owner != "*" and owner not in (known := companies(database)):
        terminal.print(
            f"warning: no company {owner!r} has data here yet (known: "
            f"{', '.join(known) or 'none'}); the key sees nothing until it has"
        )
    print(
        create_key(
            database,
            owner=owner,
            name=name,
            scopes=tuple(scope),
            pepper=file.read_bytes(),
        )
    )
