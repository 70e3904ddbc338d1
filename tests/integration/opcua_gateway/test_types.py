"""Structures and enumerations of a server's own types, of node-opcua and of asyncua's server, as
the readings that they become."""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
from asyncua import Server, ua
from asyncua.common.structures104 import new_enum, new_struct, new_struct_field
from asyncua.common.type_dictionary_builder import DataTypeDictionaryBuilder

from aurelian.edge.gateway import Delivery
from aurelian.local import ports
from aurelian.model.plant import Plant
from aurelian.model.sample import ValueType
from opcua_gateway.data_types import type_definitions
from opcua_gateway.data_types.standard_types import Structure, standard_types
from opcua_gateway.data_types.type_dictionary import read_dictionary
from opcua_gateway.in_parts import browse_in_parts
from opcua_gateway.session import Session
from opcua_gateway.settings import OpcuaGatewaySettings
from opcua_gateway.source import OpcuaSource
from opcua_gateway.sources import make_sources
from tests import npm
from tests.peers.node_opcua_server import FOLDER, NAMESPACE, node_opcua, url_at
from tests.source_alone import readings_of, taking
from tests.waiting import until

T = ua.VariantType


def make_source(folder: Path, url: str, signals: dict[str, tuple[str, str]]) -> OpcuaSource:
    """A source of signals, given by name as address and declared type."""
    unit = {
        "name": "press",
        "source": "peer",
        "signals": [
            {"name": name, "address": address, "type": kind}
            for name, (address, kind) in signals.items()
        ],
    }
    line = {"name": "l", "products": [{"id": "cup", "ideal_cycle_s": 2}], "units": [unit]}
    plant = Plant.model_validate(
        {
            "company": {"id": "x", "name": "X"},
            "site": "s",
            "time_zone": "UTC",
            "sources": [{"id": "peer", "kind": "opcua", "url": url, "publishing_interval_ms": 100}],
            "areas": [{"name": "a", "lines": [line]}],
        }
    )
    (made,) = make_sources(OpcuaGatewaySettings(state=folder, opcua_retry_s=0.5), [plant])
    return made


def values(taken: list[Delivery]) -> dict[str, list[object]]:
    """What came of each signal, in order; JSON as what it says.

    node-opcua may send a value twice, with one time: the second is no other one.
    """
    found: dict[str, dict[int | None, object]] = {}
    for delivery in taken:
        for reading in readings_of(delivery):
            value: object = reading.value
            if reading.type is ValueType.JSON and isinstance(value, str):
                value = json.loads(value)
            name = reading.signal.path.rpartition("/")[2]
            found.setdefault(name, {})[reading.source_time] = value
    return {name: list(each.values()) for name, each in found.items()}


def part(n: int) -> dict[str, object]:
    """The n-th value of the node `part`."""
    optional = {"Remark": f"remark {n}"} if n % 2 else {"Weight": 0.5}
    return {
        "Serial": n * 2**32 + 2**32 - 1,
        "Started": f"2026-01-05T06:00:{n:02}.000000Z",
        "Mode": {"code": 7, "name": "Setup"} if n % 2 else {"code": 1, "name": "Automatic"},
        **optional,
        "Corners": [{"X": n, "Y": None}, {"X": 0.25, "Y": -1}],
        "Origin": {"X": 1, "Y": 2},
        "Unit": {"NamespaceUri": "urn:u", "UnitId": n, "DisplayName": "kN", "Description": "force"},
        "Image": {0: "AP8=", 1: "Af8=", 2: "Av8="}[n],
    }


