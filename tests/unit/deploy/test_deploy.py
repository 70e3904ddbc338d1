"""The production files are well formed: docker-compose.yml against the Compose specification,
Prometheus' targets."""

import json
import re
import tomllib
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


def test_no_gateway_gets_the_importers_library() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert any(need.startswith("pyarrow") for need in extras["importer"])
    for name, needs in extras.items():
        if name not in ("importer", "all"):
            assert not any("pyarrow" in need or "importer" in need for need in needs), name


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
    assert targets == OURS - {"migrations", "topics", "importer"}


def test_metrics_are_asked_for_on_a_port_that_no_api_and_no_page_has() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    ports = {
        target.split(":")[1]
        for job in config["scrape_configs"]
        for each in job["static_configs"]
        for target in each["targets"]
    }
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    assert ports == {"8081"} and "AURELIAN_OPS_PORT=8081" in dockerfile
    assert "AURELIAN_API_PORT=8080" in dockerfile
    for name in OURS:
        for port in COMPOSE["services"][name].get("ports", []):
            assert port.rpartition(":")[2] == "8080", f"{name} publishes its metrics"


def test_alert_rules_are_where_prometheus_looks_and_name_metrics_that_exist() -> None:
    folder = ROOT / "deploy" / "prometheus"
    config = yaml.safe_load((folder / "prometheus.yml").read_text())
    source = "\n".join(
        path.read_text()
        for room in ("services", "shared/aurelian")
        for path in (ROOT / room).rglob("*.py")
    )
    named: set[str] = set()
    for file in config["rule_files"]:
        for group in yaml.safe_load((folder / file).read_text())["groups"]:
            for rule in group["rules"]:
                assert rule["annotations"]["summary"], rule["alert"]
                named |= set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", rule["expr"]))
    missing = {name for name in named if f'"{name}"' not in source}
    assert missing == set()
    for needed in (
        "historian_lag_seconds",
        "historian_freshness_seconds",
        "historian_partition_care_failures_total",
        "gateway_outbox_accepting",
    ):
        assert needed in named


def test_the_gateway_reaches_the_broker_without_a_password_and_others_only_with_one() -> None:
    listeners: dict[str, dict[str, str]] = {}
    at: dict[str, str] = {}
    lines = (ROOT / "deploy" / "mosquitto" / "mosquitto.conf").read_text().splitlines()
    assert "per_listener_settings true" in lines
    for line in lines:
        name, _, value = line.partition(" ")
        if name == "listener":
            at = listeners.setdefault(value, {})
        else:
            at[name] = value
    inside, outside = listeners["1883"], listeners["1884"]
    assert inside == {"": "", "#": inside["#"], "allow_anonymous": "true"}
    assert outside["allow_anonymous"] == "false" and outside["password_file"]
    published = [port.rpartition(":")[2] for port in COMPOSE["services"]["mosquitto"]["ports"]]
    assert published == ["1884"]
