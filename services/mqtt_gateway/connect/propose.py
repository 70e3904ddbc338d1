"""Sources, units and signals for the plant file, proposed out of what was heard at a broker, each
with the reason. Pure; called by the commands and by the control API."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from unicodedata import category
from zoneinfo import ZoneInfo

from aurelian.edge.control.connector import KnownSource
from aurelian.edge.ladder import Rung, Step, Verdict
from aurelian.model.mqtt_payloads import TopicModel
from aurelian.model.sample import ValueType
from aurelian.model.source_model import SourceModel
from mqtt_gateway.connect.clock import NotedTimes, judge_clock
from mqtt_gateway.connect.formats import SPARKPLUG, guess, make_context
from mqtt_gateway.connect.known import Takers
from mqtt_gateway.connect.proposed import (
    Proposals,
    ProposedSource,
    ProposedUnit,
    Series,
    unit_of,
)
from mqtt_gateway.connect.sightings import Machine, Sighting, Sightings
from mqtt_gateway.connect.time_member import TimeMembers
from mqtt_gateway.connect.topic_shape import template_of
from mqtt_gateway.json_payload import UNIT_KEYS, Broken, Unreadable
from mqtt_gateway.payloads.contract import Message
from mqtt_gateway.payloads.table import decoder_of
from mqtt_gateway.sparkplug.messages import Edge

_NEEDS_MORE = ("protobuf", "raw")
"""What nobody can propose without a descriptor or a layout."""

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


def propose(
    sightings: Sightings,
    base: Mapping[str, object],
    site: str,
    zones: Sequence[str] = (),
    known: Sequence[KnownSource] = (),
) -> Proposals:
    """Propose.

    Args:
        base: fields of the source that are known: `id`, `url`, and how to sign in.
        site: `owner/site` of the plant, which some topics begin with.
        zones: time zones that the machines may stand in, the site's first.
        known: sources of the plant files. What one of them takes at this broker is not proposed
            anew: it is told as that source's, and so are machines that it has no unit for yet.
    """
    takers = Takers.at(known, str(base["url"]))
    entries: dict[str, list[str]] = {}
    left_out: dict[str, str] = {}
    why: dict[str, str] = {}
    wrong: dict[str, str] = {}
    by_shape: dict[tuple[str, str, int], list[str]] = defaultdict(list)
    for topic, seen in sightings.topics.items():
        if takers.take(topic):
            continue
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
            if fits[0].wrong:
                wrong[topic] = f"{topic}: {fits[0].wrong}"
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
        reason += "".join(f"; {wrong[each]}" for each in topics if each in wrong)
        fields = {"topic": text} | ({} if payload == "json" else {"payload": payload})
        entry = TopicModel.model_validate(fields)
        # Machines that are the first level come one by one, and a filter stands once in a source.
        there = by_filter.setdefault(entry.templates(site)[0].filter, len(made))
        if there == len(made):
            made.append((entry, list(topics), f"{text}: {reason}"))
        elif made[there][0] == entry:
            made[there][1].extend(topics)
        else:
            said = "topics of this shape bring something else already; describe them by hand"
            left_out |= dict.fromkeys(topics, said)
    made = [_with_time(entry, topics, why, sightings.topics) for entry, topics, why in made]
    machines = {key: each for key, each in sightings.machines.items() if not takers.of(*key)}
    sources = _plain_sources(made, sightings.topics, base, site, zones)
    sources += _sparkplug_sources(machines, base, number=len(sources))
    sources += _known_sources(takers, sightings, left_out)
    return Proposals(tuple(_writable(each, left_out) for each in sources), left_out)


def _with_time(
    entry: TopicModel, topics: list[str], why: str, seen: Mapping[str, Sighting]
) -> tuple[TopicModel, list[str], str]:
    """An entry with the member that says its payloads' time, where one does by a name of its
    own."""
    if entry.payload not in ("json", "cbor"):
        return entry, topics, why
    members = TimeMembers()
    for topic in topics:
        for each in seen[topic].samples:
            if not each.retained:
                members.take(topic, each.payload, each.at)
    if not (name := members.found):
        return entry, topics, why
    fields = {**_fields_of(entry), "time_member": name}
    said = f"{why}; its member {name} is always a time near now, so it says when values were"
    return TopicModel.model_validate(fields), topics, said


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


def _known_sources(
    takers: Takers, sightings: Sightings, left_out: dict[str, str]
) -> list[ProposedSource]:
    """What sources of the plant files take of it: their units, and machines that they have none
    for yet. What none of them can read is noted in `left_out`."""
    sources = []
    for taker in (each for each in takers.plain if each.topics):
        group = [(entry, topics, "") for entry, topics in taker.by_entry()]
        units, _ = _units_of(group, sightings.topics, taker.model, taker.site)
        if units:
            sources.append(taker.source(units))
        else:
            said = f"{taker.key} of the plant files takes it already, and can read nothing of it"
            left_out |= dict.fromkeys(taker.topics, said)
    by_taker: dict[str, list[ProposedUnit]] = defaultdict(list)
    for (edge, device), machine in sightings.machines.items():
        for taker in takers.of(edge, device) if machine.metrics else ():
            any_group = taker.any_group
            unit = _machine(edge, device, machine, taker.model.id, any_group=any_group)
            by_taker[taker.key].append(replace(unit, key=taker.name(edge, device)))
    for taker in takers.sparkplug:
        if kept := [each for each in by_taker[taker.key] if each.signals]:
            sources.append(taker.source(kept))
    return sources


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
        local = [each for each in times.stamps if each.is_local]
        if 0 < len(local) < len(times.stamps) and "time_zone" not in clock.facts:
            # Other machines' UTC hides that these are of a zone, which counts for them alone.
            of_local = judge_clock(local, model, zones)
            clock = of_local if "time_zone" in of_local.facts else clock
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
    series: dict[str, dict[str, Series]] = defaultdict(lambda: defaultdict(Series))
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
        unit_of(name, found, model.id, levels)
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


def _machine(
    edge: Edge, device: str | None, machine: Machine, source: str, *, any_group: bool = False
) -> ProposedUnit:
    series: dict[str, Series] = {}
    for name, metric in machine.metrics.items():
        one = series[name] = Series(unit_text=metric.unit)
        for value, kind, at in machine.values.get(name, ()):
            one.values.append(value)
            one.times.append((at or 0) / 1e6)
            one.types.add(kind)
        if not one.types - {ValueType.NULL}:
            one.types = {_OF_DATATYPE.get(metric.datatype, ValueType.JSON)}
    name = f"{edge.node}/{device or ''}"
    return unit_of(f"{edge.group}/{name}" if any_group else name, series, source)
