"""Commands that are told can be run as they are told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from aurelian.local.terminal import answer, give_up, runnable, terminal


def test_commands_begin_as_this_one_was_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "my clone" / ".venv" / "bin" / "aurelian"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(program), "doctor"])
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.chdir(tmp_path / "my clone")
    text = "aurelian down, then `aurelian up`; package aurelian is there: /x/aurelian up"
    told = ".venv/bin/aurelian down, then `.venv/bin/aurelian up`; package aurelian is there: "
    assert runnable(text) == told + "/x/aurelian up"
    assert runnable(told) == told
    with pytest.raises(SystemExit):
        give_up("it hangs", "aurelian doctor")
    assert "next: .venv/bin/aurelian doctor" in capsys.readouterr().err
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert runnable("aurelian up") == f"'{program}' up"
    monkeypatch.setenv("PATH", str(program.parent))
    assert runnable("aurelian up") == "aurelian up"
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "cli.py")])
    assert runnable("aurelian up") == "aurelian up"


def test_a_fingerprint_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    for console in (terminal, answer):
        console.print("D3:AB:98:CL:OK:ON:100:B3")
    shown = capsys.readouterr()
    assert shown.err == shown.out == "D3:AB:98:CL:OK:ON:100:B3\n"
