"""What the gateway would do with a source's real values: mapped, held against the plant file and
put into batches by the gateway's own code, up to the outbox and not into it. For the commands and
the page."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from aurelian.edge.assembly import Assembly, Group
from aurelian.edge.event_words import said_of
from aurelian.edge.ordinals import Ordinals
from aurelian.edge.outbox.rows import RecordKind
from aurelian.model import codec
from aurelian.model.plant import Plant
from aurelian.model.sample import Flag, Value
from aurelian.model.source_model import SourceModel
from aurelian.model.time import now_us
from opcua_gateway.connect.watching import Watch, watching
from opcua_gateway.data_types.type_definitions import TypeDefinitions
from opcua_gateway.deliveries import Deliveries
from opcua_gateway.happenings import Connected, Happening
from opcua_gateway.history.holes import Holes
from opcua_gateway.items.asked import asked_of
from opcua_gateway.mapping import structured, tags_of
from opcua_gateway.session import Session, status_name
from opcua_gateway.settings import OpcuaGatewaySettings

_MOST_EVENTS = 100


@dataclass(slots=True)
class SignalRun:
    """What would become of one signal.

    Attributes:
        samples: that would be stored.
        flags, statuses: how many of them have which, by name; plainly good ones have none.
        rejects: how many values would be refused, by class (`type`, `range`, `overflow` …), and
            `reason`: why the last one would.
        value, source_time: the last one.
        refused: why the server does not give the node; empty: it does.
    """

    path: str
    address: str
    samples: int = 0
    flags: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    rejects: Counter[str] = field(default_factory=Counter)
    reason: str = ""
    value: Value = None
    source_time: int = 0
    refused: str = ""


@dataclass(slots=True)
class DryRun:
    """What would have been stored.

    Attributes:
        seconds: that values were taken.
        signals: by path.
        rejects: of no signal of the plant, by reason.
        events: births, deaths, gaps, in order, in words; the first hundred.
        batches: records of samples that would be sent.
    """

    seconds: float
    signals: dict[str, SignalRun] = field(default_factory=dict)
    rejects: Counter[str] = field(default_factory=Counter)
    events: list[str] = field(default_factory=list)
    batches: int = 0

    @property
    def samples(self) -> int:
        """Of all signals."""
        return sum(each.samples for each in self.signals.values())

    def rate(self, path: str) -> float:
        """Samples a second of a signal."""
        return self.signals[path].samples / self.seconds if self.seconds > 0 else 0.0


async def dry_run(
    session: Session,
    plant: Plant,
    model: SourceModel,
    settings: OpcuaGatewaySettings,
    seconds: float = 60.0,
    progress: Callable[[DryRun], None] | None = None,
) -> DryRun:
    """Take the values of a source's signals for some seconds and say what would become of them;
    nothing is stored. Alarms and history are left out.

    Args:
        model: a source of the plant.
        progress: told after each message, with what is known by then.

    Raises:
        AddressError: an address is unusable.
        SessionLost: the server is gone, or gives no subscription.
    """
    tags = tags_of(plant, model)
    holes = Holes(len(tags), is_on=False, longest_us=0)
    deliveries = Deliveries(model.model_copy(update={"alarms": None}), plant.owner, tags, holes)
    assembly = Assembly(settings.gateway, 0, Ordinals())
    run = DryRun(0.0, {t.signal.path: SignalRun(t.signal.path, t.model.address) for t in tags})
    addresses, names = [t.address for t in tags], [t.signal.path for t in tags]
    clock = asyncio.get_running_loop().time
    async with watching(session, model, addresses, asked_of(model, tags), names, settings) as watch:
        for handle, status in watch.refused.items():
            run.signals[names[handle]].refused = status_name(status)
        types = TypeDefinitions(
            model.key, structured(tags, watch.publishing.nodes), settings.opcua_retry_s
        )
        await types.read(session, settings.opcua_timeout_s)
        deliveries.values.names = types.names
        began = clock()
        _take(run, deliveries, assembly, Connected(False, now_us(), watch.status, ""))
        await watch.publishing.tell(watch.refused)
        while (left := began + seconds - clock()) > 0:
            happening = await _within(watch, left)
            if happening is None:
                break
            _take(run, deliveries, assembly, happening)
            run.seconds = clock() - began
            if progress is not None:
                progress(run)
        run.seconds = clock() - began
    return run


async def _within(watch: Watch, seconds: float) -> Happening | None:
    try:
        async with asyncio.timeout(seconds):
            return await watch.next()
    except TimeoutError:
        return None


def _take(run: DryRun, deliveries: Deliveries, assembly: Assembly, happening: Happening) -> None:
    delivery = deliveries.of(happening)
    count(run, assembly.assemble([delivery]))
    if delivery.ack is not None:
        delivery.ack()  # nobody stores it, and the server need not keep it


def count(run: DryRun, group: Group) -> None:
    """Count what one group would put into the outbox. Pure."""
    for entry in group.entries:
        data = entry.encode(1)
        match entry.kind:
            case RecordKind.SAMPLES:
                run.batches += 1
                _count_samples(run, data)
            case RecordKind.EVENTS:
                if len(run.events) < _MOST_EVENTS and (said := said_of(codec.decode_event(data))):
                    run.events.append(said)
            case RecordKind.REJECTED:
                rejected = codec.decode_rejected(data)
                path, _, reason = rejected.reason.partition(": ")
                if path in run.signals:
                    signal = run.signals[path]
                    signal.reason = reason
                    signal.rejects[rejected.error_class] += max(1, rejected.samples)
                else:
                    run.rejects[rejected.reason] += max(1, rejected.samples)


def _count_samples(run: DryRun, data: bytes) -> None:
    for sample in codec.decode(data).samples():
        path = sample.signal.path
        signal = run.signals.setdefault(path, SignalRun(path, ""))
        signal.samples += 1
        signal.value, signal.source_time = sample.value, sample.source_time
        if sample.status & 0xFFFF0000:
            signal.statuses[status_name(sample.status)] += 1
        for flag in Flag:
            if flag and sample.flags & flag:
                signal.flags[str(flag.name).lower()] += 1
