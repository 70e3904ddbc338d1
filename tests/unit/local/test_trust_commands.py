"""`aurelian trust` on a folder of certificates."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aurelian.cli import app
from aurelian.edge.certificates import sha256_of
from aurelian.edge.trust_store import TrustStore
from tests.peers.certificates import NOW, authority, make


def run(folder: Path, *words: str, fails: bool = False) -> str:
    """Standard output and error of a command."""
    done = CliRunner().invoke(app, ["trust", *words, "--pki", str(folder)])
    assert (done.exit_code == 1) is fails, done.output
    return " ".join(done.output.split())


def test_a_refused_server_is_listed_trusted_and_removed(tmp_path: Path) -> None:
    store, server = TrustStore(tmp_path), make("press")
    store.own("urn:host:aurelian", ["host"], NOW)
    store.reject(server.certificate, "x/s/press", "it is not trusted")
    digits = sha256_of(server.certificate)
    listed = run(tmp_path, "list")
    assert "own" in listed and "servers have to trust it" in listed
    assert digits[:16] in listed and "x/s/press it is not trusted" in listed
    assert "is trusted now" in run(tmp_path, "add", digits[:16].lower())
    (trusted,) = [e for e in json.loads(run(tmp_path, "list", "--json")) if e["list"] == "trusted"]
    assert (trusted["sha256"], trusted["hosts"]) == (digits, ["plc.example", "127.0.0.1"])
    assert not store.listed("rejected")
    run(tmp_path, "remove", ":".join(digits[at : at + 2] for at in range(0, 16, 2)))
    assert not store.lists().trusted


def test_one_of_a_file_of_several_is_removed_alone(tmp_path: Path) -> None:
    one, two = make("one"), make("two")
    (tmp_path / "trusted").mkdir()
    (tmp_path / "trusted" / "both.pem").write_bytes(one.pem + two.pem)
    run(tmp_path, "remove", sha256_of(one.certificate)[:12])
    assert TrustStore(tmp_path).lists().trusted == [two.certificate]


def test_files_are_trusted_or_complete_chains(tmp_path: Path) -> None:
    server, issuer = make("press"), authority("issuer")
    for name, each in (("press.cer", server), ("issuer.crt", issuer)):
        (tmp_path / name).write_bytes(each.der)
    run(tmp_path / "pki", "add", str(tmp_path / "press.cer"))
    run(tmp_path / "pki", "add", "--issuer", str(tmp_path / "issuer.crt"))
    lists = TrustStore(tmp_path / "pki").lists()
    assert (lists.trusted, lists.issuers) == ([server.certificate], [issuer.certificate])


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("ABC", "neither a file nor 8 or more digits"),
        ("press", "neither a file nor 8 or more digits"),
        ("0123456789", "no certificates of"),
    ],
)
def test_what_is_not_there_is_said(tmp_path: Path, what: str, says: str) -> None:
    assert says in run(tmp_path, "add", what, fails=True)


def test_junk_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "junk.der").write_bytes(b"junk")
    assert "is no certificate" in run(
        tmp_path / "pki", "add", str(tmp_path / "junk.der"), fails=True
    )


def test_what_a_stranger_wrote_moves_no_terminal_and_is_no_mark(tmp_path: Path) -> None:
    store, server = TrustStore(tmp_path), make("[bold]press\x1b[2J")
    digits = sha256_of(server.certificate)
    store.reject(server.certificate, "x/s/press", "it is made for \x1b]0;mine\x07\n, not for plc")
    for words in (["list"], ["add", digits], ["list"], ["remove", digits]):
        done = CliRunner().invoke(app, ["trust", *words, "--pki", str(tmp_path)])
        assert done.exit_code == 0, done.output
        assert "\x1b" not in done.output and "\x07" not in done.output
        assert "[bold]press?[2J" in done.output
        if words == ["list"]:
            assert "\n, not for plc" not in done.output


def test_an_empty_folder_is_named_with_how_to_name_another(tmp_path: Path) -> None:
    for words, fails in ((["list"], False), (["add", "0123456789"], True)):
        said = run(tmp_path, *words, fails=fails)
        assert str(tmp_path) in said and "Another folder: --pki FOLDER" in said
        assert "AURELIAN_STATE" in said and "--home" in said
