"""The command before anything is sent: what it shows, what it refuses."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from importer.bad_lines import BadLine, BadLinesFile
from importer.command import import_app
from tests import import_files


def _run(folder: Path, *options: str) -> tuple[int, str, str]:
    plant = import_files.write_plant(folder / "plant", "press", signals=2)
    file = folder / "file.csv"
    given = [str(file), "--as", "press", "--plant", str(plant), "--home", str(folder / "home")]
    found = CliRunner().invoke(import_app, [*given, *options])
    return found.exit_code, found.stdout, found.stderr


def test_a_dry_run_shows_what_was_detected_and_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "file.csv").write_text("Zeit;temperature-0\n31.01.2024 10:00:00;1,5\n")
    code, out, _ = _run(tmp_path, "--dry-run", "--json")
    assert code == 0
    [said] = [json.loads(line) for line in out.splitlines()]
    assert said["kind"] == "detected" and said["delimiter"] == ";"
    assert said["columns"][0]["signal"].endswith("/press/temperature-0")
    assert said["first_rows"] == [
        {
            "time": "2024-01-31T09:00:00Z",
            "signal": "temperature-0",
            "value": 1.5,
            "status": "Good",
            "flags": [],
        }
    ]
    code, out, words = _run(tmp_path, "--dry-run")
    assert code == 0 and out == ""
    assert "cells separated by semicolon" in words
    assert "2024-01-31T09:00:00Z  temperature-0 = 1.5" in words
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("time,temperature-0,pressur\n2024-01-01,1.5,2.5\n", [], "'pressur' is no signal of"),
        ("time,temperature-0\n01/02/2024,1.5\n", [], "day or month first?"),
        ("time,temperature-0\n2024-01-01,1.5\n", ["--decimal", ";"], "neither , nor ."),
        ("time,temperature-0\n2024-01-01,1.5\n", ["--delimiter", ";;"], "cannot stand between"),
        ("time,temperature-0\n2024-01-01,1.5\n", ["--delimiter", "§"], "cannot stand between"),
        ("time,temperature-0\n2024-01-01,1.5\n", ["--encoding", "rot13"], "no table can be read"),
        ("time,temperature-0\n2024-01-01,1.5\n", ["--encoding", "nothing"], "no encoding"),
        ("time,temperature-0\n2024-01-01,1.5\n", ["--zone", "Oslo"], "no IANA time zone"),
        ("", [], "the file is empty"),
    ],
)
def test_what_must_be_said_is_asked_for_in_a_sentence(
    tmp_path: Path, text: str, options: list[str], said: str
) -> None:
    (tmp_path / "file.csv").write_text(text)
    code, out, words = _run(tmp_path, *options)
    assert code == 2 and out == ""
    assert said in words
    assert not (tmp_path / "home").exists()


def test_without_a_stack_the_next_step_is_said(tmp_path: Path) -> None:
    (tmp_path / "file.csv").write_text("time,temperature-0\n2024-01-01,1.5\n")
    code, _, words = _run(tmp_path)
    assert code == 1 and "nothing runs on" in words and "aurelian up" in words


def test_bad_lines_that_were_not_committed_are_taken_back(tmp_path: Path) -> None:
    file = BadLinesFile(tmp_path / "a.bad.csv")
    size = file.write([BadLine(2, "one", "time", "a;b")])
    file.write([BadLine(3, "two", "time", 'c;"d"')])
    file.cut(size)
    assert file.path.read_bytes() == b"line,reason,text\r\n2,one,a;b\r\n"
    file.cut(0)
    assert not file.path.exists()
