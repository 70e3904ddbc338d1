"""The command `aurelian command`: something that a gateway is to do, said through Kafka, and what
became of it."""

from __future__ import annotations

import asyncio
import getpass
import hashlib
import json
import secrets
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aurelian.local.command_options import (
    Home,
    KafkaAddress,
    home_folder,
    kafka_address,
    running_status,
)
from aurelian.local.terminal import give_up, terminal

if TYPE_CHECKING:
    from aurelian.backbone.client import Consumer
    from aurelian.model.codec import CommandResult

_EXPIRES_S = 120.0
_ANSWER_S = 30.0


class What(StrEnum):
    """What a gateway can be told."""

    TRUST = "trust"
    LADDER = "ladder"
    APPLY = "apply"


def give_command(
    gateway: Annotated[str, typer.Argument(help="Its name, as AURELIAN_GATEWAY says it.")],
    what: Annotated[
        What,
        typer.Argument(
            help="trust a certificate that was refused; climb the connection ladder of a source; "
            "apply a plant file."
        ),
    ],
    argument: Annotated[
        str,
        typer.Argument(
            help="trust: all 64 digits of the SHA-256; ladder: the source, company/site/id; "
            "apply: the file."
        ),
    ],
    was: Annotated[
        Path | None,
        typer.Option(
            "--was",
            help="apply: the file as the gateway has it now.",
            show_default="that of the stack here; none: it is new",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
    bootstrap: KafkaAddress = None,
    home: Home = None,
) -> None:
    """Tell a gateway to do something, through Kafka, and wait for what becomes of it."""
    from aurelian.backbone.client import RecordRefused, Unavailable

    address = kafka_address(bootstrap, home)
    arguments = _arguments(what, argument, was, None if bootstrap else home_folder(home))
    try:
        result = asyncio.run(_given(address, gateway, what, arguments))
    except Unavailable as error:
        give_up(str(error), "is that Kafka running? aurelian status, or --bootstrap HOST:PORT")
    except RecordRefused as error:
        give_up(str(error), "the file is too large for a command")
    if result is None:
        give_up(
            f"gateway {gateway} has not answered; the command expires after {_EXPIRES_S:.0f} s",
            "is that its name, and does it run? A later answer is in its log",
        )
    outcome = _outcome(result)
    if as_json:
        print(json.dumps({"id": result.id, "outcome": outcome, "said": result.said}))
    else:
        terminal.print(f"{outcome}:", style="green" if outcome == "done" else "yellow")
        print(result.said)
    raise typer.Exit(0 if outcome == "done" else 1)


def _arguments(what: What, argument: str, was: Path | None, home: Path | None) -> dict[str, str]:
    match what:
        case What.TRUST:
            return {"sha256": argument.replace(":", "")}
        case What.LADDER:
            return {"key": argument}
    file = Path(argument)
    try:
        text = file.read_text(encoding="utf-8")
        if was is None and home is not None:
            own = Path(str((running_status(home) or {}).get("own_plant") or home / "plant"))
            was = own / file.name if (own / file.name).exists() else None
        before = "" if was is None else hashlib.sha256(was.read_bytes()).hexdigest()
    except (OSError, UnicodeDecodeError) as error:
        give_up(f"{file} cannot be read: {error}", "name a plant file", code=2)
    return {"file": file.name, "text": text, "before": before}


async def _given(
    address: str, gateway: str, what: What, arguments: dict[str, str]
) -> CommandResult | None:
    """Write the command and wait for its answer; None: none came."""
    from aurelian.backbone.client import Consumer, Producer
    from aurelian.backbone.topics import COMMANDS, SOURCE_EVENTS
    from aurelian.model.time import SECOND_US, now_us
    from aurelian.runtime.settings import KafkaSettings

    settings = KafkaSettings(kafka_bootstrap=address)
    now, id = now_us(), secrets.token_hex(12)
    command = {
        "id": id,
        "command": what.value,
        "arguments": arguments,
        "by": getpass.getuser(),
        "at": now,
        "expires_at": now + int(_EXPIRES_S * SECOND_US),
    }
    async with Consumer(
        settings, [SOURCE_EVENTS], client_id="aurelian-command", from_end=True
    ) as consumer:
        async with Producer(settings, "aurelian-command") as producer:
            await producer.send(COMMANDS, gateway, json.dumps(command).encode())
        longest = _EXPIRES_S if what is What.LADDER else 0.0
        return await _answer(consumer, gateway, id, longest + _ANSWER_S)


async def _answer(
    consumer: Consumer, gateway: str, id: str, seconds: float
) -> CommandResult | None:
    from aurelian.model.codec import decode_event
    from aurelian.model.decode_errors import DecodeError

    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for record in await consumer.take():
            try:
                event = decode_event(record.value or b"")
            except DecodeError:
                continue
            result = event.command_result
            if event.gateway == gateway and event.HasField("command_result") and result.id == id:
                return result
    return None


def _outcome(result: CommandResult) -> str:
    from aurelian.model.codec import CommandResult

    name: str = CommandResult.Outcome.Name(result.outcome)
    return name.removeprefix("OUTCOME_").lower()
