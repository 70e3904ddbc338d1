"""The fast reading of YAML by libyaml says the same as the parser of version 1.2, or leaves it to
that one."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aurelian.model import yaml_events
from aurelian.model.plant_file import PlantError, load_plant
from aurelian.model.written import Written
from aurelian.model.yaml_text import YAMLError, describe_error, read_slowly, read_yaml

ROOT = Path(__file__).parents[3]
PLANTS = sorted((ROOT / "services/pilot_factory/plants").glob("*.yaml"))

NORWAY = """
site: no
on: yes
eight: 010
octal: 0o10
time: 22:00
sexagesimal: 190:20:30
float: 1.10
binary: 0b11
thousands: 1_000
date: 2026-12-24
stamp: 2026-12-24T10:00:00Z
nothing: ~
empty:
infinite: [.inf, -.INF, .nan]
truth: [true, True, TRUE, false, y, n, off]
hexadecimal: 0x1F
exponent: [1e3, 1.e3, +1, -1, 007]
quoted: ["no", '010', "22:00", "\\u263a \\x41"]
"""
TEMPLATE = """
shared: &shared {products: [{id: part, ideal_cycle_s: 5}]}
calendar: &calendar
  shifts:
    - {name: early, start: 06:00, end: 14:00}
lines:
  - name: line-1
    <<: *shared
    calendar: *calendar
    units:
      - name: press  # the first
        signals:
          - {name: force, address: "nsu=urn:maker:press;s=Press.Force", type: double, unit: kN}
          - {name: 'it''s', address: ns=2;s=R&D, range: [0, 5.5], states: {1: running, "2": down}}
      - name: oven
        title: two
          lines
"""
PARTS = [
    *"\n -:,[]{}#'\"\\&*<?!|>~=%@`\t\r0a",
    *("\n  ", "\n- ", ": ", ", ", " #", "<<: *a", "<<: ", "&a ", "*a", "!!str ", "---\n", "...\n"),
    *("no", "010", "22:00", "1e3", "null", "0x1F", "5,5", "a:b", "a: b", "&b:", "? a\n: b", "|\n"),
    *("%YAML 1.1\n", "\x85", "\u2028", "\ufeff", "\x07", "\U0001f600", "\\x07", "''", "[,]"),
]


@st.composite
def changed_files(draw: st.DrawFn) -> str:
    """Of a file a few places are changed, as a slip of the hand or an odd editor would."""
    text = draw(st.sampled_from([NORWAY, TEMPLATE]))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(text)))
        cut = draw(st.sampled_from([0, 0, 0, 1, 2, 5]))
        text = text[:at] + draw(st.sampled_from(PARTS)) + text[at + cut :]
    return text


@given(changed_files() | st.lists(st.sampled_from(PARTS), max_size=12).map("".join))
@example("---")
@example("&ba: 1")
@example("a: >-#  z\n  w\n")
@example("{a: b,&bc: [d]}")
@example("a: &a {b: 1}\nc: &a {b: 2}\nd: *a")
@example("a: &a [*a]")
@example("a: <<")
@example("a: 1\na: 2")
def test_the_fast_reading_says_what_the_parser_of_1_2_says(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an anchor that stands twice
        wanted, fast = _outcome(text, slowly=True), _outcome(text, slowly=False)
    assert fast == wanted


@pytest.mark.parametrize("text", [NORWAY, TEMPLATE, *(path.read_text("utf-8") for path in PLANTS)])
def test_files_as_people_write_them_are_read_fast_with_all_lines(text: str) -> None:
    fast = yaml_events.read_events(text, lambda word: word, 1_000_000)
    _, wanted = read_slowly(text)
    assert fast == wanted
    assert _outcome(text, slowly=False) == _outcome(text, slowly=True)
    assert _outcome(text.replace("\n", "\r\n"), slowly=False) == _outcome(text, slowly=True)


def test_aliases_without_end_are_refused_as_before() -> None:
    rows = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 20)}]" for n in range(1, 12)]
    text = "\n".join(["a0: &a0 [x]", *rows])
    with pytest.raises(YAMLError) as caught:
        read_yaml(text)
    assert "too much for a plant file" in describe_error(caught.value)[1]


@pytest.mark.parametrize("deep", ["[" * 20_000, "- " * 20_000 + "a", "{a: " * 20_000])
def test_what_is_nested_without_end_is_refused_and_ends_no_process(deep: str) -> None:
    with pytest.raises(YAMLError):
        read_yaml(f"a: {deep}" if deep[0] != "-" else deep)


def test_a_large_plant_file_is_read_many_times_as_fast(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(_plant(units=20), "utf-8")
    text = file.read_text("utf-8")
    slow, fast = (min(_seconds(read, text) for _ in range(3)) for read in (read_slowly, read_yaml))
    assert slow > 5 * fast, (slow, fast)
    assert len(list(load_plant(file).units())) == 20


def test_a_mistake_in_a_large_plant_file_still_has_its_line(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    text = _plant(units=3).replace("name: s-7, ", "name: s-7, tpye: double, ", 1)
    file.write_text(text, "utf-8")
    line = text[: text.index("tpye")].count("\n") + 1
    with pytest.raises(PlantError, match=rf"site\.yaml:{line}: .*did you mean 'type'"):
        load_plant(file)


def _plant(units: int) -> str:
    head = """company: {id: my-company, name: My Company}
site: works
time_zone: Europe/Oslo
sources: [{id: press-opcua, kind: opcua, url: "opc.tcp://127.0.0.1:4840"}]
areas:
  - name: hall
    lines:
      - name: line-1
        products: [{id: part, ideal_cycle_s: 5}]
        units:
"""
    rows = []
    for unit in range(units):
        rows.append(f"          - {{name: u-{unit}, source: press-opcua, signals: [")
        rows += [
            f'              {{name: s-{n}, address: "ns=2;s=U{unit}.S{n}", type: double}},'
            for n in range(100)
        ]
        rows.append("            ]}")
    return head + "\n".join(rows) + "\n"


def _seconds(read: object, text: str) -> float:
    began = time.process_time()
    assert callable(read)
    read(text)
    return time.process_time() - began


def _outcome(text: str, *, slowly: bool) -> object:
    """The document with the types of its words and its lines, or line and reason of the error."""
    try:
        lines, document = read_slowly(text) if slowly else read_yaml(text)
    except YAMLError as error:
        return describe_error(error)
    return [(place, *_told(value), lines.of(place)) for place, value in _all(document)]


def _told(value: object) -> tuple[object, ...]:
    if isinstance(value, Written):
        return str(value), type(value.value), repr(value.value)
    return (type(value), value if isinstance(value, str) else None)


def _all(
    value: object, place: tuple[int | str, ...] = ()
) -> Iterator[tuple[tuple[int | str, ...], object]]:
    yield place, value
    if isinstance(value, dict):
        for name, each in value.items():
            yield (*place, "name"), name
            yield from _all(each, (*place, str(name)))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _all(each, (*place, number))
