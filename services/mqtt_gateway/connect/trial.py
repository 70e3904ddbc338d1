"""A plant file tried with real messages: the real mapping, up to the records of the outbox and not
into it. Called by the commands and by the control API; nothing is stored, and no message of another
session is acknowledged."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field, replace

from aurelian.edge.assembly import Assembly, Delivery
from aurelian.edge.event_words import said_of
from aurelian.edge.names import readable
from aurelian.edge.ordinals import Ordinals
from aurelian.edge.outbox.rows import RecordKind
from aurelian.model import codec
from aurelian.model.plant import Plant
from aurelian.model.sample import Sample
from aurelian.model.source_model import SourceModel
from aurelian.model.time import now_us
from mqtt_gateway.connect.attempt import signed_in, wanted_of
from mqtt_gateway.json_messages import JsonMessages
from mqtt_gateway.mapping import SignalMap, printable
from mqtt_gateway.opening import ConnectionLost
from mqtt_gateway.packets import Arrived
from mqtt_gateway.refusals import Refusal
from mqtt_gateway.settings import MqttGatewaySettings
from mqtt_gateway.sparkplug.host import Host
from mqtt_gateway.sparkplug.mapping import ActionMap
from mqtt_gateway.sparkplug.messages import PREFIX, parse_topic, rebirth_command
from mqtt_gateway.sparkplug.units import SparkplugUnits

TRIAL_S = 60.0
_TAKE_S = 0.25
_MOST = 2000
_MOST_SAID = 100


@dataclass(frozen=True, slots=True)
class Refusing:
    """A reject: why, its class, the topic or signal that it came from."""

    reason: str
    error_class: str
    origin: str


@dataclass(slots=True)
class Trial:
    """What a source would bring.

    Attributes:
        messages: that came.
        samples: that would be stored.
        newest: the last sample of each declared signal, by path.
        counts: samples of each signal, by path.
        said: births, deaths and gaps in words, the first hundred.
        discovered: the last sample of each signal that the plant file does not have, by path.
        rejects: how often each was refused; values by the ledger's count in `rejected`.
        silent: paths of declared signals of which nothing came.
        events: births, deaths and gaps that would be kept.
        skipped: messages that a rule leaves out.
    """

    silent: set[str]
    messages: int = 0
    samples: int = 0
    rejected: int = 0
    skipped: int = 0
    events: int = 0
    newest: dict[str, Sample] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    said: list[str] = field(default_factory=list)
    discovered: dict[str, Sample] = field(default_factory=dict)
    rejects: Counter[Refusing] = field(default_factory=Counter)


class _Records:
    """Deliveries as the records that the outbox would take."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._assembly = Assembly("trial", 1, Ordinals())

    def take(self, deliveries: Iterable[Delivery]) -> None:
        trial = self._trial
        group = self._assembly.assemble(deliveries)
        for count in group.counts:
            trial.skipped += count.skipped
            trial.rejected += count.rejected
        for entry in group.entries:
            data = entry.encode(1)
            match entry.kind:
                case RecordKind.SAMPLES:
                    for sample in codec.decode(data).samples():
                        self._note(sample)
                case RecordKind.REJECTED:
                    found = codec.decode_rejected(data)
                    key = Refusing(found.reason, found.error_class, found.origin)
                    if key in trial.rejects or len(trial.rejects) < _MOST:
                        trial.rejects[key] += 1
                case RecordKind.EVENTS:
                    trial.events += 1
                    if len(trial.said) < _MOST_SAID:
                        trial.said.append(said_of(codec.decode_event(data)))

    def _note(self, sample: Sample) -> None:
        trial, path = self._trial, sample.signal.path
        trial.samples += 1
        trial.silent.discard(path)
        into = trial.discovered if sample.signal.discovered else trial.newest
        if path in into or len(into) < _MOST:
            into[path] = sample
            trial.counts[path] += 1


