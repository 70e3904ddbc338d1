"""What a line's plant model lacks for the figures of a shift. Pure; called by `aurelian check` and
the dashboard."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from aurelian.model.plant_parts import Role

_CALENDAR = "calendar: {shifts: [{name: day, start: '06:00', end: '14:00'}]}"


@dataclass(frozen=True, slots=True)
class Missing:
    """A part of the plant model without which a line has no OEE.

    Attributes:
        what: what is not there, and what does not come of it.
        write: what to write into the plant file, and where.
        unknown: figures of `line.kpi` that are not known therefore, whatever a shift adds up.
    """

    what: str
    write: str
    unknown: tuple[str, ...]


def missing_for_figures(
    *,
    has_shifts: bool,
    output: str,
    output_roles: Collection[str],
    constraint: str,
    constraint_roles: Collection[str],
) -> tuple[Missing, ...]:
    """What keeps a line from having an OEE; empty: nothing in its plant model does.

    Args:
        has_shifts: its calendar, or else the site's, has a shift.
        output, constraint: names of the units whose counts and whose state are the line's.
        output_roles, constraint_roles: of the signals of these units.
    """
    found = []
    if not has_shifts:
        found.append(
            Missing(
                "no shift calendar, so no target and no OEE",
                f"write, for the site or the line, `{_CALENDAR}`",
                ("target", "oee"),
            )
        )
    if Role.STATE not in constraint_roles:
        found.append(
            Missing(
                f"{constraint} has no state signal, so the line has no state and no OEE",
                f"give the signal of {constraint} that says whether it runs `role: state`",
                ("availability", "effectiveness", "oee", "production_s"),
            )
        )
    if Role.GOOD_COUNT not in output_roles:
        found.append(
            Missing(
                f"{output} has no count of good pieces, so no actual and no OEE",
                f"give the signal of {output} with its total of good pieces `role: good_count`",
                ("good", "effectiveness", "quality", "oee"),
            )
        )
    return tuple(found)
