"""The command `aurelian connect find`: servers and brokers on the network; called by the command
line."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.markup import escape

from aurelian.edge.find import FindError, Kind, find
from aurelian.local.terminal import answer, give_up, terminal

_NEXT = {Kind.OPCUA: "aurelian connect opcua", Kind.MQTT: "aurelian connect mqtt"}


async def print_found(places: Sequence[str], seconds: float, *, as_json: bool) -> None:
    """Print what answers, as it comes; ends the process where nothing does."""
    count = 0
    try:
        async for each in find(places, mdns_s=seconds):
            count += 1
            if as_json:
                print(json.dumps(asdict(each), ensure_ascii=False), flush=True)
                continue
            said = f"  {each.said}" if each.said else "  announced, and does not answer from here"
            answer.print(
                escape(_plain(f"{each.kind}  {each.url}  {each.name}  ({each.how}){said}"))
            )
            if each.kind in _NEXT:
                terminal.print(escape(_plain(f"    next: {_NEXT[each.kind]} {each.url}")))
    except FindError as error:
        give_up(str(error), "aurelian connect find --help", code=2)
    if not count:
        where = ", ".join(places) or "this network (by mDNS)"
        give_up(
            f"nothing that speaks OPC UA or MQTT answers at {where}",
            "name the machine's address, which stands on its network page: aurelian connect find "
            "192.168.1.20; is this computer in the machine's network?",
        )


def _plain(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in text)
