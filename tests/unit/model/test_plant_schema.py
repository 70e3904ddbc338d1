"""The JSON Schema of plant files, beside what the model itself takes and refuses."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import BeforeValidator
from ruamel.yaml import YAML

from aurelian.model.plant_file import PlantError, read_plant
from aurelian.model.plant_schema import (
    OF_VALIDATOR,
    ONLY_EXPLAINED,
    OTHERWISE_WRITTEN,
    make_schema,
)
from aurelian.model.yaml_text import YAMLError
from tests.unit.model.test_plant_as_written import FILE
from tests.unit.model.test_plant_edit import BRACKETS, FLAT, LINES, SHARED
from tests.unit.model.whole_plant import WHOLE, all_parts, part_at, parts_of, places

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = make_schema()
CHECK = jsonschema.Draft7Validator(SCHEMA)


def as_editors_read(text: str) -> Any:
    """YAML 1.2 as JSON; texts, not dates, as in the core schema."""
    yaml = YAML(typ="safe", pure=True)
    yaml.constructor.add_constructor(
        "tag:yaml.org,2002:timestamp", lambda loader, node: str(node.value)
    )
    return _plain(yaml.load(text))


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def accepts(text: str) -> bool:
    return CHECK.is_valid(as_editors_read(text))


def loads(text: str) -> bool:
    try:
        read_plant(text.encode(), "plant.yaml")
    except PlantError:
        return False
    return True


def _written() -> Iterator[str]:
    yield from (WHOLE, LINES, BRACKETS, FLAT, SHARED, FILE)
    for path in (ROOT / "services" / "pilot_factory" / "plants").glob("*.yaml"):
        yield path.read_text()
    head = "company: {id: c, name: C}\nsite: s\ntime_zone: UTC\n"
    rest = (
        "areas: [{name: a, lines: [{name: l, products: [{id: p, ideal_cycle_s: 1}], "
        "units: [{name: u, source: x}]}]}]\n"
    )
    for document in [ROOT / "README.md", *(ROOT / "services").glob("*/README.md")]:
        for snippet in re.findall(r"```yaml\n(.*?)```", document.read_text(), re.DOTALL):
            if snippet.startswith("company:"):
                yield snippet
            elif re.fullmatch(r"sources:.*\n(([ #].*)?\n)*", snippet) and loads(
                head + snippet + rest
            ):
                yield head + snippet + rest


def test_the_schema_is_one() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)


def test_every_plant_file_of_the_repository_is_valid() -> None:
    found = list(_written())
    assert len(found) > 10
    for text in found:
        errors = [
            f"{list(e.absolute_path)}: {e.message}"
            for e in CHECK.iter_errors(as_editors_read(text))
        ]
        assert not errors, (text[:300], errors)


def test_every_field_is_explained_and_has_what_may_stand_there() -> None:
    for part in all_parts():
        known = SCHEMA["definitions"][part.__name__]["properties"]
        assert list(known) == list(part.model_fields)
        assert part.__doc__ and SCHEMA["definitions"][part.__name__]["description"]
        unexplained = [name for name, each in known.items() if not each.get("description")]
        assert not unexplained, part
    roles = SCHEMA["definitions"]["SignalModel"]["properties"]["role"]
    assert "good_count" in roles["anyOf"][0]["enum"] and roles["default"] == "other"


def test_every_field_that_reads_more_than_its_type_has_a_part_written_by_hand() -> None:
    """A new validator that runs before the type is looked at has to say what it takes."""
    for part in all_parts():
        for each in part.__pydantic_decorators__.field_validators.values():
            if each.info.mode != "before":
                continue
            for name in each.info.fields:
                owners = [
                    base for base in part.__mro__ if name in getattr(base, "model_fields", {})
                ]
                known = OTHERWISE_WRITTEN.keys() | ONLY_EXPLAINED
                assert any((base, name) in known for base in owners), (part, name)
        for field in part.model_fields.values():
            for rule in field.metadata:
                assert not isinstance(rule, BeforeValidator) or rule in OF_VALIDATOR, field


# What stands in the whole file, and what stands there instead: refused by both.
REFUSED = [
    ("site: north\n", ""),
    ("site: north\n", "site:\n"),
    ("site: north\n", "site: [north]\n"),
    ("site: north\n", "site: {a: north}\n"),
    ("site: north\n", "site: -north\n"),
    ("site: north\n", "site: north works\n"),
    ("site: north\n", "site: north\nowner: x\n"),
    ("title: North works", "titel: North works"),
    ("  name: ACME Ltd\n", ""),
    ("company:\n  id: acme\n  name: ACME Ltd\n", "company: acme\n"),
    ("kind: sparkplug", "kind: sparkplug_b"),
    ("    kind: sparkplug\n", ""),
    ("    url: opc.tcp://10.0.0.9:4840\n", ""),
    ("publishing_interval_ms: 250", "publishing_interval_ms: fast"),
    ("publishing_interval_ms: 250", "publishing_interval_ms: 0"),
    ("publishing_interval_ms: 250", "publishing_interval_ms: 2.5"),
    ("publishing_interval_ms: 250", "publishing_interval_ms: true"),
    ("publishing_interval_ms: 250", "publishing_interval_ms: 100000000"),
    ("publishing_interval_ms: 250", "publishing_interval: 250"),
    ("queue_size: 10", "queue_size: 0"),
    ("discard: oldest", "discard: old"),
    ("trigger: status_value\n", "trigger: value\n"),
    ("[UncertainInitialValue, 0x40900000]", "Uncertainly"),
    ("[UncertainInitialValue, 0x40900000]", "[Good]"),
    ("[UncertainInitialValue, 0x40900000]", "5"),
    ("event_time: source", "event_time: now"),
    ("closed: false", "closed: maybe"),
    ("closed: false", "closed: 2"),
    ("oldest: 2024-01-01", "oldest: 1.1.2024"),
    ("oldest: 2024-01-01", "oldest: 2024-13-01"),
    ("redundant:\n      - opc.tcp://10.0.0.8:4840\n", "redundant: opc.tcp://10.0.0.8:4840\n"),
    ("redundancy: warm", "redundancy: lukewarm"),
    ("policy: Basic256Sha256", "policy: basic256sha256"),
    ("mode: Sign\n", "mode: None\n"),
    ("trust: list", "trust: all"),
    ("waive: [validity]", "waive: [expiry]"),
    ("waive: [validity]", "waive: validity expiry"),
    ("min_severity: 100", "min_severity: 0"),
    ("min_severity: 100", "min_severity: 2000"),
    ("events: conditions", "events: some"),
    ("where: true", "where: there"),
    ("alpn: [mqtt]", "alpn: 7"),
    ("waive: host_name", "waive: hostname"),
    ("payload: json", "payload: jason"),
    ("type: float32", "type: float"),
    ("offset: 0\n            order", "offset: -1\n            order"),
    ("order: little", "order: middle"),
    ("bit: 3", "bit: 8"),
    ("message: plant.v1.Reading", "message: ''"),
    ("group: gateways", "group: a/b"),
    ("    share:\n      group: gateways\n      read_retained: true\n", "    share: 7\n"),
    ("time_unit: ms", "time_unit: min"),
    ("mode: primary", "mode: first"),
    ("reorder_s: 3", "reorder_s: 5000"),
    ("host_id: aurelian", "host_id: a/b"),
    ("start: 22:00", "start: 22"),
    ("start: 22:00", "start: 24:00"),
    ("start: 22:00", "start: 22:60"),
    ("end: 24:00", "end: 25:00"),
    ("days: [mon, tue]", "days: [monday]"),
    ("days: [mon, tue]", "days: mon"),
    ("minutes: 10", "minutes: 0"),
    ("- 2026-12-24", "- 24.12.2026"),
    ("id: the-hall", "id: the hall"),
    ("          - id: part\n            ideal_cycle_s: 4.5\n            unit: piece\n", ""),
    ("ideal_cycle_s: 4.5", "ideal_cycle_s: 4,5"),
    ("ideal_cycle_s: 4.5", "ideal_cycle_s: 0"),
    ("ideal_cycle_s: 4.5", "ideal_cycle_s:"),
    ("states: packml", "states: pack_ml"),
    ("states: packml", "states: {}"),
    ("states: packml", "states: [running]"),
    ("1: running", "1: runing"),
    ("role: good_count", "role: goods"),
    ("type: int64", "type: integer"),
    ("type: int64", "type: null"),
    ("scale: 0.5", "scale: half"),
    ("range: [0, 100]", "range: [0]"),
    ("range: [0, 100]", "range: [0, 50, 100]"),
    ("range: [0, 100]", "range: 0-100"),
    ("stale_after_s: 60", "stale_after_s: 0"),
    ("wraps_at: 65536", "wraps_at: 1"),
    ("deadband: 2\n                  delay", "deadband: -2\n                  delay"),
    ("deadband_percent: 2", "deadband_percent: 200"),
    ("priority: high", "priority: urgent"),
    ("code: 7", "code: seven"),
    ("loss: breakdown", "loss: broken"),
    ("  - code: 7", "  - reason: 7\n    code: 7"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), REFUSED)
def test_what_the_model_refuses_by_its_shape_the_schema_refuses(old: str, new: str) -> None:
    assert old in WHOLE
    text = WHOLE.replace(old, new, 1)
    assert not loads(text)
    assert not accepts(text)


def test_a_misspelt_field_is_refused_wherever_it_stands() -> None:
    content = read_plant(WHOLE.encode(), "w").content
    whole = as_editors_read(WHOLE)
    seen = set()
    for place, _ in places(content):
        part = part_at(place[:-1]) if place else None
        if part is None or isinstance(place[-1], int) or (part, place[-1]) in seen:
            continue
        seen.add((part, place[-1]))
        spoilt = copy.deepcopy(whole)
        at = spoilt
        for step in place[:-1]:
            at = at[step]
        at[f"{place[-1]}x"] = at.pop(place[-1])
        assert not CHECK.is_valid(spoilt), place


POOL = (
    "5", "0", "-1", "2.5", "1e3", "007", "0x10", "1_000", "true", "False", "yes", "no", "off", "on",
    "22:00", "6:30", "24:00", "2026-12-24", "2026-02-30", "abc", "'5'", '"2.5"', "'true'",
    '"22:00"',
    "'abc def'",
    "TEXT",
    "Double", "mtconnect", "running", "None", "'None'", "best", "validity", '"host_name, validity"',
    "UncertainInitialValue", "0x408F0000", "1083113472", "'0x408F0000'", "''", '" 5 "', "[]", "{}",
    "[5]", "[1, 2]", "['1', 2]", "[mon]", "[abc, 'd e']", "{1: down}", "{on: running, 'x y': slow}",
    "{group: g}", "{policy: best}", "{deadband: '5'}", "mon", "~", "", "${NOT_SET:-5}",
    "${NOT_SET:-abc}",
    "'${NOT_SET:-06:30}'", "${NOT_SET:-}", "x${NOT_SET:-}y", "urn:x", "ns=2;s=x", "mqtt://127.0.0.1",
    "Europe/Oslo", "+5",
    ".5", "5.", "1.0", "0o17", "infinity", "json", "opcua",
)  # fmt: skip


def _replaced(chance: random.Random) -> Iterator[tuple[str, str]]:
    """The whole file with the value of one line replaced, again and again."""
    lines = WHOLE.splitlines()
    of_one_line = [
        n for n, line in enumerate(lines) if re.fullmatch(r" *(- )?\w+: .+", line) or "- " in line
    ]
    for n in of_one_line:
        before = re.match(r" *(?:- )?(?:\w+: )?", lines[n])
        assert before is not None
        for word in chance.sample(POOL, 1):
            yield (
                f"{lines[n].strip()} -> {word}",
                "\n".join([*lines[:n], before[0] + word, *lines[n + 1 :]]) + "\n",
            )


def test_nothing_that_the_model_takes_is_refused_by_the_schema() -> None:
    taken = 0
    for what, text in _replaced(random.Random(11)):
        if not loads(text):
            continue
        try:
            accepted = accepts(text)
        except (YAMLError, ValueError):  # a placeholder that only makes YAML once it is filled
            continue
        taken += 1
        errors = list(CHECK.iter_errors(as_editors_read(text))) if not accepted else []
        assert accepted, (what, [f"{list(e.absolute_path)}: {e.message}" for e in errors])
    assert taken > 20


def test_the_word_null_as_a_text_is_the_one_that_needs_quotes() -> None:
    text = WHOLE.replace("title: North works", "title: null")
    assert loads(text) and not accepts(text)
    assert accepts(text.replace("title: null", "title: 'null'"))


def test_the_parts_are_all_there() -> None:
    assert {each.__name__ for each in all_parts()} | {"variable"} == set(SCHEMA["definitions"])
    assert list(parts_of(int | None)) == []
