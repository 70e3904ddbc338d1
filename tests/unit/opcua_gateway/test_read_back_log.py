"""What is said of a gap when the server's history was asked for it."""

from __future__ import annotations

import asyncio
import logging

import pytest

from opcua_gateway.history.holes import Gap, Outcome
from opcua_gateway.history.read_back import HistoryReader
from opcua_gateway.mapping import tags_of
from opcua_gateway.message_numbers import Window
from tests.unit.opcua_gateway.test_deliveries import make_plant
from tests.unit.opcua_gateway.test_holes import S, T, gap

NOTHING = "nothing could be read back out of the history"
READ = "history was read back"


@pytest.mark.parametrize(
    ("outcomes", "values", "message", "level", "reason"),
    [
        ({Outcome.WHOLE: 2}, 0, READ, logging.INFO, None),
        ({Outcome.PART: 2}, 0, READ, logging.WARNING, None),
        ({Outcome.WHOLE: 1, Outcome.NO_HISTORY: 1}, 9, READ, logging.WARNING, None),
        ({Outcome.NO_HISTORY: 2}, 0, NOTHING, logging.INFO, "the node has no history"),
        ({Outcome.REFUSED: 2}, 0, NOTHING, logging.WARNING, "the server refuses the node"),
    ],
)
def test_nothing_read_is_not_said_as_read_back(
    outcomes: dict[Outcome, int],
    values: int,
    message: str,
    level: int,
    reason: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    plant = make_plant(("force", "name"))
    (model,) = plant.sources
    holes = [Gap(gap(T, T + S), outcomes=outcomes, values=values)]

    class Completed:
        completed = holes

    out: asyncio.Queue[object] = asyncio.Queue()
    reader = HistoryReader(
        model,
        tags_of(plant, model),
        100,
        Completed(),
        out,
        Window(64),  # type: ignore[arg-type]
    )
    asyncio.run(reader._tell_completed())
    (record,) = caplog.records
    assert (record.message, record.levelno) == (message, level)
    fields = record.__dict__["fields"]
    assert fields["values"] == values
    if reason is None:
        assert "reason" not in fields
    else:
        assert reason in fields["reason"] and "the gap record stays" in fields["next"]
