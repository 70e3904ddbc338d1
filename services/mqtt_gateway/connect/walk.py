"""The part of `aurelian connect mqtt` that speaks with the broker: the ladder with what a person
can mend from here, and listening. Called by command.py."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import NoReturn, cast

import typer

from aurelian.edge.ladder import Rung, Step
from aurelian.edge.passwords import PasswordError
from aurelian.local.connect_secrets import Secrets
from aurelian.local.connect_walk import Talk, checked_source
from aurelian.local.terminal import give_up
from aurelian.model.source_model import SourceModel, is_secure
from mqtt_gateway.connect.arriving import Heard, listed
from mqtt_gateway.connect.causes import passed
from mqtt_gateway.connect.formats import mixture_of
from mqtt_gateway.connect.ladder import climb
from mqtt_gateway.connect.listening import mixed_step
from mqtt_gateway.connect.look import look
from mqtt_gateway.connect.sightings import Sightings
from mqtt_gateway.opening import ConnectionLost
from mqtt_gateway.settings import MqttGatewaySettings
from mqtt_gateway.sparkplug.messages import PREFIX

_OTHER_WAY = ("E1351", "E1352", "E1353", "E1359", "E1360")
_TO_THE_CLEAR = "E1352"
_UNKNOWN_CERTIFICATE = ("E1451", "E1452")
_OTHER_NAME = "E1455"
_WRONG_SIGN_IN = ("E1552", "E1553", "E1556", "E1558")
_WRONG_FILTER = ("E1651", "E1652", "E1655")
_COMMAND = re.compile(rf"{re.escape(PREFIX)}/[^/]*/[ND]CMD/")
_LEAST_DIGITS = 16
"""Of a fingerprint that is given by its beginning: eight bytes."""

_HERE: Mapping[str, str] = {
    **dict.fromkeys(_UNKNOWN_CERTIFICATE, "--trust FINGERPRINT, or --ca-file FILE"),
    **dict.fromkeys(_WRONG_SIGN_IN, "--user NAME --password-file FILE"),
    **dict.fromkeys(("E1461", "E1462"), "--certificate FILE --key FILE"),
    **dict.fromkeys((*_WRONG_FILTER, "E1752", "E1753"), "--topic FILTER"),
}
"""What says it to this command, where the step says it for a plant file."""


class Walk:
    """What is known of the source by now. `base`: its id, its address, how to sign in; `filters`:
    what to listen to; empty: Sparkplug alone, of `group` and `edge_node`."""

    def __init__(
        self,
        talk: Talk,
        settings: MqttGatewaySettings,
        secrets: Secrets,
        base: Mapping[str, object],
        *,
        filters: Sequence[str],
        group: str = "+",
        edge_node: str = "+",
        trust: str = "",
    ) -> None:
        self._talk, self._settings, self._secrets = talk, settings, secrets
        self.base, self.filters = dict(base), tuple(filters)
        self._group, self._edge_node = group, edge_node
        self._trust = re.sub(r"[^0-9A-Fa-f]", "", trust).upper()
        self._compared, self._urls = "", {str(base["url"])}
        self._shown: set[tuple[Rung, str]] = set()

    @property
    def model(self) -> SourceModel:
        """As the source is connected for a look; ends the process where it could not be."""
        if not self.filters:
            return self._sparkplug
        topics = [{"topic": each} for each in self.filters]
        return checked({**self.base, "kind": "mqtt", "topics": topics})

    @property
    def _sparkplug(self) -> SourceModel:
        of = {"kind": "sparkplug", "group": self._group, "edge_node": self._edge_node}
        return checked({**self.base, **of})

    @property
    def _sparkplug_filter(self) -> str:
        if self._edge_node == "+":
            return f"{PREFIX}/{self._group}/#"
        return f"{PREFIX}/{self._group}/+/{self._edge_node}/#"

    def climb(self) -> None:
        """Climb up to the subscription until that is reached, mending what a person can mend from
        here; ends the process where nobody can."""
        while (failed := asyncio.run(self._climb())) is not None:
            if not self._mends(failed):
                self._talk.step(failed)
                self._stop(failed)

    def _stop(self, failed: Step) -> NoReturn:
        here = f", here with {_HERE[failed.code]}" if failed.code in _HERE else ""
        self._talk.say(f"\nMend that, then the same command again{here}.")
        raise typer.Exit(1)

    async def _climb(self) -> Step | None:
        """Show what is new of the way up; the step that failed, which is not shown."""
        steps = cast(AsyncGenerator[Step, None], climb(self.model, self._settings))
        async with aclosing(steps):
            async for step in steps:
                if step.ends:
                    return step
                if (step.rung, step.said) not in self._shown:
                    self._shown.add((step.rung, step.said))
                    self._talk.step(step)
                if step.rung is Rung.SUBSCRIBE:
                    break  # what comes is looked at without a topic of its own
        return None

    async def _values(
        self, model: SourceModel, seconds: float, zones: Sequence[str]
    ) -> Step | None:
        """Climb the rungs of values and clock; the step that failed."""
        failed = None
        steps = climb(model, self._settings, listen_s=seconds, zones=zones)
        async for step in steps:
            if step.ends or step.rung in (Rung.VALUES, Rung.CLOCK):
                self._talk.step(step)
                failed = step if step.ends else None
        return failed

    def look(self, seconds: float, zones: Sequence[str]) -> Sightings:
        """What comes in some seconds; ends the process where nothing does."""
        try:
            return asyncio.run(self._look(seconds, zones))
        except (ConnectionLost, PasswordError, OSError, ValueError) as error:
            give_up(str(error) or type(error).__name__, "the same command again")

    async def _look(self, seconds: float, zones: Sequence[str]) -> Sightings:
        talk = self._talk
        if not self.filters:
            if failed := await self._values(self._sparkplug, seconds, zones):
                self._stop(failed)
            return await self._heard(self._sparkplug, (self._sparkplug_filter,), seconds)
        talk.say(f"\nlistening to {', '.join(self.filters)} for {seconds:g} s …")
        found = await self._heard(self.model, self.filters, seconds)
        own = [each for each in found.topics if not each.startswith(f"{PREFIX}/STATE/")]
        if not own:
            if failed := await self._values(self.model, 1.0, zones):
                self._stop(failed)
            give_up("it comes seldom: something came just now", "the same with more --seconds")
        said = f"{found.messages} messages came of {listed(own)}"
        facts = {"messages": str(found.messages), "topics": str(len(own))}
        talk.step(_mixed(found, seconds, facts) or passed(Rung.VALUES, said, seconds, facts))
        if found.left_out:
            said = f"more than {len(found.topics)} topics: {found.left_out} messages are left out"
            talk.say(f"  {said}; name fewer with --topic")
        if any(each.startswith(f"{PREFIX}/") for each in own):
            await self._hear_sparkplug(found, seconds, zones)
        return found

    async def _hear_sparkplug(self, found: Sightings, seconds: float, zones: Sequence[str]) -> None:
        """Ask edge nodes for their births, as a host does, and take them to what was heard."""
        self._talk.say("\nthere is Sparkplug: its edge nodes are asked for their births …")
        if await self._values(self._sparkplug, seconds, zones):
            self._talk.say("  so nothing of Sparkplug is proposed; other topics are")
            return
        more = await self._heard(self._sparkplug, (self._sparkplug_filter,), min(seconds, 5.0))
        found.machines |= more.machines
        found.topics |= more.topics

    async def _heard(self, model: SourceModel, filters: Sequence[str], seconds: float) -> Sightings:
        heard = Sightings()
        async for by_now in look(model, self._settings, filters, seconds):
            heard = by_now
        for each in [each for each in heard.topics if _COMMAND.match(each)]:
            del heard.topics[each]  # what hosts say, we among them
        return heard

    def _mends(self, step: Step) -> bool:
        """Whether what is in the way is out of it by now; what it is was not shown yet."""
        if step.code in _OTHER_WAY:
            return self._goes_another_way(step)
        if step.code in _UNKNOWN_CERTIFICATE:
            return self._trusts(step)
        if step.code == _OTHER_NAME:
            return self._takes_name(step)
        if step.code in _WRONG_SIGN_IN:
            return self.signs_in(said=step.said)
        return step.code in _WRONG_FILTER and self._reads_less(step)

    def _goes_another_way(self, step: Step) -> bool:
        url = step.facts.get("url", "")
        default = step.code != _TO_THE_CLEAR
        if not url or url in self._urls:
            return False
        self._talk.say(f"  {step.said}")
        if not self._talk.confirm(f"Take {url}", default=default):
            return False
        self._urls.add(url)
        self.base["url"] = url
        if not is_secure(url):
            self.base.pop("tls", None)
        self._talk.say(f"  {url} is taken")
        return True

    def _trusts(self, step: Step) -> bool:
        """Keep the broker's certificate where somebody has compared it."""
        shown = step.facts.get("sha256", "")
        theirs = shown.replace(":", "")
        if not theirs or self._compared == theirs:
            return False
        if self._trust:
            if len(self._trust) < _LEAST_DIGITS or not theirs.startswith(self._trust):
                said = f"--trust is not the beginning of the broker's certificate's {shown}"
                self._talk.say(f"  {said} (eight bytes at least)")
                return False
        else:
            self._talk.say(f"  {step.said}")
            self._talk.say(f"    its SHA-256: {shown}")
            asked = "Does whoever runs the broker name the same? Trust it"
            if not self._talk.confirm(asked, default=False):
                return False
        self._compared = theirs
        file = self._secrets.hold(f"{self.base['id']}-broker.pem", step.facts["pem"])
        self.base["tls"] = {**self._tls, "ca_file": file}
        self._talk.say("  trusted")
        return True

    def _takes_name(self, step: Step) -> bool:
        """Leave the check of the name out where this very certificate was compared; else look for
        the name that it has, where somebody says that it is the broker's."""
        if self._compared == step.facts.get("sha256", "").replace(":", ""):
            self.base["tls"] = {**self._tls, "waive": ["host_name"]}
            self._talk.say(f"  {step.said}")
            said = "it is the certificate that was compared, so its name is not looked at"
            self._talk.say(f"  {said}")
            return True
        name = next(iter(step.facts.get("names", "").split()), "")
        if not name or self._tls.get("server_name") == name:
            return False
        self._talk.say(f"  {step.said}")
        if not self._talk.confirm(f"Is {name} the broker that you mean", default=False):
            return False
        self.base["tls"] = {**self._tls, "server_name": name}
        return True

    def signs_in(self, name: str = "", said: str = "") -> bool:
        """Ask for a user and the password, where somebody is there to be asked; `said`: why."""
        if self._talk.yes:
            return False
        if said:
            self._talk.say(f"  {said}")
        known = str(self.base.get("user", ""))
        name = name or self._talk.ask("User at the broker (Enter alone: stop here)", known)
        if not name:
            return False
        base = {key: each for key, each in self.base.items() if not key.startswith("password")}
        base |= {"user": name, "password_file": "held"}
        refused = checked({**base, "kind": "sparkplug"}).refused_in_clear(
            self._settings.mqtt_insecure_hosts
        )
        if refused:
            self._talk.say(f"  {refused}")
            return False
        secret = self._talk.ask_secret("Password")
        self.base = {**base, "password_file": self._secrets.hold(str(base["id"]), secret)}
        return True

    def _reads_less(self, step: Step) -> bool:
        if self._talk.yes or not self.filters:
            return False
        self._talk.say(f"  {step.said}")
        given = self._talk.ask("Topics that you may read, as works/# (Enter alone: stop here)", "")
        self.filters = tuple(each for each in re.split(r"[,\s]+", given) if each) or self.filters
        return bool(given)

    @property
    def _tls(self) -> dict[str, object]:
        found = self.base.get("tls")
        return dict(found) if isinstance(found, Mapping) else {}


def _mixed(found: Sightings, seconds: float, facts: Mapping[str, str]) -> Step | None:
    """The step where some of a topic's messages can be read and others cannot, as the ladder has
    it; None: of none."""
    heard = Heard(messages=found.messages)
    for topic, seen in found.topics.items():
        mixture = mixture_of(each.payload for each in seen.samples)
        for _ in range(mixture.unread if mixture.is_one else 0):
            heard.refuse(topic, mixture.reason)
    return mixed_step(heard, seconds, facts) if heard.bad_count else None


def checked(fields: Mapping[str, object]) -> SourceModel:
    """A source; ends the process where it cannot be one."""
    return checked_source(fields, "aurelian connect mqtt --help")
