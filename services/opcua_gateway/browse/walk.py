"""What a server has: its objects and variables from the Objects folder down, by Browse in batches;
called by discovery.py.

An address space is a graph: a node is opened once, by the first way that leads to it. Batches are
within what the server takes, several requests wait at it at a time, and all is bounded.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from asyncua import ua

from opcua_gateway.browse.service import BrowseService
from opcua_gateway.browse.wire import (
    FOREIGN,
    OBJECT,
    Attribute,
    Browsed,
    Reference,
    numeric_key,
)
from opcua_gateway.in_parts import read_in_parts
from opcua_gateway.session import Session, SessionLost, TooManyOperations

NODES_PER_CALL = 1000
"""Where a server names no limit of its own."""

OBJECTS = numeric_key(0, ua.ObjectIds.ObjectsFolder)
SERVER = numeric_key(0, ua.ObjectIds.Server)
HAS_PROPERTY = numeric_key(0, ua.ObjectIds.HasProperty)

_CHILDREN_PER_ANSWER = 1000
"""Of one node: what is more comes with BrowseNext, so that no answer becomes too large."""

_RELEASE_S = 2.0
_LIMITS = (
    ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerBrowse,
    ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead,
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far a browse goes.

    Attributes:
        nodes: objects and variables.
        depth: levels below the first node.
        seconds: for all.
        in_flight: requests that wait at the server at a time.
    """

    nodes: int = 200_000
    depth: int = 40
    seconds: float = 120.0
    in_flight: int = 4


@dataclass(slots=True, eq=False)
class Node:
    """An object or a variable where it was found first.

    Attributes:
        key: its node id, `browse_wire.py`.
        parent: None of the first one.
        reference: key of the reference's type that leads from the parent to it.
        namespace, name: its browse name.
        type_definition: key; `NULL_NODE` where it has none.
    """

    key: bytes
    parent: Node | None
    reference: bytes
    namespace: int
    name: str
    display: str
    node_class: int
    type_definition: bytes
    depth: int

    @property
    def is_property(self) -> bool:
        """Describes its parent, and has no children."""
        return self.reference == HAS_PROPERTY

    @property
    def way(self) -> list[Node]:
        """The nodes from below the first one down to this one."""
        node: Node | None = self
        way = []
        while node is not None and node.parent is not None:
            way.append(node)
            node = node.parent
        return way[::-1]

    @property
    def path(self) -> str:
        """Browse names below the first node, `Line 1/Press/Force`."""
        return "/".join(node.name for node in self.way)

    @property
    def qualified_path(self) -> str:
        """As `path`, each name with the index of its namespace: `2:Line 1/2:Press/3:Force`."""
        return "/".join(f"{node.namespace}:{node.name}" for node in self.way)


@dataclass(slots=True)
class Tree:
    """What was found.

    Attributes:
        nodes: in the order of their levels; a parent before its children.
        further: objects that a node refers to beside the first way to them, by the node's key.
        refused: nodes that the server did not open, with its status.
        cut: why something is missing; empty: nothing is.
    """

    nodes: list[Node] = field(default_factory=list)
    further: dict[bytes, dict[Node, None]] = field(default_factory=dict)
    refused: list[tuple[Node, int]] = field(default_factory=list)
    cut: str = ""

    def depth_first(self) -> Iterator[Node]:
        """The nodes as a reader expects them: each followed by what is below it."""
        below: dict[Node | None, list[Node]] = {}
        for node in self.nodes:
            below.setdefault(node.parent, []).append(node)
        waiting = below.get(self.nodes[0].parent, [])[::-1] if self.nodes else []
        while waiting:
            node = waiting.pop()
            yield node
            waiting += reversed(below.get(node, ()))


class Reach:
    """How many nodes one call of a server may have, and its namespaces. Made by `find_reach`."""

    def __init__(self, namespaces: Sequence[str], per_browse: int, per_read: int) -> None:
        self.namespaces = tuple(namespaces)
        self.indices = {uri: index for index, uri in reversed(list(enumerate(namespaces)))}
        self.per_browse, self.per_read = per_browse, per_read


