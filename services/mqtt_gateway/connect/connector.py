"""What the control API asks of this gateway: climb the ladder, look at a broker, plan a plant file
out of it, try one. Called by `aurelian/edge/control/app.py` and `commands.py`."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import cast

from paho.mqtt.client import topic_matches_sub
from pydantic import ValidationError

from aurelian.edge.control.connector import (
    Choice,
    Fields,
    FoundSource,
    KnownSource,
    Look,
    NotPossible,
    Planned,
    Row,
    asked,
)
from aurelian.edge.ladder import Rung, Step
from aurelian.edge.passwords import PasswordError
from aurelian.edge.proposals.proposal import Sureness
from aurelian.edge.proposals.state_words import question_for
from aurelian.model.mqtt_payloads import OF_PLAIN_MQTT
from aurelian.model.plant import Plant
from aurelian.model.plant_parts import Role
from aurelian.model.source_model import SourceModel
from aurelian.model.time import SECOND_US
from aurelian.runtime.machine_zone import local_time_zone
from mqtt_gateway.connect.arriving import listed
from mqtt_gateway.connect.composing import States, compose, misplaced, name_of, path_of
from mqtt_gateway.connect.ladder import climb
from mqtt_gateway.connect.look import look
from mqtt_gateway.connect.propose import propose
from mqtt_gateway.connect.proposed import ProposedSignal, ProposedSource, ProposedUnit
from mqtt_gateway.connect.sightings import Sightings
from mqtt_gateway.connect.trial import Trial, try_out
from mqtt_gateway.opening import ConnectionLost
from mqtt_gateway.settings import MqttGatewaySettings
from mqtt_gateway.sparkplug.messages import PREFIX

_COMMAND = re.compile(rf"{re.escape(PREFIX)}/[^/]*/[ND]CMD/")
_BIRTHS_S = 5.0
_SEEN_S = 1.0
"""So long the ladder listens where a look heard nothing, to say why."""

_WHAT = {"id", "kind", "topic", "group", "edge_node", "sparkplug", *OF_PLAIN_MQTT}
"""Fields that say what is taken, which a look finds out; the others say how to connect."""

_PINNED = (
    "MQTT has no list of trusted certificates: the plant file pins one for each source",
    "POST /trust with `pem` too keeps it as a file; name that file in `tls: {ca_file: …}` of the "
    "source",
)
_WITHOUT_IT = "its unit is there without this signal: add it in the plant file"
_BROKEN = (ConnectionLost, PasswordError, OSError, ValueError)


@dataclass(slots=True)
class _Kept:
    """What a plan is made of: the proposed sources, and the ids that are taken."""

    sources: list[ProposedSource] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)


class MqttConnector:
    """The part of plain MQTT and Sparkplug."""

    kinds = frozenset({"mqtt", "mqtt_json", "sparkplug"})

    def __init__(self, settings: MqttGatewaySettings) -> None:
        self._settings = settings

    async def climb(self, model: SourceModel) -> AsyncIterator[Step]:
        """The connection ladder. A plain source that names no topic listens to all."""
        if model.is_plain_mqtt and not model.subscriptions:
            model = _listening(_base(model), ("#",))
        async for step in climb(model, self._settings, zones=[local_time_zone()]):
            yield step

    async def look(
        self,
        model: SourceModel,
        known: Sequence[KnownSource],
        choose: Sequence[str],
        leave_out: Sequence[str],
        seconds: float,
    ) -> AsyncIterator[Look]:
        """Listen to the filters of `choose` (none: all), of Sparkplug to its group and edge node,
        whose births are asked for; topics that a filter of `leave_out` matches count for nothing.

        Raises:
            NotPossible: with what is in the way, or why nothing came.
        """
        found = Look()
        base = _base(model)
        is_plain = model.is_plain_mqtt
        filters = tuple(choose or (("#",) if is_plain else (_births_of(model),)))
        listening = _listening(base, filters) if is_plain else model
        await self._climb_to(listening, Rung.SUBSCRIBE)
        heard = Sightings()
        try:
            async for heard in look(listening, self._settings, filters, seconds):
                found.progress = f"{heard.messages} messages of {len(heard.topics)} topics"
                yield found
            leave = _Leaving(leave_out)
            leave.topics(heard)
            if is_plain and any(each.startswith(f"{PREFIX}/") for each in heard.topics):
                found.progress = "there is Sparkplug: its edge nodes are asked for their births"
                yield found
                await self._hear_births(base, heard, min(seconds, _BIRTHS_S))
                leave.topics(heard)
            leave.machines(heard)
        except _BROKEN as error:
            raise _not_possible(error) from error
        if not heard.machines and not (is_plain and heard.topics):
            await self._climb_to(listening, Rung.CLOCK)  # says why, where it is known
            said = f"nothing came in {seconds:g} s"
            raise NotPossible(said, "listen longer, or to other topics")
        if not is_plain and model.edge_node != "+":
            base["edge_node"] = model.edge_node
        of_sites = (each.plant.time_zone for each in known)
        of_sources = (each.model.time_zone for each in known)
        zones = list(dict.fromkeys((*of_sites, *of_sources, local_time_zone())))
        site = known[0].plant.path if known else "company/site"
        # It decodes all that was kept: the sources of this gateway go on meanwhile.
        proposals = await asyncio.to_thread(propose, heard, base, site, zones, known)
        found.sources += [_found(n, each) for n, each in enumerate(proposals.sources)]
        found.more = _Kept(list(proposals.sources), [each.model.id for each in known])
        found.progress = f"{heard.messages} messages came of {listed(heard.topics)}"
        if heard.left_out:
            found.progress += f"; {heard.left_out} of further topics are left out: name fewer"
        if proposals.left_out:
            topic, why = next(iter(proposals.left_out.items()))
            more = len(proposals.left_out) - 1
            found.progress += f"; nothing can be proposed for {topic} ({why})"
            found.progress += f" and {more} topics more" if more else ""
        yield found

    def plan(self, look: Look, choice: Choice) -> list[Planned]:
        """What a plant file gets of the sources that none has yet.

        Raises:
            NotPossible: nothing is left, a row is not there, or can stand in no plant file.
        """
        kept = look.more if isinstance(look.more, _Kept) else _Kept()
        rows = {
            id: unit
            for number, source in enumerate(kept.sources)
            for id, unit, _ in _rows_of(number, source)
        }
        if unknown := [each for each in (*choice.rows, *choice.states) if each not in rows]:
            raise NotPossible(f"the look has no row {unknown[0]!r}", "take rows of this look")
        for unit in map(rows.__getitem__, choice.rows):
            if unit.known_as:
                said = f"{unit.fields['name']} is connected already, as {unit.known_as}"
                raise NotPossible(said, "leave it out")
            if odd := misplaced(unit):
                raise NotPossible(odd, "leave it out, or describe its topic by hand")
        chosen = [
            replace(source, units=units)
            for number, source in enumerate(kept.sources)
            if (units := tuple(_units_left(number, source, choice)))
        ]
        planned, _ = compose(chosen, {}, choice, None, kept.taken)
        if not any(each.units for each in planned):
            known = next((each.known_as for each in rows.values() if each.known_as), "")
            said = f"nothing is new here: {known} is connected" if known else "nothing is left"
            raise NotPossible(said, "look at other topics, or choose other rows")
        return [each for each in planned if each.units]

    async def dry_run(
        self, plant: Plant, model: SourceModel, seconds: float
    ) -> AsyncIterator[Mapping[str, object]]:
        """Map real messages up to the outbox and not into it.

        Raises:
            NotPossible: no connection.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async for trial in try_out(plant, model, self._settings, seconds):
                yield _of_trial(trial, loop.time() - began)
        except _BROKEN as error:
            raise _not_possible(error) from error

    def certificates(self) -> Sequence[Mapping[str, object]]:
        """None: see `trust`."""
        return []

    def trust(self, sha256: str) -> str:
        """There is nothing to trust by a fingerprint alone.

        Raises:
            NotPossible: always; what to do instead.
        """
        raise NotPossible(*_PINNED)

    async def _climb_to(self, model: SourceModel, last: Rung) -> None:
        """Climb up to a rung; NotPossible with the step that fails."""
        steps = cast(
            AsyncGenerator[Step, None], climb(model, self._settings, listen_s=_SEEN_S, zones=())
        )
        async with aclosing(steps):
            async for step in steps:
                if step.ends:
                    raise NotPossible(step.said, step.fix)
                if step.rung is last:
                    return

    async def _hear_births(
        self, base: Mapping[str, object], heard: Sightings, seconds: float
    ) -> None:
        """Ask edge nodes for their births, as a host does, and take them to what was heard."""
        model = _checked({**base, "kind": "sparkplug"})
        more = Sightings()
        async for by_now in look(model, self._settings, (_births_of(model),), seconds):
            more = by_now
        heard.machines |= more.machines
        heard.topics |= more.topics


