"""`aurelian plant`: every mistake of every file, what a change does, the schema."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from aurelian.cli import app
from aurelian.model.plant_file import PlantError, load_plant, read_plant
from tests.unit.model.test_plant_edit import LINES
from tests.unit.model.whole_plant import WHOLE, part_at, places


def aurelian(*words: str | Path) -> Result:
    return CliRunner().invoke(app, list(map(str, words)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "plant"
    made.mkdir()
    (made / "north.yaml").write_text(LINES)
    return made


def test_check_tells_every_problem_of_every_file_at_once(folder: Path) -> None:
    text = LINES.replace("unit: kN", "units: kN").replace("kind: mqtt", "kind: mqqt")
    (folder / "a.yaml").write_text(text.replace("site: north", "site: a"))
    (folder / "b.yaml").write_text("site: [\n")
    (folder / "c.yaml").write_text(LINES)
    two = LINES.replace("source: plc", "source: nowhere").replace("output: press", "output: mill")
    (folder / "d.yaml").write_text(two)
    for words in (("plant", "check"), ("check",)):
        done = aurelian(*words, folder)
        assert done.exit_code == 2
        said = done.stderr.splitlines()
        for file, field in (
            ("a.yaml:15", "sources.1.kind"),
            ("a.yaml:38", "areas.0.lines.0.units.0.signals.1.units"),
            ("b.yaml:2", ""),
            ("d.yaml:29", "areas.0.lines.0.output"),
            ("d.yaml:32", "areas.0.lines.0.units.0.source"),
            ("north.yaml:3", "site"),
        ):
            assert any(f"{file}: {field}" in line for line in said), (file, said)
    done = aurelian("plant", "check", folder, "--json")
    assert done.exit_code == 2
    found = json.loads(done.stdout)
    assert found["valid"] is False and len(found["problems"]) == 6
    assert {
        "file": str(folder / "north.yaml"),
        "line": 3,
        "field": "site",
        "said": f"site 'acme/north' stands in more than one place, in {folder / 'c.yaml'} too",
    } in found["problems"]


def test_check_of_good_files_as_json(folder: Path) -> None:
    done = aurelian("plant", "check", folder / "north.yaml", "--json")
    assert done.exit_code == 0
    (site,) = json.loads(done.stdout)["sites"]
    assert (site["site"], site["sources"], site["units"]) == ("acme/north", 2, 2)
    assert any("(`password_" not in each for each in site["warnings"])


@pytest.mark.parametrize(
    ("of_source", "zone", "warned"),
    [
        ("", "Europe/Oslo", True),
        ("payload: tasmota, ", "Europe/Oslo", True),
        ("time_zone: Europe/Oslo, ", "Europe/Oslo", False),
        ("time_zone: UTC, ", "Europe/Oslo", False),
        ("", "UTC", False),
        ("", "Europe/London", True),
        ("payload: senml, ", "Europe/Oslo", False),
    ],
)
def test_check_warns_where_local_times_would_be_read_as_utc(
    tmp_path: Path, of_source: str, zone: str, warned: bool
) -> None:
    source = f"{{id: bus, kind: mqtt, {of_source}url: 'mqtt://127.0.0.1', topic: 'x/{{unit}}'}}"
    (tmp_path / "x.yaml").write_text(
        f"company: {{id: c, name: C}}\nsite: s\ntime_zone: {zone}\nsources: [{source}]\n"
        "areas: [{name: hall}]\n"
    )
    done = aurelian("check", tmp_path)
    assert done.exit_code == 0
    assert (f"say `time_zone: {zone}` at the source" in done.stderr) is warned


def test_diff_says_what_a_change_does_and_whether_it_does_anything(
    folder: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new.yaml"
    new.write_text(LINES + "# a remark\n")
    done = aurelian("plant", "diff", folder, new)
    assert (done.exit_code, done.stderr) == (0, "nothing differs\n")
    new.write_text(LINES.replace("unit: kN", "unit: N"))
    done = aurelian("plant", "diff", folder, new)
    assert done.exit_code == 1
    assert "signal acme/north/hall/line-1/press/force: changed\n    unit: kN -> N" in done.stdout
    done = aurelian("plant", "diff", folder, new, "--json")
    assert done.exit_code == 1 and json.loads(done.stdout)["differs"] is True
    new.write_text(LINES.replace("unit: kN", "units: N"))
    done = aurelian("plant", "diff", folder, new)
    assert done.exit_code == 2 and f"{new}:38: " in done.stderr


def test_diff_against_what_the_gateways_run_with(folder: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    done = aurelian("plant", "diff", folder, "--home", home)
    assert done.exit_code == 2 and "no gateway has kept a plant model" in done.stderr
    kept = home / "state" / "opcua_gateway" / "plant.json"
    kept.parent.mkdir(parents=True)
    kept.write_text("{")
    done = aurelian("plant", "diff", folder, "--home", home)
    assert done.exit_code == 2 and f"{kept} cannot be read" in done.stderr
    kept.write_text(json.dumps({"files": {"north.yaml": LINES}, "more": 1}))
    done = aurelian("plant", "diff", folder, "--home", home)
    assert (done.exit_code, done.stderr) == (0, "nothing differs\n")
    other = home / "state" / "mqtt_gateway" / "plant.json"
    other.parent.mkdir()
    other.write_text(json.dumps({"files": {"north.yaml": LINES.replace("4840", "4841")}}))
    os.utime(kept, ns=(1, 1))
    done = aurelian("plant", "diff", folder, "--home", home)
    assert done.exit_code == 1 and "run with different plant models" in done.stderr
    assert "url: opc.tcp://127.0.0.1:4841 -> opc.tcp://127.0.0.1:4840" in done.stdout
    # A file of one site, where others run too.
    south = LINES.replace("site: north", "site: south")
    kept.write_text(json.dumps({"files": {"n": LINES, "s": south}}))
    other.unlink()
    done = aurelian("plant", "diff", folder / "north.yaml", "--home", home)
    assert (done.exit_code, done.stderr) == (0, "nothing differs\n")
    done = aurelian("plant", "diff", folder, "--home", home)
    assert done.exit_code == 1 and "site acme/south: removed" in done.stdout


def test_the_schema_is_printed_or_written_beside_the_files(folder: Path) -> None:
    printed = aurelian("plant", "schema").stdout
    assert json.loads(printed)["$schema"].startswith("http://json-schema.org/draft-07/")
    done = aurelian("plant", "schema", "--write", folder)
    assert (folder / "plant.schema.json").read_text() == printed
    assert "# yaml-language-server: $schema=plant.schema.json" in done.stderr
    assert aurelian("check", folder).exit_code == 0


def _slips(name: str) -> str:
    """A slip of the fingers: two letters changed places, or one came twice."""
    if len(name) > 3:
        return name[:-2] + name[-1] + name[-2] if name[-1] != name[-2] else name + name[-1]
    return name + name[-1]


def test_a_slip_in_any_field_is_answered_with_line_field_and_the_name_that_is_meant(
    tmp_path: Path,
) -> None:
    lines = WHOLE.splitlines()
    read = read_plant(WHOLE.encode(), "whole")
    file = tmp_path / "site.yaml"
    seen = set()
    for place, _ in places(read.content):
        name = place[-1] if place else 0
        part = part_at(place[:-1]) if place else None
        if part is None or isinstance(name, int) or (part, name) in seen:
            continue
        seen.add((part, name))
        slip = _slips(name)
        number = read.lines.of(place)
        # A list or a table begins on the line below its name.
        while f"{name}:" not in lines[number - 1]:
            number -= 1
        spoilt = [*lines]
        spoilt[number - 1] = spoilt[number - 1].replace(f"{name}:", f"{slip}:", 1)
        file.write_text("\n".join(spoilt) + "\n")
        with pytest.raises(PlantError) as refused:
            load_plant(file)
        field = ".".join(map(str, (*place[:-1], slip)))
        at = [each for each in refused.value.problems if each.field == field]
        assert len(at) == 1, (field, str(refused.value))
        assert at[0].file == str(file) and at[0].line in (number, number + 1), (field, at)
        assert f"did you mean {name!r}?" in at[0].said, (field, at[0].said)
    assert len(seen) > 100


def test_a_word_that_is_near_none_is_answered_with_the_fields_of_its_part(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(LINES.replace("unit: kN", "zzz: kN"))
    with pytest.raises(
        PlantError, match=r"site\.yaml:38: .*\.zzz: .*there are name, address, role"
    ):
        load_plant(file)
