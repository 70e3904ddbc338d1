"""Changes of a plant file's text: the wanted is there, and nothing else has changed."""

from __future__ import annotations

import difflib
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurelian.model.plant import Plant
from aurelian.model.plant_edit import (
    Variable,
    add_signals,
    add_source,
    add_unit,
    add_units,
    remove_source,
    set_signal,
    set_source,
    set_unit,
)
from aurelian.model.plant_file import PlantError, read_plant
from aurelian.model.plant_new import new_plant

LINES = """\
# Plant of Acme, kept by the shift leads
company: {id: acme, name: 'ACME Ltd'}   # the owner
site: north
time_zone: Europe/Oslo

sources:
  # The press hall, ask Eva before a change
  - id: plc
    kind: opcua
    url: ${PLC_URL:-opc.tcp://127.0.0.1:4840}  # see the wiring plan
    # user: gateway

  # The old broker
  - id: bus
    kind: mqtt
    url: "${BUS:-mqtt://127.0.0.1}"
    topic: 'plant/{unit}'
    # leave it at that

calendar:
  shifts:
    - {name: night, start: 22:00, end: 06:00}

areas:
  - name: hall
    lines:
      - name: line-1
        products: [{id: part, ideal_cycle_s: 4.50}]
        output: press
        units:
          - name: press   # the big one
            source: plc
            signals:
              - name: state
                role: state
                type: int64
                address: ns=2;s=State
              - {name: force, address: ns=2;s=Force, unit: kN, scale: 0.5}   # calibrated 2019
              # spare: ns=2;s=Spare
          # fed by hand
          - name: oven
            source: bus
            signals:
              - {name: heat, unit: Cel}
# the end
"""

BRACKETS = """\
company: {id: acme, name: ACME Ltd}
site: north
time_zone: Europe/Oslo
sources: [{id: plc, kind: opcua, url: "opc.tcp://127.0.0.1:4840"}, {id: bus, kind: mqtt, \
url: "mqtt://127.0.0.1", topic: "plant/{unit}"}]  # both
areas: [
  {name: hall, lines: [
    {name: line-1, products: [{id: part, ideal_cycle_s: 4.5}], units: [
      {name: press, source: plc, signals: [
        {name: state, role: state, address: ns=2;s=State},
        {name: force, address: "ns=2;s=Force", unit: kN, scale: 0.5},  # calibrated
      ]},
      {name: oven, source: bus, signals: [{name: heat, unit: Cel}]}  # by hand
    ]}
  ]}
]
"""

FLAT = """\
company:
    id: acme
    name: ACME Ltd
site: north
time_zone: Europe/Oslo
sources:
- id: plc
  kind: opcua
  url: opc.tcp://127.0.0.1:4840
- id: bus
  kind: mqtt
  url: mqtt://127.0.0.1
  topic: plant/{unit}
# Areas
areas:
- name: hall
  lines:
  - name: line-1
    products:
    - id: part
      ideal_cycle_s: 4.5
    units:
    - name: press
      source: plc
      signals:
      - name: state
        role: state
        address: ns=2;s=State
      - name: force
        address: ns=2;s=Force
        unit: kN
        scale: 0.5
    - name: oven
      source: bus
      title: >-
        Oven of the
        south wall
      signals:
      - name: heat
        unit: Cel"""

STYLES = {"lines": LINES, "brackets": BRACKETS, "flat": FLAT}

