"""Numbers of ordinary messages as columns, by the handles of declared signals; every other message
is left to node.py. Both ways give the same values (test_lane.py). Pure; used by node.py.

Ordinary: NDATA or DDATA whose metrics are all declared numbers, present values without properties.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aurelian.edge.columns import NO_TIME
from aurelian.model.sample import Value, ValueType
from aurelian.pb import sparkplug_b_pb2 as pb
from mqtt_gateway.sparkplug.messages import Columns
from mqtt_gateway.sparkplug.values import DATETIME, UINT64, signed_bits

_LATEST_MS = 2**52
_MOST_SIGNED = 2**63 - 1


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
