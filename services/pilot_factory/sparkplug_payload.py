"""Sparkplug B payloads of an edge node: births, data, deaths (specification 3.0, chapter 6.4).
Pure; called by `sparkplug_edge.py`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from google.protobuf.message import DecodeError

from aurelian.model.sample import Value, ValueType
from aurelian.pb import sparkplug_b_pb2 as pb
from pilot_factory.simulation import Measurement, SimulatedSignal

_INT64, _UINT64, _DOUBLE, _BOOLEAN, _STRING, _BYTES = 4, 8, 10, 11, 12, 17
"""Datatypes of the specification, 6.4.16."""

DATATYPE = {
    ValueType.DOUBLE: _DOUBLE,
    ValueType.INT64: _INT64,
    ValueType.UINT64: _UINT64,
    ValueType.BOOL: _BOOLEAN,
    ValueType.TEXT: _STRING,
    ValueType.JSON: _STRING,
    ValueType.BYTES: _BYTES,
}
REBIRTH = "Node Control/Rebirth"


def node_birth(now_ms: int, bd_seq: int) -> bytes:
    """NBIRTH: sequence number 0, the birth-death number and the rebirth command."""
    payload = pb.Payload(timestamp=now_ms, seq=0)
    payload.metrics.add(name="bdSeq", timestamp=now_ms, datatype=_INT64, long_value=bd_seq)
    payload.metrics.add(name=REBIRTH, timestamp=now_ms, datatype=_BOOLEAN, boolean_value=False)
    return payload.SerializeToString()


def node_death(now_ms: int, bd_seq: int) -> bytes:
    """NDEATH: the birth-death number, no sequence number."""
    payload = pb.Payload(timestamp=now_ms)
    payload.metrics.add(name="bdSeq", timestamp=now_ms, datatype=_INT64, long_value=bd_seq)
    return payload.SerializeToString()


def device_birth(
    now_ms: int,
    seq: int,
    signals: Iterable[tuple[SimulatedSignal, int]],
    last: Mapping[SimulatedSignal, Measurement],
) -> bytes:
    """DBIRTH: every metric with name, alias, datatype, unit and its last value."""
    payload = pb.Payload(timestamp=now_ms, seq=seq)
    for signal, alias in signals:
        metric = payload.metrics.add(
            name=metric_name(signal),
            alias=alias,
            datatype=DATATYPE[signal.model.type],
            timestamp=now_ms,
        )
        if signal.model.unit:
            metric.properties.keys.append("engUnit")
            metric.properties.values.add(type=_STRING, string_value=signal.model.unit)
        measurement = last.get(signal)
        if measurement is None:
            metric.is_null = True
        else:
            metric.timestamp = measurement.source_time // 1000
            _set_value(metric, signal.model.type, measurement.value)
    return payload.SerializeToString()


def device_data(
    now_ms: int, seq: int, values: Iterable[tuple[Measurement, int]], *, historical: bool = False
) -> bytes:
    """DDATA by alias, with a timestamp per metric. `historical`: kept while the host was away."""
    payload = pb.Payload(timestamp=now_ms, seq=seq)
    for measurement, alias in values:
        metric = payload.metrics.add(alias=alias, timestamp=measurement.source_time // 1000)
        if historical:
            metric.is_historical = True
        _set_value(metric, measurement.signal.model.type, measurement.value)
    return payload.SerializeToString()


def wants_rebirth(payload: bytes) -> bool:
    """Whether an NCMD asks for new births. Unreadable bytes ask for nothing."""
    try:
        command = pb.Payload.FromString(payload)
    except DecodeError:
        return False
    return any(metric.name == REBIRTH and metric.boolean_value for metric in command.metrics)


def metric_name(signal: SimulatedSignal) -> str:
    """The metric's name: the signal's address, else its name."""
    return signal.model.address or signal.model.name


def _set_value(metric: pb.Payload.Metric, type: ValueType, value: Value) -> None:
    if value is None:
        metric.is_null = True
    elif isinstance(value, bytes):
        metric.bytes_value = value
    elif isinstance(value, str):
        metric.string_value = value
    elif isinstance(value, bool):
        metric.boolean_value = value
    elif type is ValueType.DOUBLE:
        metric.double_value = float(value)
    else:
        metric.long_value = int(value) & (2**64 - 1)  # two's complement
