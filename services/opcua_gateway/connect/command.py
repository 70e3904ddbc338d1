"""The command `aurelian connect opcua URL`: from an address to live values, with a person or
without; called by the command line."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
from pydantic import ValidationError

from aurelian.edge.certificates import read_certificates, shown
from aurelian.edge.globs import PatternError
from aurelian.edge.ladder import Rung, Step, whole
from aurelian.edge.proposals.proposal import Proposal
from aurelian.edge.proposals.state_words import Answer, learn
from aurelian.edge.trust_store import TrustStore
from aurelian.local.command_options import Home, home_folder, running_status
from aurelian.local.connect_walk import (
    Place,
    Talk,
    await_live,
    local_time_zone,
    plan_change,
    write_change,
)
from aurelian.local.services import page_links
from aurelian.local.terminal import give_up, terminal
from aurelian.model.opcua_model import OpcuaSecurity
from aurelian.model.plant_file import PlantError, read_plant
from aurelian.model.plant_parts import Role
from aurelian.model.sample import ValueType
from aurelian.model.source_model import SourceModel
from opcua_gateway.browse.discovery import Discovery, Selection, discover
from opcua_gateway.browse.plant_snippet import write_plant
from opcua_gateway.browse.walk import Bounds, Node
from opcua_gateway.connect import preview as previews
from opcua_gateway.connect.ladder import climb
from opcua_gateway.connect.proposals import propose_signals
from opcua_gateway.connect.watching import looked_into
from opcua_gateway.security.endpoints import Endpoints
from opcua_gateway.session import SessionLost
from opcua_gateway.settings import OpcuaGatewaySettings

connect_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_UNKNOWN_CERTIFICATE = ("E1401", "E1402")
_SPEAKS_SECURED_ONLY = "E1308"
_FOR_ANOTHER_HOST = "E1404"
_LIVE_S = 90.0
_SHOWN_ROWS = 30

Many = list[str] | None


@connect_app.command()
def connect(
    url: Annotated[str, typer.Argument(help="opc.tcp://HOST:PORT")],
    choose: Annotated[
        Many,
        typer.Option(
            "--choose", help="Only variables of this path, say 'Line1/**/Temp*'; more than once."
        ),
    ] = None,
    leave_out: Annotated[Many, typer.Option("--leave-out", help="As --choose: not these.")] = None,
    name: Annotated[str, typer.Option("--name", help="Of the source. [default: the host]")] = "",
    user: Annotated[str, typer.Option(help="Sign in by this name.")] = "",
    password_file: Annotated[
        str, typer.Option(help="File with the password. [default: asked for, and kept]")
    ] = "",
    policy: Annotated[str, typer.Option(help="best, a policy of part 7 by name, or None.")] = "",
    trust: Annotated[
        str, typer.Option("--trust", help="Trust the server's certificate of this fingerprint.")
    ] = "",
    states: Annotated[
        Many,
        typer.Option(
            "--states", help="What a state signal's values mean: 'PATH=1:running,2:down'."
        ),
    ] = None,
    company: Annotated[str | None, typer.Option(help="Of a new plant file.")] = None,
    site: Annotated[
        str | None, typer.Option(help="Of a new plant file, or the file meant.")
    ] = None,
    time_zone: Annotated[str | None, typer.Option(help="Of a new plant file.")] = None,
    area: Annotated[str, typer.Option(help="Where its machines stand.")] = "hall",
    line: Annotated[str, typer.Option(help="Where its machines stand.")] = "line-1",
    seconds: Annotated[float, typer.Option(min=1, help="How long values are watched.")] = 6.0,
    plant: Annotated[
        Path | None,
        typer.Option(
            "--plant", help="Folder of plant files. [default: that of the stack on this machine]"
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing, take what is proposed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line; asks nothing.")
    ] = False,
    home: Home = None,
) -> None:
    """Connect an OPC UA server: what is in the way and how to mend it, trust, what it has, what it
    means; writes the plant file that the running gateways take up."""
    talk = Talk(as_json=as_json, yes=yes)
    folder, status = home_folder(home), running_status(home)
    state = folder / "state" / "opcua_gateway"
    settings = OpcuaGatewaySettings(state=state)
    walk = _Walk(talk, settings, TrustStore(state / "pki"), folder, trust)
    walk.model = _model(url, name, user, password_file, policy)
    walk.climb()
    found, seen = walk.look(tuple(choose or ()), tuple(leave_out or ()), seconds)
    proposals = propose_signals(found, seen)
    _show(talk, found, seen, proposals)
    proposals = _settle_states(talk, proposals, states or ())
    units = _units(found, walk.model, proposals)
    own = status.get("own_plant") if status is not None else None
    target = plant or Path(str(own or folder / "plant"))
    source = walk.model.model_dump(mode="json", exclude_unset=True)
    try:
        change = plan_change(
            target, source, units, Place(company, site, time_zone, area, line), talk
        )
    except PlantError as error:
        give_up(str(error), f"correct the file: aurelian plant check {target}", code=2)
    talk.say(f"\n{change.path} {'is new' if change.before is None else 'changes'}:")
    for each in change.lines():
        talk.say(f"  {each}")
    talk.tell({"plant_file": str(change.path), "text": change.after.decode()})
    if dry_run or not talk.confirm("Write it?", default=True):
        talk.say("nothing is written")
        raise typer.Exit(0)
    write_change(change)
    key = f"{change.plant.path}/{walk.model.id}"
    talk.tell({"written": str(change.path), "source": key})
    if status is None or plant is not None:
        talk.say(f"written. Nothing runs on {folder} that would take it up: make run")
        return
    talk.say(f"written; the gateway takes it up. Waiting for {key}")
    if not await_live(status, key, _LIVE_S, talk):
        give_up(f"{key} is not live after {_LIVE_S:.0f} s", "aurelian doctor")
    talk.tell({"live": key})
    talk.say(f"{key} is live.")
    for of, link in page_links(folder, str(status["url"])):
        if of == change.plant.company.id:
            talk.say(f"Its pages: {link}")


class _Walk:
    """The part of it that speaks with the server."""

    model: SourceModel

    def __init__(
        self, talk: Talk, settings: OpcuaGatewaySettings, store: TrustStore, home: Path, trust: str
    ) -> None:
        self._talk, self._settings, self._store = talk, settings, store
        self._home, self._trust = home, trust

    def climb(self) -> None:
        """Climb the ladder until it is climbed, mending what a person can mend from here."""
        while (failed := asyncio.run(self._climb_once())) is not None:
            if failed.code == _SPEAKS_SECURED_ONLY and self.model.security is None:
                # A server on this machine is spoken to in the clear where nothing else is said.
                self._talk.say("\nwith security, then:")
                self.model = self.model.model_copy(
                    update={"security": OpcuaSecurity(policy="best")}
                )
                continue
            if failed.code in _UNKNOWN_CERTIFICATE and self._trusts(failed):
                continue
            if failed.code == _FOR_ANOTHER_HOST and self._takes_its_name():
                continue
            if failed.rung is Rung.SIGN_IN and self._signs_in(failed):
                continue
            self._talk.say("\nMend that, then the same command again.")
            raise typer.Exit(1)

    async def _climb_once(self) -> Step | None:
        failed = None
        steps = climb(self.model, self._settings, self._store, zones=[local_time_zone()])
        async for step in whole(steps):
            self._talk.step(step)
            failed = step if step.ends else failed
        return failed

    def _trusts(self, step: Step) -> bool:
        """Trust the server's certificate where somebody has compared it."""
        theirs = step.facts.get("server_sha256", "")
        listed = [each for each in self._store.listed("rejected") if each.sha256 == theirs]
        if not listed:
            return False
        wanted = re.sub(r"[^0-9A-Fa-f]", "", self._trust).upper()
        if wanted:
            if not theirs.startswith(wanted) or len(wanted) < 16:
                given = shown(wanted)
                self._talk.say(f"--trust {given} is not the server's certificate {shown(theirs)}")
                return False
            self._trust = ""
        else:
            self._talk.say(f"  the server's certificate: {shown(theirs)}")
            self._talk.say(f"    {step.facts.get('server_subject', '')}")
            self._talk.say(f"  ours, for its list:       {shown(step.facts.get('own_sha256', ''))}")
            if not self._talk.confirm(
                "Is that what the server itself shows? Trust it", default=False
            ):
                return False
        for each in read_certificates(listed[0].path):
            self._store.trust(each)
        self._talk.say("  trusted\n")
        return True

    def _takes_its_name(self) -> bool:
        """Go on with a certificate that names another host, where somebody says so: it was compared
        by its fingerprint."""
        security = self.model.security or OpcuaSecurity()
        if "host_name" in security.waive:
            return False
        if not self._talk.confirm(
            "You have compared its fingerprint. Take it under this address too", default=False
        ):
            return False
        waive = (*security.waive, "host_name")
        security = OpcuaSecurity.model_validate(
            {**security.model_dump(exclude_unset=True), "waive": waive}
        )
        self.model = self.model.model_copy(update={"security": security})
        return True

    def _signs_in(self, step: Step) -> bool:
        """Ask for a user, where somebody is there to be asked."""
        if self._talk.yes:
            return False
        name = self._talk.ask("User at the server (Enter: stop here)", self.model.user)
        if not name:
            return False
        secret = self._talk.ask_secret("Password")
        file = self._home / "secrets" / self.model.id
        _write_secret(file, secret)
        self.model = _model(self.model.url, self.model.id, name, str(file), _policy_of(self.model))
        return True

    def look(
        self, include: tuple[str, ...], exclude: tuple[str, ...], seconds: float
    ) -> tuple[Discovery, dict[str, previews.Seen]]:
        """What the server has of what is wanted, and what came of it in some seconds."""
        try:
            return asyncio.run(self._look(include, exclude, seconds))
        except PatternError as error:
            give_up(str(error), "say a pattern such as 'Line1/**/Temp*'", code=2)
        except SessionLost as error:
            give_up(str(error), "the same command again")

    async def _look(
        self, include: tuple[str, ...], exclude: tuple[str, ...], seconds: float
    ) -> tuple[Discovery, dict[str, previews.Seen]]:
        endpoints = Endpoints(
            self.model, self._settings.opcua_insecure_hosts, self._store, self._settings.gateway
        )
        way = await endpoints.find_way(self._settings.opcua_timeout_s)
        async with looked_into(self.model, way, self._settings) as session:
            self._talk.say("\nlooking through the server …")
            found = await discover(session, Selection(), Bounds(), values=True)
            chosen = previews.choose(found.variables, found.namespaces, include, exclude)
            if not chosen:
                among = f"none of its {found.seen} variables is chosen"
                give_up(among, "another --choose; aurelian browse lists them")
            found.variables = chosen
            rows = previews.previewed(chosen, found.namespaces)
            self._talk.say(f"{len(chosen)} variables; watching for {seconds:g} s …")
            seen: dict[str, previews.Seen] = {}
            watched = previews.preview(session, self.model, rows, self._settings, seconds)
            async for by_now in watched:
                seen = {each.node.path: each for each in by_now}
        return found, seen


