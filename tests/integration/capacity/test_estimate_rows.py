"""What capacity writes into a real database: the rows of a line that changed, in one statement, and
none of a line that did not."""

import json
from datetime import UTC, datetime, timedelta

import psycopg

from aurelian.backbone.topics import ASSETS, LINE_EVENTS
from aurelian.db.engine import as_role, connect
from aurelian.events.cloudevent import encode_event
from aurelian.events.schemas import LINE_STATE_CHANGED
from aurelian.model.record import Record
from aurelian.model.time import to_us
from capacity.lines import Lines
from capacity.processor import write_estimates
from capacity.settings import CapacitySettings
from tests.builders import make_unchecked_event
from tests.unit.capacity.test_lines import LINE

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def _record(topic: str, value: str) -> Record:
    return Record(topic, 0, 0, 0, None, value.encode())


def _state(lines: Lines, line: str, state: str, at: datetime) -> None:
    data: dict[str, object] = {"state": state, "since": at.isoformat()}
    event = make_unchecked_event(
        LINE_STATE_CHANGED, source="/t", subject=line, owner="c", time=at, data=data
    )
    lines.fold(_record(LINE_EVENTS.name, encode_event(event)), to_us(at))


async def test_one_statement_writes_the_changed_line_and_leaves_the_other_alone(
    database_url: str,
) -> None:
    lines = Lines(CapacitySettings())
    for name in ("line-1", "line-2"):
        asset = {**LINE, "id": name, "name": name, "path": f"c/site/area/{name}"}
        lines.learn(_record(ASSETS.name, json.dumps(asset)), to_us(NOW))
        _state(lines, name, "planned", NOW)

    def versions() -> dict[str, set[int]]:
        """The transactions that wrote each line's rows."""
        with psycopg.connect(database_url) as conn:
            rows = conn.execute("SELECT line, xmin::text::bigint FROM capacity.estimate").fetchall()
        return {line: {xmin for name, xmin in rows if name == line} for line, _ in rows}

    async with await connect(as_role(database_url, "capacity")) as conn:
        statements = 0
        execute = conn.execute

        async def counted(*arguments: object, **more: object) -> object:
            nonlocal statements
            statements += 1
            return await execute(*arguments, **more)  # type: ignore[arg-type]

        conn.execute = counted  # type: ignore[method-assign, assignment]

        async def work(at: datetime) -> tuple[int, int]:
            """Rows given and statements made."""
            nonlocal statements
            statements, rows = 0, lines.tick(to_us(at)).rows
            await write_estimates(conn, rows)
            await conn.commit()
            return len(rows), statements

        assert await work(NOW) == (16, 1)
        first = versions()
        assert await work(NOW + timedelta(seconds=10)) == (0, 0)
        _state(lines, "line-1", "down", NOW + timedelta(seconds=20))
        assert await work(NOW + timedelta(seconds=30)) == (8, 1)
        second = versions()
    assert second["line-2"] == first["line-2"]
    assert not second["line-1"] & first["line-1"]
