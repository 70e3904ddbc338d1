"""What a host knows of one edge node: births, metrics by name and alias, templates, last values.
Pure; used by host.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from aurelian.model.evidence import UNCERTAIN_LAST_USABLE
from aurelian.model.sample import GOOD, Flag, Value, ValueType
from aurelian.pb import sparkplug_b_pb2 as pb
from mqtt_gateway.sparkplug.lane import DeviceNumbers, Known
from mqtt_gateway.sparkplug.messages import (
    REBIRTH,
    Action,
    Described,
    Edge,
    Irregular,
    Measured,
    Numbers,
    Refused,
    RefusedValues,
    Stale,
    Told,
    Topic,
    Unreadable,
)
from mqtt_gateway.sparkplug.rebirths import Wish
from mqtt_gateway.sparkplug.templates import Templates
from mqtt_gateway.sparkplug.values import (
    NAMES,
    TEMPLATE,
    Undecodable,
    flags_of,
    properties_of,
    quality_of,
    time_of,
    to_name,
    to_value,
)

NEVER = float("inf")

_CONTROLS = ("Node Control/", "Device Control/", "CMD/Node Control/", "CMD/Device Control/")
"""Names of commands begin so; the second two are mqtt-spb-wrapper's."""

_DATA_PREFIX = "DATA/"
"""That mqtt-spb-wrapper puts before a metric's name in births, and not in data."""

_KEPT_TEXT = 1000

HandleOf = Callable[[Edge, str | None, str], int]
"""The handle of a device's metric, -1 where it is no declared signal."""


def _of_none(edge: Edge, device: str | None, name: str) -> int:
    return -1


class Held(NamedTuple):
    """A message that came; `since`: monotonic seconds, `at`: microseconds since 1970."""

    since: float
    topic: Topic
    name: str
    message: pb.Payload
    payload: bytes
    at: int


