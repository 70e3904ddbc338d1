"""What people write in plant files: understood as it stands, or refused with file, line, field."""

from __future__ import annotations

import random
from datetime import date, time
from pathlib import Path
from time import process_time

import pytest

from aurelian.model.calendar import planned_week_seconds, shifts_between, week_span
from aurelian.model.machine_states import LineState
from aurelian.model.plant import Plant
from aurelian.model.plant_file import PlantError, load_plant

FILE = """\
company: {id: acme, name: ACME Ltd}
site: north
title: North works
time_zone: Europe/Oslo
sources:
  - {id: plc, kind: opcua, url: "opc.tcp://127.0.0.1:4840", time_zone: UTC}
  - {id: bus, kind: mqtt_json, url: "mqtt://127.0.0.1", topic: "plant/{unit}"}
calendar:
  shifts:
    - name: night
      start: 22:00
      end: 06:00
  holidays: [2026-12-24]
stop_reasons:
  - {code: 7, name: Bearing, loss: breakdown}
areas:
  - name: hall
    lines:
      - name: line-1
        products: [{id: part, ideal_cycle_s: 4.5}]
        units:
          - name: press
            source: plc
            signals:
              - name: state
                role: state
                type: int64
                address: ns=2;s=State
              - name: force
                address: ns=2;s=Force
                unit: kN
                scale: 0.5
                range: [0, 100]
"""


def load(folder: Path, old: str = "", new: str = "") -> Plant:
    assert old in FILE
    file = folder / "plant.yaml"
    file.write_bytes(FILE.replace(old, new, 1).encode())
    return load_plant(file)


def test_a_night_shift_without_quotes_runs_over_midnight(tmp_path: Path) -> None:
    for old, new in [
        ("", ""),
        (
            "    - name: night\n      start: 22:00\n      end: 06:00\n",
            "    - {name: night, start: 22:00, end: 06:00}\n",
        ),
        ("start: 22:00\n      end: 06:00", 'start: "22:00"\n      end: "06:00"'),
        ("start: 22:00\n      end: 06:00", "start: 22:00:00\n      end: 6:00"),
    ]:
        plant = load(tmp_path, old, new)
        (shift,) = plant.calendar.shifts
        assert (shift.start, shift.end) == (time(22), time(6))
        # 23-29 November 2026: five nights of 8 h; Friday's ends on Saturday at 06:00.
        monday = date(2026, 11, 23)
        assert planned_week_seconds(plant.calendar, plant.zone, monday) == 5 * 8 * 3600
        week = week_span(monday, plant.zone)
        spans = shifts_between(plant.calendar, plant.zone, week.start, week.end)
        local = [span.start.astimezone(plant.zone).strftime("%a %H:%M") for span in spans]
        assert local == ["Mon 22:00", "Tue 22:00", "Wed 22:00", "Thu 22:00", "Fri 22:00"]
        # 21-27 December: the 24th is a holiday, so Thursday's night falls out: 4 x 8 h.
        assert planned_week_seconds(plant.calendar, plant.zone, date(2026, 12, 21)) == 4 * 8 * 3600


def test_a_day_shift_without_quotes_has_its_eight_hours(tmp_path: Path) -> None:
    plant = load(tmp_path, "start: 22:00\n      end: 06:00", "start: 14:00\n      end: 22:00")
    assert planned_week_seconds(plant.calendar, plant.zone, date(2026, 11, 23)) == 5 * 8 * 3600
    plant = load(tmp_path, "start: 22:00\n      end: 06:00", "start: 16:00\n      end: 24:00")
    assert planned_week_seconds(plant.calendar, plant.zone, date(2026, 11, 23)) == 5 * 8 * 3600


@pytest.mark.parametrize("word", ["no", "off", "yes", "on", "y", "n", "007", "1.10", "1e3", "0x1"])
def test_a_name_is_the_text_that_stands_there(tmp_path: Path, word: str) -> None:
    assert load(tmp_path, "site: north", f"site: {word}").site == word
    plant = load(tmp_path, "{id: acme, name: ACME Ltd}", f"{{id: {word}, name: {word}}}")
    assert (plant.company.id, plant.company.name) == (word, word)


