"""Whether machines pause for a break of their line's calendar. Pure; called by `simulation.py`.

The pilot lines run round the clock, so that a visitor always sees them; only breaks stop them.
"""

from __future__ import annotations

from datetime import datetime

from aurelian.assets import CalendarModel


def in_break(calendar: CalendarModel, local: datetime) -> bool:
    """Whether a break of any shift is on at `local` (the site's time). Breaks are taken every day."""
    minute = local.hour * 60 + local.minute
    return any(
        0 <= (minute - (pause.start.hour * 60 + pause.start.minute)) % 1440 < pause.minutes
        for shift in calendar.shifts
        for pause in shift.breaks
    )