@dataclass(slots=True)
class Node:
    """One edge node. The fields of its order and its births are host.py's.

    Attributes:
        cold: its names are known by what the broker kept of its births, and no live message came.
        earlier: birth-death numbers of its sessions before.
        born_ms: time of its birth as it says, milliseconds since 1970; 0: it says none.
        born_since: monotonic time of its birth.
        expected: the sequence number that comes next.
        whole_at: microseconds since 1970, when the message before that one came.
        dead_at: when it counts as dead, unless it is heard before.
        held, doubtful: messages by number, that wait for one before them, or that may be of the
            session before.
        given_up: numbers that are not waited for any more.
        unborn: devices that its new birth must bring again, and until when.
        kept: births of its devices that the broker kept, until its own is there.
    """

    edge: Edge
    strict: bool = False
    handle_of: HandleOf = _of_none
    online: bool = False
    cold: bool = False
    bd_seq: int | None = None
    earlier: set[int] = field(default_factory=set)
    born_ms: int = 0
    born_since: float = -NEVER
    expected: int = 0
    whole_at: int = 0
    dead_at: float = NEVER
    in_doubt: bool = False
    devices: set[str] = field(default_factory=set)
    cold_devices: set[str] = field(default_factory=set)
    all_devices: set[str] = field(default_factory=set)
    unborn: dict[str, float] = field(default_factory=dict)
    held: dict[int, Held] = field(default_factory=dict)
    doubtful: dict[int, Held] = field(default_factory=dict)
    given_up: set[int] = field(default_factory=set)
    kept: list[Held] = field(default_factory=list)
    wish: Wish = field(default_factory=Wish)
    _metrics: dict[str | None, dict[str, Known]] = field(default_factory=dict)
    _aliases: dict[int, Known] = field(default_factory=dict)
    _numbers: dict[str | None, DeviceNumbers] = field(default_factory=dict)
    _templates: Templates = field(default_factory=Templates)
    _last: dict[str | None, dict[str, tuple[Value, ValueType]]] = field(default_factory=dict)

    def reset(self) -> None:
        """A birth of the node begins: nothing of before holds, but what its devices said last."""
        for device, metrics in self._metrics.items():
            if device is not None:
                self._last.setdefault(device, {}).update(_said_last(metrics))
        self._metrics.clear()
        self._aliases.clear()
        self._templates.clear()
        self._last.pop(None, None)
        self.held.clear()
        self.doubtful.clear()
        self.given_up.clear()
        self.cold_devices.clear()
        self.kept.clear()
        self.cold = self.in_doubt = False
        self.dead_at = NEVER

    def irregular(self, rule: str, detail: str) -> Irregular:
        """A broken rule."""
        return Irregular(self.edge, rule, detail)

    def learn(self, device: str | None, message: pb.Payload) -> Iterator[Irregular]:
        """Take the metrics of a birth."""
        reused, untyped, controlled = 0, 0, device is not None
        self.forget(device)
        metrics = self._metrics.setdefault(device, {})
        for metric in message.metrics:
            if not metric.name:
                continue
            name = to_name(metric.name)
            handle = -1 if _is_ours(name) else self.handle_of(self.edge, device, name)
            alias = metric.alias if metric.HasField("alias") else None
            known = metrics[name] = Known(device, name, metric.datatype, alias, handle)
            controlled = controlled or name == REBIRTH
            if alias is not None:
                reused += alias in self._aliases
                self._aliases[alias] = known
            if not metric.datatype:
                untyped += 1
            if metric.WhichOneof("value") == "template_value":
                template = metric.template_value
                if template.is_definition and device is None:
                    self._templates.define(name, template)
        self._last.pop(device, None)
        if reused:
            yield self.irregular("birth-alias", f"{reused} aliases stand for two metrics")
        if untyped:
            yield self.irregular("birth-datatype", f"{untyped} metrics without datatype")
        if not controlled:
            yield self.irregular("nbirth-rebirth", f"no metric {REBIRTH}")

    def describe(self, message: pb.Payload) -> tuple[Described, ...]:
        """The metrics of a birth, members of templates among them, after `learn`."""
        found: list[Described] = []
        for metric in message.metrics:
            name = to_name(metric.name)
            if not name or _is_ours(name):
                continue
            if metric.WhichOneof("value") != "template_value":
                found.append(_described(name, metric, metric.datatype))
            elif not metric.template_value.is_definition:
                try:
                    members = self._templates.members(name, metric.template_value, whole=True)
                except Undecodable:
                    continue
                found += [_described(each.name, each.metric, each.datatype) for each in members]
        return tuple(found)

    def forget(self, device: str | None) -> None:
        """Forget what a device's birth said: its next data need a new one."""
        self._numbers.clear()
        for known in self._metrics.pop(device, {}).values():
            if known.alias is not None and self._aliases.get(known.alias) is known:
                del self._aliases[known.alias]

    def stale(self, device: str | None, time: int | None) -> Iterator[Stale]:
        """Take the last values of a device's metrics (None: the node's own) as stale."""
        last = self._last.pop(device, {})
        metrics = self._metrics.get(device, {})
        last.update(_said_last(metrics))
        for known in metrics.values():
            known.kind = None
        if last:
            values = tuple((name, value, kind) for name, (value, kind) in last.items())
            yield Stale(self.edge, device, values, time)

    def values(self, device: str | None, found: Held, flags: Flag) -> Iterator[Action]:
        """The values of a message. `flags`: INITIAL of a birth, RETAINED too of one that the broker
        kept."""
        if flags is Flag.NONE:
            named = self._metrics.get(device, {})
            if device not in self._numbers:
                self._numbers[device] = DeviceNumbers(device)
            numbers = self._numbers[device].read(found.payload, found.message, self._aliases, named)
            if numbers is not None:
                if numbers:
                    yield Numbers(self.edge, device, numbers)
                return
        reader = _Reader(self, device, found, flags)
        for metric in found.message.metrics:
            known = self._known(device, metric, reader)
            if known is None:
                reader.unknown += 1
            elif not _is_ours(known.name):
                try:
                    reader.read(known, metric)
                except Undecodable as error:
                    at = time_of(metric, found.message)
                    reason = f"metric {known.name[:60]!r}: {error}"
                    reader.broken.append(Unreadable(known.name, reason, at))
        for each in reader.values:
            if not each.flags & (Flag.HISTORICAL | Flag.TRANSIENT):
                self._keep(device, each)
        yield from reader.rules.values()
        if reader.values:
            yield Told(self.edge, device, (*reader.values, *reader.qualities))
        if reader.broken:
            broken = tuple(reader.broken)
            yield RefusedValues(found.name, found.payload, self.edge, device, broken)
        if reader.unknown:
            reason = f"{reader.unknown} metrics were in no birth"
            yield Refused(found.name, found.payload, reason, "unknown_metric", reader.unknown)
            self.wish.want(reason)

    def _keep(self, device: str | None, said: Measured) -> None:
        small = not isinstance(said.value, str | bytes) or len(said.value) <= _KEPT_TEXT
        value, kind = (said.value, said.type) if small else (None, ValueType.NULL)
        known = self._metrics.get(device, {}).get(said.name)
        if known is not None:
            known.value, known.kind = value, kind
        else:  # a template's member
            self._last.setdefault(device, {})[said.name] = value, kind

    def _known(
        self, device: str | None, metric: pb.Payload.Metric, reader: _Reader
    ) -> Known | None:
        known = self._aliases.get(metric.alias) if metric.HasField("alias") else None
        if known is None and metric.name:
            name = to_name(metric.name)
            metrics = self._metrics.get(device, {})
            known = metrics.get(name)
            if known is None and not self.strict:
                known = metrics.get(_DATA_PREFIX + name)
                if known is not None:
                    reader.rule("data-name", f"{name[:60]!r} was born as {known.name[:60]!r}")
        return None if known is None or known.device != device else known


