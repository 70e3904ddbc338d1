"""Kafka's folder: paths with any letters, damaged files told in a sentence."""

import os
import time
from pathlib import Path

import pytest

from aurelian.local import kafka, kafka_jars
from aurelian.local.kafka import KafkaError
from aurelian.local.kafka_jars import Jar, KafkaJarsError


@pytest.mark.parametrize("name", ["müller", "back\\slash", "with space", "\U0001d53d"])
def test_a_folder_may_have_any_printable_letters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    folder = tmp_path / name / "kafka"
    node = kafka.prepare(folder, 29_999, 29_998, tmp_path / "kafka.log")
    assert kafka.read_cluster_id(folder, 1) == node.cluster_id
    assert sorted(each.name for each in tmp_path.iterdir() if each.is_dir()) == [name]
    written = (folder / "server.properties").read_bytes().decode("ascii")
    assert f"node.id=1{os.linesep}" in written


@pytest.mark.parametrize("name", ["a,b", "a\nb", "a\u2028b"])
def test_a_folder_that_kafka_cannot_name_is_refused_in_a_sentence(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(KafkaError, match="AURELIAN_HOME"):
        kafka.prepare(tmp_path / name, 29_999, 29_998, tmp_path / "kafka.log")
    with pytest.raises(KafkaError, match="AURELIAN_CACHE"):
        kafka.prepare(tmp_path / "kafka", 29_999, 29_998, tmp_path / "log", cache=tmp_path / "a:b")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xe4version=1\ncluster.id=abc\nnode.id=1\n",
        b"cluster.id=abc\nnode.id=1\n",
        b"version=1\nnode.id=1\n",
        b"version=1\ncluster.id=abc\nnode.id=7\n",
        None,
    ],
)
def test_a_damaged_list_of_properties_is_told_in_a_sentence(
    tmp_path: Path, content: bytes | None
) -> None:
    meta = tmp_path / "data" / "meta.properties"
    meta.parent.mkdir()
    if content is None:
        meta.mkdir()
    else:
        meta.write_bytes(content)
    with pytest.raises(KafkaError, match="folder is damaged"):
        kafka.read_cluster_id(tmp_path, 1)


def test_a_damaged_start_cache_is_deleted_and_not_used(tmp_path: Path) -> None:
    java = kafka.find_java()
    file = kafka.aot_cache_file(tmp_path, java)
    digest = kafka.aot_digest_file(file)
    file.write_bytes(b"made by Java")
    digest.write_text(kafka_jars.sha256_of(file))
    assert kafka.aot_options(tmp_path, java) == (f"-XX:AOTCache={file}",)
    file.write_bytes(b"made by Jav\0")
    assert kafka.aot_options(tmp_path, java) == ()
    assert not file.exists()
    file.write_bytes(b"of a version before, without a digest")
    assert kafka.aot_options(tmp_path, java) == ()


def test_a_pipe_in_place_of_a_jar_is_refused_and_killed_downloads_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_jars, "read_lock", lambda: (Jar("0" * 64, "g:one:1"),))
    monkeypatch.setenv(kafka_jars.MIRROR_SETTING, "http://127.0.0.1:1")
    folder = kafka_jars.jar_folder(tmp_path)
    folder.mkdir(parents=True)
    old, new = folder / ".fetching-old", folder / ".fetching-new"
    old.mkdir()
    new.mkdir()
    os.utime(old, (time.time() - 7200,) * 2)
    with pytest.raises(KafkaJarsError, match="cannot be fetched"):
        kafka_jars.ensure_jars(tmp_path)
    assert [each.name for each in folder.iterdir()] == [new.name]
    os.mkfifo(folder / "one-1.jar")
    with pytest.raises(KafkaJarsError, match="not a file"):
        kafka_jars.ensure_jars(tmp_path)
