"""Apache Kafka's jars: only the locked ones are used, whatever lies in the cache or is served."""

import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from aurelian.local import kafka_jars
from aurelian.local.kafka_jars import Jar, KafkaJarsError

CONTENT = {"one-1.jar": b"first", "two-2.jar": b"second"}


class Maven:
    """A Maven repository on loopback: what it serves can be changed; what was asked is counted."""

    def __init__(self) -> None:
        self.files = dict(CONTENT)
        self.asked: list[str] = []
        self.url = ""


@pytest.fixture
def maven(monkeypatch: pytest.MonkeyPatch) -> Iterator[Maven]:
    """A lock of two jars, and the mirror that has them."""
    repository = Maven()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            repository.asked.append(name)
            body = repository.files.get(name)
            self.send_response(200 if body is not None else 404)
            self.send_header("content-length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    repository.url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv(kafka_jars.MIRROR_SETTING, repository.url)
    monkeypatch.setenv("HOME", "/nonexistent")  # no Maven folder of the user's own
    lock = tuple(
        Jar(hashlib.sha256(body).hexdigest(), f"org.example:{name[:3]}:{name[4:5]}")
        for name, body in CONTENT.items()
    )
    monkeypatch.setattr(kafka_jars, "read_lock", lambda: lock)
    yield repository
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_lock_names_a_whole_release_with_hashes_and_without_a_host() -> None:
    jars = kafka_jars.read_lock()
    assert len({jar.file_name for jar in jars}) == len(jars) == 46
    assert jars[0].coordinates.startswith("org.apache.kafka:kafka_2.13:4.")
    assert all(re.fullmatch(r"[0-9a-f]{64}", jar.sha256) for jar in jars)
    lock = Path(kafka_jars.__file__).with_name("kafka-jars.sha256")
    assert "://" not in lock.read_text()


def test_what_is_missing_is_fetched_once_and_said_in_one_line(maven: Maven, tmp_path: Path) -> None:
    told: list[str] = []
    folder = kafka_jars.ensure_jars(tmp_path, told.append)
    assert {p.name: p.read_bytes() for p in folder.glob("*.jar")} == CONTENT
    assert [p.name for p in folder.iterdir() if p.is_dir()] == []
    assert len(told) == 1
    asked = len(maven.asked)
    assert kafka_jars.ensure_jars(tmp_path, told.append) == folder
    assert (len(told), len(maven.asked)) == (1, asked)


def test_a_cut_off_fetch_goes_on_where_it_was(maven: Maven, tmp_path: Path) -> None:
    del maven.files["two-2.jar"]
    with pytest.raises(KafkaJarsError, match=r"two-2\.jar is not in the cache and cannot be"):
        kafka_jars.ensure_jars(tmp_path)
    maven.files.update(CONTENT)
    folder = kafka_jars.ensure_jars(tmp_path)
    assert {p.name for p in folder.iterdir()} == set(CONTENT)


def test_a_jar_that_is_served_with_another_content_is_not_installed(
    maven: Maven, tmp_path: Path
) -> None:
    maven.files["two-2.jar"] = b"evil"
    with pytest.raises(KafkaJarsError, match=r"two-2\.jar that was fetched is not the one"):
        kafka_jars.ensure_jars(tmp_path)
    assert not list(tmp_path.rglob("two-2.jar"))


def test_a_jar_that_changed_in_the_cache_is_refused_before_the_start(
    maven: Maven, tmp_path: Path
) -> None:
    folder = kafka_jars.ensure_jars(tmp_path)
    (folder / "one-1.jar").write_bytes(b"changed")
    with pytest.raises(KafkaJarsError, match=r"one-1\.jar is not the file that was locked"):
        kafka_jars.ensure_jars(tmp_path)


def test_a_jar_that_is_not_listed_is_refused(maven: Maven, tmp_path: Path) -> None:
    folder = kafka_jars.ensure_jars(tmp_path)
    (folder / "three-3.jar").write_bytes(b"more")
    with pytest.raises(KafkaJarsError, match=r"three-3\.jar in .* is not in the list"):
        kafka_jars.ensure_jars(tmp_path)


def test_offline_with_an_empty_cache_the_sentence_says_what_to_do(
    maven: Maven, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(kafka_jars.MIRROR_SETTING, "http://127.0.0.1:9")
    with pytest.raises(KafkaJarsError, match="connect to the network once, or set AURELIAN_MAVEN"):
        kafka_jars.ensure_jars(tmp_path)


def test_jars_in_the_users_own_maven_folder_are_used_where_they_are_the_locked_ones(
    maven: Maven, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    own = tmp_path / ".m2" / "repository" / "org" / "example"
    for name, body in (("one-1.jar", b"first"), ("two-2.jar", b"another build")):
        path = own / name[:3] / name[4:5] / name
        path.parent.mkdir(parents=True)
        path.write_bytes(body)
    folder = kafka_jars.ensure_jars(tmp_path / "cache")
    assert {p.name: p.read_bytes() for p in folder.glob("*.jar")} == CONTENT
    assert "one-1.jar" not in maven.asked
