"""What the control API asks of the OPC UA gateway: climb, look, plan, try, trust, by the gateway's
own ways. Given to `run_gateway`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from aurelian.edge.applications import gateway_store
from aurelian.edge.certificates import read_certificates, sha256_of
from aurelian.edge.control.connector import (
    Choice,
    Connector,
    Fields,
    FoundSource,
    KnownSource,
    Look,
    NotPossible,
    Planned,
    Row,
    asked,
)
from aurelian.edge.globs import PatternError
from aurelian.edge.ladder import Step
from aurelian.edge.proposals.proposal import Proposal, Sureness
from aurelian.model.addresses import AddressError
from aurelian.model.plant import Plant
from aurelian.model.plant_parts import Role
from aurelian.model.source_model import SourceModel
from aurelian.runtime.machine_zone import local_time_zone
from opcua_gateway.browse.plant_snippet import Placed, placed
from opcua_gateway.browse.walk import Node
from opcua_gateway.connect.dry_run import DryRun, dry_run
from opcua_gateway.connect.ladder import climb
from opcua_gateway.connect.looking import Looked, NothingChosen, look_into, units_of
from opcua_gateway.connect.preview import Seen
from opcua_gateway.connect.proposals import propose_signals
from opcua_gateway.connect.there import There, what_is_there
from opcua_gateway.connect.watching import looked_into
from opcua_gateway.security.endpoints import Endpoints
from opcua_gateway.session import SessionLost
from opcua_gateway.settings import OpcuaGatewaySettings

_LISTS = ("trusted", "rejected", "own")
_EVERY_S = 1.0
_MOST_TEXT = 200

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Found:
    """What a look keeps to plan by."""

    model: SourceModel
    looked: Looked
    proposals: Mapping[Node, Proposal]
    there: There


class OpcuaConnector(Connector):
    """The gateway's part of the control API."""

    kinds = frozenset({"opcua"})

    def __init__(self, settings: OpcuaGatewaySettings) -> None:
        self._settings, self._store = settings, gateway_store(settings.state)

    def climb(self, model: SourceModel) -> AsyncIterator[Step]:
        """The connection ladder, step by step; ends after a failed one."""
        zones = [model.time_zone] if "time_zone" in model.model_fields_set else []
        return climb(model, self._settings, self._store, zones=[*zones, local_time_zone()])

    async def look(
        self,
        model: SourceModel,
        known: Sequence[KnownSource],
        choose: Sequence[str],
        leave_out: Sequence[str],
        seconds: float,
    ) -> AsyncIterator[Look]:
        """Look through a server and watch what it has; `choose`, `leave_out`: patterns of paths."""
        look = Look("asking the server for its endpoints …")
        yield look

        async def work(put: Callable[[str], None]) -> None:
            looked = await look_into(
                model, self._settings, self._store, choose, leave_out, seconds, put
            )
            # Of a large server that takes a while, and the gateway's work goes on.
            await asyncio.to_thread(_fill, look, model, known, looked)

        async for said in _told(work):
            look.progress = said
            yield look
        look.progress = f"{len(look.sources[0].rows)} signals"
        yield look

    def plan(self, look: Look, choice: Choice) -> list[Planned]:
        """The server with the units that its chosen variables are signals of."""
        found = look.more
        if not isinstance(found, _Found):
            raise NotPossible("the look has not ended yet", "look again")
        try:
            units = units_of(found.looked.found, found.model, found.proposals)
        except ValueError as error:
            raise NotPossible(str(error), "choose others") from error
        unknown = choice.rows | choice.states.keys()
        for unit in units:
            signals = unit["signals"]
            assert isinstance(signals, list)
            unknown -= {each["address"] for each in signals}
            unit["signals"] = _wanted(signals, choice)
        if unknown:
            raise NotPossible(
                f"the look has no row {min(unknown)[:_MOST_TEXT]!r}", "take rows of this look"
            )
        if known := choice.rows & found.there.addresses:
            said = f"{min(known)[:_MOST_TEXT]} is connected already, by {found.there.key}"
            raise NotPossible(said, "leave it out")
        new = found.there.without(units, is_chosen=bool(choice.rows))
        made = [(choice.area, choice.line, unit) for unit in new]
        if not made and any(unit["signals"] for unit in units):
            said = f"nothing is new here: {found.there.key} has it already"
            raise NotPossible(said, "choose some rows, or look at another server")
        if not made:
            raise NotPossible("no signal is chosen", "choose some rows")
        return [Planned(_fields_of(found.model), made, found.there.key)]

    async def dry_run(
        self, plant: Plant, model: SourceModel, seconds: float
    ) -> AsyncIterator[Mapping[str, object]]:
        """Map a source's real values up to the outbox and not into it."""

        async def work(put: Callable[[Mapping[str, object]], None]) -> None:
            last = time.monotonic()

            def progress(run: DryRun) -> None:
                nonlocal last
                if time.monotonic() - last >= _EVERY_S:
                    last = time.monotonic()
                    put(_run(run))

            endpoints = Endpoints(
                model, self._settings.opcua_insecure_hosts, self._store, self._settings.gateway
            )
            way = await endpoints.find_way(self._settings.opcua_timeout_s)
            async with looked_into(model, way, self._settings) as session:
                put(_run(await dry_run(session, plant, model, self._settings, seconds, progress)))

        async for run in _told(work):
            yield run

    def certificates(self) -> Sequence[Mapping[str, object]]:
        """Those of the gateway's lists."""
        return [
            {
                "sha256": each.sha256.lower(),
                "subject": each.subject,
                "list": name,
                "until": each.ends.isoformat(),
                "source": each.source,
                "reason": each.reason,
            }
            for name in _LISTS
            for each in self._store.listed(name)
        ]

    def trust(self, sha256: str) -> str:
        """Trust a certificate that was refused."""
        for each in self._store.listed("rejected"):
            if each.sha256.lower() != sha256.lower():
                continue
            for certificate in read_certificates(each.path):
                if sha256_of(certificate) == each.sha256:
                    self._store.trust(certificate)
            return each.subject
        raise NotPossible(
            "no certificate of this fingerprint was refused",
            "climb the ladder: the certificate that is met is kept for this",
        )


