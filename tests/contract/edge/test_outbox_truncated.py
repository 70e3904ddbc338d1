"""Files of the outbox that are cut off, or changed at random places: it opens, says so, gives no
wrong value, and keeps the rows that are whole."""

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aurelian.edge.outbox.outbox import Outbox
from tests import servers
from tests.contract.edge.test_outbox_damage import (
    ROOMY,
    fill,
    open_damaged,
    rows_of,
)

CASES = 2


@pytest.fixture(scope="module")
def contents() -> Iterator[dict[str, dict[str, bytes]]]:
    """The files of one outbox, as an orderly end leaves them and as a kill does."""
    with servers.server_folder() as path:
        outbox = Outbox.open(path / "outbox", 1, ROOMY)
        fill(outbox)
        outbox.look_after_files()
        killed = {each.name: each.read_bytes() for each in (path / "outbox").iterdir()}
        outbox.close()
        closed = {each.name: each.read_bytes() for each in (path / "outbox").iterdir()}
        yield {"killed": killed, "closed": closed}


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def cut_at_a_page(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content)) // 512 * 512]


def grown(content: bytes, rng: random.Random) -> bytes:
    return content + rng.randbytes(rng.randrange(1, 2000))


def flipped(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.randrange(1, 5)):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def zeroed(content: bytes, rng: random.Random) -> bytes:
    at, size = rng.randrange(len(content)), rng.randrange(1, 5000)
    return (content[:at] + bytes(size) + content[at + size :])[: len(content)]


@pytest.mark.parametrize("change", [cut, cut_at_a_page, grown, flipped, zeroed])
@pytest.mark.parametrize(
    ("state", "name", "suffix"),
    [
        ("closed", "samples", ".db"),
        ("closed", "records", ".db"),
        ("killed", "samples", "-wal"),
        ("killed", "records", "-wal"),
    ],
)
def test_it_opens_says_so_and_goes_on(
    contents: dict[str, dict[str, bytes]],
    tmp_path: Path,
    change: Callable[[bytes, random.Random], bytes],
    state: str,
    name: str,
    suffix: str,
) -> None:
    files = contents[state]
    damaged = next(each for each in files if each.startswith(name) and each.endswith(suffix))
    rng = random.Random(f"{change.__name__} {damaged[:7]} {state}")
    failed = []
    for number in range(CASES):
        folder = tmp_path / str(number)
        folder.mkdir()
        for each, content in files.items():
            (folder / each).write_bytes(content)
        (folder / damaged).write_bytes(change(files[damaged], rng))
        failed += [f"case {number}: {each}" for each in open_damaged(folder)]
        shutil.rmtree(folder)
    assert not failed


@pytest.mark.parametrize("is_noted", [True, False])
def test_alarms_stay_where_the_log_of_the_batches_of_their_commits_is_cut_off(
    contents: dict[str, dict[str, bytes]], tmp_path: Path, is_noted: bool
) -> None:
    """A start deletes the records of a commit that a crash cut off: that is one commit at most."""
    for name, content in contents["killed"].items():
        is_log_of_batches = name.startswith("samples") and name.endswith("-wal")
        if is_noted or not name.endswith(".json"):
            (tmp_path / name).write_bytes(content[:3000] if is_log_of_batches else content)
    for boot in (2, 3):
        with Outbox.open(tmp_path, boot, ROOMY) as outbox:
            found = {row[3] for row in rows_of(outbox) if row[0] == 1}
            assert found == {b"event %d" % n for n in range(8)}
            (report,) = outbox.unreported()
            assert "is cut off: it had" in report.reason and report.rows >= 7
