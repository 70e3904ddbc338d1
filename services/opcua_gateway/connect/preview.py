"""What variables of a server are worth now, for somebody who chooses among them: values, qualities,
times, how often they change. Nothing is kept. For the commands and the page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from aurelian.edge.globs import chosen
from aurelian.model.addresses import NodeAddress, parse_address
from aurelian.model.sample import Value, ValueType
from aurelian.model.source_model import SourceModel
from aurelian.model.time import SECOND_US
from opcua_gateway.browse.plant_snippet import address_of
from opcua_gateway.browse.variables import Variable
from opcua_gateway.connect.watching import acknowledge, watching
from opcua_gateway.data_types.type_definitions import TypeDefinitions
from opcua_gateway.happenings import Message
from opcua_gateway.items.asked import Asked
from opcua_gateway.session import Session, status_name
from opcua_gateway.settings import OpcuaGatewaySettings

MOST_NODES = 1000
"""In one preview: more is for nobody to look at."""

_KEPT_VALUES = 200
_PLAIN = frozenset(
    {
        "Boolean", "SByte", "Byte", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64",
        "Float", "Double", "String", "DateTime", "UtcTime", "ByteString", "LocalizedText",
    }
)  # fmt: skip
"""Types of whose values nothing has to be asked."""


@dataclass(frozen=True, slots=True)
class Previewed:
    """A variable that is previewed; `address`: its node id as the plant file writes it."""

    path: str
    address: str
    type_name: str = ""
    unit: str = ""


@dataclass(slots=True)
class Seen:
    """What is known of a variable by now.

    Attributes:
        value, status, source_time: the newest; the time in microseconds since 1970. None: none
            came, or without.
        received_at: of the newest; 0: none came.
        changes: how often the value was another one than before.
        values, times: the newest in order, and when they came, seconds: for proposals.
        names: of its numbers, where its type is an enumeration.
        refused: why the server does not give it; empty: it does.
    """

    node: Previewed
    value: Value = None
    type: ValueType = ValueType.NULL
    status: int = 0
    source_time: int | None = None
    received_at: int = 0
    changes: int = 0
    values: list[Value] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    names: Mapping[int, str] = field(default_factory=dict)
    refused: str = ""

    @property
    def quality(self) -> str:
        """`good`, `uncertain` or `bad`, with the status where it is not plainly good; `none`:
        nothing came."""
        if self.refused:
            return f"bad ({self.refused})"
        if not self.received_at:
            return "none"
        kind = ("good", "uncertain", "bad", "bad")[self.status >> 30]
        return f"{kind} ({status_name(self.status)})" if self.status & 0xFFFF0000 else kind

    def changes_a_minute(self, seconds: float) -> float:
        """How often it changed, in a preview of that length."""
        return 60 * self.changes / seconds if seconds > 0 else 0.0

    def take(
        self, value: Value, kind: ValueType, status: int, source_time: int | None, at: int
    ) -> None:
        """Take a value that came at a time, microseconds since 1970."""
        if self.received_at and value != self.value:
            self.changes += 1
        self.value, self.type, self.status, self.source_time = value, kind, status, source_time
        self.received_at = at
        if kind is not ValueType.NULL:
            self.values.append(value)
            self.times.append(at / SECOND_US)
            del self.values[:-_KEPT_VALUES], self.times[:-_KEPT_VALUES]


def choose(
    variables: Iterable[Variable],
    namespaces: Sequence[str],
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> list[Variable]:
    """The readable variables whose path is chosen by patterns such as `Line1/**/Temp*` (none: all),
    and whose node id a plant file can hold. Pure.

    Raises:
        PatternError: a pattern cannot be meant.
    """
    return [
        each
        for each in variables
        if each.is_readable
        and address_of(each.node.key, namespaces) is not None
        and chosen(each.node.path, tuple(include), tuple(exclude))
    ]


def previewed(variables: Iterable[Variable], namespaces: Sequence[str]) -> list[Previewed]:
    """The variables as they are previewed; at most MOST_NODES."""
    found: list[Previewed] = []
    for each in variables:
        address = address_of(each.node.key, namespaces)
        if address is not None and len(found) < MOST_NODES:
            unit = each.unit or each.unit_shown
            found.append(Previewed(each.node.path, address, each.type_name, unit))
    return found


async def preview(
    session: Session,
    model: SourceModel,
    nodes: Sequence[Previewed],
    settings: OpcuaGatewaySettings,
    seconds: float = 10.0,
    every_s: float = 1.0,
) -> AsyncIterator[Sequence[Seen]]:
    """Watch nodes for some seconds; yields all of them, as they are by then, at the beginning of
    each interval in which something came, and at the end. The rows are changed in place.

    Raises:
        SessionLost: the server is gone, or gives no subscription.
        ValueError: no node, or more than MOST_NODES.
    """
    if not 0 < len(nodes) <= MOST_NODES:
        raise ValueError(f"{len(nodes)} variables are chosen; a preview shows 1 to {MOST_NODES}")
    addresses: list[NodeAddress] = [parse_address(each.address) for each in nodes]
    names = [each.path for each in nodes]
    rows = [Seen(each) for each in nodes]
    clock = asyncio.get_running_loop().time
    async with watching(
        session, model, addresses, [Asked()] * len(nodes), names, settings
    ) as watch:
        for handle, status in watch.refused.items():
            rows[handle].refused = status_name(status)
        types = TypeDefinitions(
            model.key,
            [
                (handle, node)
                for handle, node in enumerate(watch.publishing.nodes)
                if node is not None and nodes[handle].type_name not in _PLAIN
            ],
            settings.opcua_retry_s,
        )
        await types.read(session, settings.opcua_timeout_s)
        for handle, row in enumerate(rows):
            row.names = types.names.get(handle, {})
        ends = clock() + seconds
        shows, has_news = clock() + min(every_s, 0.3), True
        while (now := clock()) < ends:
            try:
                async with asyncio.timeout(max(0.0, min(shows, ends) - now)):
                    happening = await watch.next()
            except TimeoutError:
                if has_news:
                    yield rows
                shows, has_news = clock() + every_s, False
                continue
            if isinstance(happening, Message):
                acknowledge(happening)
                has_news |= _take(rows, happening)
        yield rows


def _take(rows: Sequence[Seen], message: Message) -> bool:
    notifications = message.published.notifications
    for each in notifications:
        if each.handle < len(rows):
            rows[each.handle].take(
                each.value, each.type, each.status, each.source_time, message.received_at
            )
    return bool(notifications)
