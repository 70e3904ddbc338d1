"""The decoders of the OPC UA gateway as the fuzzing calls them, and what each promises about any
bytes: which errors it may raise, time and memory by the size of its input."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from asyncua import ua
from asyncua.ua.ua_binary import nodeid_from_binary

from aurelian.model.sample import ValueType
from opcua_gateway.browse.wire import UnreadableAnswer, decode_browse, decode_read
from opcua_gateway.data_types.standard_types import Enumeration, Field, Kind, Structure
from opcua_gateway.data_types.structures import Types
from opcua_gateway.data_types.type_dictionary import Unreadable, read_dictionary
from opcua_gateway.decode.notifications import (
    Published,
    Undecodable,
    decode_publish,
    decode_republish,
)
from opcua_gateway.decode.values import to_value
from opcua_gateway.decode.variants import Reader
from opcua_gateway.history.decoder import decode_history
from opcua_gateway.mapping import Notification

RECORDED = Path(__file__).parent / "recorded"
FOUND = Path(__file__).parent / "found"
"""Inputs that broke a decoder once; a file's name begins with that of its target."""

_INDICES = {"http://opcfoundation.org/UA/": 0, "urn:aurelian-test:types": 1, "urn:b": 2}


@dataclass(frozen=True, slots=True)
class Target:
    """A decoder.

    Attributes:
        run: decodes, and checks what came out; anything that it raises is a fault.
        seeds: inputs to begin with, well formed.
    """

    name: str
    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


def make_targets() -> dict[str, Target]:
    """All targets by name."""
    runs: dict[str, Callable[[bytes], None]] = {
        "publish": run_publish,
        "republish": run_republish,
        "history": run_history,
        "browse": run_browse,
        "read": run_read,
        "structure": run_structure,
        "dictionary": run_dictionary,
    }
    return {name: Target(name, run, _seeds(name)) for name, run in runs.items()}


def run_publish(data: bytes) -> None:
    """A PublishResponse."""
    try:
        published = decode_publish(ua.utils.Buffer(data), _types())
    except (Undecodable, ua.UaStatusCodeError):
        return
    _check_published(published)


def run_republish(data: bytes) -> None:
    """A RepublishResponse."""
    try:
        published = decode_republish(ua.utils.Buffer(data), 7, _types())
    except (Undecodable, ua.UaStatusCodeError):
        return
    _check_published(published)


def run_history(data: bytes) -> None:
    """A HistoryReadResponse, for as many nodes as it says."""
    for nodes in (1, 3):
        try:
            found = decode_history(ua.utils.Buffer(data), list(range(nodes)), _types())
        except (Undecodable, ua.UaStatusCodeError):
            continue
        assert len(found) == nodes
        for each in found:
            _check_notifications(each.values)


def run_browse(data: bytes) -> None:
    """A BrowseResponse."""
    try:
        decode_browse(ua.utils.Buffer(data), _INDICES)
    except (UnreadableAnswer, ua.UaStatusCodeError):
        return


def run_read(data: bytes) -> None:
    """A ReadResponse."""
    try:
        decode_read(ua.utils.Buffer(data))
    except (UnreadableAnswer, ua.UaStatusCodeError):
        return


def run_structure(data: bytes) -> None:
    """The body of a structure, by a type of each kind."""
    for number in (1, 2, 4, 5):
        fields = _types().read(ua.NodeId(number, 3), Reader(data, 0, len(data), _types()), 0)
        if fields is not None:
            assert isinstance(fields, dict)
            try:
                to_value([fields], ua.VariantType.ExtensionObject)
            except RecursionError:
                continue  # then the value stays bytes, see publish_decoder.py


def run_dictionary(data: bytes) -> None:
    """An OPC Binary type dictionary."""
    try:
        read_dictionary(data)
    except Unreadable:
        return


def _check_published(published: Published) -> None:
    """What the rest of the gateway relies on."""
    assert all(0 <= number < 2**32 for number in (published.sequence, published.subscription))
    assert len(published.others) == len(published.other_places)
    places = [place for numbers in published.numbers for place in numbers.place.tolist()]
    places += published.other_places
    assert sorted(places) == list(range(len(places)))
    handle, status, source = published.heads()
    assert len(handle) == len(status) == len(source) == len(published)
    for numbers in published.numbers:
        assert len(numbers.values) == len(numbers.handle) == len(numbers.place)
    _check_notifications(published.others)
    assert bool(published.why) or not published.unreadable


