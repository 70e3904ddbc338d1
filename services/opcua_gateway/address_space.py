"""What is asked for in a server's address space, and what its answers say; for type_definitions.py
and older_types.py. Pure."""

from __future__ import annotations

from asyncua import ua

HAS_SUBTYPE = ua.NodeId(ua.ObjectIds.HasSubtype)
HAS_ENCODING = ua.NodeId(ua.ObjectIds.HasEncoding)
HAS_DESCRIPTION = ua.NodeId(ua.ObjectIds.HasDescription)
HAS_COMPONENT = ua.NodeId(ua.ObjectIds.HasComponent)
HAS_PROPERTY = ua.NodeId(ua.ObjectIds.HasProperty)


def browse_from(
    node: ua.NodeId, reference: ua.NodeId, *, inverse: bool = False
) -> ua.BrowseDescription:
    """What to ask for: the nodes that references of a type lead to; `inverse`: from which they
    come. Of any class: some servers do not know the class of what they refer to."""
    direction = ua.BrowseDirection.Inverse if inverse else ua.BrowseDirection.Forward
    return ua.BrowseDescription(
        NodeId=node,
        BrowseDirection=direction,
        ReferenceTypeId=reference,
        IncludeSubtypes=True,
        NodeClassMask=0,
        ResultMask=ua.BrowseResultMask.BrowseName,
    )


def references(result: ua.BrowseResult | None) -> list[ua.ReferenceDescription]:
    """What a browsed node has; nothing where the answer could not be read."""
    return list(result.References or ()) if result is not None else []


def targets(result: ua.BrowseResult | None) -> list[ua.NodeId]:
    """The nodes that the references lead to."""
    return [local(each.NodeId) for each in references(result)]


def local(node: ua.NodeId) -> ua.NodeId:
    """An ExpandedNodeId of this server as a NodeId."""
    return ua.NodeId(node.Identifier, node.NamespaceIndex)


def content(value: ua.DataValue | None) -> object:
    """What was read; None where the server did not give it."""
    if value is None or value.Value is None or not value.StatusCode.is_good():
        return None
    return value.Value.Value
