"""Payload `protobuf`: messages of a type that the plant file names, by its descriptors. The only
importer of protobuf's own reflection.

Fields are named as in the .proto file, nested ones by dots. A field that may be absent and is gives
nothing; any other gives its value, since 0 is not sent. A `google.protobuf.Timestamp`, or a number
or text, of the name `ts`, `timestamp`, `timestamp_ms` or `time` is the time of all values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError

from aurelian.model.mqtt_payloads import ProtobufModel, TopicModel
from aurelian.model.sample import Flag, ValueType
from mqtt_gateway.json_payload import TIME_KEYS, Broken, Field, Unreadable, make_field
from mqtt_gateway.payloads.contract import Context, Decoder, Message, Part

_TIMESTAMP = "google.protobuf.Timestamp"
_MOST_FIELDS = 10_000
_DEEPEST = 32


def make_decoder(entry: TopicModel) -> Decoder:
    """The decoder of an entry. Where its descriptors cannot be read every payload is refused with
    the reason, and can be replayed when they can."""
    fault, kind = "", None
    assert entry.protobuf is not None
    try:
        kind = _message_type(entry.protobuf)
    except (OSError, DecodeError, KeyError, TypeError, ValueError) as error:
        fault = _fault(entry.protobuf, error)

    def decode(message: Message, context: Context) -> Sequence[Part]:
        if kind is None:
            raise Unreadable(fault)
        return _decode(kind, message, context)

    return decode


def _message_type(model: ProtobufModel) -> Any:
    found = descriptor_pb2.FileDescriptorSet.FromString(Path(model.descriptor_file).read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in found.file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(model.message))


def _fault(model: ProtobufModel, error: Exception) -> str:
    if isinstance(error, OSError):
        why = f"cannot be read ({error.strerror}): put it where the gateway runs"
    elif isinstance(error, KeyError):
        why = f"has no message {model.message!r}: name it with its package"
    else:
        why = "is no FileDescriptorSet: write it by `protoc --include_imports -o FILE`"
    return f"the descriptor file {model.descriptor_file} {why}; then start the gateway again"


def _decode(kind: Any, message: Message, context: Context) -> Sequence[Part]:
    try:
        content = kind.FromString(message.payload)
    except (DecodeError, UnicodeDecodeError) as error:
        raise Unreadable(f"not a {kind.DESCRIPTOR.full_name}: {error}"[:300]) from error
    walk = _Walk(context.declared(context.unit))
    time, flags = walk.take_time(content, context, message.topic)
    return (Part(list(walk.members("", content, time, flags, 0))),)


class _Walk:
    """Through one message and those in it."""

    def __init__(self, declared: Mapping[str, ValueType]) -> None:
        self._declared = declared
        self._time_key = ""
        self._left = _MOST_FIELDS

    def take_time(self, content: Any, context: Context, topic: str) -> tuple[int | None, Flag]:
        """The time of all values, whose field is then none of them."""
        fields = content.DESCRIPTOR.fields_by_name
        for key in TIME_KEYS:
            if key in fields and key not in self._declared and not fields[key].is_repeated:
                self._time_key = key
                found = getattr(content, key)
                if fields[key].message_type is None:
                    return context.time(found if found != 0 else None, topic)
                if fields[key].message_type.full_name == _TIMESTAMP and content.HasField(key):
                    return found.seconds * 1_000_000 + found.nanos // 1_000, Flag.NONE
                return None, Flag.NONE
        return None, Flag.NONE

    def members(
        self, prefix: str, content: Any, time: int | None, flags: Flag, depth: int
    ) -> Iterator[Field | Broken]:
        """A field for each value."""
        if depth > _DEEPEST:
            raise Unreadable("nested too deeply")
        for field in content.DESCRIPTOR.fields:
            name = f"{prefix}.{field.name}" if prefix else field.name
            if not depth and field.name == self._time_key:
                continue
            if field.has_presence and not content.HasField(field.name):
                continue
            self._left -= 1
            if self._left < 0:
                raise Unreadable(f"more than {_MOST_FIELDS} values")
            value = getattr(content, field.name)
            if field.is_repeated:
                if len(value):
                    yield make_field(name, _plain(field, value), time, 0, flags)
            elif field.message_type is not None and not _is_whole(field):
                yield from self.members(name, value, time, flags, depth + 1)
            else:
                yield make_field(name, _one(field, value), time, 0, flags)


def _is_whole(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.full_name == _TIMESTAMP


def _plain(field: FieldDescriptor, value: Any) -> object:
    """A repeated field or a map as JSON would have it."""
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        of_value = entry.fields_by_name["value"]
        return {str(key): _inside(of_value, value[key]) for key in value}
    return [_inside(field, each) for each in value]


def _inside(field: FieldDescriptor, value: Any) -> object:
    if field.message_type is not None and not _is_whole(field):
        return {
            each.name: _plain(each, found) if each.is_repeated else _inside(each, found)
            for each, found in value.ListFields()
        }
    one = _one(field, value)
    return one.hex() if isinstance(one, bytes) else one


def _one(field: FieldDescriptor, value: Any) -> object:
    """A scalar; a number of an enumeration as its name, where it has one."""
    if field.message_type is not None:
        return f"{value.seconds}.{value.nanos:09d}"
    if field.enum_type is not None:
        named = field.enum_type.values_by_number.get(value)
        return value if named is None else named.name
    return value