async def find_reach(session: Session) -> Reach:
    """Ask a server for its namespaces and its limits."""
    namespaces = (await session.read_limits()).namespaces
    wanted = [(ua.NodeId(number), ua.AttributeIds.Value) for number in _LIMITS]
    answers = await read_in_parts(session, wanted, len(wanted))
    said = [each.Value.Value if each is not None and each.Value else None for each in answers]
    per_browse, per_read = (min(int(each or NODES_PER_CALL), NODES_PER_CALL) for each in said)
    return Reach(namespaces, per_browse, per_read)


async def browse_tree(
    session: Session,
    reach: Reach,
    bounds: Bounds,
    *,
    start: bytes = OBJECTS,
    leave_out: Callable[[Node], bool] = lambda node: False,
) -> Tree:
    """Find all objects and variables below a node.

    Args:
        leave_out: a node that is not wanted, and nothing below it.

    Raises:
        SessionLost: the server is gone.
    """
    browsing = _Browsing(session, reach, bounds, leave_out)
    return await browsing.run(start)


async def read_many(
    session: Session, reach: Reach, wanted: Sequence[tuple[bytes, int]], in_flight: int
) -> list[Attribute]:
    """Read attributes, given as (key, number), in batches.

    Raises:
        SessionLost: the server is gone, or refuses to read even one.
    """
    found: list[Attribute] = [Attribute(None, 0, 0)] * len(wanted)
    waiting = deque([(0, len(wanted))]) if wanted else deque()
    service = BrowseService(session)

    async def read() -> None:
        while waiting:
            start, end = waiting.popleft()
            stop = min(end, start + reach.per_read)
            if stop < end:
                waiting.appendleft((stop, end))
            try:
                found[start:stop] = await service.read(wanted[start:stop])
            except TooManyOperations as error:
                if stop - start == 1:
                    raise SessionLost(f"not even of one node: {error}") from error
                reach.per_read = max(1, min(reach.per_read, stop - start) // 2)
                waiting.appendleft((start, stop))

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(in_flight):
                group.create_task(read(), name=f"read attributes {number}")
    except* SessionLost as lost:
        raise lost.exceptions[0] from None
    return found


class _Browsing:
    """One browse. `_waiting` are nodes to be opened; `_points` the continuation points that the
    server keeps for us; `_alone` nodes for which it had no continuation point left."""

    def __init__(
        self, session: Session, reach: Reach, bounds: Bounds, leave_out: Callable[[Node], bool]
    ) -> None:
        self._service, self._reach, self._bounds = BrowseService(session), reach, bounds
        self._leave_out = leave_out
        self._tree = Tree()
        self._known: dict[bytes, Node | None] = {}
        self._waiting: deque[Node] = deque()
        self._alone: deque[Node] = deque()
        self._points: dict[Node, bytes] = {}
        self._most_children = _CHILDREN_PER_ANSWER
        self._too_deep: list[Node] = []

    async def run(self, start: bytes) -> Tree:
        first = Node(start, None, FOREIGN, 0, "", "", OBJECT, FOREIGN, 0)
        self._known[start] = first
        self._waiting.append(first)
        deadline = asyncio.get_running_loop().time() + self._bounds.seconds
        tasks: set[asyncio.Task[None]] = set()
        try:
            while not self._tree.cut:
                tasks |= self._more(self._bounds.in_flight - len(tasks), alone=not tasks)
                if not tasks:
                    break
                left = deadline - asyncio.get_running_loop().time()
                done, tasks = await asyncio.wait(
                    tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    task.result()
                if not done or left <= 0:
                    self._cut(f"{self._bounds.seconds:g} s are over", tasks)
            if tasks:  # what they bring is not looked at, but where the server keeps points for us
                _, tasks = await asyncio.wait(tasks, timeout=_RELEASE_S)
        finally:
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)
            await self._release(self._points)
        if self._too_deep and not self._tree.cut:
            self._tree.cut = (
                f"{len(self._too_deep)} nodes are deeper than {self._bounds.depth} levels and were "
                f"not opened, the first is {self._too_deep[0].path}"
            )
        return self._tree

    def _more(self, free: int, *, alone: bool) -> set[asyncio.Task[None]]:
        """Further requests; a node of `_alone` only where nothing else waits at the server."""
        tasks: set[asyncio.Task[None]] = set()
        if alone and not self._waiting and self._alone:
            node = self._alone.popleft()
            return {asyncio.create_task(self._open([node], alone=True), name="browse one")}
        while self._waiting and len(tasks) < free:
            share = -(-len(self._waiting) // (free - len(tasks)))
            batch = [self._waiting.popleft() for _ in range(min(share, self._reach.per_browse))]
            tasks.add(asyncio.create_task(self._open(batch), name=f"browse {len(batch)}"))
        return tasks

    async def _open(self, batch: Sequence[Node], *, alone: bool = False) -> None:
        reach = self._reach
        unfinished: Sequence[Node] = batch
        try:
            answers = await self._service.browse(
                [node.key for node in batch], reach.indices, self._most_children
            )
            unfinished = self._take(batch, answers, alone=alone)
            while unfinished and not self._tree.cut:
                points = [self._points[node] for node in unfinished]
                answers = await self._service.browse_next(points, reach.indices)
                unfinished = self._take(unfinished, answers, alone=alone)
        except TooManyOperations as error:
            await self._release(unfinished)
            if len(unfinished) > 1:
                reach.per_browse = max(1, min(reach.per_browse, len(unfinished)) // 2)
            elif self._most_children > 1:
                self._most_children //= 2
            else:
                raise SessionLost(f"not even one node: {error}") from error
            # From the beginning: what is known already is passed over.
            self._waiting.extendleft(reversed(unfinished))

    def _take(
        self, nodes: Sequence[Node], answers: Sequence[Browsed], *, alone: bool
    ) -> list[Node]:
        """Take answers in; return the nodes of which there is more."""
        unfinished = []
        for node, answer in zip(nodes, answers, strict=True):
            if self._tree.cut:
                # The rest is not looked at, but the server has to be told to forget it.
                if answer.point:
                    self._points[node] = answer.point
                continue
            self._points.pop(node, None)
            if _is_bad(answer.status):
                if answer.status in _NO_POINT and not alone:
                    self._alone.append(node)
                else:
                    self._tree.refused.append((node, answer.status))
                continue
            if answer.point:
                self._points[node] = answer.point
                unfinished.append(node)
            for reference in answer.references:
                if reference.is_forward and reference.node != FOREIGN:
                    self._add(node, reference)
        return unfinished

    def _add(self, parent: Node, reference: Reference) -> None:
        if reference.node in self._known:
            known = self._known[reference.node]
            if known is not None and known.node_class == OBJECT and known.parent is not parent:
                self._tree.further.setdefault(parent.key, {})[known] = None
            return
        if len(self._tree.nodes) >= self._bounds.nodes:
            self._cut(f"more than {self._bounds.nodes} nodes", ())
            return
        node = Node(
            reference.node,
            parent,
            reference.type,
            reference.namespace,
            reference.name,
            reference.display,
            reference.node_class,
            reference.type_definition,
            parent.depth + 1,
        )
        if self._leave_out(node):
            self._known[node.key] = None
            return
        self._known[node.key] = node
        self._tree.nodes.append(node)
        if node.is_property:
            return  # part 3, 7.8: it has no children
        if node.depth < self._bounds.depth:
            self._waiting.append(node)
        else:
            self._too_deep.append(node)

    def _cut(self, why: str, tasks: Collection[object]) -> None:
        if self._tree.cut:
            return
        left = len(self._waiting) + len(self._alone)
        first = next(iter((*self._waiting, *self._alone)), None)
        self._tree.cut = why
        if first is not None:
            self._tree.cut += f": {left} were not opened, the first is {first.path}"
        elif tasks:
            self._tree.cut += f": {len(tasks)} requests were not answered"

    async def _release(self, nodes: Collection[Node]) -> None:
        """Let the server forget where we were with nodes: it keeps few continuation points."""
        points = [self._points.pop(node) for node in list(nodes) if node in self._points]
        if points:
            with suppress(SessionLost, TooManyOperations, TimeoutError):
                async with asyncio.timeout(_RELEASE_S):
                    await self._service.browse_next(points, self._reach.indices, release=True)


_NO_POINT = frozenset(
    {ua.StatusCodes.BadNoContinuationPoints, ua.StatusCodes.BadContinuationPointInvalid}
)


def _is_bad(status: int) -> bool:
    return status & 0x80000000 != 0
