"""What a machine's state value means: compared with the published lists, and never guessed."""

import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from aurelian.model.asset import read_vocabulary
from aurelian.model.machine_states import (
    VOCABULARIES,
    LineState,
    MachineState,
    PackMl,
    Unknown,
    read_state,
    state_key,
    states_of,
)
from aurelian.model.plant import Plant
from aurelian.model.plant_file import PlantError, load_plant
from tests.linerig import make_plant

PACKML = {
    1: "Clearing",
    2: "Stopped",
    3: "Starting",
    4: "Idle",
    5: "Suspended",
    6: "Execute",
    7: "Stopping",
    8: "Aborting",
    9: "Aborted",
    10: "Holding",
    11: "Held",
    12: "Unholding",
    13: "Suspending",
    14: "Unsuspending",
    15: "Resetting",
    16: "Completing",
    17: "Complete",
}
"""`StateNumber` of each state in `Opc.Ua.PackML.NodeSet2.xml` (OPC 30050) of npm's
node-opcua-nodesets 2.185.0, copied by hand; the next test reads it from there."""

NODESETS = "node-opcua-nodesets@2.185.0"
UA = "{http://opcfoundation.org/UA/2011/03/UANodeSet.xsd}"


def name_of(vocabulary: str, value: object) -> str:
    state = read_state(vocabulary, value)
    return state.name if isinstance(state, MachineState) else state.text


def test_packml_numbers_are_those_of_the_published_table() -> None:
    assert {int(state): state.name.capitalize() for state in PackMl} == PACKML
    for number, name in PACKML.items():
        assert name_of("packml", number) == name.lower()
        assert read_state("packml", number) == read_state("packml", name)


@pytest.fixture(scope="module")
def nodesets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The NodeSets as npm has them; skips where npm or its registry is away."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed: the NodeSets cannot be fetched")
    folder = tmp_path_factory.mktemp("nodesets")
    try:
        subprocess.run(
            ["npm", "pack", NODESETS], cwd=folder, check=True, capture_output=True, timeout=60
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"{NODESETS} cannot be fetched: {error}")
    (package,) = folder.glob("*.tgz")
    with tarfile.open(package) as archive:
        archive.extractall(folder, filter="data")
    return folder / "package" / "nodesets"


def state_numbers(file: Path) -> dict[str, int]:
    """Browse name of each state -> its `StateNumber`."""
    root = ElementTree.parse(file).getroot()
    names = {node.get("NodeId"): str(node.get("BrowseName")) for node in root}
    numbers = {}
    for node in root.iter(f"{UA}UAVariable"):
        value = node.find(f"{UA}Value")
        if str(node.get("BrowseName")).endswith("StateNumber") and value is not None:
            name = names[node.get("ParentNodeId")].split(":")[1]
            numbers[name] = int("".join(value.itertext()))
    return numbers


def test_packml_and_machinery_numbers_are_those_of_the_nodesets(nodesets: Path) -> None:
    packml = state_numbers(nodesets / "Opc.Ua.PackML.NodeSet2.xml")
    super_states = {"Running", "Cleared"}
    assert set(packml) - super_states == set(PACKML.values())
    for name in set(packml) - super_states:
        assert read_state("packml", packml[name]) == read_state("packml", name)
    machinery = state_numbers(nodesets / "Opc.Ua.Machinery.NodeSet2.xml")
    assert len(machinery) == 8
    for name, number in machinery.items():
        vocabulary = (
            "operation_mode"
            if name in ("None", "Maintenance", "Setup", "Processing")
            else "machinery"
        )
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
        assert name_of(vocabulary, number) == words


@pytest.mark.parametrize(
    ("vocabulary", "value", "line"),
    [
        ("packml", 6, "running"),
        ("packml", 6.0, "running"),
        ("packml", "6", "running"),
        ("packml", "EXECUTE", "running"),
        ("packml", 4, "planned"),
        ("packml", 5, "starved"),
        ("packml", 11, "short_stop"),
        ("packml", 17, "planned"),
        ("packml", 9, "down"),
        ("packml", 2, "down"),
        ("opc30060", 4, "running"),
        ("opc30060", 0, "down"),
        ("opc30060", 8, "down"),
        ("opc30060", 15, "short_stop"),
        ("opc30060", 12, "starved"),
        ("opc30060", "Execute", "running"),
        ("machinery", 3, "running"),
        ("machinery", 2, "planned"),
        ("machinery", 1, "down"),
        ("machinery", "NotExecuting", "planned"),
        ("operation_mode", 3, "running"),
        ("operation_mode", 2, "setup"),
        ("operation_mode", 1, "planned"),
        ("mtconnect", "ACTIVE", "running"),
        ("mtconnect", "Feed hold", "short_stop"),
        ("mtconnect", "PROGRAM_STOPPED", "short_stop"),
        ("mtconnect", "WAIT", "starved"),
        ("mtconnect", "UNAVAILABLE", "no_data"),
    ],
)
def test_each_vocabulary_says_what_a_value_is(vocabulary: str, value: object, line: str) -> None:
    state = read_state(vocabulary, value)
    assert isinstance(state, MachineState) and state.line == line
    assert state.produces == (line == "running")


