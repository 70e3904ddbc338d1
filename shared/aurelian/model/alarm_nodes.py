"""Which events are a unit's: what contradicts in `alarm_nodes` of the plant file. Called by
`plant.py`."""

from __future__ import annotations

from collections.abc import Sequence

from aurelian.model.addresses import AddressError, parse_address
from aurelian.model.plant_parts import problem_at
from aurelian.model.source_model import SourceModel


def check_alarm_nodes(
    unit: str,
    nodes: Sequence[str],
    source: SourceModel,
    taken: set[tuple[str, ...]],
    place: tuple[int | str, ...],
) -> None:
    """Refuse nodes of events that are no node ids, belong to two units, or nobody watches.

    `unit`: its path.

    Raises:
        ValueError: one is; with its place.
    """
    for number, node in enumerate(nodes):
        at = (*place, "alarm_nodes", number)
        if source.alarms is None:
            said = (
                f"unit {unit!r}: its source {source.id!r} takes no events; say "
                "`alarms: true` there (kind opcua), or take `alarm_nodes` out"
            )
            raise problem_at(*at, said=said)
        try:
            parse_address(node)
        except AddressError as error:
            raise problem_at(*at, said=f"unit {unit!r}: {error}") from error
        if ("alarms", source.id, node) in taken:
            said = f"unit {unit!r}: {node!r} is an alarm node already; events have one unit"
            raise problem_at(*at, said=said)
        taken.add(("alarms", source.id, node))
