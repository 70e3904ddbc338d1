"""Type dictionaries of servers before OPC UA 1.04, written by hand, and what is none."""

import struct
import time

import pytest
from asyncua import ua

from opcua_gateway.data_types.standard_types import Enumeration, Structure
from opcua_gateway.data_types.structures import Types
from opcua_gateway.data_types.type_dictionary import Unreadable, read_dictionary, type_named
from opcua_gateway.decode.variants import Reader

DICTIONARY = b"""<?xml version="1.0" encoding="utf-8"?>
<opc:TypeDictionary xmlns:opc="http://opcfoundation.org/BinarySchema/" xmlns:tns="urn:press"
  xmlns:ua="http://opcfoundation.org/UA/" xmlns:far="urn:far" TargetNamespace="urn:press">
  <opc:Import Namespace="http://opcfoundation.org/UA/"/>
  <opc:EnumeratedType Name="Mode" LengthInBits="32">
    <opc:EnumeratedValue Name="Off" Value="0"/><opc:EnumeratedValue Name="On" Value="4"/>
  </opc:EnumeratedType>
  <opc:EnumeratedType Name="Bits" LengthInBits="16" IsOptionSet="true">
    <opc:EnumeratedValue Name="Ready" Value="1"/>
  </opc:EnumeratedType>
  <opc:StructuredType Name="Base" BaseType="ua:ExtensionObject">
    <opc:Documentation>A base.</opc:Documentation>
    <opc:Field Name="Id" TypeName="opc:UInt16"/>
  </opc:StructuredType>
  <opc:StructuredType Name="Part" BaseType="tns:Base">
    <opc:Field Name="Id" TypeName="opc:UInt16" SourceType="tns:Base"/>
    <opc:Field Name="Mode" TypeName="tns:Mode"/>
    <opc:Field Name="Flags" TypeName="tns:Bits"/>
    <opc:Field Name="NoOfWeights" TypeName="opc:Int32"/>
    <opc:Field Name="Weights" TypeName="opc:Float" LengthField="NoOfWeights"/>
    <opc:Field Name="Range" TypeName="ua:Range"/>
    <opc:Field Name="Any" TypeName="ua:Variant"/>
  </opc:StructuredType>
  <opc:StructuredType Name="Perhaps" BaseType="ua:ExtensionObject">
    <opc:Field Name="RemarkSpecified" TypeName="opc:Bit"/>
    <opc:Field Name="IdsSpecified" TypeName="opc:Bit"/>
    <opc:Field Name="Reserved1" TypeName="opc:Bit" Length="30"/>
    <opc:Field Name="Always" TypeName="opc:Byte"/>
    <opc:Field Name="Remark" TypeName="opc:CharArray" SwitchField="RemarkSpecified"/>
    <opc:Field Name="NoOfIds" TypeName="opc:Int32" SwitchField="IdsSpecified"/>
    <opc:Field Name="Ids" TypeName="opc:Byte" LengthField="NoOfIds" SwitchField="IdsSpecified"/>
  </opc:StructuredType>
  <opc:StructuredType Name="Choice" BaseType="ua:Union">
    <opc:Field Name="SwitchField" TypeName="opc:UInt32"/>
    <opc:Field Name="A" TypeName="opc:Byte" SwitchField="SwitchField" SwitchValue="1"/>
    <opc:Field Name="NoOfB" TypeName="opc:Int32" SwitchField="SwitchField" SwitchValue="2"/>
    <opc:Field Name="B" TypeName="tns:Base" LengthField="NoOfB" SwitchField="SwitchField"
      SwitchValue="2"/>
  </opc:StructuredType>
  <opc:StructuredType Name="Packed">
    <opc:Field Name="Low" TypeName="opc:Bit" Length="4"/>
    <opc:Field Name="High" TypeName="opc:Bit" Length="4"/>
  </opc:StructuredType>
  <opc:StructuredType Name="Swapped">
    <opc:Field Name="ASpecified" TypeName="opc:Bit"/>
    <opc:Field Name="BSpecified" TypeName="opc:Bit" Length="31"/>
    <opc:Field Name="B" TypeName="opc:Byte" SwitchField="BSpecified"/>
    <opc:Field Name="A" TypeName="opc:Byte" SwitchField="ASpecified"/>
  </opc:StructuredType>
  <opc:StructuredType Name="Fixed">
    <opc:Field Name="A" TypeName="opc:Byte" Length="8"/>
  </opc:StructuredType>
  <opc:StructuredType Name="Farther"><opc:Field Name="A" TypeName="far:Away"/></opc:StructuredType>
</opc:TypeDictionary>"""


