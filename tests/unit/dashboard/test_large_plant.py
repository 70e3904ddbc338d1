"""A plant of many machines: pages show what a straightforward search through everything finds, in
the same order, and a page carries no more of the picture than it shows."""

import json
import random
from dataclasses import replace

import pytest

from aurelian.model.asset import Asset
from dashboard import pages
from dashboard.asset_tree import natural_key
from dashboard.live import LivePlant
from dashboard.records import LiveSignal
from tests.large_plant import NOW_MS, make_live_plant


@pytest.fixture(scope="module")
def live() -> LivePlant:
    return make_live_plant(60)


def units_found(live: LivePlant, line: Asset) -> list[Asset]:
    order = {str(unit): place for place, unit in enumerate(line.meaning.get("units", ()))}
    units = [a for a in live.tree.assets.values() if a.parent == line.id and a.level == "unit"]
    return sorted(units, key=lambda unit: (order.get(unit.id, len(order)), unit.path))


def signals_found(live: LivePlant, asset: str) -> list[LiveSignal]:
    return [signal for signal in live.by_index if signal.asset == asset]


def check_index(live: LivePlant) -> None:
    lines = sorted(
        (a for a in live.tree.assets.values() if a.level == "line"),
        key=lambda a: natural_key(a.path),
    )
    assert live.tree.lines() == lines
    for line in lines:
        assert live.tree.units_of(line) == units_found(live, line)
    for asset in live.tree.assets.values():
        assert live.signals_of(asset.id) == signals_found(live, asset.id)
        reporter = asset.meaning["constraint"] if asset.level == "line" else asset.id
        found = live.tree.assets.get(reporter)
        source = found.meaning.get("source", "") if found is not None else ""
        assert live.tree.reporters_of(asset.id) == (reporter, source)


def test_lines_machines_and_signals_are_those_that_a_search_finds(live: LivePlant) -> None:
    assert len(live.tree.lines()) > 12
    check_index(live)


def test_the_plant_page_has_every_line_once_with_its_machines_states_and_alarms(
    live: LivePlant,
) -> None:
    views = [line for site in pages.sites(live, NOW_MS) for line in site.lines]
    assert [view.asset for view in views] == live.tree.lines()
    rank = {"high": 0, "medium": 1, "low": 2}
    assert {view.mark.word for view in views} > {"Running", "No data"}
    for view in views:
        assert [shown.asset for shown in view.machines] == units_found(live, view.asset)
        for shown in view.machines:
            states = [s.id for s in signals_found(live, shown.asset.id) if s.role == "state"]
            assert [shown.state_signal] == states[:1]
            assert shown.freshness is live.freshness(shown.asset.id, NOW_MS)
        alarms = [a for a in live.findings.alarms.values() if a["line"] == view.asset.path]
        assert list(view.alarms) == sorted(
            alarms, key=lambda alarm: (rank[alarm["priority"]], -alarm["raised_at"])
        )
        assert list(view.alarms) == pages.alarms_of(live, view.asset)


def test_the_index_follows_renames_moves_and_removals() -> None:
    live = make_live_plant(16)
    random_ = random.Random(7)
    check_index(live)
    for _ in range(30):
        unit = random_.choice(list(live.tree.units()))
        line = random_.choice(live.tree.lines())
        change = random_.choice(("rename", "move", "remove", "source", "signal"))
        match change:
            case "rename":
                live.put_asset(replace(unit, path=f"{unit.path}-{random_.randrange(100)}"))
            case "move":
                live.put_asset(replace(unit, parent=line.id))
            case "remove":
                live.remove_asset(unit.id)
            case "source":
                live.put_asset(replace(unit, meaning={**unit.meaning, "source": line.id}))
            case "signal":
                other = random_.choice(list(live.tree.units()))
                moved = {**other.meaning, "signals": unit.meaning["signals"][:2]}
                live.put_asset(replace(other, meaning=moved))
        check_index(live)


def test_a_page_carries_only_what_it_shows(live: LivePlant) -> None:
    whole = live.snapshot()
    sites = pages.sites(live, NOW_MS)
    plant_page = live.snapshot(pages.shown_on_plant(live, sites))
    assert {row[3] for row in plant_page["signals"]} == {"state"}
    assert len(plant_page["signals"]) == sum(1 for _ in live.tree.units())
    assert plant_page["health"] == []
    for name in ("units", "constraints", "dead", "states", "kpis", "capacity", "alarms"):
        assert sorted(map(json.dumps, _items(plant_page[name]))) == sorted(
            map(json.dumps, _items(whole[name]))
        )
    line = live.tree.lines()[3]
    line_page = live.snapshot(pages.shown_on_line(live, line))
    assert {row[1] for row in line_page["signals"]} == {u.id for u in units_found(live, line)}
    assert [body["line"] for body in line_page["states"]] == [line.id]
    assert {alarm["line_id"] for alarm in line_page["alarms"]} <= {line.id}
    values = dict(zip(whole["values"]["i"], whole["values"]["v"], strict=True))
    for page in (plant_page, line_page):
        shown = dict(zip(page["values"]["i"], page["values"]["v"], strict=True))
        assert shown and shown.items() <= values.items()
        assert shown.keys() <= {row[4] for row in page["signals"]}
        assert page["values"]["h"] == whole["values"]["h"]


def _items(found: object) -> list[object]:
    return list(found.items()) if isinstance(found, dict) else list(found)  # type: ignore[call-overload]
