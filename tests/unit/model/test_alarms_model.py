"""`alarms` of a source and `alarm_nodes` of a unit: what contradicts is named with its line."""

import re
from pathlib import Path

import pytest

from aurelian.model.alarms_model import AlarmsModel
from aurelian.model.plant_file import PlantError, load_plant

PLANT = """\
company: {id: acme, name: Acme}
site: north
time_zone: Europe/Oslo
sources:
  - id: plc
    kind: opcua
    url: "opc.tcp://127.0.0.1:4840"
    alarms: ALARMS
  - {id: mqtt, kind: sparkplug, url: "mqtt://127.0.0.1", group: g}
areas:
  - name: hall
    lines:
      - name: line-1
        products: [{id: p1, ideal_cycle_s: 4.5}]
        units:
          - {name: press, source: plc, alarm_nodes: PRESS}
          - {name: drill, source: DRILL, alarm_nodes: NODES}
"""


def text(
    alarms: str = "true", press: str = "['ns=2;s=press']", drill: str = "plc", nodes: str = "[]"
) -> str:
    made = PLANT.replace("ALARMS", alarms).replace("PRESS", press)
    return made.replace("DRILL", drill).replace("NODES", nodes)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("true", AlarmsModel()),
        ("{}", AlarmsModel()),
        ("{where: false}", AlarmsModel(where=False)),
        ("{events: all, min_severity: 500}", AlarmsModel(events="all", min_severity=500)),
        (
            "{notifier: 'nsu=urn:a;s=b', fields: false}",
            AlarmsModel(notifier="nsu=urn:a;s=b", fields=False),
        ),
    ],
)
def test_what_a_source_says_of_events(tmp_path: Path, written: str, read: AlarmsModel) -> None:
    file = tmp_path / "plant.yaml"
    file.write_text(text(written))
    assert load_plant(file).sources[0].alarms == read


@pytest.mark.parametrize(
    ("plant", "line", "says"),
    [
        (text("sometimes"), 8, "'sometimes' is no mapping; say `alarms: true`"),
        (text("{notifier: Server}"), 8, "'Server' is no node id"),
        (text("{min_severity: 2000}"), 8, "less than or equal to 1000"),
        (text("{events: all, where: true}"), 8, "`where: true` asks for that"),
        (text("{severity: 5}"), 8, "severity"),
        (text("false"), 16, "its source 'plc' takes no events; say `alarms: true`"),
        (text(press="[press]"), 16, "'press' is no node id"),
        (text(nodes="['ns=2;s=press']"), 17, "is an alarm node already"),
        (text(drill="mqtt", nodes="['ns=2;s=a']"), 17, "its source 'mqtt' takes no events"),
        (text().replace("group: g", "alarms: true"), 9, "`alarms` is there for kind opcua only"),
    ],
)
def test_what_contradicts_is_named_with_its_line(
    tmp_path: Path, plant: str, line: int, says: str
) -> None:
    file = tmp_path / "plant.yaml"
    file.write_text(plant)
    with pytest.raises(PlantError) as caught:
        load_plant(file)
    found = re.search(r"plant\.yaml:(\d+): ", str(caught.value))
    assert says in str(caught.value), str(caught.value)
    assert found is not None and int(found[1]) == line, str(caught.value)