def _show(
    talk: Talk,
    found: Discovery,
    seen: Mapping[str, previews.Seen],
    proposals: Mapping[Node, Proposal],
) -> None:
    for number, variable in enumerate(found.variables):
        node, row = variable.node, seen.get(variable.node.path)
        proposal = proposals.get(node, Proposal())
        talk.tell(
            {
                "variable": node.path,
                "value": row.value if row else None,
                "quality": row.quality if row else "none",
                "role": proposal.role.value,
                "unit": proposal.unit,
                "states": proposal.states,
                "sureness": proposal.sureness.value,
                "why": proposal.why,
            }
        )
        if number == _SHOWN_ROWS:
            talk.say(f"  … and {len(found.variables) - number} more")
        if number >= _SHOWN_ROWS:
            continue
        value = "" if row is None or row.value is None else str(row.value)[:24]
        quality = "" if row is None or row.quality == "good" else f"  [{row.quality}]"
        talk.say(f"  {node.path}  =  {value} {proposal.unit}{quality}")
        if proposal.role is not Role.OTHER:
            why = "; ".join(proposal.why)
            talk.say(f"      {proposal.role.value}, {proposal.sureness.value}: {why}")


def _settle_states(
    talk: Talk, proposals: Mapping[Node, Proposal], said: Sequence[str]
) -> dict[Node, Proposal]:
    """The proposals, with what people say of state signals that nobody knows."""
    by_path = {}
    for each in said:
        path, _, pairs = each.rpartition("=")
        by_path[path] = {
            key.strip(): state.strip()
            for key, _, state in (pair.partition(":") for pair in pairs.split(","))
        }
    settled = dict(proposals)
    for node, proposal in proposals.items():
        given = by_path.pop(node.path, None)
        if given is not None:
            settled[node] = replace(proposal, role=Role.STATE, states=given, question=None)  # type: ignore[arg-type]
            continue
        answer: Answer | None = None
        if proposal.question is not None and proposal.is_written:
            answer = talk.ask_state(proposal.question)
        if answer is not None:
            before = proposal.states if isinstance(proposal.states, dict) else None
            settled[node] = replace(proposal, states=learn([answer], before).states, question=None)
    if by_path:
        known = ", ".join(node.path for node in list(proposals)[:8])
        give_up(f"--states: nothing is at {', '.join(by_path)}", f"there is {known} …", code=2)
    return settled


