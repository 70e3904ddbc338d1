"""Which fields of events are asked for, and the filter that asks. Pure; used by watch.py and
event.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from asyncua import ua


@dataclass(frozen=True, slots=True)
class EventField:
    """A select clause.

    Attributes:
        key: its name, browse names joined by "/"; standard fields as in `STANDARD`.
        type: node of the event type that has it, in the server's numbering.
        path: browse names, each `namespace:name`; none: the node of the condition itself.
        own: a maker's, not of `STANDARD`.
    """

    key: str
    type: str
    path: tuple[str, ...]
    own: bool = False


_BASE, _CONDITION, _ACKNOWLEDGEABLE, _ALARM = "i=2041", "i=2782", "i=2881", "i=2915"
"""BaseEventType, ConditionType, AcknowledgeableConditionType, AlarmConditionType (part 9, 5.5 to
5.8)."""

CONDITION_ID = "ConditionId"

_NAMES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        _BASE,
        ("EventId", "EventType", "SourceNode", "SourceName", "Time", "Message", "Severity"),
    ),
    (
        _CONDITION,
        (
            CONDITION_ID,
            "ConditionName",
            "BranchId",
            "Retain",
            "EnabledState/Id",
            "Quality",
            "Comment",
        ),
    ),
    (_ACKNOWLEDGEABLE, ("AckedState/Id", "ConfirmedState/Id")),
    (
        _ALARM,
        (
            "ActiveState/Id",
            "SuppressedState/Id",
            "OutOfServiceState/Id",
            "ShelvingState/CurrentState",
            "SuppressedOrShelved",
        ),
    ),
)

BASIC = ("EventId", "EventType", "SourceNode", "SourceName", "Time", "Message", "Severity")
"""Without these an event says nothing."""

FURTHER: tuple[tuple[str, str], ...] = (
    ("i=2782", "ConditionClassName"),
    ("i=2782", "LastSeverity"),
    ("i=2782", "ClientUserId"),
    ("i=2915", "ActiveState"),
    ("i=9341", "LimitState/CurrentState"),
)
"""Standard fields that are kept with the maker's own."""


def standard() -> list[EventField]:
    """The fields that every server of events, conditions and alarms may have."""
    return [_field(node, key, own=False) for node, keys in _NAMES for key in keys] + [
        _field(node, key, own=True) for node, key in FURTHER
    ]


def _field(node: str, key: str, *, own: bool) -> EventField:
    path = () if key == CONDITION_ID else tuple(f"0:{name}" for name in key.split("/"))
    return EventField(key, node, path, own)


TYPES_WANTED = (
    2782,  # ConditionType
    2130,  # SystemEventType, of which are those that say how a refresh goes (part 9, 5.11)
    3035,  # EventQueueOverflowEventType
)
"""Every event that is wanted is of a subtype of the first two, or of the last: see where.py."""


def event_filter(fields: Sequence[EventField], *, where: bool) -> ua.EventFilter:
    """What asks for the fields; `where`: of conditions, refreshes and overflows only."""
    found = ua.EventFilter()
    found.SelectClauses = [
        ua.SimpleAttributeOperand(
            TypeDefinitionId=ua.NodeId.from_string(each.type),
            BrowsePath=[ua.QualifiedName.from_string(name) for name in each.path],
            AttributeId=ua.AttributeIds.Value if each.path else ua.AttributeIds.NodeId,
        )
        for each in fields
    ]
    if where:
        found.WhereClause = _of_types(TYPES_WANTED)
    return found


def _of_types(types: Sequence[int]) -> ua.ContentFilter:
    """OfType a or (OfType b or (OfType c ...)): an element refers to those behind it alone."""
    elements: list[ua.ContentFilterElement] = []
    last = len(types) - 1
    for number, node in enumerate(types):
        one = ua.ContentFilterElement(
            FilterOperator=ua.FilterOperator.OfType,
            FilterOperands=[ua.LiteralOperand(Value=ua.Variant(ua.NodeId(node)))],
        )
        if number == last:
            elements.append(one)
            break
        at = len(elements)
        both = [ua.ElementOperand(Index=at + 1), ua.ElementOperand(Index=at + 2)]
        elements += [ua.ContentFilterElement(ua.FilterOperator.Or, both), one]
    return ua.ContentFilter(Elements=elements)


@dataclass(frozen=True, slots=True)
class EventTerms:
    """An item of events as the server took it: what brings the next session back to it.

    Attributes:
        subscription: that it is in.
        fields: in the order in which their values come.
        item: the server's number of it; 0: not known.
        filtered: with a where clause.
    """

    subscription: int
    fields: tuple[EventField, ...]
    item: int = 0
    filtered: bool = False
