"""Options that several commands share, and what they stand for; used by the command line."""

from pathlib import Path
from typing import Annotated

import typer

from aurelian.local.terminal import give_up

Home = Annotated[
    Path | None,
    typer.Option(
        "--home",
        envvar="AURELIAN_HOME",
        help="State folder.",
        show_default="~/.local/share/aurelian, root: /var/lib/aurelian",
    ),
]

KafkaAddress = Annotated[
    str | None,
    typer.Option(
        "--bootstrap",
        envvar="AURELIAN_KAFKA_BOOTSTRAP",
        help="Kafka.",
        show_default="the running stack's",
    ),
]

OwnerDatabase = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="AURELIAN_DATABASE_URL",
        help="Database, as its owner.",
        show_default="the running stack's",
    ),
]


def home_folder(named: Path | None) -> Path:
    """Return the state folder that a command works on."""
    from aurelian.local.home import default_home

    return named.expanduser().absolute() if named else default_home()


def running_status(home: Path | None) -> dict[str, object] | None:
    """Return the status of the stack that runs on the folder, or None."""
    from aurelian.local.home import is_held, read_status

    folder = home_folder(home)
    return read_status(folder) if is_held(folder) else None


def kafka_address(named: str | None, home: Path | None) -> str:
    """Return the Kafka that was named, else the running stack's; ends the process where neither."""
    return named or str(_require_running(home, "--bootstrap HOST:PORT")["kafka_bootstrap"])


def database_url(named: str | None, home: Path | None) -> str:
    """Return the database that was named, else the running stack's; ends the process without
    either."""
    return named or str(_require_running(home, "--url URL")["database_url"])


def _require_running(home: Path | None, otherwise: str) -> dict[str, object]:
    status = running_status(home)
    if status is None:
        give_up(
            f"nothing runs on {home_folder(home)}", f"aurelian up, or name another with {otherwise}"
        )
    return status
