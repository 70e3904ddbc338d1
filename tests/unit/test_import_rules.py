"""The walls between the rooms: who may import what. A broken rule names the file and the line."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICES = {path.name for path in (ROOT / "services").iterdir() if (path / "__init__.py").exists()}
KIT = ROOT / "shared" / "aurelian"

ROOMS: dict[str, set[str]] = {
    "pb": set(),
    "model": {"pb"},
    "runtime": {"model"},
    "backbone": {"model", "runtime"},
    "db": {"model", "runtime"},
    "access": {"model", "runtime", "db"},
    "edge": {"model", "runtime", "backbone"},
    "events": {"model", "runtime", "backbone", "db"},
    "fold": {"model", "runtime", "backbone", "events", "db"},
    "local": {"model", "runtime", "backbone", "db", "access", "edge", "events", "fold"},
    "cli.py": {"model", "runtime", "backbone", "db", "access", "edge", "events", "fold", "local"},
}
"""Each room of the kit and the rooms that it may import: downwards only."""

MOST_LINES = 400
"""A file of the kit that is longer says more than one thing."""

SOLE_IMPORTERS = {
    "aiokafka": {
        "shared/aurelian/backbone/client.py",
        "shared/aurelian/backbone/replication.py",
        "shared/aurelian/backbone/topic_ids.py",
        "shared/aurelian/backbone/topics.py",
    },
    "ruamel": {"shared/aurelian/model/yaml_text.py"},
    "yaml": {"shared/aurelian/model/yaml_events.py"},
    "zeroconf": {"shared/aurelian/edge/mdns.py"},
    "cramjam": {"shared/aurelian/edge/outbox/compact.py"},
    "aurelian.pb.telemetry_pb2": {"shared/aurelian/model/codec.py"},
    "sqlite3": {
        f"shared/aurelian/edge/outbox/{name}.py"
        for name in (
            "damage",
            "file_format",
            "files",
            "lock",
            "missing",
            "outbox",
            "salvage",
            "segment",
            "tables",
        )
    },
}
FOREIGN = (
    "fastapi",
    "aiokafka",
    "psycopg",
    "sqlalchemy",
    "asyncua",
    "paho",
    "httpx",
    "sqlite3",
    "socket",
    "asyncio",
)
PURE = [
    "model/sample.py",
    "model/codec.py",
    "model/plant.py",
    "model/plant_diff.py",
    "model/plant_edit.py",
    "model/plant_new.py",
    "model/plant_schema.py",
    "model/yaml_edit.py",
    "model/calendar.py",
    "model/record.py",
    "backbone/position.py",
    "edge/contract.py",
    "events/cloudevent.py",
    "access/policy.py",
    "fold/partitions.py",
    "fold/sequences.py",
]


def _imports(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def _sources(folder: Path) -> Iterator[Path]:
    return (
        path
        for path in sorted(folder.rglob("*.py"))
        if "pb" not in path.relative_to(folder).parts[:1]
    )


def _room(path: Path) -> str:
    return path.relative_to(KIT).parts[0]


def test_every_part_of_the_kit_is_a_known_room() -> None:
    found = {_room(path) for path in KIT.rglob("*.py")} - {"__init__.py"}
    assert found == set(ROOMS)


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_of_the_kit_imports_downwards_only(room: str) -> None:
    sources = [KIT / room] if room.endswith(".py") else sorted((KIT / room).rglob("*.py"))
    broken = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources
        for name, line in _imports(path)
        if name.startswith("aurelian.")
        and (imported := name.split(".")[1]) in ROOMS
        and imported not in ROOMS[room] | {room}
    ]
    assert not broken


def test_no_two_files_of_the_kit_import_each_other_in_a_circle() -> None:
    files = {
        ".".join(("aurelian", *path.relative_to(KIT).with_suffix("").parts)): path
        for path in KIT.rglob("*.py")
        if path.name != "__init__.py"
    }
    needs = {
        name: {other for other, _ in _imports(path) if other in files and other != name}
        for name, path in files.items()
    }
    while leaves := [name for name, others in needs.items() if not others & needs.keys()]:
        for name in leaves:
            del needs[name]
    assert not needs


@pytest.mark.parametrize("folder", ["shared/aurelian"])
def test_no_file_of_the_kit_is_longer_than_a_reader_can_hold(folder: str) -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in _sources(ROOT / folder)
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > MOST_LINES
    }
    assert not long


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_a_service_never_imports_another_service(service: str) -> None:
    others = SERVICES - {service}
    broken = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in _sources(ROOT / "services" / service)
        for name, line in _imports(path)
        if name.split(".")[0] in others
    ]
    assert not broken


def test_the_kit_imports_services_only_from_its_command_line() -> None:
    broken = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in _sources(KIT)
        for name, line in _imports(path)
        if name.split(".")[0] in SERVICES and path != KIT / "cli.py"
    ]
    assert not broken


@pytest.mark.parametrize("library", sorted(SOLE_IMPORTERS))
def test_a_library_with_a_keeper_is_imported_by_its_keeper_alone(library: str) -> None:
    broken = [
        f"{path.relative_to(ROOT)}:{line}"
        for folder in (KIT, ROOT / "services")
        for path in _sources(folder)
        for name, line in _imports(path)
        if (name == library or name.startswith(library + "."))
        and str(path.relative_to(ROOT)) not in SOLE_IMPORTERS[library]
    ]
    assert not broken


@pytest.mark.parametrize("name", PURE)
def test_pure_code_of_the_kit_does_no_input_or_output(name: str) -> None:
    broken = [
        f"{name}:{line} imports {module}"
        for module, line in _imports(KIT / name)
        if module.split(".")[0] in FOREIGN
    ]
    assert not broken


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_every_service_has_the_same_skeleton(service: str) -> None:
    folder = ROOT / "services" / service
    for name in ("__main__.py", "settings.py", "README.md"):
        assert (folder / name).exists(), f"{service} has no {name}"
    assert len((folder / "__main__.py").read_text().splitlines()) < 25