class _Leaving:
    """Takes out of what was heard what filters match, and what hosts say, we among them."""

    def __init__(self, filters: Sequence[str]) -> None:
        self._filters = filters

    def topics(self, heard: Sightings) -> None:
        for each in [each for each in heard.topics if self._leaves(each)]:
            del heard.topics[each]

    def machines(self, heard: Sightings) -> None:
        for edge, device in list(heard.machines):
            node = f"{PREFIX}/{edge.group}/NBIRTH/{edge.node}"
            topic = node if device is None else f"{PREFIX}/{edge.group}/DBIRTH/{edge.node}/{device}"
            if self._leaves(topic):
                del heard.machines[edge, device]

    def _leaves(self, topic: str) -> bool:
        if _COMMAND.match(topic) or topic.startswith(f"{PREFIX}/STATE/"):
            return True
        return any(topic_matches_sub(each, topic) for each in self._filters)


def _base(model: SourceModel) -> dict[str, object]:
    """The fields that say how to connect."""
    set_ones = model.model_fields_set - _WHAT
    said: dict[str, object] = model.model_dump(mode="json", include=set_ones, exclude_defaults=True)
    return {"id": model.id, **said, "url": model.url}


def _listening(base: Fields, filters: Sequence[str]) -> SourceModel:
    """The source as it listens to filters."""
    return _checked({**base, "kind": "mqtt", "topics": [{"topic": each} for each in filters]})


