"""What a line's plant model lacks for the figures of a shift, as its tile and its page say it.
Pure; called by pages.py."""

from __future__ import annotations

from collections.abc import Mapping

from aurelian.model.asset import Asset
from aurelian.model.figures import Missing, missing_for_figures
from dashboard.live import LivePlant


def missing_of(plant: LivePlant, line: Asset) -> tuple[Missing, ...]:
    """What keeps the line from having an OEE; empty: nothing in its plant model does, or one of
    its machines is not known yet."""
    # As the record has it: to read the whole meaning would cost more than all else of a tile.
    output, constraint = (
        plant.tree.assets.get(str(line.meaning.get(name))) for name in ("output", "constraint")
    )
    if output is None or constraint is None:
        return ()
    calendar = line.meaning.get("calendar")
    return missing_for_figures(
        has_shifts=isinstance(calendar, Mapping) and bool(calendar.get("shifts")),
        output=output.title,
        output_roles={signal.role for signal in plant.signals_of(output.id)},
        constraint=constraint.title,
        constraint_roles={signal.role for signal in plant.signals_of(constraint.id)},
    )