@dataclass(slots=True)
class _Reader:
    """Values of one message."""

    node: Node
    device: str | None
    found: Held
    flags: Flag
    values: list[Measured] = field(default_factory=list)
    qualities: list[Measured] = field(default_factory=list)
    broken: list[Unreadable] = field(default_factory=list)
    rules: dict[str, Irregular] = field(default_factory=dict)
    unknown: int = 0

    def rule(self, rule: str, detail: str) -> None:
        """Note a broken rule, once a message."""
        if rule not in self.rules:
            self.rules[rule] = self.node.irregular(rule, detail)

    def read(self, known: Known, metric: pb.Payload.Metric) -> None:
        """Take a metric's value, or those of its members."""
        if metric.WhichOneof("value") == "template_value":
            self._read_template(known, metric)
        elif metric.is_null and known.datatype == TEMPLATE:
            below = f"{known.name}/"
            for name in self.node._last.get(self.device, ()):
                if name.startswith(below):
                    self._take(name, metric, metric, 0)
        else:
            self._take(known.name, metric, metric, metric.datatype or known.datatype)

    def _read_template(self, known: Known, metric: pb.Payload.Metric) -> None:
        template, is_birth = metric.template_value, bool(self.flags & Flag.INITIAL)
        templates, strict = self.node._templates, self.node.strict
        if template.is_definition:
            if self.found.topic.kind != "NBIRTH":
                self.rule("template-definition", f"{known.name[:60]!r} stands outside NBIRTH")
            return
        reference = to_name(template.template_ref)
        has_definition = templates.knows(reference)
        if not has_definition:
            self.rule("template-reference", f"no definition {reference[:60]!r} was born")
            if strict:
                self.unknown += 1
                return
        for member in templates.members(known.name, template, whole=is_birth):
            if has_definition and not member.defined:
                self.rule("template-member", f"{member.name[:60]!r} is not in its definition")
                if strict:
                    self.unknown += 1
                    continue
            if member.given or member.metric.WhichOneof("value") is not None:
                self._take(member.name, member.metric, metric, member.datatype)

    def _take(
        self, name: str, metric: pb.Payload.Metric, around: pb.Payload.Metric, datatype: int
    ) -> None:
        """`around`: the metric that it is a member of, or itself."""
        value, kind = to_value(metric, datatype)
        message = self.found.message
        has_time = around is metric or metric.HasField("timestamp")
        time = time_of(metric if has_time else around, message)
        status, said = quality_of(metric)
        flags = self.flags | flags_of(metric)
        if around is not metric:
            flags |= flags_of(around)
            if not metric.HasField("properties"):
                status, said = quality_of(around)
        if flags & Flag.RETAINED and status == GOOD:
            status = UNCERTAIN_LAST_USABLE  # what a broker kept was true once
        self.values.append(Measured(name, value, kind, time, status, flags))
        if said is not None:
            quality = f"{name}/Quality"
            self.qualities.append(Measured(quality, said, ValueType.TEXT, time, status, flags))


def _said_last(metrics: dict[str, Known]) -> dict[str, tuple[Value, ValueType]]:
    return {
        known.name: (known.value, known.kind)
        for known in metrics.values()
        if known.kind is not None
    }


def _is_ours(name: str) -> bool:
    """Whether a metric is of the protocol, and no machine's."""
    return name == "bdSeq" or name.startswith(_CONTROLS)


def _described(name: str, metric: pb.Payload.Metric, datatype: int) -> Described:
    said = properties_of(metric.properties) if metric.HasField("properties") else {}
    said.pop("Quality", None)
    unit = said.pop("engUnit", None)
    alias = metric.alias if metric.HasField("alias") else None
    typed = NAMES[datatype] if datatype < len(NAMES) else str(datatype)
    return Described(name, alias, typed, unit if isinstance(unit, str) else "", said)
