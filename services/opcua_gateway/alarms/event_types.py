"""The event types that a server's maker added, and their fields; called by watch.py before an item
of events is made."""

from __future__ import annotations

from asyncua import ua

from opcua_gateway.address_space import HAS_SUBTYPE, browse_from, local, references, targets
from opcua_gateway.alarms.fields import EventField
from opcua_gateway.in_parts import browse_in_parts
from opcua_gateway.session import Session

_AGGREGATES = ua.NodeId(44)
"""HasProperty and HasComponent are of this type of references (part 3, 7.6)."""

_BASE_EVENT_TYPE = ua.NodeId(ua.ObjectIds.BaseEventType)
_MOST_TYPES, _MOST_FIELDS, _MOST_LEVELS, _NODES_PER_CALL = 2000, 200, 20, 200


async def read_own_fields(session: Session) -> list[EventField]:
    """The fields of all event types outside namespace 0, variables directly below the type; at most
    200.

    Raises:
        SessionLost: the server is gone, or gives nothing of its types.
    """
    types: list[ua.NodeId] = []
    known = {_BASE_EVENT_TYPE}
    level = [_BASE_EVENT_TYPE]
    for _ in range(_MOST_LEVELS):
        if not level or len(known) > _MOST_TYPES:
            break
        wanted = [browse_from(node, HAS_SUBTYPE) for node in level]
        answers = await browse_in_parts(session, wanted, _NODES_PER_CALL)
        found = [node for answer in answers for node in targets(answer)]
        level = [node for node in dict.fromkeys(found) if node not in known]
        known.update(level)
        types += [node for node in level if node.NamespaceIndex]
    wanted = [browse_from(node, _AGGREGATES) for node in types]
    for each in wanted:
        each.NodeClassMask = int(ua.NodeClass.Variable)
    answers = await browse_in_parts(session, wanted, _NODES_PER_CALL)
    fields: dict[str, EventField] = {}
    for node, answer in zip(types, answers, strict=True):
        for reference in references(answer):
            name = reference.BrowseName
            if not name.Name or not name.NamespaceIndex or not local(reference.NodeId):
                continue  # what has a name of namespace 0 is a standard field that was made anew
            key = name.Name if name.Name not in fields else f"{node.to_string()} {name.Name}"
            path = (f"{name.NamespaceIndex}:{name.Name}",)
            if any(each.path == path and each.type == node.to_string() for each in fields.values()):
                continue
            fields[key] = EventField(key, node.to_string(), path, own=True)
    return list(fields.values())[:_MOST_FIELDS]