class _Plain:
    def __init__(self, plant: Plant, model: SourceModel, settings: MqttGatewaySettings) -> None:
        self._messages = JsonMessages(plant, model, settings, counted=False)
        self.filters = self._messages.filters

    def take(self, messages: list[Arrived]) -> tuple[list[Delivery], list[tuple[str, str]]]:
        return list(self._messages.deliveries(messages)) if messages else [], []


class _Sparkplug:
    def __init__(self, plant: Plant, model: SourceModel, settings: MqttGatewaySettings) -> None:
        self._model, self._owner = model, plant.owner
        signals = SignalMap(plant, model, settings.mqtt_max_discovered)
        units = SparkplugUnits(signals.units, any_group=model.group == "+")
        self._map = ActionMap(model, plant.owner, signals, units, counted=False)
        options = model.sparkplug
        passive = options is not None and options.mode == "secondary-passive"
        self._host = Host(
            reorder_s=settings.sparkplug_reorder_s,
            ask_rebirth=settings.sparkplug_ask_rebirth and not passive,
            strict=options is not None and options.strict,
            handle_of=self._map.handle_of,
            chance=random.Random(),
        )
        self.filters = (f"{PREFIX}/{model.group}/+/{model.edge_node}/#",)

    def take(self, messages: list[Arrived]) -> tuple[list[Delivery], list[tuple[str, str]]]:
        actions = []
        for each in messages:
            name = printable(each.topic)
            topic = parse_topic(name)
            if topic is not None and not each.retained and name.encode() == each.topic:
                now = time.monotonic()
                actions += self._host.receive(topic, name, each.payload, now, each.at)
        actions += self._host.tick(time.monotonic())
        at = now_us()
        deliveries, asked = [], []
        for said in self._map.map(actions, at):
            asked += [(edge.group, edge.node) for edge, _ in said.rebirths]
            deliveries.append(
                Delivery(
                    source=self._model,
                    owner=self._owner,
                    received_at=at,
                    columns=said.numbers.finish(self._map.table),
                    readings=said.readings,
                    rejects=said.rejects,
                    events=said.events,
                )
            )
        return deliveries, asked


async def try_out(
    plant: Plant,
    model: SourceModel,
    settings: MqttGatewaySettings,
    seconds: float = TRIAL_S,
    *,
    every_s: float = 1.0,
) -> AsyncIterator[Trial]:
    """Yield what a source of the plant would bring, every second and at the end: one and the same
    object, that grows. Nothing is published but requests for births that the source's mode allows.

    Raises:
        ConnectionLost: no broker, it does not take us, or refuses the subscription.
        PasswordError, OSError, ValueError: no connection comes about, or a topic is unusable.
    """
    paths = {
        signal.path
        for unit in plant.units()
        if unit.model.source == model.id
        for signal in unit.signals()
    }
    trial = Trial(silent=paths)
    records = _Records(trial)
    source = (_Sparkplug if model.kind == "sparkplug" else _Plain)(plant, model, settings)
    async with signed_in(replace(wanted_of(model, settings), filters=source.filters)) as talk:
        granted = await talk.subscribe(source.filters)
        if refused := [str(each) for each in granted if each.is_failure]:
            said = f"the broker refuses {readable(', '.join(source.filters))}: {refused[0]}"
            raise ConnectionLost(said, Refusal("look at the broker's access list"))
        began = yielded = time.monotonic()
        while (now := time.monotonic()) - began < seconds:
            batch = await talk.take(min(_TAKE_S, seconds))
            trial.messages += len(batch.messages)
            deliveries, asked = source.take(batch.messages)
            records.take(deliveries)
            for group, node in asked:
                topic, command = f"{PREFIX}/{group}/NCMD/{node}", rebirth_command(now_us())
                talk.connection.publish(topic, command, qos=0, retain=False)
            if now - yielded >= every_s:
                yielded = now
                yield trial
    yield trial