def _fill(look: Look, model: SourceModel, known: Sequence[KnownSource], looked: Looked) -> None:
    """Put what was found into a look."""
    proposals = propose_signals(looked.found, looked.seen)
    there = what_is_there(looked.found, model, known)
    rows = [
        _row(each, looked.seen.get(each.variable.node.path), proposals.get(each.variable.node))
        for each in placed(looked.found, model)
    ]
    rows = [_known(each, there) if each.id in there.addresses else each for each in rows]
    cut = f"; {looked.found.cut}" if looked.found.cut else ""
    said = f"an OPC UA server with {looked.found.seen} variables{cut}"
    look.more = _Found(model, looked, proposals, there)
    look.sources = [FoundSource(_fields_of(model), said, rows, there.key)]


def _known(row: Row, there: There) -> Row:
    """A row that a plant file has already."""
    return replace(row, question=None, why=(), known_as=there.units[row.unit])


def _row(signal: Placed, seen: Seen | None, proposal: Proposal | None) -> Row:
    proposal = proposal or Proposal()
    states = signal.states if signal.states is not None else proposal.states
    question = proposal.question if signal.states is None else None
    value = seen.value if seen is not None else None
    return Row(
        id=signal.address,
        path=signal.variable.node.path,
        unit=signal.unit,
        name=signal.name,
        value=value[:_MOST_TEXT] if isinstance(value, str | bytes) else value,
        quality=seen.quality if seen is not None else "none",
        changes=seen.changes if seen is not None else 0,
        role=(Role.STATE if signal.states is not None else proposal.role).value,
        unit_of_measure=signal.variable.unit or proposal.unit,
        states={key: str(state) for key, state in states.items()}
        if isinstance(states, Mapping)
        else states,
        sureness=(Sureness.CERTAIN if signal.states is not None else proposal.sureness).value,
        why=proposal.why,
        question=asked(question) if question is not None else None,
    )


def _wanted(signals: Sequence[dict[str, object]], choice: Choice) -> list[dict[str, object]]:
    """The signals of a unit that are wanted; one whose states somebody has said is its state."""
    wanted = [each for each in signals if not choice.rows or each["address"] in choice.rows]
    said = {each["address"] for each in wanted} & choice.states.keys()
    made = []
    for each in wanted:
        signal = dict(each)
        if said and signal.get("role") == Role.STATE.value:
            del signal["role"]
            signal.pop("states", None)
        if signal["address"] in said:
            signal |= {
                "role": Role.STATE.value,
                "states": choice.states[str(signal["address"])],
            }
        made.append(signal)
    return made


def _fields_of(model: SourceModel) -> Fields:
    fields: Fields = model.model_dump(mode="json", exclude_unset=True)
    return fields


def _run(run: DryRun) -> Mapping[str, object]:
    return {
        "seconds": round(run.seconds, 3),
        "samples": run.samples,
        "signals": {
            path: {
                "samples": each.samples,
                "value": each.value,
                "refused": each.refused,
                "rejects": dict(each.rejects),
                "reason": each.reason,
            }
            for path, each in run.signals.items()
        },
        "events": list(run.events),
        "rejects": dict(run.rejects),
    }


async def _told(
    work: Callable[[Callable[[_T], None]], Coroutine[object, object, None]],
) -> AsyncIterator[_T]:
    """What some work tells while it is done, in a task of its own: a time-out may not span the
    yields of a generator.

    Raises:
        NotPossible: with what is in its way.
    """
    told: asyncio.Queue[_T | None] = asyncio.Queue()
    task = asyncio.create_task(work(told.put_nowait), name="look for the control API")
    task.add_done_callback(lambda _: told.put_nowait(None))
    try:
        while (said := await told.get()) is not None:
            yield said
        await task
    except SessionLost as error:
        raise NotPossible(error.reason, error.step) from error
    except PatternError as error:
        raise NotPossible(str(error), "say a pattern such as 'Line1/**/Temp*'") from error
    except NothingChosen as error:
        raise NotPossible(str(error), "choose by other patterns") from error
    except AddressError as error:
        raise NotPossible(str(error), "correct the address in the plant file") from error
    finally:
        task.cancel()
        await asyncio.wait({task})