def _checked(fields: Fields) -> SourceModel:
    try:
        return SourceModel.model_validate(dict(fields))
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise NotPossible(said, "say another topic filter, such as works/#") from error


def _births_of(model: SourceModel) -> str:
    if model.edge_node == "+":
        return f"{PREFIX}/{model.group}/#"
    return f"{PREFIX}/{model.group}/+/{model.edge_node}/#"


def _not_possible(error: BaseException) -> NotPossible:
    step = str(getattr(error, "step", ""))
    return NotPossible(str(error) or type(error).__name__, step or "try again")


def _rows_of(
    number: int, source: ProposedSource
) -> Iterator[tuple[str, ProposedUnit, ProposedSignal]]:
    """The signals of the source of a number, each with the id of its row."""
    for n, unit in enumerate(source.units):
        for m, signal in enumerate(unit.signals):
            yield f"{number}.{n}.{m}", unit, signal


def _units_left(number: int, source: ProposedSource, choice: Choice) -> Iterator[ProposedUnit]:
    """Units with the signals that are wanted, and with what was said of their states."""
    for n, unit in enumerate(source.units):
        if unit.known_as:
            continue
        ids = {f"{number}.{n}.{m}": signal for m, signal in enumerate(unit.signals)}
        signals = tuple(
            _with_states(signal, choice.states.get(id))
            for id, signal in ids.items()
            if not choice.rows or id in choice.rows
        )
        if signals:
            yield replace(unit, signals=signals)


def _with_states(signal: ProposedSignal, states: States | None) -> ProposedSignal:
    """A signal of which somebody has said what its values mean, so that it is no guess."""
    if states is None:
        return signal
    fields = {**signal.fields, "role": Role.STATE.value, "states": states}
    proposal = replace(signal.proposal, role=Role.STATE, sureness=Sureness.CERTAIN)
    return replace(signal, fields=fields, proposal=proposal)


def _found(number: int, source: ProposedSource) -> FoundSource:
    odd = [each for each in map(misplaced, source.units) if each]
    said = "; ".join((name_of(source), *source.why, *odd))
    rows = [_row(id, unit, signal) for id, unit, signal in _rows_of(number, source)]
    return FoundSource(source.fields, said, rows, source.known_as)


def _row(id: str, unit: ProposedUnit, signal: ProposedSignal) -> Row:
    name, proposal, fields = str(unit.fields["name"]), signal.proposal, signal.fields
    question = None
    if proposal.question is not None:
        by_path = question_for(path_of(unit, signal), proposal.question.value, proposal.states)
        question = asked(by_path or proposal.question)
    states, why = fields.get("states"), tuple(proposal.why)
    if unit.known_as:
        is_there = str(fields.get("address", fields["name"])) in unit.known_signals
        why = () if is_there else (_WITHOUT_IT,)
    own = str(unit.fields.get("address", name))
    levels = (unit.area, unit.line, own, str(fields.get("address", fields["name"])))
    return Row(
        id=id,
        path="/".join(each for each in levels if each),
        unit=name,
        name=str(fields["name"]),
        value=_shown(signal.last),
        quality="none" if signal.last is None else "good",
        changes=signal.changes,
        role=proposal.role.value,
        unit_of_measure=proposal.unit,
        states=states if isinstance(states, (str, Mapping)) else None,
        sureness=proposal.sureness.value,
        why=why,
        question=None if unit.known_as else question,
        known_as=unit.known_as,
    )


def _shown(value: object) -> object:
    """A value as JSON has it."""
    if isinstance(value, bytes):
        return value[:64].hex(" ")
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _of_trial(trial: Trial, seconds: float) -> dict[str, object]:
    signals: dict[str, dict[str, object]] = {
        path: {"samples": trial.counts[path], "value": None, "refused": "", "rejects": {}}
        for path in (*trial.silent, *trial.newest, *trial.discovered)
    }
    for path, sample in (*trial.newest.items(), *trial.discovered.items()):
        signals[path]["value"] = _shown(sample.value)
        signals[path]["time"] = sample.time / SECOND_US
    for path in trial.discovered:
        signals[path]["discovered"] = True
    rejects: dict[str, int] = {}
    for refusing, count in trial.rejects.items():
        path, _, reason = refusing.reason.partition(": ")
        if path not in signals:
            rejects[refusing.reason] = rejects.get(refusing.reason, 0) + count
            continue
        of = cast("dict[str, int]", signals[path]["rejects"])
        of[refusing.error_class] = of.get(refusing.error_class, 0) + count
        signals[path]["reason"] = reason
    return {
        "seconds": round(seconds, 3),
        "messages": trial.messages,
        "samples": trial.samples,
        "signals": signals,
        "events": list(trial.said),
        "rejects": rejects,
        "skipped": trial.skipped,
    }