async def test_own_types_of_node_opcua_arrive_as_their_fields(tmp_path: Path) -> None:
    names = ("part", "parts", "choice", "open", "unit", "mode", "modes", "grid")
    signals = {name: (f"nsu={NAMESPACE};s={name}", "json") for name in names}
    signals["mode_text"] = (f"nsu={NAMESPACE};s=mode", "text")
    signals["mode_number"] = (f"nsu={NAMESPACE};s=mode", "int64")
    async with node_opcua(tmp_path, nodes=1, types=True) as server:
        source = make_source(tmp_path, server.url, signals)
        async with taking(source) as taken:
            await until(lambda: len(values(taken)) == len(signals), "a first value of each", 30)
            first = values(taken)
            assert first["part"] == [part(0)]
            assert first["parts"] == [[part(0), part(1)]]
            assert first["choice"] == [{"Place": {"X": 0, "Y": 0}}]
            unit = {"NamespaceUri": "urn:u", "UnitId": 0, "DisplayName": "m", "Description": None}
            assert first["unit"] == [unit]
            # Its node says only that it is a structure: which, the first value says.
            assert isinstance(first["open"][0], dict)
            assert set(first["open"][0]) == {"type_id", "body"}
            assert first["mode"] == [{"code": 1, "name": "Automatic"}]
            manual, unnamed = {"code": 0, "name": "Manual"}, {"code": 99, "name": None}
            assert first["modes"] == [[manual, unnamed]]
            assert first["mode_text"] == ["Automatic"] and first["mode_number"] == [1]
            assert first["grid"] == [[[0, 1, 2], [3, 4, 5]]]
            await until(lambda: is_learned(source), "the type of the value that came")
            await server.write_structures(1)
            await until(
                lambda: all(len(each) == 2 for each in values(taken).values()), "the next values"
            )
            second = values(taken)
            assert second["part"][1] == part(1)
            assert second["choice"][1] == {"Count": 1}
            assert second["open"][1] == {"X": 1, "Y": 0.5, "Name": "point 1"}
            assert second["mode_text"][1] == "Setup"
        # The next process goes on with the session, and does not know the types yet.
        await server.write_structures(2)
        async with taking(make_source(tmp_path, server.url, signals)) as taken:
            await until(
                lambda: (
                    {"part", "mode_text"} <= set(values(taken))
                    and values(taken)["part"][-1] == part(2)
                    and values(taken)["mode_text"][-1] == "Automatic"
                ),
                "what came meanwhile",
            )
            births = [e.birth.detail for d in taken for e in d.events if e.HasField("birth")]
            assert births == ["resumed"]
            assert all("type_id" not in each for each in values(taken)["part"])  # type: ignore[operator]


async def test_a_server_that_numbers_its_namespaces_anew_is_asked_for_its_types_anew(
    tmp_path: Path,
) -> None:
    signals = {name: (f"nsu={NAMESPACE};s={name}", "json") for name in ("part", "mode")}
    port = ports.any_free()
    source = make_source(tmp_path, url_at(port), signals)
    async with taking(source) as taken:
        async with node_opcua(tmp_path, nodes=1, types=True, port=port):
            await until(lambda: len(values(taken)) == 2, "a first value of each", 30)
        before = len(values(taken)["part"])
        nodesets = ("standard", "di")
        async with node_opcua(tmp_path, nodes=1, types=True, nodesets=nodesets, port=port):
            await until(
                lambda: len(values(taken)["part"]) > before, "a value after the restart", 60
            )
            assert source._live is not None
            assert len(source._live[1].limits.namespaces) == 4
            found = values(taken)
            assert found["part"] == [part(0)] * len(found["part"])
            assert found["mode"] == [{"code": 1, "name": "Automatic"}] * len(found["mode"])


def is_learned(source: OpcuaSource) -> bool:
    return source._types is not None and not source._types._unknown


def has_names(source: OpcuaSource) -> bool:
    return source._types is not None and bool(source._types.names)


async def test_types_of_asyncuas_server_and_one_that_it_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def counted(
        session: Session, wanted: Sequence[ua.BrowseDescription], per_call: int
    ) -> list[ua.BrowseResult | None]:
        asked.extend(each.NodeId.to_string() for each in wanted)
        return await browse_in_parts(session, wanted, per_call)

    monkeypatch.setattr(type_definitions, "browse_in_parts", counted)
    server = Server()
    await server.init()
    server.set_endpoint(url := f"opc.tcp://127.0.0.1:{ports.any_free()}")
    index = await server.register_namespace("urn:asyncua-types")
    mode = await new_enum(server, index, "OwnMode", ["off", "on"])
    await new_struct(
        server,
        index,
        "OwnPart",
        [
            new_struct_field("Mode", mode),
            new_struct_field("Weights", T.Float, array=True),
            new_struct_field("Remark", T.String, optional=True),
        ],
    )
    made = await server.load_data_type_definitions()
    part = made["OwnPart"](Mode=made["OwnMode"].on, Weights=[0.5, 1.5], Remark=None)
    objects = server.nodes.objects
    known = await objects.add_variable(ua.NodeId("known", index), "known", part)
    foreign = ua.NodeId(9999, index)
    value = ua.ExtensionObject(foreign, b"\0")
    unknown = await objects.add_variable(
        ua.NodeId("unknown", index), "unknown", value, datatype=ua.NodeId(22)
    )
    signals = {name: (f"ns={index};s={name}", "json") for name in ("known", "unknown", "late")}
    async with server:
        source = make_source(tmp_path, url, signals)
        async with taking(source) as taken:
            await until(lambda: {"known", "unknown"} <= set(values(taken)), "a first value of each")
            first = {"Mode": {"code": 1, "name": "on"}, "Weights": [0.5, 1.5]}
            assert values(taken)["known"] == [first]
            await until(lambda: is_learned(source), "what the server says of the type")
            times = asked.count(foreign.to_string())
            assert times
            part.Remark = "text"
            await known.write_value(part)
            for n in range(1, 4):
                await unknown.write_value(ua.ExtensionObject(foreign, bytes([n])))
                await until(lambda n=n: len(values(taken)["unknown"]) == n + 1, "the next value")
            assert values(taken)["unknown"] == [
                {"type_id": f"ns={index};i=9999", "body": body}
                for body in ("AA==", "AQ==", "Ag==", "Aw==")
            ]
            await until(lambda: len(values(taken)["known"]) == 2, "the next value")
            assert values(taken)["known"][1] == first | {"Remark": "text"}
            assert asked.count(foreign.to_string()) == times
            # A node that comes later: its type is read then.
            late = await objects.add_variable(
                ua.NodeId("late", index), "late", 1, T.Int32, datatype=mode.nodeid
            )
            await until(lambda: values(taken)["late"][-1] is not None, "the late node's value", 30)
            await until(lambda: has_names(source), "the late node's type", 30)
            await late.write_value(0, T.Int32)
            off = {"code": 0, "name": "off"}
            await until(lambda: values(taken)["late"][-1] == off, "its name", 30)


