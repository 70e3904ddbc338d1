"""Numbers of ordinary messages as columns, by the handles of declared signals; every other message
is left to node.py. Both ways give the same values (test_lane.py). Pure; used by node.py.

A message that lies as one before it is read all at once by its layout, others metric by metric.

Ordinary: NDATA or DDATA whose metrics are all declared numbers, present values without properties.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aurelian.edge.columns import NO_TIME
from aurelian.model.sample import Value, ValueType
from aurelian.pb import sparkplug_b_pb2 as pb
from mqtt_gateway.sparkplug.layout import BOOLEAN, INT, LONG, Gather, Layout, read
from mqtt_gateway.sparkplug.messages import Columns
from mqtt_gateway.sparkplug.values import DATETIME, UINT64, signed_bits

_LATEST_MS = 2**52
_MOST_SIGNED = 2**63 - 1

_LEAST_METRICS = 8
"""Fewer are read as fast one by one (33 and 37 us at 8, 62 and 39 at 16)."""

_MOST_LAYOUTS = 4
"""Of one device: each has some 150 bytes a metric."""

_FIRST_LEARNED = 16
"""Learning costs as much as reading five messages one by one, so it has to pay."""


@dataclass(slots=True, eq=False)
class Known:
    """A metric of a birth.

    Attributes:
        alias: of the metric; None: it has none.
        handle: of the declared signal that it is; -1: of none.
        value, kind: what it said last; kind None: nothing yet.
    """

    device: str | None
    name: str
    datatype: int
    alias: int | None = None
    handle: int = -1
    value: Value = None
    kind: ValueType | None = None


def read_numbers(
    device: str | None,
    message: pb.Payload,
    aliases: Mapping[int, Known],
    named: Mapping[str, Known],
) -> Columns | None:
    """The values of a message; None: it is not ordinary. `named`: the metrics of its device."""
    at = message.timestamp * 1000 if message.HasField("timestamp") else NO_TIME
    columns: Columns = {}
    before: ValueType | None = None
    for place, metric in enumerate(message.metrics):
        alias = metric.alias
        is_by_alias = alias or metric.HasField("alias")
        known = aliases.get(alias) if is_by_alias else named.get(metric.name)
        if known is None or known.handle < 0 or known.device != device:
            return None
        if (
            metric.is_null
            or metric.is_historical
            or metric.is_transient
            or metric.HasField("properties")
        ):
            return None
        field = metric.WhichOneof("value")
        value: float
        if field == "double_value":
            value, kind = metric.double_value, ValueType.DOUBLE
        elif field == "float_value":
            value, kind = metric.float_value, ValueType.DOUBLE
        elif field == "boolean_value":
            value, kind = metric.boolean_value, ValueType.BOOL
        elif field == "int_value" or field == "long_value":
            value = metric.int_value if field == "int_value" else metric.long_value
            datatype = metric.datatype or known.datatype
            kind = ValueType.INT64
            if bits := signed_bits(datatype):
                value &= (1 << bits) - 1
                if value >> (bits - 1):
                    value -= 1 << bits
            elif datatype == UINT64 or value > _MOST_SIGNED:
                kind = ValueType.UINT64
        else:
            return None
        if (metric.datatype or known.datatype) == DATETIME:
            return None
        time = metric.timestamp
        if time:
            if time > _LATEST_MS:
                return None
            time *= 1000
        else:
            time = 0 if metric.HasField("timestamp") else at
        if kind is not before:
            column = columns.get(kind)
            if column is None:
                column = columns[kind] = [], [], [], []
            places, handles, values, times = column
            before = kind
        places.append(place)
        handles.append(known.handle)
        values.append(value)
        times.append(time)
        known.value, known.kind = value, kind
    return columns if at < _LATEST_MS * 1000 else None


@dataclass(frozen=True, slots=True, eq=False)
class _Values:
    """Values of one type: how to read them, the places and handles of all, ascending by place, and
    the order in which they are that."""

    gathers: tuple[Gather, ...]
    order: NDArray[np.intp]
    places: list[int]
    handles: list[int]
    known: tuple[Known, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Shape:
    """A layout and what its metrics are; `bits`: (metrics,) of signed integers, 0 of others."""

    layout: Layout
    values: dict[ValueType, _Values]
    bits: NDArray[np.uint64]

    def read(self, data: bytes, message: pb.Payload) -> Columns | None:
        """The values of a message; None: it lies otherwise, or is not ordinary."""
        found = self.layout.bytes_of(data)
        at = message.timestamp * 1000 if message.HasField("timestamp") else NO_TIME
        if found is None or at >= _LATEST_MS * 1000:
            return None
        times = np.full(len(self.bits), at, np.int64)
        for gather in self.layout.times:
            said = read(found, gather)
            if said.max() > _LATEST_MS:
                return None
            times[gather.place] = said.astype(np.int64) * 1000
        columns: Columns = {}
        for kind, each in self.values.items():
            parts = []
            for gather in each.gathers:
                part = read(found, gather)
                if kind is ValueType.INT64:
                    signed = _signed(part, self.bits[gather.place])
                    if signed is None:
                        return None
                    part = signed
                parts.append(part)
            values = (parts[0] if len(parts) == 1 else np.concatenate(parts))[each.order].tolist()
            columns[kind] = each.places, each.handles, values, times[each.places].tolist()
        for kind, each in self.values.items():
            for known, value in zip(each.known, columns[kind][2], strict=True):
                known.value, known.kind = value, kind  # type: ignore[assignment]
        return columns


def _shape_of(
    data: bytes, message: pb.Payload, aliases: Mapping[int, Known], named: Mapping[str, Known]
) -> _Shape | None:
    """The shape of a message that `read_numbers` has read; None: it has none."""
    layout = Layout.of(data, len(message.metrics))
    if layout is None:
        return None
    metrics = [
        aliases[each.alias] if each.HasField("alias") else named[each.name]
        for each in message.metrics
    ]
    if len(set(map(id, metrics))) < len(metrics):
        return None  # which is its last value would be lost
    datatypes = [
        each.datatype or known.datatype
        for each, known in zip(message.metrics, metrics, strict=True)
    ]
    by_kind: dict[ValueType, list[Gather]] = {}
    for gather in layout.values:
        if gather.field in (INT, LONG):
            of_uint64 = np.array([datatypes[n] == UINT64 for n in gather.place.tolist()])
            for kind, chosen in ((ValueType.UINT64, of_uint64), (ValueType.INT64, ~of_uint64)):
                if chosen.any():
                    some = Gather(gather.field, gather.place[chosen], gather.at[chosen])
                    by_kind.setdefault(kind, []).append(some)
        else:
            kind = ValueType.BOOL if gather.field == BOOLEAN else ValueType.DOUBLE
            by_kind.setdefault(kind, []).append(gather)
    values = {}
    for kind, gathers in by_kind.items():
        place = np.concatenate([each.place for each in gathers])
        order = np.argsort(place)
        places = place[order].tolist()
        known = tuple(metrics[n] for n in places)
        handles = [each.handle for each in known]
        values[kind] = _Values(tuple(gathers), order, places, handles, known)
    bits = np.array([signed_bits(each) for each in datatypes], np.uint64)
    return _Shape(layout, values, bits)


def _signed(found: NDArray[np.uint64], bits: NDArray[np.uint64]) -> NDArray[np.int64] | None:
    """Integers as their datatypes have them, `bits` as in `_Shape`; None: one without a sign that
    is beyond int64."""
    unsigned = bits == 0
    if (found[unsigned] > _MOST_SIGNED).any():
        return None
    # Shifted up, and as a signed number down again: the bits above go, and the sign comes.
    unused = np.where(unsigned, 0, 64 - bits).astype(np.uint64)
    shifted: NDArray[np.int64] = (found << unused).view(np.int64)
    return shifted >> unused.view(np.int64)


class DeviceNumbers:
    """The numbers of one device's messages; all at once where a message lies as one before.

    Attributes:
        at_once: messages that were read so.
    """

    def __init__(self, device: str | None) -> None:
        self._device = device
        self._seen: dict[int, _Shape | None] = {}  # by length; None: seen once
        self._learned = self.at_once = 0

    def read(
        self,
        data: bytes,
        message: pb.Payload,
        aliases: Mapping[int, Known],
        named: Mapping[str, Known],
    ) -> Columns | None:
        """As `read_numbers`. `data`: what the message was read from; the mappings have to be those
        of the births that they were at the first call."""
        shape = self._seen.get(len(data))
        if shape is not None and (columns := shape.read(data, message)) is not None:
            self.at_once += 1
            return columns
        columns = read_numbers(self._device, message, aliases, named)
        if columns is not None and len(message.metrics) >= _LEAST_METRICS:
            if len(data) not in self._seen:
                if len(self._seen) >= _MOST_LAYOUTS:
                    del self._seen[next(iter(self._seen))]
                self._seen[len(data)] = None
            elif self._learned < _FIRST_LEARNED + self.at_once // 4:
                self._learned += 1
                self._seen[len(data)] = _shape_of(data, message, aliases, named)
        return columns
