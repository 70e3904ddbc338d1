"""EURange and EngineeringUnits of nodes (part 8, 5.3.2), read when a filter needs them and when the
server says that a node means something else now (SemanticsChanged). Called by publishing.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from asyncua import ua

from opcua_gateway.browse.engineering_units import to_ucum
from opcua_gateway.in_parts import read_in_parts, translate_in_parts
from opcua_gateway.session import Session

SEMANTICS_CHANGED = 0x4000
"""Of a status code: the node's static properties may be others (part 4, 7.39.1)."""

_NAMES = ("EURange", "EngineeringUnits")


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a node's values mean.

    Attributes:
        low, high: of its EURange; None: it has none, or one that is empty.
        unit: UCUM, or the name that the server shows where that is not known; "": none.
    """

    low: float | None = None
    high: float | None = None
    unit: str = ""

    @property
    def has_range(self) -> bool:
        """Whether a share of its range is something."""
        return self.low is not None


async def read_meanings(
    session: Session, nodes: Mapping[int, str], per_call: int
) -> dict[int, Meaning]:
    """Read what nodes mean, given by handle; one that has no such properties means nothing.

    Raises:
        SessionLost: as every method of a session.
    """
    handles = list(nodes)
    paths = [_path(nodes[handle], name) for handle in handles for name in _NAMES]
    targets = [_target(each) for each in await translate_in_parts(session, paths, per_call)]
    wanted = [(node, ua.AttributeIds.Value) for node in targets if node is not None]
    answers = iter(await read_in_parts(session, wanted, per_call))
    values = [None if node is None else _content(next(answers)) for node in targets]
    return {
        handle: _meaning(values[2 * place], values[2 * place + 1])
        for place, handle in enumerate(handles)
    }


def _path(node: str, name: str) -> ua.BrowsePath:
    step = ua.RelativePathElement()
    step.ReferenceTypeId = ua.NodeId(ua.ObjectIds.HasProperty)
    step.IsInverse, step.IncludeSubtypes = False, True
    step.TargetName = ua.QualifiedName(name, 0)
    return ua.BrowsePath(ua.NodeId.from_string(node), ua.RelativePath([step]))


def _target(answer: ua.BrowsePathResult | None) -> ua.NodeId | None:
    if answer is None or not answer.StatusCode.is_good() or not answer.Targets:
        return None
    found: ua.NodeId = answer.Targets[0].TargetId
    return found


def _content(answer: ua.DataValue | None) -> object:
    return answer.Value.Value if answer is not None and answer.Value is not None else None


def _meaning(range: object, unit: object) -> Meaning:
    low: float | None = None
    high: float | None = None
    # An empty range, as of a server that does not know it, has no share.
    if isinstance(range, ua.Range) and range.High > range.Low:
        low, high = float(range.Low), float(range.High)
    name = ""
    if isinstance(unit, ua.EUInformation):
        name = to_ucum(unit) or (unit.DisplayName.Text if unit.DisplayName else "") or ""
    return Meaning(low, high, name)


def changed_handles(statuses: Sequence[tuple[int, int]]) -> set[int]:
    """Handles of the values, given as (handle, status), whose meaning changed."""
    return {handle for handle, status in statuses if status & SEMANTICS_CHANGED}