def read_by_dictionary(name: str, body: bytes) -> object:
    unknown: list[ua.NodeId] = []
    types = Types(unknown.append)
    space, definitions = read_dictionary(DICTIONARY)
    for each, definition in definitions.items():
        types.define(type_named(space, each), definition)
    found = types.read(type_named(space, name), Reader(body, 0, len(body), types), 0)
    return unknown if found is None else found


@pytest.mark.parametrize(
    ("name", "body", "wanted"),
    [
        (
            "Part",
            struct.pack("<HiHi2fdd", 7, 4, 5, 2, 0.5, 1.5, -1.0, 1.0) + bytes([3, 9]),
            {
                "Id": 7, "Mode": {"code": 4, "name": "On"}, "Flags": 5, "Weights": [0.5, 1.5],
                "Range": {"Low": -1.0, "High": 1.0}, "Any": 9,
            },
        ),
        ("Perhaps", struct.pack("<IB", 0, 3), {"Always": 3}),
        ("Perhaps", struct.pack("<IBi2B", 2, 3, 2, 8, 9), {"Always": 3, "Ids": [8, 9]}),
        ("Perhaps", struct.pack("<IBi2s", 1, 3, 2, b"ok"), {"Always": 3, "Remark": "ok"}),
        ("Choice", struct.pack("<IB", 1, 5), {"A": 5}),
        ("Choice", struct.pack("<IiHH", 2, 2, 5, 6), {"B": [{"Id": 5}, {"Id": 6}]}),
        ("Farther", b"\1", [type_named("urn:far", "Away")]),
    ],
)  # fmt: skip
def test_structures_are_read_as_a_dictionary_describes_them(
    name: str, body: bytes, wanted: object
) -> None:
    assert read_by_dictionary(name, body) == wanted


def test_what_opc_uas_encoding_does_not_have_is_left_out_and_the_rest_is_there() -> None:
    space, found = read_dictionary(DICTIONARY)
    assert space == "urn:press"
    assert set(found) == {"Mode", "Bits", "Base", "Part", "Perhaps", "Choice", "Farther"}
    assert isinstance(found["Mode"], Enumeration) and isinstance(found["Part"], Structure)


LAUGHS = b"""<!DOCTYPE d [<!ENTITY a "aaaaaaaaaa">%s]><d>&z;</d>""" % b"".join(
    b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(25)
)


@pytest.mark.parametrize(
    "xml",
    [
        b"", b"no XML", DICTIONARY[:-20], LAUGHS, b"\xff" * 100,
        b'<?xml version="1.0" encoding="no-such"?><a/>', b"<a>" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_dictionary_is_refused_at_once(xml: bytes) -> None:
    started = time.thread_time()
    with pytest.raises(Unreadable):
        read_dictionary(xml)
    assert time.thread_time() - started < 2


@pytest.mark.parametrize("length", ["9" * 5000, "-1", "x"])
def test_a_number_that_is_none_costs_its_type_only(length: str) -> None:
    xml = DICTIONARY.replace(b'Length="30"', f'Length="{length}"'.encode())
    xml = xml.replace(b'Value="4"', f'Value="{length}"'.encode())
    _, found = read_dictionary(xml)
    assert "Perhaps" not in found and "Part" in found
