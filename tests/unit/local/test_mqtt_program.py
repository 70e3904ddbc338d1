"""Which MQTT broker the embedded stack starts, and what it says where that is not a whole one."""

import importlib.util
from pathlib import Path

import pytest

from aurelian.local import artemis, kafka, kafka_jars, mqtt
from aurelian.local.kafka_jars import KafkaJarsError


def test_mosquitto_comes_first_and_is_no_news(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(mqtt, "find_mosquitto", lambda: "/usr/sbin/mosquitto")
    program = mqtt.program(1883, tmp_path / "mqtt", tmp_path / "log", None, told.append)
    assert program.argv[0] == "/usr/sbin/mosquitto" and not told


def test_artemis_stands_in_with_exactly_the_locked_jars(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jars = (tmp_path / "one.jar", tmp_path / "two.jar")
    monkeypatch.setattr(mqtt, "find_mosquitto", lambda: None)
    monkeypatch.setattr(kafka, "find_java", lambda: Path("/java"))
    monkeypatch.setattr(artemis, "ensure_jars", lambda cache, tell: jars)
    program = mqtt.program(1884, tmp_path / "mqtt", tmp_path / "log", None)
    assert program.argv[0] == "/java"
    assert f"{jars[0]}:{jars[1]}" in program.argv
    configuration = (tmp_path / "mqtt-artemis" / "etc" / "broker.xml").read_text()
    assert "tcp://127.0.0.1:1884?protocols=MQTT;" in configuration
    # Its own defaults would lose messages.
    assert "<max-delivery-attempts>-1<" in configuration
    assert "<auto-delete-queues>false<" in configuration


def test_where_only_amqtt_is_left_it_says_what_is_refused_and_what_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ensure_jars(cache: Path, tell: object) -> tuple[Path, ...]:
        raise KafkaJarsError("no network")

    told: list[str] = []
    monkeypatch.setattr(mqtt, "find_mosquitto", lambda: None)
    monkeypatch.setattr(artemis, "ensure_jars", ensure_jars)
    program = mqtt.program(1883, tmp_path / "mqtt", tmp_path / "log", None, told.append)
    assert "aurelian.local.amqtt_broker" in program.argv
    (sentence,) = told
    for part in ("refuses clients of MQTT 5", "apt-get install mosquitto", "no network"):
        assert part in sentence


def test_the_lock_of_artemis_names_jars_with_hashes_and_no_host() -> None:
    jars = kafka_jars.read_lock(artemis.LOCK)
    assert len({jar.file_name for jar in jars}) == len(jars) == 32
    assert any(jar.coordinates.startswith("org.apache.activemq:artemis-mqtt-pro") for jar in jars)
    assert "://" not in Path(artemis.__file__).with_name(artemis.LOCK).read_text()


def test_the_lock_of_artemis_is_of_the_jars_that_make_lock_fetches() -> None:
    path = Path(__file__).parents[3] / "deploy/make_jar_locks.py"
    spec = importlib.util.spec_from_file_location("make_jar_locks", path)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    version = script._locked_version(script.ARTEMIS_LOCK, "org.apache.activemq:artemis-server:")
    named = [each.format(version=version) for each in script.ARTEMIS_JARS]
    assert named == [jar.coordinates for jar in kafka_jars.read_lock(artemis.LOCK)]
