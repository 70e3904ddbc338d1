"""The production files are well formed: docker-compose.yml against the Compose specification,
Prometheus' targets."""

import json
from pathlib import Path

import yaml
from compose_spec import PyCompose

ROOT = Path(__file__).resolve().parents[3]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
OURS = {name for name, service in COMPOSE["services"].items() if "build" in service}


def test_the_compose_file_fits_the_compose_specification() -> None:
    specification = PyCompose.from_json(json.dumps(COMPOSE))
    assert set(specification.service_names()) == set(COMPOSE["services"])


def test_every_service_of_the_repository_has_a_place_in_compose() -> None:
    folders = {
        path.name for path in (ROOT / "services").iterdir() if (path / "__main__.py").exists()
    }
    # The simulated plant is for trying out; production has machines.
    assert folders - {"pilot_factory"} <= OURS
    for folder in folders:
        if (ROOT / "services" / folder / "api" / "__main__.py").exists():
            assert f"{folder}_api" in OURS


def test_every_container_of_ours_runs_without_rights_and_on_a_read_only_root() -> None:
    for name in OURS:
        service = COMPOSE["services"][name]
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    assert "USER 10001" in dockerfile
    assert "/livez" in dockerfile


def test_every_secret_that_a_service_names_is_declared_and_published_ports_are_loopback_only() -> (
    None
):
    for name, service in COMPOSE["services"].items():
        assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"]), name
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} publishes {port}"


def test_prometheus_asks_every_long_running_service_of_compose() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    targets = {
        t.split(":")[0]
        for job in config["scrape_configs"]
        for s in job["static_configs"]
        for t in s["targets"]
    }
    assert targets == OURS - {"migrations", "topics"}
