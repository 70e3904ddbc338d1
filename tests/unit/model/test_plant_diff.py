"""What a change of the plant model will do, as people are told before it does it."""

from __future__ import annotations

import json

import pytest

from aurelian.model.plant import Plant, derive_id
from aurelian.model.plant_diff import compare_plants
from aurelian.model.plant_file import read_plant

FILE = """\
company: {id: acme, name: ACME Ltd}
site: north
time_zone: Europe/Oslo
sources:
  - {id: plc, kind: opcua, url: "opc.tcp://10.0.0.7:4840", user: eva, password_env: PLC_WORD}
  - {id: bus, kind: mqtt, url: "mqtt://127.0.0.1", topic: "plant/{unit}"}
calendar:
  shifts:
    - {name: day, start: 06:00, end: 14:00}
areas:
  - name: hall
    lines:
      - name: line-1
        products: [{id: part, ideal_cycle_s: 4.5}]
        units:
          - name: press
            source: plc
            signals:
              - {name: state, role: state, type: int64, address: ns=2;s=State}
              - {name: force, address: ns=2;s=Force, unit: kN}
          - name: oven
            source: bus
            signals: [{name: heat, unit: Cel}, {name: door, type: bool}]
"""


def plant(*changes: tuple[str, str]) -> Plant:
    text = FILE
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return read_plant(text.encode(), "plant.yaml").plant


def told(*changes: tuple[str, str]) -> list[str]:
    return list(compare_plants([plant()], [plant(*changes)]).lines())


UNTOUCHED = "1 source untouched, goes on: acme/north/bus"
ANEW = "will be closed and connected again, as it is made of something else now"
PRESS = "acme/north/hall/line-1/press"


def test_what_does_not_count_is_no_difference() -> None:
    diff = compare_plants([plant()], [plant(("url: ", "url:   "), ("unit: kN", "unit: 'kN'"))])
    assert diff.is_empty
    assert [each.does for each in diff.sources] == ["goes on", "goes on"]
    assert list(diff.lines()) == ["2 sources untouched, go on: acme/north/plc, acme/north/bus"]


def test_a_changed_source_begins_anew_and_the_others_go_on() -> None:
    assert told(("10.0.0.7:4840", "10.0.0.8:4840")) == [
        f"source acme/north/plc: {ANEW}",
        "    url: opc.tcp://10.0.0.7:4840 -> opc.tcp://10.0.0.8:4840",
        UNTOUCHED,
    ]
    lines = told(("user: eva", "security: {trust: first_use}, user: eva"))
    assert "    security.trust: nothing -> first_use" in lines


def test_titles_and_calendars_touch_no_source() -> None:
    lines = told(("name: press\n", "name: press\n            title: The press\n"))
    assert lines == [
        "2 sources untouched, go on: acme/north/plc, acme/north/bus",
        f"unit {PRESS}: changed",
        "    title: nothing -> The press",
    ]
    lines = told(("end: 14:00", "end: 15:00"))
    assert lines[0].startswith("2 sources untouched")
    assert lines[-1] == (
        "  ! figures are made so from now on; those of past shifts stay as they are"
    )


def test_sources_and_units_come_and_go() -> None:
    more = """\
          - name: saw
            source: saw
            signals: [{name: speed}, {name: load}]
"""
    new_source = '  - {id: saw, kind: opcua, url: "opc.tcp://saw:4840"}\ncalendar:'
    changes = [
        ("calendar:", new_source),
        ("          - name: oven\n", more + "          - name: oven\n"),
    ]
    assert told(*changes) == [
        "source acme/north/saw: will be connected",
        "2 sources untouched, go on: acme/north/plc, acme/north/bus",
        "unit acme/north/hall/line-1/saw: added, with 2 signals",
    ]
    assert list(compare_plants([plant(*changes)], [plant()]).lines()) == [
        "source acme/north/saw: will be closed",
        "2 sources untouched, go on: acme/north/plc, acme/north/bus",
        "unit acme/north/hall/line-1/saw: removed, with 2 signals",
        "  ! its history stays in the store, and no more values come",
    ]


def test_a_signal_that_goes_keeps_its_history_in_the_store() -> None:
    assert told(("              - {name: force, address: ns=2;s=Force, unit: kN}\n", "")) == [
        f"source acme/north/plc: {ANEW}",
        f"    unit {PRESS} is read in another way",
        UNTOUCHED,
        f"signal {PRESS}/force: removed",
        "  ! its history stays in the store, and no more values come",
    ]


def test_a_new_name_without_an_id_begins_a_new_history_and_the_id_that_keeps_it_is_told() -> None:
    old = f"{PRESS}/force"
    lines = told(("name: force", "name: load"))
    assert lines[3] == f"signal {old} -> {PRESS}/load: renamed"
    assert lines[4] == (
        "  ! without the `id` that it had it begins a new history: what was stored stays under "
        f"{old}. To go on with it write `id: {derive_id(old)}`"
    )
    lines = told(("name: force", f"name: load, id: {derive_id(old)}"))
    assert lines[3:] == [f"signal {old} -> {PRESS}/load: renamed"]


