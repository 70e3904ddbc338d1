"""Payload `cumulocity`: what devices send to Cumulocity, as SmartREST 2.0 with its static templates
(topic `s/us`, of a child device `s/us/<id>`) and as JSON over MQTT
(`measurement/measurements/create` and the like).

A measurement is `<fragment>.<series>`, an event `event.<type>`, an alarm `alarm.<type>` with
`alarm.<type>.severity`. Templates of a device's own (`s/uc/…`) are known to its cloud alone.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence

from aurelian.model.sample import Flag, ValueType
from mqtt_gateway.json_payload import (
    Broken,
    Field,
    Unreadable,
    flat_members,
    join_names,
    make_field,
)
from mqtt_gateway.payloads.bare import field_of_text, object_of, text_of
from mqtt_gateway.payloads.contract import Context, Message, Part

_SEVERITIES = {"301": "CRITICAL", "302": "MAJOR", "303": "MINOR", "304": "WARNING"}
_POSITION = ("c8y_Position.lat", "c8y_Position.lng", "c8y_Position.alt", "c8y_Position.accuracy")
_FIXED = {
    "210": ("c8y_SignalStrength.rssi", "c8y_SignalStrength.ber"),
    "211": ("c8y_TemperatureMeasurement.T",),
    "212": ("c8y_Battery.level",),
    "401": _POSITION,
    "402": _POSITION,
}
"""Values of a template in order; its time stands behind them."""

_ABOUT = ("type", "time", "source", "externalSource", "text", "severity", "status", "id", "self")
_BULK = {"measurement": "measurements", "event": "events", "alarm": "alarms"}


def decode(message: Message, context: Context) -> Sequence[Part]:
    """SmartREST lines, or JSON, by the topic."""
    levels = message.topic.split("/")
    for api, many in _BULK.items():
        if api in levels:
            content = object_of(message.payload)
            entries = content.get(many)
            return [
                _entry(api, each, context, message.topic)
                for each in (entries if isinstance(entries, list) else [content])
            ]
    if "uc" in levels:
        raise Unreadable("a template of the device's own: only its cloud knows what it says")
    declared = context.declared(context.unit)
    try:
        lines = io.StringIO(text_of(message.payload), newline="")
        rows = list(csv.reader(lines, strict=True))
    except csv.Error as error:
        raise Unreadable(f"no comma-separated values: {error}") from error
    members = [each for row in rows if row for each in _line(row, context, message.topic, declared)]
    return (Part(members, is_aside=True),)


def _line(
    row: list[str], context: Context, topic: str, declared: Mapping[str, ValueType]
) -> Iterator[Field | Broken]:
    template, cells = row[0].strip(), row[1:]
    if template == "200":
        time, flags = _time(cells, 4, context, topic)
        yield _number(_cell(cells, 0), _cell(cells, 1), _cell(cells, 2), time, flags)
    elif template == "201":
        time, flags = _time(cells, 1, context, topic)
        for at in range(2, len(cells), 4):
            yield _number(cells[at], _cell(cells, at + 1), _cell(cells, at + 2), time, flags)
    elif template in _FIXED:
        names = _FIXED[template]
        time, flags = _time(cells, len(names), context, topic)
        for name, cell in zip(names, cells, strict=False):
            if cell:
                fragment, _, series = name.partition(".")
                yield _number(fragment, series, cell, time, flags)
    elif template in _SEVERITIES:
        time, flags = _time(cells, 2, context, topic)
        name = f"alarm.{_cell(cells, 0)}"
        yield make_field(name, _cell(cells, 1), time, 0, flags)
        yield make_field(f"{name}.severity", _SEVERITIES[template], time, 0, flags)
    elif template in ("305", "306"):
        severity = _cell(cells, 1) if template == "305" else "CLEARED"
        yield make_field(f"alarm.{_cell(cells, 0)}.severity", severity, None)
    elif template in ("400", "407"):
        time, flags = _time(cells, 2, context, topic)
        address = f"event.{_cell(cells, 0)}"
        kind = declared.get(address, ValueType.TEXT)
        yield field_of_text(address, _cell(cells, 1), kind, time, flags)
    elif not (template.isdigit() and template[0] in "1345"):
        yield Broken(template[:60], "no static template of SmartREST", "unreadable")


def _number(fragment: str, series: str, cell: str, time: int | None, flags: Flag) -> Field | Broken:
    name = ".".join(filter(None, (fragment.strip(), series.strip())))
    made = field_of_text(name, cell, ValueType.DOUBLE, time, flags)
    if isinstance(made, Field) and made.type is ValueType.TEXT:
        return Broken(name, f"{cell[:40]!r} is no number", "type", time)
    return made


def _cell(cells: Sequence[str], at: int) -> str:
    return cells[at].strip() if at < len(cells) else ""


def _time(cells: Sequence[str], at: int, context: Context, topic: str) -> tuple[int | None, Flag]:
    text = _cell(cells, at)
    return context.time(text, topic) if text else (None, Flag.NONE)


def _entry(api: str, entry: object, context: Context, topic: str) -> Part:
    if not isinstance(entry, dict):
        raise Unreadable(f"an object for each of {_BULK[api]} is expected")
    unit = _device(entry)
    time, flags = context.time(entry.get("time"), topic)
    declared = context.declared(context.unit if unit is None else unit)
    rest = {name: value for name, value in entry.items() if name not in _ABOUT}
    if api == "measurement":
        values = {
            join_names(fragment, name): series.get("value") if isinstance(series, dict) else series
            for fragment, many in rest.items()
            if isinstance(many, dict)
            for name, series in many.items()
        }
        return Part(list(flat_members("", values, time, flags, declared=declared)), unit)
    name = f"{api}.{str(entry.get('type', ''))[:200]}"
    members = [make_field(name, entry.get("text"), time, 0, flags)]
    for about in ("severity", "status"):
        if api == "alarm" and about in entry:
            members.append(make_field(f"{name}.{about}", entry[about], time, 0, flags))
    members += flat_members(name, rest, time, flags, declared=declared) if rest else ()
    return Part(members, unit)


def _device(entry: Mapping[str, object]) -> str | None:
    for key, name in (("externalSource", "externalId"), ("source", "id")):
        about = entry.get(key)
        found = about.get(name) if isinstance(about, dict) else None
        if isinstance(found, (str, int)) and not isinstance(found, bool):
            return str(found)[:400]
    return None
