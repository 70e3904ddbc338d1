"""The command `aurelian connect opcua URL`: from an address to live values, with a person or
without; called by the command line."""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from aurelian.edge.certificates import read_certificates, shown
from aurelian.edge.control.connector import KnownSource
from aurelian.edge.control.planning import at_site
from aurelian.edge.globs import PatternError
from aurelian.edge.ladder import Rung, Step
from aurelian.edge.trust_store import TrustStore
from aurelian.local.command_options import Home, home_folder, running_status
from aurelian.local.command_settings import command_settings
from aurelian.local.connect_end import finish, own_plant
from aurelian.local.connect_secrets import Secrets
from aurelian.local.connect_walk import (
    NewSource,
    Place,
    Talk,
    checked_source,
    local_time_zone,
    plan_sources,
    settle_place,
)
from aurelian.local.terminal import give_up
from aurelian.model.opcua_model import OpcuaSecurity
from aurelian.model.plant_file import PlantError, parse_plant, plant_files
from aurelian.model.source_model import SourceModel
from opcua_gateway.browse.discovery import Discovery
from opcua_gateway.connect import preview as previews
from opcua_gateway.connect.found import settle_states, show_found
from opcua_gateway.connect.ladder import climb
from opcua_gateway.connect.looking import NothingChosen, look_into, units_of
from opcua_gateway.connect.proposals import propose_signals
from opcua_gateway.connect.there import There, what_is_there
from opcua_gateway.session import SessionLost
from opcua_gateway.settings import OpcuaGatewaySettings

connect_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_UNKNOWN_CERTIFICATE = ("E1401", "E1402")
_SPEAKS_SECURED_ONLY = "E1308"
_FOR_ANOTHER_HOST = "E1404"
_REFUSES_OURS = ("E1411", "E1412")
_LEAST_DIGITS = 16

Many = list[str] | None