Change = Callable[[str], str]
PUMP = {"name": "pump", "source": "plc", "signals": [{"name": "flow", "address": "ns=2;s=Flow #1"}]}
CHANGES: dict[str, tuple[Change, int]] = {
    "add a source": (
        lambda t: add_source(t, {"id": "new", "kind": "opcua", "url": "opc.tcp://b:1"}),
        0,
    ),
    "add a field": (
        lambda t: set_source(t, "plc", {"closed": True, "time_zone": "Europe/Oslo"}),
        0,
    ),
    "replace a field": (lambda t: set_source(t, "bus", {"topic": "works/{unit}"}), 1),
    "add a mapping": (lambda t: set_source(t, "plc", {"security": {"trust": "first_use"}}), 0),
    "take a field out": (lambda t: set_signal(t, "hall/line-1/press/force", {"scale": None}), 1),
    "add a unit": (lambda t: add_unit(t, "hall", "line-1", PUMP), 0),
    "add units": (
        lambda t: add_units(t, "hall", "line-1", [PUMP, {"name": "saw", "source": "plc"}]),
        0,
    ),
    "add a line": (lambda t: add_unit(t, "hall", "line-2", PUMP), 0),
    "add an area": (lambda t: add_unit(t, "yard", "line-2", PUMP), 0),
    "add signals": (
        lambda t: add_signals(t, "hall/line-1/press", [{"name": "a"}, {"name": "b", "unit": "A"}]),
        0,
    ),
    "change a signal": (
        lambda t: set_signal(t, "acme/north/hall/line-1/press/force", {"unit": "N", "scale": 500}),
        2,
    ),
    "change a unit": (
        lambda t: set_unit(t, "hall/line-1/oven", {"title": 'The "Ofen" ${HOME}'}),
        2,
    ),
    "name states": (
        lambda t: set_signal(t, "hall/line-1/press/state", {"states": {1: "running", "2": "down"}}),
        0,
    ),
}
"""Each with the most lines that it may replace where nothing is in brackets."""


def lost_and_new(before: str, after: str) -> tuple[list[str], list[str]]:
    changes = list(difflib.ndiff(before.splitlines(True), after.splitlines(True)))
    return (
        [each[2:] for each in changes if each.startswith("- ")],
        [each[2:] for each in changes if each.startswith("+ ")],
    )


def plant(text: str) -> Plant:
    return read_plant(text.encode(), "plant.yaml").plant


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("what", CHANGES)
def test_a_change_touches_only_the_lines_that_it_has_to(style: str, what: str) -> None:
    change, most = CHANGES[what]
    before = STYLES[style]
    after = change(before)
    lost, new = lost_and_new(before, after)
    assert new or lost
    in_brackets = 3 if style == "brackets" else 0
    without_end = 1 if not before.endswith("\n") else 0
    assert len(lost) <= max(most, in_brackets) + without_end, (lost, new)
    assert plant(after) != plant(before)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("what", CHANGES)
def test_line_ends_and_byte_order_marks_of_windows_stay(style: str, what: str) -> None:
    change, _ = CHANGES[what]
    windows = "\ufeff" + STYLES[style].replace("\n", "\r\n")
    assert change(windows) == "\ufeff" + change(STYLES[style]).replace("\n", "\r\n")


def test_what_is_written_reads_as_a_person_would_have_written_it() -> None:
    text = set_signal(LINES, "hall/line-1/press/force", {"unit": "N", "scale": 500.0})
    line = '- {name: force, address: ns=2;s=Force, unit: "N", scale: 500}   # calibrated 2019\n'
    assert line in text
    text = add_signals(LINES, "hall/line-1/press", [{"name": "door", "type": "bool"}])
    assert (
        "              # spare: ns=2;s=Spare\n"
        "              - {name: door, type: bool}\n"
        "          # fed by hand\n"
    ) in text
    text = add_source(LINES, {"id": "saw", "kind": "mqtt", "url": Variable("SAW", "mqtt://s"),
                              "topic": "saw/{unit}"})  # fmt: skip
    assert (
        "    # leave it at that\n"
        "\n"
        "  - id: saw\n"
        "    kind: mqtt\n"
        '    url: "${SAW:-mqtt://s}"\n'
        '    topic: "saw/{unit}"\n'
        "\n"
        "calendar:\n"
    ) in text
    text = add_unit(LINES, "yard", "line-9", PUMP)
    assert text.endswith(
        "              - {name: heat, unit: Cel}\n"
        "  - name: yard\n"
        "    lines:\n"
        "      - name: line-9\n"
        "        products: [{id: part, ideal_cycle_s: 5}]\n"
        "        units:\n"
        "          - name: pump\n"
        "            source: plc\n"
        "            signals:\n"
        '              - {name: flow, address: "ns=2;s=Flow #1"}\n'
        "# the end\n"
    )
    text = set_signal(
        BRACKETS, "hall/line-1/press/force", {"limits": {"high": 9, "action": "stop"}}
    )
    assert "scale: 0.5, limits: {high: 9, action: stop}},  # calibrated\n" in text
    text = add_signals(BRACKETS, "hall/line-1/press", [{"name": "door"}])
    assert "},  # calibrated\n        {name: door},\n      ]},\n" in text
    text = add_unit(BRACKETS, "hall", "line-1", {"name": "saw", "source": "bus"})
    assert "unit: Cel}]},  # by hand\n      {name: saw, source: bus}\n    ]}\n" in text


