"""How every `aurelian connect` ends: the change is shown, written, and waited for until the running
gateways have it live. Called by the gateways' own `connect/command.py`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from aurelian.local.connect_secrets import Secrets
from aurelian.local.connect_walk import Change, NewSource, Talk
from aurelian.local.services import page_links
from aurelian.local.status import get_json
from aurelian.local.terminal import give_up
from aurelian.model.plant_new import SCHEMA_FILE
from aurelian.model.plant_schema import schema_text
from aurelian.runtime.safe_file import ChangedMeanwhileError, replace_file

_LIVE_S = 90.0


def own_plant(status: Mapping[str, Any] | None, home: Path) -> Path:
    """The folder that the stack on a state folder follows, or will."""
    return Path(str((status or {}).get("own_plant") or home / "plant"))


def finish(
    talk: Talk,
    change: Change,
    sources: Sequence[NewSource],
    secrets: Secrets,
    status: Mapping[str, Any] | None,
    home: Path,
    *,
    dry_run: bool,
) -> None:
    """Show what the change does, write it where it is wanted, and wait for the sources.

    Args:
        status: of the stack that runs on `home`; None: none runs.
    """
    talk.say(f"\n{change.path} {'is new' if change.before is None else 'changes'}:")
    for row in change.lines():
        talk.say(f"  {row}")
    talk.tell({"plant_file": str(change.path), "text": change.after.decode()})
    if dry_run or not talk.confirm("Write it?", default=True):
        talk.say("nothing is written")
        raise typer.Exit(0)
    secrets.keep(talk, [each.fields for each in sources])
    _write(change)
    keys = [f"{change.plant.path}/{each.fields['id']}" for each in sources]
    for key in keys:
        talk.tell({"written": str(change.path), "source": key})
    if status is None:
        talk.say(f"written. Nothing runs on {home} that would take it up: make run")
        return
    own = own_plant(status, home)
    if change.path.parent.resolve() != own.resolve():
        talk.say(f"written. The stack that runs follows {own}, not {change.path.parent}")
        return
    talk.say(f"written; the gateway takes it up. Waiting for {', '.join(keys)}")
    for key in keys:
        if not _await_live(status, key, _LIVE_S, talk):
            give_up(f"{key} is not live after {_LIVE_S:.0f} s", "aurelian doctor")
        talk.tell({"live": key})
        talk.say(f"{key} is live.")
    for of, link in page_links(home, str(status["url"])):
        if of == change.plant.company.id:
            talk.say(f"Its pages: {link}")


def _write(change: Change) -> None:
    """Put it in its place; ends the process where that cannot be."""
    try:
        change.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        replace_file(change.path, change.after, change.before)
        schema = change.path.parent / SCHEMA_FILE
        if change.before is None and not schema.exists():
            replace_file(schema, schema_text().encode(), None)
    except ChangedMeanwhileError as error:
        give_up(str(error), "the same command again")


def _await_live(status: Mapping[str, Any], source: str, seconds: float, talk: Talk) -> bool:
    """Wait until a running gateway has the source live and brought values; say what is in the
    way."""
    ports = [
        int(str(each["ops_url"]).rpartition(":")[2])
        for name, each in status["services"].items()
        if name.endswith("_gateway") and each["ops_url"]
    ]
    deadline, said = time.monotonic() + seconds, ""
    while time.monotonic() < deadline:
        for port in ports:
            answer = asyncio.run(get_json(port, "/sources")) or {}
            refused = answer.get("plant", {}).get("refused")
            if refused and refused != said:
                said = refused
                talk.say(f"the gateway refuses the plant files: {refused}")
            for each in answer.get("sources", ()):
                if each["source"] != source:
                    continue
                if each["state"] in ("LIVE", "BACKFILL") and each["data"]:
                    return True
                now = f"{source} is {each['state']}"
                now += f": {each['reason']}" if each["reason"] else ""
                if now != said and each["state"] != "LIVE":
                    said = now
                    talk.say(now)
        time.sleep(0.5)
    return False