@connect_app.command()
def connect(
    context: typer.Context,
    url: Annotated[str, typer.Argument(help="opc.tcp://HOST:PORT")],
    choose: Annotated[
        Many,
        typer.Option(
            "--choose", help="Only variables of this path, say 'Line1/**/Temp*'; more than once."
        ),
    ] = None,
    leave_out: Annotated[Many, typer.Option("--leave-out", help="As --choose: not these.")] = None,
    name: Annotated[
        str, typer.Option("--name", help="Of the source.", show_default="the host")
    ] = "",
    user: Annotated[str, typer.Option(help="Sign in by this name.")] = "",
    password_file: Annotated[
        str, typer.Option(help="File with the password.", show_default="asked for, and kept")
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
            "--plant",
            help="Folder of plant files.",
            show_default="that of the stack on this machine",
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
    # What goes wrong comes as an exception too, and is said once.
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)
    talk = Talk(as_json=as_json, yes=yes)
    folder, status = home_folder(home), running_status(home)
    state = folder / "state" / "opcua_gateway"
    settings = command_settings(OpcuaGatewaySettings, state=state)
    secrets = Secrets(folder)
    context.call_on_close(secrets.close)
    walk = _Walk(talk, settings, TrustStore(state / "pki"), secrets, trust)
    walk.model = _model(url, name, user, password_file, policy)
    walk.climb()
    found, seen = walk.look(tuple(choose or ()), tuple(leave_out or ()), seconds)
    target = plant or own_plant(status, folder)
    there = _there(talk, found, walk.model, target)
    proposals = propose_signals(found, seen)
    show_found(talk, found, seen, proposals)
    # Of what is there nobody is asked again.
    new = {
        node: each
        for node, each in proposals.items()
        if not there.is_left_out(node, is_chosen=bool(choose))
    }
    proposals |= settle_states(talk, new, states or ())
    try:
        made = units_of(found, walk.model, proposals)
        made = there.without(made, is_chosen=bool(choose))
        units = [(area, line, each) for each in made]
    except ValueError as error:
        give_up(str(error), "choose others with --choose")
    if not units:
        give_up(
            f"nothing is new here: {there.key} has it already",
            "say --choose for further signals of it",
        )
    fields = secrets.settled(walk.model.model_dump(mode="json", exclude_unset=True))
    try:
        place, _ = settle_place(target, Place(company, site, time_zone, area, line), talk)
        # Who names a source wants one, also at a server that is known.
        source = NewSource(fields, units, "" if name else there.key)
        source = at_site(source, f"{place.company}/{place.site}")
        change = plan_sources(target, [source], place)
    except PlantError as error:
        fix = f"another --name or --site, or correct the file: aurelian plant check {target}"
        give_up(str(error), fix, code=2)
    finish(talk, change, [source], secrets, status, folder, dry_run=dry_run)


def _there(talk: Talk, found: Discovery, model: SourceModel, folder: Path) -> There:
    """What the plant files have of the server already, which is told."""
    try:
        files = [parse_plant(each, each.read_bytes()) for each in plant_files(folder)]
    except PlantError as error:
        give_up(str(error), f"correct the file: aurelian plant check {folder}", code=2)
    there = what_is_there(found, model, KnownSource.of(files))
    for name, path in there.units.items():
        talk.say(f"  {name}: connected already as {path}")
        talk.tell({"known": name, "as": path})
    return there


class _Walk:
    """The part of it that speaks with the server."""

    model: SourceModel

    def __init__(
        self,
        talk: Talk,
        settings: OpcuaGatewaySettings,
        store: TrustStore,
        secrets: Secrets,
        trust: str,
    ) -> None:
        self._talk, self._settings, self._store = talk, settings, store
        self._secrets, self._trust = secrets, trust
        self._shown: set[tuple[Rung, str]] = set()

    def climb(self) -> None:
        """Climb the ladder until it is climbed, mending what a person can mend from here."""
        while (failed := asyncio.run(self._climb_once())) is not None:
            if failed.code == _SPEAKS_SECURED_ONLY and self.model.security is None:
                # A server on this machine is spoken to in the clear where nothing else is said.
                self._talk.say("  the server wants a secured connection, so with security:")
                self.model = self.model.model_copy(
                    update={"security": OpcuaSecurity(policy="best")}
                )
            elif not self._is_mended(failed):
                self._talk.step(failed)
                self._talk.say("\nMend that, then the same command again.")
                raise typer.Exit(1)

    def _is_mended(self, failed: Step) -> bool:
        """Whether what is in the way is out of it by now; what it is was not shown yet."""
        if failed.code in _UNKNOWN_CERTIFICATE:
            return self._trusts(failed)
        if failed.code == _FOR_ANOTHER_HOST:
            return self._takes_its_name(failed)
        if failed.code in _REFUSES_OURS:
            self._talk.step(failed)
            self._show_fingerprints(failed, "own")
            return self._talk.confirm("Is it trusted there now? Try again", default=False)
        return failed.rung is Rung.SIGN_IN and self._signs_in(failed)

    async def _climb_once(self) -> Step | None:
        """Show what is new of the way up; the step that failed, which is not shown."""
        async for step in climb(self.model, self._settings, self._store, zones=[local_time_zone()]):
            if step.ends:
                return step
            if (step.rung, step.said) not in self._shown:
                self._shown.add((step.rung, step.said))
                self._talk.step(step)
        return None

    def _trusts(self, step: Step) -> bool:
        """Trust the server's certificate where somebody has compared it."""
        theirs = step.facts.get("server_sha256", "")
        listed = [each for each in self._store.listed("rejected") if each.sha256 == theirs]
        if not listed:
            return False
        if self._trust:
            if not self._is_named(theirs):
                self._talk.say(f"--trust is not the server's certificate {shown(theirs)}")
                return False
        else:
            self._talk.say(f"  {step.said}")
            self._talk.say(f"  the server's certificate: {step.facts.get('server_subject', '')}")
            self._show_fingerprints(step, "server")
            self._talk.say("  ours, for its list:")
            self._show_fingerprints(step, "own")
            if not self._talk.confirm(
                "Is that what the server itself shows? Trust it", default=False
            ):
                return False
        for each in read_certificates(listed[0].path):
            self._store.trust(each)
        self._talk.say("  trusted")
        return True

    def _show_fingerprints(self, step: Step, whose: str) -> None:
        """Both, whole: servers show the one or the other, seldom with its name."""
        for kind, name in (("sha256", "SHA-256"), ("sha1", "SHA-1")):
            if digits := step.facts.get(f"{whose}_{kind}", ""):
                self._talk.say(f"    {name:<7}  {digits}")

    def _is_named(self, sha256: str) -> bool:
        """Whether `--trust` is this certificate, for this address."""
        wanted = re.sub(r"[^0-9A-Fa-f]", "", self._trust).upper()
        return len(wanted) >= _LEAST_DIGITS and sha256.startswith(wanted)

    def _takes_its_name(self, step: Step) -> bool:
        """Go on with a certificate that names another host, where somebody says so: it was compared
        by its fingerprint."""
        security = self.model.security or OpcuaSecurity()
        if "host_name" in security.waive:
            return False
        if not self._is_named(step.facts.get("server_sha256", "")):
            if self._talk.yes:
                return False
            self._talk.say(f"  {step.said}")
            question = "Its fingerprint was compared. Take it under this address too"
            if not self._talk.confirm(question, default=False):
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
        self._talk.say(f"  {step.said}")
        name = self._talk.ask("User at the server (Enter: stop here)", self.model.user)
        if not name:
            return False
        file = self._secrets.hold(self.model.id, self._talk.ask_secret("Password"))
        fields = self.model.model_dump(exclude_unset=True, exclude={"password_env"})
        fields |= {"user": name, "password_file": file}
        self.model = SourceModel.model_validate(fields)
        return True

    def look(
        self, include: tuple[str, ...], exclude: tuple[str, ...], seconds: float
    ) -> tuple[Discovery, dict[str, previews.Seen]]:
        """What the server has of what is wanted, and what came of it in some seconds."""
        self._talk.say("")
        looking = look_into(
            self.model, self._settings, self._store, include, exclude, seconds, self._talk.say
        )
        try:
            looked = asyncio.run(looking)
            return looked.found, looked.seen
        except NothingChosen as error:
            give_up(str(error), "another --choose; aurelian browse lists them")
        except PatternError as error:
            give_up(str(error), "say a pattern such as 'Line1/**/Temp*'", code=2)
        except SessionLost as error:
            give_up(str(error), "the same command again")


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
    return checked_source(fields, "aurelian connect opcua --help")
