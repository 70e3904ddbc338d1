"""The gateway's own certificate and key: what somebody put there is used or refused, and what is
wrong with it is said in the log, once, also while the gateway runs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from aurelian.edge.certificates import TrustError, self_signed, sha256_of
from aurelian.edge.trust_store import TrustStore
from opcua_gateway.security.endpoints import announce_certificate, own_certificate
from opcua_gateway.settings import OpcuaGatewaySettings
from tests.peers.certificates import DAY, NOW, Made, authority, make, with_curve, with_sha1

CLIENT = (ExtendedKeyUsageOID.CLIENT_AUTH,)
ROOT = authority("root")
ALONE = make("ours", extended=CLIENT, ends=NOW + 400 * DAY)


def put(folder: Path, made: Made, key: Made | None = None, mode: int = 0o600) -> Path:
    """Put a certificate and a key where ours lie; return the key's file."""
    certificate_file, key_file = (key or made).write(folder / "own", "key")
    certificate_file.unlink()
    (folder / "own" / "certificate.der").write_bytes(made.der)
    target = folder / "own" / "key.pem"
    key_file.rename(target)
    target.chmod(mode)
    return target


def said(caplog: pytest.LogCaptureFixture, *levels: int) -> list[str]:
    """What was logged since the last time, as one text for each record."""
    found = [
        f"{r.message} {r.__dict__.get('fields')}"
        for r in caplog.records
        if r.levelno in (levels or (logging.INFO, logging.WARNING, logging.ERROR))
    ]
    caplog.clear()
    return found


def test_a_key_that_others_could_read_is_closed_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = put(tmp_path, ALONE, mode=0o644)
    caplog.set_level(logging.INFO)
    own_certificate(TrustStore(tmp_path), "g")
    (warning,) = said(caplog, logging.WARNING)
    assert "others on this machine could read its key" in warning and "mode 0644" in warning
    assert "delete both files" in warning
    assert key.stat().st_mode & 0o777 == 0o600
    own_certificate(TrustStore(tmp_path), "g")
    assert said(caplog) == []


def test_a_key_that_cannot_be_closed_is_used_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a volume that is mounted read-only."""
    put(tmp_path, ALONE, mode=0o640)

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "chmod", refuse)
    (warning,) = TrustStore(tmp_path).own("urn:x", ["h"], NOW).warnings
    assert "mode 0640" in warning and "Read-only file system" in warning and "chmod 600" in warning


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (ALONE, ""),
        (make(extended=()), ""),
        (make(bits=1024, extended=CLIENT), "a key of 1024 bits, at least 2048"),
        (make(uris=(), extended=CLIENT), "it carries no ApplicationUri"),
        (make(uris=("urn:a", "urn:b"), extended=CLIENT), "it carries 2 ApplicationUri"),
        (make(extended=CLIENT, ends=NOW - DAY), "it ended on"),
        (make(extended=CLIENT, begins=NOW + DAY), "it is not valid before"),
        (make(extended=CLIENT, usage=False), "may not be used to sign and encrypt"),
        (make(), "it is not made for a client"),
        (with_sha1(make("ours", ROOT, extended=CLIENT), ROOT), "a signature with SHA1"),
    ],
)
def test_what_servers_may_refuse_ours_for_is_said(tmp_path: Path, made: Made, says: str) -> None:
    put(tmp_path, made)
    own = TrustStore(tmp_path).own("urn:x", ["h"], NOW)
    assert own.der == made.der
    if not says:
        assert own.warnings == ()
        return
    (warning,) = own.warnings
    assert says in warning and "Put a better one there with its key, or delete both" in warning


def test_a_certificate_made_for_a_weak_key_is_told_too(tmp_path: Path) -> None:
    put(tmp_path, make(bits=1024))
    (tmp_path / "own" / "certificate.der").unlink()
    own = TrustStore(tmp_path).own("urn:x", ["h"], NOW)
    assert own.made_now and "a key of 1024 bits" in own.warnings[0]


def without_key(folder: Path) -> None:
    put(folder, ALONE).unlink()


def with_another_key(folder: Path) -> None:
    put(folder, ALONE, make())


def of_a_curve(folder: Path) -> None:
    put(folder, ALONE)
    curve = with_curve(ALONE, ALONE)
    (folder / "own" / "certificate.der").write_bytes(curve.public_bytes(Encoding.DER))


def with_junk(folder: Path) -> None:
    put(folder, ALONE).write_bytes(b"junk")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (without_key, "key.pem is missing, the key of .*: put it there, or move"),
        (with_another_key, "does not belong to .*: put the two that belong together"),
        (of_a_curve, "does not belong to"),
        (with_junk, "is no private key without a password"),
    ],
)
def test_what_does_not_belong_together_is_refused_and_stops_no_start(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Path], None],
    says: str,
) -> None:
    spoil(tmp_path / "pki")
    with pytest.raises(TrustError, match=says):
        own_certificate(TrustStore(tmp_path / "pki"), "g")
    announce_certificate(OpcuaGatewaySettings(state=tmp_path))
    (error,) = said(caplog, logging.ERROR)
    assert "no certificate of our own" in error


def test_another_certificate_is_taken_and_said_while_the_gateway_runs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    store = TrustStore(tmp_path)
    first = own_certificate(store, "g")
    (line,) = said(caplog)
    assert first.sha256 in line and "'new': True" in line
    assert own_certificate(store, "g").sha256 == first.sha256 and said(caplog) == []
    put(tmp_path, ALONE)
    assert own_certificate(store, "g").der == ALONE.der
    (line,) = said(caplog)
    assert sha256_of(ALONE.certificate) in line
    # One of ours that ends within 30 days is made anew, with its key and its ApplicationUri.
    ours = self_signed(ALONE.key, "urn:kept", ["h"], NOW - timedelta(days=710))
    put(tmp_path, Made(ours, ALONE.key))
    renewed = own_certificate(store, "g")
    assert renewed.made_now and renewed.uri == "urn:kept" and renewed.ends > NOW + 600 * DAY
    told, warning = said(caplog)
    assert renewed.sha256 in told and "have to trust this one" in warning
    assert own_certificate(store, "g").sha256 == renewed.sha256 and said(caplog) == []
    (listed,) = store.listed("own")
    assert listed.sha256 == renewed.sha256


def test_only_what_servers_are_shown_is_listed_as_ours(tmp_path: Path) -> None:
    put(tmp_path, ALONE)
    (tmp_path / "own" / "certificate.der").write_bytes(ALONE.pem + ROOT.pem)
    (tmp_path / "own" / "issuer.pem").write_bytes(ROOT.pem)
    store = TrustStore(tmp_path)
    (listed,) = store.listed("own")
    assert listed.sha256 == store.own("urn:x", ["h"], NOW).sha256 == sha256_of(ALONE.certificate)