@pytest.mark.parametrize("word", ["true", "Null", "2026-11-01", "1_000", "12:30", "3.0", "NaN"])
def test_a_title_is_the_text_that_stands_there(tmp_path: Path, word: str) -> None:
    assert load(tmp_path, "title: North works", f"title: {word}").title == word


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("unit: kN", "unit: 1", "1"),
        ("unit: kN", "unit: 10*3/uL", "10*3/uL"),
        ("unit: kN", "unit: '%'", "%"),
    ],
)
def test_a_unit_is_the_text_that_stands_there(
    tmp_path: Path, old: str, new: str, found: str
) -> None:
    assert next(load(tmp_path, old, new).units()).model.signals[1].unit == found


@pytest.mark.parametrize(
    ("written", "code"), [("007", 7), ("010", 10), ("+5", 5), ("1_000", 1000), ('"12"', 12)]
)
def test_a_number_with_leading_zeros_is_decimal(tmp_path: Path, written: str, code: int) -> None:
    assert load(tmp_path, "code: 7", f"code: {written}").stop_reasons[0].code == code


def test_anchors_merges_and_lists_of_texts_are_what_they_stand_for(tmp_path: Path) -> None:
    plant = load(
        tmp_path,
        "    - name: night\n      start: 22:00\n      end: 06:00\n",
        "    - &early {name: early, start: 06:00, end: 14:00, days: &days [mon, tue]}\n"
        "    - {<<: *early, name: late, start: 14:00, end: 22:00}\n"
        "    - {name: night, start: 22:00, end: 06:00, days: *days}\n",
    )
    early, late, night = plant.calendar.shifts
    assert (late.name, late.start, late.end) == ("late", time(14), time(22))
    assert early.days == late.days == night.days == ("mon", "tue")


def test_a_machines_own_states_are_read_as_written(tmp_path: Path) -> None:
    plant = load(
        tmp_path,
        "role: state\n",
        "role: state\n                states: {1: running, 02: down, on: running, off: down}\n",
    )
    states = next(plant.units()).model.signals[0].states
    assert states == {
        "1": LineState.RUNNING,
        "2": LineState.DOWN,
        "on": LineState.RUNNING,
        "off": LineState.DOWN,
    }


