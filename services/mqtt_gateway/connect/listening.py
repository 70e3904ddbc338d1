"""Rungs VALUES and CLOCK: what arrives while the ladder listens. Used by the ladder."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace

from aurelian.edge.ladder import Rung, Step, Verdict
from aurelian.edge.names import readable
from aurelian.model.source_model import SourceModel
from aurelian.model.time import now_us
from mqtt_gateway.connect.arriving import (
    Heard,
    PlainArrivals,
    SparkplugArrivals,
    listed,
    nearest,
)
from mqtt_gateway.connect.attempt import Talk
from mqtt_gateway.connect.causes import passed, step_of
from mqtt_gateway.connect.clock import judge_clock
from mqtt_gateway.connect.formats import guess
from mqtt_gateway.mapping import printable
from mqtt_gateway.opening import ConnectionLost
from mqtt_gateway.packets import Arrived
from mqtt_gateway.settings import MqttGatewaySettings
from mqtt_gateway.sparkplug.messages import PREFIX, rebirth_command

_TAKE_S = 0.25
_ENOUGH = 100
_ENOUGH_AFTER_S = 2.0
"""So many new messages that can be read say all that there is to say."""

_WIDER_S = 3.0
_MOST_OTHERS = 1000


async def plain_steps(
    talk: Talk,
    model: SourceModel,
    arrivals: PlainArrivals,
    filters: Sequence[str],
    listen_s: float,
    zones: Iterable[str],
) -> AsyncIterator[Step]:
    """The steps of a source of plain MQTT.

    Raises:
        ConnectionLost: it ended meanwhile.
    """
    began = time.monotonic()
    heard, last = arrivals.heard, [Arrived(b"", b"", 0, False, False, 0)]
    while (now := time.monotonic() - began) < listen_s:
        batch = await talk.take(min(_TAKE_S, listen_s))
        arrivals.take(batch.messages)
        last = batch.messages[-20:] or last
        is_clear = (heard.values or arrivals.is_open) and not heard.bad_count
        if now > _ENOUGH_AFTER_S and is_clear and heard.messages - heard.kept >= _ENOUGH:
            break
    seconds = time.monotonic() - began
    if not heard.messages:
        yield await _of_nothing(talk, model, filters, seconds)
        return
    step = _of_plain(heard, model, last, seconds, is_open=arrivals.is_open)
    yield step
    if not step.ends:
        yield judge_clock(arrivals.stamps, model, zones)


def mixed_step(heard: Heard, seconds: float, facts: Mapping[str, str]) -> Step:
    """The step where some messages of a topic can be read and others cannot. `heard`: some are
    bad."""
    topic, what = next(iter(heard.bad.items()))
    filled = {
        "messages": heard.messages,
        "topic": readable(topic, 200),
        "what": readable(what, 200),
    }
    step = step_of(
        "E1755",
        verdict=Verdict.WARNING,
        seconds=seconds,
        facts=facts,
        bad=heard.bad_count,
        filled=filled,
    )
    fix = "others of that topic are JSON, and these are rejected: let the machine send one kind"
    return replace(step, fix=fix)


def _of_plain(
    heard: Heard, model: SourceModel, last: Sequence[Arrived], seconds: float, *, is_open: bool
) -> Step:
    facts = {
        "messages": str(heard.messages),
        "kept": str(heard.kept),
        "values": str(heard.values),
        "unread": str(heard.bad_count),
        "topics": " ".join(readable(each, 200) for each in list(heard.topics)[:20]),
    }
    filled: dict[str, object] = {"messages": heard.messages, "seconds": f"{seconds:.0f}"}
    if is_open and heard.bad_count:
        return mixed_step(heard, seconds, facts)
    if heard.bad_count:
        topic, what = next(iter(heard.bad.items()))
        filled |= {"what": readable(what, 200), "topic": readable(topic, 200)}
        if heard.bad_count == heard.messages:
            payloads = dict.fromkeys(each.payload for each in model.subscriptions)
            found = guess(printable(last[-1].topic), [each.payload for each in last])
            fits = [each for each in found if each.payload not in payloads]
            proposed = f": it looks like {fits[0].payload} ({fits[0].why})" if fits else ""
            filled |= {"payload": ", ".join(payloads), "proposed": proposed}
            return step_of("E1754", seconds=seconds, facts=facts, filled=filled)
        return step_of(
            "E1755",
            verdict=Verdict.WARNING,
            seconds=seconds,
            facts=facts,
            bad=heard.bad_count,
            filled=filled,
        )
    if not is_open and not heard.values and heard.empty:
        topic = readable(heard.empty, 200)
        return step_of("E1757", seconds=seconds, facts=facts, topic=topic, filled=filled)
    if heard.kept == heard.messages:
        return step_of(
            "E1756", verdict=Verdict.WARNING, seconds=seconds, facts=facts, filled=filled
        )
    with_values = "" if is_open else f" with {heard.values} values"
    said = f"{heard.messages} messages{with_values} came in {seconds:.0f} s, of "
    said += listed(heard.topics)
    return passed(Rung.VALUES, said, seconds, facts)


async def sparkplug_steps(
    talk: Talk,
    model: SourceModel,
    settings: MqttGatewaySettings,
    arrivals: SparkplugArrivals,
    listen_s: float,
    zones: Iterable[str],
) -> AsyncIterator[Step]:
    """The steps of a Sparkplug source; asks edge nodes for their births where `arrivals` may.

    Raises:
        ConnectionLost: it ended meanwhile.
    """
    began = time.monotonic()
    heard = arrivals.heard
    asked: set[str] = set()
    while (now := time.monotonic() - began) < listen_s:
        batch = await talk.take(min(_TAKE_S, listen_s))
        for edge in arrivals.take(batch.messages):
            topic = f"{PREFIX}/{edge.group}/NCMD/{edge.node}"
            asked.add("/".join(edge))
            talk.connection.publish(topic, rebirth_command(now_us()), qos=0, retain=False)
        if now > _ENOUGH_AFTER_S and arrivals.born and heard.messages >= _ENOUGH:
            break
    seconds = time.monotonic() - began
    step = await _of_sparkplug(talk, model, settings, arrivals, sorted(asked), seconds)
    yield step
    if not step.ends:
        yield judge_clock(arrivals.stamps, model, zones)


async def _of_sparkplug(
    talk: Talk,
    model: SourceModel,
    settings: MqttGatewaySettings,
    arrivals: SparkplugArrivals,
    asked: Sequence[str],
    seconds: float,
) -> Step:
    heard = arrivals.heard
    names = {_name(edge, device): count for (edge, device), count in arrivals.born.items()}
    facts = {
        "messages": str(heard.messages),
        "values": str(heard.values),
        "unread": str(heard.bad_count),
        "born": " ".join(f"{each}={count}" for each, count in names.items())[:2000],
        "offline": " ".join(sorted(_name(*each) for each in arrivals.dead))[:2000],
        "hosts": " ".join(
            f"{each}={'online' if up else 'offline'}" for each, up in arrivals.hosts.items()
        )[:2000],
        "asked": " ".join(asked)[:2000],
    }
    options = model.sparkplug
    filled: dict[str, object] = {"seconds": f"{seconds:.0f}", "messages": heard.messages}
    if not heard.messages:
        if not any(arrivals.hosts.values()) and (options is None or options.mode == "primary"):
            wider = await _of_nothing(talk, model, arrivals.filters[:1], seconds)
            if wider.code != "E1751":
                return wider
            hosts = listed(f"{each} says offline" for each in arrivals.hosts) or "none ever was"
            host = (options.host_id if options else "") or settings.sparkplug_host_id
            return step_of(
                "E1762", seconds=seconds, facts=facts, hosts=hosts, host=host, filled=filled
            )
        return await _of_nothing(talk, model, arrivals.filters[:1], seconds)
    if heard.bad_count == heard.messages:
        what = readable(next(iter(heard.bad.values())), 200)
        return step_of(
            "E1754", facts=facts, payload="Sparkplug B", what=what, proposed="", filled=filled
        )
    if not names and not arrivals.unknown:
        dead = listed(sorted(_name(*each) for each in arrivals.dead))
        return step_of("E1763", seconds=seconds, facts=facts, nodes=dead)
    unknown = arrivals.unknown - {edge for edge, _ in arrivals.born}
    if unknown:
        step = (
            "they were asked for their births and have not answered yet: try again; if it stays "
            "so, restart the edge node"
            if asked
            else "restart the edge node, or let the gateway ask for births: sparkplug: {mode: "
            "secondary-active} (or primary)"
        )
        nodes = listed(sorted("/".join(each) for each in unknown))
        verdict = Verdict.WARNING if names else Verdict.FAILED
        return step_of(
            "E1761", verdict=verdict, facts=facts, seconds=seconds, nodes=nodes, step=step
        )
    said = (
        f"{len(names)} edge nodes and devices were born: "
        f"{listed(f'{each} ({count} metrics)' for each, count in names.items())}"
    )
    if arrivals.dead:
        nodes = listed(sorted(_name(*each) for each in arrivals.dead))
        return step_of("E1763", verdict=Verdict.WARNING, facts=facts, seconds=seconds, nodes=nodes)
    return passed(Rung.VALUES, said, seconds, facts)


def _name(edge: tuple[str, str], device: str | None) -> str:
    return "/".join((*edge, *(() if device is None else (device,))))


async def _of_nothing(
    talk: Talk,
    model: SourceModel,
    filters: Sequence[str],
    seconds: float,
) -> Step:
    """Nothing came: what does, where more may be heard."""
    others = await _others(talk, ("#", *_above(filters)))
    own = [each for each in others if not each.startswith(f"{PREFIX}/STATE/")]
    shown = " ".join(readable(each, 200) for each in own[:50])
    filled: dict[str, object] = {
        "seconds": f"{seconds:.0f}",
        "filters": ", ".join(readable(each, 200) for each in filters),
    }
    facts = {"others": shown}
    if not own:
        return step_of("E1751", seconds=seconds, facts=facts, filled=filled)
    near = nearest(filters, own)
    if near:
        proposed = _proposed(model, near[0])
        return step_of(
            "E1752",
            seconds=seconds,
            facts=facts,
            near=listed(near),
            proposed=proposed,
            filled=filled,
        )
    return step_of("E1753", seconds=seconds, facts=facts, topics=listed(own), filled=filled)


async def _others(talk: Talk, wider: Sequence[str]) -> list[str]:
    """Topics that others send to, on the first of some filters that the broker lets us read."""
    found: dict[str, None] = {}
    try:
        for each in dict.fromkeys(wider):
            granted = await talk.subscribe((each,))
            if granted[0].is_failure:
                continue
            ends = time.monotonic() + _WIDER_S
            while time.monotonic() < ends and len(found) < _MOST_OTHERS:
                batch = await talk.take(_TAKE_S)
                found |= dict.fromkeys(printable(m.topic) for m in batch.messages)
            break
    except (ConnectionLost, TimeoutError):
        pass  # some brokers end the connection for that: then nothing more is known
    return [each for each in found if not each.startswith("$")]


def _above(filters: Sequence[str]) -> list[str]:
    firsts = (each.split("/")[0] for each in filters)
    return [f"{each}/#" for each in firsts if each not in ("+", "#")]


def _proposed(model: SourceModel, topic: str) -> str:
    """What to write in place of the source's topic so that it takes one that is much like it."""
    levels = topic.split("/")
    if not model.is_plain_mqtt:
        group, node = levels[1:2], levels[3:4]
        edge = f", edge_node: {node[0]}" if node and model.edge_node != "+" else ""
        return f"group: {group[0]}{edge}" if group else topic
    texts = [each.text for entry in model.subscriptions for each in entry.templates()]
    best = max(texts, key=lambda text: _alike(text.split("/"), levels))
    ours = best.split("/")
    if len(ours) != len(levels) and ours[-1] != "#":
        return f"topic: {topic}"
    kept = [
        our if "{" in our or our in ("+", "#") else their
        for our, their in zip(ours, levels, strict=False)
    ]
    return f"topic: {'/'.join(kept)}"


def _alike(ours: Sequence[str], theirs: Sequence[str]) -> int:
    same = sum(our == their for our, their in zip(ours, theirs, strict=False))
    return same - abs(len(ours) - len(theirs))
