"""`aurelian doctor` finds injected faults, says how to mend them, and ends with the right exit
code."""

import asyncio
import contextlib
import json
import socket
import zoneinfo
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from typer.testing import CliRunner

from aurelian.cli import app
from aurelian.edge.source_state import Condition, SourceState, SourceStates
from aurelian.local import doctor, home, kafka_jars, mqtt, ports
from aurelian.local.doctor import Verdict
from aurelian.model.source_model import SourceModel
from aurelian.runtime.health import Health, make_ops_app
from tests.waiting import until


def test_a_healthy_machine_has_no_fault(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["doctor", "--json", "--home", str(tmp_path)])
    findings = json.loads(result.stdout)
    assert [each for each in findings if each["verdict"] == "fault"] == []
    assert result.exit_code == 0
    assert {each["check"] for each in findings} >= {
        "python",
        "time-zones",
        "write-access",
        "disk",
        "port",
        "mqtt",
    }


def test_a_state_folder_that_is_a_file_is_a_fault_with_exit_code_1(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    result = CliRunner().invoke(app, ["doctor", "--home", str(blocked / "home")])
    assert result.exit_code == 1
    assert f"✖ {blocked} is not a folder" in result.stdout
    assert "fix: set AURELIAN_HOME" in result.stdout


@pytest.mark.parametrize(
    ("free_mb", "verdict"), [(10, Verdict.FAULT), (1000, Verdict.WARNING), (9000, Verdict.WELL)]
)
def test_little_disk_is_a_warning_and_none_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_mb: int, verdict: Verdict
) -> None:
    monkeypatch.setattr(home, "free_mb", lambda folder: free_mb)
    finding = doctor.check_disk(tmp_path)
    assert finding.verdict is verdict
    assert f"{free_mb} MB free" in finding.text


def test_no_time_zone_data_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise zoneinfo.ZoneInfoNotFoundError(name)

    monkeypatch.setattr(zoneinfo, "ZoneInfo", missing)
    finding = doctor.check_time_zones()
    assert finding.verdict is Verdict.FAULT
    assert "tzdata" in (finding.fix or "")


def test_a_usual_port_in_use_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server((ports.LOOPBACK, 0)) as holder:
        port = holder.getsockname()[1]
        monkeypatch.setattr(doctor, "_USUAL_PORTS", {"page": port})
        (finding,) = doctor.check_ports()
    assert finding.verdict is Verdict.WARNING
    assert f"port {port} (page) is in use" in finding.text


def test_a_missing_mosquitto_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "find_mosquitto", lambda: None)
    finding = doctor.check_mqtt_program()
    assert (finding.verdict, finding.fix) == (Verdict.WARNING, "apt-get install mosquitto")


def test_files_of_kafka_that_are_not_here_are_a_warning_and_changed_ones_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AURELIAN_CACHE", str(tmp_path))
    finding = doctor.check_kafka_files()
    assert finding.verdict is Verdict.WARNING
    assert "46 files of Apache Kafka are fetched at the next start" in finding.text
    folder = kafka_jars.jar_folder(tmp_path)
    folder.mkdir()
    (folder / kafka_jars.read_lock()[0].file_name).write_bytes(b"not a jar")
    finding = doctor.check_kafka_files()
    assert finding.verdict is Verdict.FAULT
    assert "is not the file that was locked" in finding.text


