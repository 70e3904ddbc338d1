"""The `aurelian` command's answers when something is in the way: one sentence, the next step, exit
code 1."""

from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from aurelian.cli import app, main
from aurelian.local import home
from aurelian.local.launcher import _moved
from aurelian.local.options import Options, Ports, Stack


def test_down_with_nothing_running_is_no_error(tmp_path: Path) -> None:
    result = _aurelian("down", "--home", str(tmp_path))
    assert (result.exit_code, result.stderr) == (0, f"nothing runs on {tmp_path}\n")


def test_reset_asks_first_and_deletes_nothing_without_an_answer(tmp_path: Path) -> None:
    _make_home(tmp_path)
    result = _aurelian("reset", "--home", str(tmp_path))
    assert result.exit_code == 1
    assert "aurelian reset --yes" in result.stderr
    assert (tmp_path / "postgres" / "data").exists()


def test_reset_forgets_everything(tmp_path: Path) -> None:
    _make_home(tmp_path)
    result = _aurelian("reset", "--yes", "--home", str(tmp_path))
    assert result.exit_code == 0
    assert [str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*")] == ["run", "run/lock"]


def test_reset_refuses_while_a_stack_runs(tmp_path: Path) -> None:
    _make_home(tmp_path)
    with home.hold(tmp_path):
        result = _aurelian("reset", "--yes", "--home", str(tmp_path))
    assert result.exit_code == 1
    assert "next: aurelian down" in result.stderr
    assert (tmp_path / "postgres" / "data").exists()


def test_reset_refuses_a_folder_that_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    result = _aurelian("reset", "--yes", "--home", str(tmp_path))
    assert result.exit_code == 1
    assert "not a state folder" in result.stderr
    assert (tmp_path / "thesis.txt").exists()


def test_tail_without_a_running_stack_says_how_to_name_one(tmp_path: Path) -> None:
    result = _aurelian("tail", "samples", "--home", str(tmp_path))
    assert result.exit_code == 1
    assert "nothing runs" in result.stderr
    assert "--bootstrap" in result.stderr


def test_up_with_an_unusable_plant_folder_says_so(tmp_path: Path) -> None:
    result = _aurelian("up", "--home", str(tmp_path / "home"), "--plant", str(tmp_path))
    assert result.exit_code == 2
    assert f"✖ {tmp_path}" in result.stderr
    assert not (tmp_path / "home").exists()


def test_up_without_the_pilot_plant_asks_for_a_plant_model(tmp_path: Path) -> None:
    result = _aurelian("up", "--no-pilot", "--home", str(tmp_path / "home"))
    assert result.exit_code == 1
    assert "--plant FOLDER" in result.stderr


def test_up_on_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o711)
    monkeypatch.setattr(home, "LEAST_FREE_MB", 10**12)
    monkeypatch.setattr("aurelian.local.postgres.open_home", lambda folder: None)
    result = _aurelian("up", "--home", str(tmp_path), "--any-ports")
    assert result.exit_code == 1
    assert "are free on the disk" in result.stderr
    assert "Traceback" not in result.output


def test_up_where_no_folder_can_be_made_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("sys.argv", ["aurelian", "up", "--home", str(tmp_path / "file" / "home")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "Not a directory" in said
    assert "next:" in said


def test_an_unknown_command_suggests_the_nearest() -> None:
    result = _aurelian("dwon")
    assert result.exit_code == 2
    assert "down" in result.stderr


def _aurelian(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def _make_home(folder: Path) -> None:
    with home.hold(folder):
        (folder / "postgres").mkdir()
        (folder / "postgres" / "data").touch()
        (folder / "run" / "status.json").touch()


@pytest.mark.parametrize("port", ["99999999", "65536", "-1"])
def test_up_refuses_a_port_that_there_is_not(tmp_path: Path, port: str) -> None:
    result = _aurelian("up", "--home", str(tmp_path / "home"), "--port", port)
    assert result.exit_code == 2
    assert "port must be 0-65535" in result.stderr
    assert not (tmp_path / "home").exists()


def test_check_reads_plant_files_as_a_start_does(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("site: north\n\tcompany: x\n")
    result = _aurelian("check", str(tmp_path))
    assert result.exit_code == 2
    assert f"✖ {tmp_path}/site.yaml:2: " in result.stderr.replace("\n", "")
    pilot = Path(__file__).parents[3] / "services" / "pilot_factory" / "plants"
    result = _aurelian("check", str(pilot))
    assert (result.exit_code, result.stderr) == (0, "")
    assert "pilot-a/north: 2 sources, 2 lines, 8 machines, times of Europe/Oslo" in result.stdout


def test_check_says_which_server_would_not_be_spoken_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "{id: plc, kind: opcua, url: 'opc.tcp://plc:4840', security: {policy: None}}"
    (tmp_path / "site.yaml").write_text(
        f"company: {{id: x, name: X}}\nsite: s\ntime_zone: UTC\nsources: [{source}]\n"
        "areas: [{name: a, lines: [{name: l, products: [{id: c, ideal_cycle_s: 5}], units: "
        "[{name: u, source: plc, signals: [{name: v, address: 'ns=2;s=v'}]}]}]}]\n"
    )
    monkeypatch.delenv("AURELIAN_OPCUA_INSECURE_HOSTS", raising=False)
    result = _aurelian("check", str(tmp_path))
    said = " ".join(result.stderr.split())
    assert result.exit_code == 0 and "x/s: 1 sources" in result.stdout
    assert "source x/s/plc will not be connected: plc is not this machine" in said
    assert """AURELIAN_OPCUA_INSECURE_HOSTS='["plc"]'""" in said
    for hosts, quiet in (('["PLC"]', True), ("plc", False), ('{"plc": 1}', False)):
        monkeypatch.setenv("AURELIAN_OPCUA_INSECURE_HOSTS", hosts)
        assert (_aurelian("check", str(tmp_path)).stderr == "") is quiet


def test_a_usual_port_that_another_program_has_is_said_in_one_line(tmp_path: Path) -> None:
    options = Options(home=tmp_path)
    ports = Ports(9092, 9093, 1884, 4840, 4980, {}, {})
    stack = Stack("http://127.0.0.1:8081", ports, "", (), 1.0)
    assert _moved(options, stack) == [
        "port 8080 is in use by another program; the page is at 8081",
        "port 1883 is in use by another program; the MQTT broker is at 1884",
    ]


def test_an_unknown_scope_is_wrong_usage_said_in_a_sentence(tmp_path: Path) -> None:
    result = _aurelian(
        "keys", "create", "--owner", "a", "--name", "n", "--scope", "foo", "--home", str(tmp_path)
    )
    assert result.exit_code == 2
    assert "there is no scope 'foo'" in result.stderr and "history:read" in result.stderr
    assert result.exception is None or isinstance(result.exception, SystemExit)
