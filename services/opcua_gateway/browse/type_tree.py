"""What the types of a server are: their names, and the types above them; called by discovery.py.

A type is known by its node, namespace URI and identifier, whatever its name; a maker's own type
leads to the one of a specification through the types above it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

from asyncua import ua

from opcua_gateway.browse.service import BrowseService
from opcua_gateway.browse.walk import Reach, read_many
from opcua_gateway.browse.wire import FOREIGN, NULL_NODE, name_of
from opcua_gateway.session import Session, SessionLost, TooManyOperations

_MOST_LEVELS = 50


@dataclass(frozen=True, slots=True)
class TypeId:
    """A node of a specification: URI of its namespace, and its number."""

    uri: str
    number: int


@dataclass(slots=True)
class TypeTree:
    """The types that were asked for.

    Attributes:
        above: each type with all above it, itself first, by its key.
        names: browse names by key.
    """

    namespaces: tuple[str, ...]
    above: dict[bytes, list[bytes]] = field(default_factory=dict)
    names: dict[bytes, str] = field(default_factory=dict)

    def ids(self, key: bytes) -> list[TypeId]:
        """A type and all above it, as far as they have numbers."""
        found = []
        for each in self.above.get(key, [key]):
            if each in (NULL_NODE, FOREIGN):
                continue
            name = name_of(each)
            if name.kind == "i" and name.namespace < len(self.namespaces):
                found.append(TypeId(self.namespaces[name.namespace], int(name.identifier or 0)))
        return found


async def read_types(session: Session, reach: Reach, types: Collection[bytes]) -> TypeTree:
    """Find the types above types, and the names of all.

    Raises:
        SessionLost: the server is gone.
    """
    parents: dict[bytes, bytes] = {}
    new = [key for key in types if key not in (NULL_NODE, FOREIGN)]
    for _ in range(_MOST_LEVELS):
        if not new:
            break
        found = await _parents(session, reach, new)
        parents.update(found)
        new = [key for key in dict.fromkeys(found.values()) if key and key not in parents]
    tree = TypeTree(reach.namespaces)
    for key in parents:
        line = [key]
        while (parent := parents.get(line[-1])) and parent not in line:
            line.append(parent)
        tree.above[key] = line
    known = list(dict.fromkeys(each for line in tree.above.values() for each in line))
    answers = await read_many(
        session, reach, [(key, int(ua.AttributeIds.BrowseName)) for key in known], 1
    )
    for key, answer in zip(known, answers, strict=True):
        if isinstance(answer.value, ua.QualifiedName):
            tree.names[key] = answer.value.Name or ""
    return tree


async def _parents(session: Session, reach: Reach, types: Collection[bytes]) -> dict[bytes, bytes]:
    """The type directly above each; `FOREIGN`: none."""
    found: dict[bytes, bytes] = {}
    service = BrowseService(session)
    waiting = deque(types)
    while waiting:
        part = [waiting.popleft() for _ in range(min(len(waiting), reach.per_browse))]
        try:
            answers = await service.browse(part, reach.indices, types_above=True)
        except TooManyOperations as error:
            if len(part) == 1:
                raise SessionLost(f"not even one node: {error}") from error
            reach.per_browse = max(1, len(part) // 2)
            waiting.extendleft(reversed(part))
            continue
        points = [answer.point for answer in answers if answer.point]
        if points:
            await service.browse_next(points, reach.indices, release=True)
        for key, answer in zip(part, answers, strict=True):
            found[key] = answer.references[0].node if answer.references else FOREIGN
    return found