def test_a_value_that_stands_there_already_changes_nothing() -> None:
    assert set_signal(LINES, "hall/line-1/press/force", {"unit": "kN", "scale": 0.50}) == LINES
    assert set_unit(LINES, "hall/line-1/press", {"states": None}) == LINES


def test_a_mapping_is_changed_where_it_differs_and_keeps_its_comments() -> None:
    limits = """\
              - name: hot
                limits:
                  high: 65  # of the maker
                  deadband: 2
                  # why: see the log of May
                  action: Cool it.
"""
    text = LINES.replace("          # fed by hand\n", limits + "          # fed by hand\n")
    after = set_signal(
        text,
        "hall/line-1/press/hot",
        {"limits": {"high": 70, "action": "Cool it.", "delay_s": 3}},
    )
    changed = limits.replace("high: 65", "high: 70").replace("                  deadband: 2\n", "")
    changed += "                  delay_s: 3\n"
    assert after == text.replace(limits, changed)
    assert set_signal(after, "hall/line-1/press/hot", {"limits": None}).count("limits") == 0


@pytest.mark.parametrize("style", STYLES)
def test_a_source_goes_with_its_units_and_what_they_leave_empty(style: str) -> None:
    after = remove_source(STYLES[style], "bus")
    lost, new = lost_and_new(STYLES[style], after)
    left = plant(after)
    assert [each.id for each in left.sources] == ["plc"]
    assert [each.model.name for each in left.units()] == ["press"]
    if style == "lines":
        assert not new
        assert [each.strip() for each in lost if "#" in each] == [
            "# The old broker",
            "# leave it at that",
            "# fed by hand",
        ]
    after = remove_source(add_unit(STYLES[style], "yard", "line-2", PUMP), "plc")
    assert [each.path for each in plant(after).units()] == ["acme/north/hall/line-1/oven"]
    assert [each.name for each in plant(after).areas] == ["hall"]
    assert "output" not in after


def test_the_last_source_cannot_be_taken_out() -> None:
    with pytest.raises(PlantError, match=r"plant\.yaml:8: sources: 'plc' is the only source"):
        remove_source(remove_source(LINES, "bus"), "plc")