async def test_dead_servers_and_services_of_a_running_stack_are_faults(tmp_path: Path) -> None:
    nobody = ports.any_free()
    (tmp_path / "run").mkdir()
    status = {
        "url": f"http://127.0.0.1:{nobody}",
        "kafka_bootstrap": f"127.0.0.1:{nobody}",
        "mqtt_url": f"mqtt://127.0.0.1:{nobody}",
        "database_url": f"postgresql://postgres@/aurelian?host={tmp_path}",
        "services": {
            "historian": {
                "pid": None,
                "ops_url": f"http://127.0.0.1:{nobody}",
                "state": "waiting to start again",
            },
            "history": {"pid": 1, "ops_url": f"http://127.0.0.1:{nobody}", "state": "running"},
        },
    }
    home.write_json(tmp_path / "run" / "status.json", status)
    with home.hold(tmp_path):
        findings = await doctor.examine(tmp_path)
    verdicts = {
        each.text.split(" at ")[0]: each.verdict
        for each in findings
        if each.verdict is not Verdict.WELL
    }
    assert verdicts["Kafka does not answer"] is Verdict.FAULT
    assert verdicts["the MQTT broker does not answer"] is Verdict.FAULT
    assert verdicts["historian is not running (waiting to start again)"] is Verdict.FAULT
    assert verdicts["history runs and is not ready"] is Verdict.WARNING
    assert any("the database does not answer" in each for each in verdicts)
    assert all(each.fix for each in findings if each.verdict is not Verdict.WELL)


async def test_a_service_that_does_not_stay_up_or_waits_says_why_and_what_to_do(
    tmp_path: Path,
) -> None:
    """Nobody answers a curl of a service that ends at each start: its last reason counts."""
    nobody = f"http://127.0.0.1:{ports.any_free()}"
    why = "ended with exit code 2 (opcua_gateway: state folder /s cannot be written: no. Mend it)"
    health = Health("mqtt_gateway")
    health.ready = "outbox /o cannot be written: no. Let the user write"
    source = Told(Condition(SourceState.DEGRADED, "2 of 3 nodes", "Look at them"))
    states = SourceStates([source])
    states.look()
    health.sources = states.shown
    newer = {"file": "/s/outbox/a.newer", "cause": "a.newer is newer", "step": "Run it again"}
    health.outbox = {"newer_files": [newer]}
    async with served(health) as url:
        status: dict[str, Any] = {
            "services": {
                "opcua_gateway": {
                    "pid": None,
                    "ops_url": nobody,
                    "state": "waiting",
                    "reason": why,
                },
                "historian": {"pid": 1, "ops_url": nobody, "state": "running", "reason": why},
                "mqtt_gateway": {"pid": 1, "ops_url": url, "state": "running", "reason": why},
            }
        }
        ended, again, waits = await doctor.check_services(status)
        aside, degraded = await doctor.check_sources(status)
    assert ended.verdict is again.verdict is Verdict.FAULT
    assert ended.text == f"opcua_gateway is not running (waiting), it {why}"
    assert again.text == f"historian does not stay up, it {why}"
    assert "curl" not in f"{ended.fix}{again.fix}" and "started again by itself" in str(ended.fix)
    assert waits.text == ("mqtt_gateway runs and is not ready: outbox /o cannot be written: no")
    assert waits.fix == "Let the user write"
    assert (degraded.text, degraded.fix) == (f"{KEY} is DEGRADED: 2 of 3 nodes", "Look at them")
    assert (aside.text, aside.fix) == ("a.newer is newer", "Run it again")


def test_a_plant_file_with_a_mistake_is_named_with_the_command_that_shows_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "north.yaml").write_text("company: {id: x, name: X}\nsitee: north\n")
    (finding,) = doctor.check_plant({"plant": str(tmp_path)})
    assert finding.verdict is Verdict.FAULT
    assert str(tmp_path / "north.yaml") in finding.text and "sitee" in finding.text
    assert finding.fix == f"aurelian check {tmp_path}"
    result = CliRunner().invoke(app, str(finding.fix).split()[1:])
    assert result.exit_code and "sitee" in result.output


KEY = "press"


@dataclass
class Told:
    """A source that says what the test lets it say."""

    now: Condition
    owner: str = "x"
    model: SourceModel = field(
        default_factory=lambda: SourceModel(id=KEY, kind="opcua", url="opc.tcp://127.0.0.1:1")
    )

    def condition(self) -> Condition:
        return self.now


@contextlib.asynccontextmanager
async def served(health: Health) -> AsyncIterator[str]:
    """The ops endpoints of a service, on a port of their own."""
    port = ports.any_free()
    config = uvicorn.Config(make_ops_app(health), port=port, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving
