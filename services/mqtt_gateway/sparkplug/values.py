"""Sparkplug B metrics to values: datatypes, two's complement, arrays, data sets, properties. Pure;
called by node.py and templates.py."""

from __future__ import annotations

import base64
import json
import math
import struct

from aurelian.model.sample import GOOD, Flag, Value, ValueType
from aurelian.model.time import to_datetime, to_iso_ms
from aurelian.pb import sparkplug_b_pb2 as pb
from mqtt_gateway import quality

DATETIME, TEMPLATE = 13, 19
"""Datatypes are numbered as in the specification, 6.4.16."""

NAMES = (
    "Unknown",
    *("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64"),
    *("Float", "Double", "Boolean", "String", "DateTime", "Text", "UUID", "DataSet", "Bytes"),
    *("File", "Template", "PropertySet", "PropertySetList"),
    *("Int8Array", "Int16Array", "Int32Array", "Int64Array"),
    *("UInt8Array", "UInt16Array", "UInt32Array", "UInt64Array", "FloatArray", "DoubleArray"),
    *("BooleanArray", "StringArray", "DateTimeArray"),
)

_SIGNED_BITS = {1: 8, 2: 16, 3: 32, 4: 64}
UINT64 = 8
_ARRAYS = {
    22: "b",
    23: "h",
    24: "i",
    25: "q",
    26: "B",
    27: "H",
    28: "I",
    29: "Q",
    30: "f",
    31: "d",
    34: "Q",
}
_BOOLEAN_ARRAY, _STRING_ARRAY, _DATETIME_ARRAY = 32, 33, 34


class Undecodable(ValueError):
    """A metric's value contradicts its datatype; the text says how."""


def to_value(metric: pb.Payload.Metric, datatype: int) -> tuple[Value, ValueType]:
    """A metric's value and type. `datatype`: from the metric, else from its birth; 0: as the field
    says.

    DateTime is an ISO 8601 text; arrays and data sets are JSON texts, with null for NaN and
    infinity.

    Raises:
        Undecodable: an array that does not fit its bytes, a time beyond the calendar, or a
            template.
    """
    field = metric.WhichOneof("value")
    if field is None or metric.is_null:
        return None, ValueType.NULL
    if datatype == DATETIME:
        return _iso(_integer(metric, field)), ValueType.TEXT
    match field:
        case "int_value" | "long_value":
            number = _integer(metric, field)
            if datatype in _SIGNED_BITS:
                return signed(number, _SIGNED_BITS[datatype]), ValueType.INT64
            return (
                number,
                ValueType.UINT64 if datatype == UINT64 or number >= 2**63 else ValueType.INT64,
            )
        case "float_value" | "double_value":
            return float(getattr(metric, field)), ValueType.DOUBLE
        case "boolean_value":
            return metric.boolean_value, ValueType.BOOL
        case "string_value":
            return _text(metric.string_value)
        case "bytes_value":
            return _from_bytes(metric.bytes_value, datatype)
        case "dataset_value":
            return _json(_data_set(metric.dataset_value)), ValueType.JSON
        case _:
            raise Undecodable("a template is no value; its members are (templates.py)")


def signed(number: int, bits: int) -> int:
    """Two's complement: a negative number arrives as a large one. Wider bits than `bits` are
    cut."""
    number &= (1 << bits) - 1
    return number - (1 << bits) if number >> (bits - 1) else number


def signed_bits(datatype: int) -> int:
    """Width of a signed integer; 0: it is none."""
    return _SIGNED_BITS.get(datatype, 0)


def to_name(name: str | bytes) -> str:
    r"""A name as text. What is no UTF-8 comes as bytes: `\xff` for each that does not fit."""
    return name.decode(errors="backslashreplace") if isinstance(name, bytes) else name


def bd_seq(message: pb.Payload) -> int | None:
    """The number that ties a node's death to its birth; None where there is none."""
    for metric in message.metrics:
        if metric.name == "bdSeq" and metric.WhichOneof("value") in ("int_value", "long_value"):
            return int(metric.long_value or metric.int_value)
    return None


def time_of(metric: pb.Payload.Metric, message: pb.Payload) -> int | None:
    """A metric's time, else its message's, as microseconds since 1970."""
    if metric.HasField("timestamp"):
        return metric.timestamp * 1000
    return message.timestamp * 1000 if message.HasField("timestamp") else None


def flags_of(metric: pb.Payload.Metric) -> Flag:
    """HISTORICAL and TRANSIENT as the metric says."""
    flags = Flag.HISTORICAL if metric.is_historical else Flag.NONE
    return flags | Flag.TRANSIENT if metric.is_transient else flags