def _check_notifications(found: Sequence[Notification]) -> None:
    for each in found:
        assert 0 <= each.status < 2**32
        match each.type:
            case ValueType.JSON:
                assert isinstance(each.value, str)
                each.value.encode()
                json.loads(each.value)
            case ValueType.TEXT:
                assert isinstance(each.value, str)
                each.value.encode()
            case ValueType.BYTES:
                assert isinstance(each.value, bytes)
            case ValueType.INT64:
                assert isinstance(each.value, int) and -(2**63) <= each.value < 2**63
            case ValueType.UINT64:
                assert isinstance(each.value, int) and 0 <= each.value < 2**64


@lru_cache(maxsize=1)
def _types() -> Types:
    """A server's types: one of each kind, in each other, also with itself within."""
    types = Types()

    def define(number: int, definition: Structure | Enumeration) -> None:
        types.define(ua.NodeId(number, 3), definition)
        types.name_encoding(ua.NodeId(number + 5000, 1), ua.NodeId(number, 3))

    any_value, structure = ua.NodeId(24), ua.NodeId(22)
    fields = (
        Field("Text", ua.NodeId(12)),
        Field("Times", ua.NodeId(13), rank=1),
        Field("Inner", ua.NodeId(2, 3), rank=1, optional=True),
        Field("Any", any_value),
        Field("Sub", structure),
        Field("Grid", ua.NodeId(6), rank=2),
    )
    define(1, Structure(fields, Kind.WITH_OPTIONAL))
    inner = (Field("Mode", ua.NodeId(3, 3)), Field("Ids", ua.NodeId(17), rank=1))
    define(2, Structure((*inner, Field("Again", ua.NodeId(1, 3), rank=1)), Kind.UNION))
    define(3, Enumeration({1: "on"}))
    define(4, Structure((Field("Empty", ua.NodeId(5, 3), rank=1), Field("N", ua.NodeId(6)))))
    define(5, Structure((Field("Any", any_value, rank=1), Field("Sub", ua.NodeId(4, 3), rank=2))))
    define(6, Structure(()))
    # What the recorded messages of node-opcua have.
    define(7, Structure((Field("X", ua.NodeId(11)), Field("Y", ua.NodeId(11)))))
    return types


def _seeds(name: str) -> tuple[bytes, ...]:
    match name:
        case "republish":
            return tuple(_republished(each) for each in _seeds("publish"))
        case "structure":
            return _structures()
        case "dictionary":
            return (_DICTIONARY,)
    return tuple(file.read_bytes() for file in sorted(RECORDED.glob(f"{name}-*.bin")))


def _republished(publish: bytes) -> bytes:
    """The RepublishResponse with the message of a PublishResponse."""
    reader = Reader(publish, 0, len(publish))
    nodeid_from_binary(reader)
    head = reader.position + 24
    (available,) = struct.unpack_from("<i", publish, head + 4)
    message = head + 8 + 4 * max(available, 0) + 1
    return b"\x01\x00\x43\x03" + publish[reader.position : head] + publish[message:-8]


def _structures() -> tuple[bytes, ...]:
    text = struct.pack("<i", 2) + b"ab"
    inner = struct.pack("<iII", 1, 1, 1)
    first = struct.pack("<I", 1) + text + struct.pack("<i", -1) + inner + b"\x06\1\0\0\0"
    first += b"\0\0\0" + struct.pack("<iii", 2, 1, 1) + struct.pack("<i", 9)
    second = struct.pack("<Ii", 2, 1) + b"\x01\x02\x05\x00"
    fourth = struct.pack("<ii", 0, 4)
    fifth = struct.pack("<i", 2) + b"\x0b" + struct.pack("<d", 1.5) + b"\x0c" + text
    fifth += struct.pack("<iii", 2, 1, 1) + fourth
    return first, second, fourth, fifth


_DICTIONARY = b"""<opc:TypeDictionary xmlns:opc="http://opcfoundation.org/BinarySchema/"
 xmlns:ua="http://opcfoundation.org/UA/" xmlns:tns="urn:t" TargetNamespace="urn:t">
<opc:EnumeratedType Name="Mode" LengthInBits="32"><opc:EnumeratedValue Name="On" Value="1"/>
</opc:EnumeratedType><opc:StructuredType Name="Part" BaseType="ua:ExtensionObject">
<opc:Field Name="HasText" TypeName="opc:Bit"/><opc:Field Name="Reserved" TypeName="opc:Bit"
 Length="31"/><opc:Field Name="NoOfTimes" TypeName="opc:Int32"/><opc:Field Name="Times"
 TypeName="opc:DateTime" LengthField="NoOfTimes"/><opc:Field Name="Text" TypeName="opc:CharArray"
 SwitchField="HasText"/><opc:Field Name="Mode" TypeName="tns:Mode"/></opc:StructuredType>
</opc:TypeDictionary>"""
