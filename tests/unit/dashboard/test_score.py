"""The figures of a shift as a page shows them: since when they count, and why one cannot be."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import pytest

from dashboard.business_events import kpi_body
from dashboard.score import make_score

NOW_MS = 1_793_707_200_000  # 2026-11-03T12:00:00Z
DATA = {
    "line": "acme/north/hall/line-1",
    "shift": "day",
    "shift_start": "2026-11-03T06:00:00+00:00",
    "shift_end": "2026-11-03T14:00:00+00:00",
    "planned_busy_s": 3600.0,
    "production_s": 3000.0,
    "no_data_s": 0.0,
    "good": 500.0,
    "scrap": 0.0,
    "target": 720.0,
    "availability": 0.83,
    "effectiveness": 0.83,
    "quality": 1.0,
    "oee": 0.69,
    "computed_at": "2026-11-03T12:00:00+00:00",
}


def shown(**changes: Any) -> Any:
    return make_score(kpi_body(str(DATA["line"]), DATA | changes), NOW_MS, UTC)


@pytest.mark.parametrize(
    ("counts_from", "text"),
    [
        (None, ""),
        ("2026-11-03T06:00:00+00:00", ""),
        ("2026-11-03T06:00:00.900+00:00", ""),
        (
            "2026-11-03T09:12:40+00:00",
            "Counted since 09:12:40, not from the start of the shift",
        ),
        (
            "2026-11-02T22:00:00+00:00",
            "",
        ),
    ],
)
def test_since_when_figures_count_is_said_only_where_it_is_not_the_shifts_start(
    counts_from: str | None, text: str
) -> None:
    assert shown(counts_from=counts_from).since == text


def test_the_note_is_shown_as_line_health_wrote_it() -> None:
    note = "The ideal cycle is too slow: 900 pieces took 3000 s of production and not 4500 s"
    assert shown(note=note, effectiveness=1.5, oee=1.25).note == note
    assert shown().note == ""


@pytest.mark.parametrize("over", [{"oee": 1.004}, {"effectiveness": 1.2}, {"oee": 80.0}])
def test_no_figure_over_a_hundred_percent_goes_without_a_word(over: dict[str, float]) -> None:
    assert shown(**over).note == "More than 100 %: the ideal cycle in the plant file is too slow"


def test_pieces_of_a_time_without_data_are_said() -> None:
    assert shown(bridged=1234.4).bridged == "1,234 of the pieces were made while no data came"
    assert shown(bridged=0.2).bridged == ""


def test_a_line_without_figures_has_nothing_to_say() -> None:
    empty = make_score(None, NOW_MS, UTC)
    assert (empty.since, empty.note, empty.bridged) == ("", "", "")


def test_a_figure_that_the_plant_model_cannot_give_is_a_dash_and_no_nought() -> None:
    body = kpi_body(str(DATA["line"]), DATA | {"good": 0.0, "oee": 0.0, "quality": 0.0})
    found = make_score(body, NOW_MS, UTC, ("good", "effectiveness", "quality", "oee"))
    assert (found.target, found.actual, found.delta, found.delta_word) == ("720", "–", "–", "")
    assert (found.oee, found.quality, found.bar, found.tone) == ("–", "–", 0, "none")
    assert found.availability != "–" and found.lost != "–"
    stateless = make_score(body, NOW_MS, UTC, ("availability", "production_s", "oee"))
    assert (stateless.availability, stateless.lost, stateless.actual) == ("–", "–", "0")


def test_how_far_from_the_target_is_a_number_and_a_word() -> None:
    assert (shown().delta, shown().delta_word) == ("−220", "behind")
    assert (shown(good=720.0).delta, shown(good=720.0).delta_word) == ("on target", "")
