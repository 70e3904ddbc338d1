"""The command `aurelian connect mqtt URL`: from a broker's address to live values, with a person or
without; called by the command line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from aurelian.local.command_options import Home, home_folder, running_status
from aurelian.local.command_settings import command_settings
from aurelian.local.connect_end import finish, own_plant
from aurelian.local.connect_secrets import Secrets
from aurelian.local.connect_walk import (
    NewSource,
    Place,
    Talk,
    local_time_zone,
    plan_sources,
    settle_place,
)
from aurelian.local.terminal import give_up
from aurelian.model.plant_file import PlantError
from aurelian.model.source_model import SourceModel
from mqtt_gateway.connect.asking import settle_states
from mqtt_gateway.connect.composing import compose, free_name, is_known, name_of, sources_of
from mqtt_gateway.connect.propose import Proposals, ProposedSource, propose
from mqtt_gateway.connect.saying import show_proposals, show_tree
from mqtt_gateway.connect.topic_tree import tree_of
from mqtt_gateway.connect.walk import Walk
from mqtt_gateway.settings import MqttGatewaySettings

connect_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_TLS_PORT = 8883

Many = list[str] | None


@connect_app.command()
def connect(
    context: typer.Context,
    url: Annotated[
        str, typer.Argument(help="mqtt://, mqtts://, ws:// or wss://HOST[:PORT], or HOST[:PORT]")
    ],
    topic: Annotated[
        Many,
        typer.Option(
            "--topic",
            help="Listen to these topics only, say 'works/#'; more than once.",
            show_default="all that the broker lets us read",
        ),
    ] = None,
    sparkplug: Annotated[
        bool, typer.Option("--sparkplug", help="Sparkplug alone.", show_default="as heard")
    ] = False,
    group: Annotated[str, typer.Option(help="Of Sparkplug: this one.")] = "+",
    edge_node: Annotated[
        str, typer.Option("--edge-node", help="Of Sparkplug: this one alone.")
    ] = "+",
    name: Annotated[
        str, typer.Option("--name", help="Of the source.", show_default="the host")
    ] = "",
    user: Annotated[str, typer.Option(help="Sign in by this name.")] = "",
    password_file: Annotated[
        Path | None,
        typer.Option(help="File with the password.", show_default="asked for, and kept"),
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option(help="PEM file of who signed the broker's certificate.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="PEM file of the certificate that we show.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="PEM file of its key.")] = None,
    trust: Annotated[
        str, typer.Option("--trust", help="Trust the broker's certificate of this SHA-256.")
    ] = "",
    states: Annotated[
        Many,
        typer.Option(
            "--states",
            help="What a state signal's values mean: 'press/state=1:running,2:down', or a "
            "vocabulary's name.",
        ),
    ] = None,
    company: Annotated[str | None, typer.Option(help="Of a new plant file.")] = None,
    site: Annotated[
        str | None, typer.Option(help="Of a new plant file, or the file meant.")
    ] = None,
    time_zone: Annotated[str | None, typer.Option(help="Of a new plant file.")] = None,
    area: Annotated[str, typer.Option(help="Where its machines stand.")] = "hall",
    line: Annotated[str, typer.Option(help="Where its machines stand.")] = "line-1",
    seconds: Annotated[float, typer.Option(min=0.5, help="How long is listened.")] = 10.0,
    plant: Annotated[
        Path | None,
        typer.Option(
            "--plant", help="Folder of plant files.", show_default="that of the stack here"
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing, take what is proposed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line; asks nothing.")
    ] = False,
    home: Home = None,
) -> None:
    """Connect what an MQTT broker brings: what is in the way and how to mend it, who signs in, what
    is sent, what it means; writes the plant file that the running gateways take up."""
    talk = Talk(as_json=as_json, yes=yes)
    folder, status = home_folder(home), running_status(home)
    target = plant or own_plant(status, folder)
    place = Place(company, site, time_zone, area, line)
    try:
        known = sources_of(target)
    except PlantError as error:
        give_up(str(error), f"correct the file: aurelian plant check {target}", code=2)
    taken = [each.id for each in known]
    files = {"ca_file": ca_file, "certificate": certificate, "key": key}
    tls = {field: str(each.expanduser().absolute()) for field, each in files.items() if each}
    secrets = Secrets(folder)
    context.call_on_close(secrets.close)
    walk = Walk(
        talk,
        command_settings(MqttGatewaySettings, state=folder / "state" / "mqtt_gateway"),
        secrets,
        _base(_address(url, secure=bool(tls)), taken, name) | ({"tls": tls} if tls else {}),
        filters=() if _is_sparkplug(sparkplug, group, edge_node) else tuple(topic or ("#",)),
        group=group,
        edge_node=edge_node,
        trust=trust,
    )
    _sign_in(walk, user, password_file, yes=talk.yes)
    walk.climb()
    place, there = settle_place(target, place, talk)
    zones = [each for each in (place.time_zone, local_time_zone()) if each]
    heard = walk.look(seconds, zones)
    show_tree(talk, tree_of(heard))
    more = {"edge_node": edge_node} if edge_node != "+" else {}
    found = propose(heard, {**walk.base, **more}, f"{place.company}/{place.site}", zones)
    show_proposals(talk, found)
    chosen = _choose(talk, _new_ones(talk, found, known), found)
    said = settle_states(talk, chosen, states or ())
    made, left_out = compose(chosen, said, place, there, taken)
    for each in left_out:
        talk.say(f"left out: {each}")
    settled = [NewSource(secrets.settled(each.fields), each.units) for each in made]
    try:
        change = plan_sources(target, settled, place)
    except PlantError as error:
        fix = "say it otherwise: --company, --site, --time-zone, --area, --line, --states"
        give_up(str(error), fix, code=2)
    finish(talk, change, settled, secrets, status, folder, dry_run=dry_run)


def _address(url: str, *, secure: bool) -> str:
    """The url; of a host alone that of MQTT in the clear, unless its port or what else is said is
    of TLS."""
    if "://" in url:
        return url
    try:
        port = urlsplit(f"//{url}").port
    except ValueError:
        give_up(f"{url!r} is no address", "say HOST, HOST:PORT or mqtt://HOST:PORT", code=2)
    return f"{'mqtts' if secure or port == _TLS_PORT else 'mqtt'}://{url}"


def _base(url: str, taken: Iterable[str], name: str) -> dict[str, object]:
    """The id and the url of the source."""
    if name and name in taken:
        said = f"the plant files have a source {name!r} already"
        give_up(said, f"say another --name, say {free_name(name, taken)}", code=2)
    host = urlsplit(url).hostname or "broker"
    of_host = re.sub(r"[^A-Za-z0-9_.-]", "-", host).strip("-.")[:64] or "broker"
    return {"id": name or free_name(of_host, taken), "url": url}


def _is_sparkplug(said: bool, group: str, edge_node: str) -> bool:
    return said or group != "+" or edge_node != "+"


def _sign_in(walk: Walk, user: str, password_file: Path | None, *, yes: bool) -> None:
    if password_file is not None and not user:
        give_up("a password needs the name of its user", "say --user NAME too", code=2)
    if password_file is not None:
        file = str(password_file.expanduser().absolute())
        walk.base |= {"user": user, "password_file": file}
    elif user and yes:
        said = f"the password of {user} is nowhere, and there is nobody to ask"
        give_up(said, "say --password-file FILE", code=2)
    elif user and not walk.signs_in(user):
        raise typer.Exit(1)


def _new_ones(talk: Talk, found: Proposals, known: Sequence[SourceModel]) -> list[ProposedSource]:
    """Those that no plant file has; ends the process where there are none."""
    new = []
    for each in found.sources:
        if (there := is_known(each, known)) is None:
            new.append(each)
        else:
            talk.say(f"\n{name_of(each)}: the plant files have it already, as {there.id}")
    if new:
        return new
    if found.sources:
        give_up("nothing is new here", "other topics: --topic FILTER")
    give_up(
        "nothing can be proposed for what was heard",
        "other topics (--topic FILTER), or write the source by hand: the README of mqtt_gateway "
        "has payloads that need a description (protobuf, raw)",
    )


def _choose(
    talk: Talk, sources: Sequence[ProposedSource], found: Proposals
) -> list[ProposedSource]:
    """Which of several are taken."""
    if len(sources) < 2:
        return list(sources)
    numbers = {found.sources.index(each) + 1: each for each in sources}
    while True:
        asked = f"\nWhich of them ({', '.join(map(str, numbers))}, with commas)?"
        given = talk.ask(asked, "all")
        if given.casefold() == "all":
            return list(sources)
        wanted = [part for part in re.split(r"[,\s]+", given) if part]
        if wanted and all(part.isdigit() and int(part) in numbers for part in wanted):
            return [numbers[int(part)] for part in dict.fromkeys(wanted)]
        talk.say(f"numbers of {', '.join(map(str, numbers))}, or all")