def test_a_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path: Path) -> None:
    file = tmp_path / "plant.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + FILE.replace("\n", "\r\n").encode())
    assert load_plant(file) == load(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        # times
        ("start: 22:00", "start: 22.00", "11: calendar.shifts.0.start: '22.00' is no time of day"),
        ("start: 22:00", "start: 2200", "11: calendar.shifts.0.start: '2200' is no time of day"),
        ("start: 22:00", "start: 8", "11: calendar.shifts.0.start: '8' is no time of day"),
        ("start: 22:00", "start: 10 pm", "calendar.shifts.0.start: '10 pm' is no time of day"),
        ("start: 22:00", "start: 22:00Z", "calendar.shifts.0.start: '22:00Z' is no time of day"),
        ("start: 22:00", "start: 22:00:30", "shifts.0.start: '22:00:30' is no time of day"),
        ("start: 22:00", "start: 24:00", "shifts.0.start: '24:00' is no time of day"),
        ("start: 22:00", "start: 22:60", "shifts.0.start: '22:60' is no time of day"),
        ("start: 22:00", "start: -1:00", "shifts.0.start: '-1:00' is no time of day"),
        ("start: 22:00", "start:", "11: calendar.shifts.0.start: "),
        # dates
        ("[2026-12-24]", "[24.12.2026]", "calendar.holidays.0: '24.12.2026' is no date"),
        ("[2026-12-24]", "[12/24/2026]", "calendar.holidays.0: '12/24/2026' is no date"),
        ("[2026-12-24]", "[20261224]", "calendar.holidays.0: '20261224' is no date"),
        ("[2026-12-24]", "[2026-12-24T00:00:00]", "calendar.holidays.0: "),
        ("[2026-12-24]", "[2026-02-30]", "13: calendar.holidays.0: "),
        ("[2026-12-24]", "2026-12-24", "13: calendar.holidays: "),
        # numbers
        ("ideal_cycle_s: 4.5", "ideal_cycle_s: '4,5'", "write 4.5"),
        ("ideal_cycle_s: 4.5", "ideal_cycle_s: 4:30", "products.0.ideal_cycle_s: "),
        ("ideal_cycle_s: 4.5", "ideal_cycle_s: 4.5 s", "products.0.ideal_cycle_s: "),
        ("ideal_cycle_s: 4.5", "ideal_cycle_s: true", "products.0.ideal_cycle_s: "),
        ("ideal_cycle_s: 4.5", "ideal_cycle_s: .inf", "products.0.ideal_cycle_s: "),
        ("ideal_cycle_s: 4.5", "ideal_cycle_s: nan", "products.0.ideal_cycle_s: "),
        ("scale: 0.5", "scale: 0,5", "signals.1.scale: "),
        ("scale: 0.5", "scale: 1.000,5", "signals.1.scale: "),
        ("scale: 0.5", "scale: 50%", "signals.1.scale: "),
        ("scale: 0.5", "scale: 0", "signals.1.scale: a scale of 0"),
        ("scale: 0.5", "scale: 2026-12-24", "signals.1.scale: "),
        ("range: [0, 100]", "range: [100, 0]", "signals.1.range: 100 is above 0"),
        ("range: [0, 100]", "range: 0-100", "signals.1.range: "),
        ("range: [0, 100]", "range: [0,5, 100]", "signals.1.range: "),
        ("code: 7", "code: 7.5", "stop_reasons.0.code: "),
        ("type: int64", "type: 2", "signals.0.type: '2' is no type"),
        (
            "role: state",
            "role: state\n                states: {1: runing}",
            "states: 1: 'runing' is no state; one of running, slow, short_stop, down, planned, "
            "setup, starved, blocked, no_data; did you mean 'running'?",
        ),
        (
            "role: state",
            "role: state\n                states: [1]",
            "states: say packml, opc30060, machinery, operation_mode, mtconnect, or `value: state`",
        ),
        ("role: state", "role: sate", "role: 'sate' is none of 'state', 'good_count', "),
        ("role: state", "role: good_cont", "'other'; did you mean 'good_count'?"),
        (
            "kind: opcua",
            "kind: opcu",
            "none of 'opcua', 'mqtt', 'mqtt_json', 'sparkplug'; did you mean 'opcua'?",
        ),
        # names
        ("site: north", "site:", "2: site: "),
        ("site: north", "site: ~", "2: site: "),
        ("site: north", "site: Nord Værk", "2: site: 'Nord Værk' is no name"),
        ("site: north", "site: [north]", "2: site: "),
        ("site: north", "site: &a north\nsite: *a", "3: site: stands twice"),
        ("site: north", '"site": north\nsite: south', "3: site: stands twice"),
        ("site: north", "Site: north", "2: Site: there is no such field; did you mean 'site'?"),
        # `source` is a field of another part: never proposed for itself.
        ("sources:", "source:", "source: there is no such field; did you mean 'sources'?"),
        ("unit: kN", "unt: kN", "unt: there is no such field; did you mean 'unit'?"),
        ("title: North works", 'title: "North\\0works"', "3: a text cannot have the character U+0"),
        ("title: North works", 'title: "\\ud800"', "3: a text cannot have the character U+D800"),
        # YAML
        ("site: north", "\tsite: north", "2: a tab stands here; indent with spaces"),
        ("site: north", "site:\tnorth\n\ttitle: x", "2: "),
        ("    - name: night", "\t- name: night", "10: "),
        ("title: North works", "title: North: works", "3: "),
        ("title: North works", "title: *nobody", "3: "),
        ("title: North works", "title: @home", "3: "),
        ("title: North works", "title: &a [*a]", "3: the anchor contains itself"),
        ("title: North works", "title: !!python/name:os.system x", "3: "),
        ("title: North works", "title: !!bool foo", "3: "),
        ("title: North works", "title: !!binary aGk=", "3: "),
        ("title: North works", "title: {a: b}", "3: title: "),
        ("title: North works", "? [a, b]\n: x", "3: a list or a table cannot be a name"),
        ("title: North works", "<<: 5", "3: `<<` takes a table"),
        ("title: North works", "title: x\n---\nsite: south", "4: "),
        # sources
        (
            "time_zone: UTC",
            "time_zone: Oslo",
            "6: sources.0.time_zone: 'Oslo' is no IANA time zone",
        ),
        ("time_zone: UTC", "time_zone: CEST", "6: sources.0.time_zone: "),
        ("time_zone: Europe/Oslo", "time_zone: europe/oslo", "did you mean 'Europe/Oslo'?"),
        ("time_zone: Europe/Oslo", "time_zone: +01:00", "4: time_zone: "),
        ('"opc.tcp://127.0.0.1:4840"', '"http://x"', "6: sources.0.url: 'http://x' is no address"),
        ('"opc.tcp://127.0.0.1:4840"', "127.0.0.1:4840", "6: sources.0.url: "),
        ('"opc.tcp://127.0.0.1:4840"', '"opc.tcp://plc:99999"', "6: sources.0.url: "),
        ('"opc.tcp://127.0.0.1:4840"', '"opc.tcp://plc"', "6: sources.0.url: "),
        ('"opc.tcp://127.0.0.1:4840"', '"${NOT_SET_HERE}"', "6: ${NOT_SET_HERE} is not set"),
        ('"mqtt://127.0.0.1"', '"mqqt://broker"', "7: sources.1.url: "),
        ("time_zone: UTC", "oldest: 2099-01-01", "6: sources.0.oldest: 2099-01-01 is in the futu"),
        (
            "role: state",
            "role: state, states: {}".replace(", ", "\n                "),
            "states: no",
        ),
        ('"plant/{unit}"', '"plant/{machine}"', "{unit} or {signal}, not {machine}"),
        ('"plant/{unit}"', '"plant/#/{unit}"', "7: sources.1.topic: "),
        (', topic: "plant/{unit}"', "", "7: sources.1.topic: mqtt_json needs a topic"),
        ("address: ns=2;s=Force", "address: Press.Force", "signals.1.address: "),
        ("address: ns=2;s=Force", "address: ns=2,s=Force", "signals.1.address: "),
        (
            "ideal_cycle_s: 4.5",
            "ideal_cycle_s: 4,5",
            "products.0.5: there is no such field; a decimal comma? write a point",
        ),
        # one thing, one place
        ("code: 7, ", "code: 7, name: A, loss: setup}\n  - {code: 07, ", "reason 7 stands twice"),
        ("  - name: hall\n", "  - name: hall\n  - name: hall\n", "area 'hall' stands twice"),
        ("- {id: bus", "- {id: plc", "7: sources.1.id: source 'plc' stands in more"),
        ("[{id: part,", "[{id: part, ideal_cycle_s: 2}, {id: part,", "'part' of .* stands twice"),
        (
            "end: 06:00",
            "end: 22:30\n    - {name: b, start: 22:15, end: 23:00}",
            ": calendar: shift",
        ),
    ],
)
def test_what_cannot_be_understood_is_refused_with_file_line_and_field(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    with pytest.raises(PlantError) as caught:
        load(tmp_path, old, new)
    message = str(caught.value)
    assert all(line.startswith(f"{tmp_path}/plant.yaml:") for line in message.splitlines()), message
    wanted = (
        says if says[0].isalpha() or says[0] in ":'{" or " of " in says else f"plant.yaml:{says}"
    )
    parts = wanted.split(".* ") if " of .* " in wanted else [wanted]
    assert all(part in message for part in parts), message


def test_aliases_that_would_fill_the_memory_are_refused(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
    )
    file = tmp_path / "plant.yaml"
    file.write_text(bomb)
    with pytest.raises(PlantError, match=r"plant\.yaml:\d+: .*too much"):
        load_plant(file)
    file.write_text("[" * 3000)
    with pytest.raises(PlantError, match=r"plant\.yaml"):
        load_plant(file)


@pytest.mark.parametrize(
    ("text", "line"),
    [("site: x\na: " + "[" * 5000, 2), ("- " * 5000, 1), ("a: " + "{a: " * 5000, 1)],
)
def test_what_is_nested_without_end_is_refused_at_once_with_its_line(
    tmp_path: Path, text: str, line: int
) -> None:
    file = tmp_path / "plant.yaml"
    file.write_text(text)
    before = process_time()
    with pytest.raises(PlantError, match=rf"plant\.yaml:{line}: .*nested more than 100 deep here"):
        load_plant(file)
    assert process_time() - before < 1  # it took 10 to 23 s


@pytest.mark.parametrize("coding", ["utf-16", "latin-1"])
def test_another_coding_is_refused_with_its_line(tmp_path: Path, coding: str) -> None:
    file = tmp_path / "plant.yaml"
    file.write_bytes(FILE.replace("North works", "Værk").encode(coding))
    with pytest.raises(PlantError, match=r"plant\.yaml:[13]: this is not UTF-8"):
        load_plant(file)


PIECES = (
    "&a ", "*a", "!!int ", "!!bool ", "!!timestamp x", "!!set {a}", "<<: ", "- ", "? ", ": ", "#",
    "[", "}", '"', "\t", "\n", "\0", "---\n", "%TAG", "22:00", "2026-13-45", "0xZZ", "1e999",
    "-.inf", "~", "=", "@", "${X}", "\\", "9" * 400, "\u2028", "\ufeff",
)  # fmt: skip


def test_a_file_that_is_damaged_anywhere_is_read_or_refused_with_its_line(tmp_path: Path) -> None:
    chance = random.Random(7)
    file = tmp_path / "plant.yaml"
    refused = 0
    for _ in range(150):
        text = FILE
        for _ in range(chance.randint(1, 3)):
            start = chance.randrange(len(text))
            end = start + chance.choice([0, 0, 1, 3, 8])
            text = text[:start] + chance.choice(PIECES) + text[end:]
        file.write_bytes(text.encode())
        try:
            load_plant(file)
        except PlantError as error:
            refused += 1
            assert str(error).startswith(f"{file}:"), error
    assert refused > 50


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("ns=2;s=Motor # the first one", "ns=2;s=Motor"),
        ("ns=2;s=Motor#1", "ns=2;s=Motor#1"),
        ('"ns=2;s=Motor #1"', "ns=2;s=Motor #1"),
        ("'ns=2;s=Motor #1'  #1", "ns=2;s=Motor #1"),
        ("ns=2;s=Motor  ## wrong?", "ns=2;s=Motor"),
        ("ns=2;s=Motor #1", None),
        ("ns=2;s=Motor  #1 Force", None),
    ],
)
def test_an_address_that_a_comment_may_have_cut_is_refused(
    tmp_path: Path, written: str, address: str | None
) -> None:
    """`s=Motor #1` was read as `s=Motor`, a node of another name or of none."""
    if address is None:
        with pytest.raises(PlantError, match=r"plant.yaml:30: address: ` #` begins a comment"):
            load(tmp_path, "ns=2;s=Force", written)
    else:
        (unit,) = load(tmp_path, "ns=2;s=Force", written).units()
        assert unit.model.signals[1].address == address


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the file is empty"),
        ("hello", "fields are wanted here"),
        ("- a", "fields are wanted here"),
        (FILE.replace("areas:", "areas: hall\nx:"), "a list is wanted here"),
        (FILE.replace("sources:", "sources: {id: plc}\nx:"), "a list is wanted here"),
    ],
)
def test_a_file_of_another_shape_is_answered_in_words_of_the_file(
    tmp_path: Path, text: str, says: str
) -> None:
    (tmp_path / "plant.yaml").write_text(text)
    with pytest.raises(PlantError, match=says):
        load_plant(tmp_path / "plant.yaml")
