"""The command `aurelian connect mqtt`: from nothing but an address to a plant file, at a Mosquitto
with plain machines and a Sparkplug edge node that send all the time."""

from __future__ import annotations

import json
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from typer.testing import CliRunner, Result

from aurelian.cli import app
from aurelian.model.plant import Plant
from aurelian.model.plant_file import parse_plant
from aurelian.model.plant_parts import Role
from tests.integration.mqtt_gateway.sparkplug_life import BD_SEQ, FORCE, REBIRTH, payload, topic
from tests.peers.secured_mosquitto import PASSWORD, USER, SecuredMosquitto, secured_mosquitto

pytestmark = pytest.mark.mosquitto

_NODE = "Shop"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredMosquitto]:
    with (
        secured_mosquitto(tmp_path_factory.mktemp("broker"), hosts=("press.works",)) as found,
        sending(found.port["plain"]),
    ):
        yield found


class sending:
    """A press and an oven with JSON, a scale with bare numbers, an edge node that is born when it
    is asked."""

    def __init__(self, port: int) -> None:
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda *_: self._asked.set()
        self._port, self._asked, self._ends = port, threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._send)

    def __enter__(self) -> None:
        self._client.connect("127.0.0.1", self._port)
        self._client.subscribe(f"spBv1.0/{_NODE}/NCMD/#")
        self._client.loop_start()
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()
        self._client.disconnect()
        self._client.loop_stop()

    def _send(self) -> None:
        count, number, steps = 0, 1, (1, 2, 2, 4, 1, 3)
        while not self._ends.wait(0.05):
            count += steps[count % len(steps)]  # what rises evenly is a sign of life
            for name in ("press", "oven"):
                values = {"good_count": count, "temperature_C": 20.5 + count % 7, "state": 3}
                text = json.dumps({"ts": time.time_ns() // 1_000_000, **values})
                self._client.publish(f"works/{name}/state", text)
            self._client.publish("scale/north/weight", str(count / 4))
            if self._asked.is_set():
                self._asked.clear()
                number = 1
                self._client.publish(topic("NBIRTH", group=_NODE), payload(0, BD_SEQ, REBIRTH))
                self._client.publish(topic("DBIRTH", "press", _NODE), payload(1, FORCE))
            number = (number + 1) % 256
            value = {"alias": 2, "datatype": 10, "double_value": count / 2}
            self._client.publish(topic("DDATA", "press", _NODE), payload(number, value))


def connect(home: Path, url: str, *words: str) -> Result:
    arguments = ["connect", "mqtt", url, "--home", str(home), "--seconds", "0.7", *words]
    return CliRunner().invoke(app, arguments)


def rows(done: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def url_of(broker: SecuredMosquitto, listener: str, scheme: str = "mqtt") -> str:
    return f"{scheme}://127.0.0.1:{broker.port[listener]}"


def plant_of(home: Path) -> Plant:
    (file,) = (home / "plant").glob("*.yaml")
    return parse_plant(file, file.read_bytes())


_NEW = ("--company", "acme", "--site", "north", "--time-zone", "UTC")


def test_from_a_host_and_a_port_to_a_plant_file(broker: SecuredMosquitto, tmp_path: Path) -> None:
    states = ("--states", "press/state=3:running")
    done = connect(tmp_path, f"127.0.0.1:{broker.port['plain']}", "--yes", "--json", *_NEW, *states)
    assert done.exit_code == 0, done.output
    said = rows(done)
    rungs = [each["step"]["rung"] for each in said if "step" in each]  # type: ignore[index]
    assert rungs[:6] == ["dns", "tcp", "endpoint", "certificate", "sign_in", "subscribe"]
    topics = {str(each["topic"]): each for each in said if "topic" in each}
    assert topics["works/press/state"]["payload"] == "json"
    assert topics["scale/north/weight"]["payload"] == "bare"
    assert not any("NCMD" in each for each in topics)
    assert not any("left_out" in each for each in said)
    plant = plant_of(tmp_path)
    plain, sparkplug = plant.sources
    assert [each.topic for each in plain.topics] == ["works/{unit}/state", "scale/{unit}/{signal}"]
    assert (sparkplug.kind, sparkplug.group) == ("sparkplug", _NODE)
    units = {each.model.name: each.model for each in plant.units()}
    press = {each.name: each for each in units["press"].signals}
    assert press["good_count"].role is Role.GOOD_COUNT
    assert (press["temperature_C"].role, press["temperature_C"].unit) == (Role.TEMPERATURE, "Cel")
    assert press["state"].states == {"3": "running"}
    oven = {each.name: each for each in units["oven"].signals}
    assert oven["state"].role is Role.OTHER, "a guess, and nobody said what its values mean"
    assert units["north"].signals[0].name == "weight"
    node = units["E1-press"]
    assert (node.address, node.source) == ("E1/press", sparkplug.id)
    assert [each.name for each in node.signals] == ["Force"]
    assert sum("written" in each for each in said) == 2

    # The same broker again: nothing of it is stored twice.
    before = plant_of(tmp_path)
    done = connect(tmp_path, f"mqtt://127.0.0.1:{broker.port['plain']}", "--yes", "--json", *_NEW)
    assert done.exit_code == 1 and "nothing is new here" in done.output, done.output
    known = {each["known"]: each["as"] for each in rows(done) if "known" in each}
    assert known.keys() == units.keys()
    assert known["press"] == "acme/north/hall/line-1/press"
    assert plant_of(tmp_path) == before


def test_a_new_machine_joins_those_that_are_connected(
    broker: SecuredMosquitto, tmp_path: Path
) -> None:
    """One of a topic that is taken, and one of another topic."""
    port = broker.port["plain"]
    url = f"127.0.0.1:{port}"
    done = connect(tmp_path, url, "--yes", "--topic", "works/press/#", "--topic", "new/#", *_NEW)
    assert done.exit_code == 0, done.output
    file = next((tmp_path / "plant").glob("*.yaml"))
    file.write_text(file.read_text().replace("works/press/state", "works/{unit}/state"))
    (unit,) = plant_of(tmp_path).units()
    file.write_text(file.read_text().replace(f"name: {unit.model.name}", "name: press"))
    topics = ("--topic", "works/#", "--topic", "scale/#")
    done = connect(tmp_path, url, "--yes", *topics)
    assert done.exit_code == 0, done.output
    assert "unit press: connected already as acme/north/hall/line-1/press" in done.output
    plant = plant_of(tmp_path)
    first, second = (each.id for each in plant.sources)
    assert {each.model.name: each.model.source for each in plant.units()} == {
        "press": first, "oven": first, "north": second,
    }  # fmt: skip


def test_sparkplug_alone_joins_a_plant_file_and_its_comments_stay(
    broker: SecuredMosquitto, tmp_path: Path
) -> None:
    file = tmp_path / "plant" / "north.yaml"
    file.parent.mkdir()
    text = (
        "company: {id: acme, name: Acme}  # ours\n"
        "site: north\n"
        "time_zone: Europe/Oslo\n"
        "# where they send to\n"
        "sources:\n"
        '  - {id: spb, kind: sparkplug, url: "mqtt://elsewhere", group: Other}  # the old one\n'
        "areas:\n"
        "  - name: hall\n"
        "    lines:\n"
        "      - name: line-1  # by the door\n"
        "        products: [{id: cup, ideal_cycle_s: 2}]\n"
        "        units:\n"
        "          - {name: E1-press, source: spb, address: E9/press, signals: []}\n"
    )
    file.write_text(text)
    url = url_of(broker, "plain")
    words = ("--sparkplug", "--group", _NODE, "--edge-node", "E1", "--name")
    refused = connect(tmp_path, url, *words, "spb", "--yes")
    assert refused.exit_code == 2 and "have a source 'spb' already" in refused.output
    shown = connect(tmp_path, url, *words, "node", "--yes", "--dry-run")
    assert shown.exit_code == 0 and "nothing is written" in shown.output, shown.output
    assert file.read_text() == text and [each.name for each in tmp_path.rglob("*")] == [
        "plant",
        "north.yaml",
    ]
    done = connect(tmp_path, url, *words, "node", "--yes")
    assert done.exit_code == 0, done.output
    assert all(line in file.read_text().splitlines() for line in text.splitlines())
    plant = plant_of(tmp_path)
    assert (plant.sources[1].id, plant.sources[1].edge_node) == ("node", "E1")
    unit = list(plant.units())[-1].model
    assert (unit.name, unit.address, unit.source) == ("E1-press-2", "E1/press", "node")
    again = connect(tmp_path, url, *words, "other", "--yes")
    assert again.exit_code == 1 and "have it already, as acme/north/node" in again.output


def test_a_broker_with_passwords(broker: SecuredMosquitto, tmp_path: Path) -> None:
    url, topics = url_of(broker, "password"), ("--topic", "works/press/#")
    nobody = connect(tmp_path, url, *topics, "--yes")
    assert nobody.exit_code == 1 and "the broker wants a name and a password" in nobody.output
    assert "again, here with --user NAME --password-file FILE" in nobody.output
    word = tmp_path / "word"
    word.write_text("a wrong secret")
    signing = ("--user", USER, "--password-file", str(word), "--yes", *_NEW)
    refused = connect(tmp_path, url, *topics, *signing)
    assert refused.exit_code == 1 and f"the broker does not let {USER!r} in" in refused.output
    assert "a wrong secret" not in refused.output
    assert not (tmp_path / "plant").exists()
    word.write_text(PASSWORD)
    done = connect(tmp_path, url, *topics, *signing)
    assert done.exit_code == 0, done.output
    [source] = plant_of(tmp_path).sources
    assert (source.user, source.password_file) == (USER, str(word))
    assert PASSWORD not in done.output
    missing = connect(tmp_path, url, "--user", USER, "--yes")
    assert missing.exit_code == 2 and "say --password-file FILE" in missing.output
    more = connect(tmp_path, url, "--topic", "scale/#", *signing)
    assert more.exit_code == 0, more.output
    assert [each.id for each in plant_of(tmp_path).sources] == ["127.0.0.1", "127.0.0.1-2"]


def test_an_unknown_certificate_is_kept_once_it_is_compared(
    broker: SecuredMosquitto, tmp_path: Path
) -> None:
    """It is for another name, as many are."""
    url, topics = f"127.0.0.1:{broker.port['tls']}", ("--topic", "works/press/#")
    shown = connect(tmp_path, url, *topics, "--yes", *_NEW)
    assert shown.exit_code == 1 and "nobody that this machine trusts" in shown.output
    assert "again, here with --trust FINGERPRINT" in shown.output
    pem = (broker.folder / "broker.pem").read_bytes()
    sha256 = x509.load_pem_x509_certificate(pem).fingerprint(hashes.SHA256()).hex(":")
    assert sha256.upper() in shown.output
    other = connect(tmp_path, url, *topics, "--yes", "--trust", "AB" * 32)
    assert other.exit_code == 1 and "--trust is not" in other.output
    done = connect(tmp_path, url, *topics, "--yes", "--trust", sha256, *_NEW)
    assert done.exit_code == 0, done.output
    [source] = plant_of(tmp_path).sources
    assert source.url == f"mqtts://127.0.0.1:{broker.port['tls']}"
    assert source.tls is not None and source.tls.waive == ("host_name",)
    kept = tmp_path / "secrets" / "127.0.0.1-broker.pem"
    assert source.tls.ca_file == str(kept) and stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert kept.read_bytes().strip() == pem.strip()


def test_a_topic_that_nobody_sends_to(broker: SecuredMosquitto, tmp_path: Path) -> None:
    url = url_of(broker, "plain")
    done = connect(tmp_path, url, "--topic", "works/pres/state", "--yes", *_NEW)
    assert done.exit_code == 1, done.output
    assert "but there is works/press/state" in done.output
    assert "again, here with --topic FILTER" in done.output
    assert not (tmp_path / "plant").exists()
