"""Reads the types of a server that its watched nodes have, and those that come without being
expected; for source.py and publishing.py, which decode by them.

No word of it ends a session: a value of a type that is not known is kept as bytes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from asyncua import ua

from opcua_gateway import metrics
from opcua_gateway.address_space import (
    HAS_ENCODING,
    HAS_SUBTYPE,
    browse_from,
    content,
    local,
    references,
    targets,
)
from opcua_gateway.data_types.older_types import Dictionaries, PerCall, read_names
from opcua_gateway.data_types.standard_types import Enumeration, Field, Kind, Structure, Subtype
from opcua_gateway.data_types.structures import Types, is_built_in
from opcua_gateway.data_types.type_dictionary import is_named
from opcua_gateway.decode.variants import UNREADABLE
from opcua_gateway.in_parts import browse_in_parts, read_in_parts
from opcua_gateway.session import Session, SessionLost

log = logging.getLogger(__name__)

NODES_PER_CALL = 500
"""Where a server names no limit of its own, and at most."""

MOST_TYPES = 5000
"""That one session asks for; further ones stay bytes."""


class TypeDefinitions:
    """What is known of one server's types; made anew for each new session.

    Attributes:
        types: what values are decoded by.
        names: by handle the names of the numbers of a node whose type is an enumeration.
    """

    def __init__(self, source: str, nodes: Sequence[tuple[int, str]], retry_s: float) -> None:
        """`nodes`: handle and id of those whose types are wanted; `retry_s`: those that the server
        does not have are tried again after this time."""
        self.types = Types(self._ask_for, self._note)
        self.names: dict[int, Mapping[int, str]] = {}
        self._source, self._retry_s = source, retry_s
        self._nodes = dict(nodes)
        self._seen = set(self._nodes)
        self._loop = asyncio.get_running_loop()
        self._asked: set[ua.NodeId] = set()
        self._reported: set[ua.NodeId] = set()
        self._unknown: dict[ua.NodeId, None] = {}  # and not answered yet
        self._has_unknown = asyncio.Event()
        self._has_limits = False
        self._per_call = PerCall(NODES_PER_CALL, NODES_PER_CALL)
        self._dictionaries = Dictionaries(self.types)

    async def read(self, session: Session, within_s: float) -> None:
        """Read the types of the watched nodes that are not read yet, and let the session decode by
        all; what does not come in time is read later."""
        session.types = self.types
        try:
            async with asyncio.timeout(within_s):
                await self._read_nodes(session)
        except (SessionLost, TimeoutError, *UNREADABLE) as error:
            self._log("the types of the nodes were not read", str(error) or "not in time")
            self._has_unknown.set()  # so that keep_reading goes on

    async def keep_reading(self, session: Session) -> None:
        """Read the types that come without being expected, and those of nodes that the server did
        not have yet; until cancelled, or the server does not answer any more."""
        while True:
            try:
                async with asyncio.timeout(self._retry_s if self._nodes else None):
                    await self._has_unknown.wait()
            except TimeoutError:
                pass
            self._has_unknown.clear()
            try:
                await self._read_nodes(session)
                await self._read_encodings(session, list(self._unknown))
            except asyncio.CancelledError:
                self._has_unknown.set()  # to be asked for on the next connection
                raise
            except (SessionLost, *UNREADABLE) as error:
                self._has_unknown.set()
                self._log("types were not read", str(error))
                return

    def watch(self, nodes: Sequence[tuple[int, str]]) -> None:
        """The server has these nodes now, handle and id: the next `read` reads those that are
        new too."""
        self._nodes.update(each for each in nodes if each[0] not in self._seen)
        self._seen.update(handle for handle, _ in nodes)

    def _ask_for(self, type_id: ua.NodeId) -> None:
        """A value has a type that is not known. Called in any thread: large answers are decoded
        beside the event loop."""
        metrics.UNDECODED.labels(self._source).inc()
        self._in_loop(self._want, type_id)

    def _want(self, type_id: ua.NodeId) -> None:
        """Ask for a type, once."""
        if type_id in self._unknown:
            return
        if type_id in self._asked or is_named(type_id) or len(self._asked) >= MOST_TYPES:
            self._report(type_id, "the server has no definition of it")
            return
        self._asked.add(type_id)
        self._unknown[type_id] = None
        self._has_unknown.set()

    def _note(self, type_id: ua.NodeId, why: str) -> None:
        """A value could not be decoded. Called in any thread."""
        metrics.UNDECODED.labels(self._source).inc()
        self._in_loop(self._report, type_id, why)

    def _in_loop(self, call: Callable[..., None], *given: object) -> None:
        with suppress(RuntimeError):  # the loop ended while a thread still decodes
            self._loop.call_soon_threadsafe(call, *given)

    def _report(self, type_id: ua.NodeId, why: str) -> None:
        if type_id not in self._reported and len(self._reported) < MOST_TYPES:
            self._reported.add(type_id)
            self._log("a structure stays bytes", why, type_id)

    def _log(self, what: str, why: str, type_id: ua.NodeId | None = None) -> None:
        fields = {"source": self._source, "reason": why}
        if type_id is not None:
            fields["type"] = type_id.to_string()
        log.warning(what, extra={"fields": fields})

    async def _read_limits(self, session: Session) -> None:
        if self._has_limits:
            return
        wanted = (
            ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead,
            ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerBrowse,
        )
        found = await read_in_parts(
            session, [(ua.NodeId(number), ua.AttributeIds.Value) for number in wanted], len(wanted)
        )
        limits = [content(each) for each in found]
        self._per_call = PerCall(
            *(
                min(each, NODES_PER_CALL) if isinstance(each, int) and each > 0 else NODES_PER_CALL
                for each in limits
            )
        )
        self._has_limits = True

    async def _read_nodes(self, session: Session) -> None:
        """Read the types of the nodes that are not read yet."""
        if not self._nodes:
            return
        await self._read_limits(session)
        nodes = list(self._nodes.items())
        for start in range(0, len(nodes), self._per_call.read):  # what was read counts
            part = nodes[start : start + self._per_call.read]
            found = await read_in_parts(
                session,
                [(ua.NodeId.from_string(node), ua.AttributeIds.DataType) for _, node in part],
                self._per_call.read,
            )
            read: dict[int, ua.NodeId] = {}
            for (handle, _), each in zip(part, found, strict=True):
                if isinstance(data_type := content(each), ua.NodeId):
                    read[handle] = data_type
            await self._read_types(session, read.values())
            for handle, data_type in read.items():
                self._nodes.pop(handle, None)
                if (names := self.types.names_of(data_type)) is not None:
                    self.names[handle] = names

    async def _read_encodings(self, session: Session, unknown: Sequence[ua.NodeId]) -> None:
        """Find the data types that encodings are of, and read them. What is no encoding is taken
        for a data type: some servers write that before a structure."""
        if not unknown:
            return
        await self._read_limits(session)
        found = await browse_in_parts(
            session,
            [browse_from(each, HAS_ENCODING, inverse=True) for each in unknown],
            self._per_call.browse,
        )
        data_types = []
        for type_id, result in zip(unknown, found, strict=True):
            if parents := targets(result):
                self.types.name_encoding(type_id, parents[0])
            else:
                self._asked.discard(type_id)  # it was not asked for as a data type
            data_types += parents[:1] or [type_id]
        await self._read_types(session, data_types)
        for type_id in unknown:
            self._asked.add(type_id)
            del self._unknown[type_id]

    async def _read_types(self, session: Session, data_types: Iterable[ua.NodeId]) -> None:
        """Read the definitions of types, and of those that they have within or above them."""
        wanted = self._not_asked(data_types)
        while wanted:
            self._asked.update(wanted)
            try:
                wanted = self._not_asked(await self._read_definitions(session, wanted))
            except BaseException:
                self._asked.difference_update(wanted)
                raise

    def _not_asked(self, data_types: Iterable[ua.NodeId]) -> list[ua.NodeId]:
        room = max(0, MOST_TYPES - len(self._asked))
        new = {each for each in data_types if not is_built_in(each) and each not in self._asked}
        return [each for each in new if each.Identifier][:room]

    async def _read_definitions(
        self, session: Session, wanted: Sequence[ua.NodeId]
    ) -> list[ua.NodeId]:
        """Read the definitions of some types; the types that these need."""
        definitions = await read_in_parts(
            session,
            [(each, ua.AttributeIds.DataTypeDefinition) for each in wanted],
            self._per_call.read,
        )
        above = await browse_in_parts(
            session,
            [browse_from(each, HAS_SUBTYPE, inverse=True) for each in wanted],
            self._per_call.browse,
        )
        encodings = await browse_in_parts(
            session,
            [browse_from(each, HAS_ENCODING) for each in wanted],
            self._per_call.browse,
        )
        needed: list[ua.NodeId] = []
        older: dict[ua.NodeId, ua.NodeId] = {}
        older_encodings: dict[ua.NodeId, ua.NodeId] = {}
        for data_type, definition, supertypes, ways in zip(
            wanted, definitions, above, encodings, strict=True
        ):
            is_older = content(definition) is None and not self.types.has(data_type)
            try:
                needed += self._define(data_type, content(definition), targets(supertypes))
            except UNREADABLE as error:
                self._report(data_type, f"its definition is unusable: {error}")
            binary = [
                local(each.NodeId)
                for each in references(ways)
                if each.BrowseName.Name == "Default Binary"
            ]
            for encoding in binary:
                self.types.name_encoding(encoding, data_type)
            if is_older and binary:
                older_encodings[binary[0]] = data_type
            elif is_older and targets(supertypes):
                older[data_type] = targets(supertypes)[0]
        await self._read_older(session, older, older_encodings)
        return needed

    async def _read_older(
        self,
        session: Session,
        parents: Mapping[ua.NodeId, ua.NodeId],
        encodings: Mapping[ua.NodeId, ua.NodeId],
    ) -> None:
        """Define what the server has no definition of: structures, by their encodings, and
        enumerations among the types with these parents."""
        if encodings:
            await self._dictionaries.read(session, encodings, self._per_call)
        if parents:
            found = await read_names(session, list(parents), self._per_call)
            for data_type, names in found.items():
                self.types.define(data_type, Enumeration(names, parents[data_type]))

    def _define(
        self, data_type: ua.NodeId, definition: object, parents: Sequence[ua.NodeId]
    ) -> list[ua.NodeId]:
        """Take one definition; the types that it needs."""
        match definition:
            case ua.StructureDefinition():
                structure = _structure(definition)
                if definition.DefaultEncodingId.Identifier:
                    self.types.name_encoding(definition.DefaultEncodingId, data_type)
                self.types.define(data_type, structure)
                return [structure.parent, *(each.data_type for each in structure.fields)]
            case ua.EnumDefinition():
                names = {
                    int(each.Value): each.Name or each.DisplayName.Text or ""
                    for each in definition.Fields or ()
                }
                enumeration = Enumeration(names, parents[0]) if parents else Enumeration(names)
                self.types.define(data_type, enumeration)
            case _ if parents and not self.types.has(data_type):
                self.types.define(data_type, Subtype(parents[0]))
        return list(parents)


def _structure(definition: ua.StructureDefinition) -> Structure:
    kind = Kind(int(definition.StructureType))
    fields = tuple(
        Field(
            each.Name or "",
            each.DataType,
            each.ValueRank,
            optional=bool(each.IsOptional) and kind is Kind.WITH_OPTIONAL,
            subtyped=bool(each.IsOptional)
            and kind in (Kind.WITH_SUBTYPED, Kind.UNION_WITH_SUBTYPED),
        )
        for each in definition.Fields or ()
    )
    return Structure(fields, kind, definition.BaseDataType)
