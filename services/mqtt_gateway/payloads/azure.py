"""Payload `azure`: what devices send to an Azure IoT hub,
`devices/<device>/messages/events/<properties>`.

Properties stand in the topic as `name=value&…`, URL-encoded. `$.ct` says how the payload is written
(JSON where it says nothing), `$.ctime` or `iothub-creation-time-utc` when: the time of values
without one. The application's own are values named `properties.<name>`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import unquote

from aurelian.model.sample import Flag, ValueType
from mqtt_gateway.json_payload import Broken, Field, Unreadable
from mqtt_gateway.payloads import cbor, plain_json
from mqtt_gateway.payloads.bare import field_of_text, text_of
from mqtt_gateway.payloads.contract import Context, Message, Part

_MOST_PROPERTIES = 200
_CREATED = ("$.ctime", "iothub-creation-time-utc")


def decode(message: Message, context: Context) -> Sequence[Part]:
    """The payload by its content type, and the properties beside it."""
    properties = _properties(message.topic.rpartition("/events/")[2])
    body = Message(message.topic.partition("/events/")[0], message.payload)
    content_type = properties.get("$.ct", "").partition(";")[0].strip().casefold()
    time, flags = None, Flag.NONE
    for name in _CREATED:
        if name in properties:
            time, flags = context.time(properties[name], body.topic)
    members = [
        _at(each, time, flags)
        for part in _body(body, context, content_type)
        for each in part.members
    ]
    declared = context.declared(context.unit)
    for name, value in properties.items():
        if not name.startswith("$.") and name not in _CREATED:
            address = f"properties.{name}"
            kind = declared.get(address, ValueType.TEXT)
            members.append(field_of_text(address, value, kind, time, flags))
    return (Part(members),)


def _body(body: Message, context: Context, content_type: str) -> Sequence[Part]:
    if content_type == "application/cbor":
        return cbor.decode(body, context)
    if content_type.startswith("text/"):
        return (Part([field_of_text("", text_of(body.payload), None)]),)
    return plain_json.decode(body, context)


def _at(member: Field | Broken, time: int | None, flags: Flag) -> Field | Broken:
    if member.time is not None or time is None:
        return member
    if isinstance(member, Broken):
        return replace(member, time=time)
    return replace(member, time=time, flags=member.flags | flags)


def _properties(bag: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in filter(None, bag.strip("/").removeprefix("?").split("&")):
        name, _, value = pair.partition("=")
        try:
            key = unquote(name, errors="strict")
            found[key] = unquote(value, errors="strict")
        except UnicodeDecodeError as error:
            raise Unreadable(f"property {name[:60]!r} is not URL-encoded UTF-8") from error
        if len(found) > _MOST_PROPERTIES:
            raise Unreadable(f"more than {_MOST_PROPERTIES} properties in the topic")
    return found
