"""What the documents say of the code: files, functions, rooms. A broken line names the document."""

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.unit.test_import_rules import ROOMS

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for pattern in (
        "*.md",
        "docs/*.md",
        "deploy/*.md",
        "proto/*.md",
        "services/*/*.md",
        "shared/**/*.md",
        "tests/**/*.md",
    )
    for path in ROOT.glob(pattern)
)
ELSEWHERE = {"kafka/", "versions/NNNN_what.py"}
"""Names of what a reader makes or finds in a state folder."""

OURS = ("deploy", "docs", "proto", "services", "shared", "tests")

_CODE_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_PATH = re.compile(r"[\w.*/-]+(?:\.(?:py|md|html|sql|proto|css|js)|/)")
_STEP = re.compile(r"^\| (\d+) \| `([^`]+)`: ([^|]+) \|", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)#:]+)\)")


def _known_paths() -> set[str]:
    """Every file and folder of the repository, with each of its endings: `edge/gateway.py` too."""
    found = [path for path in ROOT.iterdir() if path.is_file()]
    for folder in OURS:
        found += [ROOT / folder, *(ROOT / folder).rglob("*")]
    known = set()
    for path in found:
        parts = path.relative_to(ROOT).parts
        slash = "/" if path.is_dir() else ""
        known |= {"/".join(parts[n:]) + slash for n in range(len(parts))}
    return known


KNOWN = _known_paths()


def _named_paths(document: str) -> Iterator[str]:
    text = _CODE_BLOCK.sub("", (ROOT / document).read_text(encoding="utf-8"))
    for quoted in re.findall(r"`([^`\n]+)`", text):
        if _PATH.fullmatch(quoted) and not quoted.startswith("/"):
            yield quoted.removeprefix("./")


def _steps(heading: str) -> list[tuple[int, str, list[str]]]:
    """Number, file and functions of each step of a walk in docs/architecture.md."""
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    section = text.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return [
        (int(number), file, re.findall(r"`(\w+)`", functions))
        for number, file, functions in _STEP.findall(section)
    ]


WALKS = [
    ("One OPC UA value, from notification to row", 14),
    ("One event, from line state to webhook", 12),
]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_that_a_document_names_exists(document: str) -> None:
    gone = [
        path
        for path in _named_paths(document)
        if path not in KNOWN | ELSEWHERE
        and not ("*" in path and any(fnmatch(each, path) for each in KNOWN))
    ]
    assert not gone


@pytest.mark.parametrize("document", ["docs/architecture.md", "docs/decisions.md", "README.md"])
def test_the_paths_of_a_document_are_recognised(document: str) -> None:
    assert len(list(_named_paths(document))) > 5


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_between_documents_leads_somewhere(document: str) -> None:
    folder = (ROOT / document).parent
    links = _LINK.findall((ROOT / document).read_text(encoding="utf-8"))
    assert not [link for link in links if not (folder / link).exists()]


@pytest.mark.parametrize(("walk", "most"), WALKS)
def test_a_walk_has_few_files_and_none_twice(walk: str, most: int) -> None:
    steps = _steps(walk)
    files = [file for _, file, _ in steps]
    assert [number for number, _, _ in steps] == list(range(1, len(steps) + 1))
    assert len(files) == len(set(files)) <= most
    assert steps


@pytest.mark.parametrize(("walk", "_"), WALKS)
def test_a_walk_names_functions_that_its_files_have(walk: str, _: int) -> None:
    wrong = []
    for _number, file, functions in _steps(walk):
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        defined = {
            node.name
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        assert functions, f"{file}: no function is named"
        wrong += [f"{file}: {name}" for name in functions if name not in defined]
    assert not wrong


@pytest.mark.parametrize("document", ["docs/architecture.md", "shared/README.md"])
def test_the_table_of_rooms_is_the_rule_that_the_imports_are_held_to(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    table = text.split("| room | holds | may import |\n|---|---|---|\n", 1)[1].split("\n\n", 1)[0]
    rows = [line.strip("|").split("|") for line in table.splitlines()]
    rooms = {
        name.strip(" `/"): {each.strip() for each in imports.split(",") if each.strip()}
        for name, _, imports in rows
    }
    outbox = rooms.pop("edge/outbox", ROOMS["edge"])
    assert (rooms, outbox) == (ROOMS, ROOMS["edge"])
