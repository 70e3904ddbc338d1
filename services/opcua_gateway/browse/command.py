"""The command `aurelian browse`: what an OPC UA server has, before it is a source; called by the
command line."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError

from aurelian.edge.trust_store import TrustStore
from aurelian.local.command_options import Home, home_folder
from aurelian.local.command_settings import command_settings
from aurelian.local.terminal import give_up, terminal
from aurelian.model.opcua_model import OpcuaSecurity
from aurelian.model.plant_file import PlantError, load_plants
from aurelian.model.source_model import SourceModel
from opcua_gateway.browse.discovery import Discovery, Selection, discover
from opcua_gateway.browse.listing import listed, summary
from opcua_gateway.browse.plant_snippet import write_plant
from opcua_gateway.browse.server_list import find_offers
from opcua_gateway.browse.walk import Bounds
from opcua_gateway.connection import opened
from opcua_gateway.security.endpoints import Endpoints
from opcua_gateway.security.policies import CertificateRefused, SignInRefused, Unacceptable
from opcua_gateway.session import SessionLost
from opcua_gateway.settings import OpcuaGatewaySettings

browse_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_SESSION_S = 60.0

Many = list[str] | None


@browse_app.command()
def browse(
    url: Annotated[
        str, typer.Argument(help="opc.tcp://HOST:PORT; may be left out with --plant-file.")
    ] = "",
    plant: Annotated[
        bool, typer.Option("--plant", help="Print a plant file with what was found.")
    ] = False,
    endpoints: Annotated[
        bool, typer.Option("--endpoints", help="List endpoints and known servers instead.")
    ] = False,
    include: Annotated[
        Many,
        typer.Option(
            "--filter",
            help="Only paths that have this in them; with * a pattern of the whole path.",
        ),
    ] = None,
    exclude: Annotated[
        Many, typer.Option("--exclude", help="As --filter: not these, and nothing below them.")
    ] = None,
    namespace: Annotated[
        Many, typer.Option("--namespace", help="Only node ids of this namespace URI.")
    ] = None,
    data_type: Annotated[
        Many, typer.Option("--type", help="Only variables of this data type, say Double.")
    ] = None,
    properties: Annotated[
        bool, typer.Option("--properties", help="Also what only describes others.")
    ] = False,
    values: Annotated[
        bool, typer.Option("--values", help="Read the current values and descriptions.")
    ] = False,
    most: Annotated[
        int, typer.Option("--max", min=1, help="Objects and variables that are looked at.")
    ] = 200_000,
    depth: Annotated[int, typer.Option(min=1, help="Levels below Objects.")] = 40,
    seconds: Annotated[float, typer.Option(min=1, help="End after this time.")] = 120.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line on standard output.")
    ] = False,
    plant_file: Annotated[
        Path | None,
        typer.Option("--plant-file", help="Connect as a source of this file or folder does."),
    ] = None,
    source: Annotated[
        str, typer.Option("--source", help="Its id; also the id of the source in --plant.")
    ] = "",
    user: Annotated[str, typer.Option(help="Sign in by this name.")] = "",
    password_file: Annotated[
        str, typer.Option(help="File with the password; else the variable AURELIAN_PASSWORD.")
    ] = "",
    policy: Annotated[str, typer.Option(help="best, a policy of part 7 by name, or None.")] = "",
    first_use: Annotated[
        bool, typer.Option("--trust-first-use", help="Accept the server's first certificate.")
    ] = False,
    pki: Annotated[
        Path | None,
        typer.Option(
            "--pki",
            help="The gateway's folder pki.",
            show_default="that of the stack on this machine",
            file_okay=False,
        ),
    ] = None,
    home: Home = None,
) -> None:
    """List the variables of an OPC UA server; nothing is subscribed to, nothing is changed."""
    # What goes wrong comes as an exception too, and is said once.
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)
    state = home_folder(home) / "state" / "opcua_gateway"
    settings = command_settings(OpcuaGatewaySettings, state=state)
    model = _model(url, plant_file, source, user, password_file, policy, first_use, settings)
    if endpoints:
        _list_endpoints(model.url, settings.opcua_timeout_s, as_json=as_json)
        return
    selection = Selection(
        tuple(include or ()),
        tuple(exclude or ()),
        tuple(namespace or ()),
        tuple(data_type or ()),
        properties,
    )
    bounds = Bounds(nodes=most, depth=depth, seconds=seconds)
    store = TrustStore(pki or state / "pki")
    try:
        found = asyncio.run(_discover(model, settings, store, selection, bounds, values=values))
    except Unacceptable as error:
        step = _step_after(error, store, of_plant=plant_file is not None)
        give_up(str(error), f"{step}then the same command again")
    except SessionLost as error:
        give_up(
            str(error),
            f"is the server on, and its port right? aurelian browse --endpoints {model.url}",
        )
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if not found.variables:
        _explain_nothing(found)
    try:
        lines = [write_plant(found, model)] if plant else listed(found, as_json=as_json)
        for line in lines:
            print(line, end="" if plant else "\n")
    except ValueError as error:
        give_up(str(error), "sign in as somebody who may read them: --user")
    except BrokenPipeError:
        os._exit(0)  # the reader (head, say) has enough
    for line in summary(found):
        terminal.print(line, markup=False)
    if not plant:
        terminal.print(
            "as a plant file: mkdir -p my-plant, then the same command with "
            "--plant > my-plant/site.yaml"
        )


async def _discover(
    model: SourceModel,
    settings: OpcuaGatewaySettings,
    store: TrustStore,
    selection: Selection,
    bounds: Bounds,
    *,
    values: bool,
) -> Discovery:
    endpoints = Endpoints(model, settings.opcua_insecure_hosts, store, settings.gateway)
    way = await endpoints.find_way(settings.opcua_timeout_s)
    async with opened(
        model.url,
        way,
        timeout_s=settings.opcua_timeout_s,
        session_timeout_s=_SESSION_S,
        name=f"aurelian browse {settings.gateway}",
        secret=None,
    ) as session:
        try:
            return await discover(session, selection, bounds, values=values)
        finally:
            with suppress(SessionLost):
                await session.close()


def _model(
    url: str,
    plant_file: Path | None,
    source: str,
    user: str,
    password_file: str,
    policy: str,
    first_use: bool,
    settings: OpcuaGatewaySettings,
) -> SourceModel:
    """The source that is looked at: one of a plant file, or what the options say."""
    try:
        if plant_file is not None:
            model = _of_plant(plant_file, source)
        elif not url:
            give_up("no server is named", "aurelian browse opc.tcp://HOST:4840", code=2)
        else:
            fields: dict[str, object] = {"id": source or "opcua", "kind": "opcua", "url": url}
            if user:
                fields["user"] = user
                if password_file:
                    fields["password_file"] = password_file
                elif "AURELIAN_PASSWORD" in os.environ:
                    fields["password_env"] = "AURELIAN_PASSWORD"
            security = {"policy": policy} if policy else {}
            if first_use:
                security["trust"] = "first_use"
            if security:
                fields["security"] = OpcuaSecurity.model_validate(security)
            model = SourceModel.model_validate(fields)
        if refused := model.refused_in_clear(settings.opcua_insecure_hosts):
            raise PlantError(refused)
    except ValidationError as error:
        said = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'source'}: "
            f"{each['msg'].removeprefix('Value error, ')}"
            for each in error.errors()
        )
        give_up(said, "aurelian browse --help", code=2)
    except PlantError as error:
        give_up(str(error), "correct that, or name the server by its address", code=2)
    return model


def _step_after(error: Unacceptable, store: TrustStore, *, of_plant: bool) -> str:
    """What a source says in the plant file is said here by options."""
    if isinstance(error, CertificateRefused):
        return f"{store.command('list')} shows the certificates; "
    if of_plant:
        return "correct the plant file, "
    if isinstance(error, SignInRefused):
        return "here: --user NAME --password-file FILE, or the variable AURELIAN_PASSWORD; "
    return "here: --policy best, or by name one that --endpoints shows; "


def _of_plant(path: Path, source: str) -> SourceModel:
    models = [each for plant in load_plants(path) for each in plant.sources if each.kind == "opcua"]
    chosen = [each for each in models if source in ("", each.id, each.key)]
    if len(chosen) != 1:
        known = ", ".join(each.key for each in models) or "none"
        raise PlantError(f"{path}: --source must name one of its OPC UA sources: {known}")
    return chosen[0]


def _list_endpoints(url: str, timeout_s: float, *, as_json: bool) -> None:
    try:
        offers = asyncio.run(find_offers(url, timeout_s))
    except SessionLost as error:
        give_up(str(error), "is the server on, and its port right?")
    for each in offers:
        row = {name: getattr(each, name) for name in each.__slots__}
        if as_json:
            print(json.dumps(row, ensure_ascii=False))
        else:
            security = f"{each.policy}\t{each.mode}" if each.policy else "another server\t-"
            print(
                f"{each.url}\t{security}\t{', '.join(each.tokens) or '-'}\t"
                f"{each.application_uri}\t{each.sha256[:16] or '-'}"
            )
    for each in offers:
        if each.url != each.advertised:
            terminal.print(
                f"{each.advertised} does not answer from here: use {each.url}", markup=False
            )


def _explain_nothing(found: Discovery) -> NoReturn:
    for line in summary(found):
        terminal.print(line, markup=False)
    if found.cut:
        give_up(
            f"nothing was found before the end: {found.cut}",
            "the same command with a larger bound: --max, --depth or --seconds",
        )
    if found.seen == 0:
        give_up(
            f"the server shows no variable, and {found.objects} objects",
            "sign in as somebody who may see them: --user NAME --password-file FILE",
        )
    give_up(
        f"none of its {found.seen} variables is what the options ask for",
        "leave out --filter, --namespace or --type; aurelian browse --json shows all fields",
    )