def _units(
    found: Discovery, model: SourceModel, proposals: Mapping[Node, Proposal]
) -> list[dict[str, object]]:
    """Units with their signals as a plant file has them."""
    try:
        text = write_plant(found, model, proposals)
        plant = read_plant(text.encode(), "proposal").plant
    except ValueError as error:
        give_up(str(error), "choose others with --choose")
    made = []
    for unit in plant.units():
        fields = unit.model.model_dump(mode="json", exclude_unset=True)
        for signal, each in zip(fields["signals"], unit.model.signals, strict=True):
            if "type" in signal:
                signal["type"] = ValueType(each.type).name.lower()
        made.append(fields)
    return made


def _model(url: str, name: str, user: str, password_file: str, policy: str) -> SourceModel:
    if "://" not in url:
        url = f"opc.tcp://{url}"
    host = urlsplit(url).hostname or "server"
    fields: dict[str, object] = {
        "id": name or re.sub(r"[^A-Za-z0-9_.-]", "-", host).strip("-.") or "server",
        "kind": "opcua",
        "url": url,
    }
    if user:
        fields |= {"user": user, "password_file": password_file}
        if not password_file:
            fields = {**fields, "password_env": "AURELIAN_PASSWORD"}
            del fields["password_file"]
    if policy:
        fields["security"] = {"policy": policy}
    try:
        return SourceModel.model_validate(fields)
    except ValidationError as error:
        said = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'source'}: "
            f"{each['msg'].removeprefix('Value error, ')}"
            for each in error.errors()
        )
        give_up(said, "aurelian connect opcua --help", code=2)


def _policy_of(model: SourceModel) -> str:
    return model.security.policy if model.security is not None else ""


def _write_secret(path: Path, secret: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(FileNotFoundError):
        path.unlink()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(secret)
    terminal.print(f"  the password is kept in {path}, readable by you alone", markup=False)
