"""`aurelian plant check` on units of measure: what is no UCUM code is a warning with its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aurelian.cli import app
from aurelian.local.unit_check import likely_code
from tests.unit.model.test_plant_edit import LINES


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("bars", "bar"), ("Bar", "bar"), ("°C", "Cel"), ("℃", "Cel"), ("degC", "Cel"),
        ("°F", "[degF]"),
        ("rpm", "{rev}/min"), ("kwh", "kW.h"), ("KWh", "kW.h"), ("Nm", "N.m"), ("N·m", "N.m"),
        ("m³/h", "m3/h"), ("m^3/h", "m3/h"), ("m/s²", "m/s2"), ("pcs", "{piece}"),
        ("piece", "{piece}"), ("Stück", "{piece}"), ("psi", "[psi]"), ("mmHg", "mm[Hg]"),
        ("KW", "kW"), ("kVA", "kV.A"), ("Ah", "A.h"), ("sec", "s"), ("µm", "um"),
        ("gpm", "[gal_us]/min"), ("pcs/h", "{piece}/h"), ("pcs/min", "{piece}/min"),
        ("inch", "[in_i]"), ("mPas", "mPa.s"),
        ("µS/cm", "uS/cm"), ("kWh/pcs", "kW.h/{piece}"), ("ppm", "[ppm]"), ("hours", "h"),
        ("m2*K/W", "m2.K/W"), ("dBA", "dB{A}"), ("xyz", ""), ("mw", ""), ("m/", ""), ("/", ""),
    ],
)  # fmt: skip
def test_the_code_that_is_likely_meant_is_named(written: str, meant: str) -> None:
    assert likely_code(written) == meant


def test_a_unit_that_is_no_code_is_a_warning_with_file_line_field_and_code(tmp_path: Path) -> None:
    file = tmp_path / "north.yaml"
    file.write_text(LINES.replace("unit: kN", "unit: bars"))
    line = file.read_text().split("unit: bars")[0].count("\n") + 1
    done = CliRunner().invoke(app, ["plant", "check", str(tmp_path)])
    assert done.exit_code == 0
    [said] = [each for each in done.stderr.splitlines() if "UCUM" in each]
    assert f"{file}:{line}: areas.0.lines.0.units.0.signals." in said
    assert said.endswith(".unit: bars is no UCUM code; bar?")
    found = json.loads(CliRunner().invoke(app, ["check", str(tmp_path), "--json"]).stdout)
    assert any("bars is no UCUM code" in each for each in found["sites"][0]["warnings"])
    file.write_text(LINES)
    assert "UCUM" not in CliRunner().invoke(app, ["plant", "check", str(tmp_path)]).stderr
    file.write_text(LINES.replace("unit: kN", "unit: C, role: temperature"))
    said = CliRunner().invoke(app, ["plant", "check", str(tmp_path)]).stderr
    assert "C is the coulomb in UCUM, and the signal is a temperature; Cel?" in said


def test_one_wrong_unit_of_many_signals_is_one_warning(tmp_path: Path) -> None:
    file = tmp_path / "north.yaml"
    signals = "".join(f"              - {{name: p{n}, unit: bars}}\n" for n in range(50))
    text, mark = LINES, "            signals:\n"
    assert mark in text
    file.write_text(text.replace(mark, mark + signals, 1))
    done = CliRunner().invoke(app, ["plant", "check", str(tmp_path)])
    assert done.exit_code == 0, done.stderr
    [said] = [each for each in done.stderr.splitlines() if "UCUM" in each]
    assert said.endswith("bar? (49 more have it)")


def test_the_plant_files_of_the_stack_are_those_that_are_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "clone"
    for each in (home / "plant", elsewhere):
        each.mkdir(parents=True)
    compose = "services:\n  kafka: {image: kafka}\nvolumes: {}\n"
    (elsewhere / "docker-compose.yml").write_text(compose)
    monkeypatch.chdir(elsewhere)
    monkeypatch.delenv("AURELIAN_PLANT", raising=False)
    done = CliRunner().invoke(app, ["plant", "check", "--home", str(home)])
    assert done.exit_code == 2
    assert f"plant files in {Path.cwd()}" in done.stderr
    told = [each for each in done.stderr.splitlines() if "docker-compose.yml" in each]
    assert len(told) == 1 and "this is no plant file: it has none of company, site" in told[0]
    (home / "plant" / "north.yaml").write_text(LINES)
    done = CliRunner().invoke(app, ["plant", "check", "--home", str(home)])
    assert done.exit_code == 0, done.stderr
    assert f"plant files in {home / 'plant'}" in done.stderr and "acme/north" in done.stdout
