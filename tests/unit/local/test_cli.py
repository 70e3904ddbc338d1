"""The `aurelian` command's answers when something is in the way: one sentence, the next step, exit
code 1."""

import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from aurelian.cli import app, main
from aurelian.local import home
from aurelian.local.launcher import _moved
from aurelian.local.options import Options, Ports, Stack, pilot_plant, simulated_plant
from aurelian.model.calendar import shift_at
from aurelian.model.plant_file import load_plants


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


def test_the_pilot_plant_simulates_what_the_plant_says_and_else_its_own(tmp_path: Path) -> None:
    assert simulated_plant(Options(home=tmp_path)) == pilot_plant()
    assert simulated_plant(Options(home=tmp_path, pilot=False)) is None
    simulated = Options(home=tmp_path, plant=pilot_plant())
    assert simulated_plant(simulated) == pilot_plant()
    (tmp_path / "own.yaml").write_text(
        (pilot_plant() / "pilot-a.yaml").read_text().replace("simulate: {", "states: packml # {")
    )
    assert simulated_plant(Options(home=tmp_path, plant=tmp_path / "own.yaml")) is None


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


def _write_plant(folder: Path, source: str, without: str = "") -> None:
    """A plant of one line whose state is that of m and whose counts are those of o."""
    shift = "{name: day, start: '06:00', end: '14:00'}" if without != "calendar" else ""
    state, good = (each if each != without else "other" for each in ("state", "good_count"))
    (folder / "site.yaml").write_text(
        f"company: {{id: x, name: X}}\nsite: s\ntime_zone: UTC\nsources: [{source}]\n"
        f"calendar: {{shifts: [{shift}]}}\n"
        "areas: [{name: a, lines: [{name: l, products: [{id: c, ideal_cycle_s: 5}], "
        "constraint: m, units: "
        f"[{{name: m, source: plc, signals: [{{name: v, address: 'ns=2;s=v', role: {state}}}]}}, "
        f"{{name: o, source: plc, signals: [{{name: w, address: 'ns=2;s=w', role: {good}}}]}}]}}]}}"
        "]\n"
    )


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


def test_check_reads_plant_files_as_a_start_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site.yaml").write_text("site: north\n\tcompany: x\n")
    result = _aurelian("check", str(tmp_path))
    assert result.exit_code == 2
    assert f"✖ {tmp_path}/site.yaml:2: " in result.stderr.replace("\n", "")
    pilot = Path(__file__).parents[3] / "services" / "pilot_factory" / "plants"
    (tmp_path / "password").touch()
    monkeypatch.setenv("AURELIAN_PILOT_PASSWORD_FILE", str(tmp_path / "password"))
    result = _aurelian("check", str(pilot))
    assert (result.exit_code, result.stderr) == (0, "")
    assert "pilot-a/north: 2 sources, 2 lines, 8 machines, times of Europe/Oslo" in result.stdout


def test_check_says_which_server_would_not_be_spoken_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "{id: plc, kind: opcua, url: 'opc.tcp://plc:4840', security: {policy: None}}"
    _write_plant(tmp_path, source)
    monkeypatch.delenv("AURELIAN_OPCUA_INSECURE_HOSTS", raising=False)
    result = _aurelian("check", str(tmp_path))
    said = " ".join(result.stderr.split())
    assert result.exit_code == 0 and "x/s: 1 sources" in result.stdout
    assert "source x/s/plc will not be connected: plc is not this machine" in said
    assert "AURELIAN_OPCUA_INSECURE_HOSTS=plc" in said
    for hosts, quiet in (
        ('["PLC"]', True),
        ("other, plc", True),
        ("pl", False),
        ('{"plc": 1}', False),
    ):
        monkeypatch.setenv("AURELIAN_OPCUA_INSECURE_HOSTS", hosts)
        assert (_aurelian("check", str(tmp_path)).stderr == "") is quiet


