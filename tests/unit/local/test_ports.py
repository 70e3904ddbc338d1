"""Free ports, process identity, logs and the table of processes: `aurelian.local` without a
server."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aurelian.local import home, ports
from aurelian.local.processes import (
    LOG_LIMIT_BYTES,
    Program,
    await_condition,
    open_log,
    start_blocking,
    start_time,
    tail_of,
)
from aurelian.local.services import SERVICES, Surroundings, to_program


def test_a_port_in_use_gives_the_next_free_one() -> None:
    with socket.create_server((ports.LOOPBACK, 0)) as holder:
        taken = holder.getsockname()[1]
        assert not ports.is_free(taken)
        assert ports.first_free(taken) > taken


def test_a_port_is_never_given_twice() -> None:
    taken: set[int] = set()
    preferred = ports.any_free()
    assert ports.first_free(preferred, taken) != ports.first_free(preferred, taken)


def test_no_free_port_says_which_range_and_what_to_do() -> None:
    with socket.create_server((ports.LOOPBACK, 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(
            ports.NoFreePortError, match=rf"{port} to {port} .* are in use: stop one"
        ):
            ports.first_free(port, tries=1)


def test_a_pid_of_another_process_is_nobody(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    home.write_launcher(tmp_path, "http://127.0.0.1:8080")
    launcher = home.read_launcher(tmp_path)
    assert launcher is not None
    assert launcher.pid == os.getpid()
    found = home.read_json(tmp_path / "run" / "launcher.json")
    assert found is not None
    home.write_json(tmp_path / "run" / "launcher.json", {**found, "started": launcher.started - 1})
    assert home.read_launcher(tmp_path) is None


def test_a_state_folder_is_held_by_one_launcher_only(tmp_path: Path) -> None:
    assert not home.is_held(tmp_path)
    with home.hold(tmp_path):
        assert home.is_held(tmp_path)
        with pytest.raises(home.AlreadyRunningError), home.hold(tmp_path):
            pass
    assert not home.is_held(tmp_path)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"AURELIAN_HOME": "/srv/a"}, "/srv/a"),
        (
            {"XDG_DATA_HOME": "/data"},
            "/var/lib/aurelian" if os.geteuid() == 0 else "/data/aurelian",
        ),
    ],
)
def test_the_state_folder_is_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str
) -> None:
    monkeypatch.delenv("AURELIAN_HOME", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert home.default_home() == Path(expected)


def test_a_full_log_is_moved_aside_at_the_next_start(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    with log.open("wb") as stream:
        stream.truncate(LOG_LIMIT_BYTES + 1)
    open_log(log).close()
    assert log.stat().st_size == 0
    assert (tmp_path / "x.log.1").stat().st_size == LOG_LIMIT_BYTES + 1


def test_the_tail_of_a_log_is_its_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("\n".join(f"line {n}" for n in range(5000)))
    assert tail_of(log, 2) == "line 4998\nline 4999"
    assert tail_of(tmp_path / "none") == ""


def test_a_child_learns_its_environment_and_an_empty_value_removes_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GONE", "here")
    code = "import os; print(os.environ.get('GONE'), os.environ['AURELIAN_X'])"
    program = Program(
        "child", (sys.executable, "-c", code), tmp_path / "log", env={"GONE": "", "AURELIAN_X": "1"}
    )
    assert start_blocking(program).wait() == 0
    assert tail_of(program.log) == "None 1"


def test_a_child_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from aurelian.local.processes import Program, start_blocking
folder = Path(sys.argv[1])
child = start_blocking(Program("child", ("sleep", "60"), folder / "log"))
(folder / "new").write_text(str(child.pid))
(folder / "new").rename(folder / "pid")
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    assert await_condition((tmp_path / "pid").exists, 10)
    child = int((tmp_path / "pid").read_text())
    assert start_time(child) is not None
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert await_condition(lambda: start_time(child) is None, 5)


def test_every_service_is_told_where_the_others_are(tmp_path: Path) -> None:
    around = Surroundings(
        home=tmp_path,
        plant=tmp_path / "plants",
        pilot_plant=tmp_path / "pilot",
        kafka_bootstrap="127.0.0.1:1",
        mqtt_url="mqtt://127.0.0.1:2",
        database_url={each.role: f"postgresql://{each.role}@/x" for each in SERVICES},
        owner_url="postgresql://postgres@/x",
        ops_port={each.name: 8000 + n for n, each in enumerate(SERVICES)},
        api_port={each.name: 9000 + n for n, each in enumerate(SERVICES) if each.answers},
        pilot_opcua_port=3,
        pilot_control_port=4,
    )
    told = {each.name: to_program(each, SERVICES, around).env for each in SERVICES}
    ports_by_name = around.api_port
    assert (
        told["dashboard"]["AURELIAN_HISTORY_URL"] == f"http://127.0.0.1:{ports_by_name['history']}"
    )
    assert (
        told["dashboard"]["AURELIAN_CAPACITY_URL"]
        == f"http://127.0.0.1:{ports_by_name['capacity.api']}"
    )
    assert (
        told["dashboard"]["AURELIAN_EVENTS_URL"]
        == f"http://127.0.0.1:{ports_by_name['partner_events.api']}"
    )
    api, ops = (told["history"][f"AURELIAN_{kind}_PORT"] for kind in ("API", "OPS"))
    assert api != ops, "who may ask an API must not read its metrics"
    assert told["capacity.api"]["AURELIAN_DATABASE_URL"] == "postgresql://aurelian_capacity@/x"
    assert told["historian"]["AURELIAN_STATE"] != told["capacity"]["AURELIAN_STATE"]
    assert not any("AURELIAN_API_KEY_FILE" in each for each in told.values()), (
        "nobody has a key that opens the data of every company"
    )
    assert all(each["AURELIAN_PARTITIONS"] == "all" for each in told.values())
    gateways = ("opcua_gateway", "mqtt_gateway")
    ports_of = [told[name]["AURELIAN_API_PORT"] for name in gateways]
    assert told["dashboard"]["AURELIAN_CONTROL_URLS"] == (
        f"opcua=http://127.0.0.1:{ports_of[0]},mqtt=http://127.0.0.1:{ports_of[1]}"
    )
    knows_key = {name for name, each in told.items() if "AURELIAN_CONTROL_KEY_FILE" in each}
    assert knows_key == {*gateways, "dashboard"}
    assert len({told[name]["AURELIAN_CONTROL_KEY_FILE"] for name in knows_key}) == 1
    assert {told[name]["AURELIAN_SECRETS"] for name in gateways} == {str(tmp_path / "secrets")}
    plants = {name: each["AURELIAN_PLANT"] for name, each in told.items()}
    assert plants.pop("pilot_factory") == str(tmp_path / "pilot")
    assert set(plants.values()) == {str(tmp_path / "plants")}


def test_waiting_for_what_never_comes_ends_at_its_limit() -> None:
    began = time.monotonic()
    assert not await_condition(lambda: False, 0.1)
    assert time.monotonic() - began < 2


def test_processes_of_neighbouring_ids_choose_from_shares_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen = []
    for pid in (4711, 4712):
        monkeypatch.setattr("os.getpid", lambda pid=pid: pid)
        chosen.append({ports.any_free() for _ in range(300)})
    assert len(chosen[0]) > 200 and chosen[0].isdisjoint(chosen[1])


def test_a_process_is_not_given_a_port_twice_in_a_row_of_many() -> None:
    given = [ports.any_free() for _ in range(250)]
    assert len(set(given)) == len(given)
