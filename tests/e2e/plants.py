"""Plant models for the end-to-end tests: recordings to be replayed, and a small plant of the tests'
own with every protocol."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aurelian.local.ports import any_free
from pilot_factory.recording import plant_model, read_recording

ROOT = Path(__file__).resolve().parents[2]
RECORDINGS = ROOT.parent / "shared" / "data"
SMALL = ROOT / "tests" / "fixtures" / "small_recording.csv"
REAL = {
    "opcua": RECORDINGS / "skab" / "data" / "valve1" / "0.csv",
    "mqtt": RECORDINGS / "ims" / "merged_dataset_BearingTest_2.csv",
}

MQTT = "${AURELIAN_MQTT_URL:-mqtt://127.0.0.1:1883}"

OWN = """
company: {id: own, name: Own Company}
site: here
time_zone: Europe/Oslo
sources:
  - {id: own-opcua, kind: opcua, url: "opc.tcp://127.0.0.1:@PORT@", publishing_interval_ms: 100}
  - {id: own-mqtt, kind: mqtt_json, url: "@MQTT@", topic: "own/{unit}/state"}
  - {id: own-spb, kind: sparkplug, url: "@MQTT@", group: Own, edge_node: Node}
areas:
  - name: hall
    lines:
      - name: line-1
        products: [{id: thing, ideal_cycle_s: 10}]
        units:
          - name: press
            source: own-opcua
            signals: [{name: marked, address: "nsu=urn:own;s=marked", type: double, unit: bar}]
          - name: oven
            source: own-mqtt
            signals: [{name: marked, address: marked, type: int64, unit: Cel}]
          - name: robot
            source: own-spb
            signals: [{name: marked, address: marked, type: double}]
"""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recording that the stack expects to be replayed.

    Attributes:
        file: CSV.
        protocol: opcua or mqtt.
        port: where the gateway expects the replayed OPC UA machine.
        source: key of its source.
        prefix: ISA-95 path of its site.
    """

    file: Path
    protocol: str
    port: int
    source: str
    prefix: str


def write_plants(folder: Path, own_opcua_port: int) -> dict[str, Recorded]:
    """Write the plant models; return the recordings by name.

    `opcua` and `mqtt` are real ones, or the small one where none is there; `opcua-small` and
    `mqtt-small` are the small one, `opcua-old` and `mqtt-old` one of 2020.
    """
    old = folder / "rows-of-2020.csv"
    old.write_text(_old_recording())
    (folder / "own.yaml").write_text(
        OWN.replace("@PORT@", str(own_opcua_port)).replace("@MQTT@", MQTT)
    )
    recorded = {}
    for protocol, real in REAL.items():
        recorded[protocol] = _write(folder, protocol, protocol, real if real.exists() else SMALL)
        recorded[f"{protocol}-small"] = _write(folder, f"{protocol}-small", protocol, SMALL)
        recorded[f"{protocol}-old"] = _write(folder, f"{protocol}-old", protocol, old, aged=False)
    return recorded


def _old_recording() -> str:
    """1,000 rows in which most values are those of the row before: their times are all that tells
    them apart, and no machine sends these live."""
    first = datetime(2020, 3, 9, 10, tzinfo=UTC)
    rows = (
        f"{first + timedelta(seconds=n):%Y-%m-%d %H:%M:%S};{n // 300 / 4};0.0;{n // 7 % 2}"
        for n in range(1000)
    )
    return "\n".join(["datetime;Pressure;anomaly;Valve", *rows, ""])


def _write(folder: Path, name: str, protocol: str, file: Path, *, aged: bool = True) -> Recorded:
    """Two plants may not have one name, so each recording is a copy with a name of its own. Without
    `aged` the plant does not say that the times are old, as if a machine's clock were wrong."""
    copy = folder / f"{name}.csv"
    copy.write_bytes(file.read_bytes())
    port = any_free()
    url = f"opc.tcp://127.0.0.1:{port}" if protocol == "opcua" else MQTT
    model = plant_model(read_recording(copy), protocol, url).replace(
        "site: replay", f"site: replay-{name}"
    )
    if not aged:
        model, left_out = re.subn(r"\n *oldest: .*", "", model)
        assert left_out == 1
    (folder / f"replay-{name}.yaml").write_text(model)
    site = f"recordings/replay-{name}"
    return Recorded(copy, protocol, port, f"{site}/replay-{name}", f"{site}/")
