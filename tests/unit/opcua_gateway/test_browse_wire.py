"""Browse and Read on the wire, against asyncua's own classes."""

from __future__ import annotations

import uuid

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import (
    nodeid_to_binary,
    struct_from_binary,
    struct_to_binary,
)

from opcua_gateway.browse.wire import (
    FOREIGN,
    NULL_NODE,
    UnreadableAnswer,
    browse_request,
    decode_browse,
    decode_read,
    name_of,
    numeric_key,
    read_request,
)

NODES = [
    ua.NodeId(85),
    ua.NodeId(2253),
    ua.NodeId(5, 2),
    ua.NodeId(70_000, 3),
    ua.NodeId("Press.Force;a=b", 2),
    ua.NodeId(uuid.UUID("72962b91-fa75-4ae6-8d28-b404dc7daf63"), 1),
    ua.NodeId(b"\0\xff", 4),
]
KEYS = [nodeid_to_binary(each) for each in NODES]
URIS = {"http://opcfoundation.org/UA/": 0, "urn:a": 1, "urn:b": 2}


def reference(**fields: object) -> ua.ReferenceDescription:
    made = ua.ReferenceDescription()
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def buffer(response: object) -> ua.utils.Buffer:
    return ua.utils.Buffer(struct_to_binary(response))


def browse_response(*results: ua.BrowseResult) -> ua.BrowseResponse:
    made = ua.BrowseResponse()
    made.Results = list(results)
    return made


def test_a_browse_request_says_what_asyncua_reads() -> None:
    data = struct_to_binary(browse_request(KEYS, 50))
    read = struct_from_binary(ua.BrowseRequest, ua.utils.Buffer(data))
    assert read.Parameters.RequestedMaxReferencesPerNode == 50
    assert [each.NodeId for each in read.Parameters.NodesToBrowse] == NODES
    for each in read.Parameters.NodesToBrowse:
        assert each.ReferenceTypeId == ua.NodeId(ua.ObjectIds.HierarchicalReferences)
        assert each.BrowseDirection == ua.BrowseDirection.Forward
        assert (each.IncludeSubtypes, each.NodeClassMask, each.ResultMask) == (True, 3, 63)


def test_types_above_are_asked_for_backwards() -> None:
    data = struct_to_binary(browse_request(KEYS[:1], 0, types_above=True))
    (asked,) = struct_from_binary(ua.BrowseRequest, ua.utils.Buffer(data)).Parameters.NodesToBrowse
    assert asked.BrowseDirection == ua.BrowseDirection.Inverse
    assert asked.ReferenceTypeId == ua.NodeId(ua.ObjectIds.HasSubtype)


def test_a_read_request_says_what_asyncua_reads() -> None:
    wanted = [(key, attribute) for key in KEYS for attribute in (13, 14)]
    read = struct_from_binary(
        ua.ReadRequest, ua.utils.Buffer(struct_to_binary(read_request(wanted)))
    ).Parameters
    assert read.TimestampsToReturn == ua.TimestampsToReturn.Neither
    assert [(nodeid_to_binary(e.NodeId), int(e.AttributeId)) for e in read.NodesToRead] == wanted
    assert not any(each.IndexRange for each in read.NodesToRead)


def test_references_are_read_as_they_were_written() -> None:
    written = [
        reference(
            ReferenceTypeId=ua.NodeId(ua.ObjectIds.HasComponent),
            IsForward=True,
            NodeId=ua.ExpandedNodeId(node.Identifier, node.NamespaceIndex, node.NodeIdType),
            BrowseName=ua.QualifiedName(f"Größe {n}", 2),
            DisplayName=ua.LocalizedText("shown" if n % 2 else f"Größe {n}", "en"),
            NodeClass=ua.NodeClass.Variable,
            TypeDefinition=ua.ExpandedNodeId(63),
        )
        for n, node in enumerate(NODES)
    ]
    response = browse_response(
        ua.BrowseResult(ua.StatusCode(0), b"point", written),
        ua.BrowseResult(ua.StatusCode(0x80340000), None, []),
    )
    some, none = decode_browse(buffer(response), URIS)
    assert (none.status, none.point, none.references) == (0x80340000, b"", [])
    assert some.point == b"point"
    for n, (read, key) in enumerate(zip(some.references, KEYS, strict=True)):
        assert (read.node, read.type) == (key, numeric_key(0, 47))
        assert (read.namespace, read.name) == (2, f"Größe {n}")
        assert read.display == ("shown" if n % 2 else f"Größe {n}")
        assert (read.node_class, read.is_forward) == (2, True)
        assert read.type_definition == numeric_key(0, 63)


