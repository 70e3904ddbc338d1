"""Plant files out of what a server has: names and texts of any kind, and the loader takes them."""

from __future__ import annotations

import re
import struct
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from aurelian.model.addresses import parse_address
from aurelian.model.plant_file import load_plant
from aurelian.model.sample import ValueType
from aurelian.model.source_model import SourceModel
from opcua_gateway.browse.discovery import Discovery, Selection
from opcua_gateway.browse.engineering_units import UCUM, unece_code
from opcua_gateway.browse.plant_snippet import address_of, legal_name, write_plant
from opcua_gateway.browse.variables import Variable
from opcua_gateway.browse.walk import Node, Tree
from opcua_gateway.browse.wire import OBJECT, VARIABLE, numeric_key

URI = "urn:maker:press"
NAMESPACES = ("http://opcfoundation.org/UA/", URI)
FOLDER, BASE_OBJECT, HAS_COMPONENT = (numeric_key(0, number) for number in (61, 58, 47))
TEXTS = st.text(max_size=80)


def text_key(text: str, namespace: int = 1) -> bytes:
    encoded = text.encode(errors="surrogatepass")
    return struct.pack("<BHi", 3, namespace, len(encoded)) + encoded


def node(parent: Node | None, name: str, *, variable: bool = False, folder: bool = False) -> Node:
    depth = 0 if parent is None else parent.depth + 1
    key = text_key(f"{parent.path if parent else ''}/{name}")
    kind, definition = (VARIABLE, numeric_key(0, 63)) if variable else (OBJECT, BASE_OBJECT)
    definition = FOLDER if folder else definition
    return Node(key, parent, HAS_COMPONENT, 1, name, name, kind, definition, depth)


def variable(parent: Node, name: str, kind: ValueType | None = ValueType.DOUBLE) -> Variable:
    return Variable(node(parent, name, variable=True), numeric_key(0, 11), -1, 3, "Double", kind)


def plant_of(folder: Path, *variables: Variable, source: SourceModel | None = None) -> object:
    found = Discovery(NAMESPACES, Tree([each.node for each in variables]), list(variables))
    source = source or SourceModel.model_validate(
        {"id": "press-opcua", "kind": "opcua", "url": "opc.tcp://127.0.0.1:4840"}
    )
    path = folder / "site.yaml"
    path.write_text(write_plant(found, source), encoding="utf-8")
    return load_plant(path)


@given(st.lists(st.lists(TEXTS, max_size=4), max_size=30))
def test_names_are_legal_and_each_is_there_once(paths: list[list[str]]) -> None:
    taken: set[str] = set()
    names = [legal_name(path, taken, "signal") for path in paths]
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name) for name in names)
    assert len({name.casefold() for name in names}) == len(names)


def test_names_keep_what_a_reader_knows() -> None:
    taken: set[str] = set()
    assert legal_name(["Größe in °C"], taken, "signal") == "Grosse-in-C"
    assert legal_name(["grosse in C"], taken, "signal") == "grosse-in-C-2"
    assert legal_name(["温度"], taken, "signal") == "signal"
    deep = ["Monitoring"] * 6 + ["Spindle", "Speed"]
    assert legal_name(deep, taken, "signal").endswith("Monitoring.Spindle.Speed")


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=8))
def test_whatever_a_server_calls_its_nodes_the_loader_takes_the_file(
    tmp_path_factory: object, names: list[tuple[str, str]]
) -> None:
    root = node(None, "")
    variables = [variable(node(root, machine), name) for machine, name in names]
    addresses = [address_of(each.node.key, NAMESPACES) for each in variables]
    folder = tmp_path_factory.mktemp("plant")  # type: ignore[attr-defined]
    if not any(addresses):
        return
    plant = plant_of(folder, *variables)
    signals = [signal for unit in plant.units() for signal in unit.model.signals]  # type: ignore[attr-defined]
    written = sorted(each for each in addresses if each is not None)
    assert sorted(signal.address for signal in signals) == written
    assert all(parse_address(signal.address).uri == URI for signal in signals)


