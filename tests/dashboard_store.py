"""What the other services would have written into the store that the dashboard reads: a day of
states, stops, figures, health and capacity, and alarms of machines."""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from sqlalchemy import create_engine, insert, make_url
from sqlalchemy.pool import NullPool

from aurelian.db import tables
from aurelian.model.plant import Line, Plant, Unit

STATES = (
    ("running", 41),
    ("short_stop", 1),
    ("running", 22),
    ("down", 6),
    ("running", 35),
    ("slow", 9),
    ("running", 50),
    ("starved", 4),
    ("running", 31),
    ("planned", 30),
    ("setup", 12),
)
"""A line's habit: state and minutes, over and over."""


def write_store(
    url: str, plants: Iterable[Plant], now: datetime, *, heard_ago_s: float = 0.0
) -> None:
    """Write what the store would hold at `now` after a day; sources were heard `heard_ago_s`
    seconds before."""
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), poolclass=NullPool)
    with engine.begin() as connection:
        for plant in plants:
            for asset in plant.assets():
                connection.execute(insert(tables.asset).values(**asdict(asset), changed_at=now))
            for source in plant.sources:
                connection.execute(
                    insert(tables.source).values(
                        id=source.key,
                        owner=plant.owner,
                        gateway="opcua-1" if source.kind == "opcua" else "mqtt-1",
                        state="born",
                        heard_at=now - timedelta(seconds=heard_ago_s),
                        changed_at=now,
                        detail="",
                    )
                )
            for number, line in enumerate(plant.lines()):
                for table, rows in _line_rows(line, number, now):
                    if rows:
                        connection.execute(insert(table), rows)
    engine.dispose()


def _line_rows(line: Line, number: int, now: datetime):  # type: ignore[no-untyped-def]
    owner = line.plant.owner
    yield (
        tables.signal,
        [
            {
                "id": signal.id,
                "owner": owner,
                "asset": unit.id,
                "path": signal.path,
                "name": model.name,
                "type": int(signal.type),
                "unit": signal.unit,
                "role": model.role.value,
                "source": signal.source,
                "discovered": False,
                "limits": model.limits.model_dump(mode="json") if model.limits else {},
                "changed_at": now,
            }
            for unit in line.units
            for signal, model in zip(unit.signals(), unit.model.signals, strict=True)
        ],
    )
    spans, at, place = [], now - timedelta(hours=26), number
    while at < now:
        state, minutes = STATES[place % len(STATES)]
        end = at + timedelta(minutes=minutes)
        spans.append(
            {
                "line": line.id,
                "started_at": at,
                "ended_at": end if end < now else None,
                "owner": owner,
                "state": state,
                "unit": line.units[-1].id,
                "reason": {
                    "down": "Tool breakage",
                    "short_stop": "Jam",
                    "starved": "Waiting for parts",
                }.get(state, ""),
            }
        )
        at, place = end, place + 1
    yield tables.line_state, spans
    yield (
        tables.stop,
        [
            {
                "id": str(uuid4()),
                "line": span["line"],
                "owner": owner,
                "unit": span["unit"],
                "started_at": span["started_at"],
                "ended_at": span["ended_at"],
                "state": span["state"],
                "reason_code": None,
                "reason": span["reason"],
            }
            for span in spans
            if span["state"] in ("down", "short_stop", "starved")
        ],
    )
    start = now - timedelta(hours=5, minutes=12)
    yield (
        tables.kpi,
        [
            {
                "line": line.id,
                "shift_start": start,
                "shift_end": start + timedelta(hours=8),
                "owner": owner,
                "shift": "late",
                "planned_busy_s": 18720.0,
                "production_s": 15850.0 - 900 * number,
                "no_data_s": 0.0,
                "good": 2874.0 - 160 * number,
                "scrap": 31.0,
                "target": 2906.0,
                "availability": 0.847 - 0.04 * number,
                "effectiveness": 0.962,
                "quality": 0.989,
                "oee": (0.847 - 0.04 * number) * 0.962 * 0.989,
                "computed_at": now,
            }
        ],
    )
    yield (
        tables.health,
        [
            {
                "asset": unit.id,
                "time": now,
                "owner": owner,
                "index": 0.94 - 0.13 * place,
                "score": 0.2 + 0.2 * place,
                "drivers": [],
            }
            for place, unit in enumerate(line.units)
        ],
    )
    monday = now.date() - timedelta(days=now.weekday())
    yield (
        tables.estimate,
        [
            {
                "line": line.id,
                "week": monday + timedelta(weeks=week),
                "revision": 1,
                "owner": owner,
                "total": 100_800.0,
                "available": 31_240.0 - 9000 * number,
                "committed": 52_000.0,
                "unattainable": 17_560.0 + 9000 * number,
                "available_p10": None,
                "available_p90": None,
                "unit": "piece",
                "reasons": [],
                "method": "net-time-1",
                "inputs": {},
                "data_time": now,
                "computed_at": now,
            }
            for week in range(2)
        ],
    )


def write_machine_alarm(
    url: str,
    unit: Unit,
    message: str,
    *,
    severity: int = 500,
    retain: bool = True,
    is_of_unit: bool = True,
) -> None:
    """Write the state of an alarm as the historian does: of a unit, or of its source alone."""
    now = datetime.now(UTC)
    texts = ("comment", "event_type", "source_node", "source_name", "fields", "reason", "branch")
    row = {name: "" for name in texts} | {
        "owner": unit.line.plant.owner,
        "source": unit.source,
        "gateway": "opcua-1",
        "condition": message,
        "asset": unit.id if is_of_unit else "",
        "line": unit.line.path if is_of_unit else "",
        "code": message,
        "message": message,
        "event_id": b"1",
        "severity": severity,
        "active": retain,
        "retain": retain,
        "acked": False,
        "time": now,
        "received_at": now,
        "active_since": now if retain else None,
    }
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(insert(tables.machine_alarm).values(**row))
    engine.dispose()