def quality_of(metric: pb.Payload.Metric) -> tuple[int, str | None]:
    """The status that the property Quality says (0 bad, 192 good, 500 stale), and None.

    Any other quality is Uncertain: the specification does not say what it means, so its raw value
    comes with it as text.
    """
    if not metric.HasField("properties"):
        return GOOD, None
    for key, found in zip(metric.properties.keys, metric.properties.values, strict=False):
        if key != "Quality":
            continue
        field = found.WhichOneof("value")
        raw: object = None if field is None or found.is_null else getattr(found, field)
        if field == "int_value" and isinstance(raw, int):
            raw = signed(raw, 32)
        status = quality.of_sparkplug(raw)
        return (quality.UNCERTAIN, str(raw)[:200]) if status is None else (status, None)
    return GOOD, None


def _text(text: str | bytes) -> tuple[Value, ValueType]:
    return (text, ValueType.BYTES) if isinstance(text, bytes) else (text, ValueType.TEXT)


def _integer(metric: pb.Payload.Metric, field: str) -> int:
    try:
        return int(getattr(metric, field))
    except (TypeError, ValueError) as error:
        raise Undecodable(f"{field} is no number") from error


def _from_bytes(data: bytes, datatype: int) -> tuple[Value, ValueType]:
    if datatype in _ARRAYS:
        code = _ARRAYS[datatype]
        if len(data) % struct.calcsize(f"<{code}"):
            raise Undecodable(f"{len(data)} bytes are no array of datatype {datatype}")
        items = [each[0] for each in struct.iter_unpack(f"<{code}", data)]
        return _json(
            [_iso(each) for each in items] if datatype == _DATETIME_ARRAY else items
        ), ValueType.JSON
    if datatype == _BOOLEAN_ARRAY:
        return _json(_booleans(data)), ValueType.JSON
    if datatype == _STRING_ARRAY:
        texts = data.decode(errors="replace").split("\0")
        return _json(texts[:-1] if texts[-1] == "" else texts), ValueType.JSON
    return bytes(data), ValueType.BYTES


def _booleans(data: bytes) -> list[bool]:
    """A count of four bytes, then bits, the first in the highest place."""
    count = int.from_bytes(data[:4], "little")
    bits = data[4:]
    if len(data) < 4 or count > len(bits) * 8:
        raise Undecodable(f"{len(data)} bytes are no array of {count} booleans")
    return [bool(bits[n // 8] >> (7 - n % 8) & 1) for n in range(count)]


def _data_set(found: pb.Payload.DataSet) -> object:
    types = list(found.types)
    rows = []
    for row in found.rows:
        cells: list[object] = []
        for n, element in enumerate(row.elements):
            field = element.WhichOneof("value")
            cell = None if field is None else getattr(element, field)
            if type(cell) is int and n < len(types):
                if types[n] in _SIGNED_BITS:
                    cell = signed(cell, _SIGNED_BITS[types[n]])
                elif types[n] == DATETIME:
                    cell = _iso(cell)
            cells.append(cell)
        rows.append(cells)
    return {"columns": list(found.columns), "types": types, "rows": rows}


def properties_of(found: pb.Payload.PropertySet, depth: int = 0) -> dict[str, object]:
    """A property set as JSON-ready objects; deeper than four levels nothing is looked at."""
    said: dict[str, object] = {}
    for key, value in zip(found.keys, found.values, strict=False):
        field = value.WhichOneof("value")
        if field is None or value.is_null:
            said[to_name(key)] = None
        elif field == "propertyset_value":
            said[to_name(key)] = (
                {} if depth > 3 else properties_of(value.propertyset_value, depth + 1)
            )
        elif field == "propertysets_value":
            sets = () if depth > 3 else value.propertysets_value.propertyset
            said[to_name(key)] = [properties_of(each, depth + 1) for each in sets]
        else:
            raw = getattr(value, field)
            if type(raw) is int and value.type in _SIGNED_BITS:
                raw = signed(raw, _SIGNED_BITS[value.type])
            said[to_name(key)] = _plain(to_name(raw) if isinstance(raw, bytes) else raw)
    return said


def _json(value: object) -> str:
    return json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"))


def _plain(value: object) -> object:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case bytes():
            return base64.b64encode(value).decode()
        case list():
            return [_plain(each) for each in value]
        case dict():
            return {key: _plain(each) for key, each in value.items()}
    return value


def _iso(milliseconds: int) -> str:
    try:
        when = to_datetime(milliseconds * 1000)
    except OverflowError as error:
        raise Undecodable(f"{milliseconds} ms is no time of the calendar") from error
    return to_iso_ms(when)
