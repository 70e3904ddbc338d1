"""The certificates of a gateway: its own, whom it trusts, whom it refused. A folder that people may
change by hand at any time: it is read anew for each connection.

<folder>/own/certificate.der, key.pem   ours; put others there to replace them
<folder>/trusted/                       accepted, or whose issuer is
<folder>/issuers/                       complete a chain, and are not trusted for themselves
<folder>/crl/                           revocation lists
<folder>/first_use/                     the first of each source with `trust: first_use`
<folder>/rejected/                      refused, until somebody trusts them; beside each why (.json)

Certificates and lists are DER or PEM, whatever their file is called.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from aurelian.edge.certificates import (
    GATEWAY,
    UNREADABLE,
    Kind,
    TrustError,
    hosts_of,
    is_made_here,
    read_certificates,
    read_crls,
    self_signed,
    sha256_of,
    unfit_for,
    uris_of,
)

RENEW_BEFORE = timedelta(days=30)
"""A certificate that we made is made anew so long before it ends, with the same key."""

_KEY_BITS = 2048
_MOST_REJECTED = 100
_Read = TypeVar("_Read")


@dataclass(frozen=True, slots=True)
class OwnCertificate:
    """Ours.

    Attributes:
        der: the certificate.
        key: its private key, PEM (PKCS #8) without a password.
        uri: the ApplicationUri that it carries.
        sha256: its fingerprint, upper-case hexadecimal digits.
        ends: after that nobody accepts it.
        made_now: it was made by this call.
        file: where the certificate lies.
        warnings: what servers may refuse it for, or others may read of it, each with what to do.
    """

    der: bytes
    key: bytes
    uri: str
    sha256: str
    ends: datetime
    made_now: bool
    file: Path
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lists:
    """What a server's certificate is held against. `unreadable`: files that are neither, as
    sentences."""

    trusted: Sequence[x509.Certificate] = ()
    issuers: Sequence[x509.Certificate] = ()
    crls: Sequence[x509.CertificateRevocationList] = ()
    unreadable: Sequence[str] = field(default=())


@dataclass(frozen=True, slots=True)
class Listed:
    """A certificate of a list, for people.

    Attributes:
        sha256: fingerprint, upper-case hexadecimal digits.
        source: of whom it came, where it is known.
        reason: why it was refused; empty where it is trusted.
    """

    path: Path
    sha256: str
    subject: str
    uris: tuple[str, ...]
    hosts: tuple[str, ...]
    begins: datetime
    ends: datetime
    source: str = ""
    reason: str = ""


class TrustStore:
    """The folder. Every method reads or writes files and may raise OSError. `kind`: what our own
    certificate is for."""

    def __init__(self, folder: Path, kind: Kind = GATEWAY) -> None:
        self.folder, self._kind = folder, kind

    def command(self, what: str, sha256: str = "") -> str:
        """The command line that lists the certificates of this folder, or adds or removes one,
        wherever it is typed."""
        words = ["aurelian", "trust", what, sha256[:16], "--pki", str(self.folder.absolute())]
        return shlex.join(filter(None, words))

    def own(self, uri: str, hosts: Sequence[str], now: datetime) -> OwnCertificate:
        """Our certificate; made where there is none, and made anew where one of ours ends soon.

        Args:
            uri: ApplicationUri of a new one.
            hosts: names and addresses of this machine, for a new one.

        Raises:
            TrustError: what lies there cannot be read, or key and certificate do not belong
                together.
        """
        folder = self.folder / "own"
        certificate_file, key_file = folder / "certificate.der", folder / "key.pem"
        key, warnings = None, []
        if key_file.exists():
            key, warnings = _key(key_file), _closed(key_file)
        if certificate_file.exists() and key is not None:
            (found, *_) = read_certificates(certificate_file)
            if found.public_key() != key.public_key():
                raise TrustError(
                    f"{certificate_file} does not belong to {key_file}: put the two that belong "
                    "together there, or move both away, and new ones are made"
                )
            # One that somebody put there is theirs to renew.
            if not is_made_here(found) or now < found.not_valid_after_utc - RENEW_BEFORE:
                return self._own(found, key, certificate_file, warnings, now)
            uri, hosts = (*uris_of(found), uri)[0], hosts_of(found) or hosts
            ends = f"{found.not_valid_after_utc:%Y-%m-%d}"
            warnings.append(f"it was made anew, the one before ends on {ends}: servers that know "
                            "that one have to trust this one")  # fmt: skip
        elif certificate_file.exists():
            raise TrustError(
                f"{key_file} is missing, the key of {certificate_file}: put it there, or move the "
                "certificate away, and new ones are made"
            )
        _make_folder(folder)
        if key is None:
            key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
            _write(key_file, _pem(key), 0o600)
        made = self_signed(key, uri, hosts, now, self._kind)
        _write(certificate_file, made.public_bytes(serialization.Encoding.DER), 0o644)
        return replace(self._own(made, key, certificate_file, warnings, now), made_now=True)

    def lists(self) -> Lists:
        """What is trusted now. What cannot be read costs itself alone."""
        unreadable: list[str] = []

        def read(name: str, reader: Callable[[Path], Sequence[_Read]]) -> list[_Read]:
            found: list[_Read] = []
            for path in self._files(name):
                try:
                    found += reader(path)
                except (TrustError, OSError) as error:
                    unreadable.append(str(error))
            return found

        trusted, issuers = read("trusted", read_certificates), read("issuers", read_certificates)
        return Lists(trusted, issuers, read("crl", read_crls), unreadable)

    def listed(self, name: str) -> list[Listed]:
        """The certificates of a list (`own`, `trusted`, `issuers`, `rejected`), by file; without
        what cannot be read."""
        found = []
        for path in self._files(name):
            try:
                certificates = read_certificates(path)
            except (TrustError, OSError):
                continue
            note = _note(path.with_suffix(".json"))
            if name == "own":
                # Only the first of this file is shown to servers.
                certificates = certificates[:1] if path.name == "certificate.der" else []
            for each in certificates:
                found.append(
                    Listed(
                        path,
                        sha256_of(each),
                        each.subject.rfc4514_string(),
                        uris_of(each),
                        hosts_of(each),
                        each.not_valid_before_utc,
                        each.not_valid_after_utc,
                        note.get("source", ""),
                        note.get("reason", ""),
                    )
                )
        return found

    def reject(self, certificate: x509.Certificate, source: str, reason: str) -> None:
        """Keep a refused certificate for whoever wants to trust it; the oldest of too many go."""
        folder = self.folder / "rejected"
        _make_folder(folder)
        path = folder / f"{sha256_of(certificate)}.der"
        # Whoever sees the certificate finds why it was refused: the note is there first.
        _write_note(path, source=source, reason=reason)
        _write(path, certificate.public_bytes(serialization.Encoding.DER), 0o644)
        kept = sorted(folder.glob("*.der"), key=lambda each: each.stat().st_mtime_ns)
        for old in kept[: max(0, len(kept) - _MOST_REJECTED)]:
            old.unlink(missing_ok=True)
            old.with_suffix(".json").unlink(missing_ok=True)

    def trust(self, certificate: x509.Certificate) -> Path:
        """Accept a certificate from now on; where it was refused before, it is so no longer."""
        folder = self.folder / "trusted"
        _make_folder(folder)
        path = folder / f"{sha256_of(certificate)}.der"
        _write(path, certificate.public_bytes(serialization.Encoding.DER), 0o644)
        refused = self.folder / "rejected" / path.name
        if source := _note(refused.with_suffix(".json")).get("source"):
            # Whoever meets its successor can say whose it was.
            _write_note(path, source=source)
        refused.unlink(missing_ok=True)
        refused.with_suffix(".json").unlink(missing_ok=True)
        return path

    def earlier(self, certificate: x509.Certificate, source: str, first_of: str) -> list[Listed]:
        """Certificates that were accepted, and that another one may be the successor of: those of
        the same source, and those of the same ApplicationUri; the newest first."""
        uris = {*uris_of(certificate)}
        found = [
            each
            for name, key in (("trusted", source), ("first_use", first_of))
            for each in self.listed(name)
            if each.sha256 != sha256_of(certificate)
            and (each.source == key or not uris.isdisjoint(each.uris))
        ]
        return sorted(found, key=lambda each: each.begins, reverse=True)

    def first_used(self, certificate: x509.Certificate, source: str) -> bool:
        """Whether a certificate is the first that was seen of a source, which it is from now on
        where there was none. It counts for that source alone, and for what is issued by it
        nothing."""
        folder = self.folder / "first_use"
        _make_folder(folder)
        path = folder / f"{hashlib.sha256(source.encode()).hexdigest()[:32]}.der"
        der = certificate.public_bytes(serialization.Encoding.DER)
        if path.exists():
            return path.read_bytes() == der
        _write_note(path, source=source)
        _write(path, der, 0o644)
        return True

    def add_issuer(self, certificate: x509.Certificate) -> Path:
        """Let an issuer complete chains from now on."""
        _make_folder(self.folder / "issuers")
        path = self.folder / "issuers" / f"{sha256_of(certificate)}.der"
        _write(path, certificate.public_bytes(serialization.Encoding.DER), 0o644)
        return path

    def distrust(self, listed: Listed) -> None:
        """Trust a certificate no longer; others of its file stay trusted."""
        others = [e for e in read_certificates(listed.path) if sha256_of(e) != listed.sha256]
        if others:
            pem = serialization.Encoding.PEM
            _write(listed.path, b"".join(each.public_bytes(pem) for each in others), 0o644)
            return
        listed.path.unlink()
        listed.path.with_suffix(".json").unlink(missing_ok=True)

    def _own(
        self,
        certificate: x509.Certificate,
        key: rsa.RSAPrivateKey,
        file: Path,
        warnings: Sequence[str],
        now: datetime,
    ) -> OwnCertificate:
        uris = uris_of(certificate)
        unfit = unfit_for(self._kind, certificate, now)
        if unfit:
            warnings = (
                *warnings,
                f"others may refuse it: {'; '.join(unfit)}. Put a better one there with its key, "
                f"or delete both files of {file.parent}, and new ones are made",
            )
        return OwnCertificate(
            certificate.public_bytes(serialization.Encoding.DER),
            _pem(key),
            uris[0] if uris else "",
            sha256_of(certificate),
            certificate.not_valid_after_utc,
            made_now=False,
            file=file,
            warnings=tuple(warnings),
        )

    def _files(self, name: str) -> Iterator[Path]:
        folder = self.folder / name
        if folder.is_dir():
            for path in sorted(folder.rglob("*")):
                hidden = path.name.startswith(".") or path.suffix == ".json"
                if path.is_file() and not hidden:
                    yield path


def _key(path: Path) -> rsa.RSAPrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except UNREADABLE as error:  # TypeError: it needs a password
        raise TrustError(f"{path} is no private key without a password: {error}") from error
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TrustError(f"{path} is no RSA key; the security policies of OPC UA need one")
    return key


def _pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _closed(key_file: Path) -> list[str]:
    """Let nobody else read a private key; what there is to say of one that others could read."""
    mode = stat.S_IMODE(key_file.stat().st_mode)
    if not mode & 0o077:
        return []
    could = f"others on this machine could read its key {key_file} (mode {mode:04o})"
    try:
        key_file.chmod(0o600)
    except OSError as error:
        return [f"{could}, and that cannot be changed ({error.strerror}): chmod 600 it"]
    return [
        f"{could}; only we can now. If somebody may have done so, delete both files of "
        f"{key_file.parent}, and trust the new certificate at the servers"
    ]


def _note(path: Path) -> dict[str, str]:
    try:
        note = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in note.items()} if isinstance(note, dict) else {}


def _write_note(path: Path, **said: str) -> None:
    note = json.dumps(said, ensure_ascii=False)
    _write(path.with_suffix(".json"), note.encode(), 0o644)


def _make_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def _write(path: Path, data: bytes, mode: int) -> None:
    """Write a file whole or not at all; a private key is never readable by others, not even for a
    moment."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