@pytest.mark.parametrize(
    ("vocabulary", "value"),
    [
        ("packml", 0),  # undefined
        ("packml", 18),  # super-states: their numbers differ between editions
        ("packml", 19),
        ("packml", "Running"),
        ("packml", 6.5),
        ("packml", -6),
        ("packml", float("nan")),
        ("packml", float("inf")),
        ("packml", True),
        ("packml", "Offline"),
        ("packml", ""),
        ("packml", "\u0666"),
        ("packml", "9" * 5000),
        ("opc30060", 17),
        ("machinery", 4),
        ("mtconnect", 1),
    ],
)
def test_what_a_vocabulary_lacks_is_unknown(vocabulary: str, value: object) -> None:
    state = read_state(vocabulary, value)
    assert isinstance(state, Unknown)
    assert state.text == f"unknown state {str(value)[:40]}"


def test_a_machines_own_values_are_what_the_plant_model_says() -> None:
    own = {"1": LineState.RUNNING, "2": LineState.DOWN, "17": LineState.SETUP, "true": _RUNNING}
    states = [read_state(own, value) for value in (1, 2.0, "17", True)]
    lines = [state.line for state in states if isinstance(state, MachineState)]
    assert lines == ["running", "down", "setup", "running"]
    assert read_state(own, 23) == Unknown(23)
    assert Unknown(23).text == "unknown state 23"
    assert read_state(own, "Execute") == Unknown("Execute")


_RUNNING = LineState.RUNNING


def test_the_page_looks_values_up_with_the_same_keys() -> None:
    assert [state_key(value) for value in (6, 6.0, True, " FEED_HOLD ", "06", None, b"6")] == [
        "6",
        "6",
        "true",
        "feedhold",
        "6",
        None,
        None,
    ]
    for vocabulary in VOCABULARIES:
        for key, state in states_of(vocabulary).items():
            assert read_state(vocabulary, key) == state


PLANT = """\
company: {id: acme, name: Acme}
site: north
time_zone: Europe/Oslo
sources:
  - {id: plc, kind: opcua, url: "opc.tcp://127.0.0.1:4840"}
areas:
  - name: press-shop
    lines:
      - name: line-1
        products: [{id: p1, ideal_cycle_s: 4.5}]
        units:
          - name: press
            source: plc
            states: STATES
            signals:
              - {name: state, role: state, type: int64}
              - {name: speed}
          - name: drill
            source: plc
            states: STATES
            signals:
              - {name: mode, role: state, type: int64, states: operation_mode}
"""


def load(folder: Path, states: str) -> Plant:
    file = folder / "plant.yaml"
    file.write_text(PLANT.replace("STATES", states), encoding="utf-8")
    return load_plant(file)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("packml", "packml"),
        ("opc30060", "opc30060"),
        ("{1: running, 2: down, 17: setup}", {"1": "running", "2": "down", "17": "setup"}),
        ('{Auto Run: running, "STOP!": down}', {"autorun": "running", "stop": "down"}),
    ],
)
def test_the_asset_record_carries_the_vocabulary_of_each_state_signal(
    tmp_path: Path, written: str, read: object
) -> None:
    units = [each for each in load(tmp_path, written).assets() if each.level == "unit"]
    (state, speed), (mode,) = (unit.unit_meaning().signals for unit in units)
    assert (state.states, mode.states) == (read, "operation_mode")
    assert "states" not in units[0].meaning["signals"][1] and speed.states == "packml"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("packaging", "is no vocabulary; say packml"),
        ("{1: runs}", "runs"),
        ('{1: running, "01": down}', "stands twice"),
        ("{1.5: running}", "can be no state"),
    ],
)
def test_states_that_cannot_be_are_refused_with_their_place(
    tmp_path: Path, written: str, said: str
) -> None:
    with pytest.raises(PlantError, match=re.escape(said) if " " in said else "states"):
        load(tmp_path, written)


def test_a_vocabulary_of_a_later_version_is_no_guess() -> None:
    with pytest.raises(ValueError, match="unknown vocabulary"):
        read_vocabulary("omac-2030")
    (unit, *_) = (each for each in make_plant().assets() if each.level == "unit")
    assert unit.unit_meaning().signals[0].states == "packml"


@pytest.mark.parametrize(
    "text", ["1.7", "1,7", "1/7", "+6", "[6]", "6 %", "\u22126", "(6)", "6.", "0.6", "1 7"]
)
def test_a_text_that_only_holds_a_number_is_no_number(text: str) -> None:
    assert isinstance(read_state("packml", text), Unknown)
    assert state_key(text) not in states_of("packml")


def test_a_machines_own_texts_of_digits_and_signs_stay_apart() -> None:
    own = {state_key(text): LineState.DOWN for text in ("1.7", "17", "E1.7", "E17", "1-7")}
    assert len(own) == 5
    assert name_of("opc30060", "0" * 30 + "4") == "execute"
    assert state_key("-0") == "0"
    assert state_key("-007") == "-7"
    assert state_key("la\u0308uft") == state_key("L\u00e4uft") != state_key("lauft")
