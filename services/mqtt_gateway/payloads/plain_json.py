"""Payload `json`: any JSON, as json_payload.py reads it. The signal of the topic is before the
names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from aurelian.model.sample import ValueType
from mqtt_gateway.json_payload import Broken, Field, join_names, read_members
from mqtt_gateway.payloads.contract import Context, Message, Part


def decode(message: Message, context: Context) -> Sequence[Part]:
    """Read any JSON."""
    return read_below(message, context, message.places.get("signal", ""))


def read_below(message: Message, context: Context, prefix: str) -> Sequence[Part]:
    """Read any JSON; its names stand below `prefix`."""
    declared = context.declared(context.unit)
    members = read_members(
        message.payload,
        declared=below(prefix, declared),
        times=context.times,
        texts=declared.get(prefix or "value") is ValueType.TEXT,
        stream=message.topic,
        received_at=context.received_at,
        time_member=context.entry.time_member,
    )
    return (Part(under(prefix, members)),)


def under(prefix: str, members: Sequence[Field | Broken]) -> Sequence[Field | Broken]:
    """Members with their names below a prefix."""
    if not prefix:
        return members
    return [
        replace(each, name=join_names(prefix, each.name) if each.name else prefix)
        for each in members
    ]


def below(prefix: str, declared: Mapping[str, ValueType]) -> Mapping[str, ValueType]:
    """Addresses under a prefix, without it; the prefix itself as ""."""
    if not prefix:
        return declared
    under = {
        address.removeprefix(f"{prefix}."): kind
        for address, kind in declared.items()
        if address.startswith(f"{prefix}.")
    }
    if prefix in declared:
        under[""] = declared[prefix]
    return under