@pytest.mark.parametrize("command", [["connect", "opcua"], ["connect", "mqtt"], ["browse"]])
def test_a_setting_that_cannot_be_used_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    for name in ("AURELIAN_OPCUA_INSECURE_HOSTS", "AURELIAN_MQTT_INSECURE_HOSTS"):
        monkeypatch.setenv(name, "[plc")
    result = _aurelian(*command, "opc.tcp://127.0.0.1:9", "--home", str(tmp_path))
    assert result.exit_code == 2
    assert "setting AURELIAN_" in result.stderr and "INSECURE_HOSTS: Value error" in result.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("user: a, password_file: {}/none", "{}/none (`password_file`) is not there: put it there"),
        ("user: a, password_file: {}/file/x", "{}/file/x (`password_file`) is not there"),
        ("user: a, password_file: {}", "{} (`password_file`) is a folder: name the file in it"),
        ("user: a, password_file: {}/closed", "{}/closed (`password_file`) may not be read"),
        ("user: a, password_file: none", "none (`password_file`) is not there: put it there, read"),
        ("user: a, password_env: NOT_SET_HERE", "variable NOT_SET_HERE (`password_env`) is not se"),
        (
            "user_certificate: {0}/file, user_key: {0}/none.pem",
            "{}/none.pem (`user_key`) is not there",
        ),
        (
            "user_certificate: {0}/none.der, user_key: {0}/file",
            "{}/none.der (`user_certificate`) is not there",
        ),
        ("user: a, password_file: {}/file", ""),
        ("user: a, password_env: SET_HERE", ""),
        ("user: a, password_file: of-home", ""),
    ],
)
def test_check_says_what_a_source_signs_in_with_that_cannot_be_read(
    given: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant, folder = tmp_path / "plant", tmp_path / "secrets"
    for each in (plant, folder):
        each.mkdir()
    for each in (folder / "file", folder / "closed", tmp_path / "home" / "of-home"):
        each.parent.mkdir(exist_ok=True)
        each.touch()
    may_read = os.access
    monkeypatch.setattr(
        os, "access", lambda file, mode: file != folder / "closed" and may_read(file, mode)
    )  # the administrator reads files of mode 0 too
    monkeypatch.setenv("SET_HERE", "")
    url = "opc.tcp://127.0.0.1:4840"
    _write_plant(plant, f"{{id: plc, kind: opcua, url: '{url}', {given.format(folder)}}}")
    result = _aurelian("check", str(plant), "--home", str(tmp_path / "home"))
    assert result.exit_code == 0 and "x/s: 1 sources" in result.stdout
    assert said.format(folder) in result.stderr
    assert ("source x/s/plc will not be able to sign in: " in result.stderr) is (said != "")
    assert ("runs on another machine" in result.stderr) is (said != "")
    assert ("a relative path is looked for" in result.stderr) is (given.endswith(": none"))


@pytest.mark.parametrize(
    ("without", "said"),
    [
        ("calendar", "no shift calendar, so no target and no OEE; write, for the site or the line"),
        ("state", "m has no state signal, so the line has no state and no OEE; give the signal of"),
        ("good_count", "o has no count of good pieces, so no actual and no OEE; give the signal o"),
        ("", ""),
    ],
)
def test_check_says_why_a_line_will_have_no_oee(without: str, said: str, tmp_path: Path) -> None:
    _write_plant(tmp_path, "{id: plc, kind: opcua, url: 'opc.tcp://127.0.0.1:4840'}", without)
    result = _aurelian("check", str(tmp_path))
    assert result.exit_code == 0
    assert said in result.stderr and result.stderr.count("\n") == bool(said)


def test_the_snippets_of_the_readme_lead_to_figures(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    snippet = next(
        each for each in re.findall(r"```yaml\n(.*?)```", readme, re.S) if "company:" in each
    )
    (tmp_path / "site.yaml").write_text(snippet)
    result = _aurelian("check", str(tmp_path))
    assert (result.exit_code, result.stderr) == (0, "")
    (site,) = load_plants(tmp_path)
    (line,) = site.lines()
    for hour in range(7 * 24):  # whenever it is tried
        instant = datetime(2026, 11, 2, tzinfo=UTC) + timedelta(hours=hour)
        assert shift_at(line.calendar, site.zone, instant) is not None


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


@pytest.mark.parametrize("policy", ["Basic128Rsa15", "Basic256", "best", "Basic256Sha256"])
def test_check_warns_of_a_broken_policy(tmp_path: Path, policy: str) -> None:
    source = f"{{id: plc, kind: opcua, url: 'opc.tcp://plc:4840', security: {{policy: {policy}}}}}"
    _write_plant(tmp_path, source)
    result = _aurelian("check", str(tmp_path))
    said = " ".join(result.stderr.split())
    assert result.exit_code == 0
    is_said = f"source x/s/plc: the policy {policy} is broken" in said
    assert is_said is (policy in ("Basic128Rsa15", "Basic256"))


def test_check_warns_of_two_signals_on_one_node(tmp_path: Path) -> None:
    source = "{id: plc, kind: opcua, url: 'opc.tcp://127.0.0.1:4840'}"
    _write_plant(tmp_path, source)
    file = tmp_path / "site.yaml"
    assert "is that of" not in _aurelian("check", str(tmp_path)).stderr
    file.write_text(file.read_text().replace("ns=2;s=w", "ns=2;s=v"))
    result = _aurelian("check", str(tmp_path))
    said = " ".join(result.stderr.split())
    assert result.exit_code == 0
    assert "source x/s/plc: the node ns=2;s=v is that of x/s/a/l/m/v and x/s/a/l/o/w: each" in said
