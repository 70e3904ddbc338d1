"""Sources, units and signals for the plant file, proposed out of what was heard at a broker, each
with the reason. Pure; called by the commands and by the control API."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from unicodedata import category
from zoneinfo import ZoneInfo

from aurelian.edge.ladder import Rung, Step, Verdict
from aurelian.edge.proposals.proposal import Found, Proposal, settle
from aurelian.edge.proposals.proposal import propose as propose_signal
from aurelian.model.mqtt_payloads import TopicModel
from aurelian.model.plant_parts import Role
from aurelian.model.sample import ValueType
from aurelian.model.source_model import SourceModel
from mqtt_gateway.connect.clock import NotedTimes, judge_clock
from mqtt_gateway.connect.formats import SPARKPLUG, guess, make_context
from mqtt_gateway.connect.sightings import Machine, Sighting, Sightings
from mqtt_gateway.connect.topic_shape import template_of
from mqtt_gateway.json_payload import UNIT_KEYS, Broken, Unreadable
from mqtt_gateway.payloads.contract import Message
from mqtt_gateway.payloads.table import decoder_of
from mqtt_gateway.sparkplug.messages import Edge

_NEEDS_MORE = ("protobuf", "raw")
"""What nobody can propose without a descriptor or a layout."""

_MOST_NAME = 64
_INTEGERS = frozenset({ValueType.INT64, ValueType.UINT64})
_OF_DATATYPE = {
    "Boolean": ValueType.BOOL,
    "Float": ValueType.DOUBLE,
    "Double": ValueType.DOUBLE,
    "UInt64": ValueType.UINT64,
    **dict.fromkeys(("String", "Text", "UUID", "DateTime"), ValueType.TEXT),
    **dict.fromkeys(("Bytes", "File"), ValueType.BYTES),
    **dict.fromkeys(
        ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32"), ValueType.INT64
    ),
}


@dataclass(frozen=True, slots=True)
class ProposedSignal:
    """A signal. `fields`: for `SignalModel`; `last`: its last value; `changes`: how often it was
    another one than before, among those that are kept."""

    fields: Mapping[str, object]
    proposal: Proposal
    last: object
    changes: int = 0


@dataclass(frozen=True, slots=True)
class ProposedUnit:
    """A machine.

    Attributes:
        fields: for `UnitModel`, its signals among them.
        area, line: that its topics name it by, so that those of the plant file must be called so;
            empty: any.
    """

    fields: Mapping[str, object]
    signals: tuple[ProposedSignal, ...]
    area: str = ""
    line: str = ""


@dataclass(frozen=True, slots=True)
class ProposedSource:
    """A source. `fields`: for `SourceModel`; `why`: each reason as a sentence; `clock`: the step of
    that rung with these fields, None: it was not looked at."""

    fields: Mapping[str, object]
    units: tuple[ProposedUnit, ...]
    why: tuple[str, ...]
    clock: Step | None = None


@dataclass(frozen=True, slots=True)
class Proposals:
    """What is proposed, and the topics that nothing can be proposed for, with the reason."""

    sources: tuple[ProposedSource, ...]
    left_out: Mapping[str, str]


@dataclass(slots=True)
class _Series:
    """Values of one signal."""

    values: list[object] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    types: set[ValueType] = field(default_factory=set)
    unit_text: str = ""


def propose(
    sightings: Sightings, base: Mapping[str, object], site: str, zones: Sequence[str] = ()
) -> Proposals:
    """Propose.

    Args:
        base: fields of the source that are known: `id`, `url`, and how to sign in.
        site: `owner/site` of the plant, which some topics begin with.
        zones: time zones that the machines may stand in, the site's first.
    """
    entries: dict[str, list[str]] = {}
    left_out: dict[str, str] = {}
    why: dict[str, str] = {}
    by_shape: dict[tuple[str, str, int], list[str]] = defaultdict(list)
    for topic, seen in sightings.topics.items():
        fits = guess(topic, [each.payload for each in seen.samples])
        if topic.startswith("$") and not (fits and fits[0].topic):
            continue
        if not fits:
            left_out[topic] = "there was nothing to look at"
        elif fits[0].payload in _NEEDS_MORE:
            left_out[topic] = fits[0].why
        elif fits[0].topic:
            entries.setdefault(fits[0].payload, []).append(topic)
            why[fits[0].payload] = fits[0].why
        elif fits[0].payload != SPARKPLUG and not topic.startswith("spBv1.0/STATE/"):
            levels = topic.split("/")
            by_shape[fits[0].payload, levels[0], len(levels)].append(topic)
    made: list[tuple[TopicModel, list[str], str]] = [
        (TopicModel.model_validate({"payload": payload}), topics, why[payload])
        for payload, topics in entries.items()
    ]
    by_filter = {
        each.filter: n for n, (entry, _, _) in enumerate(made) for each in entry.templates(site)
    }
    for (payload, _, _), topics in by_shape.items():
        text, reason = template_of(topics, bare=payload == "bare")
        fields = {"topic": text} | ({} if payload == "json" else {"payload": payload})
        entry = TopicModel.model_validate(fields)
        # Machines that are the first level come one by one, and a filter stands once in a source.
        known = by_filter.setdefault(entry.templates(site)[0].filter, len(made))
        if known == len(made):
            made.append((entry, list(topics), f"{text}: {reason}"))
        elif made[known][0] == entry:
            made[known][1].extend(topics)
        else:
            said = "topics of this shape bring something else already; describe them by hand"
            left_out |= dict.fromkeys(topics, said)
    sources = _plain_sources(made, sightings.topics, base, site, zones)
    sources += _sparkplug_sources(sightings.machines, base, number=len(sources))
    return Proposals(tuple(_writable(each, left_out) for each in sources), left_out)


def _writable(source: ProposedSource, left_out: dict[str, str]) -> ProposedSource:
    """The source without what no plant file can have, which is noted in `left_out`."""
    units = []
    for unit in source.units:
        kept = [each for each in unit.signals if _can_be_written(each.fields)]
        if len(kept) == len(unit.signals) and _can_be_written(unit.fields):
            units.append(unit)
            continue
        name = str(unit.fields["name"])
        left_out[name] = "a name there has a character that no plant file can have"
        if kept and _can_be_written(unit.fields):
            fields = {**unit.fields, "signals": [dict(each.fields) for each in kept]}
            units.append(replace(unit, fields=fields, signals=tuple(kept)))
    return replace(source, units=tuple(units))


def _can_be_written(fields: Mapping[str, object]) -> bool:
    text = str(fields.get("address", ""))
    return text.isprintable() or not any(
        category(each) in ("Cc", "Cs") and each not in "\n\t" for each in text
    )


def _plain_sources(
    made: Sequence[tuple[TopicModel, Sequence[str], str]],
    seen: Mapping[str, Sighting],
    base: Mapping[str, object],
    site: str,
    zones: Sequence[str],
) -> list[ProposedSource]:
    """One source for each way of naming machines: those of one source must all have area and line,
    or none."""
    groups: dict[tuple[str, ...], list[tuple[TopicModel, Sequence[str], str]]] = defaultdict(list)
    for each in made:
        groups[each[0].templates(site)[0].levels].append(each)
    sources: list[ProposedSource] = []
    for group in groups.values():
        topics = [_fields_of(entry) for entry, _, _ in group]
        fields: dict[str, object] = {
            **base,
            "id": _numbered(str(base["id"]), len(sources)),
            "kind": "mqtt",
            **(topics[0] if len(topics) == 1 else {"topics": topics}),
        }
        reasons = [reason for _, _, reason in group]
        model = SourceModel.model_validate(fields)
        units, times = _units_of(group, seen, model, site)
        clock = judge_clock(times.stamps, model, zones)
        for name in ("time_zone", "time_unit"):
            if name in clock.facts:
                fields[name] = clock.facts[name]
                fit = f"the times in the payloads fit {name}: {fields[name]}"
                reasons.append(fit)
                clock = Step(Rung.CLOCK, Verdict.PASSED, fit, facts=clock.facts)
        sources.append(ProposedSource(fields, tuple(units), tuple(reasons), clock))
    return sources


def _fields_of(entry: TopicModel) -> dict[str, object]:
    return entry.model_dump(include=entry.model_fields_set)


def _numbered(name: str, number: int) -> str:
    return f"{name}-{number + 1}" if number else name


def _units_of(
    group: Sequence[tuple[TopicModel, Sequence[str], str]],
    seen: Mapping[str, Sighting],
    model: SourceModel,
    site: str,
) -> tuple[list[ProposedUnit], NotedTimes]:
    times = NotedTimes(ZoneInfo(model.time_zone), model.time_unit)
    series: dict[str, dict[str, _Series]] = defaultdict(lambda: defaultdict(_Series))
    for entry, topics, _ in group:
        decode, templates = decoder_of(entry), entry.templates(site)
        for topic in topics:
            found = ((each, each.match(topic)) for each in templates)
            template, places = next(((t, p) for t, p in found if p is not None), (None, None))
            if template is None or places is None:
                continue
            unit = template.unit_name(places, site) or ""
            for message in seen[topic].samples:
                before = len(times.stamps)
                context = make_context(unit, entry, times, message.at)
                try:
                    parts = decode(Message(topic, message.payload, places), context)
                except Unreadable:
                    continue
                if message.retained:
                    del times.stamps[before:]
                said = _said_unit(message.payload)
                for part in parts:
                    name = unit if part.unit is None else part.unit
                    for member in part.members:
                        if isinstance(member, Broken):
                            continue
                        one = series[name][member.name or "value"]
                        one.values.append(member.value)
                        one.times.append((member.time or message.at) / 1e6)
                        one.types.add(member.type)
                        one.unit_text = one.unit_text or (said if len(part.members) == 1 else "")
    levels = model.unit_levels
    return [
        _unit(name, found, model.id, levels)
        for name, found in series.items()
        if not name.startswith("/")
    ], times


def _said_unit(payload: bytes) -> str:
    """The unit of measure that a value object says."""
    if b"value" not in payload or len(payload) > 4096:
        return ""
    with suppress(ValueError, RecursionError):
        content = json.loads(payload)
        if isinstance(content, dict):
            said = next((content[key] for key in UNIT_KEYS if key in content), "")
            return said if isinstance(said, str) else ""
    return ""


def _unit(
    name: str, series: Mapping[str, _Series], source: str, levels: Sequence[str] = ()
) -> ProposedUnit:
    parts = name.split("/")
    area = line = ""
    if levels and len(parts) > len(levels):
        of = dict(zip(levels, parts, strict=False))
        area, line = of.get("area", ""), of.get("line", "")
        parts = parts[len(levels) :]
    address = "/".join(parts)
    own = _name_of(address.replace("/", "-") or source)
    names = _unique(series)
    proposals = settle(
        {
            names[each]: propose_signal(
                Found(
                    path=(*parts, *re.split(r"[./]", each)),
                    type=_type_of(found.types),
                    unit_text=found.unit_text,
                    values=found.values[-200:],
                    times=found.times[-200:],
                )
            )
            for each, found in series.items()
        }
    )
    signals = tuple(
        _signal(names[each], each, found, proposals[names[each]]) for each, found in series.items()
    )
    fields: dict[str, object] = {"name": own, "source": source}
    if address and address != own:
        fields["address"] = address
    fields["signals"] = [dict(each.fields) for each in signals]
    return ProposedUnit(fields, signals, area, line)


def _signal(name: str, address: str, found: _Series, proposal: Proposal) -> ProposedSignal:
    fields: dict[str, object] = {"name": name}
    if address != name:
        fields["address"] = address
    if proposal.role is not Role.OTHER:
        fields["role"] = proposal.role.value
    kind = _type_of(found.types) or ValueType.DOUBLE
    fields["type"] = kind.name.lower()
    if proposal.unit:
        fields["unit"] = proposal.unit
    if proposal.states is not None:
        states = proposal.states
        fields["states"] = (
            states
            if isinstance(states, str)
            else {key: getattr(line, "value", line) for key, line in states.items()}
        )
    changes = sum(one != other for one, other in pairwise(found.values))
    return ProposedSignal(fields, proposal, found.values[-1] if found.values else None, changes)


def _type_of(types: Iterable[ValueType]) -> ValueType | None:
    """The type that takes all values."""
    kinds = set(types) - {ValueType.NULL}
    if not kinds:
        return None
    if len(kinds) == 1:
        return kinds.pop()
    if kinds <= _INTEGERS:
        return ValueType.INT64
    if kinds <= {*_INTEGERS, ValueType.DOUBLE}:
        return ValueType.DOUBLE
    return ValueType.JSON if ValueType.JSON in kinds else ValueType.TEXT


def _unique(addresses: Iterable[str]) -> dict[str, str]:
    """Names for the plant file, each once."""
    names: dict[str, str] = {}
    for each in addresses:
        base = name = _name_of(each)
        number = 1
        while name in names.values():
            number += 1
            name = f"{base[: _MOST_NAME - 5]}-{number}"
        names[each] = name
    return names


def _name_of(text: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", text)[:_MOST_NAME].strip("-_.")
    return name or "unit"


def _sparkplug_sources(
    machines: Mapping[tuple[Edge, str | None], Machine], base: Mapping[str, object], number: int
) -> list[ProposedSource]:
    """One source for each group."""
    groups: dict[str, list[tuple[Edge, str | None, Machine]]] = defaultdict(list)
    for (edge, device), machine in machines.items():
        if machine.metrics:
            groups[edge.group].append((edge, device, machine))
    sources: list[ProposedSource] = []
    for group, found in groups.items():
        source = _numbered(str(base["id"]), number + len(sources))
        units = [_machine(edge, device, machine, source) for edge, device, machine in found]
        fields = {**base, "id": source, "kind": "sparkplug", "group": group}
        nodes = sorted({edge.node for edge, _, _ in found})
        why = (f"edge nodes {', '.join(nodes[:10])} of group {group} were born",)
        kept = tuple(each for each in units if each.signals)
        sources.append(ProposedSource(fields, kept, why))
    return sources


def _machine(edge: Edge, device: str | None, machine: Machine, source: str) -> ProposedUnit:
    series: dict[str, _Series] = {}
    for name, metric in machine.metrics.items():
        one = series[name] = _Series(unit_text=metric.unit)
        for value, kind, at in machine.values.get(name, ()):
            one.values.append(value)
            one.times.append((at or 0) / 1e6)
            one.types.add(kind)
        if not one.types - {ValueType.NULL}:
            one.types = {_OF_DATATYPE.get(metric.datatype, ValueType.JSON)}
    return _unit(f"{edge.node}/{device or ''}", series, source)
