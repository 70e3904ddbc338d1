"""Structures of the standard, which are read without a definition of the server."""

import math
from datetime import UTC, datetime

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import (
    extensionobject_to_binary,
    struct_to_binary,
)

from opcua_gateway.data_types.standard_types import (
    Structure,
    standard_types,
)
from opcua_gateway.data_types.structures import Types
from tests.unit.opcua_gateway.type_worlds import decoded, extension_object

AT = datetime(2026, 1, 5, 6, tzinfo=UTC)
ISO = "2026-01-05T06:00:00.000000Z"
RANGE = ua.Range(Low=-1.5, High=math.inf)
UNIT = ua.EUInformation("urn:u", 4_408_652, ua.LocalizedText("°C"), ua.LocalizedText("degree"))
UNIT_JSON = {
    "NamespaceUri": "urn:u", "UnitId": 4_408_652, "DisplayName": "°C", "Description": "degree",
}  # fmt: skip
BUILD = ua.BuildInfo("uri", "maker", "product", "1.2", "b3", AT)
BUILD_JSON = {
    "ProductUri": "uri", "ManufacturerName": "maker", "ProductName": "product",
    "SoftwareVersion": "1.2", "BuildNumber": "b3", "BuildDate": ISO,
}  # fmt: skip


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (RANGE, {"Low": -1.5, "High": None}),
        (UNIT, UNIT_JSON),
        (ua.TimeZoneDataType(60, True), {"Offset": 60, "DaylightSavingInOffset": True}),
        (ua.XVType(1.0, 0.5), {"X": 1.0, "Value": 0.5}),
        (BUILD, BUILD_JSON),
        (
            ua.Argument("speed", ua.NodeId(11), -1, [], ua.LocalizedText("of it")),
            {
                "Name": "speed", "DataType": "i=11", "ValueRank": -1, "ArrayDimensions": [],
                "Description": "of it",
            },
        ),
        (
            ua.AxisInformation(
                UNIT, RANGE, ua.LocalizedText("T"), ua.AxisScaleEnumeration.Log, [1.0, 2.0]
            ),
            {
                "EngineeringUnits": UNIT_JSON, "EURange": {"Low": -1.5, "High": None},
                "Title": "T", "AxisScaleType": {"code": 1, "name": "Log"},
                "AxisSteps": [1.0, 2.0],
            },
        ),
        (
            ua.ServerStatusDataType(AT, AT, ua.ServerState.Suspended, BUILD, 7, ua.LocalizedText()),
            {
                "StartTime": ISO, "CurrentTime": ISO, "State": {"code": 3, "name": "Suspended"},
                "BuildInfo": BUILD_JSON, "SecondsTillShutdown": 7, "ShutdownReason": None,
            },
        ),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_standard_structures_are_read_without_a_definition_of_the_server(
    value: object, wanted: object
) -> None:
    assert decoded(Types(), extensionobject_to_binary(value)) == wanted


def test_every_standard_structure_that_asyncua_can_write_is_read() -> None:
    standard = standard_types()
    read, unread = 0, set()
    for encoding, data_type in standard.encodings.items():
        known = ua.extension_objects_by_typeid[encoding]
        definition = standard.definitions[data_type]
        assert isinstance(definition, Structure)
        if any(each.subtyped for each in definition.fields):
            continue  # asyncua leaves out the length of a structure without fields
        try:
            body = struct_to_binary(known())
        except (TypeError, NameError):  # a field's class is missing in asyncua
            continue
        found = decoded(Types(), extension_object(encoding, body))
        assert isinstance(found, dict)
        if "type_id" in found:
            unread.add(known.__name__)
        read += 1
    assert read > 180
    # asyncua leaves out the mask of optional fields; its RelativePath is no structure but a parser.
    assert unread == {"LogRecord", "BrowsePath", "QueryDataDescription", "AttributeOperand"}
