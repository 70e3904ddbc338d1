"""What a line's machines say themselves: their standing alarms, and which of them nobody knows of
any more. Called by routes.py."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import RowMapping, and_, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from aurelian.db import tables
from aurelian.model.asset import Asset
from aurelian.model.time import to_ms
from dashboard import marks, pages
from dashboard.freshness import Freshness
from dashboard.live import LivePlant

MOST = 200
"""Shown of a line, the most severe."""


@dataclass(frozen=True, slots=True)
class MachineAlarmView:
    """A standing alarm of a machine.

    Attributes:
        priority: high, medium or low, by OPC UA severity.
        where: title of the machine, else the source's name.
        since: time of day from which it is active; of one that has ended that of its last event.
        notes: active or ended, acknowledged or not, and the like.
        not_known: since when its source is silent, so that it may be otherwise by now; empty: it is
            heard.
    """

    priority: str
    severity: int
    code: str
    message: str
    where: str
    since: str
    notes: str
    not_known: str


async def read_line(
    connection: AsyncConnection, plant: LivePlant, line: Asset, now_ms: int
) -> tuple[list[MachineAlarmView], bool]:
    """The standing alarms of a line's machines, the most severe first, and whether its machines
    ever told any. What is of no machine is shown at each line that its source speaks for."""
    table = tables.machine_alarm
    units = {unit.id: unit for unit in plant.tree.units_of(line)}
    sources = {str(unit.meaning.get("source", "")) for unit in units.values()}
    here = and_(
        table.c.owner == line.owner,
        or_(
            table.c.asset.in_(list(units)),
            and_(table.c.asset == "", table.c.source.in_(sorted(sources))),
        ),
    )
    query = (
        select(table)
        .where(here, table.c.retain)
        .order_by(table.c.severity.desc(), table.c.received_at.desc(), table.c.condition)
        .limit(MOST)
    )
    rows = (await connection.execute(query)).mappings().all()
    if not rows:
        any_ = (await connection.execute(select(table.c.owner).where(here).limit(1))).first()
        return [], any_ is not None
    return [_view(plant, line, units.get(row["asset"]), row, now_ms) for row in rows], True


def _view(
    plant: LivePlant, line: Asset, unit: Asset | None, row: RowMapping, now_ms: int
) -> MachineAlarmView:
    zone = pages.zone_of(line)
    key, source = row["asset"] or row["source"], row["source"]
    not_known = ""
    if plant.freshness(key, now_ms, source) is Freshness.STALE:
        heard = plant.heard_ms(key, source)
        not_known = marks.time_of_day(heard or to_ms(row["received_at"]), now_ms, zone)
    # A clock that is ahead does not make it begin later than it was heard of.
    began = min(row["active_since"] or row["time"], row["received_at"])
    severity = row["severity"]
    return MachineAlarmView(
        priority=pages.machine_priority(severity),
        severity=severity,
        code=row["code"],
        message=row["message"],
        where=unit.title if unit is not None else source.rpartition("/")[2],
        since=marks.time_of_day(to_ms(began), now_ms, zone),
        notes=_notes(row),
        not_known=not_known,
    )


def _notes(row: RowMapping) -> str:
    found = ["active" if row["active"] else "ended"]
    if row["branch"]:
        found.append("of before")
    if row["acked"] is not None:
        found.append("acknowledged" if row["acked"] else "not acknowledged")
    if row["confirmed"] is False and row["acked"]:
        found.append("not confirmed")
    for name, word in (
        ("suppressed", "suppressed"),
        ("out_of_service", "out of service"),
        ("shelved", "shelved"),
    ):
        if row[name]:
            found.append(word)
    return ", ".join(found)
