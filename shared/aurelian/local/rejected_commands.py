"""The command `aurelian rejected`: what could not be stored, and its second chance."""

import asyncio
import getpass
import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from aurelian.local.command_options import (
    Home,
    KafkaAddress,
    OwnerDatabase,
    database_url,
    kafka_address,
)
from aurelian.local.terminal import give_up, terminal

rejected_app = typer.Typer(help="Records that could not be stored.", no_args_is_help=True)

Id = Annotated[int, typer.Argument(min=1, max=2**63 - 1, help="Number that `list` shows.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]


@rejected_app.command("list")
def rejected_list(
    owner: Annotated[str | None, typer.Option(help="Only this company's.")] = None,
    source: Annotated[str | None, typer.Option(help="Only of this source.")] = None,
    error_class: Annotated[str | None, typer.Option("--class", help="Only this kind.")] = None,
    since: Annotated[
        datetime | None, typer.Option(help="Only received since (UTC, or with a zone).")
    ] = None,
    open_only: Annotated[bool, typer.Option("--open", help="Only not replayed yet.")] = False,
    before: Annotated[int | None, typer.Option(help="Only older than this number.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    as_json: AsJson = False,
    url: OwnerDatabase = None,
    home: Home = None,
) -> None:
    """List rejected records, newest first."""
    from aurelian.local.rejected import Filter, list_rejected

    if since is not None and since.tzinfo is None:
        since = since.replace(tzinfo=UTC)
    wanted = Filter(owner, source, error_class, since, open_only, before, limit)
    rows = list_rejected(database_url(url, home), wanted)
    if not rows:
        terminal.print("nothing of that was rejected")
    for row in rows:
        if as_json:
            print(json.dumps(row, default=str))
            continue
        state = f"replayed {_time(row['replayed_at'])}" if row["replayed_at"] else "open"
        print(
            f"{row['id']}\t{_time(row['received_at'])}\t{row['error_class']}\t"
            f"{row['source'] or row['gateway'] or '-'}\t{row['samples']} samples\t"
            f"{row['payload_size']} B\t{state}\t{_line(row['reason'])}"
        )


@rejected_app.command("show")
def rejected_show(
    id: Id, as_json: AsJson = False, url: OwnerDatabase = None, home: Home = None
) -> None:
    """Show a rejected record: where it came from, why it was refused, its bytes."""
    from aurelian.local.rejected import load_rejected

    row = load_rejected(database_url(url, home), id)
    if row is None:
        give_up(f"there is no rejected record {id}", "aurelian rejected list")
    payload = bytes(row.pop("payload"))
    if as_json:
        print(json.dumps({**row, "payload_hex": payload.hex()}, default=str))
        return
    for name, value in row.items():
        print(f"{name}: {_line(str(value)) if value is not None else ''}")
    print(f"payload: {len(payload)} bytes kept")
    for start in range(0, len(payload), 16):
        part = payload[start : start + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        print(f"{start:08x}  {part.hex(' '):<47}  {text}")


@rejected_app.command("replay")
def rejected_replay(
    id: Id,
    url: OwnerDatabase = None,
    bootstrap: KafkaAddress = None,
    home: Home = None,
) -> None:
    """Send a record that the historian set aside to Kafka again, once."""
    from aurelian.backbone.client import Unavailable
    from aurelian.local.rejected import ReplayError, replay_rejected
    from aurelian.runtime.settings import KafkaSettings

    settings = KafkaSettings(kafka_bootstrap=kafka_address(bootstrap, home))
    try:
        topic = asyncio.run(
            replay_rejected(database_url(url, home), settings, id, getpass.getuser())
        )
    except ReplayError as error:
        give_up(str(error), f"aurelian rejected show {id}")
    except Unavailable as error:
        give_up(f"Kafka does not answer: {error}", "try again when it does; nothing is marked")
    terminal.print(f"{id} was sent to {topic}")


def _time(value: Any) -> str:
    return value.isoformat(timespec="seconds") if isinstance(value, datetime) else ""


def _line(text: str) -> str:
    """Text of a stranger's on one line, without what moves a terminal's cursor."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