def test_texts_of_the_environment_stay_as_they_are(tmp_path: Path) -> None:
    root = node(None, "")
    odd = variable(node(root, "${HOME} #1"), 'say "${PATH:-x}" \\ #2')
    plant = plant_of(tmp_path, odd)
    (unit,) = plant.units()  # type: ignore[attr-defined]
    (signal,) = unit.model.signals
    assert signal.address == f'nsu={URI};s=${{HOME}} #1/say "${{PATH:-x}}" \\ #2'
    assert unit.model.title == "${HOME} #1"


def test_a_machine_is_the_first_object_that_is_no_folder(tmp_path: Path) -> None:
    root = node(None, "")
    hall = node(root, "Hall", folder=True)
    press = node(hall, "Press")
    plant = plant_of(
        tmp_path,
        variable(node(press, "Tool"), "Force"),
        variable(press, "Count", ValueType.INT64),
        variable(hall, "Humidity"),
        variable(root, "Uptime"),
    )
    units = {unit.model.name: unit for unit in plant.units()}  # type: ignore[attr-defined]
    assert {name: [s.name for s in unit.model.signals] for name, unit in units.items()} == {
        "Press": ["Tool.Force", "Count"],
        "Hall": ["Humidity"],
        "press-opcua": ["Uptime"],
    }
    assert units["Press"].model.signals[1].type is ValueType.INT64


def test_units_ranges_and_what_is_not_known_are_written(tmp_path: Path) -> None:
    root = node(None, "")
    force, speed, closed = (variable(root, name) for name in ("Force", "Speed", "Closed"))
    force.unit, force.range = "kN", (-0.5, 1e6)
    speed.unit_shown, speed.value_type = "furlong\n/fortnight", None
    closed.access = 0
    plant = plant_of(tmp_path, force, speed, closed)
    (unit,) = plant.units()  # type: ignore[attr-defined]
    assert [(s.name, s.unit, s.range) for s in unit.model.signals] == [
        ("Force", "kN", (-0.5, 1e6)),
        ("Speed", "", None),
    ]
    text = (tmp_path / "site.yaml").read_text()
    assert "its unit is 'furlong\\n/fortnight', write it in UCUM" in text
    assert "the server leaves its type open" in text
    assert "# Left out: variables that we may not read: 1" in text


def test_a_source_is_written_with_its_security(tmp_path: Path) -> None:
    fields = {
        "id": "plc",
        "kind": "opcua",
        "url": "opc.tcp://plc.example:4840",
        "user": "operator",
        "password_file": "/run/secrets/plc",
        "security": {"policy": "Basic256Sha256", "trust": "first_use", "waive": ["host_name"]},
    }
    source = SourceModel.model_validate(fields)
    plant = plant_of(tmp_path, variable(node(None, ""), "Force"), source=source)
    (read,) = plant.sources  # type: ignore[attr-defined]
    assert read.model_dump() == source.model_dump()


def test_patterns_choose_paths() -> None:
    root = node(None, "")
    force = node(node(root, "Press 1"), "Force", variable=True)
    for include, has in [((), True), (("FORCE",), True), (("press*",), True), (("force*",), False)]:
        assert Selection(include=include).has(force, NAMESPACES) is has
    assert Selection(exclude=("press",)).leaves_out(force)
    assert not Selection(namespaces=("urn:other",)).has(force, NAMESPACES)


def test_codes_of_units_are_the_bytes_of_their_numbers() -> None:
    # Numbers of the OPC Foundation's list UNECE_to_OPCUA.csv.
    known = {4408652: "CEL", 4937544: "KWH", 5067858: "MTR", 20529: "P1", 13361: "41"}
    assert {number: unece_code(number) for number in known} == known
    assert UCUM["CEL"] == "Cel"
    assert unece_code(-1) == unece_code(0) == unece_code(1 << 40) == ""