async def test_types_of_a_server_before_1_04_are_read_from_its_dictionary_and_properties(
    tmp_path: Path,
) -> None:
    server = Server()
    await server.init()
    server.set_endpoint(url := f"opc.tcp://127.0.0.1:{ports.any_free()}")
    index = await server.register_namespace("urn:older")
    dictionary = DataTypeDictionaryBuilder(server, index, "urn:older", "Older")
    await dictionary.init()
    point = await dictionary.create_data_type("OlderPoint")
    point.add_field("X", T.Double)
    part = await dictionary.create_data_type("OlderPart")
    part.add_field("Serial", T.UInt64)
    part.add_field("Corners", "OlderPoint", is_array=True)
    part.add_field("Name", T.String)
    await dictionary.set_dict_byte_string()
    mode = await server.nodes.enum_data_type.add_data_type(index, "OlderMode")
    await mode.add_property(0, "EnumStrings", [ua.LocalizedText("off"), ua.LocalizedText("on")])
    bodies = [
        struct.pack("<Qidd", 2**64 - 1, 2, 0.5, 1.5) + struct.pack("<i", 2) + name
        for name in (b"ab", b"cd")
    ]
    (_, _, encoding) = part.node_ids
    objects = server.nodes.objects
    values_of = {
        "declared": (ua.ExtensionObject(encoding, bodies[0]), part.data_type),
        "open": (ua.ExtensionObject(encoding, bodies[0]), ua.NodeId(22)),
    }
    nodes = [
        await objects.add_variable(ua.NodeId(name, index), name, value, datatype=data_type)
        for name, (value, data_type) in values_of.items()
    ]
    await objects.add_variable(ua.NodeId("mode", index), "mode", 1, T.Int32, mode.nodeid)
    signals = {name: (f"ns={index};s={name}", "json") for name in ("declared", "open")}
    signals["mode"] = (f"ns={index};s=mode", "text")
    wanted = {"Serial": 2**64 - 1, "Corners": [{"X": 0.5}, {"X": 1.5}], "Name": "ab"}
    async with server:
        source = make_source(tmp_path, url, signals)
        async with taking(source) as taken:
            await until(lambda: set(signals) == set(values(taken)), "a first value of each")
            assert values(taken)["declared"] == [wanted]
            assert values(taken)["open"] == [wanted]
            assert values(taken)["mode"] == ["on"]
            for node in nodes:
                await node.write_value(ua.ExtensionObject(encoding, bodies[1]))
            await until(
                lambda: [len(values(taken)[name]) for name in ("declared", "open")] == [2, 2],
                "the next value",
            )
            assert values(taken)["open"][1] == wanted | {"Name": "cd"}


def test_the_standards_own_dictionary_says_of_structures_what_asyncuas_classes_say() -> None:
    _, cache = npm.install(FOLDER, "node-opcua", "node-opcua")
    nodesets = cache / "node_modules" / "node-opcua-nodesets" / "nodesets"
    found = re.findall(r"<ByteString[^>]*>([^<]+)<", (nodesets / "Opc.Ua.NodeSet2.xml").read_text())
    (xml,) = (xml for each in found if b"TypeDictionary" in (xml := base64.b64decode(each))[:99])
    space, types = read_dictionary(xml)
    assert space == "http://opcfoundation.org/UA/"
    same, other = 0, set()
    for name, definition in types.items():
        data_type = ua.NodeId(getattr(ua.ObjectIds, name, 0))
        known = standard_types().definitions.get(data_type)
        if not isinstance(definition, Structure) or not isinstance(known, Structure):
            continue
        if any(each.subtyped for each in known.fields):
            continue  # dictionaries have no such fields
        shapes = [
            [(each.name, each.rank, each.optional) for each in fields]
            for fields in (definition.fields, known.fields)
        ]
        if shapes[0] == shapes[1]:
            same += 1
        else:
            other.add(name)
    # A dictionary cannot have what is optional as LogRecord has it.
    assert other == {"LogRecord"}
    assert same > 150