@pytest.mark.parametrize(
    ("node", "key"),
    [
        (ua.ExpandedNodeId(7, 0, NamespaceUri="urn:b"), numeric_key(2, 7)),
        (
            ua.ExpandedNodeId("x", 0, ua.NodeIdType.String, NamespaceUri="urn:a"),
            nodeid_to_binary(ua.NodeId("x", 1)),
        ),
        (ua.ExpandedNodeId(7, 0, NamespaceUri="urn:unknown"), FOREIGN),
        (ua.ExpandedNodeId(7, 1, ServerIndex=3), FOREIGN),
        (ua.ExpandedNodeId(7, 0, ua.NodeIdType.Numeric), numeric_key(0, 7)),
        (ua.ExpandedNodeId(7, 0, ua.NodeIdType.FourByte), numeric_key(0, 7)),
        (ua.ExpandedNodeId(300, 1, ua.NodeIdType.Numeric), numeric_key(1, 300)),
        (ua.ExpandedNodeId(), NULL_NODE),
    ],
)
def test_one_node_has_one_key_however_it_is_written(node: ua.ExpandedNodeId, key: bytes) -> None:
    response = browse_response(ua.BrowseResult(ua.StatusCode(0), None, [reference(NodeId=node)]))
    (result,) = decode_browse(buffer(response), URIS)
    assert result.references[0].node == key


def test_bytes_that_end_early_are_no_answer() -> None:
    written = reference(
        NodeId=ua.ExpandedNodeId("Force", 2),
        BrowseName=ua.QualifiedName("Force", 2),
        DisplayName=ua.LocalizedText("Force"),
        NodeClass=ua.NodeClass.Variable,
        TypeDefinition=ua.ExpandedNodeId(63),
    )
    data = struct_to_binary(browse_response(ua.BrowseResult(ua.StatusCode(0), b"p", [written])))
    end = len(data) - 4  # the list of diagnostics is not read
    assert decode_browse(ua.utils.Buffer(data[:end]), URIS)
    for size in range(end):
        with pytest.raises(UnreadableAnswer):
            decode_browse(ua.utils.Buffer(data[:size]), URIS)


def test_attributes_are_read_as_they_were_written() -> None:
    unit = ua.EUInformation("urn:x", 4408652, ua.LocalizedText("°C"), ua.LocalizedText("degree"))
    variants = [
        ua.Variant(NODES[4], ua.VariantType.NodeId),
        ua.Variant(-1, ua.VariantType.Int32),
        ua.Variant(3, ua.VariantType.Byte),
        ua.Variant(ua.LocalizedText("Text", "de"), ua.VariantType.LocalizedText),
        ua.Variant(1.5, ua.VariantType.Double),
        ua.Variant("s", ua.VariantType.String),
        ua.Variant([1, 2], ua.VariantType.UInt16),
        ua.Variant(unit, ua.VariantType.ExtensionObject),
    ]
    response = ua.ReadResponse()
    response.Results = [ua.DataValue(each) for each in variants]
    response.Results += [ua.DataValue(StatusCode=ua.StatusCode(0x803E0000))]
    read = decode_read(buffer(response))
    assert [each.value for each in read] == [KEYS[4], -1, 3, "Text", 1.5, "s", [1, 2], unit, None]
    assert [each.kind for each in read] == [17, 6, 3, 21, 11, 12, 5, 22, 0]
    assert [each.status for each in read] == [0] * 8 + [0x803E0000]


def test_the_parts_of_a_key_are_those_of_an_address() -> None:
    found = [f"ns={name.namespace};{name.kind}={name.identifier}" for name in map(name_of, KEYS)]
    assert [ua.NodeId.from_string(each) for each in found] == NODES
    assert name_of(b"\x03\x02\0\x01\0\0\0\xff").identifier is None
