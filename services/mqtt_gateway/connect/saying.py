"""What was heard at a broker and what is proposed out of it, as `aurelian connect mqtt` shows it.
Called by command.py."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from aurelian.local.connect_walk import Talk
from aurelian.model.plant_parts import Role
from mqtt_gateway.connect.composing import name_of
from mqtt_gateway.connect.proposed import Proposals, ProposedSource
from mqtt_gateway.connect.topic_tree import Level, Seen, shown_value

_MOST_LINES = 60
_MOST_LEFT_OUT = 10
_WIDTH = 70


def show_tree(talk: Talk, tree: Level) -> None:
    """The topics with what each brings."""
    lines = list(_tree_lines(tree, 1))
    talk.say("")
    for each in lines[:_MOST_LINES]:
        talk.say(each)
    if len(lines) > _MOST_LINES:
        talk.say(f"  … and {len(lines) - _MOST_LINES} lines more")
    for level in _levels(tree):
        if level.seen is None:
            continue
        seen = level.seen
        talk.tell(
            {
                "topic": level.topic,
                "payload": seen.payload,
                "why": seen.why,
                "messages": seen.messages,
                "kept": seen.kept,
                "rate": seen.rate,
                "last": seen.last,
            }
        )


def show_proposals(talk: Talk, proposals: Proposals) -> None:
    """The sources with their units and signals, each with its reasons."""
    for number, source in enumerate(proposals.sources, start=1):
        talk.say(f"\n{number}  {name_of(source)}")
        for reason in source.why:
            talk.say(f"     {reason}")
        talk.tell({"proposed": dict(source.fields), "why": list(source.why)})
        if source.clock is not None:
            talk.step(source.clock)
        for unit in source.units:
            if unit.known_as:
                talk.say(f"     unit {unit.fields['name']}: connected already as {unit.known_as}")
                talk.tell({"known": unit.fields["name"], "as": unit.known_as})
        lines = list(_unit_lines(talk, source))
        for each in lines[:_MOST_LINES]:
            talk.say(each)
        if len(lines) > _MOST_LINES:
            talk.say(f"     … and {len(lines) - _MOST_LINES} lines more")
    if proposals.left_out:
        talk.say("\nnothing can be proposed for:")
    for topic, reason in islice(proposals.left_out.items(), _MOST_LEFT_OUT):
        talk.say(f"  {topic}: {reason}")
    if (more := len(proposals.left_out) - _MOST_LEFT_OUT) > 0:
        talk.say(f"  … and {more} topics more")
    for topic, reason in proposals.left_out.items():
        talk.tell({"left_out": topic, "why": reason})


def _unit_lines(talk: Talk, source: ProposedSource) -> Iterator[str]:
    for unit in source.new_units:
        name, address = str(unit.fields["name"]), unit.fields.get("address")
        at = "/".join(each for each in (unit.area, unit.line) if each)
        named = f" ({address!r})" if address else ""
        yield f"     unit {name}{named}" + (f" of {at}" if at else "")
        for signal in unit.signals:
            fields, proposal = signal.fields, signal.proposal
            last = "" if signal.last is None else shown_value(signal.last)
            yield f"       {fields['name']}  =  {last} {proposal.unit}".rstrip()
            if proposal.role is not Role.OTHER:
                yield f"           {proposal.role_said}: {'; '.join(proposal.why)}"
            talk.tell(
                {
                    "signal": f"{name}/{fields['name']}",
                    "source": source.fields["id"],
                    "value": signal.last,
                    "role": proposal.role.value,
                    "unit": proposal.unit,
                    "states": proposal.states,
                    "sureness": proposal.sureness.value,
                    "why": proposal.why,
                }
            )


def _tree_lines(level: Level, depth: int) -> Iterator[str]:
    for each in level.below:
        name = each.name or "(empty)"
        while each.seen is None and len(each.below) == 1:
            (each,) = each.below
            name += f"/{each.name}"
        said = "" if each.seen is None else f"  {_seen(each.seen)}"
        yield f"{'  ' * depth}{name}{said}"
        yield from _tree_lines(each, depth + 1)


def _seen(seen: Seen) -> str:
    rate = f", {seen.rate:.2g} a second" if seen.rate else ""
    kept = ", kept by the broker" if seen.kept == seen.messages else ""
    last = seen.last if len(seen.last) <= _WIDTH else f"{seen.last[:_WIDTH]}…"
    return f"[{seen.payload or '?'}{rate}{kept}]  {last}"


def _levels(level: Level) -> Iterator[Level]:
    for each in level.below:
        yield each
        yield from _levels(each)