SHARED = """\
company: {id: acme, name: ACME Ltd}
site: north
time_zone: UTC
sources:
  - &one {id: one, kind: opcua, url: "opc.tcp://a:1"}
  - {<<: *one, id: two}
areas:
  - name: hall
    lines:
      - name: line-1
        products: [{id: part, ideal_cycle_s: 1}]
        units:
          - name: a
            source: one
            signals: &signals
              - {name: force, unit: &unit kN}
          - {name: b, source: two, signals: *signals, title: *unit}
"""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda t: set_source(t, "one", {"closed": True}),
            "plant.yaml:5: the change would also alter what shares this by an anchor",
        ),
        (
            lambda t: add_signals(t, "hall/line-1/a", [{"name": "x"}]),
            "plant.yaml:17: the change would also alter",
        ),
        (
            lambda t: add_signals(t, "hall/line-1/b", [{"name": "x"}]),
            "plant.yaml:17: `signals` is *signals, which other places may share",
        ),
        (
            lambda t: set_signal(t, "hall/line-1/a/force", {"unit": "N"}),
            "plant.yaml:16: other places take over what stands here, by *unit",
        ),
        (
            lambda t: remove_source(t, "one"),
            "plant.yaml:5: other places take over what stands here, by *one",
        ),
        (
            lambda t: set_source(t, "two", {"url": None}),
            "plant.yaml:6: `url` is taken over by `<<` and cannot go here",
        ),
        (
            lambda t: set_source(t, "three", {"url": None}),
            "plant.yaml:5: sources: there is no source 'three'; there are one, two",
        ),
        (
            lambda t: set_unit(t, "hall/line-1/c", {"title": "x"}),
            "plant.yaml:13: areas.0.lines.0.units: there is no unit 'c'; there are a, b",
        ),
        (lambda t: set_unit(t, "line-1/c", {}), "say AREA/LINE/UNIT"),
        (
            lambda t: set_source(t, "one", {"ulr": "x"}),
            "plant.yaml:5: sources.0.ulr: there is no such field; did you mean 'url'?",
        ),
        (
            lambda t: add_source(t, {"id": "one", "kind": "opcua", "url": "opc.tcp://b:1"}),
            "plant.yaml:7: sources.2.id: source 'one' stands in more than one place",
        ),
        (lambda t: set_source(t + "x: 1\n", "one", {}), "plant.yaml:18: x: there is no such field"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_with_line_field_and_fix(change: Change, says: str) -> None:
    with pytest.raises(PlantError) as refused:
        change(SHARED)
    assert says in str(refused.value)


def test_what_is_shared_may_be_changed_where_only_one_has_it() -> None:
    text = set_source(SHARED, "two", {"url": "opc.tcp://b:1"})
    assert '{<<: *one, id: two, url: "opc.tcp://b:1"}' in text
    text = set_unit(text, "hall/line-1/b", {"title": "Oven"})
    assert "signals: *signals, title: Oven}" in text


def test_placeholders_stay_and_are_not_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    text = LINES.replace("closed", "closed").replace("site: north", "site: ${SITE:-north}")
    for filled in ("", "south-works"):
        monkeypatch.setenv("SITE", filled)
        monkeypatch.setenv("BUS", "mqtts://broker.example:8883" if filled else "")
        after = set_source(text, "bus", {"user": "a", "password_env": "B"})
        assert "site: ${SITE:-north}\n" in after and '"${BUS:-mqtt://127.0.0.1}"\n' in after
        assert [each for each in difflib.ndiff(text.split("\n"), after.split("\n"))
                if each[0] in "+-"] == ["+     user: a", "+     password_env: B"]  # fmt: skip
    # A text of a server's is no placeholder.
    after = set_unit(text, "hall/line-1/press", {"title": "${SITE}"})
    assert next(plant(after).units()).model.title == "${SITE}"


def test_a_placeholder_that_is_more_than_a_value_is_left_to_people(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MORE", "closed: true")
    text = LINES.replace("    # user: gateway\n", "    ${MORE}\n")
    assert plant(text).sources[0].closed
    with pytest.raises(PlantError, match=r"plant\.yaml:\d+: a placeholder is more than a value"):
        set_source(text, "bus", {"closed": True})


REMARKS = ["# remark", "#- id: x", "#", "", "   ", "# späť: [", "# a\ttab", "# ${HOME}"]


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 10**9), st.sampled_from(sorted(CHANGES)))
def test_comments_and_blank_lines_anywhere_survive(seed: int, what: str) -> None:
    chance = random.Random(seed)
    lines = []
    inserted = 0
    for line in LINES.splitlines():
        while chance.random() < 0.2:
            inserted += 1
            remark = chance.choice(REMARKS)
            blank = not remark.strip()
            lines.append(
                remark if blank else " " * chance.choice([0, 2, 4, 8, 12]) + f"{remark} {inserted}"
            )
        lines.append(
            line if "#" in line or chance.random() < 0.7 else f"{line}  # trailing {inserted}"
        )
    text = "\n".join(lines) + "\n"
    change, most = CHANGES[what]
    after = change(text)
    lost, _ = lost_and_new(text, after)
    assert len(lost) <= most
    comments = [each[each.index("#") :] for each in text.splitlines() if "#" in each]
    kept = [each[each.index("#") :] for each in after.splitlines() if "#" in each]
    assert [each for each in kept if each != '#1"}'] == comments


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    st.text(max_size=30),
    st.dictionaries(
        st.text(min_size=1, max_size=5), st.floats(allow_nan=False, allow_infinity=False)
    ),
    st.sampled_from(sorted(STYLES)),
)
def test_any_text_and_number_is_read_as_it_was_meant(
    title: str, simulate: dict[str, float], style: str
) -> None:
    fields: dict[str, Any] = {"title": title, "simulate": simulate}
    try:
        after = set_unit(STYLES[style], "hall/line-1/oven", fields)
    except PlantError as error:
        assert "a text cannot have the character" in str(error) or "UTF" in str(error)
        return
    oven = list(plant(after).units())[-1].model
    assert (oven.title, oven.simulate) == (title, simulate)