def test_a_renamed_unit_tells_once_what_its_signals_lose() -> None:
    diff = compare_plants([plant()], [plant(("name: press", "name: press-1"))])
    (part,) = diff.parts
    assert (part.kind, part.did, part.new_path) == ("unit", "renamed", f"{PRESS}-1")
    (warning,) = part.warnings
    assert "begins a new history, and so do the 2 parts in it" in warning
    assert part.keep == {
        f"{PRESS}-1{end}": derive_id(PRESS + end) for end in ("", "/state", "/force")
    }
    # The ids, written as told, keep all of it.
    ids = part.keep
    kept = plant(
        ("name: press", f"name: press-1\n            id: {ids[f'{PRESS}-1']}"),
        ("name: state", f"name: state, id: {ids[f'{PRESS}-1/state']}"),
        ("name: force", f"name: force, id: {ids[f'{PRESS}-1/force']}"),
    )
    diff = compare_plants([plant()], [kept])
    assert not any(each.warnings or each.keep for each in diff.parts)


def test_a_renamed_line_and_a_renamed_site_are_told_once() -> None:
    diff = compare_plants([plant()], [plant(("name: line-1", "name: line-9"))])
    (part,) = diff.parts
    assert (part.kind, part.did, len(part.keep)) == ("line", "renamed", 7)
    diff = compare_plants([plant()], [plant(("site: north", "site: south"))])
    (part,) = diff.parts
    assert (part.kind, part.did, len(part.keep)) == ("site", "renamed", 9)
    assert {each.does for each in diff.sources} == {"added", "removed"}


def test_a_unit_that_moves_with_its_id_is_renamed_and_not_removed() -> None:
    text = FILE.replace("name: oven", "name: oven\n            id: the-oven")
    other = "  - name: yard\n    lines:\n      - name: line-2\n        products: [{id: p, ideal_cycle_s: 1}]\n        units:\n"  # noqa: E501
    start = text.index("          - name: oven")
    moved = text[:start] + other + text[start:]
    before, after = (read_plant(each.encode(), "x").plant for each in (text, moved))
    parts = {each.path: each for each in compare_plants([before], [after]).parts}
    assert parts["acme/north/hall/line-1/oven"].did == "renamed"
    assert parts["acme/north/hall/line-1/oven"].new_path == "acme/north/yard/line-2/oven"
    assert parts["acme/north/yard"].did == "added"
    assert "removed" not in {each.did for each in parts.values()}


@pytest.mark.parametrize(
    ("old", "new", "field", "warning"),
    [
        (
            "unit: kN", "unit: N", "unit: kN -> N",
            "the unit changes from kN to N and `scale` does not: what is stored keeps its numbers, "
            "which were kN, and is shown as N too",
        ),
        (
            "unit: kN", "unit: N, scale: 1000", "scale: 1.0 -> 1000.0",
            "what is stored keeps its numbers, which were kN, and is shown as N too: give it a new",
        ),
        ("unit: kN", "unit: kN, offset: 3", "offset: 0.0 -> 3.0", "there is a step in the history"),
        (
            "name: heat", "name: heat, type: text", "type: double -> text",
            "new values are text and go to the table sample_text; those up to now stay double in "
            "sample_number",
        ),
        ("type: bool", "type: uint64", "type: bool -> uint64", "stored values stay bool"),
        ("unit: kN", "unit: kN, role: pressure", "role: other -> pressure", "figures of its line"),
        (
            "role: state", "role: state, states: {1: running}", "states.1: nothing -> running",
            "states that are stored stay as they were read",
        ),
        (
            "s=Force", "s=Load", "address: ns=2;s=Force -> ns=2;s=Load",
            "its values come from another place from now on, under the same history",
        ),
        ("unit: kN", "unit: kN, range: [0, 9]", "range: nothing -> [0.0, 9.0]", "flags of stored"),
        ("Europe/Oslo", "Europe/Lisbon", "time_zone: Europe/Oslo -> Europe/Lisbon", "shifts and"),
        ("ideal_cycle_s: 4.5", "ideal_cycle_s: 5", "products", "those of past shifts stay"),
        ("source: bus", "source: plc", "source: bus -> plc", "another source speaks for it"),
    ],
)  # fmt: skip
def test_another_meaning_is_told_with_what_it_does_to_the_history(
    old: str, new: str, field: str, warning: str
) -> None:
    lines = told((old, new))
    assert any(line.startswith(f"    {field}") for line in lines), lines
    assert any(line.startswith("  ! ") and warning in line for line in lines), lines


def test_limits_are_told_by_their_own_fields() -> None:
    before = plant(("unit: kN", "unit: kN, limits: {high: 3, action: stop}"))
    after = plant(("unit: kN", "unit: kN, limits: {high: 4, action: stop}"))
    (part,) = compare_plants([before], [after]).parts
    assert list(map(str, part.fields)) == ["limits.high: 3.0 -> 4.0"]
    assert not part.warnings


def test_the_same_as_json_and_without_what_is_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLC_WORD", "hunter2")
    diff = compare_plants([plant()], [plant(("user: eva", "user: adam"), ("unit: kN", "unit: N"))])
    text = json.dumps(diff.as_json())
    assert json.loads(text)["differs"] is True
    assert '"field": "user", "before": "eva", "after": "adam"' in text
    assert "hunter2" not in text + "".join(diff.lines())
