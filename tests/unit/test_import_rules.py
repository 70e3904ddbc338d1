"""The walls between the rooms: who may import what. A broken rule names the file and the line."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICES = {path.name for path in (ROOT / "services").iterdir() if (path / "__init__.py").exists()}
KIT = ROOT / "shared" / "aurelian"

SOLE_IMPORTERS = {
    "aiokafka": {"shared/aurelian/kafka.py", "shared/aurelian/topics.py"},
    "aurelian.pb.telemetry_pb2": {"shared/aurelian/codec.py"},
    "sqlite3": {"shared/aurelian/outbox.py", "shared/aurelian/segment.py", "shared/aurelian/salvage.py"},
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
PURE = ["sample.py", "codec.py", "contract.py", "calendar.py", "events.py", "policy.py"]


def _imports(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def _sources(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*.py")) if "pb" not in path.relative_to(folder).parts[:1])


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