def test_a_new_file_reads_as_a_person_would_write_it() -> None:
    text = new_plant(
        company={"id": "acme", "name": "ACME Ltd"},
        site="north",
        time_zone="Europe/Oslo",
        source={"id": "plc", "kind": "opcua", "url": "opc.tcp://10.0.0.7:4840"},
        units=[{"name": "press", "signals": [{"name": "force", "address": "ns=2;s=F", "unit": "kN"},
                                             {"name": "good", "role": "good_count"}],
                "source": "plc"}],
    )  # fmt: skip
    assert (
        text
        == """\
# yaml-language-server: $schema=plant.schema.json
# Plant model of ACME Ltd, site north. After a change:
# aurelian plant check FOLDER
company: {id: acme, name: ACME Ltd}
site: north
time_zone: Europe/Oslo

sources:
  - id: plc
    kind: opcua
    url: "opc.tcp://10.0.0.7:4840"

calendar:  # when the lines are planned to run; a line may have its own
  shifts:
    - {name: all-day, start: "00:00", end: "24:00", days: [mon, tue, wed, thu, fri, sat, sun]}

areas:
  - name: hall
    lines:
      - name: line-1
        products: [{id: part, ideal_cycle_s: 5}]  # what it makes, and seconds a piece at best
        units:  # in the order of the flow
          - name: press
            source: plc
            signals:
              - {name: force, address: "ns=2;s=F", unit: kN}
              - {name: good, role: good_count}
"""
    )
    assert add_unit(text, "hall", "line-1", PUMP).startswith(text)
    empty = new_plant(
        company={"id": "acme", "name": "ACME"},
        site="north",
        time_zone="UTC",
        source={"id": "plc", "kind": "opcua", "url": Variable("PLC", "opc.tcp://a:1")},
    )
    assert empty.endswith("areas:\n  - name: hall\n    lines: []\n")
    assert [each.path for each in plant(add_unit(empty, "hall", "l", PUMP)).units()] == [
        "acme/north/hall/l/pump"
    ]
    with pytest.raises(PlantError, match="'Europe/Olso' is no IANA time zone"):
        new_plant(
            company={"id": "acme", "name": "ACME"}, site="north", time_zone="Europe/Olso",
            source={"id": "plc", "kind": "opcua", "url": "opc.tcp://a:1"},
        )  # fmt: skip
