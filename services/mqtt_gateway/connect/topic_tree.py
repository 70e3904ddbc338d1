"""What was heard at a broker as a tree of topics, for a command and a page. Pure; made of
sightings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from aurelian.edge.names import readable
from aurelian.pb import sparkplug_b_pb2 as pb
from mqtt_gateway.connect.formats import SPARKPLUG, Guess, guess
from mqtt_gateway.connect.sightings import Machine, Sighting, Sightings
from mqtt_gateway.sparkplug.messages import Edge
from mqtt_gateway.sparkplug.payload import UnreadablePayload, read_payload
from mqtt_gateway.sparkplug.values import Undecodable, to_name, to_value

_SHOWN = 200
_SHOWN_METRICS = 8
_MOST_METRICS = 1000


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of a Sparkplug birth; `unit`: its engUnit; `last`: its last value, printable."""

    name: str
    datatype: str
    unit: str
    last: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What came on one topic.

    Attributes:
        messages: how many; `kept`: those among them that the broker had kept.
        rate: new messages a second; 0: fewer than two came.
        size: bytes of the last payload; `last`: its beginning, printable.
        payload: how it is written, as the plant file says it; empty: nobody can tell.
        why: it is taken for that.
        fits: all that would fit, the likeliest first.
    """

    messages: int
    kept: int
    rate: float
    size: int
    last: str
    payload: str
    why: str
    fits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Level:
    """A level of topics.

    Attributes:
        name: of the level; topic: down to it.
        messages: of it and all below.
        seen: what came on this very topic; None: nothing.
        metrics: of the Sparkplug node or device that its birth is of.
        below: further levels, by name.
    """

    name: str
    topic: str
    messages: int
    seen: Seen | None = None
    metrics: tuple[Metric, ...] = ()
    below: tuple[Level, ...] = ()

    def as_json(self) -> dict[str, object]:
        """For a program."""
        return asdict(self)


@dataclass(slots=True)
class _Growing:
    name: str
    topic: str
    messages: int = 0
    seen: Seen | None = None
    metrics: tuple[Metric, ...] = ()
    below: dict[str, _Growing] = field(default_factory=dict)

    def finish(self) -> Level:
        below = tuple(self.below[name].finish() for name in sorted(self.below))
        return Level(self.name, self.topic, self.messages, self.seen, self.metrics, below)


def tree_of(sightings: Sightings) -> Level:
    """The tree; its root has no name."""
    root = _Growing("", "")
    for topic, sighting in sightings.topics.items():
        at = root
        at.messages += sighting.messages
        for n, name in enumerate(topic.split("/")):
            if name not in at.below:
                at.below[name] = _Growing(name, "/".join(topic.split("/")[: n + 1]))
            at = at.below[name]
            at.messages += sighting.messages
        at.seen = seen_of(topic, sighting)
        at.metrics = _metrics_of(topic, sightings.machines)
    return root.finish()


def seen_of(topic: str, sighting: Sighting) -> Seen:
    """What came on one topic."""
    samples = [each.payload for each in sighting.samples]
    fits: Sequence[Guess] = guess(topic, samples)
    best = fits[0] if fits else None
    return Seen(
        messages=sighting.messages,
        kept=sighting.kept,
        rate=round(sighting.rate, 3),
        size=sighting.size,
        last=shown(samples[-1], best.payload if best else "") if samples else "",
        payload=best.payload if best else "",
        why=best.why if best else "there is nothing to look at: it was empty, or too large",
        fits=tuple(dict.fromkeys(each.payload for each in fits)),
    )


def shown(payload: bytes, written: str) -> str:
    """The beginning of a payload for people: text as it is, Sparkplug as its metrics, bytes in
    hexadecimal."""
    if written == SPARKPLUG:
        return _shown_metrics(payload)
    try:
        text = payload[: 4 * _SHOWN].decode()
    except UnicodeDecodeError as error:
        # Cut within a character is no fault of the payload's.
        if len(payload) <= 4 * _SHOWN or error.start < 4 * _SHOWN - 3:
            return payload[: _SHOWN // 2].hex(" ")[:_SHOWN]
        text = payload[: error.start].decode()
    if any(ord(each) < 32 and each not in "\t\r\n" for each in text):
        return payload[: _SHOWN // 2].hex(" ")[:_SHOWN]
    return readable(" ".join(text.split()), _SHOWN)


def _shown_metrics(payload: bytes) -> str:
    try:
        message = read_payload(payload)
    except UnreadablePayload as error:
        return str(error)[:_SHOWN]
    texts = [_shown_metric(each) for each in message.metrics[:_SHOWN_METRICS]]
    more = len(message.metrics) - len(texts)
    return readable(", ".join(texts) + (f" and {more} more" if more > 0 else ""), 2 * _SHOWN)


def _shown_metric(metric: pb.Payload.Metric) -> str:
    name = to_name(metric.name) or f"alias {metric.alias}"
    try:
        value, _ = to_value(metric, metric.datatype)
    except Undecodable as error:
        return f"{name}: {error}"
    return f"{name} = {shown_value(value)}"


def shown_value(value: object) -> str:
    """A value for people."""
    if isinstance(value, bytes):
        return value[:20].hex(" ")
    text = value if isinstance(value, str) else json.dumps(value)
    return readable(text, 60)


def _metrics_of(
    topic: str, machines: Mapping[tuple[Edge, str | None], Machine]
) -> tuple[Metric, ...]:
    """Those of the birth that came on a topic."""
    parts = topic.split("/")
    if len(parts) not in (4, 5) or parts[2] not in ("NBIRTH", "DBIRTH"):
        return ()
    machine = machines.get((Edge(parts[1], parts[3]), parts[4] if len(parts) == 5 else None))
    if machine is None:
        return ()
    return tuple(
        Metric(
            readable(each.name, _SHOWN),
            each.datatype,
            readable(each.unit, 60),
            shown_value(machine.values[name][-1][0]) if machine.values.get(name) else "",
        )
        for name, each in list(machine.metrics.items())[:_MOST_METRICS]
    )
